//! Every metric of a coordinator; `deploy/METRICS.md` lists them. While it does not lead, the gauges are empty and the
//! counters stand still.
//!
//! | module | tells of |
//! |---|---|
//! | [`lead`] | leading, and the store that decides who does |
//! | [`jobs`] | what happens to jobs: fed by the core, event by event |
//! | [`fleet`] | what there is now: looked at again and again |
//! | [`api`] | calls |

pub mod api;
pub mod fleet;
pub mod jobs;
pub mod lead;

use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use shared::fleet::Heartbeat;
use shared::queue::Incoming;
use shared::queue::metered::{Call, Meter};
use shared::task::TaskReport;
use shared::telemetry::{AttemptMetrics, CertificateMetrics, Declare, QueueMetrics, StorageMetrics};

use crate::config::Config;
use crate::run::Handle;
use api::ApiMetrics;
use fleet::FleetMetrics;
use jobs::JobMetrics;
use lead::LeadMetrics;

/// What the names of all metrics of this program begin with.
pub const PROGRAM: &str = "farm_coordinator";
/// How often jobs and workers are counted.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// What an operator needs to see.
#[derive(Debug)]
pub struct Metrics {
    /// Of leading.
    pub lead: LeadMetrics,
    /// Of jobs.
    pub jobs: JobMetrics,
    /// Of calls.
    pub api: Arc<ApiMetrics>,
    /// Of stores.
    pub storage: Arc<StorageMetrics>,
    certificates: CertificateMetrics,
    fleet: FleetMetrics,
    queue: QueueMetrics,
    attempts: AttemptMetrics,
}

impl Metrics {
    /// Metrics in `registry`.
    ///
    /// # Panics
    /// If it has them already.
    pub fn new(registry: &Registry) -> Self {
        let declare = Declare::new(registry, PROGRAM);
        Self {
            lead: LeadMetrics::new(declare),
            jobs: JobMetrics::new(declare),
            api: Arc::new(ApiMetrics::new(declare)),
            storage: Arc::new(StorageMetrics::new(declare)),
            certificates: CertificateMetrics::new(declare),
            fleet: FleetMetrics::new(declare),
            queue: QueueMetrics::new(declare, &[Call::Push, Call::Direct]),
            attempts: AttemptMetrics::new(declare),
        }
    }

    /// Looks at the certificates that these settings name.
    pub fn look_at_certificates(&self, config: &Config) {
        let Config { api, etcd, nats, .. } = config;
        let certificates = &self.certificates;
        let tls = api.tls.as_ref();
        certificates.shown("api", tls.map(|tls| tls.certificate.as_path()));
        certificates.trusted("api_clients", tls.and_then(|tls| tls.client_ca.as_deref()));
        certificates.shown("etcd", etcd.tls_certificate.as_deref());
        certificates.trusted("etcd_roots", etcd.tls_roots.as_deref());
        certificates.shown("nats", nats.tls_certificate.as_deref());
        certificates.trusted("nats_roots", nats.tls_roots.as_deref());
    }

    /// Counts what the core knows again and again; never returns.
    pub async fn watch(&self, handle: &Handle) {
        let mut look = tokio::time::interval(LOOK_AGAIN);
        loop {
            look.tick().await;
            self.fleet.look(handle).await;
        }
    }

    /// The term is over: what is known of jobs and workers is somebody else's to tell.
    pub fn forget(&self) {
        self.lead.ended();
        self.fleet.forget();
    }
}

impl Meter for Metrics {
    fn heard(&self, incoming: &Incoming) {
        match incoming {
            Incoming::Report(report) => self.attempts.reported(report),
            Incoming::Depth(tasks) => self.fleet.queued(*tasks),
            Incoming::Heartbeat(_) | Incoming::Lost | Incoming::Undeliverable(_) => {}
        }
    }

    fn reported(&self, _: &TaskReport) {}

    fn beaten(&self, _: &Heartbeat) {}

    fn answered(&self, call: Call, time: Duration) {
        self.queue.answered(call, time);
    }

    fn failed(&self) {
        self.queue.failed();
    }
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;
    use shared::testing::metrics::assert_scrapes;

    use super::*;

    #[test]
    fn prometheus_finds_nothing_wrong_with_the_page() {
        let registry = shared::telemetry::registry(PROGRAM);
        Metrics::new(&registry).lead.began();
        assert_scrapes(&TextEncoder::new().encode_to_string(&registry.gather()).unwrap());
    }
}
