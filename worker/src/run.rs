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
mod slot_loop;
mod trace;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use shared::fleet::HEARTBEAT_MS;
use shared::queue::{Queue, QueueError};
use shared::task::WorkerId;
use shared::trace::Tracer;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::{GpuUse, WorkerConfig};
use crate::proof::gpu::Kept;
use crate::proof::{self, Proof};
use crate::scratch::Scratch;
use crate::slot::spawner::Spawner;
use gpus::Gpus;
use presence::Presence;
use slot_loop::{SlotLoop, Takes};

/// Pause before listening again to a queue that can't be reached.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);
/// Pause before a worker that can't do anything tries again what it can do.
const PROVE_AGAIN: Duration = Duration::from_secs(30);

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
        let slot_loop = |takes| SlotLoop::new(self.shared.clone(), spawner.clone(), abort.clone(), takes);
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
/// So too when it drains, lest what it gives back be taken for lost with it.
async fn beat(shared: Arc<Shared>) {
    let mut tick = tokio::time::interval(Duration::from_millis(HEARTBEAT_MS));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut offer, mut proof) = (shared.gpus.offer(), shared.presence.proof());
    let mut drains = false;
    loop {
        // Neither change can fail: the senders are in `shared`.
        tokio::select! {
            _ = tick.tick() => {}
            () = shared.draining.cancelled(), if !drains => drains = true,
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

/// A storyboard hands thousands of tiles to its slot, more than the customary soft limit of 1024.
fn raise_file_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        warn!(%error, "the limit of open files stays as it is");
    }
}
