//! The call that asked for a job, in the job's trace and in the caller's.

use std::time::SystemTime;

use shared::trace::{Attribute, Span, SpanId, SpanKind, TraceContext, Tracer};
use tonic::metadata::MetadataMap;

use crate::job::{JobView, begun_ms};
use crate::run::job_context;

/// The caller's span, if the call says one.
pub(super) fn caller(metadata: &MetadataMap) -> Option<TraceContext> {
    TraceContext::parse(metadata.get(TraceContext::HEADER)?.to_str().ok()?)
}

/// Tells of a call that has made a job, or has asked for one that is known. Each trace has a link to the other.
pub(super) fn created(tracer: &Tracer, caller: Option<TraceContext>, view: &JobView, start: SystemTime) {
    let Some(job) = job_context(tracer, &view.id, begun_ms(&view.history)) else { return };
    let end = SystemTime::now();
    let span = |parent: TraceContext, name: &'static str, links: Vec<TraceContext>| {
        let id = SpanId::of_moment(&[name, view.id.as_str()], start);
        let attributes: Vec<Attribute> =
            vec![("farm.job", view.id.as_str().into()), ("farm.tenant", view.tenant.as_str().into())];
        Span { kind: SpanKind::Server, attributes, links, ..Span::new(parent, id, name, start).until(end) }
    };
    tracer.tell(span(job, "create_job", caller.into_iter().collect()));
    if let Some(caller) = caller.filter(|caller| caller.sampled) {
        tracer.tell(span(caller, "farm.v1.JobService/CreateJob", vec![job]));
    }
}
