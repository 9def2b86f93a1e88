//! The scaler that runs on a GPU: the same filters as the software's, and the same picture but for a step of a sample.

use std::sync::Arc;

use ffmpeg_next::color::Range;
use ffmpeg_next::format::Pixel;
use nvidia::scale::{Lut3, ScaleError, Scaler, Siting, Size, Source, Transform, Turn, Window};
use nvidia::surface::Format;
use shared::error::TaskError;
use shared::placement::Stage;
use shared::task::VideoTask;

use super::gpu::{Gpu, Trouble};
use super::picture::{DevicePicture, Picture};
use super::scaler::tone_map;
use super::{Pictures, Scale};

/// Kernels, made anew when the decoder changes its picture size or format.
pub struct CudaScaler {
    gpu: Arc<Gpu>,
    targets: Vec<Size>,
    transform: Transform,
    full_range: bool,
    made: Option<(Source, Scaler)>,
}

impl CudaScaler {
    /// Pictures for the renditions of `task`, in its order (largest first).
    pub fn new(gpu: Arc<Gpu>, task: &VideoTask) -> Result<Self, TaskError> {
        if task.transform.deinterlace {
            return Err(Trouble::Refused.error(Stage::Scale, "interlaced pictures are not scaled on a GPU"));
        }
        let turn = match task.transform.rotation {
            90 => Turn::Quarter,
            180 => Turn::Half,
            270 => Turn::ThreeQuarters,
            _ => Turn::None,
        };
        let range = task.stream.color.dynamic_range();
        let tone = task.transform.tone_map.then(|| Lut3::new(tone_map::EDGE, tone_map::colors(range))).flatten();
        let size = |rendition: &shared::rendition::VideoRendition| Size {
            width: rendition.width_px,
            height: rendition.height_px,
        };
        Ok(Self {
            gpu,
            targets: task.renditions.iter().map(size).collect(),
            transform: Transform { turn, mirror: task.transform.mirror, tone },
            full_range: task.stream.color.full_range || task.stream.pixel_format.starts_with("yuvj"),
            made: None,
        })
    }

    /// What the picture is, to the kernels. Chroma lies at the left, as in nearly all video; what says otherwise is scaled
    /// as if it did not, by a quarter of a sample.
    fn source_of(&self, picture: &DevicePicture, full_range: bool) -> Source {
        let layout = picture.surface.layout();
        let size = Size { width: layout.width, height: layout.height };
        Source {
            format: layout.format,
            bits: if layout.format == Format::Nv12 { 8 } else { 10 },
            size,
            window: Window { left: 0, top: 0, size },
            full_range,
            siting: Siting::Left,
        }
    }

    fn failed(&self, error: ScaleError) -> TaskError {
        match error {
            ScaleError::Unfit(text) => Trouble::Refused.error(Stage::Scale, text),
            ScaleError::Fault(fault) => self.gpu.fault(Stage::Scale, "scaling", &fault),
        }
    }
}

impl Scale for CudaScaler {
    fn push(&mut self, picture: Picture) -> Result<Vec<Pictures>, TaskError> {
        let full_range = self.full_range || is_full_range(&picture);
        let picture = picture.to_device(&self.gpu)?;
        let source = self.source_of(&picture, full_range);
        if self.made.as_ref().is_none_or(|(made_for, _)| *made_for != source) {
            let scaler = Scaler::new(self.gpu.device(), &source, &self.transform, &self.targets);
            self.made = Some((source, scaler.map_err(|error| self.failed(error))?));
        }
        let Some((_, scaler)) = &mut self.made else { return Err(TaskError::bug("a scaler that was made is gone")) };
        let surfaces = scaler.push(&picture.surface).map_err(|error| self.failed(error))?;
        let with_time = |surface| DevicePicture { surface, pts: picture.pts, gpu: self.gpu.clone() };
        Ok(vec![surfaces.into_iter().map(with_time).map(Picture::Device).collect()])
    }

    fn finish(&mut self) -> Result<Vec<Pictures>, TaskError> {
        Ok(Vec::new())
    }
}

/// What a picture says of itself, as the software scaler understands it.
fn is_full_range(picture: &Picture) -> bool {
    match picture {
        Picture::Host(frame) => frame.format() == Pixel::YUVJ420P || frame.color_range() == Range::JPEG,
        Picture::Device(_) => false,
    }
}
