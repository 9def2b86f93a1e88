//! `run.json`: what differs from run to run, for people who wonder where the time went.
//!
//! It is also the first object that is written, with the job's id alone: what lies at a target belongs to the job that is
//! named there, and no other job takes it away.

use serde::{Deserialize, Serialize};
use shared::placement::Hardware;
use shared::storage::{Storage, StorageError};
use shared::task::{JobId, Spent, TaskName, WorkerId};

/// Key of the report below the target prefix.
pub(super) const RUN_REPORT: &str = "run.json";

/// How a job was carried out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// Whose the presentation is.
    pub job: JobId,
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
    /// What it ran on, where a GPU had a part in it or was to have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware: Option<Hardware>,
}

/// Whose the presentation at a target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Nothing was published there.
    Nobody,
    /// The job that asks.
    ThisJob,
    /// Another job, or it does not say.
    Other,
}

impl Owner {
    /// Looks whether the target is this job's.
    ///
    /// # Errors
    /// It can't be known.
    pub async fn find(target: &Storage, job: &JobId) -> Result<Self, StorageError> {
        let Some(bytes) = target.find(RUN_REPORT).await? else { return Ok(Self::Nobody) };
        let claim = serde_json::from_slice::<Claim>(&bytes).ok();
        Ok(if claim.is_some_and(|claim| claim.job == *job) { Self::ThisJob } else { Self::Other })
    }
}

/// As much of a report as there is from the first round on.
#[derive(Serialize, Deserialize)]
struct Claim {
    job: JobId,
}

/// From now on the target is this job's, whosever it was.
///
/// # Errors
/// It may not be.
pub async fn claim(target: &Storage, job: &JobId) -> Result<(), StorageError> {
    target.put(RUN_REPORT, super::json(&Claim { job: job.clone() })).await.map(drop)
}

/// The target is nobody's. To be called when nothing is left there.
///
/// # Errors
/// It may still be somebody's.
pub async fn disclaim(target: &Storage) -> Result<(), StorageError> {
    target.delete(RUN_REPORT).await
}

impl RunReport {
    /// Stores it beside the presentation.
    pub async fn write(&self, target: &Storage) -> Result<(), StorageError> {
        target.put(RUN_REPORT, super::json(self)).await?;
        Ok(())
    }
}
