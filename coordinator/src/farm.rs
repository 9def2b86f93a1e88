//! The pure core of the farm: events in, commands out; no clock, no I/O, no waiting.
//!
//! Five invariants, each with a test of its name in `coordinator/tests/events/invariants.rs`:
//!
//! 1. *Save before Enqueue*: nothing is asked of a worker that a restarted coordinator wouldn't know of.
//! 2. *First complete report wins*: a task has at most one accepted report; later ones change nothing.
//! 3. *A key has one content*: a key carries its content's hash, so no attempt can overwrite what counts.
//! 4. *Master means done*: the multivariant playlist leads only to objects that exist and were checked.
//! 5. *One decoder config a track*: all segments of a rendition were made for the same init segment, or the job fails
//!    loudly.
//!
//! Commands are carried out in the order they are given. A restart is: load the records, [`Event::Restored`], and
//! whatever is unfinished comes out again as commands.
//!
//! | module | decides |
//! |---|---|
//! | [`active`] | what is kept in memory of a job that is under way |
//! | [`indexing`] | what an index report means: ladder, plan, refusal |
//! | [`results`] | what a task's end means: accepted, refused, again |
//! | [`stragglers`] | which attempts get a rival |
//! | [`taken`] | which attempts have left the queue |
//! | [`publication`] | when to publish, and what |
//! | [`requests`] | trying again, other terms, being gone |
//! | [`ending`] | completed, failed, cancelled; what is removed |
//! | [`archiving`] | when a job that has ended is put away |
//! | [`explain`] | what has become of a job, in sentences |
//! | [`view`] | what people see |

mod active;
mod archiving;
mod ending;
mod explain;
mod indexing;
mod publication;
mod requests;
mod results;
mod stragglers;
mod taken;
mod view;

use std::collections::BTreeMap;

use shared::error::{ErrorKind, TaskError};
use shared::fleet::{AttemptRef, Class, Directive, Heartbeat, Lane, Urgency};
use shared::task::{AttemptId, JobId, Outcome, Places, Task, TaskId, TaskName, TaskReport, TenantId, WorkerId};

use crate::archive::Archived;
use crate::job::{JobRecord, JobSpec, JobView, Milestone, Submission, TaskRecord, TaskState, TermsChange};
use crate::publish::{Certificate, RunReport};
use crate::schedule::{self, Waiting, Weights};
use crate::stitch::Presentation;
use crate::workers::{Hold, WorkerView, Workers};
use active::{ActiveJob, ActiveTask};
pub use explain::{Backlog, Line};
use results::Claim;
use taken::Taken;

/// What the core must know of the farm around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FarmConfig {
    /// How tenants share the farm.
    pub weights: Weights,
    /// An attempt that has begun and says nothing for so long is lost, in milliseconds.
    pub silence_ms: u64,
}

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
        /// What happened.
        message: String,
    },
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
    /// Write a round of playlists; answered by [`Event::Published`] or [`Event::PublishFailed`]. One at a time per job.
    Publish(Box<Round>),
    /// Tell the workers.
    Direct(Directive),
    /// Remove what a job leaves behind; answered by [`Event::CleanedUp`].
    CleanUp(Box<CleanUp>),
    /// Put a job away; answered by [`Event::Archived`].
    Archive(Box<Archived>),
    /// Tell people.
    Notify(Box<JobView>),
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

/// Room for the views of a millisecond in their sequence numbers.
pub(crate) const VIEWS_PER_MS: u64 = 1_000;

/// All jobs.
#[derive(Debug)]
pub struct Farm {
    config: FarmConfig,
    jobs: BTreeMap<JobId, ActiveJob>,
    workers: Workers,
    taken: Taken,
    /// The highest attempt number of jobs that are gone.
    forgotten: AttemptId,
    /// Of the last view.
    sequence: u64,
    /// How long jobs that have ended are kept here; `None`: for ever.
    keep_finished_ms: Option<u64>,
    /// When it is looked next for jobs to put away.
    look_ms: u64,
}

