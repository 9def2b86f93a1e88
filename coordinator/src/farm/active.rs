//! What is kept in memory of a job that is under way.

use std::collections::{BTreeMap, BTreeSet};

use shared::error::{ErrorKind, TaskError};
use shared::fleet::{AttemptRef, Class, HEARTBEAT_MS};
use shared::index::AudioRun;
use shared::task::{AttemptId, IndexTask, Progress, Task, TaskId, TaskName, Work, WorkerId};
use shared::time::SegmentGrid;

use super::Command;
use super::archiving::Leaving;
use super::ending::Ending;
use super::placing;
use super::publication::Publishing;
use super::stock::Stocktaking;
use super::taken::Taken;
use super::view::Unseen;
use crate::job::{JobRecord, JobSpec, JobState, Submission, TaskRecord, TaskState};
use crate::plan::Planner;
use crate::plan::tasks::VideoPlan;
use crate::retry;
use crate::stitch::VideoTrack;
use crate::workers::LOST_AFTER_MS;

/// How long an attempt that has left the queue may be unheard of: a worker that has it would have named it by then, or
/// would be gone.
const UNHEARD_MS: u64 = LOST_AFTER_MS + HEARTBEAT_MS;
/// Before a task that the queue did not take is offered again.
const ENQUEUE_PAUSE_MS: u64 = 1_000;

/// A job and everything that can be worked out again from its records.
#[derive(Debug)]
pub(super) struct ActiveJob {
    pub(super) record: JobRecord,
    pub(super) tasks: BTreeMap<TaskName, ActiveTask>,
    /// What the running attempt at the index has told.
    pub(super) indexing: Option<Indexing>,
    /// The chunks from the first one on that are done, joined.
    pub(super) joined: Joined,
    pub(super) publishing: Publishing,
    pub(super) stocktaking: Stocktaking,
    /// `Some` if the state is final and something is left to remove.
    pub(super) ending: Option<Ending>,
    /// Attempts of the settled job may write until then.
    pub(super) litter_until_ms: Option<u64>,
    /// Another job writes to its target by now.
    pub(super) target_is_anothers: bool,
    pub(super) leaving: Leaving,
    /// Since when its chunks wait for GPUs that are being tried; `None`: they never did.
    pub(super) awaits_trial_since_ms: Option<u64>,
    /// Since when they wait for a worker with a GPU, where there is none; `None`: they do not.
    pub(super) awaits_gpu_since_ms: Option<u64>,
    /// What people have not been shown yet.
    pub(super) unseen: Unseen,
}

/// A task and what a restarted coordinator need not know of it.
#[derive(Debug)]
pub(super) struct ActiveTask {
    pub(super) record: TaskRecord,
    /// A pause after a failure.
    pub(super) not_before_ms: u64,
    /// When the current attempt was put on the queue; 0 if an earlier coordinator has put it there.
    pub(super) queued_ms: u64,
    /// When it was seen that the current attempt has left the queue, though nobody has said a word about it.
    left_queue_ms: Option<u64>,
    /// When the current attempt last said something; `None` while it is queued.
    pub(super) heard_ms: Option<u64>,
    /// Who makes the current attempt; `None` while it is queued.
    pub(super) holder: Option<WorkerId>,
    /// When the current attempt first said something.
    pub(super) begun_ms: Option<u64>,
    pub(super) progress: Option<Progress>,
    /// An earlier attempt that may still finish first.
    pub(super) rival: Option<AttemptId>,
    /// Two attempts have run at once.
    pub(super) had_rival: bool,
    /// Another worker may be able to do what the last one could not.
    pub(super) elsewhere: bool,
}

/// State of one attempt at the index: a new attempt begins from nothing.
#[derive(Debug)]
pub(super) struct Indexing {
    /// Which attempt, and who makes it.
    pub(super) teller: (AttemptId, WorkerId),
    /// `None` iff no video is made.
    pub(super) video: Option<(VideoPlan, Planner)>,
    pub(super) audio: BTreeMap<u32, Vec<AudioRun>>,
    /// Chunks planned by this attempt.
    pub(super) chunks: u32,
}

impl Indexing {
    pub(super) fn is_told_by(&self, attempt: AttemptId, worker: &WorkerId) -> bool {
        self.teller.0 == attempt && self.teller.1 == *worker
    }
}

/// The playable beginning.
#[derive(Debug, Default)]
pub(super) struct Joined {
    pub(super) tracks: Vec<VideoTrack>,
    pub(super) chunks: u32,
    /// The chunk joined last lacks frames that its packet lists promise.
    pub(super) damaged: bool,
}

