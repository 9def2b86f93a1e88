//! The event loop: gathers events, carries out commands, keeps the order save → enqueue.
//!
//! One owner; events that have come together are handled together and saved in one commit. What is slow (pushing,
//! publishing, removing) runs beside the loop and comes back as an event.

mod finding;
mod journal;
mod outbox;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use shared::fleet::Class;
use shared::queue::{Incoming, Queue, QueueError};
use shared::storage::StorageConfig;
use shared::task::{JobId, WorkerId};
use shared::trace::Tracer;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::archive::Archive;
use crate::farm::{Backlog, Count, Event, Farm, FarmConfig, Line, Refusal, Restored, TaskCounts};
use crate::job::{JobView, Submission, TermsChange};
use crate::schedule::Weights;
use crate::store::{Store, StoreError};
use crate::workers::WorkerView;
pub use finding::{AgainError, Found, RecallError};
pub(crate) use journal::job_context;
use outbox::Outbox;

/// How often time passes for the core: pauses and time-outs are rounded up to this.
const TICK: Duration = Duration::from_millis(200);
/// Events handled at once: about as many records as fit into one transaction of etcd.
const MOST_TOGETHER: usize = 128;
/// Submissions and cancellations that may wait for the loop.
const ASKS: usize = 64;

/// Deleted jobs that are remembered, so that whoever follows events hears of them.
const MOST_DELETED: usize = 1_024;

/// What the coordinator must be told.
#[derive(Debug)]
pub struct CoordinatorConfig {
    /// An attempt that has begun and says nothing for so long is lost. Workers watch over their slots themselves, so
    /// this is for workers that are gone.
    pub silence: Duration,
    /// How tenants share the farm.
    pub weights: Weights,
    /// How object stores are reached.
    pub storage: StorageConfig,
}

/// The coordinator can't go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Nothing may be asked of anybody that isn't saved.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No reports come any more.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// A job was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// It makes no sense; all reasons.
    #[error("{}", .0.join("; "))]
    Wrong(Vec<String>),
    /// The id is taken by a job with another content.
    #[error("job {0} is known and was asked for in other words")]
    Taken(JobId),
    /// Its target is another job's; which one, if it is the same tenant's.
    #[error("the target holds what another job makes or has made")]
    TargetHeld(Option<JobId>),
    /// The coordinator has ended.
    #[error("the coordinator has ended")]
    Closed,
}

impl SubmitError {
    fn refused(id: JobId, why: Refusal) -> Self {
        match why {
            Refusal::Taken => Self::Taken(id),
            Refusal::TargetHeld(by) => Self::TargetHeld(by),
        }
    }
}

/// The coordinator has ended: nobody knows whether what was asked for is done.
#[derive(Debug, thiserror::Error)]
#[error("the coordinator has ended")]
pub struct Closed;

/// The owner of all jobs.
pub struct Coordinator {
    farm: Farm,
    queue: Arc<dyn Queue>,
    outbox: Outbox,
    asks: mpsc::Receiver<Ask>,
    finished: mpsc::UnboundedReceiver<Event>,
    clock: Clock,
}

/// For whoever submits and watches jobs, and looks after workers.
#[derive(Clone)]
pub struct Handle {
    asks: mpsc::Sender<Ask>,
    views: Views,
    archive: Option<Arc<Archive>>,
}

enum Ask {
    Submit { submission: Box<Submission>, known: bool, answer: oneshot::Sender<Submitted> },
    Retry(JobId, oneshot::Sender<Result<(), SubmitError>>),
    Do(Event, oneshot::Sender<()>),
    Workers(oneshot::Sender<Vec<WorkerView>>),
    Explain(JobId, oneshot::Sender<Option<Vec<Line>>>),
    Backlog(oneshot::Sender<BTreeMap<Class, Backlog>>),
    TaskCounts(oneshot::Sender<BTreeMap<&'static str, TaskCounts>>),
}

/// `None`: the job is not known, and was to be.
type Submitted = Result<Option<watch::Receiver<JobView>>, SubmitError>;

impl Handle {
    /// Asks for a job; returns its view, which changes until [`JobView::settled`].
    pub async fn submit(&self, submission: impl Into<Submission>) -> Result<watch::Receiver<JobView>, SubmitError> {
        self.submit_as(submission.into(), false).await?.ok_or(SubmitError::Closed)
    }

