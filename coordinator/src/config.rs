//! What may be set about a coordinator: this struct is the manual, `deploy/coordinator.toml` its sample.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::config::{ConfigError, Secret, load, variable};
use shared::queue::nats::NatsConfig;
use shared::storage::StorageConfig;
use shared::telemetry::{LogConfig, TelemetryConfig};

use crate::api::ApiConfig;
use crate::schedule::Weights;

/// Where the password for etcd is.
const ETCD_PASSWORD: &str = "FARM_ETCD_PASSWORD";
/// Where the address is that differs between coordinators with the same file.
const ADVERTISE: &str = "FARM_ADVERTISE";
/// Leases that etcd grants: it makes shorter ones longer.
const LEASE_SECONDS: std::ops::RangeInclusive<u64> = 2..=300;
/// Time-outs of requests that leave room for a second try within a lease.
const REQUEST_MS: std::ops::RangeInclusive<u64> = 100..=60_000;

/// A coordinator's settings. Whatever is not given keeps its default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address and port of `/metrics`, `/healthz` and `/readyz`. Default: `127.0.0.1:7601`.
    pub http_listen: SocketAddr,
    /// Time that calls under way get after SIGTERM, in milliseconds, before the next coordinator is let lead. Default: 500.
    pub grace_period_ms: u64,
    /// An attempt that has begun and says nothing for so long is lost, in milliseconds. Workers watch over their slots
    /// themselves, so this is for workers that are gone. Default: 60000.
    pub silence_ms: u64,
    /// How long chunks wait for a worker with a GPU where there is none, in seconds, before they are encoded on CPUs: longer
    /// than such a worker takes to start, where they are started when there is work for them. Default: 0, which is not at
    /// all if there was none when the job began, and a minute if there was.
    pub await_gpu_s: u64,
    /// Share of a tenant in the farm, while others want it too, beside that of 1 of everybody who is not named. Default:
    /// nobody.
    pub weights: Weights,
    /// How to log.
    pub log: LogConfig,
    /// Traces.
    pub telemetry: TelemetryConfig,
    /// How the API is served.
    pub api: ApiConfig,
    /// Where the farm's state is.
    pub etcd: EtcdConfig,
    /// How work gets to the workers.
    pub nats: NatsConfig,
    /// How object stores are reached, for playlists and for taking things away.
    pub storage: StorageConfig,
}

/// How to reach etcd, and how leaders are chosen there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EtcdConfig {
    /// Its members: `http://host:2379` or `https://…`, all or none of them encrypted. Default: one on this host.
    pub endpoints: Vec<String>,
    /// What all keys of this farm begin with. Default: `/farm`.
    pub prefix: String,
    /// Who this coordinator is to etcd, if etcd asks; its password is in `FARM_ETCD_PASSWORD`. Default: nobody.
    pub user: String,
    /// The password, from the environment.
    #[serde(skip)]
    pub password: Secret,
    /// PEM file of the authorities that members' certificates may come from; without it those known to browsers.
    pub tls_roots: Option<PathBuf>,
    /// PEM file of the certificate shown to etcd; with `tls_key`.
    pub tls_certificate: Option<PathBuf>,
    /// PEM file of that certificate's key.
    pub tls_key: Option<PathBuf>,
    /// Time for one request, in milliseconds. Default: 1500.
    pub request_timeout_ms: u64,
    /// How long after its death a leader is followed by another coordinator, in seconds. Default: 5.
    pub lease_s: u64,
    /// Address of this coordinator's API for the other coordinators, which forward calls to it while it leads. Default:
    /// empty, which is `http://` (`https://` with TLS) and the address the API listens on, unless that is all of them.
    /// `FARM_ADVERTISE` in the environment wins.
    pub advertise: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            http_listen: SocketAddr::from(([127, 0, 0, 1], 7601)),
            grace_period_ms: 500,
            silence_ms: 60_000,
            await_gpu_s: 0,
            weights: Weights::new(),
            log: LogConfig::default(),
            telemetry: TelemetryConfig::default(),
            api: ApiConfig::default(),
            etcd: EtcdConfig::default(),
            nats: NatsConfig::default(),
            storage: StorageConfig::default(),
        }
    }
}

impl Default for EtcdConfig {
    fn default() -> Self {
        Self {
            endpoints: vec!["http://127.0.0.1:2379".to_owned()],
            prefix: "/farm".to_owned(),
            user: String::new(),
            password: Secret::default(),
            tls_roots: None,
            tls_certificate: None,
            tls_key: None,
            request_timeout_ms: 1_500,
            lease_s: 5,
            advertise: String::new(),
        }
    }
}

