//! How much work there is, and where it stands. Counted when somebody asks.

use std::collections::BTreeMap;

use shared::fleet::{Class, Lane, Urgency};
use shared::task::TaskName;

use super::Farm;
use super::active::{ActiveJob, ActiveTask};
use super::stragglers::length_ms;
use crate::job::TaskState;

/// Work of a class that is not done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Milliseconds of presentation that are not encoded yet. What is not known to need encoding does not count.
    pub left_ms: u64,
    /// Tasks that are not done and have no such length: indexes, sound, storyboards, chunks of unknown end.
    pub unmeasured: u32,
    /// For so many milliseconds the oldest task has waited: on the queue, or for it if it makes a job playable or if there is
    /// nobody to queue it for. 0 if none does.
    pub oldest_ms: u64,
    /// Milliseconds of presentation that a slot was last heard to encode in a second; 0: never.
    pub speed_ms_per_s: u32,
}

/// Tasks of jobs that are under way and that are not done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TaskCounts {
    /// To be handed out.
    pub waiting: u64,
    /// On the queue.
    pub queued: u64,
    /// In a worker's hands.
    pub running: u64,
}

impl Farm {
    /// What is left to do, by class.
    pub fn backlog(&self, now_ms: u64) -> BTreeMap<Class, Backlog> {
        let empty = |class| Backlog { speed_ms_per_s: self.workers.last_speed(class), ..Backlog::default() };
        let mut backlogs: BTreeMap<Class, Backlog> = Class::ALL.map(|class| (class, empty(class))).into();
        for (job, task) in self.open_tasks() {
            let backlog = backlogs.entry(job.lane(task.record.id.name).class).or_default();
            let done = task.progress.map_or(0, |progress| progress.done_ms);
            match length_ms(&task.record.work) {
                0 => backlog.unmeasured += 1,
                length_ms => backlog.left_ms += length_ms.saturating_sub(done),
            }
            backlog.oldest_ms = backlog.oldest_ms.max(self.waited_ms(job, task, now_ms));
        }
        backlogs
    }

    /// For how long a task has waited for somebody to begin it. Later chunks wait in the backlog by design.
    fn waited_ms(&self, job: &ActiveJob, task: &ActiveTask, now_ms: u64) -> u64 {
        let Lane { class, urgency } = job.lane(task.record.id.name);
        let tried_ms = job.record.submitted_ms.max(task.queued_ms).max(task.not_before_ms);
        let since_ms = match task.record.state {
            TaskState::Out if task.begun_ms.is_none() && task.queued_ms > 0 => task.queued_ms,
            TaskState::Waiting if self.workers.slots(class) == 0 => tried_ms.max(self.workers.last_seen_ms(class)),
            TaskState::Waiting if urgency == Urgency::Urgent => tried_ms,
            _ => now_ms,
        };
        now_ms.saturating_sub(since_ms)
    }

    /// How many tasks there are of each [kind](TaskName::kind), by where they stand.
    pub fn task_counts(&self) -> BTreeMap<&'static str, TaskCounts> {
        let mut counts = BTreeMap::from(TaskName::KINDS.map(|kind| (kind, TaskCounts::default())));
        for (_, task) in self.open_tasks() {
            let counts = counts.entry(task.record.id.name.kind()).or_default();
            match task.record.state {
                TaskState::Out if task.begun_ms.is_some() => counts.running += 1,
                TaskState::Out => counts.queued += 1,
                TaskState::Waiting | TaskState::Done(_) => counts.waiting += 1,
            }
        }
        counts
    }

    /// Tasks that are not done, of jobs that are under way.
    fn open_tasks(&self) -> impl Iterator<Item = (&ActiveJob, &ActiveTask)> {
        let live = self.jobs.values().filter(|job| !job.record.state.is_final());
        live.flat_map(|job| job.tasks.values().filter(|task| !task.is_done()).map(move |task| (job, task)))
    }
}
