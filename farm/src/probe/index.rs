//! The index task alone: in a slot, with the limits of every other, and its intermediate objects in a temporary folder.

use std::num::NonZeroUsize;
use std::sync::Arc;

use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};
use shared::fleet::{Class, Lane, Urgency};
use shared::queue::{Incoming, Queue};
use shared::task::{AttemptId, IndexTask, JobId, Outcome, Places, Receipt, Task, TaskId, TaskName, Work, WorkerId};
use tokio_util::sync::CancellationToken;
use worker::config::WorkerConfig;
use worker::run::Worker;

use super::facts::Facts;
use crate::exit::{Exit, Failure};
use crate::interrupts::Interrupts;
use crate::meter::MeteredQueue;
use crate::order::{Source, uri};

/// Reads the source front to back.
///
/// # Errors
/// What the index task says; `interrupted` on Ctrl-C and SIGTERM.
pub async fn index(source: &Source, max_pixels: u64, bars: &MultiProgress) -> Result<Facts, Failure> {
    let mut interrupts = Interrupts::listen()?;
    let scratch = tempfile::Builder::new().prefix("farm-probe-").tempdir().map_err(|error| {
        Failure::storage("scratch", format!("{}: {error}", std::env::temp_dir().display())).help("set TMPDIR")
    })?;
    let queue = Arc::new(MeteredQueue::default());
    let abort = CancellationToken::new();
    let config = WorkerConfig { slots: NonZeroUsize::MIN, ..WorkerConfig::default() };
    let id = WorkerId::new("local").expect("a constant should be an id");
    let worker = Worker::new(config, queue.clone(), id, CancellationToken::new()).without_proof();
    let work = worker.run(abort.clone());
    let places = Places {
        source: source.uri(),
        target: uri(&scratch.path().join("target")),
        work: uri(&scratch.path().join("work")),
    };
    let bar = bars.add(ProgressBar::new_spinner().with_style(
        ProgressStyle::with_template("{spinner:.cyan} {msg}").expect("the template should be well-formed"),
    ));
    bar.enable_steady_tick(std::time::Duration::from_millis(120));
    let ask = async {
        let facts = gather(&queue, places, max_pixels, &bar).await;
        queue.close();
        facts
    };
    let facts = tokio::select! {
        (facts, worked) = async { tokio::join!(ask, work) } => {
            worked.map_err(|error| Failure::internal(error.to_string()))?;
            facts
        }
        () = interrupts.next() => Err(Failure::new(Exit::Interrupted, "interrupted", "interrupted")),
    };
    bar.finish_and_clear();
    facts.map_err(|failure| Failure { message: format!("{}: {}", source.path().display(), failure.message), ..failure })
}

async fn gather(queue: &MeteredQueue, places: Places, max_pixels: u64, bar: &ProgressBar) -> Result<Facts, Failure> {
    let failed = |error: shared::queue::QueueError| Failure::internal(error.to_string());
    let job = JobId::new("probe").expect("a constant should be an id");
    let id = TaskId { job, name: TaskName::Index };
    let lane = Lane { class: Class::Cpu, urgency: Urgency::Urgent };
    let work = Work::Index(IndexTask { max_pixels, growing_ms: None });
    let task = Task { id, attempt: AttemptId(1), places, source_mark: None, work, avoid: Vec::new(), trace: None };
    queue.push(task, lane).await.map_err(failed)?;
    let mut facts = Facts::default();
    while let Some(incoming) = queue.next_incoming().await.map_err(failed)? {
        let Incoming::Report(report) = incoming else { continue };
        match report.outcome {
            Outcome::Index(report) => facts.add(report),
            Outcome::Done(Receipt::Index(receipt)) => {
                facts.receipt = Some(receipt);
                return Ok(facts);
            }
            Outcome::Done(_) => return Err(Failure::internal("the index task ended with another task's receipt")),
            Outcome::Failed(error) => return Err(error.into()),
            Outcome::Started | Outcome::Progress(_) => {}
        }
        bar.set_message(format!("indexing, {} read", HumanBytes(queue.read_bytes())));
    }
    Err(Failure::internal("the worker has gone"))
}