impl Farm {
    /// A farm without jobs.
    pub fn new(config: FarmConfig) -> Self {
        let (jobs, workers) = (BTreeMap::new(), Workers::default());
        let (taken, forgotten) = (Taken::default(), AttemptId(0));
        Self { config, jobs, workers, taken, forgotten, sequence: 0, keep_finished_ms: None, look_ms: 0 }
    }

    /// Jobs are put away so many milliseconds after their end.
    pub fn keeping(self, finished_ms: Option<u64>) -> Self {
        Self { keep_finished_ms: finished_ms, ..self }
    }

    /// Whether a job can't be taken: its id is used by one that was asked for in other words and would not start over, or
    /// its target is another's.
    pub fn refuses(&self, submission: &Submission) -> Option<Refusal> {
        let Submission { spec, again, .. } = submission;
        let starts_over = |known: &ActiveJob| *again && known.starts_over();
        match self.jobs.get(&spec.id) {
            Some(known) if starts_over(known) => self.holder(spec),
            Some(known) => (!known.record.is_asked_for_by(submission)).then_some(Refusal::Taken),
            None => self.holder(spec),
        }
    }

    /// Whether a job can't be tried again: its target has become another's.
    pub fn refuses_retry(&self, id: &JobId) -> Option<Refusal> {
        self.jobs.get(id).filter(|job| job.starts_over()).and_then(|job| self.holder(&job.record.spec))
    }

    /// A settled job is tidied up once more if attempts have outlived it; by then its target may be another's.
    fn spare_others(&self, out: &mut [Command]) {
        let others = |id: &JobId| {
            self.jobs.get(id).is_some_and(|job| job.record.settled && self.holder(&job.record.spec).is_some())
        };
        for command in out {
            if let Command::CleanUp(order) = command
                && others(&order.job)
            {
                order.take_away = None;
            }
        }
    }

    /// Another job's target is its own until it is deleted or put away, or has failed and left nothing.
    fn holder(&self, spec: &JobSpec) -> Option<Refusal> {
        let mut others = self.jobs.values().filter(|job| job.record.spec.id != spec.id);
        let holder = others.find(|job| job.record.spec.places.target == spec.places.target && job.holds_target())?;
        let JobSpec { id, tenant, .. } = &holder.record.spec;
        Some(Refusal::TargetHeld((*tenant == spec.tenant).then(|| id.clone())))
    }

    /// One event alone.
    pub fn apply(&mut self, event: Event, now_ms: u64) -> Vec<Command> {
        self.apply_all([event], now_ms)
    }

    /// What follows from events that have come together. The state changes by this function alone.
    pub fn apply_all(&mut self, events: impl IntoIterator<Item = Event>, now_ms: u64) -> Vec<Command> {
        let mut out = Vec::new();
        // Ahead of whatever an earlier coordinator has counted: nobody shows a thousand views in a millisecond.
        self.sequence = self.sequence.max(now_ms.saturating_mul(VIEWS_PER_MS));
        for event in events {
            self.take_in(event, now_ms, &mut out);
        }
        self.finish(now_ms, &mut out);
        self.spare_others(&mut out);
        out
    }