    /// With `known` only a job that is known already.
    async fn submit_as(&self, submission: Submission, known: bool) -> Submitted {
        submission.spec.check().map_err(SubmitError::Wrong)?;
        let submission = Box::new(submission);
        self.ask(|answer| Ask::Submit { submission, known, answer }).await.ok_or(SubmitError::Closed)?
    }

    /// The view of a known job.
    pub fn watch(&self, job: &JobId) -> Option<watch::Receiver<JobView>> {
        self.views.watch(job)
    }

    /// All jobs that `wanted` says yes to, by id.
    pub fn list(&self, mut wanted: impl FnMut(&JobView) -> bool) -> Vec<JobView> {
        self.gather(|view| wanted(view).then(|| view.clone()))
    }

    /// What `pick` makes of all jobs, by id, each as it is when its turn comes: other jobs go on meanwhile.
    pub fn gather<T>(&self, mut pick: impl FnMut(&JobView) -> Option<T>) -> Vec<T> {
        let views: Vec<_> = self.views.inner().latest.values().map(watch::Sender::subscribe).collect();
        views.iter().filter_map(|view| pick(&view.borrow())).collect()
    }

    /// As [`Self::gather`], all of them as they are at one moment, and before them those of [`Self::deleted`]. Nothing changes
    /// until `pick` has seen all.
    pub fn gather_at_once<T>(&self, mut pick: impl FnMut(&JobView) -> Option<T>) -> Vec<T> {
        let jobs = self.views.inner();
        let mut picked: Vec<T> = jobs.deleted.iter().filter_map(&mut pick).collect();
        picked.extend(jobs.latest.values().filter_map(|view| pick(&view.borrow())));
        picked
    }

    /// Changes whenever a view does; its value means nothing.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.views.0.changes.subscribe()
    }

    /// Jobs that were deleted a while ago, as they were last; the oldest first.
    pub fn deleted(&self, mut wanted: impl FnMut(&JobView) -> bool) -> Vec<JobView> {
        let inner = self.views.inner();
        inner.deleted.iter().filter(|view| wanted(view)).cloned().collect()
    }

    /// Calls a job off. One that has ended, or is not known, stays as it is.
    pub async fn cancel(&self, job: JobId) -> Result<(), Closed> {
        self.tell(Event::Cancelled(job)).await
    }

    /// Tries again what failed or was called off.
    pub async fn retry(&self, job: JobId) -> Result<(), SubmitError> {
        self.ask(|answer| Ask::Retry(job, answer)).await.ok_or(SubmitError::Closed)?
    }

    /// Changes a job's terms. One that has ended keeps its own.
    pub async fn update(&self, job: JobId, change: TermsChange) -> Result<(), Closed> {
        self.tell(Event::Updated(job, change)).await
    }

    /// Forgets a job, called off first if need be; with `erase` its presentation goes too.
    pub async fn delete(&self, job: JobId, erase: bool) -> Result<(), Closed> {
        self.tell(Event::Deleted(job, erase)).await
    }

    /// Tells a worker to take nothing new (`true`), or to take tasks again.
    pub async fn hold(&self, worker: WorkerId, hold: bool) -> Result<(), Closed> {
        self.tell(Event::Hold(worker, hold)).await
    }

    /// Tells a worker to finish what runs and to end.
    pub async fn drain(&self, worker: WorkerId) -> Result<(), Closed> {
        self.tell(Event::Drain(worker)).await
    }

    /// Everybody who works, or did; nobody if the coordinator has ended.
    pub async fn workers(&self) -> Vec<WorkerView> {
        self.ask(Ask::Workers).await.unwrap_or_default()
    }

    /// What has become of a job, and of its tasks while they are known. `None` if it is not known.
    pub async fn explain(&self, job: JobId) -> Option<Vec<Line>> {
        self.ask(|answer| Ask::Explain(job, answer)).await.flatten()
    }

    /// What is left to do, by what it needs of a machine.
    pub async fn backlog(&self) -> BTreeMap<Class, Backlog> {
        self.ask(Ask::Backlog).await.unwrap_or_default()
    }

