//! A picture on its way through the stages: on the host, or in a GPU's memory. Who needs it on the other side asks for it
//! there; that is the only place where pictures move.

use std::sync::Arc;

use ffmpeg_next::{format::Pixel, frame};
use nvidia::surface::{Format, Surface};
use shared::error::TaskError;
use shared::placement::Stage;

use super::gpu::{Gpu, Trouble};
use crate::av;

/// A decoded or scaled picture.
pub enum Picture {
    /// Planes as libavutil has them.
    Host(frame::Video),
    /// NV12 or P016 in a GPU's memory.
    Device(DevicePicture),
}

/// A picture in a GPU's memory.
pub struct DevicePicture {
    /// Where.
    pub surface: Surface,
    /// Presentation time in ticks of the stream.
    pub pts: Option<i64>,
    /// Whose memory it is.
    pub gpu: Arc<Gpu>,
}

impl Picture {
    /// Presentation time in ticks of the stream, if it is known.
    pub fn pts(&self) -> Option<i64> {
        match self {
            Self::Host(frame) => frame.pts(),
            Self::Device(picture) => picture.pts,
        }
    }

    /// Sets the presentation time.
    pub fn set_pts(&mut self, pts: i64) {
        match self {
            Self::Host(frame) => frame.set_pts(Some(pts)),
            Self::Device(picture) => picture.pts = Some(pts),
        }
    }

    /// In samples.
    pub fn width(&self) -> u32 {
        match self {
            Self::Host(frame) => frame.width(),
            Self::Device(picture) => picture.surface.layout().width,
        }
    }

    /// The picture on the host: planar 4:2:0, if it has to be fetched.
    pub fn to_host(self) -> Result<frame::Video, TaskError> {
        match self {
            Self::Host(frame) => Ok(frame),
            Self::Device(picture) => picture.download(),
        }
    }

    /// Lets somebody look at the picture on the host; it stays where it is.
    pub fn look<T>(&self, look: impl FnOnce(&frame::Video) -> Result<T, TaskError>) -> Result<T, TaskError> {
        match self {
            Self::Host(frame) => look(frame),
            Self::Device(picture) => look(&picture.download()?),
        }
    }

    /// The picture in the memory of `gpu`.
    pub fn to_device(self, gpu: &Arc<Gpu>) -> Result<DevicePicture, TaskError> {
        match self {
            Self::Host(frame) => upload(&frame, gpu),
            Self::Device(picture) => Ok(picture),
        }
    }
}

/// How pictures of a format lie in a GPU's memory; `None`: they don't go there.
fn format_there(format: Pixel) -> Option<Format> {
    match format {
        Pixel::YUV420P | Pixel::YUVJ420P => Some(Format::Nv12),
        Pixel::YUV420P10LE => Some(Format::P016),
        _ => None,
    }
}

fn upload(frame: &frame::Video, gpu: &Arc<Gpu>) -> Result<DevicePicture, TaskError> {
    let format = format_there(frame.format()).ok_or_else(|| {
        Trouble::Refused.error(Stage::Scale, format!("pictures of {:?} don't go to a GPU", frame.format()))
    })?;
    let surface = gpu.surface(format, frame.width(), frame.height())?;
    let plane = |number| (frame.data(number), frame.stride(number));
    match format {
        Format::Nv12 => gpu.copy(|planar| planar.upload(&surface, [plane(0), plane(1), plane(2)]))?,
        Format::P016 => {
            let luma = raise(frame.data(0));
            let row_bytes = chroma_bytes(&surface);
            let chroma = raise(&weave(plane(1), plane(2), row_bytes, frame.height().div_ceil(2) as usize));
            let sent = surface.upload((&luma, frame.stride(0)), (&chroma, row_bytes));
            sent.map_err(|fault| gpu.fault(Stage::Scale, "uploading a picture", &fault))?;
        }
    }
    gpu.moved.up(bytes_of(&surface));
    Ok(DevicePicture { surface, pts: frame.pts(), gpu: gpu.clone() })
}

impl DevicePicture {
    fn download(&self) -> Result<frame::Video, TaskError> {
        let layout = self.surface.layout();
        let frame = match layout.format {
            Format::Nv12 => self.download_8_bit()?,
            Format::P016 => self.download_10_bit()?,
        };
        self.gpu.moved.down(bytes_of(&self.surface));
        Ok(frame)
    }

    fn blank(&self, format: Pixel) -> frame::Video {
        let layout = self.surface.layout();
        let mut frame = frame::Video::new(format, layout.width, layout.height);
        frame.set_pts(self.pts);
        frame
    }

