//! A machine with a card that is played, a worker on it, and a chunk to make.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use card::{Library, folder, settings};
use shared::fleet::{Class, Heartbeat, Lane, Urgency};
use shared::queue::memory::MemoryQueue;
use shared::queue::{Incoming, Queue};
use shared::task::{
    AttemptId, JobId, Outcome, Places, Task, TaskId, TaskName, VideoReceipt, VideoTask, Work, WorkerId,
};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use worker::config::{GpuConfig, SlotProgram, WorkerConfig};
use worker::run::Worker;

use crate::indexed::Indexed;
use crate::{AS_SLOT, SLOT_TEST};

/// A machine: its libraries, its cards, and what these complain of.
pub struct Machine {
    folder: TempDir,
    pub config: WorkerConfig,
}

impl Machine {
    /// With cards as `card::profile` names them, and faults as `card::fault` writes them.
    pub fn new(cards: &str, faults: &str) -> Self {
        let made = tempfile::tempdir().unwrap();
        folder(made.path(), &card::folder::built().unwrap(), &Library::ALL).unwrap();
        let program = std::env::current_exe().unwrap();
        let args = [
            format!("LD_LIBRARY_PATH={}", made.path().display()),
            program.to_str().unwrap().to_owned(),
            "--exact".to_owned(),
            SLOT_TEST.to_owned(),
            "--nocapture".to_owned(),
            "--test-threads=1".to_owned(),
            AS_SLOT.to_owned(),
        ];
        let config = WorkerConfig {
            slots: NonZeroUsize::MIN,
            slot_program: SlotProgram { path: "/usr/bin/env".into(), args: args.into() },
            stall_timeout_ms: 8_000,
            scratch: made.path().join("scratch"),
            gpu: GpuConfig { slots_per_device: 1, ..GpuConfig::default() },
            ..WorkerConfig::default()
        };
        let machine = Self { folder: made, config };
        machine.play(cards, faults);
        machine
    }

    /// From now on, for whoever loads the libraries anew.
    pub fn play(&self, cards: &str, faults: &str) {
        settings::set(self.libraries(), cards, faults, &self.ledger()).unwrap();
    }

    /// Where the libraries lie.
    pub fn libraries(&self) -> &Path {
        self.folder.path()
    }

    fn ledger(&self) -> PathBuf {
        self.folder.path().join("ledger")
    }

    /// What the stand-ins have complained of; only whoever gave a library back in order has none.
    pub fn complaints(&self) -> String {
        std::fs::read_to_string(self.ledger()).unwrap_or_default()
    }
}

/// Where proofs of cards that are well are kept for other tests of this build, of the program and of what plays the cards.
fn proofs() -> PathBuf {
    let built = card::folder::built().unwrap();
    let libraries = Library::ALL.iter().map(|library| built.join(library.built_as()));
    let parts = libraries.chain([std::env::current_exe().unwrap()]);
    let newest = parts.map(|part| part.metadata().unwrap().modified().unwrap()).max().unwrap();
    let name = format!("proofs-{}", newest.duration_since(UNIX_EPOCH).unwrap().as_nanos());
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Each whole at any moment; other tests do the same.
fn copy_proofs(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    let Ok(files) = std::fs::read_dir(from) else { return };
    for path in files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "json")) {
        let new = to.join(format!("{}.copy", std::process::id()));
        std::fs::copy(&path, &new).unwrap();
        std::fs::rename(new, to.join(path.file_name().unwrap())).unwrap();
    }
}

/// An attempt at a chunk of an indexed source.
fn attempt(source: &Indexed, number: u32, work: VideoTask) -> Task {
    let place = |name: &str| source.folder.path().join(name).to_str().unwrap().to_owned();
    Task {
        id: TaskId { job: JobId::new("job").unwrap(), name: TaskName::Video(number) },
        attempt: AttemptId(1),
        places: Places {
            source: source.source.to_str().unwrap().to_owned(),
            target: place("target"),
            work: place("work"),
        },
        source_mark: None,
        work: Work::Video(work),
        avoid: vec![],
        trace: None,
    }
}

/// A rendition of a receipt as one file.
pub fn track(source: &Indexed, task: &VideoTask, receipt: &VideoReceipt, rung: usize) -> tempfile::NamedTempFile {
    let part = &receipt.parts[rung];
    let mut bytes = source.init(task, rung, part.config.clone());
    for segment in &part.segments {
        bytes.extend(std::fs::read(source.folder.path().join("target").join(&segment.object.key)).unwrap());
    }
    let file = tempfile::NamedTempFile::with_suffix(".mp4").unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    file
}

/// A worker at work on a machine.
pub struct Crew {
    pub queue: Arc<MemoryQueue>,
    draining: CancellationToken,
    worker: JoinSet<Result<(), worker::run::WorkerError>>,
}

impl Crew {
    /// One that has not proven anything yet.
    pub fn start(machine: &Machine) -> Self {
        let queue = Arc::new(MemoryQueue::default());
        let draining = CancellationToken::new();
        let id = WorkerId::new("tester").unwrap();
        let worker = Worker::new(machine.config.clone(), queue.clone(), id, draining.clone()).without_proof();
        Self { queue, worker: JoinSet::from_iter([worker.run(CancellationToken::new())]), draining }
    }

    /// One whose card is well: it proves that here, or has in another test of this build.
    pub async fn well(machine: &Machine) -> Self {
        let (known, scratch) = (proofs(), &machine.config.scratch);
        copy_proofs(&known, scratch);
        let crew = Self::start(machine);
        crew.heartbeat(|heartbeat| heartbeat.classes.contains(&Class::Gpu)).await;
        copy_proofs(scratch, &known);
        crew
    }

    /// Waits for a heartbeat of which this is true.
    pub async fn heartbeat(&self, wanted: impl Fn(&Heartbeat) -> bool) -> Heartbeat {
        loop {
            if let Incoming::Heartbeat(heartbeat) = self.queue.next_incoming().await.unwrap().unwrap()
                && wanted(&heartbeat)
            {
                return heartbeat;
            }
        }
    }

    /// Asks for a chunk, as a task of this class.
    pub async fn begin(&self, source: &Indexed, number: u32, work: VideoTask, class: Class) {
        let lane = Lane { class, urgency: Urgency::Normal };
        self.queue.push(attempt(source, number, work), lane).await.unwrap();
    }

    /// Waits for a report of which this is true.
    pub async fn hears(&self, wanted: impl Fn(&Outcome) -> bool) -> Outcome {
        loop {
            if let Incoming::Report(report) = self.queue.next_incoming().await.unwrap().unwrap()
                && wanted(&report.outcome)
            {
                return report.outcome;
            }
        }
    }

    /// Makes a chunk; how the attempt ended.
    pub async fn make(&self, source: &Indexed, number: u32, work: VideoTask, class: Class) -> Outcome {
        self.begin(source, number, work, class).await;
        self.hears(|outcome| matches!(outcome, Outcome::Done(_) | Outcome::Failed(_))).await
    }

    pub async fn stop(mut self) {
        self.draining.cancel();
        self.worker.join_next().await.unwrap().unwrap().unwrap();
    }
}
