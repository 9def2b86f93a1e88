//! A collector of spans: OTLP over gRPC, and what it was sent.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use shared::hex;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

/// What comes, comes sooner.
const PATIENCE: Duration = Duration::from_secs(60);

/// A span, and who sent it.
#[derive(Debug, Clone)]
pub struct Received {
    /// `service.name` of the sender.
    pub service: String,
    /// `service.instance.id` of the sender.
    pub instance: String,
    pub span: Span,
}

impl Received {
    pub fn trace(&self) -> String {
        hex::encode(&self.span.trace_id)
    }

    pub fn id(&self) -> String {
        hex::encode(&self.span.span_id)
    }

    /// Empty if it has none.
    pub fn parent(&self) -> String {
        hex::encode(&self.span.parent_span_id)
    }

    /// An attribute as text; empty if it has none of that name.
    pub fn attribute(&self, name: &str) -> String {
        text(&self.span.attributes, name)
    }

    pub fn events(&self) -> Vec<&str> {
        self.span.events.iter().map(|event| event.name.as_str()).collect()
    }
}

fn text(attributes: &[KeyValue], name: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == name);
    match found.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        _ => String::new(),
    }
}

/// Listens as long as it lives.
pub struct Collector {
    pub port: u16,
    received: Store,
    _server: JoinSet<()>,
}

#[derive(Clone, Default)]
struct Store(Arc<Mutex<(Vec<Received>, Vec<MetadataMap>)>>);

impl Collector {
    pub async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (port, received) = (listener.local_addr().unwrap().port(), Store::default());
        let service = TraceServiceServer::new(received.clone());
        let mut server = JoinSet::new();
        server.spawn(async move {
            let connections = TcpListenerStream::new(listener);
            tonic::transport::Server::builder().add_service(service).serve_with_incoming(connections).await.unwrap();
        });
        Self { port, received, _server: server }
    }

    /// As it stands in settings.
    pub fn endpoint(&self) -> String {
        format!("\"http://127.0.0.1:{}\"", self.port)
    }

    pub fn spans(&self) -> Vec<Received> {
        self.received.0.lock().unwrap().0.clone()
    }

    /// The headers of every request.
    pub fn headers(&self) -> Vec<MetadataMap> {
        self.received.0.lock().unwrap().1.clone()
    }

    /// Waits until spans have come of which `enough` is true.
    pub async fn wait(&self, what: &str, enough: impl Fn(&[Received]) -> bool) -> Vec<Received> {
        let began = Instant::now();
        loop {
            let spans = self.spans();
            if enough(&spans) {
                return spans;
            }
            let names: BTreeMap<&str, usize> = spans.iter().fold(BTreeMap::new(), |mut names, received| {
                *names.entry(received.span.name.as_str()).or_default() += 1;
                names
            });
            assert!(began.elapsed() < PATIENCE, "{what} does not come: {names:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tonic::async_trait]
impl TraceService for Store {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut store = self.0.lock().unwrap();
        store.1.push(request.metadata().clone());
        for from in request.into_inner().resource_spans {
            let resource = from.resource.unwrap_or_default().attributes;
            let [service, instance] = ["service.name", "service.instance.id"].map(|name| text(&resource, name));
            let spans = from.scope_spans.into_iter().flat_map(|scope| scope.spans);
            store.0.extend(spans.map(|span| Received { service: service.clone(), instance: instance.clone(), span }));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
