//! `run.json`: what differs from run to run, for people who wonder where the time went.

use serde::{Deserialize, Serialize};
use shared::storage::{Storage, StorageError};
use shared::task::{Spent, TaskName, WorkerId};

/// Key of the report below the target prefix.
pub(super) const RUN_REPORT: &str = "run.json";

/// How a job was carried out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// When the job was submitted, in milliseconds since 1970-01-01 UTC.
    pub started_unix_ms: u64,
    /// Elapsed time from there to the final multivariant playlist.
    pub wall_ms: u64,
    /// Length of the presentation.
    pub duration_ms: u64,
    /// One per task that counted.
    pub tasks: Vec<TaskRun>,
}

/// How a task was carried out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskRun {
    /// Which task.
    pub name: TaskName,
    /// Tries, the accepted one included.
    pub attempts: u32,
    /// Who made the accepted one.
    pub worker: WorkerId,
    /// What the accepted one cost.
    pub spent: Spent,
}

impl RunReport {
    /// Stores it beside the presentation.
    pub async fn write(&self, target: &Storage) -> Result<(), StorageError> {
        target.put(RUN_REPORT, super::json(self)).await?;
        Ok(())
    }
}
