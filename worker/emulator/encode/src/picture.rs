//! Pictures as the client lays them out, and as the encoders inside take them.

use nvidia_video_codec_sdk::sys::nvEncodeAPI::NV_ENC_BUFFER_FORMAT as Nv;

use crate::cuda::Cuda;

/// The input formats that are worked on. A card takes RGB and 4:4:4 too; those are not played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Luma, then Cb and Cr interleaved.
    Nv12,
    /// Luma, Cr, Cb.
    Yv12,
    /// Luma, Cb, Cr.
    Iyuv,
    /// As NV12 with 16 bits for each sample, of which the upper 10 count.
    P010,
}

impl Format {
    /// The format with NVIDIA's number.
    pub fn of(number: u32) -> Option<Self> {
        let all = [Self::Nv12, Self::Yv12, Self::Iyuv, Self::P010];
        all.into_iter().find(|format| format.number() == number)
    }

    /// NVIDIA's number.
    pub const fn number(self) -> u32 {
        match self {
            Self::Nv12 => Nv::NV_ENC_BUFFER_FORMAT_NV12 as u32,
            Self::Yv12 => Nv::NV_ENC_BUFFER_FORMAT_YV12 as u32,
            Self::Iyuv => Nv::NV_ENC_BUFFER_FORMAT_IYUV as u32,
            Self::P010 => Nv::NV_ENC_BUFFER_FORMAT_YUV420_10BIT as u32,
        }
    }

    const fn sample_bytes(self) -> usize {
        if matches!(self, Self::P010) { 2 } else { 1 }
    }

    /// Bytes of a row of luma.
    pub const fn row_bytes(self, width: usize) -> usize {
        width * self.sample_bytes()
    }

    /// Distance of rows in buffers that the driver makes, as a card gives it.
    pub const fn own_pitch(self, width: usize) -> usize {
        match self {
            Self::Nv12 | Self::P010 => self.row_bytes(width).next_multiple_of(64),
            Self::Yv12 | Self::Iyuv => width.next_multiple_of(512),
        }
    }
}

/// Where a picture lies in a surface: format, sizes, and the distance of luma rows in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Surface {
    /// How samples lie.
    pub format: Format,
    /// Pixels of a row.
    pub width: usize,
    /// Rows of luma: chroma begins behind as many.
    pub height: usize,
    /// Bytes from one row of luma to the next.
    pub pitch: usize,
}

/// One plane of a surface: offset, pitch, bytes of a row that count, rows.
type Plane = (usize, usize, usize, usize);

impl Surface {
    /// The planes in the order in which they lie.
    fn planes(&self) -> Vec<Plane> {
        let Self { format, width, height, pitch } = *self;
        let (chroma_width, chroma_rows) = (width.div_ceil(2), height.div_ceil(2));
        let luma = (0, pitch, format.row_bytes(width), height);
        let chroma = pitch * height;
        match format {
            Format::Nv12 | Format::P010 => {
                vec![luma, (chroma, pitch, 2 * format.row_bytes(chroma_width), chroma_rows)]
            }
            Format::Yv12 | Format::Iyuv => {
                let half = pitch / 2;
                let second = chroma + half * chroma_rows;
                vec![luma, (chroma, half, chroma_width, chroma_rows), (second, half, chroma_width, chroma_rows)]
            }
        }
    }

    /// Bytes from the first row's start to the last one's end.
    pub fn bytes(&self) -> usize {
        self.planes().iter().map(|(offset, pitch, _, rows)| offset + pitch * rows).max().unwrap_or(0)
    }

    /// The picture without the bytes between the rows, from memory of the host.
    pub fn pack(&self, memory: &[u8]) -> Vec<u8> {
        let mut packed = Vec::with_capacity(self.bytes());
        for (offset, pitch, width, rows) in self.planes() {
            for row in memory[offset..].chunks(pitch).take(rows) {
                packed.extend_from_slice(&row[..width]);
            }
        }
        packed
    }

    /// The same from memory of the device. The context must be current.
    pub fn download(&self, cuda: &Cuda, device: u64) -> Result<Vec<u8>, i32> {
        let mut packed = Vec::with_capacity(self.bytes());
        for (offset, pitch, width, rows) in self.planes() {
            cuda.read(device + offset as u64, pitch, width, rows, &mut packed)?;
        }
        Ok(packed)
    }
}

