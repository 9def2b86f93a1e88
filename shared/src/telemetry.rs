//! What a program tells of itself: logs, and over HTTP its metrics and whether it is well.
//!
//! | path | answers |
//! |---|---|
//! | `/metrics` | every metric, in Prometheus's text format |
//! | `/healthz` | 200 while the process serves at all |
//! | `/readyz` | 200 when it can do what it is there for, or 503 and what is missing |

mod attempts;
mod certificates;
mod declare;
mod otlp;
mod queue;
mod renditions;
mod sender;
mod storage;
mod traces;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{IntGaugeVec, Registry, TEXT_FORMAT, TextEncoder};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

pub use attempts::AttemptMetrics;
pub use certificates::CertificateMetrics;
pub use declare::{Declare, each, pairs};
pub use otlp::Teller;
pub use queue::QueueMetrics;
pub use storage::StorageMetrics;
pub use traces::{TelemetryConfig, TracesError};

/// Buckets, in seconds, for the time in which a service answers: from a neighbour's to the longest anybody waits.
pub const ANSWER_SECONDS: [f64; 10] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0, 10.0];

/// As metrics have it; a longer time than any attempt takes loses no digit.
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

/// How to log, on standard error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,coordinator=debug`. Default: `info`.
    pub level: String,
    /// One JSON object a line. Default: false.
    pub json: bool,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".to_owned(), json: false }
    }
}

impl LogConfig {
    /// Everything that is wrong with it.
    pub fn complaints(&self) -> Vec<String> {
        let wrong = EnvFilter::try_new(&self.level).err();
        wrong.map(|error| format!("log.level: {:?}: {error}", self.level)).into_iter().collect()
    }

    /// Logs from now on.
    ///
    /// # Panics
    /// If something logs already.
    pub fn start(&self) {
        let filter = EnvFilter::try_new(&self.level).unwrap_or_else(|_| EnvFilter::new("info"));
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
        if self.json { log.json().init() } else { log.with_ansi(false).init() }
    }
}

/// What a program lacks to do what it is there for.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<&'static str, String>>>);

impl Readiness {
    /// `part` is not ready, for this reason.
    pub fn lacks(&self, part: &'static str, reason: impl Into<String>) {
        self.missing().insert(part, reason.into());
    }

    /// `part` is ready.
    pub fn has(&self, part: &'static str) {
        self.missing().remove(part);
    }

    fn missing(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self) -> (StatusCode, String) {
        let missing = self.missing();
        let lines: Vec<String> = missing.iter().map(|(part, reason)| format!("{part}: {reason}\n")).collect();
        match lines.as_slice() {
            [] => (StatusCode::OK, "ready\n".to_owned()),
            lines => (StatusCode::SERVICE_UNAVAILABLE, lines.concat()),
        }
    }
}

/// A registry that already has what every process tells: CPU, memory, files, and which version of `program` it is.
pub fn registry(program: &str) -> Registry {
    let registry = Registry::new();
    let process = prometheus::process_collector::ProcessCollector::for_self();
    registry.register(Box::new(process)).expect("an empty registry should take any metric");
    let version = [env!("CARGO_PKG_VERSION")];
    let build: IntGaugeVec =
        Declare::new(&registry, program).gauges("build_info", "1 for the version that runs.", ["version"], &[version]);
    build.with_label_values(&version).set(1);
    registry
}

/// Answers until `stop`.
///
/// # Errors
/// If the socket fails.
pub async fn serve(
    listener: TcpListener,
    registry: Registry,
    readiness: Readiness,
    stop: CancellationToken,
) -> io::Result<()> {
    let pages = Router::new()
        .route("/metrics", get(move || std::future::ready(metrics(&registry))))
        .route("/healthz", get(|| std::future::ready("well\n")))
        .route("/readyz", get(move || std::future::ready(readiness.answer())));
    axum::serve(listener, pages).with_graceful_shutdown(stop.cancelled_owned()).await
}

fn metrics(registry: &Registry) -> Response {
    match TextEncoder::new().encode_to_string(&registry.gather()) {
        Ok(text) => ([(CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    async fn get_page(port: u16, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_program_says_how_it_is() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (readiness, stop) = (Readiness::default(), CancellationToken::new());
        readiness.lacks("queue", "no broker");
        let tasks = tokio_util::task::TaskTracker::new();
        let served = tasks.spawn(serve(listener, registry("farm_test"), readiness.clone(), stop.clone()));
        assert!(get_page(port, "/healthz").await.starts_with("HTTP/1.1 200"));
        let answer = get_page(port, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("queue: no broker"), "{answer}");
        readiness.has("queue");
        assert!(get_page(port, "/readyz").await.starts_with("HTTP/1.1 200"));
        let page = get_page(port, "/metrics").await;
        assert!(page.contains("\nprocess_resident_memory_bytes "), "{page}");
        assert!(page.contains("\nfarm_test_build_info{version=\"0."), "{page}");
        stop.cancel();
        served.await.unwrap().unwrap();
    }

    #[test]
    fn a_wrong_level_is_complained_of() {
        let wrong = LogConfig { level: "loud,=x".into(), ..LogConfig::default() };
        assert_eq!(wrong.complaints().len(), 1);
        assert!(LogConfig::default().complaints().is_empty());
    }
}
