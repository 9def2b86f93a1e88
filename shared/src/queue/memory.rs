//! The queue of the one-process farm.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, broadcast, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Delivery, Incoming, Queue, QueueError};
use crate::fleet::{Class, Directive, Heartbeat, Lane, Urgency};
use crate::task::{Task, TaskReport};

/// What may wait for the coordinator before workers wait for it.
const INCOMING_CAPACITY: usize = 256;
/// Directives that a worker may be behind.
const DIRECTIVE_CAPACITY: usize = 256;

/// Tasks and reports in memory; lost with the process, as any queue may be.
pub struct MemoryQueue {
    /// By class.
    waiting: [Arc<Waiting>; Class::ALL.len()],
    closed: CancellationToken,
    incoming: mpsc::Sender<Incoming>,
    inbox: tokio::sync::Mutex<mpsc::Receiver<Incoming>>,
    directives: broadcast::Sender<Directive>,
    told: tokio::sync::Mutex<broadcast::Receiver<Directive>>,
}

#[derive(Default)]
struct Waiting {
    lanes: Mutex<[MemoryLane; Urgency::ALL.len()]>,
    arrived: Notify,
}

/// Tasks of one urgency.
#[derive(Default)]
struct MemoryLane {
    tasks: VecDeque<Task>,
    /// Handed to nobody before.
    paused: Vec<(Instant, Task)>,
}

impl MemoryLane {
    /// What has paused long enough comes first.
    fn take(&mut self) -> Option<Task> {
        let now = Instant::now();
        match self.paused.iter().position(|(until, _)| *until <= now) {
            Some(over) => Some(self.paused.remove(over).1),
            None => self.tasks.pop_front(),
        }
    }
}

impl Waiting {
    fn put(&self, task: Task, urgency: Urgency, first: bool) {
        let mut lanes = self.lanes();
        let tasks = &mut lanes[urgency as usize].tasks;
        if first {
            tasks.push_front(task)
        } else {
            tasks.push_back(task)
        }
        drop(lanes);
        self.arrived.notify_one();
    }

    fn put_after(&self, task: Task, urgency: Urgency, pause: Duration) {
        self.lanes()[urgency as usize].paused.push((Instant::now() + pause, task));
        self.arrived.notify_one(); // whoever waits has to know until when
    }

    fn take(&self) -> Option<(Task, Urgency)> {
        let mut lanes = self.lanes();
        let taken = Urgency::ALL.into_iter().find_map(|urgency| Some((lanes[urgency as usize].take()?, urgency)));
        if lanes.iter().any(|lane| !lane.tasks.is_empty()) {
            self.arrived.notify_one(); // one permit may have stood for several tasks
        }
        taken
    }

    /// Until the next pause is over; for ever if nothing pauses.
    async fn pause_over(&self) {
        let next = self.lanes().iter().flat_map(|lane| &lane.paused).map(|(until, _)| *until).min();
        match next {
            Some(until) => tokio::time::sleep_until(until).await,
            None => std::future::pending().await,
        }
    }

    fn lanes(&self) -> std::sync::MutexGuard<'_, [MemoryLane; Urgency::ALL.len()]> {
        self.lanes.lock().expect("no holder of this lock should panic")
    }
}

impl Default for MemoryQueue {
    fn default() -> Self {
        let (incoming, inbox) = mpsc::channel(INCOMING_CAPACITY);
        let (directives, told) = broadcast::channel(DIRECTIVE_CAPACITY);
        let (inbox, told) = (inbox.into(), told.into());
        Self { waiting: Default::default(), closed: CancellationToken::new(), incoming, inbox, directives, told }
    }
}

impl MemoryQueue {
    async fn send(&self, incoming: Incoming) -> Result<(), QueueError> {
        self.incoming.send(incoming).await.map_err(|_| QueueError("the coordinator is gone".into()))
    }
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn open(&self) -> Result<bool, QueueError> {
        Ok(false)
    }

    async fn push(&self, task: Task, lane: Lane) -> Result<(), QueueError> {
        self.waiting[lane.class as usize].put(task, lane.urgency, false);
        Ok(())
    }

    async fn clear(&self, class: Class) -> Result<(), QueueError> {
        *self.waiting[class as usize].lanes() = Default::default();
        Ok(())
    }

    async fn next_incoming(&self) -> Result<Option<Incoming>, QueueError> {
        Ok(self.inbox.lock().await.recv().await)
    }

    fn more_incoming(&self) -> Result<Option<Incoming>, QueueError> {
        Ok(self.inbox.try_lock().ok().and_then(|mut inbox| inbox.try_recv().ok()))
    }

    async fn direct(&self, directive: Directive) -> Result<(), QueueError> {
        // Can't fail: `told` listens as long as the queue lives.
        drop(self.directives.send(directive));
        Ok(())
    }

    async fn pull(&self, class: Class) -> Result<Option<Box<dyn Delivery>>, QueueError> {
        let waiting = &self.waiting[class as usize];
        loop {
            if self.closed.is_cancelled() {
                return Ok(None);
            }
            if let Some((task, urgency)) = waiting.take() {
                let waiting = waiting.clone();
                return Ok(Some(Box::new(MemoryDelivery { task: Some(task), urgency, waiting })));
            }
            tokio::select! {
                () = waiting.arrived.notified() => {}
                () = waiting.pause_over() => {}
                () = self.closed.cancelled() => {}
            }
        }
    }

    async fn report(&self, report: TaskReport) -> Result<(), QueueError> {
        self.send(Incoming::Report(Box::new(report))).await
    }

    async fn beat(&self, heartbeat: Heartbeat) -> Result<(), QueueError> {
        self.send(Incoming::Heartbeat(heartbeat)).await
    }

    async fn next_directive(&self) -> Result<Option<Directive>, QueueError> {
        let mut told = self.told.lock().await;
        loop {
            tokio::select! {
                directive = told.recv() => match directive {
                    Ok(directive) => return Ok(Some(directive)),
                    Err(broadcast::error::RecvError::Lagged(_)) => {} // what still matters is said again
                    Err(broadcast::error::RecvError::Closed) => return Ok(None),
                },
                () = self.closed.cancelled() => return Ok(None),
            }
        }
    }

    fn close(&self) {
        self.closed.cancel();
    }
}

struct MemoryDelivery {
    task: Option<Task>, // `None` once acknowledged
    urgency: Urgency,
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

    async fn pass_on(mut self: Box<Self>, pause: Duration) -> Result<(), QueueError> {
        if let Some(task) = self.task.take() {
            self.waiting.put_after(task, self.urgency, pause);
        }
        Ok(())
    }
}

/// A worker's task may end anywhere, by a panic too: what it held goes back to the front.
impl Drop for MemoryDelivery {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            self.waiting.put(task, self.urgency, true);
        }
    }
}
