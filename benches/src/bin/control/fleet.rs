//! Workers that touch no media: they speak the worker's protocol over real NATS and sleep for as long as work would take.
//!
//! Each has a name, heartbeats and slots of its own. A connection is shared by many, which a real worker has for itself, so
//! that a thousand of them fit beside the servers; directives are heard once a connection.

mod slot;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use shared::fleet::{AttemptRef, Class, Directive, GpuShare, HEARTBEAT_MS, Heartbeat, Standing};
use shared::queue::Queue;
use shared::queue::nats::{NatsConfig, NatsQueue};
use shared::task::{Task, WorkerId};
use shared::testing::synthetic::Source;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::ledger::Ledger;
use slot::serve;

/// How long the worker with this number works at a chunk.
pub type Pace = Arc<dyn Fn(&Task, usize) -> Duration + Send + Sync>;

/// What a fleet is made of.
#[derive(Clone)]
pub struct Orders {
    pub workers: usize,
    /// Of each worker.
    pub slots: usize,
    pub connections: usize,
    /// Every source is this one.
    pub source: Source,
    /// Between two pieces of an index.
    pub index_pause: Duration,
    pub pace: Pace,
    /// Chunks are not finished before it is open.
    pub gate: Option<watch::Receiver<bool>>,
    /// Between two reports of progress of an attempt.
    pub progress: Duration,
}

impl Orders {
    /// Workers that need no time at all.
    pub fn instant(workers: usize, slots: usize, source: Source) -> Self {
        Self {
            workers,
            slots,
            connections: workers.min(MOST_CONNECTIONS),
            source,
            index_pause: Duration::ZERO,
            pace: Arc::new(|_, _| Duration::ZERO),
            gate: None,
            progress: PROGRESS,
        }
    }
}

/// More of them are not worth it on one host.
const MOST_CONNECTIONS: usize = 32;
/// As a worker has it, unless it is told otherwise.
pub const PROGRESS: Duration = Duration::from_millis(250);

/// Workers at work; they stop when it is dropped.
pub struct Fleet {
    pub ledger: Arc<Ledger>,
    troubles: watch::Receiver<Option<String>>,
    _tasks: JoinSet<()>,
}

/// A worker, as its slots see it.
struct Worker {
    number: usize,
    id: WorkerId,
    orders: Arc<Orders>,
    queue: NatsQueue,
    ledger: Arc<Ledger>,
    running: Mutex<BTreeMap<AttemptRef, CancellationToken>>,
    started_ms: u64,
}

impl Fleet {
    /// Lets them begin.
    pub async fn start(config: &NatsConfig, orders: Orders) -> Result<Self> {
        let (orders, ledger) = (Arc::new(orders), Arc::<Ledger>::default());
        let (trouble, troubles) = watch::channel(None);
        let mut tasks = JoinSet::new();
        let mut queues = Vec::new();
        for _ in 0..orders.connections.max(1) {
            queues.push(NatsQueue::connect(config).await?);
        }
        let mut groups: Vec<Vec<Arc<Worker>>> = vec![Vec::new(); queues.len()];
        for number in 0..orders.workers {
            let group = number % queues.len();
            let id = WorkerId::new(format!("w{number:04}")).context("not a name")?;
            let (orders, ledger) = (orders.clone(), ledger.clone());
            let queue = queues[group].another();
            let worker = Worker { number, id, orders, queue, ledger, running: Mutex::default(), started_ms: 1 };
            groups[group].push(Arc::new(worker));
        }
        for worker in groups.iter().flatten() {
            tasks.spawn(beat(worker.clone()));
            for _ in 0..orders.slots {
                let (worker, trouble) = (worker.clone(), trouble.clone());
                tasks.spawn(async move {
                    if let Err(error) = serve(&worker).await {
                        trouble.send_replace(Some(error.to_string()));
                    }
                });
            }
        }
        for (queue, workers) in queues.into_iter().zip(groups) {
            tasks.spawn(obey(queue, workers));
        }
        Ok(Self { ledger, troubles, _tasks: tasks })
    }

    /// Why a slot has ended, if one has.
    pub fn check(&self) -> Result<()> {
        let trouble = self.troubles.borrow().clone();
        trouble.map_or(Ok(()), |text| Err(anyhow::Error::msg(text).context("a virtual worker")))
    }
}

impl Worker {
    /// An attempt runs; the token says when it is not wanted any more. `None`: it runs here already.
    fn begin(&self, attempt: &AttemptRef) -> Option<CancellationToken> {
        let mut running = self.running();
        if running.contains_key(attempt) {
            return None;
        }
        let unwanted = CancellationToken::new();
        running.insert(attempt.clone(), unwanted.clone());
        Some(unwanted)
    }

    fn end(&self, attempt: &AttemptRef) {
        self.running().remove(attempt);
    }

    fn stop(&self, unwanted: impl Fn(&AttemptRef) -> bool) {
        self.running().iter().filter(|(attempt, _)| unwanted(attempt)).for_each(|(_, token)| token.cancel());
    }

    fn running(&self) -> std::sync::MutexGuard<'_, BTreeMap<AttemptRef, CancellationToken>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heartbeat(&self) -> Heartbeat {
        Heartbeat {
            worker: self.id.clone(),
            build: "virtual".into(),
            host: "bench".into(),
            classes: vec![Class::Cpu],
            abilities: Vec::new(),
            proofs: 1,
            slots: u32::try_from(self.orders.slots).unwrap_or(u32::MAX),
            gpu: GpuShare::default(),
            running: self.running().keys().cloned().collect(),
            standing: Standing::Working,
            speed_ms_per_s: 0,
            started_ms: self.started_ms,
        }
    }
}

/// The first heartbeats of a fleet are spread over the time between two of them, as those of real workers are.
async fn beat(worker: Arc<Worker>) {
    let every = Duration::from_millis(HEARTBEAT_MS);
    let first = every.mul_f64(worker.number as f64 / worker.orders.workers as f64);
    // Nothing is handed out to a fleet whose slots nobody knows of: everybody says so once at the start.
    let _ = worker.queue.beat(worker.heartbeat()).await;
    let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + first, every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        // One that is lost is said again.
        let _ = worker.queue.beat(worker.heartbeat()).await;
    }
}

async fn obey(queue: NatsQueue, workers: Vec<Arc<Worker>>) {
    while let Ok(Some(directive)) = queue.next_directive().await {
        for worker in &workers {
            match &directive {
                Directive::Stop(attempt) => worker.stop(|one| one == attempt),
                Directive::Cancel(cancelled) => {
                    worker.stop(|one| one.task.job == cancelled.job && one.attempt <= cancelled.last);
                }
                Directive::Hold(_) | Directive::Release(_) | Directive::Drain(_) => {}
                Directive::Prove(_) | Directive::GiveWay(_) => {}
            }
        }
    }
}
