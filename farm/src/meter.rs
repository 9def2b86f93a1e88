//! A queue that also counts how much of the source has been indexed, for people who wait.

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use shared::queue::memory::MemoryQueue;
use shared::queue::{Delivery, Queue, QueueError};
use shared::task::{IndexReport, Outcome, Receipt, Task, TaskReport};

/// The in-process queue, watched.
#[derive(Default)]
pub struct MeteredQueue {
    inner: MemoryQueue,
    read_bytes: AtomicU64,
}

impl MeteredQueue {
    /// Bytes of the source that the index has reported so far.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
    }

    fn note(&self, outcome: &Outcome) {
        match outcome {
            Outcome::Index(IndexReport::Source(_)) => self.read_bytes.store(0, Ordering::Relaxed),
            Outcome::Index(IndexReport::Gops(gops)) => {
                self.read_bytes.fetch_add(gops.iter().map(|gop| gop.bytes).sum(), Ordering::Relaxed);
            }
            Outcome::Done(Receipt::Index(receipt)) => self.read_bytes.store(receipt.bytes, Ordering::Relaxed),
            _ => {}
        }
    }
}

#[async_trait]
impl Queue for MeteredQueue {
    async fn push(&self, task: Task) -> Result<(), QueueError> {
        self.inner.push(task).await
    }

    async fn pull(&self) -> Result<Option<Box<dyn Delivery>>, QueueError> {
        self.inner.pull().await
    }

    async fn report(&self, report: TaskReport) -> Result<(), QueueError> {
        self.note(&report.outcome);
        self.inner.report(report).await
    }

    async fn next_report(&self) -> Result<Option<TaskReport>, QueueError> {
        self.inner.next_report().await
    }

    fn close(&self) {
        self.inner.close();
    }
}