    fn take_in(&mut self, event: Event, now_ms: u64, out: &mut Vec<Command>) {
        match event {
            Event::Submitted(submission) => {
                let id = submission.spec.id.clone();
                self.submit(*submission, now_ms, out);
                self.with(&id, now_ms, out, |_, _| {});
            }
            Event::Retried(id) => self.retry(&id, now_ms, out),
            Event::Updated(id, terms) => self.with(&id, now_ms, out, |job, out| job.update(terms, out)),
            Event::Deleted(id, erase) => self.with(&id, now_ms, out, |job, out| job.delete(erase, now_ms, out)),
            Event::Report(report) => self.report(*report, now_ms, out),
            Event::NotEnqueued(AttemptRef { task, attempt }) => self.with(&task.job, now_ms, out, |job, _| {
                job.not_enqueued(task.name, attempt, now_ms);
            }),
            Event::Published { job, multivariant } => {
                self.with(&job, now_ms, out, |job, out| job.published(multivariant, now_ms, out));
            }
            Event::PublishFailed { job, transient, message } => self.with(&job, now_ms, out, |job, out| {
                job.publish_failed(transient, &message, now_ms, out);
            }),
            Event::TooLong(task, size) => {
                self.with(&task.job, now_ms, out, |job, out| job.record_too_long(task.name, size, now_ms, out));
            }
            Event::CleanedUp(id, result) => {
                let mut again = None;
                self.with(&id, now_ms, out, |job, out| again = job.cleaned_up(result, now_ms, out));
                if let Some(submission) = again {
                    self.submit(submission, now_ms, out);
                    self.with(&id, now_ms, out, |_, _| {});
                }
                self.forget(&id, now_ms, out);
            }
            Event::Archived(id, stored) => {
                self.put_away_ended(&id, stored, now_ms, out);
                self.with(&id, now_ms, out, |_, _| {});
            }
            Event::Recalled(record) => self.recall(*record, now_ms, out),
            Event::Cancelled(job) => self.with(&job, now_ms, out, |job, out| job.cancel(now_ms, out)),
            Event::Restored(restored) => {
                self.restore(*restored, now_ms, out);
                self.with_all(now_ms, out, |_, _| {});
            }
            Event::QueueLost => self.with_all(now_ms, out, |job, _| job.queue_lost()),
            Event::QueueDepth(0) => self.taken.all(now_ms),
            Event::QueueDepth(_) => {}
            Event::Undeliverable(attempt) => {
                let AttemptRef { task: TaskId { job, name }, attempt } = attempt;
                self.with(&job, now_ms, out, |job, out| {
                    let message = "the queue gave it up: it was delivered too often, or could not be read";
                    let error = TaskError::new(ErrorKind::Transient, "undeliverable", message);
                    job.attempt_failed(name, attempt, None, error, now_ms, out);
                });
            }
            Event::Heartbeat(heartbeat) => self.heartbeat(heartbeat, now_ms, out),
            Event::Hold(worker, hold) => {
                if let Some(directive) = self.workers.hold(&worker, hold) {
                    out.push(Command::SaveHold(worker, hold.then_some(Hold::Cordoned)));
                    out.push(Command::Direct(directive));
                }
            }
            Event::Drain(worker) => out.push(Command::Direct(Directive::Drain(worker))),
            Event::Tick => self.tick(now_ms, out),
        }
    }

    /// Time has passed.
    fn tick(&mut self, now_ms: u64, out: &mut Vec<Command>) {
        self.lose_workers(now_ms, out);
        let (silence_ms, taken) = (self.config.silence_ms, std::mem::take(&mut self.taken));
        self.with_all(now_ms, out, |job, out| {
            job.hand_out_lost(&taken, now_ms);
            job.give_up_silent(silence_ms, now_ms, out);
        });
        self.taken = taken;
        self.put_away(now_ms, out);
    }

    /// Does something to a job, if it is known, and what follows from it.
    fn with(
        &mut self,
        id: &JobId,
        now_ms: u64,
        out: &mut Vec<Command>,
        change: impl FnOnce(&mut ActiveJob, &mut Vec<Command>),
    ) {
        if let Some(job) = self.jobs.get_mut(id) {
            change(job, out);
            job.advance(now_ms, out);
        }
    }

    fn with_all(
        &mut self,
        now_ms: u64,
        out: &mut Vec<Command>,
        mut change: impl FnMut(&mut ActiveJob, &mut Vec<Command>),
    ) {
        for job in self.jobs.values_mut() {
            change(job, out);
            job.advance(now_ms, out);
        }
    }