impl ActiveTask {
    pub(super) fn new(record: TaskRecord) -> Self {
        Self {
            record,
            not_before_ms: 0,
            queued_ms: 0,
            left_queue_ms: None,
            heard_ms: None,
            holder: None,
            begun_ms: None,
            progress: None,
            rival: None,
            had_rival: false,
            elsewhere: false,
        }
    }

    /// Back to the backlog.
    pub(super) fn wait_until(&mut self, not_before_ms: u64) {
        self.record.state = TaskState::Waiting;
        self.not_before_ms = not_before_ms;
        self.left_queue_ms = None;
        self.heard_ms = None;
        self.holder = None;
        self.begun_ms = None;
        self.progress = None;
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.record.state, TaskState::Done(_))
    }
}

impl ActiveJob {
    pub(super) fn new(record: JobRecord, tasks: Vec<TaskRecord>) -> Self {
        let tasks = tasks.into_iter().map(|task| (task.id.name, ActiveTask::new(task)));
        Self {
            record,
            tasks: tasks.collect(),
            indexing: None,
            joined: Joined::default(),
            publishing: Publishing::default(),
            stocktaking: Stocktaking::default(),
            ending: None,
            litter_until_ms: None,
            target_is_anothers: false,
            leaving: Leaving::default(),
            awaits_trial_since_ms: None,
            awaits_gpu_since_ms: None,
            unseen: Unseen::whole(),
        }
    }

    /// After a restart of the coordinator: what was in hand goes on, or is handed out again if the queue has not kept
    /// it; the index always, as what it has told is forgotten. What had ended is put away.
    pub(super) fn resume(&mut self, queue_kept: bool, now_ms: u64) {
        let goes_on = |task: &ActiveTask| queue_kept && task.record.id.name != TaskName::Index;
        for task in self.tasks.values_mut().filter(|task| task.record.state == TaskState::Out && !goes_on(task)) {
            task.wait_until(0);
        }
        if self.record.state.is_final() && !self.record.settled {
            self.ending = Some(Ending::new(now_ms, self.kept_ms(now_ms)));
        }
    }

    /// What waited on the queue is gone; what a worker makes already goes on.
    pub(super) fn queue_lost(&mut self) {
        self.hand_out_again(|_| true);
    }

    /// Tasks that wait on the queue are handed out once more.
    pub(super) fn hand_out_again(&mut self, which: impl Fn(TaskName) -> bool) {
        let waiting = |task: &&mut ActiveTask| task.record.state == TaskState::Out && task.holder.is_none();
        for task in self.tasks.values_mut().filter(waiting).filter(|task| which(task.record.id.name)) {
            task.wait_until(0);
            self.unseen.tasks = true;
        }
    }

    /// What was put on the queue before `taken` and is unheard of after [`UNHEARD_MS`] has died with its worker, before
    /// this coordinator heard of either. It is made again, and nothing is counted.
    pub(super) fn hand_out_lost(&mut self, taken: &Taken, now_ms: u64) {
        let unheard = |task: &&mut ActiveTask| task.record.state == TaskState::Out && task.heard_ms.is_none();
        let video_class = self.video_class();
        for task in self.tasks.values_mut().filter(unheard) {
            if task.queued_ms < taken.before(placing::lane(task.record.id.name, video_class)) {
                let left_queue_ms = *task.left_queue_ms.get_or_insert(now_ms);
                if left_queue_ms + UNHEARD_MS <= now_ms {
                    task.wait_until(0);
                    self.unseen.tasks = true;
                }
            }
        }
    }

    /// The latest attempt at a task, given up for lost, is alive after all. Says whether it was given up. One at the index
    /// has told pieces meanwhile that nobody listened to.
    pub(super) fn take_back(&mut self, name: TaskName, attempt: AttemptId, out: &mut Vec<Command>) -> bool {
        let given_up =
            |task: &&mut ActiveTask| task.record.attempt == attempt && task.record.state == TaskState::Waiting;
        let live = name != TaskName::Index && !self.record.state.is_final() && self.knows(name, attempt);
        let Some(task) = self.tasks.get_mut(&name).filter(|task| live && given_up(task)) else { return false };
        task.record.state = TaskState::Out;
        out.push(Command::SaveTask(Box::new(task.record.clone())));
        true
    }

    /// The current attempts that this worker makes.
    pub(super) fn held_by(&self, worker: &WorkerId) -> impl Iterator<Item = AttemptRef> {
        let held = self.tasks.values().filter(move |task| task.holder.as_ref() == Some(worker));
        held.map(|task| AttemptRef { task: task.record.id.clone(), attempt: task.record.attempt })
    }

    /// Whether submitting it again begins anew: it failed or was called off.
    pub(super) fn starts_over(&self) -> bool {
        self.record.state.is_final() && self.record.state != JobState::Completed
    }

