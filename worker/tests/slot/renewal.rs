//! A task that is tried is not handed to anybody else, however long nothing is seen of it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use shared::fleet::{Class, Directive, Heartbeat, Lane};
use shared::queue::{Delivery, Incoming, Queue, QueueError};
use shared::task::{Task, TaskReport, WorkerId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use worker::run::Worker;

use crate::{Scene, config};

/// A queue of one task.
struct OneTask(Mutex<Option<Box<dyn Delivery>>>);

/// Tells of being renewed.
struct Renewed {
    task: Task,
    tell: mpsc::UnboundedSender<()>,
}

#[async_trait]
impl Delivery for Renewed {
    fn task(&self) -> &Task {
        &self.task
    }

    async fn still_working(&self) -> Result<(), QueueError> {
        self.tell.send(()).map_err(|error| QueueError(error.to_string()))
    }

    async fn ack(self: Box<Self>) -> Result<(), QueueError> {
        Ok(())
    }

    async fn give_back(self: Box<Self>) -> Result<(), QueueError> {
        Ok(())
    }

    async fn pass_on(self: Box<Self>, _: Duration) -> Result<(), QueueError> {
        unreachable!("the task avoids nobody")
    }
}

#[async_trait]
impl Queue for OneTask {
    async fn pull(&self, _: Class) -> Result<Option<Box<dyn Delivery>>, QueueError> {
        Ok(self.0.lock().unwrap().take())
    }

    async fn report(&self, _: TaskReport) -> Result<(), QueueError> {
        Ok(())
    }

    async fn beat(&self, _: Heartbeat) -> Result<(), QueueError> {
        Ok(())
    }

    async fn next_directive(&self) -> Result<Option<Directive>, QueueError> {
        Ok(None)
    }

    async fn open(&self) -> Result<bool, QueueError> {
        unreachable!("a worker")
    }

    async fn clear(&self, _: Class) -> Result<(), QueueError> {
        unreachable!("a worker")
    }

    async fn push(&self, _: Task, _: Lane) -> Result<(), QueueError> {
        unreachable!("a worker")
    }

    async fn next_incoming(&self) -> Result<Option<Incoming>, QueueError> {
        unreachable!("a worker")
    }

    async fn direct(&self, _: Directive) -> Result<(), QueueError> {
        unreachable!("a worker")
    }

    fn close(&self) {}
}

#[tokio::test]
async fn an_attempt_of_which_nothing_is_seen_is_renewed() {
    let (scene, abort) = (Scene::new(), CancellationToken::new());
    let (tell, mut renewed) = mpsc::unbounded_channel();
    let queue = OneTask(Mutex::new(Some(Box::new(Renewed { task: scene.task("hang"), tell }))));
    let worker = Worker::new(config(), Arc::new(queue), WorkerId::new("tester").unwrap(), CancellationToken::new());
    let worker = worker.without_proof();
    let three_times = async {
        for _ in 0..3 {
            renewed.recv().await.unwrap();
        }
        abort.cancel();
    };
    let (worked, ()) = tokio::join!(worker.run(abort.clone()), three_times);
    worked.unwrap();
}
