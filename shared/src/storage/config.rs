//! How object stores are reached: this struct is the manual of a `[storage]` table.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use object_store::ObjectStore;
use serde::{Deserialize, Serialize};

use super::metered::{StorageMeter, Watch};
use super::place::StoreKind;
use super::{StorageError, client};

/// Settings of all object stores of a program. Whatever is not given keeps its default.
///
/// Credentials are not written here. They come from where each provider's own tools look for them: environment variables
/// (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `GOOGLE_SERVICE_ACCOUNT`,
/// `AZURE_STORAGE_ACCOUNT_NAME`, `AZURE_STORAGE_ACCOUNT_KEY` …), else the metadata service of the machine or pod. So do other
/// endpoints of Google (`GOOGLE_BASE_URL`) and Azure (`AZURE_STORAGE_ENDPOINT`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StorageConfig {
    /// Where S3 is, such as `http://127.0.0.1:8333`. Default: empty, which is `AWS_ENDPOINT_URL` or else Amazon's own.
    pub s3_endpoint: String,
    /// Region of the buckets. Default: empty, which is `AWS_REGION` or else `us-east-1`.
    pub s3_region: String,
    /// The bucket is the first label of the host (`https://bucket.host/key`) instead of the first part of the path
    /// (`https://host/bucket/key`). Default: false.
    pub s3_virtual_host: bool,
    /// Endpoints may be `http:`, where keys and bytes can be read and changed on the way. Default: false.
    pub allow_http: bool,
    /// Times a request is made again after a network error or a 5xx answer. Default: 4.
    pub retries: u32,
    /// Pause before the first retry, in milliseconds; later ones are random and up to twice as long as the one before.
    /// Default: 200.
    pub retry_pause_ms: u64,
    /// No request is made again so long after it was first made, in milliseconds. Default: 15000.
    pub retry_timeout_ms: u64,
    /// Time to connect, in milliseconds. Default: 5000.
    pub connect_timeout_ms: u64,
    /// Time for one request with its body, of 32 MiB at most, in milliseconds. Default: 60000.
    pub request_timeout_ms: u64,
    /// Larger sources are refused, in bytes. Default: 1 TiB.
    pub largest_source_bytes: u64,
    /// Web servers that sources may come from: `media.example`, or `.example` for all hosts below it. Default: empty, which is
    /// every public one.
    pub web_hosts: Vec<String>,
    /// Sources may be `http:` too, where they can be changed on the way. Default: false.
    pub web_allow_http: bool,
    /// Web servers may be on this host and in private networks: whoever submits jobs can then read what is only meant for
    /// the inside. Default: false.
    pub web_allow_private: bool,
    /// Times a web server may send on to another address, which is checked like the first. Default: 5.
    pub web_redirects: u32,
    /// What is known while the program runs, and never written down.
    #[serde(skip)]
    pub live: Live,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            s3_endpoint: String::new(),
            s3_region: String::new(),
            s3_virtual_host: false,
            allow_http: false,
            retries: 4,
            retry_pause_ms: 200,
            retry_timeout_ms: 15_000,
            connect_timeout_ms: 5_000,
            request_timeout_ms: 60_000,
            largest_source_bytes: 1 << 40,
            web_hosts: Vec::new(),
            web_allow_http: false,
            web_allow_private: false,
            web_redirects: 5,
            live: Live::default(),
        }
    }
}

impl StorageConfig {
    /// Takes these for S3 instead of looking for some.
    pub fn with_s3_key(mut self, id: &str, secret: &str) -> Self {
        self.live.given.retain(|(name, _)| !name.starts_with("aws_"));
        self.with("aws_access_key_id", id).with("aws_secret_access_key", secret)
    }

    /// Takes this for the environment variable of that name, which is in lower case (`azure_storage_account_key`).
    #[must_use]
    pub fn with(mut self, variable: &str, value: &str) -> Self {
        self.live.given.push((variable.to_owned(), value.to_owned()));
        self
    }

    /// `meter` is told of everything that is asked of stores opened with this.
    #[must_use]
    pub fn metered(mut self, meter: Arc<dyn StorageMeter>) -> Self {
        self.live.watch = Watch::new(meter);
        self
    }

    /// The client of `bucket`, a URI without a prefix; opened the first time.
    pub(super) fn client(&self, kind: StoreKind, bucket: &str) -> Result<Arc<dyn ObjectStore>, StorageError> {
        let settings = format!("{bucket} {self:?} {:?}", self.live.given);
        let mut opened = self.live.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = opened.get(&settings) {
            return Ok(store.clone());
        }
        let store = client::open(kind, bucket, self)?;
        opened.insert(settings, store.clone());
        Ok(store)
    }
}

/// Credentials that were given, who is told of what is asked, and clients that were opened: all copies of a configuration
/// share them, so that each attempt of a worker finds its connections open.
#[derive(Clone, Default)]
pub struct Live {
    pub(super) given: Vec<(String, String)>, // instead of environment variables
    pub(super) watch: Watch,
    opened: Arc<Mutex<HashMap<String, Arc<dyn ObjectStore>>>>, // by bucket and settings
}

/// No secret gets into a log.
impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

/// Configurations are compared by what can be written down.
impl PartialEq for Live {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Live {}