    /// Whether what lies at the target is the job's, or will be.
    pub(super) fn holds_target(&self) -> bool {
        !self.record.settled || self.ending.is_some() || self.record.state == JobState::Completed
    }

    /// For how long the parts of a job that had ended before a restart are still kept.
    fn kept_ms(&self, now_ms: u64) -> u64 {
        let JobRecord { state, spec, ended_ms, erase, parts_gone, .. } = &self.record;
        if !matches!(state, JobState::Failed(_)) || erase.is_some() || *parts_gone {
            return 0;
        }
        ended_ms.map_or(0, |ended| ended.saturating_add(spec.keep_parts_ms).saturating_sub(now_ms))
    }

    /// It was submitted again. Says whether it starts over now; a job that is ending does so when it is settled, which
    /// is soon then.
    pub(super) fn resubmit(&mut self, submission: &Submission, out: &mut Vec<Command>) -> bool {
        self.unseen.job = true;
        if !submission.again || !self.starts_over() {
            return false;
        }
        let over = self.record.settled && self.ending.is_none();
        if !over {
            self.follow_with(submission.clone(), out);
            if let Some(ending) = &mut self.ending {
                ending.hurry();
            }
        }
        over
    }

    /// Remembers what is to follow the job's end.
    pub(super) fn follow_with(&mut self, submission: Submission, out: &mut Vec<Command>) {
        self.record.resubmitted = Some(Box::new(submission));
        self.unseen.job = true;
        out.push(Command::SaveJob(Box::new(self.record.clone())));
    }

    pub(super) fn grid(&self) -> SegmentGrid {
        SegmentGrid::new(self.record.spec.segment_ms).expect("a submitted job should have a checked segment duration")
    }

    pub(super) fn id(&self, name: TaskName) -> TaskId {
        TaskId { job: self.record.spec.id.clone(), name }
    }

    pub(super) fn index_done(&self) -> bool {
        self.tasks.get(&TaskName::Index).is_some_and(ActiveTask::is_done)
    }

    /// Whether this attempt was ever handed out in this life of the job.
    pub(super) fn knows(&self, name: TaskName, attempt: AttemptId) -> bool {
        let before = self.record.attempts_before;
        self.tasks.get(&name).is_some_and(|task| before < attempt && attempt <= task.record.attempt)
    }

    /// Whether anything would come of this attempt.
    pub(super) fn wants(&self, name: TaskName, attempt: AttemptId) -> bool {
        let wanted = |task: &ActiveTask| {
            let current = task.record.state == TaskState::Out && task.record.attempt == attempt;
            !task.is_done() && (current || task.rival == Some(attempt))
        };
        !self.record.state.is_final() && self.tasks.get(&name).is_some_and(wanted)
    }

    /// Attempts of a class that run or wait to.
    pub(super) fn in_hand(&self, class: Class) -> usize {
        let out = |task: &&ActiveTask| task.record.state == TaskState::Out;
        self.tasks.values().filter(out).filter(|task| self.lane(task.record.id.name).class == class).count()
    }

    /// The highest number that an attempt was ever given.
    pub(super) fn last_attempt(&self) -> AttemptId {
        self.tasks.values().map(|task| task.record.attempt).max().unwrap_or(self.record.attempts_before)
    }

    /// Which try of this life it is: 1 is the first.
    pub(super) fn ordinal(&self, attempt: AttemptId) -> u32 {
        attempt.0.saturating_sub(self.record.attempts_before.0)
    }

    /// What can be done without anybody's help.
    pub(super) fn advance(&mut self, now_ms: u64, out: &mut Vec<Command>) {
        if self.record.state == JobState::Probing && !self.tasks.contains_key(&TaskName::Index) {
            let JobSpec { profile, growing_ms, .. } = &self.record.spec;
            let work = Work::Index(IndexTask { max_pixels: profile.max_pixels, growing_ms: *growing_ms });
            self.add_task(TaskName::Index, work, out);
        }
        self.take_stock(now_ms, out);
        self.join(now_ms, out);
        self.add_storyboard(out);
        self.publish(now_ms, out);
        self.clean_up(now_ms, out);
    }

    pub(super) fn add_task(&mut self, name: TaskName, work: Work, out: &mut Vec<Command>) {
        let record = TaskRecord::new(self.id(name), work, self.record.attempts_before);
        out.push(Command::SaveTask(Box::new(record.clone())));
        self.tasks.insert(name, ActiveTask::new(record));
        self.unseen.tasks = true;
    }