    /// Hands out what can be handed out now, and shows what has changed.
    fn finish(&mut self, now_ms: u64, out: &mut Vec<Command>) {
        self.hand_out(now_ms, out);
        let views = self.jobs.values_mut().filter_map(|job| job.changed_view(&mut self.sequence));
        out.extend(views.map(|view| Command::Notify(Box::new(view))));
    }

    fn submit(&mut self, submission: Submission, now_ms: u64, out: &mut Vec<Command>) {
        let id = submission.spec.id.clone();
        let attempts_before = match self.jobs.get_mut(&id) {
            None => Some(self.attempts_before(now_ms)),
            Some(known) => known.resubmit(&submission, out).then_some(known.record.attempts_before),
        };
        if let Some(attempts_before) = attempts_before {
            let record = JobRecord::new(submission, attempts_before, now_ms);
            out.push(Command::SaveJob(Box::new(record.clone())));
            self.jobs.insert(id, ActiveJob::new(record, Vec::new()));
        }
    }

    /// A job may have had a life that nobody remembers but workers and the queue: its attempts count on from the clock, and
    /// from what was forgotten since the coordinator started.
    fn attempts_before(&self, now_ms: u64) -> AttemptId {
        self.forgotten.max(AttemptId((now_ms / 1000) as u32)) // enough until 2106
    }

    fn retry(&mut self, id: &JobId, now_ms: u64, out: &mut Vec<Command>) {
        let Some(job) = self.jobs.get_mut(id).filter(|job| job.starts_over()) else { return };
        if !job.retry(now_ms, out) {
            let JobRecord { spec, terms, words, .. } = job.record.clone();
            self.submit(Submission { spec, terms, words, again: true }, now_ms, out);
        }
        self.with(id, now_ms, out, |_, _| {});
    }

    /// A job that is to be gone, and of which nothing is left to do, is gone. People are told.
    fn forget(&mut self, id: &JobId, now_ms: u64, out: &mut Vec<Command>) {
        let gone = |job: &ActiveJob| job.record.settled && job.record.erase.is_some();
        if self.jobs.get(id).is_none_or(|job| !gone(job)) {
            return;
        }
        if let Some(mut job) = self.jobs.remove(id) {
            self.forgotten = self.forgotten.max(job.last_attempt());
            job.reached(Milestone::Deleted, now_ms);
            out.extend(job.changed_view(&mut self.sequence).map(|view| Command::Notify(Box::new(view))));
            out.push(Command::ForgetJob(id.clone()));
        }
    }

    /// Goes on from what is remembered, and forgets what a coordinator that died had not forgotten yet.
    fn restore(&mut self, restored: Restored, now_ms: u64, out: &mut Vec<Command>) {
        let Restored { jobs, tasks, holds, queue_kept } = restored;
        let mut by_job: BTreeMap<JobId, Vec<TaskRecord>> = BTreeMap::new();
        for task in tasks {
            by_job.entry(task.id.job.clone()).or_default().push(task);
        }
        for record in jobs {
            let id = record.spec.id.clone();
            let tasks = if record.settled { Vec::new() } else { by_job.remove(&id).unwrap_or_default() };
            let mut job = ActiveJob::new(record, tasks);
            job.resume(queue_kept, now_ms);
            if job.record.terms.is_probe() && job.record.erase.is_none() {
                job.delete(true, now_ms, out); // whoever waited for it has gone
            }
            self.jobs.insert(id, job);
        }
        out.extend(by_job.into_keys().map(Command::ForgetTasks));
        let known: Vec<JobId> = self.jobs.keys().cloned().collect();
        known.iter().for_each(|id| self.forget(id, now_ms, out));
        for (worker, hold) in holds {
            self.workers.restore(worker, hold, now_ms);
        }
    }

