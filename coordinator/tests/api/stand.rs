//! A coordinator with its API on a free port.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use coordinator::api::auth::{KeyConfig, Scope};
use coordinator::api::metered::ApiMeter;
use coordinator::api::places::PlacesConfig;
use coordinator::api::{Api, ApiConfig, Leader};
use coordinator::archive::Archive;
use coordinator::run::{Coordinator, CoordinatorConfig, Handle};
use coordinator::schedule::Weights;
use coordinator::store::redb::RedbStore;
use proto::v1;
use proto::v1::job_service_client::JobServiceClient;
use sha2::{Digest, Sha256};
use shared::fleet::Heartbeat;
use shared::queue::Queue;
use shared::queue::memory::MemoryQueue;
use shared::storage::StorageConfig;
use shared::task::TenantId;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::Request;
use tonic::transport::Channel;

/// What runs until the test ends.
pub struct Stand {
    pub handle: Handle,
    /// Is told of the calls of APIs served from now on.
    pub meter: Option<Arc<dyn ApiMeter>>,
    parts: JoinSet<()>,
    shutdown: CancellationToken,
    pub folder: tempfile::TempDir,
}

impl Stand {
    /// A coordinator with one worker that says it is there and does nothing.
    pub async fn new() -> Self {
        Self::keeping(3_600_000).await
    }

    /// As [`Self::new`]; jobs are put away so many milliseconds after their end.
    pub async fn keeping(keep_finished_ms: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(RedbStore::open(&folder.path().join("state")).unwrap());
        let queue = Arc::new(MemoryQueue::default());
        let storage = StorageConfig::default();
        let config = CoordinatorConfig { silence: Duration::from_secs(300), weights: Weights::new(), storage };
        let archive = self::config(folder.path(), vec![]).archive(&config.storage).unwrap();
        let archive = Archive { keep_finished_ms, ..archive };
        let (coordinator, handle) = Coordinator::with_archive(store, queue.clone(), config, Some(archive));
        let shutdown = CancellationToken::new();
        let mut parts = JoinSet::new();
        let down = shutdown.clone();
        parts.spawn(async move { coordinator.run(down).await.unwrap() });
        let heartbeat = Heartbeat { speed_ms_per_s: 2_000, ..shared::testing::heartbeat("w1") };
        queue.beat(heartbeat).await.unwrap();
        while handle.workers().await.is_empty() {
            tokio::task::yield_now().await; // the heartbeat is on its way
        }
        Self { handle, meter: None, parts, shutdown, folder }
    }

    /// Serves the API; returns its address as a URI.
    pub async fn serve(&mut self, config: ApiConfig, leader: Option<Leader>) -> String {
        let (_, leader) = watch::channel(leader);
        let mut api = Api::bind(&config, leader, self.shutdown.clone()).await.unwrap();
        if let Some(meter) = &self.meter {
            api = api.metered(meter.clone());
        }
        let address = api.address().unwrap();
        self.parts.spawn(async move { api.serve().await.unwrap() });
        format!("http://{address}")
    }

    /// Serves the API of the coordinator itself.
    pub async fn serve_here(&mut self, keys: Vec<KeyConfig>) -> String {
        let config = config(self.folder.path(), keys);
        let leader = Leader::Here(self.handle.clone());
        self.serve(config, Some(leader)).await
    }
}

pub fn config(folder: &Path, keys: Vec<KeyConfig>) -> ApiConfig {
    let folder = folder.display();
    let places = PlacesConfig {
        sources: vec!["file:/in/".into()],
        targets: vec![format!("file:{folder}")],
        default_target: format!("file:{folder}/out"),
        work: format!("file:{folder}/work"),
    };
    ApiConfig { listen: "127.0.0.1:0".parse().unwrap(), keys, places, keep_failed_seconds: 0, ..ApiConfig::default() }
}

pub fn key(key: &str, tenant: &str, scopes: &[Scope]) -> KeyConfig {
    let sha256 = shared::hex::encode(&Sha256::digest(key.as_bytes()));
    KeyConfig { sha256, tenant: TenantId::new(tenant).unwrap(), scopes: scopes.iter().copied().collect() }
}

pub async fn channel(address: &str) -> Channel {
    Channel::from_shared(address.to_owned()).unwrap().connect().await.unwrap()
}

pub async fn jobs(address: &str) -> JobServiceClient<Channel> {
    JobServiceClient::new(channel(address).await)
}

/// A request with a key.
pub fn with_key<T>(key: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
    request
}

pub fn create(request_id: &str, source: &str) -> v1::CreateJobRequest {
    let spec = v1::JobSpec { source: source.into(), ..Default::default() };
    v1::CreateJobRequest { request_id: request_id.into(), spec: Some(spec) }
}
