//! One contract of storage, held by a folder, by memory and by a real S3 server; and what only a server can do wrong.

#[cfg(all(feature = "gcs", feature = "azure"))]
mod clouds;
mod contract;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use contract::{PART, contract, labels};
use shared::error::{ErrorKind, TaskError};
use shared::storage::{Fault, Storage, StorageConfig, StorageMeter, StoreCall};
use shared::testing::proxy::{Proxy, Weather};
use shared::testing::s3::{BUCKET, CLOSED_BUCKET, S3Server};

fn folder() -> (tempfile::TempDir, Storage) {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::open(folder.path().to_str().unwrap(), &StorageConfig::default()).unwrap();
    (folder, storage)
}

fn open(config: &StorageConfig, bucket: &str, prefix: &str) -> Storage {
    Storage::open(&format!("s3://{bucket}/{prefix}"), config).unwrap()
}

/// One that gives up soon.
fn hasty(config: StorageConfig) -> StorageConfig {
    StorageConfig { retries: 1, retry_pause_ms: 10, connect_timeout_ms: 500, ..config }
}

#[tokio::test]
async fn a_folder_keeps_the_contract() {
    let (_folder, storage) = folder();
    contract(&storage).await;
}

#[tokio::test]
async fn memory_keeps_the_contract() {
    contract(&Storage::in_memory()).await;
}

#[tokio::test]
async fn s3_keeps_the_contract() {
    let Some(server) = S3Server::start() else { return };
    let config = server.config();
    let storage = open(&config, BUCKET, "jobs/1");
    contract(&storage).await;

    // A prefix is no more than that: its neighbours are not seen, and not cleared.
    let neighbour = open(&config, BUCKET, "jobs/10");
    neighbour.put("a", "1".into()).await.unwrap();
    assert_eq!(storage.list("").await.unwrap(), [] as [&str; 0]);
    storage.clear().await.unwrap();
    assert_eq!(open(&config, BUCKET, "jobs").list("").await.unwrap(), ["10/a"]);
}

/// S3 behind a bad network, and the settings of somebody who asks there.
fn through(server: &mut S3Server) -> (Proxy, StorageConfig) {
    let proxy = Proxy::start();
    proxy.lead_to(server.server().port());
    let s3_endpoint = format!("http://127.0.0.1:{}", proxy.port());
    (proxy, StorageConfig { s3_endpoint, retry_pause_ms: 10, ..server.config() })
}

#[tokio::test]
async fn s3_keeps_the_contract_while_one_request_in_five_fails() {
    let Some(mut server) = S3Server::start() else { return };
    let (proxy, config) = through(&mut server);
    proxy.set(Weather::Rough(5));
    contract(&open(&config, BUCKET, "rough")).await;
    assert!(proxy.faults() >= 10, "{}", proxy.faults());
}

#[tokio::test]
async fn a_server_that_says_nothing_is_a_passing_fault() {
    let Some(mut server) = S3Server::start() else { return };
    let (proxy, config) = through(&mut server);
    let patient = open(&config, BUCKET, "silent");
    let storage = open(&StorageConfig { retries: 1, request_timeout_ms: 300, ..config }, BUCKET, "silent");
    patient.put("a", "x".into()).await.unwrap();
    proxy.set(Weather::Silent);
    assert_eq!(storage.get("a").await.unwrap_err().fault(), Fault::Transient);
    assert_eq!(storage.put("b", "x".into()).await.unwrap_err().fault(), Fault::Transient);
    proxy.set(Weather::Fine);
    assert_eq!(patient.list("").await.unwrap(), ["a"]);
}

#[tokio::test]
async fn objects_say_what_they_are_and_how_long_they_last() {
    let Some(server) = S3Server::start() else { return };
    labels(&open(&server.config(), BUCKET, "out")).await;
    labels(&Storage::in_memory()).await;
}

#[tokio::test]
async fn what_is_not_allowed_or_not_there_is_told_with_a_code_and_advice() {
    let Some(server) = S3Server::start() else { return };
    let config = server.config();
    let refused = |storage: Storage| async move { storage.put("a", "x".into()).await.unwrap_err() };

    let closed = TaskError::from(refused(open(&config, CLOSED_BUCKET, "")).await);
    assert_eq!((closed.kind, closed.code.as_str()), (ErrorKind::Unsupported, "store_denied"));
    assert!(closed.message.ends_with("allow these credentials to read, write, list and delete there"), "{closed}");

    let stranger = config.clone().with_s3_key("nobody", "nothing");
    assert_eq!(refused(open(&stranger, BUCKET, "")).await.fault(), Fault::Credentials);
    let forger = config.clone().with_s3_key("farm-key", "guessed");
    let error = refused(open(&forger, BUCKET, "")).await;
    assert_eq!(error.fault(), Fault::Credentials);
    assert!(!error.to_string().contains("guessed"));

    let owner = config.clone().with_s3_key("owner-key", "owner-secret");
    let nowhere = open(&owner, "nowhere", "");
    assert_eq!(nowhere.get("a").await.unwrap_err().fault(), Fault::NoBucket);

    let secure = StorageConfig { allow_http: false, ..config.clone() };
    assert!(open(&secure, BUCKET, "").put("a", "x".into()).await.is_err());
}

/// What a meter was told.
#[derive(Default)]
struct Told(Mutex<Vec<(StoreCall, Option<Fault>)>>);

impl StorageMeter for Told {
    fn answered(&self, call: StoreCall, time: Duration, fault: Option<Fault>) {
        assert!(time < Duration::from_secs(60));
        self.0.lock().unwrap().push((call, fault));
    }
}

#[tokio::test]
async fn a_server_that_is_down_is_a_passing_fault() {
    let told = Arc::new(Told::default());
    let endpoint = format!("http://127.0.0.1:{}", shared::testing::free_port());
    let config = StorageConfig { s3_endpoint: endpoint, allow_http: true, ..StorageConfig::default() };
    let storage = open(&hasty(config).with_s3_key("id", "secret").metered(told.clone()), BUCKET, "");
    for fault in [
        storage.get("a").await.unwrap_err().fault(),
        storage.put("a", "x".into()).await.unwrap_err().fault(),
        storage.size("a").await.unwrap_err().fault(),
        storage.list("").await.unwrap_err().fault(),
    ] {
        assert_eq!(fault, Fault::Transient);
    }
    use StoreCall::{List, Look, Read, Write};
    let told = told.0.lock().unwrap();
    assert_eq!(*told, [Read, Write, Look, List].map(|call| (call, Some(Fault::Transient))));
}

#[tokio::test]
async fn a_server_that_dies_during_an_upload_leaves_no_object() {
    let Some(mut server) = S3Server::start() else { return };
    let storage = open(&hasty(server.config()), BUCKET, "");
    let part = Bytes::from(vec![7; PART]);
    let mut upload = storage.upload("movie.mp4").await.unwrap();
    upload.push(part.clone()).await.unwrap();
    upload.push(part.clone()).await.unwrap();
    server.server().kill();
    upload.push(part).await.unwrap(); // on its way, or waiting for a whole part
    assert_eq!(upload.finish().await.unwrap_err().fault(), Fault::Transient);
    server.server().restart();
    let size = loop {
        match storage.size("movie.mp4").await {
            Ok(size) => break size,
            Err(error) => assert_eq!(error.fault(), Fault::Transient, "{error}"), // its parts look for each other
        }
    };
    assert_eq!(size, None);
    storage.put("movie.mp4", "whole".into()).await.unwrap();
}