    /// Makes a new attempt of a task; one that runs becomes its rival.
    pub(super) fn hand_out(&mut self, name: TaskName, now_ms: u64) -> Option<(TaskRecord, Task)> {
        let places = self.record.spec.places.clone();
        let source_mark = self.record.source.as_ref().and_then(|source| source.mark.clone());
        let task = self.tasks.get_mut(&name)?;
        if task.record.state == TaskState::Out {
            (task.rival, task.had_rival) = (Some(task.record.attempt), true);
            task.wait_until(0);
        }
        let last = task.record.attempt;
        task.record.attempt = AttemptId(self.record.called_off.map_or(last, |called_off| called_off.max(last)).0 + 1);
        task.record.state = TaskState::Out;
        task.record.handed_out_ms.get_or_insert(now_ms);
        if let Work::Video(work) = &mut task.record.work {
            work.pins.clone_from(&self.record.pins);
        }
        task.queued_ms = now_ms;
        self.unseen.tasks = true;
        let TaskRecord { id, attempt, work, .. } = &task.record;
        let (id, work, avoid, trace) = (id.clone(), work.clone(), Vec::new(), None);
        let order = Task { id, attempt: *attempt, places, source_mark, work, avoid, trace };
        Some((task.record.clone(), order))
    }

    /// The current attempt lives, and who makes it has said so. Returns when it was queued.
    pub(super) fn heard(
        &mut self,
        name: TaskName,
        attempt: AttemptId,
        worker: &WorkerId,
        progress: Option<Progress>,
        now_ms: u64,
    ) -> Option<u64> {
        let task = self.tasks.get_mut(&name)?;
        if task.record.attempt != attempt || task.record.state != TaskState::Out {
            return None;
        }
        task.heard_ms = Some(now_ms);
        task.begun_ms.get_or_insert(now_ms);
        task.progress = progress.or(task.progress);
        if task.holder.as_ref() != Some(worker) {
            task.holder = Some(worker.clone());
        }
        self.unseen.tasks = true;
        Some(task.queued_ms)
    }

    /// Attempts that have begun and then said nothing for too long count as failed.
    pub(super) fn give_up_silent(&mut self, silence_ms: u64, now_ms: u64, out: &mut Vec<Command>) {
        let silent = |task: &&ActiveTask| {
            task.record.state == TaskState::Out && task.heard_ms.is_some_and(|heard| heard + silence_ms <= now_ms)
        };
        let lost: BTreeSet<TaskName> = self.tasks.values().filter(silent).map(|task| task.record.id.name).collect();
        for name in lost {
            let message = format!("nothing was heard of the worker for {} s", silence_ms / 1000);
            let error = TaskError::new(ErrorKind::Transient, retry::WORKER_LOST, message);
            self.count_failure(name, error, None, now_ms, out);
        }
    }

    /// The worker that held the current attempt is gone.
    pub(super) fn attempt_lost(
        &mut self,
        name: TaskName,
        attempt: AttemptId,
        worker: &WorkerId,
        now_ms: u64,
        out: &mut Vec<Command>,
    ) {
        if self.went_with(name, attempt, worker) {
            let error = TaskError::new(ErrorKind::Transient, retry::WORKER_LOST, format!("worker {worker} is gone"));
            self.count_failure(name, error, Some(worker), now_ms, out);
        }
    }

    /// The worker that held the current attempt has ended as it was told to, and given it back: nobody has failed.
    pub(super) fn given_back(&mut self, name: TaskName, attempt: AttemptId, worker: &WorkerId, now_ms: u64) {
        if self.went_with(name, attempt, worker)
            && let Some(task) = self.tasks.get_mut(&name)
        {
            task.wait_until(now_ms);
            self.unseen.tasks = true;
        }
    }

    /// Whether a task waits for an attempt that went with a worker. Nobody waits any longer for one that was a rival's.
    fn went_with(&mut self, name: TaskName, attempt: AttemptId, worker: &WorkerId) -> bool {
        if self.rival_over(name, attempt) {
            return false;
        }
        let held_by_another = |task: &ActiveTask| task.holder.as_ref().is_some_and(|holder| holder != worker);
        self.wants(name, attempt) && !self.tasks.get(&name).is_some_and(held_by_another)
    }

    /// Whether it was a rival's, which nobody waits for any longer then.
    pub(super) fn rival_over(&mut self, name: TaskName, attempt: AttemptId) -> bool {
        let rival = self.tasks.get_mut(&name).and_then(|task| task.rival.take_if(|rival| *rival == attempt));
        rival.is_some()
    }

    /// The queue did not take the current attempt. It was never made, so nothing is counted, however long that lasts.
    pub(super) fn not_enqueued(&mut self, name: TaskName, attempt: AttemptId, now_ms: u64) {
        let current = |task: &&mut ActiveTask| task.record.attempt == attempt && task.record.state == TaskState::Out;
        if let Some(task) = self.tasks.get_mut(&name).filter(current) {
            task.wait_until(now_ms + ENQUEUE_PAUSE_MS);
            self.unseen.tasks = true;
        }
    }
}
