//! A cluster of real processes: coordinators, workers, NATS, etcd and object storage, each on ports and in folders of its
//! own. Everything can be killed, restarted, stopped and continued; a server can lose its data.

pub mod build;
pub mod client;
mod program;
pub mod way;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proto::v1;
use shared::storage::Storage;
use shared::testing::clouds::{Cloud, CloudServer};
use shared::testing::s3::{BUCKET, S3Server};
use shared::testing::{Server, free_port, servers};
use tempfile::TempDir;

use client::Client;
pub use program::{Program, Settings};
use way::Way;

/// No part takes longer to begin or to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// Of the leader, in seconds, where a test does not say otherwise.
pub const LEASE_S: u64 = 2;

/// What a cluster is made of.
#[derive(Debug, Clone)]
pub struct Parts {
    pub coordinators: usize,
    pub workers: usize,
    /// Of each worker.
    pub slots: usize,
    /// 1, or 3 that keep three copies of everything.
    pub nats: usize,
    /// 1 or 3.
    pub etcd: usize,
    /// Bytes are in SeaweedFS instead of a folder.
    pub s3: bool,
    /// Bytes are in what stands in for this one's object store.
    pub cloud: Option<Cloud>,
    /// More settings, or other ones.
    pub coordinator_settings: Settings,
    pub worker_settings: Settings,
    /// What single workers have besides, by their numbers.
    pub hosts: BTreeMap<usize, Host>,
    /// Folder of its coordinator and worker.
    pub programs: PathBuf,
}

/// What a worker finds where it runs.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// More settings, or other ones.
    pub settings: Settings,
    pub environment: Vec<(&'static str, String)>,
    /// By which it reaches NATS; none: it does by itself.
    pub way: Option<Way>,
}

impl Default for Parts {
    /// Two coordinators and two workers of this build with a slot each, one server of each kind, and a folder.
    fn default() -> Self {
        Self {
            coordinators: 2,
            workers: 2,
            slots: 1,
            nats: 1,
            etcd: 1,
            s3: false,
            cloud: None,
            coordinator_settings: Settings::new(),
            worker_settings: Settings::new(),
            hosts: BTreeMap::new(),
            programs: build::programs(),
        }
    }
}

/// All processes of a farm, killed with it.
pub struct Cluster {
    pub coordinators: Vec<Program>,
    pub workers: Vec<Program>,
    pub nats: Vec<Server>,
    pub etcd: Vec<Server>,
    /// `None`, as `cloud`: bytes are in the folder.
    pub s3: Option<S3Server>,
    pub cloud: Option<CloudServer>,
    pub folder: TempDir,
}

impl Parts {
    /// Starts them, and waits until all are ready; `None` if a server is not installed.
    pub fn start(&self) -> Option<Cluster> {
        build::build();
        let (nats, etcd) = (servers::nats(self.nats)?, servers::etcd(self.etcd)?);
        let s3 = if self.s3 { Some(S3Server::start()?) } else { None };
        let cloud = match self.cloud {
            Some(cloud) => Some(CloudServer::start(cloud)?),
            None => None,
        };
        let folder = super::folder();
        let mut cluster = Cluster { coordinators: vec![], workers: vec![], nats, etcd, s3, cloud, folder };
        cluster.coordinators = (0..self.coordinators).map(|number| self.coordinator(&cluster, number)).collect();
        cluster.workers = (0..self.workers).map(|number| self.worker(&cluster, number)).collect();
        for program in cluster.coordinators.iter().chain(&cluster.workers) {
            program.wait_until_ready();
        }
        Some(cluster)
    }

    fn coordinator(&self, cluster: &Cluster, number: usize) -> Program {
        let [pages, api] = [free_port(), free_port()];
        let place = cluster.uri("");
        let mut settings = Settings::from([
            ("http_listen", format!("\"127.0.0.1:{pages}\"")),
            ("api.listen", format!("\"127.0.0.1:{api}\"")),
            ("api.places.sources", format!("[{place:?}]")),
            ("api.places.targets", format!("[{place:?}]")),
            ("api.places.work", format!("{:?}", cluster.uri("work"))),
            ("etcd.endpoints", urls("http", &cluster.etcd)),
            ("etcd.lease_s", LEASE_S.to_string()),
            ("etcd.request_timeout_ms", "1000".into()),
            ("nats.urls", urls("nats", &cluster.nats)),
            ("nats.replicas", self.nats.to_string()),
        ]);
        if let Some(s3) = &cluster.s3 {
            settings.insert("storage.s3_endpoint", format!("{:?}", s3.config().s3_endpoint));
        }
        settings.insert("storage.allow_http", "true".into());
        settings.extend(self.coordinator_settings.clone());
        let name = ["coordinator", &number.to_string()];
        let environment = cluster.keys();
        Program::start_one_of(&self.programs, cluster.folder.path(), name, [pages, api], &settings, &environment)
    }

