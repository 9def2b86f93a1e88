//! The hand-over of work: says what to do next and decides nothing.
//!
//! A queue may lose, repeat or reorder deliveries; truth is the coordinator's store. The backlog stays in the
//! coordinator, so a queue is short.
//!
//! | kept until handled | lost when nobody listens |
//! |---|---|
//! | tasks, results of attempts, pieces of an index | signs of life: [`Outcome::is_sign_of_life`], heartbeats; directives |
//!
//! Two twins keep one contract (`tests/queue`): [`memory`] in one process, `nats` (feature of that name) between hosts.
//!
//! [`Outcome::is_sign_of_life`]: crate::task::Outcome::is_sign_of_life

pub mod memory;
#[cfg(feature = "programs")]
pub mod metered;
#[cfg(feature = "nats")]
pub mod nats;

use std::time::Duration;

use async_trait::async_trait;

use crate::fleet::{AttemptRef, Class, Directive, Heartbeat, Lane};
use crate::task::{Task, TaskReport};

/// The queue can't be reached, or has been closed.
#[derive(Debug, thiserror::Error)]
#[error("queue: {0}")]
pub struct QueueError(pub String);

/// What the coordinator hears.
#[derive(Debug, Clone, PartialEq)]
pub enum Incoming {
    /// A worker says something about an attempt.
    Report(Box<TaskReport>),
    /// A worker says something of itself.
    Heartbeat(Heartbeat),
    /// The queue does not hold what was pushed any more.
    Lost,
    /// The queue has given an attempt up: it was delivered too often, or can't be read.
    Undeliverable(AttemptRef),
    /// So many tasks wait for a worker now.
    Depth(u64),
}

/// Both directions of the hand-over.
#[async_trait]
pub trait Queue: Send + Sync + 'static {
    /// Coordinator, before anything else: makes the queue ready. Says whether it still has what an earlier coordinator
    /// put on it.
    async fn open(&self) -> Result<bool, QueueError>;

    /// Coordinator: offers a task to any worker of the lane's class.
    async fn push(&self, task: Task, lane: Lane) -> Result<(), QueueError>;

    /// Coordinator: takes back what waits for a class. Attempts that a worker has begun go on.
    async fn clear(&self, class: Class) -> Result<(), QueueError>;

    /// Coordinator: waits for what comes next; `None` when the queue has been closed. What was returned before counts as
    /// handled: it is not told again. Can be dropped and called again.
    async fn next_incoming(&self) -> Result<Option<Incoming>, QueueError>;

    /// Coordinator: what has come besides by now, without waiting. It is handled together with what
    /// [`Self::next_incoming`] returned last.
    fn more_incoming(&self) -> Result<Option<Incoming>, QueueError> {
        Ok(None)
    }

    /// Coordinator: tells every worker that listens.
    async fn direct(&self, directive: Directive) -> Result<(), QueueError>;

    /// Worker: waits for a task of a class, the more urgent ones first. `None` when the queue has been closed.
    async fn pull(&self, class: Class) -> Result<Option<Box<dyn Delivery>>, QueueError>;

    /// Worker: says something about an attempt.
    async fn report(&self, report: TaskReport) -> Result<(), QueueError>;

    /// Worker: says something of itself.
    async fn beat(&self, heartbeat: Heartbeat) -> Result<(), QueueError>;

    /// Worker: waits for what it is told; `None` when the queue has been closed.
    async fn next_directive(&self) -> Result<Option<Directive>, QueueError>;

    /// No more tasks are handed out; pulls that wait end with `None`.
    fn close(&self);
}

/// A task in a worker's hands. Dropped without a word, it is given back.
#[async_trait]
pub trait Delivery: Send + Sync {
    /// The task.
    fn task(&self) -> &Task;

    /// It is in good hands: don't give it to anybody else yet. Say so as often as you like.
    async fn still_working(&self) -> Result<(), QueueError>;

    /// Its report is on the way; forget it.
    async fn ack(self: Box<Self>) -> Result<(), QueueError>;

    /// Hand it to somebody else.
    async fn give_back(self: Box<Self>) -> Result<(), QueueError>;

    /// Hand it to somebody else, but to nobody for so long: whoever gave it back might be the first to ask.
    async fn pass_on(self: Box<Self>, pause: Duration) -> Result<(), QueueError>;
}
