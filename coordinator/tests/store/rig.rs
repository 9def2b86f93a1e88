//! A real etcd, and coordinators that lead on it.

use std::time::Duration;

use coordinator::config::EtcdConfig;
use coordinator::lead::{Candidate, Term};
use coordinator::store::etcd::{Etcd, EtcdStore};
use prometheus::{HistogramOpts, HistogramVec, IntCounter};
use shared::testing::{Server, free_port};

/// The shortest that etcd grants.
pub const SHORT: Duration = Duration::from_secs(2);
/// No test takes so long.
pub const LONG: Duration = Duration::from_secs(60);

/// An etcd of its own; `None` if it is not installed.
pub fn etcd_server() -> Option<Server> {
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let (client, peer) = (free_port(), free_port());
    Server::start("etcd", client, |folder| {
        let data = folder.join("data").display().to_string();
        [
            ("data-dir", data),
            ("listen-client-urls", url(client)),
            ("advertise-client-urls", url(client)),
            ("listen-peer-urls", url(peer)),
            ("initial-advertise-peer-urls", url(peer)),
            ("initial-cluster", format!("default={}", url(peer))),
        ]
        .map(|(name, value)| format!("--{name}={value}"))
        .into()
    })
}

fn seconds() -> HistogramVec {
    HistogramVec::new(HistogramOpts::new("seconds", "of a test"), &["outcome"]).unwrap()
}

pub fn counter() -> IntCounter {
    IntCounter::new("count", "of a test").unwrap()
}

pub async fn connect(port: u16, prefix: &str) -> Etcd {
    let config = EtcdConfig {
        endpoints: vec![format!("http://127.0.0.1:{port}")],
        prefix: prefix.to_owned(),
        request_timeout_ms: 1_000,
        ..EtcdConfig::default()
    };
    Etcd::connect(&config, counter(), seconds()).await.unwrap()
}

/// A coordinator that leads, and its store.
pub struct Leader {
    pub candidate: Candidate,
    pub term: Term,
    pub store: EtcdStore,
    pub refusals: IntCounter,
}

pub async fn lead(etcd: Etcd, address: &str, ttl: Duration) -> Leader {
    let mut candidate = Candidate::new(etcd.clone(), address.to_owned(), ttl);
    let term = candidate.campaign().await;
    let refusals = counter();
    let store = EtcdStore::new(etcd, term.guard(), refusals.clone());
    Leader { candidate, term, store, refusals }
}