    /// How many tasks there are of each kind, by where they stand.
    pub async fn task_counts(&self) -> BTreeMap<&'static str, TaskCounts> {
        self.ask(Ask::TaskCounts).await.unwrap_or_default()
    }

    /// Waits until it is done: saved, and to be seen in the views.
    async fn tell(&self, event: Event) -> Result<(), Closed> {
        self.ask(|answer| Ask::Do(event, answer)).await.ok_or(Closed)
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.asks.send(ask(answer)).await.ok()?;
        answered.await.ok()
    }
}

impl Coordinator {
    /// A coordinator of what `store` remembers, with `queue` to its workers.
    pub fn new(store: Arc<dyn Store>, queue: Arc<dyn Queue>, config: CoordinatorConfig) -> (Self, Handle) {
        Self::with_archive(store, queue, config, None)
    }

    /// A coordinator that puts away what ended long ago.
    pub fn with_archive(
        store: Arc<dyn Store>,
        queue: Arc<dyn Queue>,
        config: CoordinatorConfig,
        archive: Option<Archive>,
    ) -> (Self, Handle) {
        let silence_ms = u64::try_from(config.silence.as_millis()).unwrap_or(u64::MAX);
        let archive = archive.map(Arc::new);
        let farm = Farm::new(FarmConfig { silence_ms, weights: config.weights })
            .keeping(archive.as_ref().map(|archive| archive.keep_finished_ms));
        let (ask, asks) = mpsc::channel(ASKS);
        let (finish, finished) = mpsc::unbounded_channel();
        let views = Views::default();
        let outbox = Outbox::new(store, queue.clone(), finish, views.clone(), config.storage, archive.clone());
        let clock = Clock::start();
        (Self { farm, queue, outbox, asks, finished, clock }, Handle { asks: ask, views, archive })
    }

    /// `counter` is told of everything that is to be counted, in the loop: it is to be quick.
    #[must_use]
    pub fn counting(mut self, counter: impl Fn(Count) + Send + Sync + 'static) -> Self {
        self.outbox.count_with(Box::new(counter));
        self
    }

    /// Tells `tracer` what becomes of jobs.
    #[must_use]
    pub fn traced(mut self, tracer: Tracer) -> Self {
        self.outbox.trace(tracer);
        self
    }

