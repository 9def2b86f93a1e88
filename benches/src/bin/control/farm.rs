//! A farm without workers: NATS, etcd and the coordinator, each a process of its own.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use shared::queue::nats::NatsConfig;
use shared::testing::{Server, free_port, page, servers};
use tempfile::TempDir;

use crate::usage::{Writes, cpu};

/// How long the coordinator may take until it leads.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at it.
const PAUSE: Duration = Duration::from_millis(20);
/// Of the largest fleet of all scenarios.
const FLEET_SLOTS: u32 = 16_384;
/// Lines of its log that are shown when it ends.
const SHOWN: usize = 20;

/// The processes, killed with it.
pub struct Farm {
    pub nats: Server,
    pub etcd: Server,
    coordinator: Child,
    /// Where the coordinator's API listens.
    pub api: u16,
    folder: TempDir,
}

/// What was used since the farm began.
#[derive(Debug, Clone, Copy)]
pub struct Used {
    pub coordinator: Duration,
    /// With NATS and etcd.
    pub all: Duration,
    pub etcd: Writes,
}

impl Used {
    /// What was used since `before`.
    pub fn since(&self, before: &Self) -> Self {
        let (commits, puts) = (self.etcd.commits - before.etcd.commits, self.etcd.puts - before.etcd.puts);
        let (coordinator, all) = (self.coordinator - before.coordinator, self.all - before.all);
        Self { coordinator, all, etcd: Writes { commits, puts } }
    }
}

impl Farm {
    /// Starts the servers and `coordinator`, and waits until it leads.
    pub async fn start(coordinator: &Path) -> Result<Self> {
        let missing = "is not installed: `make servers`";
        let nats = servers::nats(1).and_then(|mut all| all.pop()).with_context(|| format!("nats-server {missing}"))?;
        let etcd = servers::etcd(1).and_then(|mut all| all.pop()).with_context(|| format!("etcd {missing}"))?;
        let folder = tempfile::tempdir()?;
        let [pages, api] = [free_port(), free_port()];
        let config = folder.path().join("coordinator.toml");
        let place = folder.path().display();
        let settings = format!(
            "http_listen = \"127.0.0.1:{pages}\"\nlog.level = \"warn\"\n\
             [api]\nlisten = \"127.0.0.1:{api}\"\n\
             [api.places]\nsources = [\"file:{place}/\"]\ntargets = [\"file:{place}/\"]\nwork = \"file:{place}/work\"\n\
             [etcd]\nendpoints = [\"http://127.0.0.1:{}\"]\n\
             [nats]\nurls = [\"nats://127.0.0.1:{}\"]\nfleet_slots = {FLEET_SLOTS}\n",
            etcd.port(),
            nats.port(),
        );
        fs::write(&config, settings)?;
        let log = File::create(folder.path().join("log"))?;
        let mut command = Command::new(coordinator);
        command.arg("--config").arg(config).stdin(Stdio::null()).stderr(log).env_remove("RUST_LOG");
        let child = command.spawn().with_context(|| format!("{}", coordinator.display()))?;
        let mut farm = Self { nats, etcd, coordinator: child, api, folder };
        let began = Instant::now();
        while !page(pages, "/readyz").starts_with("HTTP/1.1 200") {
            farm.check()?;
            ensure!(began.elapsed() < PATIENCE, "the coordinator does not lead\n{}", farm.said());
            tokio::time::sleep(PAUSE).await;
        }
        Ok(farm)
    }

    /// How workers reach the queue.
    pub fn queue(&self) -> NatsConfig {
        NatsConfig {
            urls: vec![format!("nats://127.0.0.1:{}", self.nats.port())],
            fleet_slots: FLEET_SLOTS,
            ..NatsConfig::default()
        }
    }

    /// The URI of something of this name below the folder of sources and presentations.
    pub fn uri(&self, name: &str) -> String {
        format!("file:{}/{name}", self.folder.path().display())
    }

    /// The coordinator's process.
    pub fn pid(&self) -> u32 {
        self.coordinator.id()
    }

    /// What it has used so far.
    pub fn used(&self) -> Result<Used> {
        let coordinator = cpu(self.pid())?;
        let all = coordinator + cpu(self.nats.pid())? + cpu(self.etcd.pid())?;
        Ok(Used { coordinator, all, etcd: Writes::of(self.etcd.port())? })
    }

    /// An error if the coordinator has ended.
    pub fn check(&mut self) -> Result<()> {
        match self.coordinator.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the coordinator has ended: {status}\n{}", self.said()),
        }
    }

    /// The end of the coordinator's log.
    pub fn said(&self) -> String {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(SHOWN)..].join("\n")
    }
}

impl Drop for Farm {
    fn drop(&mut self) {
        // Already dead if it has failed.
        let _ = self.coordinator.kill();
        let _ = self.coordinator.wait();
    }
}
