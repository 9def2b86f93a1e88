//! Between the farm's types and `proto`: the only place that checks wire values.

use crate::task::{Task, TaskReport};

/// Bytes that are not what they should be.
#[derive(Debug, thiserror::Error)]
#[error("wire: {0}")]
pub struct WireError(pub String);

/// A task as it crosses between processes.
pub fn encode_task(task: &Task) -> Vec<u8> {
    serde_json::to_vec(task).expect("plain data should serialise")
}

/// Reads what [`encode_task`] wrote.
pub fn decode_task(bytes: &[u8]) -> Result<Task, WireError> {
    serde_json::from_slice(bytes).map_err(|error| WireError(error.to_string()))
}

/// A report as it crosses between processes.
pub fn encode_report(report: &TaskReport) -> Vec<u8> {
    serde_json::to_vec(report).expect("plain data should serialise")
}

/// Reads what [`encode_report`] wrote.
pub fn decode_report(bytes: &[u8]) -> Result<TaskReport, WireError> {
    serde_json::from_slice(bytes).map_err(|error| WireError(error.to_string()))
}