    fn worker(&self, cluster: &Cluster, number: usize) -> Program {
        let pages = free_port();
        let mut settings = Settings::from([
            ("name", format!("\"w{number}\"")),
            ("http_listen", format!("\"127.0.0.1:{pages}\"")),
            ("nats.urls", urls("nats", &cluster.nats)),
            ("nats.replicas", self.nats.to_string()),
            ("worker.slots", self.slots.to_string()),
            ("worker.scratch", format!("{:?}", cluster.scratch(number))),
        ]);
        if let Some(s3) = &cluster.s3 {
            settings.insert("worker.storage.s3_endpoint", format!("{:?}", s3.config().s3_endpoint));
        }
        settings.insert("worker.storage.allow_http", "true".into());
        settings.extend(self.worker_settings.clone());
        let host = self.hosts.get(&number).cloned().unwrap_or_default();
        if let Some(way) = &host.way {
            way.lead_to(cluster.nats[0].port());
            settings.insert("nats.urls", format!("[\"nats://127.0.0.1:{}\"]", way.port()));
        }
        settings.extend(host.settings);
        let environment = host.environment.iter().map(|(name, value)| (*name, value.as_str()));
        let environment: Vec<(&str, &str)> = cluster.keys().into_iter().chain(environment).collect();
        let name = ["worker", &number.to_string()];
        Program::start_one_of(&self.programs, cluster.folder.path(), name, [pages, 0], &settings, &environment)
    }
}

/// Of [`S3Server`].
const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "farm-key"), ("AWS_SECRET_ACCESS_KEY", "farm-secret")];

impl Cluster {
    /// For whoever asks for jobs.
    pub fn client(&self) -> Client {
        Client::new(self.coordinators.iter().map(|coordinator| coordinator.api).collect())
    }

    /// The place among the coordinators of the one that leads. One that stands still is not asked.
    pub fn leader(&self) -> usize {
        self.leader_but(None)
    }

    /// The same, without asking `silent`.
    pub fn leader_but(&self, silent: Option<usize>) -> usize {
        let leads = |(place, program): (usize, &Program)| {
            Some(place) != silent && program.metric("farm_coordinator_leader") == Some(1.0)
        };
        let began = Instant::now();
        loop {
            if let Some(leader) = self.coordinators.iter().enumerate().position(leads) {
                return leader;
            }
            assert!(began.elapsed() < PATIENCE, "nobody leads");
            pause();
        }
    }

    /// Where a worker keeps what an attempt reads.
    pub fn scratch(&self, worker: usize) -> PathBuf {
        self.folder.path().join(format!("scratch-{worker}"))
    }

    /// The URI of something of this name in the farm's storage.
    pub fn uri(&self, name: &str) -> String {
        match (&self.s3, &self.cloud) {
            (Some(_), _) => format!("s3://{BUCKET}/{name}"),
            (None, Some(cloud)) => cloud.uri(name),
            (None, None) => format!("file:{}/{name}", self.folder.path().display()),
        }
    }

    /// A job that makes `target` of `source`, both by their names in the farm's storage.
    pub fn spec(&self, source: &str, target: &str, profile: &str) -> v1::JobSpec {
        let profile = Some(v1::job_spec::Profile::ProfileName(profile.into()));
        v1::JobSpec { source: self.uri(source), target: self.uri(target), profile, ..Default::default() }
    }

    /// Puts a file into the farm's storage.
    pub async fn put(&self, name: &str, file: &Path) {
        self.storage("").put(name, std::fs::read(file).unwrap().into()).await.unwrap();
    }

    /// Names of everything in the farm's storage below `name`, without it.
    pub async fn list(&self, name: &str) -> Vec<String> {
        self.storage(name).list("").await.unwrap()
    }

    /// A folder of this host with what is in the farm's storage below `name`.
    pub async fn fetch(&self, name: &str) -> PathBuf {
        let folder = self.folder.path().join(name);
        if self.s3.is_some() || self.cloud.is_some() {
            let storage = self.storage(name);
            for key in storage.list("").await.unwrap() {
                let file = folder.join(&key);
                std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                std::fs::write(file, storage.get(&key).await.unwrap()).unwrap();
            }
        }
        folder
    }

    fn storage(&self, name: &str) -> Storage {
        let (s3, cloud) = (self.s3.as_ref().map(S3Server::config), self.cloud.as_ref().map(CloudServer::config));
        Storage::open(&self.uri(name), &s3.or(cloud).unwrap_or_default()).unwrap()
    }

    /// What programs find in their environment.
    fn keys(&self) -> Vec<(&str, &str)> {
        let cloud = self.cloud.iter().flat_map(CloudServer::environment);
        KEYS.into_iter().chain(cloud.map(|(name, value)| (*name, value.as_str()))).collect()
    }
}

fn urls(scheme: &str, servers: &[Server]) -> String {
    let urls: Vec<String> = servers.iter().map(|server| format!("{scheme}://127.0.0.1:{}", server.port())).collect();
    format!("{urls:?}")
}

#[expect(clippy::disallowed_methods, reason = "a process says how it is when it is asked")]
fn pause() {
    std::thread::sleep(Duration::from_millis(10));
}
