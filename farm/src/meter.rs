//! A queue that also counts: how much of the source has been indexed, for people who wait, and how many reports the
//! coordinator has not taken yet, for closing in order.

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use shared::fleet::{Class, Directive, Heartbeat, Lane};
use shared::queue::memory::MemoryQueue;
use shared::queue::{Delivery, Incoming, Queue, QueueError};
use shared::task::{IndexReport, Outcome, Receipt, Task, TaskReport};
use tokio::sync::watch;

/// The in-process queue, watched.
#[derive(Default)]
pub struct MeteredQueue {
    inner: MemoryQueue,
    read_bytes: AtomicU64,
    /// Reports that the coordinator has not taken yet; below 0 for the moment in which one is taken that is not counted.
    waiting: watch::Sender<i64>,
}

impl MeteredQueue {
    /// Bytes of the source that the index has reported so far.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
    }

    /// Waits until the coordinator has taken every report. To be called when no more will come.
    pub async fn all_taken(&self) {
        // Can't fail: the sender is `self`.
        drop(self.waiting.subscribe().wait_for(|waiting| *waiting == 0).await);
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
    async fn open(&self) -> Result<bool, QueueError> {
        self.inner.open().await
    }

    async fn push(&self, task: Task, lane: Lane) -> Result<(), QueueError> {
        self.inner.push(task, lane).await
    }

    async fn clear(&self, class: Class) -> Result<(), QueueError> {
        self.inner.clear(class).await
    }

    async fn direct(&self, directive: Directive) -> Result<(), QueueError> {
        self.inner.direct(directive).await
    }

    async fn beat(&self, heartbeat: Heartbeat) -> Result<(), QueueError> {
        self.inner.beat(heartbeat).await
    }

    async fn next_directive(&self) -> Result<Option<Directive>, QueueError> {
        self.inner.next_directive().await
    }

    async fn pull(&self, class: Class) -> Result<Option<Box<dyn Delivery>>, QueueError> {
        self.inner.pull(class).await
    }

    async fn report(&self, report: TaskReport) -> Result<(), QueueError> {
        self.note(&report.outcome);
        self.inner.report(report).await?;
        // After the wait, which may be given up: a report that was not sent must not be waited for.
        self.waiting.send_modify(|waiting| *waiting += 1);
        Ok(())
    }

    async fn next_incoming(&self) -> Result<Option<Incoming>, QueueError> {
        let incoming = self.inner.next_incoming().await?;
        if let Some(Incoming::Report(_)) = incoming {
            self.waiting.send_modify(|waiting| *waiting -= 1);
        }
        Ok(incoming)
    }

    fn close(&self) {
        self.inner.close();
    }
}

#[cfg(test)]
mod tests {
    use shared::task::{AttemptId, JobId, TaskId, TaskName, WorkerId};

    use super::*;

    #[tokio::test]
    async fn the_last_report_is_waited_for() {
        let queue = MeteredQueue::default();
        let task = TaskId { job: JobId::new("j").unwrap(), name: TaskName::Index };
        let worker = WorkerId::new("w").unwrap();
        let report = TaskReport { task, attempt: AttemptId(1), worker, outcome: Outcome::Started };
        queue.report(report.clone()).await.unwrap();
        queue.report(report).await.unwrap();
        let taken = async {
            queue.next_incoming().await.unwrap();
            queue.next_incoming().await.unwrap();
            queue.next_incoming().await.unwrap(); // waits for ever, as a coordinator does
        };
        tokio::select! {
            biased;
            () = queue.all_taken() => {}
            () = taken => unreachable!("there is no third report"),
        }
        assert_eq!(*queue.waiting.borrow(), 0);
    }
}
