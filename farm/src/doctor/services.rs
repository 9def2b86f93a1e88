//! What a cluster needs besides: NATS, etcd, storage.

use bytes::Bytes;
#[cfg(feature = "cluster")]
use coordinator::config::EtcdConfig;
#[cfg(feature = "cluster")]
use shared::queue::nats::NatsConfig;
use shared::storage::{Storage, StorageConfig, StorageError};

use super::{Finding, Grade};

/// Milliseconds for a server named on the command line.
#[cfg(feature = "cluster")]
const PATIENCE_MS: u64 = 5_000;
/// Written, read and deleted again.
const KEY: &str = "farm-doctor/trial";
const RIGHTS: &str = "its credentials need to read, write, list and delete below this place";

/// Whether there is a broker that can be trusted.
#[cfg(feature = "cluster")]
pub(super) async fn nats(config: &NatsConfig) -> Finding {
    use shared::config::without_logins;
    use shared::queue::nats::NatsQueue;

    let checked = match NatsQueue::connect(config).await {
        Ok(queue) => queue.check().await,
        Err(error) => Err(error),
    };
    let urls = without_logins(&config.urls.join(","));
    match checked {
        Ok(()) => Finding::new("NATS", Grade::Ok, format!("{urls}: new enough"), ""),
        Err(error) => {
            let advice = "start nats-server 2.10 or later with JetStream (`-js`) and `sync_interval: always`";
            Finding::new("NATS", Grade::Bad, without_logins(&format!("{urls}: {error}")), advice)
        }
    }
}

#[cfg(feature = "cluster")]
pub(super) async fn nats_at(url: &str) -> Finding {
    let mut config =
        NatsConfig { urls: vec![url.to_owned()], connect_timeout_ms: PATIENCE_MS, ..NatsConfig::default() };
    config.read_login(shared::config::variable);
    nats(&config).await
}

/// Whether etcd answers and takes writes.
#[cfg(feature = "cluster")]
pub(super) async fn etcd(config: &EtcdConfig) -> Finding {
    use coordinator::metrics::{Metrics, PROGRAM};
    use coordinator::store::etcd::Etcd;
    use shared::config::without_logins;

    let metrics = Metrics::new(&shared::telemetry::registry(PROGRAM)).lead;
    let checked = match Etcd::connect(config, metrics.etcd_errors, metrics.etcd_seconds).await {
        Ok(etcd) => etcd.check().await,
        Err(error) => Err(error),
    };
    let place = without_logins(&config.endpoints.join(","));
    match checked {
        Ok(version) => {
            let text = format!("{place}: version {version}, takes writes below {}", config.prefix);
            Finding::new("etcd", Grade::Ok, text, "")
        }
        Err(error) => {
            let advice = "start etcd 3.4 or later there; its user needs to read and write below the farm's prefix";
            Finding::new("etcd", Grade::Bad, without_logins(&error.to_string()), advice)
        }
    }
}

#[cfg(feature = "cluster")]
pub(super) async fn etcd_at(url: &str) -> Finding {
    let config =
        EtcdConfig { endpoints: vec![url.to_owned()], request_timeout_ms: PATIENCE_MS, ..EtcdConfig::default() };
    etcd(&config).await
}

#[cfg(not(feature = "cluster"))]
pub(super) async fn nats_at(url: &str) -> Finding {
    left_out("NATS", url)
}

#[cfg(not(feature = "cluster"))]
pub(super) async fn etcd_at(url: &str) -> Finding {
    left_out("etcd", url)
}

#[cfg(not(feature = "cluster"))]
pub(super) fn left_out(what: &str, place: &str) -> Finding {
    let advice = "build it with the feature `cluster`";
    Finding::new(what, Grade::Bad, format!("{place}: this program was built without it"), advice)
}

/// Whether objects can be written, read, listed and deleted.
pub(super) async fn storage(uri: &str, config: &StorageConfig) -> Finding {
    match try_storage(uri, config).await {
        Ok(true) => Finding::new("storage", Grade::Ok, format!("{uri}: writes, reads, lists, deletes"), ""),
        Ok(false) => Finding::new("storage", Grade::Bad, format!("{uri}: what is written is not listed"), RIGHTS),
        Err(error) => {
            let advice = match error.fault().advice() {
                "" => "see that it is up, and that --s3-endpoint or `s3_endpoint` is right",
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
