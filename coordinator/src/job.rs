//! One job: what was asked for, what is remembered of it, and what people are shown.
//!
//! Legal moves between states; any other is a bug:
//!
//! ```text
//! Probing → Encoding ⇄ Publishing → Completed         (back: what was made is gone and is made again)
//!    └─────────┴───────────┴──→ Failed | Cancelled ──→ Probing | Encoding (tried again)
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use shared::error::ErrorKind;
use shared::family::Family;
use shared::fleet::Class;
use shared::rendition::AudioRendition;
use shared::source::{Finding, SourceInfo, Verdict};
use shared::task::{AttemptId, JobId, Places, Receipt, TaskId, TenantId, Work, WorkerId};
use shared::time::SegmentGrid;

use crate::ladder::{Ladder, Rungs};
use crate::profile::{Profile, check_preset};

mod view;

pub use view::{ChunkCounts, JobView, RenditionView, Totals};

/// Problems kept of a job; the first ones tell most.
pub const MOST_PROBLEMS: usize = 100;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    /// Unique for ever; the same id with the same content continues the job.
    pub id: JobId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Where its bytes are.
    pub places: Places,
    /// What to make of it.
    pub profile: Profile,
    /// Segment duration.
    pub segment_ms: u32,
    /// Which of the profile's rungs.
    pub rungs: Rungs,
    /// Overrules the preset of every rung.
    pub preset: Option<String>,
    /// Make a progressive MP4 file of each rendition too.
    pub movies: bool,
    /// The source may still grow: it is whole once it has not for so many milliseconds.
    pub growing_ms: Option<NonZeroU32>,
    /// How long the parts of a failed or cancelled job are kept for [`Event::Retried`], in milliseconds.
    ///
    /// [`Event::Retried`]: crate::farm::Event::Retried
    pub keep_parts_ms: u64,
}

/// What may change while a job is under way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Higher is sooner, among the jobs of one tenant.
    pub priority: i32,
    /// When it should be whole, in milliseconds of UNIX time: among jobs of one priority the one with less time left is
    /// sooner.
    pub deadline_ms: Option<u64>,
    /// For people and filters.
    pub labels: BTreeMap<String, String>,
}

/// What is to change of a job's terms; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TermsChange {
    /// [`Terms::priority`].
    pub priority: Option<i32>,
    /// [`Terms::deadline_ms`]; `Some(None)`: there is none any more.
    pub deadline_ms: Option<Option<u64>>,
    /// [`Terms::labels`], all of them.
    pub labels: Option<BTreeMap<String, String>>,
}

/// Marks the jobs that nobody sees: see [`Terms::of_probe`].
const PROBE_LABEL: &str = "farm/probe";
/// Its chunks would come after everybody else's. No caller may give a priority so low.
const PROBE_PRIORITY: i32 = -1_000;

impl Terms {
    /// Of a job that is there for its source's sake alone: it is never shown, and ends when the source is known.
    pub fn of_probe() -> Self {
        let labels = [(PROBE_LABEL.to_owned(), String::new())].into();
        Self { priority: PROBE_PRIORITY, deadline_ms: None, labels }
    }

    /// Whether these are [`Self::of_probe`].
    pub fn is_probe(&self) -> bool {
        self.priority == PROBE_PRIORITY && self.labels.contains_key(PROBE_LABEL)
    }

    /// Says whether anything is other than before.
    pub fn change(&mut self, change: TermsChange) -> bool {
        let before = self.clone();
        let TermsChange { priority, deadline_ms, labels } = change;
        self.priority = priority.unwrap_or(self.priority);
        self.deadline_ms = deadline_ms.unwrap_or(self.deadline_ms);
        self.labels = labels.unwrap_or_else(|| std::mem::take(&mut self.labels));
        *self != before
    }
}

/// A job as it is submitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Submission {
    /// What is asked for.
    pub spec: JobSpec,
    /// And how.
    pub terms: Terms,
    /// What tells the words it was asked for in from others; `None`: the content itself.
    pub words: Option<String>,
    /// A job of that id that failed or was cancelled starts over; otherwise it stays as it is.
    pub again: bool,
}