    /// Workers with GPUs come when there is work for them, within this time: chunks wait for them so long.
    #[must_use]
    pub fn awaiting_gpus(mut self, within: Duration) -> Self {
        self.farm = self.farm.awaiting_gpus(u64::try_from(within.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Runs until `shutdown`, or until the queue is closed; what runs beside the loop may end first.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), RunError> {
        let restored = Restored { queue_kept: self.queue.open().await?, ..self.outbox.load().await? };
        debug!(jobs = restored.jobs.len(), tasks = restored.tasks.len(), restored.queue_kept, "state loaded");
        self.clock.pass(restored.newest_ms());
        self.apply(vec![Event::Restored(Box::new(restored))]).await?;
        let mut housekeeping = JoinSet::new(); // ends with the loop
        housekeeping.extend(self.outbox.archive().map(Archive::age));
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let first = tokio::select! {
                () = shutdown.cancelled() => break,
                Some(ask) = self.asks.recv() => { self.answer(ask).await?; continue }
                Some(event) = self.finished.recv() => event,
                incoming = self.queue.next_incoming() => match incoming? {
                    Some(incoming) => event(incoming),
                    None => break,
                },
                _ = tick.tick() => Event::Tick,
            };
            let events = self.together(first)?;
            self.apply(events).await?;
        }
        self.outbox.finish().await;
        Ok(())
    }

    /// What has come by now, so that it is saved in one commit.
    fn together(&mut self, first: Event) -> Result<Vec<Event>, QueueError> {
        let mut events = vec![first];
        while events.len() < MOST_TOGETHER
            && let Some(incoming) = self.queue.more_incoming()?
        {
            events.push(event(incoming));
        }
        while events.len() < MOST_TOGETHER
            && let Ok(event) = self.finished.try_recv()
        {
            events.push(event);
        }
        Ok(events)
    }

    async fn apply(&mut self, events: Vec<Event>) -> Result<(), StoreError> {
        let commands = self.farm.apply_all(events, self.clock.now_ms());
        self.outbox.execute(commands).await
    }

    /// Whoever asked may have gone; what was asked for is done all the same.
    async fn answer(&mut self, ask: Ask) -> Result<(), StoreError> {
        match ask {
            Ask::Do(event, answer) => {
                self.apply(vec![event]).await?;
                let _ = answer.send(());
            }
            Ask::Retry(job, answer) => {
                let result = match self.farm.refuses_retry(&job) {
                    Some(why) => Err(SubmitError::refused(job, why)),
                    None => self.apply(vec![Event::Retried(job)]).await.map(Ok)?,
                };
                drop(answer.send(result));
            }
            Ask::Workers(answer) => drop(answer.send(self.farm.workers().cloned().collect())),
            Ask::Explain(job, answer) => drop(answer.send(self.farm.explain(&job, self.clock.now_ms()))),
            Ask::Backlog(answer) => drop(answer.send(self.farm.backlog(self.clock.now_ms()))),
            Ask::TaskCounts(answer) => drop(answer.send(self.farm.task_counts())),
            Ask::Submit { submission, known, answer } => {
                let id = submission.spec.id.clone();
                let result = if known && self.outbox.views().watch(&id).is_none() {
                    Ok(None)
                } else if let Some(why) = self.farm.refuses(&submission) {
                    Err(SubmitError::refused(id, why))
                } else {
                    self.apply(vec![Event::Submitted(submission)]).await?;
                    Ok(self.outbox.views().watch(&id))
                };
                drop(answer.send(result));
            }
        }
        Ok(())
    }
}

fn event(incoming: Incoming) -> Event {
    match incoming {
        Incoming::Report(report) => Event::Report(report),
        Incoming::Heartbeat(heartbeat) => Event::Heartbeat(heartbeat),
        Incoming::Lost => Event::QueueLost,
        Incoming::Undeliverable(attempt) => Event::Undeliverable(attempt),
        Incoming::Depth(tasks) => Event::QueueDepth(tasks),
    }
}

/// The latest view of every job.
#[derive(Clone, Default)]
pub(crate) struct Views(Arc<Shown>);

#[derive(Default)]
struct Shown {
    jobs: Mutex<Jobs>,
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Jobs {
    latest: BTreeMap<JobId, watch::Sender<JobView>>,
    /// At most [`MOST_DELETED`], for those who hear of changes late.
    deleted: VecDeque<JobView>,
}

impl Views {
    fn show(&self, view: JobView) {
        let sequence = view.sequence;
        let mut jobs = self.inner();
        match jobs.latest.get(&view.id) {
            Some(sender) => drop(sender.send_replace(view)),
            None => drop(jobs.latest.insert(view.id.clone(), watch::Sender::new(view))),
        }
        drop(jobs);
        self.0.changes.send_replace(sequence);
    }

    /// Whoever watches the job is told that nothing follows.
    fn forget(&self, job: &JobId) {
        let mut jobs = self.inner();
        let last = jobs.latest.remove(job).map(|view| view.borrow().clone());
        if let Some(view) = last.filter(|view| view.is_deleted() && !view.terms.is_probe()) {
            jobs.deleted.push_back(view);
            if jobs.deleted.len() > MOST_DELETED {
                jobs.deleted.pop_front();
            }
        }
        drop(jobs);
        self.0.changes.send_modify(|sequence| *sequence += 1);
    }

    fn watch(&self, job: &JobId) -> Option<watch::Receiver<JobView>> {
        self.inner().latest.get(job).map(watch::Sender::subscribe)
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Jobs> {
        self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// UNIX time that never goes backwards while the coordinator runs, nor behind what an earlier one has written.
struct Clock {
    started: Instant,
    started_ms: u64,
}

impl Clock {
    fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), started_ms: u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX) }
    }

    /// It is later than that.
    fn pass(&mut self, ms: u64) {
        let behind = ms.saturating_add(1).saturating_sub(self.now_ms());
        self.started_ms = self.started_ms.saturating_add(behind);
    }

    fn now_ms(&self) -> u64 {
        self.started_ms.saturating_add(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_behind_goes_on_from_what_was_written() {
        let mut clock = Clock::start();
        let now_ms = clock.now_ms();
        clock.pass(now_ms - 5_000);
        assert!(clock.now_ms() < now_ms + 5_000);
        clock.pass(now_ms + 60_000);
        assert!((1..5_000).contains(&(clock.now_ms() - now_ms - 60_000)));
    }
}
