//! What the core is told, and what it asks for.

use std::collections::BTreeSet;

use shared::fleet::{AttemptRef, Class, Directive, Heartbeat, Lane};
use shared::task::{JobId, Places, Task, TaskId, TaskName, TaskReport, TenantId, WorkerId};

use crate::archive::Archived;
use crate::job::{JobRecord, JobView, Submission, TaskRecord, TermsChange};
use crate::publish::{Certificate, RunReport};
use crate::stitch::Presentation;
use crate::workers::{Hold, Quarantined};

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A job was asked for. One that is known and was asked for in the same words goes on as it is, unless it failed or
    /// was cancelled: then it starts over, if that is wanted.
    Submitted(Box<Submission>),
    /// A person wants what failed, or was called off, to be tried again. A job of which nothing is left starts over.
    Retried(JobId),
    /// A person wants other terms for a job. One that has ended keeps its own.
    Updated(JobId, TermsChange),
    /// A person wants a job to be gone: called off first if need be; with `true`, its presentation goes too.
    Deleted(JobId, bool),
    /// The coordinator has started. Comes first.
    Restored(Box<Restored>),
    /// A worker said something.
    Report(Box<TaskReport>),
    /// A task could not be put on the queue.
    NotEnqueued(AttemptRef),
    /// The queue has lost what was on it.
    QueueLost,
    /// So many tasks on the queue wait for a worker.
    QueueDepth(u64),
    /// The queue has given an attempt up.
    Undeliverable(AttemptRef),
    /// A worker said something of itself.
    Heartbeat(Heartbeat),
    /// A person wants a worker to hold (`true`) or to work again.
    Hold(WorkerId, bool),
    /// A person wants a worker to finish what runs and to end.
    Drain(WorkerId),
    /// A round of publishing has ended well.
    Published {
        /// Of which job.
        job: JobId,
        /// There is a multivariant playlist.
        multivariant: bool,
    },
    /// A round of publishing has failed.
    PublishFailed {
        /// Of which job.
        job: JobId,
        /// Trying again may help.
        transient: bool,
        /// A segment that it reads is not there.
        missing: bool,
        /// What happened.
        message: String,
    },
    /// What [`Command::TakeStock`] asks for: what is not there; or why that is not known.
    StockTaken(JobId, Result<Objects, String>),
    /// The record of a task would be so many bytes long, which is more than the store takes: it was not saved.
    TooLong(TaskId, usize),
    /// What [`Command::CleanUp`] asked for is done, or why not.
    CleanedUp(JobId, Result<(), String>),
    /// What [`Command::Archive`] asked for is done (`true`) or not.
    Archived(JobId, bool),
    /// A person wants something of a job that was put away: it is known again.
    Recalled(Box<JobRecord>),
    /// A person called a job off.
    Cancelled(JobId),
    /// Time has passed.
    Tick,
}

/// What the store remembers, and what is left of the queue.
#[derive(Debug, Clone, Default)]
pub struct Restored {
    /// Every job.
    pub jobs: Vec<JobRecord>,
    /// Every task of jobs that are not settled.
    pub tasks: Vec<TaskRecord>,
    /// Workers that are told to hold.
    pub holds: Vec<(WorkerId, Hold)>,
    /// The queue still has what an earlier coordinator put on it.
    pub queue_kept: bool,
}

impl Restored {
    /// When an earlier coordinator last wrote what the time was, in milliseconds of UNIX time; 0: never.
    pub fn newest_ms(&self) -> u64 {
        let steps = self.jobs.iter().filter_map(|job| job.history.last()).map(|moment| moment.at_ms);
        let ends = self.tasks.iter().filter_map(TaskRecord::newest_ms);
        steps.chain(ends).max().unwrap_or(0)
    }
}