impl From<JobSpec> for Submission {
    /// At the usual terms; starts over what failed.
    fn from(spec: JobSpec) -> Self {
        Self { spec, terms: Terms::default(), words: None, again: true }
    }
}

/// A step in a job's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// In milliseconds of UNIX time; never before that of the moment before.
    pub at_ms: u64,
    /// What happened.
    pub what: Milestone,
}

/// When the life that this history ends with began, in milliseconds of UNIX time: the job was submitted, or tried again.
pub fn begun_ms(history: &[Moment]) -> u64 {
    let begins = |moment: &&Moment| matches!(moment.what, Milestone::Accepted | Milestone::Retried);
    history.iter().rfind(begins).map_or(0, |moment| moment.at_ms)
}

/// What people wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Milestone {
    /// It was submitted, for the first time or again.
    Accepted,
    /// The ladder is known.
    Probed,
    /// There is a multivariant playlist.
    Playable,
    /// The presentation is whole.
    Completed,
    /// It can't be made.
    Failed,
    /// It was called off.
    Cancelled,
    /// What failed is tried again.
    Retried,
    /// It is gone.
    Deleted,
}

impl Milestone {
    /// As it stands in logs and spans.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Probed => "probed",
            Self::Playable => "playable",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Retried => "retried",
            Self::Deleted => "deleted",
        }
    }
}

impl JobSpec {
    /// Everything that is wrong with it.
    pub fn check(&self) -> Result<(), Vec<String>> {
        let mut complaints = Vec::new();
        if SegmentGrid::new(self.segment_ms).is_none() {
            let (least, most) = (SegmentGrid::SHORTEST_MS, SegmentGrid::LONGEST_MS);
            complaints.push(format!("segments of {} ms: they may last {least} to {most} ms", self.segment_ms));
        }
        complaints.extend(self.rungs.check(&self.profile).err());
        if let (Some(preset), Some(video)) = (&self.preset, &self.profile.video) {
            let refusal = video.rungs.iter().find_map(|rung| check_preset(rung.codec, preset).err());
            complaints.extend(refusal);
        }
        if complaints.is_empty() { Ok(()) } else { Err(complaints) }
    }
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Nothing is known of the source yet.
    Probing,
    /// The ladder is known; tasks are being made and done.
    Encoding,
    /// Everything is made; the last round of playlists is being written.
    Publishing,
    /// The presentation is whole.
    Completed,
    /// It can't be made; what was published has been taken away.
    Failed(ErrorKind),
    /// It was called off; what was published has been taken away.
    Cancelled,
}

impl JobState {
    /// Nothing more will be made.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed(_) | Self::Cancelled)
    }

    /// Whether the table above has the move.
    pub fn may_become(self, next: Self) -> bool {
        match (self, next) {
            (Self::Probing, Self::Encoding)
            | (Self::Encoding, Self::Publishing)
            | (Self::Publishing, Self::Encoding)
            | (Self::Publishing, Self::Completed) => true,
            (from, Self::Failed(_) | Self::Cancelled) => !from.is_final(),
            (Self::Failed(_) | Self::Cancelled, Self::Probing | Self::Encoding) => true,
            _ => false,
        }
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Probing => "probing",
            Self::Encoding => "encoding",
            Self::Publishing => "publishing",
            Self::Completed => "completed",
            Self::Failed(_) => "failed",
            Self::Cancelled => "cancelled",
        })
    }
}

