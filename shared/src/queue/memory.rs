//! The queue of the one-process farm.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::{Delivery, Queue, QueueError};
use crate::task::{Task, TaskReport};

/// Reports that may wait for the coordinator before workers wait for it.
const REPORT_CAPACITY: usize = 256;

/// Tasks and reports in memory; lost with the process, as any queue may be.
pub struct MemoryQueue {
    waiting: Arc<Waiting>,
    closed: CancellationToken,
    reports: mpsc::Sender<TaskReport>,
    inbox: tokio::sync::Mutex<mpsc::Receiver<TaskReport>>,
}

#[derive(Default)]
struct Waiting {
    tasks: Mutex<VecDeque<Task>>,
    arrived: Notify,
}

impl Waiting {
    fn put(&self, task: Task, first: bool) {
        let mut tasks = self.tasks.lock().expect("no holder of this lock should panic");
        if first {
            tasks.push_front(task)
        } else {
            tasks.push_back(task)
        }
        drop(tasks);
        self.arrived.notify_one();
    }

    fn take(&self) -> Option<Task> {
        let mut tasks = self.tasks.lock().expect("no holder of this lock should panic");
        let task = tasks.pop_front();
        if !tasks.is_empty() {
            self.arrived.notify_one(); // one permit may have stood for several tasks
        }
        task
    }
}

impl Default for MemoryQueue {
    fn default() -> Self {
        let (reports, inbox) = mpsc::channel(REPORT_CAPACITY);
        Self { waiting: Arc::default(), closed: CancellationToken::new(), reports, inbox: inbox.into() }
    }
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn push(&self, task: Task) -> Result<(), QueueError> {
        self.waiting.put(task, false);
        Ok(())
    }

    async fn pull(&self) -> Result<Option<Box<dyn Delivery>>, QueueError> {
        loop {
            if self.closed.is_cancelled() {
                return Ok(None);
            }
            if let Some(task) = self.waiting.take() {
                return Ok(Some(Box::new(MemoryDelivery { task: Some(task), waiting: self.waiting.clone() })));
            }
            tokio::select! {
                () = self.waiting.arrived.notified() => {}
                () = self.closed.cancelled() => {}
            }
        }
    }

    async fn report(&self, report: TaskReport) -> Result<(), QueueError> {
        self.reports.send(report).await.map_err(|_| QueueError("the coordinator is gone".into()))
    }

    async fn next_report(&self) -> Result<Option<TaskReport>, QueueError> {
        Ok(self.inbox.lock().await.recv().await)
    }

    fn close(&self) {
        self.closed.cancel();
    }
}

struct MemoryDelivery {
    task: Option<Task>, // `None` once acknowledged
    waiting: Arc<Waiting>,
}

#[async_trait]
impl Delivery for MemoryDelivery {
    fn task(&self) -> &Task {
        self.task.as_ref().expect("a delivery should hold its task until it is acknowledged")
    }

    async fn still_working(&self) -> Result<(), QueueError> {
        Ok(())
    }

    async fn ack(mut self: Box<Self>) -> Result<(), QueueError> {
        self.task = None;
        Ok(())
    }

    async fn give_back(self: Box<Self>) -> Result<(), QueueError> {
        Ok(())
    }
}

/// A worker's task may end anywhere, by a panic too: what it held goes back to the front.
impl Drop for MemoryDelivery {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            self.waiting.put(task, true);
        }
    }
}
