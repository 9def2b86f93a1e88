//! Spans in the words of OTLP (opentelemetry-proto, `trace/v1/trace.proto`).

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1 as otlp;

use crate::trace::{Attribute, Span, SpanEvent, SpanKind, TraceContext, Value};

/// W3C Trace Context, 3.2.3: what is told is recorded.
const SAMPLED: u32 = 1;

/// The program that tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Teller {
    /// `coordinator`, `worker`.
    pub program: &'static str,
    /// Which of them: unique in the farm.
    pub instance: String,
}

/// Spans of a program, in one message.
pub(super) fn resource_spans(teller: &Teller, spans: &[Span]) -> otlp::ResourceSpans {
    let attributes: Vec<Attribute> = vec![
        ("service.namespace", "farm".into()),
        ("service.name", format!("farm-{}", teller.program).into()),
        ("service.instance.id", teller.instance.as_str().into()),
        ("service.version", env!("CARGO_PKG_VERSION").into()),
    ];
    let resource = Resource { attributes: attributes.iter().map(key_value).collect(), ..Default::default() };
    let scope = InstrumentationScope { name: "farm".to_owned(), ..Default::default() };
    let spans = spans.iter().map(span).collect();
    let scope_spans = vec![otlp::ScopeSpans { scope: Some(scope), spans, ..Default::default() }];
    otlp::ResourceSpans { resource: Some(resource), scope_spans, ..Default::default() }
}

fn span(span: &Span) -> otlp::Span {
    let kind = match span.kind {
        SpanKind::Internal => otlp::span::SpanKind::Internal,
        SpanKind::Server => otlp::span::SpanKind::Server,
        SpanKind::Consumer => otlp::span::SpanKind::Consumer,
    };
    let status = span
        .error
        .as_ref()
        .map(|message| otlp::Status { message: message.clone(), code: otlp::status::StatusCode::Error.into() });
    otlp::Span {
        trace_id: span.trace.0.to_vec(),
        span_id: span.id.0.to_vec(),
        parent_span_id: span.parent.map_or_else(Vec::new, |parent| parent.0.to_vec()),
        flags: SAMPLED,
        name: span.name.to_string(),
        kind: kind.into(),
        start_time_unix_nano: nanos(span.start),
        end_time_unix_nano: nanos(span.end),
        attributes: span.attributes.iter().map(key_value).collect(),
        events: span.events.iter().map(event).collect(),
        links: span.links.iter().map(link).collect(),
        status,
        ..Default::default()
    }
}

fn event(event: &SpanEvent) -> otlp::span::Event {
    otlp::span::Event {
        time_unix_nano: nanos(event.at),
        name: event.name.to_owned(),
        attributes: event.attributes.iter().map(key_value).collect(),
        ..Default::default()
    }
}

fn link(to: &TraceContext) -> otlp::span::Link {
    otlp::span::Link {
        trace_id: to.trace.0.to_vec(),
        span_id: to.span.0.to_vec(),
        flags: u32::from(to.sampled),
        ..Default::default()
    }
}

fn key_value((key, value): &Attribute) -> KeyValue {
    let value = match value {
        Value::Text(text) => any_value::Value::StringValue(text.clone()),
        Value::Number(number) => any_value::Value::IntValue(*number),
        Value::Flag(flag) => any_value::Value::BoolValue(*flag),
    };
    KeyValue { key: (*key).to_owned(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
}

fn nanos(at: SystemTime) -> u64 {
    u64::try_from(at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}
