//! The same contract with Google's and Azure's clients. What stands in for their stores, and what that can't show, is said in
//! `shared::testing::clouds`.

use shared::storage::{Fault, Storage, StorageConfig};
use shared::testing::clouds::{Cloud, CloudServer};

use super::contract::{PART, contract, labels};

fn open(server: &CloudServer, config: &StorageConfig, prefix: &str) -> Storage {
    Storage::open(&server.uri(prefix), config).unwrap()
}

async fn keeps_the_contract(cloud: Cloud) {
    let Some(server) = CloudServer::start(cloud) else { return };
    let config = server.config();
    let storage = open(&server, &config, "jobs/1");
    contract(&storage).await;
    labels(&open(&server, &config, "out")).await;

    let neighbour = open(&server, &config, "jobs/10");
    neighbour.put("a", "1".into()).await.unwrap();
    assert_eq!(storage.list("").await.unwrap(), [] as [&str; 0]);
    storage.clear().await.unwrap();
    assert_eq!(open(&server, &config, "jobs").list("").await.unwrap(), ["10/a"]);
}

#[tokio::test]
async fn google_keeps_the_contract() {
    keeps_the_contract(Cloud::Google).await;
}

#[tokio::test]
async fn azure_keeps_the_contract() {
    keeps_the_contract(Cloud::Azure).await;
}

/// Azure throws away what others have begun under a key when one writer finishes.
#[tokio::test]
async fn whoever_loses_a_race_of_uploads_may_try_again() {
    for cloud in [Cloud::Google, Cloud::Azure] {
        let Some(server) = CloudServer::start(cloud) else { return };
        let storage = open(&server, &server.config(), "race");
        let part = bytes::Bytes::from(vec![7; PART]);
        let mut uploads = [storage.upload("v.mp4").await.unwrap(), storage.upload("v.mp4").await.unwrap()];
        for upload in &mut uploads {
            for _ in 0..3 {
                upload.push(part.clone()).await.unwrap();
            }
        }
        let [first, second] = uploads;
        first.finish().await.unwrap();
        if let Err(error) = second.finish().await {
            assert_eq!(error.fault(), Fault::Transient, "{cloud:?}: {error}");
        }
        assert_eq!(storage.get("v.mp4").await.unwrap(), part.repeat(3));
    }
}

#[tokio::test]
async fn what_is_wrong_is_told_by_what_can_be_done() {
    let Some(server) = CloudServer::start(Cloud::Azure) else { return };
    let config = server.config();
    let storage = Storage::open("az://nowhere/a", &config).unwrap();
    assert_eq!(storage.put("a", "x".into()).await.unwrap_err().fault(), Fault::NoBucket);
    assert_eq!(storage.get("a").await.unwrap_err().fault(), Fault::NoBucket);
    assert_eq!(storage.list("").await.unwrap_err().fault(), Fault::NoBucket);

    let forger = config.clone().with("azure_storage_account_key", "Z3Vlc3NlZA==");
    let error = open(&server, &forger, "").put("a", "x".into()).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Credentials, "{error}");
    assert!(!error.to_string().contains("Z3Vlc3NlZA"));
    let secure = StorageConfig { allow_http: false, ..config };
    assert!(open(&server, &secure, "").put("a", "x".into()).await.is_err());
}
