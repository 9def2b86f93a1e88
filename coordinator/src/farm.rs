//! The pure core of the farm: events in, commands out; no clock, no I/O, no waiting.
//!
//! Five invariants, each with a test of its name in `coordinator/tests/events/invariants.rs`:
//!
//! 1. *Save before Enqueue*: nothing is asked of a worker that a restarted coordinator wouldn't know of.
//! 2. *First complete report wins*: a task has at most one accepted report; later ones change nothing.
//! 3. *A key has one content*: a key carries its content's hash, so no attempt can overwrite what counts.
//! 4. *Master means done*: the multivariant playlist leads only to objects that exist and were checked.
//! 5. *One decoder config a track*: one init segment does for all segments of a rendition. What does not fit is made
//!    again, and if it never does, the job fails loudly.
//!
//! Commands are carried out in the order they are given. A restart is: load the records, [`Event::Restored`], and
//! whatever is unfinished comes out again as commands.
//!
//! | module | decides |
//! |---|---|
//! | [`messages`] | nothing: events, commands |
//! | [`words`] | what workers' words mean |
//! | [`handout`] | what goes out next |
//! | [`targets`] | whose a target is |
//! | [`stock`] | what was made, is gone, and is made again |
//! | [`active`] | what is kept in memory of a job that is under way |
//! | [`indexing`] | what an index report means: ladder, plan, refusal |
//! | [`results`] | what a task's end means: accepted, refused, again |
//! | [`families`] | which encoders make a rendition |
//! | [`stragglers`] | which attempts get a rival |
//! | [`taken`] | which attempts have left the queue |
//! | [`publication`] | when to publish, and what |
//! | [`requests`] | trying again, other terms, being gone |
//! | [`ending`] | completed, failed, cancelled; what is removed |
//! | [`archiving`] | when a job that has ended is put away |
//! | [`explain`] | what has become of a job, in sentences |
//! | [`census`] | how much work there is, and where it stands |
//! | [`view`] | what people see |

mod active;
mod archiving;
mod census;
mod ending;
mod explain;
mod families;
mod handout;
mod indexing;
mod messages;
mod placing;
mod publication;
mod requests;
mod results;
mod stock;
mod stragglers;
mod taken;
mod targets;
mod view;
mod words;

use std::collections::BTreeMap;

use shared::error::{ErrorKind, TaskError};
use shared::fleet::{AttemptRef, Directive};
use shared::task::{AttemptId, JobId, TaskId};

use crate::job::{JobRecord, Milestone, Submission, TaskRecord};
use crate::schedule::Weights;
use crate::workers::{Hold, Workers};
use active::ActiveJob;
pub use census::{Backlog, TaskCounts};
pub use explain::Line;
pub use messages::{
    CleanUp, Command, Count, Event, Hedge, HowEnded, LastWords, Objects, Refusal, Restored, Round, TakeAway,
};
use taken::Taken;

/// What the core must know of the farm around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FarmConfig {
    /// How tenants share the farm.
    pub weights: Weights,
    /// An attempt that has begun and says nothing for so long is lost, in milliseconds.
    pub silence_ms: u64,
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
    /// When a worker with a GPU last took tasks.
    gpu_seen_ms: u64,
    /// For so long chunks wait for one where there is none.
    await_gpu_ms: u64,
    /// The highest attempt number of jobs that are gone.
    forgotten: AttemptId,
    /// When it was last looked what can be handed out.
    handed_out_ms: u64,
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
        Self {
            config,
            jobs,
            workers,
            taken,
            gpu_seen_ms: 0,
            await_gpu_ms: 0,
            forgotten,
            handed_out_ms: 0,
            sequence: 0,
            keep_finished_ms: None,
            look_ms: 0,
        }
    }

    /// Jobs are put away so many milliseconds after their end.
    pub fn keeping(self, finished_ms: Option<u64>) -> Self {
        Self { keep_finished_ms: finished_ms, ..self }
    }

    /// Workers with GPUs come when there is work for them, within so many milliseconds.
    pub fn awaiting_gpus(self, await_gpu_ms: u64) -> Self {
        Self { await_gpu_ms, ..self }
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
            Event::PublishFailed { job, transient, missing, message } => self.with(&job, now_ms, out, |job, out| {
                job.publish_failed(transient, missing, &message, now_ms, out);
            }),
            Event::StockTaken(job, gone) => self.with(&job, now_ms, out, |job, out| job.stock_taken(gone, now_ms, out)),
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
        let views = self.jobs.values_mut().filter_map(|job| job.changed_view(&mut self.sequence, now_ms));
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
            self.jobs.insert(id.clone(), ActiveJob::new(record, Vec::new()));
            self.give_target(&id);
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
        self.give_target(id);
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
            out.extend(job.changed_view(&mut self.sequence, now_ms).map(|view| Command::Notify(Box::new(view))));
            out.push(Command::ForgetJob(id.clone()));
        }
    }

    /// Goes on from what is remembered, and forgets what a coordinator that died had not forgotten yet.
    fn restore(&mut self, restored: Restored, now_ms: u64, out: &mut Vec<Command>) {
        let Restored { jobs, tasks, holds, queue_kept } = restored;
        self.gpu_seen_ms = now_ms; // nobody has spoken yet
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
}
