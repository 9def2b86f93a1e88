//! The worker: pulls tasks, runs each in a slot, stores what it makes and reports.
//!
//! As many loops as there are slots, and each does one thing at a time: take a delivery, run it, answer for it. The
//! worker tries once and says why it failed; trying again is the coordinator's decision.

mod attempt;
mod breaker;
mod driver;
mod feed;
mod fetch;
mod gpus;
mod inputs;
mod ladder;
mod presence;
mod trace;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use shared::error::{ErrorKind, TaskError};
use shared::fleet::{Class, HEARTBEAT_MS};
use shared::placement::{Fallback, Placement};
use shared::queue::{Delivery, Queue, QueueError};
use shared::task::{Outcome, Receipt, Spent, Task, TaskReport, WorkerId};
use shared::trace::Tracer;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, error_span, info, warn};

use crate::config::{GpuUse, WorkerConfig};
use crate::proof::gpu::Kept;
use crate::proof::{self, Proof};
use crate::scratch::Scratch;
use crate::slot::Slot;
use crate::slot::request::GpuOrder;
use crate::slot::sight::Sight;
use crate::slot::spawner::Spawner;
use attempt::{Attempt, Stop};
use gpus::Gpus;
use ladder::{Fall, Ladder};
use presence::Presence;
use trace::Recording;

/// Pause before listening again to a queue that can't be reached.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);
/// A slot that ran out of memory, disk or files takes nothing for so long, twice as long each time in a row: others may have
/// more, and taking one task after the other would only spoil them.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);

/// How often the queue is told that an attempt goes on. It passes on as much of that as it needs.
const RENEW_EVERY: Duration = Duration::from_millis(200);
/// Pause before a worker that can't do anything tries again what it can do.
const PROVE_AGAIN: Duration = Duration::from_secs(30);
/// For so long nobody gets a task that this worker leaves to others.
const PASS_PAUSE: Duration = Duration::from_secs(2);

/// Why a worker ends before it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// There is nobody to work for.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// No thread to start slots from.
    #[error("starting slots: {0}")]
    Spawner(io::Error),
}

/// Runs attempts in slots.
pub struct Worker {
    shared: Arc<Shared>,
    proves: bool,
}

/// What all slots of a worker share.
struct Shared {
    config: Arc<WorkerConfig>,
    scratch: Arc<Scratch>,
    queue: Arc<dyn Queue>,
    id: WorkerId,
    presence: Presence,
    gpus: Arc<Gpus>,
    draining: CancellationToken,
    tracer: Tracer,
}

impl Worker {
    /// A worker that takes its tasks from `queue` until `draining` is cancelled, by the caller or by a directive.
    pub fn new(config: WorkerConfig, queue: Arc<dyn Queue>, id: WorkerId, draining: CancellationToken) -> Self {
        let slots = u32::try_from(config.slots.get()).unwrap_or(u32::MAX);
        let on_trial = config.gpu.enabled == GpuUse::Auto && driver::is_here();
        let gpus = Arc::new(Gpus::new(Kept::below(&config.scratch), on_trial));
        let presence = Presence::new(id.clone(), slots, gpus.clone(), draining.clone());
        let scratch = Arc::new(Scratch::new(&config.scratch));
        let (config, tracer) = (Arc::new(config), Tracer::default());
        let shared = Shared { config, scratch, queue, id, presence, gpus, draining, tracer };
        Self { shared: Arc::new(shared), proves: true }
    }

    /// Tells `tracer` of attempts at tasks that are traced.
    ///
    /// # Panics
    /// If it runs already.
    #[must_use]
    pub fn traced(mut self, tracer: Tracer) -> Self {
        Arc::get_mut(&mut self.shared).expect("a worker that does not run yet should be shared with nobody").tracer =
            tracer;
        self
    }

    /// Claims everything without trying: for a farm of one process and one job. Nobody else could do what fails here, and
    /// the task that fails says what the trial would have said.
    #[must_use]
    pub fn without_proof(mut self) -> Self {
        self.proves = false;
        self
    }

    /// Where scratch files are.
    pub fn scratch(&self) -> Arc<Scratch> {
        self.shared.scratch.clone()
    }

    /// What has been tried, now and whenever that changes.
    pub fn proof(&self) -> watch::Receiver<Proof> {
        self.shared.presence.proof()
    }

