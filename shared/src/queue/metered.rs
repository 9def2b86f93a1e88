//! A queue that tells what passes through it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::{Delivery, Incoming, Queue, QueueError};
use crate::fleet::{Class, Directive, Heartbeat, Lane};
use crate::task::{Task, TaskReport};

/// Who is told. Called in the queue's own calls: to be quick.
pub trait Meter: Send + Sync + 'static {
    /// The coordinator has heard something.
    fn heard(&self, incoming: &Incoming);
    /// The worker has said something about an attempt.
    fn reported(&self, report: &TaskReport);
    /// The worker has said something of itself.
    fn beaten(&self, heartbeat: &Heartbeat);
    /// The queue has taken something, or refused it, after so long.
    fn answered(&self, call: Call, time: Duration);
    /// The queue has refused something.
    fn failed(&self);
}

/// What is asked of a queue and answered at once. Waiting for tasks and reports is not measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// A task is offered.
    Push,
    /// Workers are told.
    Direct,
    /// A report is sent.
    Report,
    /// A heartbeat is sent.
    Beat,
}

impl Call {
    /// As it stands in labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Direct => "direct",
            Self::Report => "report",
            Self::Beat => "beat",
        }
    }
}

/// Any queue, with a meter.
pub struct MeteredQueue {
    inner: Arc<dyn Queue>,
    meter: Arc<dyn Meter>,
}

impl MeteredQueue {
    /// `meter` is told of everything from now on.
    pub fn new(inner: Arc<dyn Queue>, meter: Arc<dyn Meter>) -> Self {
        Self { inner, meter }
    }

    async fn timed(&self, call: Call, work: impl Future<Output = Result<(), QueueError>>) -> Result<(), QueueError> {
        let began = Instant::now();
        let result = work.await;
        self.meter.answered(call, began.elapsed());
        self.note(result)
    }

    fn note<T>(&self, result: Result<T, QueueError>) -> Result<T, QueueError> {
        result.inspect_err(|_| self.meter.failed())
    }
}

#[async_trait]
impl Queue for MeteredQueue {
    async fn open(&self) -> Result<bool, QueueError> {
        self.note(self.inner.open().await)
    }

    async fn push(&self, task: Task, lane: Lane) -> Result<(), QueueError> {
        self.timed(Call::Push, self.inner.push(task, lane)).await
    }

    async fn clear(&self, class: Class) -> Result<(), QueueError> {
        self.note(self.inner.clear(class).await)
    }

    async fn next_incoming(&self) -> Result<Option<Incoming>, QueueError> {
        let incoming = self.note(self.inner.next_incoming().await)?;
        incoming.iter().for_each(|incoming| self.meter.heard(incoming));
        Ok(incoming)
    }

    fn more_incoming(&self) -> Result<Option<Incoming>, QueueError> {
        let incoming = self.note(self.inner.more_incoming())?;
        incoming.iter().for_each(|incoming| self.meter.heard(incoming));
        Ok(incoming)
    }

    async fn direct(&self, directive: Directive) -> Result<(), QueueError> {
        self.timed(Call::Direct, self.inner.direct(directive)).await
    }

    async fn pull(&self, class: Class) -> Result<Option<Box<dyn Delivery>>, QueueError> {
        self.note(self.inner.pull(class).await)
    }

    async fn report(&self, report: TaskReport) -> Result<(), QueueError> {
        self.meter.reported(&report);
        self.timed(Call::Report, self.inner.report(report)).await
    }

    async fn beat(&self, heartbeat: Heartbeat) -> Result<(), QueueError> {
        self.meter.beaten(&heartbeat);
        self.timed(Call::Beat, self.inner.beat(heartbeat)).await
    }

    async fn next_directive(&self) -> Result<Option<Directive>, QueueError> {
        self.note(self.inner.next_directive().await)
    }

    fn close(&self) {
        self.inner.close();
    }
}
