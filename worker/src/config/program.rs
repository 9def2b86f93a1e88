//! Settings of the worker program.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::config::{ConfigError, load, variable};
use shared::queue::nats::NatsConfig;
use shared::task::WorkerId;
use shared::telemetry::{LogConfig, TelemetryConfig};

use super::{LONGEST_TIMEOUT, WorkerConfig};

/// Settings of the program; `deploy/worker.toml` is their sample. Whatever is not given keeps its default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Who this worker is: 1 to 64 of `a-z`, `0-9` and `-`, unique in the farm, and best the same after a restart. Default:
    /// empty, which is the name of the host.
    pub name: String,
    /// Address and port of `/metrics`, `/healthz` and `/readyz`. Default: `127.0.0.1:7602`.
    pub http_listen: SocketAddr,
    /// Time to finish what runs after SIGTERM, in milliseconds; then it is given back. Default: 25000.
    pub grace_period_ms: u64,
    /// How to log.
    pub log: LogConfig,
    /// Traces.
    pub telemetry: TelemetryConfig,
    /// How work gets here.
    pub nats: NatsConfig,
    /// How it is done.
    pub worker: WorkerConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: String::new(),
            http_listen: SocketAddr::from(([127, 0, 0, 1], 7602)),
            grace_period_ms: 25_000,
            log: LogConfig::default(),
            telemetry: TelemetryConfig::default(),
            nats: NatsConfig::default(),
            worker: WorkerConfig::default(),
        }
    }
}

impl Config {
    /// Reads a file, or without one takes the defaults; secrets come from the environment.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let complete = |config: &mut Self| {
            config.nats.read_login(variable);
            config.telemetry.read_headers();
        };
        load(path, complete, Self::complaints)
    }

    /// Everything that is wrong beyond what the types say.
    fn complaints(&self) -> Vec<String> {
        let nats = self.nats.check().into_iter().map(|complaint| format!("nats.{complaint}"));
        let name = self.id().is_none().then(|| format!("name: {:?} is not 1 to 64 of a-z, 0-9 and -", self.name));
        let telemetry = self.telemetry.complaints();
        self.log.complaints().into_iter().chain(telemetry).chain(nats).chain(name).collect()
    }

    /// Who this worker is; `None` if the name can't be one.
    pub fn id(&self) -> Option<WorkerId> {
        if !self.name.is_empty() {
            return WorkerId::new(self.name.as_str());
        }
        let host = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        WorkerId::new(host.chars().map(plain).take(64).collect::<String>())
    }

    /// Time to finish what runs.
    pub fn grace_period(&self) -> Duration {
        Duration::from_millis(self.grace_period_ms).min(LONGEST_TIMEOUT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_file_is_the_manual() {
        let sources = [
            include_str!("program.rs"),
            include_str!("../config.rs"),
            include_str!("gpu.rs"),
            include_str!("../../../shared/src/queue/nats/config.rs"),
            include_str!("../../../shared/src/storage/config.rs"),
            include_str!("../../../shared/src/telemetry.rs"),
            include_str!("../../../shared/src/telemetry/traces.rs"),
        ];
        let sample = include_str!("../../../deploy/worker.toml");
        assert_eq!(shared::config::sample_complaints::<Config>(sample, &sources), [""; 0]);
    }

    #[test]
    fn the_file_of_compose_lacks_nothing() {
        let config: Config = shared::config::read(include_str!("../../../deploy/compose/worker.toml")).unwrap();
        assert_eq!(config.complaints(), [""; 0]);
    }

    #[test]
    fn a_worker_is_named_after_its_host_or_as_it_is_told() {
        assert!(Config::default().complaints().is_empty());
        assert!(Config::default().id().is_some());
        let named = Config { name: "rack-7".into(), ..Config::default() };
        assert_eq!(named.id(), WorkerId::new("rack-7"));
        let wrong = Config { name: "Rack 7".into(), ..Config::default() };
        assert_eq!(wrong.complaints().len(), 1);
    }
}