    /// Works until the queue is closed or the worker drains, and then finishes what it has begun; `abort` kills what
    /// runs and gives it back. No child is left when this returns.
    pub async fn run(self, abort: CancellationToken) -> Result<(), WorkerError> {
        let spawner = Spawner::start().map_err(WorkerError::Spawner)?;
        raise_file_limit();
        let abort = abort.child_token(); // also cancelled here, when one loop finds that the queue is gone
        let mut loops = JoinSet::new();
        let slot_loop = |takes: Takes| SlotLoop {
            shared: self.shared.clone(),
            spawner: spawner.clone(),
            abort: abort.clone(),
            takes,
            slot: None,
            exhausted: 0,
        };
        for _ in 0..self.shared.config.slots.get() {
            loops.spawn(slot_loop(Takes::Cpu).run());
        }
        info!(worker = %self.shared.id, slots = loops.len(), "worker started");
        let mut beside = JoinSet::new(); // aborted when this returns
        beside.spawn(beat(self.shared.clone()));
        beside.spawn(listen(self.shared.clone()));
        beside.spawn(prove(self.shared.clone(), spawner.clone(), self.proves));
        beside.spawn(prove_gpus(self.shared.clone(), spawner.clone()));
        let (mut result, mut on_gpus) = (Ok(()), 0);
        loop {
            let ended = tokio::select! {
                ended = loops.join_next() => ended,
                () = self.shared.gpus.has_slots(on_gpus, true) => {
                    loops.spawn(slot_loop(Takes::Gpu(on_gpus)).run());
                    on_gpus += 1;
                    continue;
                }
            };
            let Some(ended) = ended else { break };
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    abort.cancel();
                    result = result.and(Err(error.into()));
                }
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(error) => warn!(%error, "a loop of the worker was cancelled"),
                },
            }
        }
        info!(worker = %self.shared.id, "worker stopped");
        result
    }
}

/// Tries what this host can do: at the start, again and again while that is nothing, and when it is told to.
async fn prove(shared: Arc<Shared>, spawner: Spawner, at_start: bool) {
    if !at_start {
        shared.presence.assume_fit();
        shared.presence.asked_to_prove().await;
    }
    loop {
        shared.presence.proven(proof::prove(&shared.config, &spawner).await);
        let able = !shared.presence.proof().borrow().classes().is_empty();
        tokio::select! {
            () = shared.presence.asked_to_prove() => {}
            () = tokio::time::sleep(PROVE_AGAIN), if !able => {}
        }
    }
}

/// Tries the GPUs: at the start, where what has worked before is only looked at, and all of it when one that failed too
/// often is due or the worker is told to prove itself.
async fn prove_gpus(shared: Arc<Shared>, spawner: Spawner) {
    loop {
        match proof::gpu::prove(&shared.config, &spawner, shared.gpus.kept()).await {
            Ok(cards) => shared.gpus.found(cards),
            Err(lack) => {
                info!(%lack, "no GPU is used");
                shared.gpus.found(Vec::new());
            }
        }
        tokio::select! {
            () = shared.gpus.test_due() => {}
            () = shared.presence.proven_again() => {}
        }
        shared.gpus.doubt();
    }
}

/// Says again and again that the worker lives, and at once when it can do more or less than before: others may wait for that.
async fn beat(shared: Arc<Shared>) {
    let mut tick = tokio::time::interval(Duration::from_millis(HEARTBEAT_MS));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut offer, mut proof) = (shared.gpus.offer(), shared.presence.proof());
    loop {
        // Neither change can fail: the senders are in `shared`.
        tokio::select! {
            _ = tick.tick() => {}
            _ = offer.changed() => {}
            _ = proof.changed() => {}
        }
        if let Err(error) = shared.queue.beat(shared.presence.heartbeat()).await {
            warn!(%error, "heartbeat not sent");
        }
    }
}

/// Does as the coordinator says.
async fn listen(shared: Arc<Shared>) {
    loop {
        match shared.queue.next_directive().await {
            Ok(Some(directive)) => shared.presence.obey(directive),
            Ok(None) => return,
            Err(error) => {
                warn!(%error, "directives not heard");
                tokio::time::sleep(LISTEN_AGAIN).await;
            }
        }
    }
}

/// Which tasks a loop takes.
#[derive(Debug, Clone, Copy)]
enum Takes {
    /// Those of [`Class::Cpu`].
    Cpu,
    /// Those of [`Class::Gpu`], while there are more slots for them than this number.
    Gpu(u32),
}

/// One slot's worth of a worker.
struct SlotLoop {
    shared: Arc<Shared>,
    spawner: Spawner,
    abort: CancellationToken,
    takes: Takes,
    slot: Option<Slot>,
    /// Attempts that ran out of something since the last success.
    exhausted: u32,
}

impl SlotLoop {
    async fn run(mut self) -> Result<(), QueueError> {
        let result = self.serve_all().await;
        self.close_slot().await;
        result
    }

