//! Slots are child processes: what goes wrong in one costs that attempt and nothing else.
//!
//! This test program is its own slot program: see [`program`].

mod attempts;
mod processes;
mod program;
mod proof;
mod renewal;
mod traces;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use shared::fleet::{Class, Directive, Heartbeat, Lane, Urgency};
use shared::queue::memory::MemoryQueue;
use shared::queue::{Incoming, Queue};
use shared::task::{AttemptId, IndexTask, JobId, Outcome, Places, Task, TaskId, TaskName, TaskReport, Work, WorkerId};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use worker::config::{SlotProgram, WorkerConfig};
use worker::run::{Worker, WorkerError};

use program::AS_SLOT;

/// The name of the test below, for `--exact`.
const SLOT_TEST: &str = "a_slot_started_by_hand_refuses";

/// Run with [`AS_SLOT`] as an argument, this is no test but the slot program of all others.
#[test]
fn a_slot_started_by_hand_refuses() {
    if std::env::args().any(|arg| arg == AS_SLOT) {
        program::become_slot();
    }
    let SlotProgram { path, args } = slot_program();
    for stdin in [Stdio::null(), Stdio::piped()] {
        let output = Command::new(&path).args(&args).stdin(stdin).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("slot: this is not for people"), "{said}");
    }
}

fn slot_program() -> SlotProgram {
    let args = ["--exact", SLOT_TEST, "--nocapture", "--test-threads=1", AS_SLOT];
    SlotProgram { path: std::env::current_exe().unwrap(), args: args.map(String::from).into() }
}

fn config() -> WorkerConfig {
    WorkerConfig { slots: std::num::NonZeroUsize::MIN, slot_program: slot_program(), ..WorkerConfig::default() }
}

/// A folder with an empty source, and where a job's bytes are in it.
struct Scene {
    folder: TempDir,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("source"), b"").unwrap();
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A task whose job says how the slot behaves.
    fn task(&self, behaviour: &str) -> Task {
        let growing_ms = std::num::NonZeroU32::new(1_000); // tests tell patient slots to end by writing to it
        self.task_of(behaviour, TaskName::Index, Work::Index(IndexTask { max_pixels: 1 << 20, growing_ms }))
    }

    fn task_of(&self, behaviour: &str, name: TaskName, work: Work) -> Task {
        let place = |name: &str| self.path().join(name).to_str().unwrap().to_owned();
        Task {
            id: TaskId { job: JobId::new(behaviour).unwrap(), name },
            attempt: AttemptId(1),
            places: Places { source: place("source"), target: place("target"), work: place("work") },
            source_mark: None,
            work,
            avoid: vec![],
            trace: None,
        }
    }
}

/// A worker at work.
struct Crew {
    queue: Arc<MemoryQueue>,
    draining: CancellationToken,
    abort: CancellationToken,
    worker: JoinSet<Result<(), WorkerError>>,
}

impl Crew {
    /// One that takes tasks at once.
    fn start(config: WorkerConfig) -> Self {
        Self::start_with(config, Worker::without_proof)
    }

    /// One that proves first what it can do.
    fn start_proving(config: WorkerConfig) -> Self {
        Self::start_with(config, |worker| worker)
    }

    fn start_with(config: WorkerConfig, change: impl FnOnce(Worker) -> Worker) -> Self {
        let queue = Arc::new(MemoryQueue::default());
        let (draining, abort) = (CancellationToken::new(), CancellationToken::new());
        let worker = Worker::new(config, queue.clone(), WorkerId::new("tester").unwrap(), draining.clone());
        let worker = JoinSet::from_iter([change(worker).run(abort.clone())]);
        Self { queue, draining, abort, worker }
    }

    async fn push(&self, task: Task) {
        self.queue.push(task, Lane { class: Class::Cpu, urgency: Urgency::Normal }).await.unwrap();
    }

    async fn direct(&self, directive: Directive) {
        self.queue.direct(directive).await.unwrap();
    }

    async fn heartbeat(&self) -> Heartbeat {
        loop {
            if let Incoming::Heartbeat(heartbeat) = self.queue.next_incoming().await.unwrap().unwrap() {
                return heartbeat;
            }
        }
    }

    async fn report(&self) -> TaskReport {
        loop {
            if let Incoming::Report(report) = self.queue.next_incoming().await.unwrap().unwrap() {
                return *report;
            }
        }
    }

    /// Waits until an attempt is over; what it said, in order.
    async fn outcomes(&self) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        loop {
            let report = self.report().await;
            assert_eq!(report.worker.as_str(), "tester");
            outcomes.push(report.outcome);
            if matches!(outcomes.last(), Some(Outcome::Done(_) | Outcome::Failed(_))) {
                return outcomes;
            }
        }
    }

    async fn run(&self, task: Task) -> Outcome {
        self.push(task).await;
        self.outcomes().await.pop().unwrap()
    }

    async fn stop(mut self) {
        self.draining.cancel();
        self.ended().await;
    }

    async fn ended(&mut self) {
        self.worker.join_next().await.unwrap().unwrap().unwrap();
    }
}
