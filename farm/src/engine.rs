//! The whole farm in one process: coordinator, worker, and between them a queue in memory.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use coordinator::archive::Archive;
use coordinator::run::{Coordinator, CoordinatorConfig, Handle, RunError};
use coordinator::schedule::Weights;
use coordinator::store::StoreError;
use coordinator::store::redb::RedbStore;
use shared::queue::Queue;
use shared::storage::StorageConfig;
use shared::task::WorkerId;
use shared::trace::Tracer;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use worker::config::WorkerConfig;
use worker::run::{Worker, WorkerError};
use worker::slot::hide_from_slots;

use crate::exit::{Exit, Failure};
use crate::meter::MeteredQueue;

/// An attempt that says nothing for so long is lost. The worker ends one that hangs long before.
const SILENCE: Duration = Duration::from_secs(300);
/// Below the folder of the state.
const STATE: &str = "state.redb";

/// A farm at work.
pub struct Engine {
    handle: Handle,
    queue: Arc<MeteredQueue>,
    parts: JoinSet<Part>,
    worker_running: bool,
    /// The worker takes nothing new.
    draining: CancellationToken,
    /// The worker kills what runs.
    abort: CancellationToken,
    /// The coordinator ends.
    shutdown: CancellationToken,
}

/// Whether the worker tries what this machine can do before it takes a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fitness {
    /// It does: others will ask what it can do, for as long as the farm runs.
    Proven,
    /// It does not: one job is waiting, and its first task that fails says the same.
    Assumed,
}

/// A part that has ended.
enum Part {
    Coordinator(Result<(), RunError>),
    Worker(Result<(), WorkerError>),
}

impl Engine {
    /// Opens the state in the folder `hidden` and starts working on what it remembers.
    ///
    /// # Errors
    /// `state` if it can't be opened, `output_busy` if another farm has it.
    pub fn start(hidden: &Path, slots: Option<NonZeroUsize>) -> Result<Self, Failure> {
        Self::start_with(hidden, slots, Fitness::Assumed, Tracer::default(), |_| None)
    }

    /// As [`Self::start`], jobs that ended long ago are put away, and `tracer` is told what becomes of all.
    ///
    /// # Errors
    /// As there.
    pub fn start_with(
        hidden: &Path,
        slots: Option<NonZeroUsize>,
        fitness: Fitness,
        tracer: Tracer,
        archive: impl FnOnce(&StorageConfig) -> Option<Archive>,
    ) -> Result<Self, Failure> {
        hide_from_slots()
            .map_err(|error| Failure::internal(format!("keeping this process from its slots: {error}")))?;
        let store = Arc::new(RedbStore::open(&hidden.join(STATE)).map_err(state_failure)?);
        let queue = Arc::new(MeteredQueue::default());
        let mut config = WorkerConfig::default();
        config.slots = slots.unwrap_or(config.slots);
        let ruling = CoordinatorConfig { silence: SILENCE, weights: Weights::new(), storage: config.storage.clone() };
        let archive = archive(&config.storage);
        let (coordinator, handle) = Coordinator::with_archive(store, queue.clone(), ruling, archive);
        let coordinator = coordinator.traced(tracer.clone());
        let token = CancellationToken::new;
        let (draining, abort, shutdown) = (token(), token(), token());
        let id = WorkerId::new("local").expect("a constant should be an id");
        let worker = Worker::new(config, queue.clone(), id, draining.clone()).traced(tracer);
        let worker = if fitness == Fitness::Assumed { worker.without_proof() } else { worker };
        let mut parts = JoinSet::new();
        let (kill, end) = (abort.clone(), shutdown.clone());
        parts.spawn(async move { Part::Worker(worker.run(kill).await) });
        parts.spawn(async move { Part::Coordinator(coordinator.run(end).await) });
        Ok(Self { handle, queue, parts, worker_running: true, draining, abort, shutdown })
    }

    /// For submitting jobs.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Bytes of the source that have been indexed.
    pub fn read_bytes(&self) -> u64 {
        self.queue.read_bytes()
    }

    /// Attempts that have begun are finished, and nothing new begins; then [`Self::over`] returns.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    /// Attempts that have begun are killed; then [`Self::over`] returns.
    pub fn abort(&self) {
        self.draining.cancel();
        self.abort.cancel();
    }

    /// Waits until a part has ended that should not have, or the worker because it was asked to.
    ///
    /// # Errors
    /// Why it has.
    pub async fn over(&mut self) -> Result<(), Failure> {
        let Some(ended) = self.parts.join_next().await else { return Ok(()) };
        match ended.map_err(|error| Failure::internal(error.to_string()))? {
            Part::Worker(result) => {
                self.worker_running = false;
                result.map_err(worker_failure)
            }
            Part::Coordinator(result) => {
                self.abort.cancel(); // nobody hears the worker any more
                result.map_err(coordinator_failure)?;
                Err(Failure::internal("the coordinator ended before its job"))
            }
        }
    }

    /// Closes everything, and with it the state: first the worker, so that the coordinator hears its last reports.
    ///
    /// # Errors
    /// What a part ended with.
    pub async fn stop(mut self) -> Result<(), Failure> {
        self.draining.cancel();
        self.queue.close();
        let mut result = Ok(());
        loop {
            let part = tokio::select! {
                part = self.parts.join_next() => part,
                // Once the worker has ended, no report can follow the last one.
                () = self.queue.all_taken(), if !self.worker_running && !self.shutdown.is_cancelled() => {
                    self.shutdown.cancel();
                    continue;
                }
            };
            let ended = match part {
                None => return result,
                Some(Err(error)) => Err(Failure::internal(error.to_string())),
                Some(Ok(Part::Worker(ended))) => {
                    self.worker_running = false;
                    ended.map_err(worker_failure)
                }
                Some(Ok(Part::Coordinator(ended))) => {
                    self.shutdown.cancel();
                    self.abort.cancel();
                    ended.map_err(coordinator_failure)
                }
            };
            result = result.and(ended);
        }
    }
}

fn worker_failure(error: WorkerError) -> Failure {
    Failure::internal(format!("worker: {error}"))
}

fn coordinator_failure(error: RunError) -> Failure {
    match error {
        RunError::Store(error) => state_failure(error),
        RunError::Queue(error) => Failure::internal(format!("coordinator: {error}")),
    }
}

fn state_failure(error: StoreError) -> Failure {
    let (code, help) = match &error {
        StoreError::Locked { .. } => ("output_busy", "wait until it has ended, or choose another folder"),
        StoreError::Damaged { .. } => ("state_damaged", "--fresh removes what is there and starts over"),
        _ => ("state", "check the disk; the same command continues where this one stopped"),
    };
    Failure::new(Exit::Storage, code, error.to_string()).help(help)
}
