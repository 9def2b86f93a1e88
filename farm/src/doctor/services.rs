//! What a cluster needs besides: NATS, etcd, storage.

use bytes::Bytes;
use shared::storage::{Storage, StorageConfig, StorageError};

use super::{Finding, Grade};

/// Never written: it is asked whether it could be.
#[cfg(feature = "cluster")]
const ETCD_KEY: &str = "/farm/doctor";
/// Written, read and deleted again.
const KEY: &str = "farm-doctor/trial";
const RIGHTS: &str = "its credentials need to read, write, list and delete below this place";

/// Whether there is a broker that can be trusted.
#[cfg(feature = "cluster")]
pub(super) async fn nats(url: &str) -> Finding {
    use shared::queue::nats::{NatsConfig, NatsQueue};

    let mut config = NatsConfig { urls: vec![url.to_owned()], connect_timeout_ms: 5_000, ..NatsConfig::default() };
    config.read_login(|name| std::env::var_os(name)?.into_string().ok());
    let checked = match NatsQueue::connect(&config).await {
        Ok(queue) => queue.check().await,
        Err(error) => Err(error),
    };
    match checked {
        Ok(()) => Finding::new("NATS", Grade::Ok, format!("{url}: new enough"), ""),
        Err(error) => {
            let advice = "start nats-server 2.10 or later with JetStream (`-js`) and `sync_interval: always`";
            Finding::new("NATS", Grade::Bad, format!("{url}: {error}"), advice)
        }
    }
}

/// Whether etcd answers and takes writes.
#[cfg(feature = "cluster")]
pub(super) async fn etcd(url: &str) -> Finding {
    let tried = tokio::time::timeout(std::time::Duration::from_secs(5), try_etcd(url)).await;
    let advice = "start etcd 3.4 or later there; its user needs to read and write below the farm's prefix";
    match tried {
        Ok(Ok(version)) => Finding::new("etcd", Grade::Ok, format!("{url}: version {version}, takes writes"), ""),
        Ok(Err(error)) => Finding::new("etcd", Grade::Bad, format!("{url}: {error}"), advice),
        Err(_) => Finding::new("etcd", Grade::Bad, format!("{url}: no answer"), advice),
    }
}

#[cfg(feature = "cluster")]
async fn try_etcd(url: &str) -> Result<String, etcd_client::Error> {
    use etcd_client::{Compare, CompareOp, Txn, TxnOp};
    let mut client = etcd_client::Client::connect([url], None).await?;
    let version = client.status().await?.version().to_owned();
    // Asks to write, on a condition that never holds: rights and quorum are shown, and nothing is left or found there.
    let never = Compare::version(ETCD_KEY, CompareOp::Less, 0);
    client.txn(Txn::new().when([never]).and_then([TxnOp::put(ETCD_KEY, "trial", None)])).await?;
    Ok(version)
}

#[cfg(not(feature = "cluster"))]
pub(super) async fn nats(url: &str) -> Finding {
    left_out("NATS", url)
}

#[cfg(not(feature = "cluster"))]
pub(super) async fn etcd(url: &str) -> Finding {
    left_out("etcd", url)
}

#[cfg(not(feature = "cluster"))]
fn left_out(what: &str, url: &str) -> Finding {
    let advice = "build it with the feature `cluster`";
    Finding::new(what, Grade::Bad, format!("{url}: this program was built without it"), advice)
}

/// Whether objects can be written, read, listed and deleted.
pub(super) async fn storage(uri: &str, endpoint: &str) -> Finding {
    let allow_http = endpoint.starts_with("http:");
    let config = StorageConfig { s3_endpoint: endpoint.to_owned(), allow_http, retries: 1, ..StorageConfig::default() };
    match try_storage(uri, &config).await {
        Ok(true) => Finding::new("storage", Grade::Ok, format!("{uri}: writes, reads, lists, deletes"), ""),
        Ok(false) => Finding::new("storage", Grade::Bad, format!("{uri}: what is written is not listed"), RIGHTS),
        Err(error) => {
            let advice = match error.fault().advice() {
                "" => "see that it is up, and that --s3-endpoint is right",
                advice => advice,
            };
            let text = error.to_string();
            let text = text.strip_suffix(&format!("; {advice}")).unwrap_or(&text);
            Finding::new("storage", Grade::Bad, format!("{uri}: {text}"), advice)
        }
    }
}

async fn try_storage(uri: &str, config: &StorageConfig) -> Result<bool, StorageError> {
    let storage = Storage::open(uri, config)?;
    storage.put(KEY, Bytes::from_static(b"trial")).await?;
    let read = storage.get(KEY).await?;
    let listed = storage.list("farm-doctor").await?;
    storage.delete(KEY).await?;
    Ok(read.as_ref() == b"trial" && listed.contains(&KEY.to_owned()))
}
