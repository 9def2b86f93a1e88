//! An attempt as a span, with those of its stages.

use std::time::SystemTime;

use shared::error::TaskError;
use shared::placement::Fallback;
use shared::task::{Receipt, Task, WorkerId};
use shared::trace::{Attribute, Span, SpanEvent, SpanId, SpanKind, TraceContext, Tracer};

use super::attempt::{Stop, Times};

/// An attempt that is traced and under way.
pub struct Recording {
    tracer: Tracer,
    span: Span,
}

impl Recording {
    /// Begins now; `None` if the task is not traced.
    pub fn begin(tracer: &Tracer, task: &Task, worker: &WorkerId) -> Option<Self> {
        let parent = task.trace.filter(|_| tracer.is_on())?;
        let start = SystemTime::now();
        // The broker may hand one attempt out twice, to this worker too.
        let id = SpanId::of_moment(&[&task.id.to_string(), &task.attempt.0.to_string(), worker.as_str()], start);
        let attributes = vec![
            ("farm.job", task.id.job.as_str().into()),
            ("farm.task", task.id.name.to_string().into()),
            ("farm.attempt", u64::from(task.attempt.0).into()),
            ("farm.worker", worker.as_str().into()),
        ];
        let span = Span::new(parent, id, "attempt", start);
        Some(Self { tracer: tracer.clone(), span: Span { attributes, kind: SpanKind::Consumer, ..span } })
    }

    /// It goes on with less of a GPU.
    pub fn fell_back(&mut self, fallback: &Fallback) {
        self.span.events.push(fell_back(fallback));
    }

    /// It is over.
    pub fn end(self, times: &Times, result: &Result<Receipt, Stop>) {
        let Self { tracer, span } = self;
        let end = SystemTime::now();
        let (outcome, error) = match result {
            Ok(_) => ("done", None),
            Err(Stop::Failed(error)) => ("failed", Some(error)),
            Err(Stop::Aborted | Stop::Queue(_)) => ("given_back", None),
        };
        let mut span = span.until(end);
        span.attributes.push(("farm.outcome", outcome.into()));
        if let Some(TaskError { code, message, .. }) = error {
            span.attributes.push(("error.type", code.as_str().into()));
            span.error = Some(message.clone());
        }
        if let Ok(receipt) = result {
            span.attributes.push(("farm.cpu_ms", receipt.spent().cpu_ms.into()));
            made(&mut span, receipt);
        }
        let own = TraceContext { trace: span.trace, span: span.id, sampled: true };
        stages(own, times, result.as_ref().ok(), end).into_iter().for_each(|stage| tracer.tell(stage));
        tracer.tell(span);
    }
}

/// On what a chunk was made, and what was to be done on a GPU and was not.
fn made(span: &mut Span, receipt: &Receipt) {
    let Receipt::Video(video) = receipt else { return };
    span.attributes.push(("farm.placement", video.hardware.placement.as_str().into()));
    span.attributes.push(("farm.frames", video.frames.into()));
    // Those of whole attempts are told already; a slot tells of its own at the end.
    let told = span.events.len();
    span.events.extend(video.hardware.fallbacks.iter().skip(told).map(fell_back));
}

fn fell_back(fallback: &Fallback) -> SpanEvent {
    let attributes =
        vec![("farm.stage", fallback.stage.as_str().into()), ("farm.reason", fallback.reason.as_str().into())];
    SpanEvent { at: SystemTime::now(), name: "fell_back", attributes }
}

/// What the attempt did. The slot works on all stages at once, so those last as long as it ran, and `farm.busy_ms` says how
/// much of that was theirs, over all threads.
fn stages(attempt: TraceContext, times: &Times, receipt: Option<&Receipt>, end: SystemTime) -> Vec<Span> {
    let busy = receipt.map(|receipt| receipt.spent().stages).unwrap_or_default();
    let mut spans = Vec::new();
    for (name, ms) in busy.named() {
        let lasted = match name {
            "fetch" => times.fetch,
            "upload" => times.upload,
            _ => times.slot.filter(|_| ms > 0),
        };
        let Some((from, until)) = lasted else { continue };
        let id = SpanId::of_words(&[&attempt.span.to_string(), name]);
        let attributes: Vec<Attribute> = if receipt.is_some() { vec![("farm.busy_ms", ms.into())] } else { Vec::new() };
        let span = Span::new(attempt, id, name, from).until(until.unwrap_or(end));
        spans.push(Span { attributes, ..span });
    }
    spans
}
