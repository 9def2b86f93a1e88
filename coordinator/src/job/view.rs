//! What people are shown of a job.

use serde::{Deserialize, Serialize};
use shared::source::{Finding, SourceInfo, Verdict};
use shared::task::{JobId, Places, TenantId};

use super::{JobState, Milestone, Moment, Problem, Terms};
use crate::ladder::{Ladder, Rungs};

/// A job as people see it: small, always whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobView {
    /// Which job.
    pub id: JobId,
    /// Grows with every view of any job, over restarts too.
    pub sequence: u64,
    /// Whose it is.
    pub tenant: TenantId,
    /// Where its bytes are.
    pub places: Places,
    /// Name of its profile.
    pub profile: String,
    /// Segment duration.
    pub segment_ms: u32,
    /// Which of the profile's rungs.
    pub rungs: Rungs,
    /// What overrules the preset of every rung.
    pub preset: Option<String>,
    /// A progressive MP4 file of each rendition is made too.
    pub movies: bool,
    /// How it was asked for.
    pub terms: Terms,
    /// Its steps so far, in order.
    pub history: Vec<Moment>,
    /// Where it stands.
    pub state: JobState,
    /// The final state has been carried out: the farm is done with the job.
    pub settled: bool,
    /// The judgement of the source so far.
    pub verdict: Option<Verdict>,
    /// What is unusual about the source and what was done about it.
    pub findings: Vec<Finding>,
    /// What indexing found.
    pub source: Option<SourceInfo>,
    /// The video renditions and what was left out.
    pub ladder: Ladder,
    /// Video and audio renditions in order.
    pub renditions: Vec<RenditionView>,
    /// How the chunks stand.
    pub chunks: ChunkCounts,
    /// They wait for GPUs that are being tried.
    #[serde(default)]
    pub awaits_gpus: bool,
    /// Segments per rendition that a player can play now, from the start.
    pub playable_segments: u64,
    /// Their duration.
    pub playable_ms: u64,
    /// CPU time of all accepted attempts.
    pub cpu_ms: u64,
    /// What went wrong; a failed job has one that is fatal.
    pub problems: Vec<Problem>,
}

impl JobView {
    /// This is the last there is to see of it.
    pub fn is_deleted(&self) -> bool {
        self.history.last().is_some_and(|moment| moment.what == Milestone::Deleted)
    }
}

/// How far a rendition has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenditionView {
    /// Its name.
    pub name: String,
    /// Milliseconds of presentation encoded, running attempts included. Never falls within one run of the farm unless an
    /// attempt is lost.
    pub done_ms: u64,
    /// Milliseconds in all: exact once the index has ended, what the source declares before, `None` if it declares
    /// nothing.
    pub total_ms: Option<u64>,
}

/// What the tasks of a job come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Its chunks.
    pub chunks: ChunkCounts,
    /// CPU time of the attempts that count, in milliseconds.
    pub cpu_ms: u64,
}

/// Chunks by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkCounts {
    /// So far; final once `complete`.
    pub planned: u32,
    /// No more will be planned.
    pub complete: bool,
    /// With an accepted receipt.
    pub done: u32,
    /// Queued or being encoded.
    pub running: u32,
    /// Attempts made again.
    pub retried: u32,
}