    async fn serve_all(&mut self) -> Result<(), QueueError> {
        loop {
            // The next slot starts while there is nothing to do: loading the media libraries takes longer than forking.
            let ready = self.slot.as_mut().is_some_and(Slot::is_ready);
            let opened = if ready { Ok(()) } else { self.open_slot(Sight::Nothing).await };
            let delivery = tokio::select! {
                biased;
                () = self.abort.cancelled() => return Ok(()),
                () = self.shared.draining.cancelled() => return Ok(()),
                () = self.takes_tasks(false) => {
                    tokio::select! {
                        () = self.abort.cancelled() => return Ok(()),
                        () = self.shared.draining.cancelled() => return Ok(()),
                        () = self.takes_tasks(true) => continue,
                    }
                }
                delivery = self.shared.queue.pull(self.class()) => match delivery? {
                    Some(delivery) => delivery,
                    None => return Ok(()),
                },
            };
            if self.shared.presence.leaves_to_others(delivery.task()) {
                info!(task = %delivery.task().id, attempt = delivery.task().attempt.0, "left to other workers");
                delivery.pass_on(PASS_PAUSE).await?;
                continue;
            }
            self.serve(delivery, opened).await?;
            self.rest().await;
        }
    }

    fn class(&self) -> Class {
        match self.takes {
            Takes::Cpu => Class::Cpu,
            Takes::Gpu(_) => Class::Gpu,
        }
    }

    /// Waits until this loop takes tasks (`true`) or does not.
    async fn takes_tasks(&self, takes: bool) {
        let Takes::Gpu(number) = self.takes else { return self.shared.presence.takes_tasks(takes).await };
        if takes {
            self.shared.gpus.has_slots(number, true).await;
            return self.shared.presence.takes_tasks(true).await;
        }
        tokio::select! {
            () = self.shared.gpus.has_slots(number, false) => {}
            () = self.shared.presence.takes_tasks(false) => {}
        }
    }

    /// Makes sure that there is a slot that takes a task, and sees these GPUs.
    async fn open_slot(&mut self, sight: Sight) -> Result<(), TaskError> {
        if self.slot.as_mut().is_some_and(|slot| *slot.sight() == sight && slot.is_ready()) {
            return Ok(());
        }
        self.close_slot().await;
        let config = &self.shared.config;
        let slot = Slot::open(config.clone(), &self.spawner, sight).await.map_err(|error| {
            let text = format!("starting {}: {error}", config.slot_program.path.display());
            TaskError::new(ErrorKind::Exhausted, "slot_spawn", text)
        })?;
        self.slot = Some(slot);
        Ok(())
    }

    async fn close_slot(&mut self) {
        if let Some(slot) = self.slot.take() {
            slot.close().await;
        }
    }