    /// A worker is alive, and so is what it runs; what it runs in vain is stopped.
    fn heartbeat(&mut self, heartbeat: Heartbeat, now_ms: u64, out: &mut Vec<Command>) {
        if let Some(ran) = self.workers.began_anew(&heartbeat) {
            self.worker_gone(&heartbeat.worker, ran, now_ms, out);
        }
        for attempt in &heartbeat.running {
            let TaskId { job, name } = &attempt.task;
            let mut known = self.jobs.get_mut(job);
            let lives = |job: &mut &mut ActiveJob| {
                job.wants(*name, attempt.attempt) || job.take_back(*name, attempt.attempt, out)
            };
            let wanted = known.as_mut().is_some_and(lives);
            match known.filter(|_| wanted) {
                Some(job) => {
                    let queued_ms = job.heard(*name, attempt.attempt, &heartbeat.worker, None, now_ms);
                    queued_ms.into_iter().for_each(|queued_ms| self.taken.begun(*name, queued_ms));
                }
                None => self.stop(attempt.clone(), now_ms, out),
            }
        }
        let (worker, held) = (heartbeat.worker.clone(), self.workers.is_held(&heartbeat.worker));
        out.extend(self.workers.beat(heartbeat, now_ms).map(Command::Direct));
        if held && !self.workers.is_held(&worker) {
            out.push(Command::SaveHold(worker, None));
        }
    }

    /// Nothing would come of an attempt that runs.
    fn stop(&mut self, attempt: AttemptRef, now_ms: u64, out: &mut Vec<Command>) {
        if let Some(job) = self.jobs.get_mut(&attempt.task.job) {
            job.outlived(now_ms);
        }
        out.push(Command::Direct(Directive::Stop(attempt)));
    }

    fn lose_workers(&mut self, now_ms: u64, out: &mut Vec<Command>) {
        for (worker, ran) in self.workers.lose_silent(now_ms) {
            self.worker_gone(&worker, ran, now_ms, out);
        }
    }

    /// What a worker ran by its last heartbeat, and what it has begun since, is handed out again; nothing is counted
    /// against it.
    fn worker_gone(&mut self, worker: &WorkerId, mut ran: Vec<AttemptRef>, now_ms: u64, out: &mut Vec<Command>) {
        ran.extend(self.jobs.values().flat_map(|job| job.held_by(worker)));
        for AttemptRef { task: TaskId { job, name }, attempt } in ran {
            self.with(&job, now_ms, out, |job, out| job.attempt_lost(name, attempt, worker, now_ms, out));
        }
    }

    /// Everybody who works, or did.
    pub fn workers(&self) -> impl Iterator<Item = &WorkerView> {
        self.workers.views()
    }

    fn report(&mut self, report: TaskReport, now_ms: u64, out: &mut Vec<Command>) {
        let TaskReport { task: TaskId { job: id, name }, attempt, worker, outcome } = report;
        let known = self.jobs.get_mut(&id).filter(|job| job.knows(name, attempt));
        if matches!(outcome, Outcome::Started) && !known.as_ref().is_some_and(|job| job.wants(name, attempt)) {
            return self.stop(AttemptRef { task: TaskId { job: id, name }, attempt }, now_ms, out);
        }
        let Some(job) = known else { return };
        // Most reports only say that an attempt goes on: nothing follows from them.
        match outcome {
            Outcome::Started | Outcome::Progress(_) => {
                let progress = if let Outcome::Progress(progress) = outcome { Some(progress) } else { None };
                let queued_ms = job.heard(name, attempt, &worker, progress, now_ms);
                queued_ms.into_iter().for_each(|queued_ms| self.taken.begun(name, queued_ms));
                return;
            }
            Outcome::Index(piece) => job.index_piece(attempt, &worker, piece, now_ms, out),
            Outcome::Done(receipt) => match job.done(name, attempt, &worker, receipt, now_ms, out) {
                claim @ (Claim::Accepted | Claim::Confirmed) => {
                    let confirmed = claim == Claim::Confirmed;
                    let told = self.workers.succeeded(&worker, &job.id(name), confirmed, now_ms);
                    told.into_iter().for_each(|directive| hold(&self.workers, directive, out));
                }
                Claim::Refused(code) => {
                    let told = self.workers.failed(&worker, &job.id(name), ErrorKind::Bug, code, now_ms);
                    told.into_iter().for_each(|directive| hold(&self.workers, directive, out));
                }
                Claim::Late => {}
            },
            Outcome::Failed(error) => {
                let told = self.workers.failed(&worker, &job.id(name), error.kind, &error.code, now_ms);
                told.into_iter().for_each(|directive| hold(&self.workers, directive, out));
                if error.kind == ErrorKind::Unsupported {
                    job.look_elsewhere(name, &worker, &self.workers);
                }
                job.attempt_failed(name, attempt, Some(&worker), error, now_ms, out);
            }
        }
        job.advance(now_ms, out);
    }

