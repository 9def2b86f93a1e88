//! Where spans are sent to, and whether any are.

use std::path::PathBuf;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use prometheus::{IntCounterVec, Registry};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tracing::{info, warn};

use super::declare::{Declare, each};
use super::otlp::Teller;
use super::sender::Sender;
use crate::config::Secret;
use crate::trace::Tracer;

/// Spans that may wait to be sent: some minutes of a busy coordinator. What finds no room is lost.
const MOST_WAITING: usize = 8_192;
/// Time for one request.
const ANSWER: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(3);
/// Where the headers are, as OpenTelemetry has it: `name=value`, separated by commas, `%XX` for what has another meaning.
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";

/// Traces of what the farm does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// Where spans are sent to by OTLP over gRPC: `http://host:4317` or `https://…`. Default: empty, which is nowhere. Headers
    /// for it are in the environment: `OTEL_EXPORTER_OTLP_HEADERS`.
    pub otlp_endpoint: String,
    /// Of so many jobs in a hundred; the same in all programs of a farm. Default: 100.
    pub sample_percent: u8,
    /// PEM file of the authorities that the collector's certificate may come from; without it those known to browsers.
    pub tls_roots: Option<PathBuf>,
    /// From the environment.
    #[serde(skip)]
    pub headers: Secret,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { otlp_endpoint: String::new(), sample_percent: 100, tls_roots: None, headers: Secret::default() }
    }
}

/// Spans can't be sent as the settings say.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// A file can't be read.
    #[error("telemetry.tls_roots {path}: {error}", path = .path.display())]
    Roots {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The endpoint is none, or TLS can't be set up.
    #[error("telemetry.otlp_endpoint: {0}")]
    Endpoint(#[from] tonic::transport::Error),
}

impl TelemetryConfig {
    /// Takes the headers from the environment.
    pub fn read_headers(&mut self) {
        self.headers = Secret::from_env(HEADERS);
    }

    /// Everything that is wrong with it.
    pub fn complaints(&self) -> Vec<String> {
        let endpoint = self.otlp_endpoint.as_str();
        let address = ["http://", "https://"].iter().any(|scheme| endpoint.starts_with(scheme));
        let valid = || address && Endpoint::from_shared(endpoint.to_owned()).is_ok();
        let rules = [
            (endpoint.is_empty() || valid(), "telemetry.otlp_endpoint: not like http://host:4317".to_owned()),
            (!endpoint.contains('@'), format!("telemetry.otlp_endpoint: no login belongs there, but into {HEADERS}")),
            (self.sample_percent <= 100, "telemetry.sample_percent: 0 to 100".to_owned()),
            (
                self.tls_roots.is_none() || endpoint.starts_with("https://"),
                "telemetry.tls_roots: an endpoint that does not begin with https:// has no certificate".to_owned(),
            ),
            (parse_headers(self.headers.reveal()).is_some(), format!("{HEADERS}: not name=value,name=value")),
        ];
        rules.into_iter().filter(|(holds, _)| !holds).map(|(_, complaint)| complaint).collect()
    }

    /// Sends spans from now on, until `ended` and what is left then; with no endpoint there is nothing to wait for, and the
    /// tracer is off.
    ///
    /// # Errors
    /// The settings can't be carried out.
    ///
    /// # Panics
    /// If `registry` has these metrics already.
    pub fn start(
        &self,
        teller: Teller,
        registry: &Registry,
        tasks: &TaskTracker,
        ended: CancellationToken,
    ) -> Result<(Tracer, Option<JoinHandle<()>>), TracesError> {
        let program = format!("farm_{}", teller.program);
        let told = "Spans that were to be sent to the collector, by what became of them.";
        let declare = Declare::new(registry, &program);
        let counted: IntCounterVec = declare.counters("spans_total", told, ["outcome"], &each(["sent", "lost"]));
        let counts = ["sent", "lost"].map(|outcome| counted.with_label_values(&[outcome]));
        if self.otlp_endpoint.is_empty() {
            return Ok((Tracer::default(), None));
        }
        let headers = parse_headers(self.headers.reveal()).unwrap_or_default();
        if !headers.is_empty() && self.otlp_endpoint.starts_with("http://") {
            warn!(variable = HEADERS, "headers go to the collector unencrypted: anybody on the way can read them");
        }
        let (way, spans) = mpsc::channel(MOST_WAITING);
        let tracer = Tracer::new(self.sample_percent, way);
        let collector = TraceServiceClient::new(self.channel()?);
        let sender = Sender::new(collector, headers, teller, tracer.clone(), spans, counts);
        info!(endpoint = self.otlp_endpoint, sample_percent = self.sample_percent, "traces are sent");
        Ok((tracer, Some(tasks.spawn(sender.run(ended)))))
    }

    /// Connects when the first spans are sent.
    fn channel(&self) -> Result<Channel, TracesError> {
        let mut endpoint = Endpoint::from_shared(self.otlp_endpoint.clone())?.connect_timeout(CONNECT).timeout(ANSWER);
        if self.otlp_endpoint.starts_with("https://") {
            let tls = ClientTlsConfig::new();
            endpoint = endpoint.tls_config(match &self.tls_roots {
                None => tls.with_webpki_roots(),
                Some(path) => {
                    let pem = std::fs::read(path);
                    let pem = pem.map_err(|error| TracesError::Roots { path: path.clone(), error })?;
                    tls.ca_certificate(Certificate::from_pem(pem))
                }
            })?;
        }
        Ok(endpoint.connect_lazy())
    }
}

/// `None` if it is not what [`HEADERS`] should be.
fn parse_headers(text: &str) -> Option<MetadataMap> {
    let mut headers = MetadataMap::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=')?;
        let name: MetadataKey<Ascii> = name.trim().to_ascii_lowercase().parse().ok()?;
        let mut value: MetadataValue<Ascii> = percent_decoded(value.trim())?.parse().ok()?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Some(headers)
}

/// RFC 3986, section 2.1.
fn percent_decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        bytes.extend(crate::hex::decode(part.get(..2)?)?);
        bytes.extend(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_the_standard_writes_them() {
        let headers = parse_headers("Authorization=Bearer%20a%2Cb, x-scope = tenant=1 ,").unwrap();
        assert_eq!(headers.get("authorization").unwrap(), "Bearer a,b");
        assert_eq!(headers.get("x-scope").unwrap(), "tenant=1");
        assert!(!format!("{headers:?}").contains("Bearer"));
        assert!(parse_headers("").unwrap().is_empty());
        for wrong in ["no value", "a b=c", "a=%", "a=%zz", "a=%ff"] {
            assert!(parse_headers(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn what_can_not_be_an_endpoint_is_complained_of() {
        assert_eq!(TelemetryConfig::default().complaints(), [""; 0]);
        let fine = TelemetryConfig { otlp_endpoint: "https://collector:4317".into(), ..TelemetryConfig::default() };
        assert_eq!(fine.complaints(), [""; 0]);
        let wrong = TelemetryConfig {
            otlp_endpoint: "collector:4317".into(),
            sample_percent: 101,
            tls_roots: Some("ca.pem".into()),
            ..TelemetryConfig::default()
        };
        assert_eq!(wrong.complaints().len(), 3, "{:?}", wrong.complaints());
    }
}
