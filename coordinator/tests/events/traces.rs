//! What is told of jobs whose tasks fail, by the real loop.

use std::collections::BTreeSet;
use std::sync::Arc;

use coordinator::store::redb::RedbStore;
use shared::error::{ErrorKind, TaskError};
use shared::fleet::Class;
use shared::task::{Outcome, TaskReport};
use shared::testing::synthetic::report;
use shared::trace::{Span, SpanId, TraceId, Tracer, Value};
use tokio::sync::mpsc;

use crate::looping::{Running, job_in, start_traced, work};

/// Fails the next attempt.
async fn fail(running: &Running, error: TaskError) -> TaskReport {
    let delivery = running.queue.pull(Class::Cpu).await.unwrap().unwrap();
    assert!(delivery.task().trace.is_some(), "the task should carry its span");
    let failed = report(delivery.task(), Outcome::Failed(error));
    running.queue.report(failed.clone()).await.unwrap();
    delivery.ack().await.unwrap();
    failed
}

/// Ends the coordinator; all that was told.
async fn told(running: Running, mut spans: mpsc::Receiver<Span>) -> Vec<Span> {
    running.shutdown.cancel();
    running.coordinator.await.unwrap().unwrap();
    let mut told = Vec::new();
    spans.recv_many(&mut told, usize::MAX).await;
    told
}

fn attribute<'a>(span: &'a Span, name: &str) -> &'a Value {
    &span.attributes.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no {name}: {span:?}")).1
}

#[tokio::test]
async fn a_failed_attempt_is_an_event_of_its_task_and_every_span_has_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let (way, spans) = mpsc::channel(1_000);
    let running = start_traced(Arc::new(RedbStore::in_memory().unwrap()), Tracer::new(100, way));
    let spec = job_in(folder.path());
    let mut view = running.handle.submit(spec.clone()).await.unwrap();
    fail(&running, TaskError::transient("source_unavailable", "no answer")).await;
    let worker = work(running.queue.clone(), usize::MAX);
    view.wait_for(|view| view.settled).await.unwrap();
    worker.abort();
    let spans = told(running, spans).await;

    let job = spans.iter().find(|span| span.name == "job").unwrap();
    assert_eq!((job.trace, job.parent, &job.error), (TraceId::of_job(&spec.id), None, &None));
    assert_eq!(attribute(job, "farm.state"), &Value::from("completed"));
    let ids: BTreeSet<SpanId> = spans.iter().map(|span| span.id).collect();
    assert_eq!(ids.len(), spans.len());
    assert!(spans.iter().filter(|span| span.id != job.id).all(|span| span.parent == Some(job.id)));
    let names: BTreeSet<&str> = spans.iter().map(|span| &*span.name).collect();
    assert!(["task index", "task video", "publish"].iter().all(|name| names.contains(name)), "{names:?}");
    let index = spans.iter().find(|span| span.name == "task index").unwrap();
    let events: Vec<&str> = index.events.iter().map(|event| event.name).collect();
    assert_eq!(events, ["handed_out", "attempt_failed", "handed_out"]);
    assert!(index.events[1].attributes.contains(&("error.type", "source_unavailable".into())));
    assert_eq!(attribute(index, "farm.failed_attempts"), &Value::from(1_u64));
    assert!(index.events.iter().all(|event| !event.attributes.contains(&("farm.earlier_is_out", true.into()))));
}

#[tokio::test]
async fn a_job_that_fails_is_told_with_what_it_failed_of_and_again_when_it_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let (way, spans) = mpsc::channel(1_000);
    let running = start_traced(Arc::new(RedbStore::in_memory().unwrap()), Tracer::new(100, way));
    let spec = job_in(folder.path());
    let mut view = running.handle.submit(spec.clone()).await.unwrap();
    fail(&running, TaskError::new(ErrorKind::Input, "no_tracks", "nothing to see")).await;
    view.wait_for(|view| view.settled).await.unwrap();
    running.handle.retry(spec.id.clone()).await.unwrap();
    fail(&running, TaskError::new(ErrorKind::Input, "no_tracks", "nothing to see")).await;
    view.wait_for(|view| view.settled).await.unwrap();
    let spans = told(running, spans).await;

    let jobs: Vec<&Span> = spans.iter().filter(|span| span.name == "job").collect();
    let [first, second] = jobs[..] else { panic!("two lives: {spans:#?}") };
    assert_eq!(first.trace, second.trace);
    assert_ne!(first.id, second.id);
    for life in [first, second] {
        assert!(life.error.as_ref().is_some_and(|error| error.contains("nothing to see")), "{life:?}");
        assert_eq!(attribute(life, "error.type"), &Value::from("no_tracks"));
        let tasks: Vec<&Span> = spans.iter().filter(|span| span.parent == Some(life.id)).collect();
        let [index] = tasks[..] else { panic!("one task each: {tasks:?}") };
        assert_eq!((&*index.name, index.error.is_some()), ("task index", true));
        assert!(life.start <= index.start && index.end <= life.end);
    }
}

#[tokio::test]
async fn nothing_is_told_of_jobs_that_are_not_sampled() {
    let folder = tempfile::tempdir().unwrap();
    let (way, spans) = mpsc::channel(1_000);
    let running = start_traced(Arc::new(RedbStore::in_memory().unwrap()), Tracer::new(0, way));
    let mut view = running.handle.submit(job_in(folder.path())).await.unwrap();
    let delivery = running.queue.pull(Class::Cpu).await.unwrap().unwrap();
    assert_eq!(delivery.task().trace, None);
    delivery.give_back().await.unwrap();
    let worker = work(running.queue.clone(), usize::MAX);
    view.wait_for(|view| view.settled).await.unwrap();
    worker.abort();
    assert_eq!(told(running, spans).await, []);
}