/// Something to be done. What is saved or forgotten is so durably, in order, before anything after it is carried out.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Remember a job.
    SaveJob(Box<JobRecord>),
    /// Remember a task.
    SaveTask(Box<TaskRecord>),
    /// Forget all tasks of a job.
    ForgetTasks(JobId),
    /// Forget a job: nobody is told of it any more.
    ForgetJob(JobId),
    /// Remember that a worker is told to hold, or forget it.
    SaveHold(WorkerId, Option<Hold>),
    /// Offer an attempt to the workers.
    Enqueue(Box<Task>, Lane),
    /// Take back what waits on the queue for a class: it has been handed out anew.
    Clear(Class),
    /// Write a round of playlists; answered by [`Event::Published`] or [`Event::PublishFailed`]. One at a time per job.
    Publish(Box<Round>),
    /// Tell the workers.
    Direct(Directive),
    /// Look which of these objects of a job are there; answered by [`Event::StockTaken`]. One at a time per job.
    TakeStock(JobId, Places, Box<Objects>),
    /// Remove what a job leaves behind; answered by [`Event::CleanedUp`].
    CleanUp(Box<CleanUp>),
    /// Put a job away; answered by [`Event::Archived`].
    Archive(Box<Archived>),
    /// Tell people.
    Notify(Box<JobView>),
    /// Tell people that two processes of one name live, by host: the one that is listened to, and the other.
    WarnOfTwin(WorkerId, [String; 2]),
    /// Count it. It comes after what is saved of it, and never from what is restored: nothing is counted twice.
    Count(Count),
}

/// Something that happened, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// A job can be played, so many milliseconds after it was asked for or tried again.
    Playable(u64),
    /// A job has ended, so many milliseconds after it was asked for or tried again.
    Ended(HowEnded, u64),
    /// A task is tried again after a failure.
    Retry(TaskName),
    /// Something became of an attempt that is made beside a slow one.
    Hedge(Hedge),
    /// A worker was put under quarantine.
    Quarantine(Quarantined),
}

/// How a job has ended, by whose doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HowEnded {
    /// The presentation is whole.
    Succeeded,
    /// A person called it off.
    Cancelled,
    /// Nothing can be made of the source, or not what was asked for.
    Refused,
    /// The farm could not make it.
    Failed,
}

/// What became of an attempt that is made beside a slow one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hedge {
    /// It was handed out.
    Started,
    /// It was done first.
    Won,
    /// The slow one was done first.
    Lost,
}

/// Objects that a job's tasks have made, by key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Objects {
    /// Below the target.
    pub target: BTreeSet<String>,
    /// Below the place of work.
    pub work: BTreeSet<String>,
}

/// One round of publishing.
#[derive(Debug, Clone, PartialEq)]
pub struct Round {
    /// Of which job.
    pub job: JobId,
    /// Where to.
    pub places: Places,
    /// What.
    pub presentation: Presentation,
    /// Of the last round only.
    pub last: Option<LastWords>,
}

/// What goes with the complete presentation.
#[derive(Debug, Clone, PartialEq)]
pub struct LastWords {
    /// What was made of what; its movies are still to be made.
    pub certificate: Certificate,
    /// Make them.
    pub movies: bool,
    /// How.
    pub report: RunReport,
}

/// What a job leaves behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CleanUp {
    /// Of which job.
    pub job: JobId,
    /// Everything below `work` goes.
    pub places: Places,
    /// Of the presentation only the playlists go, and below `work` nothing.
    pub keep_parts: bool,
    /// The presentation goes too. `None`: it stays.
    pub take_away: Option<TakeAway>,
    /// What the archive of this tenant has of it goes too.
    pub forget: Option<TenantId>,
}

/// What goes of a presentation that will not be completed, besides its playlists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakeAway {
    /// All segments of these renditions, whoever made them.
    pub renditions: Vec<String>,
    /// Keys of poster and storyboard sheets.
    pub images: Vec<String>,
    /// It was complete: all images that lie where ours do go too.
    pub whole: bool,
}

/// Why a job is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Its id is used by a job with another content.
    Taken,
    /// Its target is another job's; which one, if it is the same tenant's.
    TargetHeld(Option<JobId>),
}
