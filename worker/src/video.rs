//! Decode once, feed every rung, cut where the clock says.

use shared::error::TaskError;
use shared::task::{VideoReceipt, VideoTask};

use crate::task::{Emit, Inputs};

/// Encodes one chunk.
pub fn encode_chunk(_: &VideoTask, _: &Inputs, _: &mut Emit<'_>) -> Result<VideoReceipt, TaskError> {
    Err(TaskError::unsupported("video", "not built"))
}
