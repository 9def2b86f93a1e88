//! Spans of attempts: of those that are traced, however they end.

use shared::task::Task;
use shared::trace::{Span, SpanKind, TraceContext, Tracer, Value};
use tokio::sync::mpsc;

use crate::{Crew, Scene, config};

const TASK: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn attribute<'a>(span: &'a Span, name: &str) -> Option<&'a Value> {
    span.attributes.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
}

#[tokio::test]
async fn an_attempt_hangs_below_its_task_and_its_stages_below_it() {
    let (way, mut spans) = mpsc::channel(100);
    let crew = Crew::start_with(config(), |worker| worker.without_proof().traced(Tracer::new(100, way)));
    let scene = Scene::new();
    let trace = TraceContext::parse(TASK);
    crew.run(Task { trace, ..scene.task("fine") }).await;
    crew.run(Task { trace, ..scene.task("panic") }).await;
    crew.run(scene.task("fine")).await; // nobody asked for its span
    crew.stop().await;
    let mut told = Vec::new();
    spans.recv_many(&mut told, 100).await;

    let attempts: Vec<&Span> = told.iter().filter(|span| span.name == "attempt").collect();
    let [fine, failed] = attempts[..] else { panic!("{told:#?}") };
    let context = trace.unwrap();
    for attempt in [fine, failed] {
        assert_eq!(
            (attempt.trace, attempt.parent, attempt.kind),
            (context.trace, Some(context.span), SpanKind::Consumer)
        );
        assert_eq!(attribute(attempt, "farm.worker"), Some(&"tester".into()));
    }
    assert_ne!(fine.id, failed.id);
    assert_eq!((attribute(fine, "farm.outcome"), &fine.error), (Some(&"done".into()), &None));
    assert_eq!(attribute(failed, "error.type"), Some(&"panic".into()));
    assert!(failed.error.is_some() && attribute(failed, "farm.outcome") == Some(&"failed".into()));

    let stages = |of: &Span| told.iter().filter(|span| span.parent == Some(of.id)).cloned().collect::<Vec<Span>>();
    let names: Vec<_> = stages(fine).into_iter().map(|stage| stage.name.into_owned()).collect();
    assert_eq!(names, ["fetch", "upload"], "an index task neither decodes nor encodes");
    for stage in stages(fine).iter().chain(&stages(failed)) {
        assert!(fine.start <= stage.start && stage.start <= stage.end && stage.end <= failed.end, "{stage:?}");
    }
}
