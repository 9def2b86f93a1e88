//! A slot of a virtual worker: takes a task, claims to have done it, takes the next.

use std::time::{Duration, Instant};

use shared::error::TaskError;
use shared::fleet::{AttemptRef, Class};
use shared::queue::{Delivery, Queue, QueueError};
use shared::task::{Outcome, Progress, Task, TaskName, TaskReport};
use tokio_util::sync::CancellationToken;

use super::Worker;
use crate::ledger::Made;

/// Serves until the queue is closed.
pub(super) async fn serve(worker: &Worker) -> Result<(), QueueError> {
    while let Some(delivery) = worker.queue.pull(Class::Cpu).await? {
        let taken = Instant::now();
        let task = delivery.task();
        let attempt = AttemptRef { task: task.id.clone(), attempt: task.attempt };
        // Handed out once more while it runs here.
        if let Some(unwanted) = worker.begin(&attempt) {
            attempt_it(worker, &*delivery, taken, &unwanted).await?;
            worker.end(&attempt);
        }
        delivery.ack().await?;
    }
    Ok(())
}

async fn attempt_it(
    worker: &Worker,
    delivery: &dyn Delivery,
    taken: Instant,
    unwanted: &CancellationToken,
) -> Result<(), QueueError> {
    let task = delivery.task();
    let outcomes = worker.orders.source.outcomes(task);
    for outcome in outcomes {
        let pause = match &outcome {
            Outcome::Index(_) => worker.orders.index_pause,
            Outcome::Done(_) if matches!(task.id.name, TaskName::Video(_)) => (worker.orders.pace)(task, worker.number),
            _ => Duration::ZERO,
        };
        let stopped = tokio::select! {
            biased;
            () = unwanted.cancelled() => true,
            worked = work(worker, delivery, &outcome, pause) => { worked?; false }
        };
        if stopped || matches!(outcome, Outcome::Done(_)) {
            let attempt = AttemptRef { task: task.id.clone(), attempt: task.attempt };
            worker.ledger.add(Made { attempt, taken, said: Instant::now(), stopped });
        }
        if stopped {
            return say(worker, task, Outcome::Failed(TaskError::cancelled())).await;
        }
        say(worker, task, outcome).await?;
    }
    Ok(())
}

/// Sleeps, as work would, and says now and then that it goes on.
async fn work(worker: &Worker, delivery: &dyn Delivery, outcome: &Outcome, length: Duration) -> Result<(), QueueError> {
    let (began, every) = (Instant::now(), worker.orders.progress);
    let is_chunk = matches!(outcome, Outcome::Done(_)) && matches!(delivery.task().id.name, TaskName::Video(_));
    let mut gate = worker.orders.gate.clone().filter(|_| is_chunk);
    loop {
        let left = length.saturating_sub(began.elapsed());
        let closed = gate.as_ref().is_some_and(|gate| !*gate.borrow());
        match &mut gate {
            // Whoever opens it may have gone, which opens it too.
            Some(gate) if closed => tokio::select! {
                _ = gate.wait_for(|open| *open) => {}
                () = tokio::time::sleep(every) => {}
            },
            _ if left.is_zero() => return Ok(()),
            _ => tokio::time::sleep(left.min(every)).await,
        }
        if began.elapsed() >= every && (closed || began.elapsed() < length) {
            say(worker, delivery.task(), Outcome::Progress(Progress { done_ms: 0, frames: 0 })).await?;
            delivery.still_working().await?;
        }
    }
}

async fn say(worker: &Worker, task: &Task, outcome: Outcome) -> Result<(), QueueError> {
    let (id, attempt) = (task.id.clone(), task.attempt);
    worker.queue.report(TaskReport { task: id, attempt, worker: worker.id.clone(), outcome }).await
}
