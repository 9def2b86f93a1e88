//! The event loop: gathers events, carries out commands, keeps the order save → enqueue.
//!
//! One owner, one event at a time. What is slow (publishing, removing) runs beside the loop and comes back as an event.

mod outbox;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use shared::queue::{Incoming, Queue, QueueError};
use shared::task::JobId;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::farm::{Event, Farm, FarmConfig, Restored};
use crate::job::{JobSpec, JobView};
use crate::store::{Store, StoreError};
use outbox::Outbox;

/// How often time passes for the core: pauses and time-outs are rounded up to this.
const TICK: Duration = Duration::from_millis(200);
/// Submissions and cancellations that may wait for the loop.
const ASKS: usize = 64;

/// What the coordinator must be told.
#[derive(Debug)]
pub struct CoordinatorConfig {
    /// An attempt that has begun and says nothing for so long is lost. Workers watch over their slots themselves, so
    /// this is for workers that are gone.
    pub silence: Duration,
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
    /// The coordinator has ended.
    #[error("the coordinator has ended")]
    Closed,
}

/// The owner of all jobs.
pub struct Coordinator {
    farm: Farm,
    queue: Arc<dyn Queue>,
    outbox: Outbox,
    asks: mpsc::Receiver<Ask>,
    finished: mpsc::UnboundedReceiver<Event>,
    clock: Clock,
}

/// For whoever submits and watches jobs.
#[derive(Clone)]
pub struct Handle {
    asks: mpsc::Sender<Ask>,
    views: Views,
}

enum Ask {
    Submit(Box<JobSpec>, oneshot::Sender<Result<watch::Receiver<JobView>, SubmitError>>),
    Cancel(JobId),
}

impl Handle {
    /// Asks for a job; returns its view, which changes until [`JobView::settled`].
    pub async fn submit(&self, spec: JobSpec) -> Result<watch::Receiver<JobView>, SubmitError> {
        spec.check().map_err(SubmitError::Wrong)?;
        let (answer, answered) = oneshot::channel();
        let ask = Ask::Submit(Box::new(spec), answer);
        self.asks.send(ask).await.map_err(|_| SubmitError::Closed)?;
        answered.await.map_err(|_| SubmitError::Closed)?
    }

    /// The view of a known job.
    pub fn watch(&self, job: &JobId) -> Option<watch::Receiver<JobView>> {
        self.views.watch(job)
    }

    /// Calls a job off. One that has ended, or is not known, stays as it is.
    pub async fn cancel(&self, job: JobId) {
        // Once the loop has ended, there is nothing left to call off.
        let _ = self.asks.send(Ask::Cancel(job)).await;
    }
}

impl Coordinator {
    /// A coordinator of what `store` remembers, with `queue` to its workers.
    pub fn new(store: Arc<dyn Store>, queue: Arc<dyn Queue>, config: CoordinatorConfig) -> (Self, Handle) {
        let silence_ms = u64::try_from(config.silence.as_millis()).unwrap_or(u64::MAX);
        let farm = Farm::new(FarmConfig { silence_ms });
        let (ask, asks) = mpsc::channel(ASKS);
        let (finish, finished) = mpsc::unbounded_channel();
        let views = Views::default();
        let outbox = Outbox::new(store, queue.clone(), finish, views.clone());
        let clock = Clock::start();
        (Self { farm, queue, outbox, asks, finished, clock }, Handle { asks: ask, views })
    }

    /// Runs until `shutdown`, or until the queue is closed; what runs beside the loop may end first.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), RunError> {
        let restored = Restored { queue_kept: self.queue.open().await?, ..self.outbox.load().await? };
        debug!(jobs = restored.jobs.len(), tasks = restored.tasks.len(), restored.queue_kept, "state loaded");
        self.apply(Event::Restored(Box::new(restored))).await?;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                () = shutdown.cancelled() => break,
                Some(ask) = self.asks.recv() => { self.answer(ask).await?; continue }
                Some(event) = self.finished.recv() => event,
                incoming = self.queue.next_incoming() => match incoming? {
                    Some(incoming) => event(incoming),
                    None => break,
                },
                _ = tick.tick() => Event::Tick,
            };
            self.apply(event).await?;
        }
        self.outbox.finish().await;
        Ok(())
    }

    async fn apply(&mut self, event: Event) -> Result<(), StoreError> {
        let commands = self.farm.apply(event, self.clock.now_ms());
        self.outbox.execute(commands).await
    }

    async fn answer(&mut self, ask: Ask) -> Result<(), StoreError> {
        match ask {
            Ask::Cancel(job) => self.apply(Event::Cancelled(job)).await,
            Ask::Submit(spec, answer) => {
                let id = spec.id.clone();
                let result = if self.farm.refuses(&spec) {
                    Err(SubmitError::Taken(id))
                } else {
                    self.apply(Event::Submitted(spec)).await?;
                    self.outbox.views().watch(&id).ok_or(SubmitError::Closed)
                };
                // Whoever asked may have gone; the job is taken all the same.
                let _ = answer.send(result);
                Ok(())
            }
        }
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
pub(crate) struct Views(Arc<Mutex<BTreeMap<JobId, watch::Sender<JobView>>>>);

impl Views {
    fn show(&self, view: JobView) {
        let mut views = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match views.get(&view.id) {
            Some(sender) => drop(sender.send_replace(view)),
            None => drop(views.insert(view.id.clone(), watch::Sender::new(view))),
        }
    }

    fn watch(&self, job: &JobId) -> Option<watch::Receiver<JobView>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(job).map(watch::Sender::subscribe)
    }
}

/// UNIX time that never goes backwards while the coordinator runs.
struct Clock {
    started: Instant,
    started_ms: u64,
}

impl Clock {
    fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), started_ms: u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX) }
    }

    fn now_ms(&self) -> u64 {
        self.started_ms.saturating_add(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}
