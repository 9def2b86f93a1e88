//! How a picture lies in a mapped frame: NV12, or P016 with the bits in the upper end; rows a multiple of 512 bytes apart,
//! the chroma plane behind as many rows of luma as there are, rounded up to even.

use crate::av::Frame;

/// Rows are a multiple of so many bytes apart.
const PITCH: usize = 512;

/// What is shown of a picture, and how large it becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Left, top, width and height of what is shown, in pixels of the coded picture.
    pub shown: (usize, usize, usize, usize),
    /// Width and height of the frame.
    pub target: (usize, usize),
    /// Bits of a coded sample.
    pub depth: u8,
    /// Samples of 16 bits.
    pub wide: bool,
}

impl Layout {
    fn sample_bytes(&self) -> usize {
        1 + usize::from(self.wide)
    }

    pub fn pitch(&self) -> usize {
        (self.target.0.next_multiple_of(2) * self.sample_bytes()).next_multiple_of(PITCH)
    }

    fn luma_rows(&self) -> usize {
        self.target.1.next_multiple_of(2)
    }

    pub fn bytes(&self) -> usize {
        self.pitch() * self.luma_rows() * 3 / 2
    }

    /// The frame's bytes. A target of another size than what is shown takes the nearest sample, unlike a card, whose filter
    /// nobody knows.
    pub fn fill(&self, frame: &Frame) -> Vec<u8> {
        let mut bytes = vec![0; self.bytes()];
        let (width, height) = self.target;
        let (mut luma, mut chroma) = (Vec::new(), Vec::new());
        for y in 0..height {
            let row = &mut bytes[y * self.pitch()..];
            self.row(frame, 0, y, height, width, &mut luma);
            self.put(row, &luma, 1, 0);
        }
        let (width, height) = (width.div_ceil(2), height.div_ceil(2));
        let first = self.pitch() * self.luma_rows();
        for y in 0..height {
            for plane in 0..2 {
                let row = &mut bytes[first + y * self.pitch()..];
                self.row(frame, 1 + plane, y, height, width, &mut chroma);
                self.put(row, &chroma, 2, plane);
            }
        }
        bytes
    }

    /// One row of samples of a plane, as many as the frame has.
    fn row(&self, frame: &Frame, plane: usize, y: usize, height: usize, width: usize, samples: &mut Vec<u16>) {
        let halved = |value: usize| if plane == 0 { value } else { value.div_ceil(2) };
        let (cut_left, cut_top) = frame.crop();
        let (left, top) = (halved(self.shown.0 + cut_left), halved(self.shown.1 + cut_top));
        let (shown_width, shown_height) = (halved(self.shown.2), halved(self.shown.3));
        let (frame_width, frame_height) = (halved(frame.size().0), halved(frame.size().1));
        let bytes = 1 + usize::from(self.depth > 8);
        let from = (top + y * shown_height / height).min(frame_height.saturating_sub(1));
        let row = frame.row(plane, from, frame_width * bytes);
        samples.clear();
        samples.extend((0..width).map(|x| {
            let x = (left + x * shown_width / width).min(frame_width.saturating_sub(1));
            if bytes == 1 { u16::from(row[x]) } else { u16::from_le_bytes([row[2 * x], row[2 * x + 1]]) }
        }));
    }

    /// Puts samples into a row, `step` apart from `first` on.
    fn put(&self, row: &mut [u8], samples: &[u16], step: usize, first: usize) {
        for (x, sample) in samples.iter().enumerate() {
            let place = first + x * step;
            if self.wide {
                row[2 * place..2 * place + 2].copy_from_slice(&(sample << (16 - self.depth)).to_le_bytes());
            } else {
                row[place] = (sample >> (self.depth - 8)) as u8;
            }
        }
    }
}