    fn download_8_bit(&self) -> Result<frame::Video, TaskError> {
        let mut frame = self.blank(Pixel::YUV420P);
        let [luma, u, v] = av::planes_mut(&mut frame);
        self.gpu.copy(|planar| planar.download(&self.surface, [luma, u, v]))?;
        Ok(frame)
    }

    fn download_10_bit(&self) -> Result<frame::Video, TaskError> {
        let mut frame = self.blank(Pixel::YUV420P10LE);
        let (stride, row_bytes) = (frame.stride(0), chroma_bytes(&self.surface));
        let mut chroma = vec![0; row_bytes * frame.height().div_ceil(2) as usize];
        let fetched = self.surface.download((frame.data_mut(0), stride), (&mut chroma, row_bytes));
        fetched.map_err(|fault| self.gpu.fault(Stage::Scale, "fetching a picture", &fault))?;
        lower(frame.data_mut(0));
        lower(&mut chroma);
        for plane in [1, 2] {
            let stride = frame.stride(plane);
            unweave(&chroma, row_bytes, plane - 1, frame.data_mut(plane), stride);
        }
        Ok(frame)
    }
}

/// Bytes of a row of chroma pairs.
fn chroma_bytes(surface: &Surface) -> usize {
    surface.layout().chroma_rows().bytes
}

/// What crosses the bus for a picture.
fn bytes_of(surface: &Surface) -> u64 {
    let (luma, chroma) = (surface.layout().luma_rows(), surface.layout().chroma_rows());
    (luma.bytes * luma.count + chroma.bytes * chroma.count) as u64
}

/// Two planes of 16-bit samples to one of pairs.
fn weave(u: (&[u8], usize), v: (&[u8], usize), row_bytes: usize, rows: usize) -> Vec<u8> {
    let mut pairs = vec![0; row_bytes * rows];
    let planes = u.0.chunks(u.1).zip(v.0.chunks(v.1));
    for (row, (u, v)) in pairs.chunks_exact_mut(row_bytes).zip(planes) {
        let samples = u.as_chunks::<2>().0.iter().zip(v.as_chunks::<2>().0);
        for (pair, (u, v)) in row.as_chunks_mut::<2>().0.chunks_exact_mut(2).zip(samples) {
            pair[0] = *u;
            pair[1] = *v;
        }
    }
    pairs
}

/// One plane of the two in `pairs`.
fn unweave(pairs: &[u8], row_bytes: usize, which: usize, plane: &mut [u8], stride: usize) {
    for (row, pairs) in plane.chunks_mut(stride).zip(pairs.chunks_exact(row_bytes)) {
        let pairs = pairs.as_chunks::<2>().0.chunks_exact(2);
        for (sample, pair) in row.as_chunks_mut::<2>().0.iter_mut().zip(pairs) {
            *sample = pair[which];
        }
    }
}

/// 10-bit samples as a GPU has them, in the upper bits.
fn raise(samples: &[u8]) -> Vec<u8> {
    samples.as_chunks::<2>().0.iter().flat_map(|sample| (u16::from_le_bytes(*sample) << 6).to_le_bytes()).collect()
}

/// And back.
fn lower(samples: &mut [u8]) {
    for sample in samples.as_chunks_mut::<2>().0 {
        *sample = (u16::from_le_bytes(*sample) >> 6).to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_that_are_woven_come_apart_as_they_were() {
        let plane = |seed: u8, stride: usize| (0..stride * 3).map(|n| seed.wrapping_add(n as u8)).collect::<Vec<_>>();
        let (u, v) = (plane(3, 6), plane(101, 8));
        let pairs = weave((&u, 6), (&v, 8), 8, 3);
        assert_eq!(pairs[..8], [3, 4, 101, 102, 5, 6, 103, 104]);
        let mut back = vec![0; 24];
        unweave(&pairs, 8, 1, &mut back, 8);
        assert!((0..3).all(|row| back[row * 8..][..4] == v[row * 8..][..4]));
    }

    #[test]
    fn ten_bits_go_up_and_come_down() {
        let samples: Vec<u8> = [0u16, 64, 511, 1023].into_iter().flat_map(u16::to_le_bytes).collect();
        let mut raised = raise(&samples);
        assert_eq!(raised[6..], 0xffc0u16.to_le_bytes());
        lower(&mut raised);
        assert_eq!(raised, samples);
    }
}
