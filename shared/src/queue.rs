//! The hand-over of work: says what to do next and decides nothing.
//!
//! A queue may lose, repeat or reorder deliveries; truth is the coordinator's store. The backlog stays in the
//! coordinator, so a queue is short.

pub mod memory;

use async_trait::async_trait;

use crate::task::{Task, TaskReport};

/// The queue can't be reached, or has been closed.
#[derive(Debug, thiserror::Error)]
#[error("queue: {0}")]
pub struct QueueError(pub String);

/// Both directions of the hand-over.
#[async_trait]
pub trait Queue: Send + Sync + 'static {
    /// Coordinator: offers a task to any worker.
    async fn push(&self, task: Task) -> Result<(), QueueError>;

    /// Worker: waits for a task. `None` when the queue has been closed.
    async fn pull(&self) -> Result<Option<Box<dyn Delivery>>, QueueError>;

    /// Worker: says something about an attempt.
    async fn report(&self, report: TaskReport) -> Result<(), QueueError>;

    /// Coordinator: waits for the next report. `None` when the queue has been closed.
    async fn next_report(&self) -> Result<Option<TaskReport>, QueueError>;

    /// No more tasks are handed out; pulls that wait end with `None`.
    fn close(&self);
}

/// A task in a worker's hands. Dropped without a word, it is given back.
#[async_trait]
pub trait Delivery: Send + Sync {
    /// The task.
    fn task(&self) -> &Task;

    /// Frames have advanced: don't hand it to anybody else yet.
    async fn still_working(&self) -> Result<(), QueueError>;

    /// Its report is on the way; forget it.
    async fn ack(self: Box<Self>) -> Result<(), QueueError>;

    /// Hand it to somebody else.
    async fn give_back(self: Box<Self>) -> Result<(), QueueError>;
}