/// Planar 4:2:0 with 8 bits, or 10 in the lower bits of 16.
#[derive(Debug, PartialEq, Eq)]
pub struct Planar {
    /// Samples have two bytes.
    pub deep: bool,
    /// Luma, Cb, Cr, without gaps.
    pub planes: [Vec<u8>; 3],
}

impl Planar {
    /// From a packed picture.
    pub fn of(format: Format, width: usize, height: usize, packed: &[u8]) -> Self {
        let (luma, chroma) = packed.split_at(format.row_bytes(width) * height);
        let half = chroma.len() / 2;
        let planes = match format {
            Format::Iyuv => [luma.to_vec(), chroma[..half].to_vec(), chroma[half..].to_vec()],
            Format::Yv12 => [luma.to_vec(), chroma[half..].to_vec(), chroma[..half].to_vec()],
            Format::Nv12 => {
                let part = |first| chroma.iter().skip(first).step_by(2).copied().collect();
                [luma.to_vec(), part(0), part(1)]
            }
            Format::P010 => [lowered(luma, 0, 1), lowered(chroma, 0, 2), lowered(chroma, 1, 2)],
        };
        Self { deep: format == Format::P010, planes }
    }

    /// A picture without anything in it.
    pub fn grey(width: usize, height: usize, deep: bool) -> Self {
        let chroma = width.div_ceil(2) * height.div_ceil(2);
        let grey = Self { deep: false, planes: [vec![128; width * height], vec![128; chroma], vec![128; chroma]] };
        if deep { grey.deepened() } else { grey }
    }

    /// The same with 10 bits, if it has 8.
    pub fn deepened(self) -> Self {
        if self.deep {
            return self;
        }
        let deepen = |plane: Vec<u8>| plane.iter().flat_map(|byte| (u16::from(*byte) << 2).to_le_bytes()).collect();
        Self { deep: true, planes: self.planes.map(deepen) }
    }
}

/// Every `step`th sample of 16 bits from `first` on, moved from the upper 10 bits to the lower.
fn lowered(samples: &[u8], first: usize, step: usize) -> Vec<u8> {
    let samples = samples.chunks_exact(2).skip(first).step_by(step);
    samples.flat_map(|pair| (u16::from_le_bytes([pair[0], pair[1]]) >> 6).to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_layouts_of_a_picture_become_the_same_planes() {
        let wanted = Planar { deep: false, planes: [vec![1, 2, 3, 4, 5, 6, 7, 8], vec![10, 11], vec![20, 21]] };
        for (format, pitch, chroma) in [
            (Format::Nv12, 6, vec![10, 20, 11, 21, 0, 0]),
            (Format::Iyuv, 6, vec![10, 11, 0, 20, 21, 0]),
            (Format::Yv12, 6, vec![20, 21, 0, 10, 11, 0]),
        ] {
            let surface = Surface { format, width: 4, height: 2, pitch };
            let memory = [vec![1, 2, 3, 4, 0, 0, 5, 6, 7, 8, 0, 0], chroma].concat();
            assert_eq!(surface.bytes(), memory.len());
            assert_eq!(Planar::of(format, 4, 2, &surface.pack(&memory)), wanted, "{format:?}");
        }
    }

    #[test]
    fn ten_bits_lie_high_outside_and_low_inside() {
        let packed: Vec<u8> = [1u16, 1023, 4, 5, 512, 7].iter().flat_map(|v| (v << 6).to_le_bytes()).collect();
        let planar = Planar::of(Format::P010, 2, 2, &packed);
        assert_eq!(planar.planes[0], [1, 0, 255, 3, 4, 0, 5, 0]);
        assert_eq!((&planar.planes[1][..], &planar.planes[2][..]), (&[0, 2][..], &[7, 0][..]));
    }

    #[test]
    fn pitches_are_those_of_a_card() {
        assert_eq!([192, 200, 1920].map(|width| Format::Nv12.own_pitch(width)), [192, 256, 1920]);
        assert_eq!([192, 513, 1280].map(|width| Format::Yv12.own_pitch(width)), [512, 1024, 1536]);
    }
}
