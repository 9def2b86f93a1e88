//! What the stages of a chunk are opened with: the one place that knows which kinds of stages there are.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use shared::error::TaskError;
use shared::family::Family;
use shared::placement::{DecodeBy, EncodeBy, Fallback, Hardware, Placement, ScaleBy, Stage};
use shared::source::VideoStream;
use shared::task::VideoTask;

use super::encoder::{EncoderPlan, Libav};
use super::gpu::{Gpu, Trouble};
use super::nvdec::NvdecDecoder;
use super::nvenc::NvencEncoder;
use super::{Decode, Encoder, Scale, cuda_scaler, decoder, scaler};
use crate::slot::request::GpuOrder;
use crate::task::Inputs;

/// Opens the stages of one attempt.
#[derive(Debug, Default)]
pub struct Backend {
    order: Option<GpuOrder>,
    gpu: OnceLock<Result<Arc<Gpu>, TaskError>>,
    /// Encoder sessions that were asked for.
    sessions: AtomicU32,
    fallbacks: Mutex<Vec<Fallback>>,
}

impl Backend {
    /// With what an attempt may use of a GPU; `None`: nothing.
    pub fn new(order: Option<GpuOrder>) -> Self {
        Self { order, ..Self::default() }
    }

    fn placement(&self) -> Placement {
        self.order.as_ref().map_or(Placement::SOFTWARE, |order| order.placement)
    }

    /// The GPU, opened when it is asked for first.
    fn gpu(&self) -> Result<Arc<Gpu>, TaskError> {
        let open = || match &self.order {
            Some(order) => Gpu::open(&order.uuid).map(Arc::new),
            None => Err(TaskError::bug("a stage was placed on a GPU, and none was given")),
        };
        self.gpu.get_or_init(open).clone()
    }

    fn libraries(&self) -> Option<&Path> {
        self.order.as_ref().and_then(|order| order.libraries.as_deref())
    }

    /// The stage that reads a chunk's packets.
    pub fn decoder<'a>(&self, stream: &VideoStream, inputs: &'a Inputs) -> Result<Box<dyn Decode + 'a>, TaskError> {
        Ok(match self.placement().decode {
            DecodeBy::Software => Box::new(decoder::Decoder::open(stream, inputs)?),
            DecodeBy::Nvdec => Box::new(NvdecDecoder::open(self.gpu()?, self.libraries(), stream, inputs)?),
        })
    }

    /// The stage that makes the sizes of all renditions.
    pub fn scaler(&self, task: &VideoTask) -> Result<Box<dyn Scale>, TaskError> {
        Ok(match self.placement().scale {
            ScaleBy::Software => Box::new(scaler::Scaler::new(task)),
            ScaleBy::Cuda => Box::new(cuda_scaler::CudaScaler::new(self.gpu()?, task)?),
        })
    }

    /// The stage that makes one rendition. One whose encoder others have taken, or that the GPU can't make, is encoded in
    /// software, and the receipt says so.
    pub fn encoder(&self, plan: &EncoderPlan) -> Result<Box<dyn Encoder>, TaskError> {
        match self.hardware_encoder(plan) {
            None => {}
            Some(Ok(encoder)) => return Ok(encoder),
            Some(Err(error)) => match Trouble::of(&error) {
                Some((Stage::Encode, Trouble::Busy | Trouble::Refused)) => {
                    let reason = format!("{}: {}", plan.name(), error.message);
                    let mut fallbacks = self.fallbacks.lock().unwrap_or_else(PoisonError::into_inner);
                    fallbacks.push(Fallback::new(Stage::Encode, reason));
                }
                _ => return Err(error),
            },
        }
        Ok(Box::new(Libav::open(plan)?))
    }

    /// The same, and no other.
    ///
    /// # Errors
    /// Why the GPU does not make it.
    pub fn encoder_as_ordered(&self, plan: &EncoderPlan) -> Result<Box<dyn Encoder>, TaskError> {
        self.hardware_encoder(plan).unwrap_or_else(|| Ok(Box::new(Libav::open(plan)?)))
    }

    /// `None`: the encoder is to run in software.
    fn hardware_encoder(&self, plan: &EncoderPlan) -> Option<Result<Box<dyn Encoder>, TaskError>> {
        if matches!(plan.pin, Some(Family::Software | Family::StandIn)) {
            return None;
        }
        if self.placement().encode != EncodeBy::Software && !self.takes_session() {
            let text = "gpu.sessions leaves this attempt no more of them";
            return Some(Err(Trouble::Busy.error(Stage::Encode, text)));
        }
        match self.placement().encode {
            EncodeBy::Software => None,
            EncodeBy::Nvenc => Some(self.nvenc(plan, false).map(|encoder| Box::new(encoder) as _)),
            EncodeBy::PlainNvenc => Some(self.nvenc(plan, true).map(|encoder| Box::new(encoder) as _)),
            EncodeBy::FfmpegNvenc if plan.pin.is_some_and(|pin| pin != Family::FfmpegNvenc) => None,
            EncodeBy::FfmpegNvenc => Some(Libav::open_nvenc(plan).map(|encoder| Box::new(encoder) as _)),
        }
    }

    /// Takes one of the encoder sessions that the attempt may have; `false`: there is none left.
    fn takes_session(&self) -> bool {
        let most = self.order.as_ref().map_or(0, |order| order.sessions);
        most == 0 || self.sessions.fetch_add(1, Ordering::Relaxed) < most
    }

    fn nvenc(&self, plan: &EncoderPlan, plain: bool) -> Result<NvencEncoder, TaskError> {
        NvencEncoder::open(self.gpu()?, self.libraries(), plan, plain)
    }

    /// A GPU's decoder is believed if it gave as many frames as the packet lists promise.
    ///
    /// # Errors
    /// [`Trouble::Refused`] at [`Stage::Decode`].
    pub fn believe(&self, frames: u64, expected: u64) -> Result<(), TaskError> {
        if self.placement().decode == DecodeBy::Software || frames == expected {
            return Ok(());
        }
        Err(Trouble::Refused.error(Stage::Decode, format!("{frames} frames came out, {expected} were promised")))
    }

    /// What the stages ran on.
    pub fn hardware(&self) -> Hardware {
        let (uploaded_bytes, downloaded_bytes) = match self.gpu.get() {
            Some(Ok(gpu)) => gpu.moved.bytes(),
            Some(Err(_)) | None => (0, 0),
        };
        Hardware {
            placement: self.placement(),
            gpu: self.order.as_ref().map_or_else(String::new, |order| order.uuid.clone()),
            fallbacks: self.fallbacks.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            uploaded_bytes,
            downloaded_bytes,
        }
    }
}