impl Config {
    /// Reads a file, or without one takes the defaults; secrets come from the environment.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        load(path, Self::read_environment, Self::complaints)
    }

    fn read_environment(&mut self) {
        if let Some(address) = variable(ADVERTISE) {
            self.etcd.advertise = address;
        }
        self.etcd.password = Secret::from_env(ETCD_PASSWORD);
        self.telemetry.read_headers();
        self.nats.read_login(variable);
    }

    /// Everything that is wrong beyond what the types say.
    fn complaints(&self) -> Vec<String> {
        let table = |name: &str, complaints: Vec<String>| {
            complaints.into_iter().map(|complaint| format!("{name}.{complaint}")).collect::<Vec<_>>()
        };
        let api = self.api.callers().err().unwrap_or_default();
        let weights = self.weights.values().any(|weight| *weight == 0);
        let weights = weights.then(|| "weights: a share of 0 is none at all".to_owned());
        let mut complaints = [self.log.complaints(), self.telemetry.complaints(), self.etcd.complaints()].concat();
        complaints.extend(weights);
        let rules = [
            (
                !self.api.listen.ip().is_unspecified() || !self.etcd.advertise.is_empty(),
                "etcd.advertise: api.listen says no address that other coordinators could call: give one".to_owned(),
            ),
            (
                !self.api.places.work.is_empty(),
                "api.places.work: give a place that all workers and coordinators can read and write".to_owned(),
            ),
        ];
        complaints.extend(rules.into_iter().filter(|(holds, _)| !holds).map(|(_, complaint)| complaint));
        complaints.extend(table("api", api));
        complaints.extend(table("nats", self.nats.check()));
        complaints
    }

    /// Address of this coordinator's API for the others.
    pub fn advertised(&self) -> String {
        if !self.etcd.advertise.is_empty() {
            return self.etcd.advertise.clone();
        }
        let scheme = if self.api.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.api.listen)
    }

    /// An attempt that has begun and says nothing for so long is lost.
    pub fn silence(&self) -> Duration {
        Duration::from_millis(self.silence_ms)
    }

    /// How long chunks wait for a worker with a GPU.
    pub fn await_gpu(&self) -> Duration {
        Duration::from_secs(self.await_gpu_s)
    }

    /// Time that calls under way get.
    pub fn grace_period(&self) -> Duration {
        Duration::from_millis(self.grace_period_ms)
    }
}

impl EtcdConfig {
    fn complaints(&self) -> Vec<String> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./".contains(&b);
        let prefix = self.prefix.strip_prefix('/').filter(|rest| !rest.is_empty() && !rest.ends_with('/'));
        let encrypted = |endpoint: &String| endpoint.starts_with("https://");
        let address = |endpoint: &String| encrypted(endpoint) || endpoint.starts_with("http://");
        let all_alike = self.endpoints.iter().all(encrypted) || !self.endpoints.iter().any(encrypted);
        let files = [&self.tls_roots, &self.tls_certificate, &self.tls_key];
        let rules = [
            (!self.endpoints.is_empty(), "etcd.endpoints: there is none".to_owned()),
            (self.endpoints.iter().all(address), "etcd.endpoints: they begin with http:// or https://".to_owned()),
            (
                !self.endpoints.iter().any(|endpoint| endpoint.contains('@')),
                format!("etcd.endpoints: no login belongs there, but into etcd.user and {ETCD_PASSWORD}"),
            ),
            (all_alike, "etcd.endpoints: some are encrypted and some are not".to_owned()),
            (
                prefix.is_some_and(|rest| rest.bytes().all(plain)),
                format!("etcd.prefix: {:?} is not like /farm", self.prefix),
            ),
            (
                self.tls_certificate.is_some() == self.tls_key.is_some(),
                "etcd.tls_certificate and etcd.tls_key go together".to_owned(),
            ),
            (
                self.endpoints.iter().all(encrypted) || files.iter().all(|file| file.is_none()),
                "etcd.tls_…: endpoints that begin with http:// have no certificates".to_owned(),
            ),
            (
                self.user.is_empty() || !self.password.is_empty(),
                format!("etcd.user: its password should be in {ETCD_PASSWORD}"),
            ),
            (
                REQUEST_MS.contains(&self.request_timeout_ms) && self.request_timeout_ms < self.lease_s * 1000,
                format!("etcd.request_timeout_ms: {REQUEST_MS:?}, and shorter than the lease"),
            ),
            (LEASE_SECONDS.contains(&self.lease_s), format!("etcd.lease_s: {LEASE_SECONDS:?}")),
        ];
        rules.into_iter().filter(|(holds, _)| !holds).map(|(_, complaint)| complaint).collect()
    }

    /// Time for one request.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }

    /// How long after its death a leader is followed.
    pub fn lease(&self) -> Duration {
        Duration::from_secs(self.lease_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_file_is_the_manual() {
        let sources = [
            include_str!("config.rs"),
            include_str!("api/auth.rs"),
            include_str!("api/config.rs"),
            include_str!("api/places.rs"),
            include_str!("../../shared/src/queue/nats/config.rs"),
            include_str!("../../shared/src/storage/config.rs"),
            include_str!("../../shared/src/telemetry.rs"),
            include_str!("../../shared/src/telemetry/traces.rs"),
        ];
        let sample = include_str!("../../deploy/coordinator.toml");
        assert_eq!(shared::config::sample_complaints::<Config>(sample, &sources), [""; 0]);
    }

    #[test]
    fn the_file_of_compose_lacks_keys_and_an_address_alone() {
        let file = include_str!("../../deploy/compose/coordinator.toml");
        let key = format!("[[api.keys]]\nsha256 = \"{}\"\ntenant = \"a\"\nscopes = [\"read\"]\n", "0".repeat(64));
        let mut config: Config = shared::config::read(&format!("{file}\n{key}")).unwrap();
        config.etcd.advertise = "http://coordinator-1:7600".into();
        assert_eq!(config.complaints(), [""; 0]);
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let etcd = EtcdConfig {
            endpoints: vec!["https://a:1".into(), "http://b:1".into()],
            prefix: "farm/".into(),
            user: "me".into(),
            tls_key: Some("key".into()),
            lease_s: 1,
            ..EtcdConfig::default()
        };
        let mut config = Config { etcd, ..Config::default() };
        config.api.listen = SocketAddr::from(([0, 0, 0, 0], 7600));
        assert_eq!(config.complaints().len(), 10, "{:#?}", config.complaints());
        let mut config = Config::default();
        config.api.places.work = "s3://work".into();
        assert_eq!(config.complaints(), [""; 0]);
    }
}
