//! A whole audio track: decode, repair the timeline, resample, encode, cut on the grid.

use shared::error::TaskError;
use shared::task::{AudioReceipt, AudioTask};

use crate::task::{Emit, Inputs};

/// Encodes one audio track from its first packet to its last.
pub fn encode_track(_task: &AudioTask, _inputs: &Inputs, _emit: &mut Emit<'_>) -> Result<AudioReceipt, TaskError> {
    Err(TaskError::unsupported("audio", "not built"))
}
