//! Tasks and reports to hand over.

use std::time::Duration;

use shared::error::{ErrorKind, TaskError};
use shared::fleet::{AttemptRef, Class, Heartbeat, Lane, Urgency};
use shared::queue::{Delivery, Incoming, Queue};
use shared::task::*;

/// How long anything may take that must happen.
pub const PATIENCE: Duration = Duration::from_secs(30);
pub const NORMAL: Lane = Lane { class: Class::Cpu, urgency: Urgency::Normal };
pub const URGENT: Lane = Lane { class: Class::Cpu, urgency: Urgency::Urgent };

pub async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("it should happen soon")
}

pub fn attempt(job: &str, attempt: u32) -> AttemptRef {
    let task = TaskId { job: JobId::new(job).unwrap(), name: TaskName::Index };
    AttemptRef { task, attempt: AttemptId(attempt) }
}

pub fn task(job: &str) -> Task {
    let AttemptRef { task, attempt } = attempt(job, 1);
    let places = Places { source: "file:///in.mp4".into(), target: "file:///out".into(), work: "file:///work".into() };
    Task {
        id: task,
        attempt,
        places,
        source_mark: None,
        work: Work::Index(IndexTask { max_pixels: 1 << 24, growing_ms: None }),
        avoid: vec![],
        trace: None,
    }
}

pub fn report(job: &str, outcome: Outcome) -> TaskReport {
    let AttemptRef { task, attempt } = attempt(job, 1);
    TaskReport { task, attempt, worker: WorkerId::new("worker").unwrap(), outcome }
}

/// A result, told apart by its number.
pub fn result(number: usize) -> TaskReport {
    report("job", Outcome::Failed(TaskError::new(ErrorKind::Transient, "test", number.to_string())))
}

pub fn heartbeat(worker: &str) -> Heartbeat {
    Heartbeat { running: vec![attempt("job", 1)], ..shared::testing::heartbeat(worker) }
}

pub async fn pull(queue: &dyn Queue) -> Box<dyn Delivery> {
    soon(queue.pull(Class::Cpu)).await.unwrap().expect("the queue should be open")
}

/// Pulls and acknowledges; says whose task it was.
pub async fn pull_job(queue: &dyn Queue) -> String {
    let delivery = pull(queue).await;
    let job = delivery.task().id.job.to_string();
    delivery.ack().await.unwrap();
    job
}

/// The next of what the coordinator hears that `pick` wants.
pub async fn hear<T>(queue: &dyn Queue, mut pick: impl FnMut(Incoming) -> Option<T>) -> T {
    soon(async {
        loop {
            let incoming = queue.next_incoming().await.unwrap().expect("the queue should be open");
            if let Some(picked) = pick(incoming) {
                return picked;
            }
        }
    })
    .await
}

pub async fn hear_report(queue: &dyn Queue) -> TaskReport {
    let report = |incoming| match incoming {
        Incoming::Report(report) => Some(*report),
        _ => None,
    };
    hear(queue, report).await
}