/// What the store remembers of a job, as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobRecord {
    /// What was asked for.
    pub spec: JobSpec,
    /// And how.
    pub terms: Terms,
    /// [`Submission::words`].
    pub words: Option<String>,
    /// Its steps so far, in order.
    pub history: Vec<Moment>,
    /// Where it stands.
    pub state: JobState,
    /// The final state has been carried out: nothing of the job is left to do or to remove.
    pub settled: bool,
    /// What indexing found; `None` while probing.
    pub source: Option<SourceInfo>,
    /// The judgement of the source so far; final once the index has ended.
    pub verdict: Option<Verdict>,
    /// What is unusual about the source.
    pub findings: Vec<Finding>,
    /// Length of the longest stream; `None` until the index has ended.
    pub duration_ms: Option<u64>,
    /// The ladder; empty while probing.
    pub ladder: Ladder,
    /// The audio renditions; empty until the index has ended.
    pub audio: Vec<AudioRendition>,
    /// What all of its chunks need of a machine; `None` until the first is handed out.
    #[serde(default)]
    pub video_class: Option<Class>,
    /// Renditions that only encoders of this family make from now on, by name: what others had made did not fit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pins: BTreeMap<String, Family>,
    /// What went wrong, bounded by [`MOST_PROBLEMS`]. A job may complete in spite of them.
    pub problems: Vec<Problem>,
    /// No attempt of the job's earlier lives has a higher number: it may fail, be called off or be deleted, and start over.
    /// In its first, and after it was forgotten, the seconds of UNIX time of its submission.
    pub attempts_before: AttemptId,
    /// Attempts up to this one were called off when it failed: whoever tries it again has higher ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub called_off: Option<AttemptId>,
    /// When it was submitted, in milliseconds of UNIX time.
    pub submitted_ms: u64,
    /// When it reached its final state, in milliseconds of UNIX time.
    pub ended_ms: Option<u64>,
    /// A person wants it gone: its record, and with `true` its presentation too.
    pub erase: Option<bool>,
    /// What it made is being removed, or is gone: there is nothing to go on from.
    #[serde(default)]
    pub parts_gone: bool,
    /// Something that was made may be gone: before the job goes on, it is looked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unsure: bool,
    /// Of its tasks, once it has settled and they are forgotten.
    #[serde(default)]
    pub totals: Totals,
    /// It was asked for again while it was ending.
    #[serde(default)]
    pub resubmitted: Option<Box<Submission>>,
}

/// Something that went wrong, for people and scripts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Stable, `snake_case`.
    pub code: String,
    /// Whose problem it is.
    pub class: ProblemClass,
    /// What happened.
    pub text: String,
    /// Where: a chunk with its time and renditions, an audio track, or the whole job.
    pub scope: String,
    /// What a person can do about it.
    pub advice: String,
    /// The job failed of it; otherwise it was overcome.
    pub fatal: bool,
    /// When it was known, in milliseconds of UNIX time; `None`: when the job ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<u64>,
}

impl Problem {
    /// It says nothing about what the source is: it is not there, or not what it was.
    pub fn is_source_away(code: &str) -> bool {
        ["source_missing", "source_unreadable", "source_changed"].contains(&code)
    }
}

/// Whose problem it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ProblemClass {
    /// The source's.
    Input,
    /// The machine's.
    Worker,
    /// Network or storage.
    Storage,
    /// Memory, disk or encoder sessions.
    Capacity,
    /// Ours: a bug.
    Internal,
}

impl From<ErrorKind> for ProblemClass {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Input => Self::Input,
            ErrorKind::Unsupported => Self::Worker,
            ErrorKind::Transient | ErrorKind::Cancelled => Self::Storage,
            ErrorKind::Exhausted => Self::Capacity,
            ErrorKind::Bug => Self::Internal,
        }
    }
}

impl JobRecord {
    /// A job that has just been submitted.
    pub fn new(submission: Submission, attempts_before: AttemptId, now_ms: u64) -> Self {
        let Submission { spec, terms, words, again: _ } = submission;
        Self {
            spec,
            terms,
            words,
            history: vec![Moment { at_ms: now_ms, what: Milestone::Accepted }],
            state: JobState::Probing,
            settled: false,
            source: None,
            verdict: None,
            findings: Vec::new(),
            duration_ms: None,
            ladder: Ladder::default(),
            audio: Vec::new(),
            video_class: None,
            pins: BTreeMap::new(),
            problems: Vec::new(),
            attempts_before,
            called_off: None,
            submitted_ms: now_ms,
            ended_ms: None,
            erase: None,
            parts_gone: false,
            totals: Totals::default(),
            unsure: false,
            resubmitted: None,
        }
    }

    /// Whether this is what is asked for. In the same words it is, though the farm's own part may be another today: its
    /// profiles, its place of work.
    pub fn is_asked_for_by(&self, submission: &Submission) -> bool {
        match (&self.words, &submission.words) {
            (Some(then), Some(now)) => then == now,
            _ => self.spec == submission.spec,
        }
    }
}