    /// Hands out what fits into the queue: all saves first, so that they are one transaction.
    fn hand_out(&mut self, now_ms: u64, out: &mut Vec<Command>) {
        let slots = self.workers.slots(Class::Cpu);
        let backlogs: Vec<_> = self.jobs.values().filter_map(|job| backlog(job, now_ms)).collect();
        let idle = slots.saturating_sub(backlogs.iter().map(|backlog| backlog.in_hand).sum());
        let mut picked = schedule::pick(slots, &self.config.weights, backlogs);
        if picked.is_empty() && idle > 0 {
            picked.extend(self.jobs.values().filter_map(|job| job.straggler(now_ms)).take(idle));
        }
        let mut tasks = Vec::new();
        for id in picked {
            let Some(job) = self.jobs.get_mut(&id.job) else { continue };
            if let Some((record, mut task)) = job.hand_out(id.name, now_ms) {
                task.avoid = self.workers.to_avoid(&record);
                out.push(Command::SaveTask(Box::new(record)));
                let lane = Lane { class: Class::Cpu, urgency: urgency(id.name) };
                tasks.push(Command::Enqueue(Box::new(task), lane));
            }
        }
        out.extend(tasks);
    }
}

/// Tells a worker to hold, and remembers that.
fn hold(workers: &Workers, directive: Directive, out: &mut Vec<Command>) {
    if let Directive::Hold(worker) = &directive {
        let hold = workers.get(worker).and_then(|view| view.hold.clone());
        out.push(Command::SaveHold(worker.clone(), hold));
    }
    out.push(Command::Direct(directive));
}

/// What makes a job playable does not wait behind other jobs' later chunks.
fn urgency(name: TaskName) -> Urgency {
    match name {
        TaskName::Index | TaskName::Video(0) | TaskName::Audio(_) => Urgency::Urgent,
        TaskName::Video(_) | TaskName::Storyboard => Urgency::Normal,
    }
}

fn backlog(job: &ActiveJob, now_ms: u64) -> Option<schedule::Backlog<'_>> {
    let in_hand = job.in_hand();
    let waiting =
        |task: &ActiveTask| Waiting { name: task.record.id.name, length_ms: stragglers::length_ms(&task.record.work) };
    let ready = |task: &&ActiveTask| task.record.state == TaskState::Waiting && task.not_before_ms <= now_ms;
    // The last attempts of a job that has ended still hold slots.
    let waiting = match job.record.state.is_final() {
        true => Vec::new(),
        false => job.tasks.values().filter(ready).map(waiting).collect(),
    };
    (in_hand > 0 || !waiting.is_empty()).then_some(schedule::Backlog {
        job: &job.record.spec.id,
        tenant: &job.record.spec.tenant,
        priority: job.record.terms.priority,
        pressed: job.is_pressed(now_ms),
        submitted_ms: job.record.submitted_ms,
        in_hand,
        waiting,
    })
}
