//! Finds out what a source is and where its packets lie.

use std::fs::File;

use shared::error::TaskError;
use shared::task::{IndexReceipt, IndexTask};

use crate::task::Emit;

/// Reads the source front to back.
pub fn index_source(_: &IndexTask, _: &File, _: &mut Emit<'_>) -> Result<IndexReceipt, TaskError> {
    Err(TaskError::unsupported("index", "not built"))
}