/// What the store remembers of a task, as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// Which task.
    pub id: TaskId,
    /// What to do. The packet lists are emptied once it is done.
    pub work: Work,
    /// The latest attempt that may have been handed out; before the first, the job's `attempts_before`.
    pub attempt: AttemptId,
    /// When an attempt was first handed out, in milliseconds of UNIX time; `None`: none was.
    #[serde(default)]
    pub handed_out_ms: Option<u64>,
    /// Where it stands.
    pub state: TaskState,
    /// Attempts that failed or were refused, in order.
    pub failures: Vec<Failure>,
    /// The receipt refused last, to see whether the next attempt claims the same.
    pub refused: Option<Box<Receipt>>,
}

impl TaskRecord {
    /// A task that nobody has tried since `attempt`.
    pub fn new(id: TaskId, work: Work, attempt: AttemptId) -> Self {
        let state = TaskState::Waiting;
        Self { id, work, attempt, handed_out_ms: None, state, failures: Vec::new(), refused: None }
    }

    /// The receipt that counts.
    pub fn receipt(&self) -> Option<&Receipt> {
        match &self.state {
            TaskState::Done(accepted) => Some(&accepted.receipt),
            TaskState::Waiting | TaskState::Out => None,
        }
    }

    /// When its last attempt ended, in milliseconds of UNIX time; `None`: none has.
    pub fn newest_ms(&self) -> Option<u64> {
        let failed = self.failures.last().map(|failure| failure.at_ms);
        match &self.state {
            TaskState::Done(accepted) => failed.max(Some(accepted.at_ms)),
            TaskState::Waiting | TaskState::Out => failed,
        }
    }
}

/// Where a task stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// To be handed out.
    Waiting,
    /// An attempt is queued or running.
    Out,
    /// The first receipt that passed the checks.
    Done(Box<Accepted>),
}

/// The result that counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Accepted {
    /// The attempt that made it.
    pub attempt: AttemptId,
    /// Who made it.
    pub worker: WorkerId,
    /// When it arrived, in milliseconds of UNIX time.
    pub at_ms: u64,
    /// What it claims.
    pub receipt: Receipt,
}

/// An attempt that did not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Which attempt.
    pub attempt: AttemptId,
    /// Who tried; `None` if nobody had taken it, or nobody was heard.
    pub worker: Option<WorkerId>,
    /// When it was known, in milliseconds of UNIX time.
    pub at_ms: u64,
    /// Reduced to what is done about it.
    pub kind: ErrorKind,
    /// Stable, `snake_case`.
    pub code: String,
    /// What happened.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_moves_of_the_table_are_legal() {
        use JobState::*;
        let failed = Failed(ErrorKind::Input);
        let all = [Probing, Encoding, Publishing, Completed, failed, Cancelled];
        let legal: Vec<(usize, usize)> = (0..all.len())
            .flat_map(|from| (0..all.len()).map(move |to| (from, to)))
            .filter(|&(from, to)| all[from].may_become(all[to]))
            .collect();
        assert_eq!(
            legal,
            [
                [(0, 1), (0, 4), (0, 5), (1, 2), (1, 4), (1, 5), (2, 1), (2, 3), (2, 4), (2, 5)].as_slice(),
                &[(4, 0), (4, 1), (5, 0), (5, 1)],
            ]
            .concat()
        );
    }

    #[test]
    fn a_wrong_spec_is_refused_with_all_complaints() {
        let spec = JobSpec {
            id: JobId::new("a").unwrap(),
            tenant: TenantId::default(),
            keep_parts_ms: 0,
            places: Places { source: "s".into(), target: "t".into(), work: "w".into() },
            profile: Profile::named("web").unwrap(),
            segment_ms: 1_000,
            rungs: Rungs::Named(vec![144]),
            preset: Some("warp".into()),
            movies: false,
            growing_ms: None,
        };
        assert_eq!(spec.check().unwrap_err().len(), 3);
        let right = JobSpec { segment_ms: 6_000, rungs: Rungs::All, preset: None, ..spec };
        assert_eq!(right.check(), Ok(()));
    }
}