    /// After attempts that ran out of something. One that was asked to end does not rest.
    async fn rest(&self) {
        if self.exhausted > 0 {
            let rest = FIRST_REST.saturating_mul(1 << (self.exhausted - 1).min(16)).min(LONGEST_REST);
            warn!(seconds = rest.as_secs(), "a slot rests");
            tokio::select! {
                () = self.abort.cancelled() => {}
                () = self.shared.draining.cancelled() => {}
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    /// Runs one attempt and answers for it. A queue that does not answer ends the worker.
    async fn serve(&mut self, delivery: Box<dyn Delivery>, opened: Result<(), TaskError>) -> Result<(), QueueError> {
        let longest = self.shared.config.attempt_timeout() * 2; // its inputs have as long as its slot
        let answer = tokio::select! {
            biased;
            answer = self.try_once(delivery.task(), opened).instrument(trace_of(delivery.task())) => answer?,
            Err(error) = renew(&*delivery, longest) => return Err(error),
        };
        match answer {
            Answer::Ack => delivery.ack().await,
            Answer::GiveBack => delivery.give_back().await,
        }
    }

    /// Runs one attempt and reports how it ended.
    async fn try_once(&mut self, task: &Task, opened: Result<(), TaskError>) -> Result<Answer, QueueError> {
        let shared = self.shared.clone();
        let Some(running) = shared.presence.begin(task, self.class()) else {
            info!(task = %task.id, attempt = task.attempt.0, "delivered once more; it runs here already");
            return Ok(Answer::Ack);
        };
        info!(task = %task.id, attempt = task.attempt.0, "attempt started");
        let result = match opened {
            Ok(()) => self.climb_down(&shared, task).await,
            Err(error) => Err(Stop::Failed(error)),
        };
        if result.is_err() {
            self.close_slot().await; // before the report: whoever reads it may rely on the attempt being over
        }
        let outcome = match result {
            Ok(receipt) => {
                let Spent { wall_ms, cpu_ms, .. } = receipt.spent();
                info!(task = %task.id, attempt = task.attempt.0, wall_ms, cpu_ms, "attempt done");
                self.shared.presence.made(&receipt, self.class());
                self.exhausted = 0;
                Outcome::Done(receipt)
            }
            Err(Stop::Failed(error)) => {
                let TaskError { kind, code, message } = &error;
                warn!(task = %task.id, attempt = task.attempt.0, ?kind, code, text = message, "attempt failed");
                self.exhausted += u32::from(*kind == ErrorKind::Exhausted);
                Outcome::Failed(error)
            }
            Err(Stop::Aborted) => {
                info!(task = %task.id, attempt = task.attempt.0, "attempt given back");
                return Ok(Answer::GiveBack);
            }
            Err(Stop::Queue(error)) => return Err(error),
        };
        let report =
            TaskReport { task: task.id.clone(), attempt: task.attempt, worker: self.shared.id.clone(), outcome };
        tokio::select! {
            biased;
            sent = self.shared.queue.report(report) => sent?,
            () = self.abort.cancelled() => return Ok(Answer::GiveBack),
        }
        drop(running); // after the report, so that no heartbeat leaves it out before
        Ok(Answer::Ack)
    }
}

impl SlotLoop {
    /// Runs the attempt where it is best placed. One that fails by a GPU begins again with less of it, down to software: the
    /// receipt names what was left out.
    async fn climb_down(&mut self, shared: &Shared, task: &Task) -> Result<Receipt, Stop> {
        let mut recording = Recording::begin(&shared.tracer, task, &shared.id);
        let abort = self.abort.clone();
        let mut attempt = Attempt::new(shared, task, &abort);
        let result = self.descend(shared, &mut attempt, &mut recording).await;
        if let Some(recording) = recording {
            recording.end(attempt.times(), &result);
        }
        result
    }

    async fn descend(
        &mut self,
        shared: &Shared,
        attempt: &mut Attempt<'_>,
        recording: &mut Option<Recording>,
    ) -> Result<Receipt, Stop> {
        let task = attempt.task();
        let seat = shared.gpus.seat(task, self.class());
        let mut ladder = Ladder::new(seat.as_ref().map_or(Placement::SOFTWARE, |seat| seat.placement));
        let mut fallbacks = Vec::new();
        attempt.begin().await?;
        loop {
            let seat = seat.as_ref().filter(|_| ladder.now().needs_gpu());
            let order = seat.map(|seat| GpuOrder {
                uuid: seat.card.uuid.clone(),
                placement: ladder.now(),
                libraries: shared.config.gpu.libraries(),
                sessions: seat.card.seat_sessions,
            });
            self.open_slot(seat.map_or(Sight::Nothing, |seat| Sight::One(seat.card.uuid.clone()))).await?;
            let Some(slot) = &mut self.slot else {
                return Err(TaskError::bug("a slot that was opened is gone").into());
            };
            let error = match attempt.run(slot, order).await {
                Ok(mut receipt) => {
                    receipt.fell_back(fallbacks);
                    return Ok(receipt);
                }
                Err(Stop::Failed(error)) => error,
                Err(stop) => return Err(stop),
            };
            let (Some(seat), Some(fall)) = (seat, Fall::of(&error)) else { return Err(error.into()) };
            let TaskError { code, message, .. } = &error;
            warn!(task = %task.id, gpu = seat.card.uuid, placement = %ladder.now(), code, text = message, "falls back");
            if fall.blamed {
                seat.blame();
            }
            let fallback = Fallback::new(fall.stage, format!("{message} ({code})"));
            recording.iter_mut().for_each(|recording| recording.fell_back(&fallback));
            fallbacks.push(fallback);
            ladder.step_down(fall.stage);
            self.close_slot().await;
        }
    }
}

/// What all log lines of an attempt that is traced are in.
fn trace_of(task: &Task) -> Span {
    task.trace.map_or_else(Span::none, |context| error_span!("attempt", trace_id = %context.trace))
}

/// What becomes of a delivery.
enum Answer {
    Ack,
    GiveBack,
}

/// Keeps a task from being handed to somebody else while it is tried. What a source that is far away, or a store that is
/// slow, can take is longer than any sign of progress may stay out; but every request has a time-out, and a slot that
/// stands still is killed, so an attempt that lasts longer than `longest` hangs.
async fn renew(delivery: &dyn Delivery, longest: Duration) -> Result<Infallible, QueueError> {
    let ends = Instant::now() + longest;
    while Instant::now() < ends {
        tokio::time::sleep(RENEW_EVERY).await;
        delivery.still_working().await?;
    }
    std::future::pending().await
}

/// A storyboard hands thousands of tiles to its slot, more than the customary soft limit of 1024.
fn raise_file_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        warn!(%error, "the limit of open files stays as it is");
    }
}
