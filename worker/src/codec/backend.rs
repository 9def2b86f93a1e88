//! What the stages of a chunk are opened with: the one place that knows which kinds of stages there are.

use shared::error::TaskError;
use shared::placement::Hardware;
use shared::source::VideoStream;
use shared::task::VideoTask;

use super::encoder::{EncoderPlan, Software};
use super::{Decode, Encoder, Scale, decoder, scaler};
use crate::task::Inputs;

/// Opens stages.
#[derive(Default)]
pub struct Backend {}

impl Backend {
    /// The stage that reads a chunk's packets.
    pub fn decoder<'a>(&self, stream: &VideoStream, inputs: &'a Inputs) -> Result<Box<dyn Decode + 'a>, TaskError> {
        Ok(Box::new(decoder::Decoder::open(stream, inputs)?))
    }

    /// The stage that makes the sizes of all renditions.
    pub fn scaler(&self, task: &VideoTask) -> Box<dyn Scale> {
        Box::new(scaler::Scaler::new(task))
    }

    /// The stage that makes one rendition.
    pub fn encoder(&self, plan: &EncoderPlan) -> Result<Box<dyn Encoder>, TaskError> {
        Ok(Box::new(Software::open(plan)?))
    }

    /// What the stages ran on.
    pub fn hardware(&self) -> Hardware {
        Hardware::default()
    }
}
