//! Tiles to sprite sheets.

use shared::error::TaskError;
use shared::task::{StoryboardReceipt, StoryboardTask};

use crate::task::{Emit, Inputs};

/// Pastes tiles into JPEG sheets.
pub fn make_sheets(_: &StoryboardTask, _: &Inputs, _: &mut Emit<'_>) -> Result<StoryboardReceipt, TaskError> {
    Err(TaskError::unsupported("storyboard", "not built"))
}
