//! A connection to etcd that outlives its members: whoever asks is answered in bounded time, if only with an error.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use etcd_client::{
    Certificate, Client, Compare, CompareOp, ConnectOptions, Error, Identity, KvClient, TlsOptions, Txn, TxnOp,
    WatchOptions,
};
use prometheus::{HistogramVec, IntCounter};
use tokio::time::timeout;

use super::{LONGEST_VALUE, PAGE};
use crate::config::EtcdConfig;
use crate::store::StoreError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Dead connections are noticed after this and [`PING_TIMEOUT`]. etcd hangs up on clients that ping oftener than every
/// 5 s, or with nothing under way.
const PING_INTERVAL: Duration = Duration::from_secs(6);
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// What a record takes in an answer besides its value.
const RECORD_OVERHEAD: usize = 4 << 10;

/// etcd, and the prefix that all keys of this farm have.
#[derive(Clone)]
pub struct Etcd {
    client: Client,
    prefix: String,
    place: String,
    timeout: Duration,
    errors: IntCounter,
    seconds: HistogramVec,
}

/// A request failed.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct RequestError {
    pub(crate) kind: RequestErrorKind,
    pub(crate) reason: String,
}

/// What can be done about a request that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestErrorKind {
    /// It may work a moment later. It may also have been carried out.
    Passing,
    /// The lease is gone.
    LeaseGone,
    /// What was asked for is older than what etcd remembers.
    Compacted,
    /// It will not work: wrong password, wrong address, wrong limits.
    Final,
}

impl Etcd {
    /// Connects when it is first asked something, and again whenever the connection is lost; every failed request counts
    /// in `errors`, and `seconds` takes how long each took, by its outcome.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the certificates can't be read, an address is not one, or etcd does not let this
    /// user in.
    pub async fn connect(config: &EtcdConfig, errors: IntCounter, seconds: HistogramVec) -> Result<Self, StoreError> {
        let place = config.endpoints.join(",");
        let unavailable = |reason: String| StoreError::Unavailable { place: place.clone(), reason };
        let mut options = ConnectOptions::new()
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_keep_alive(PING_INTERVAL, PING_TIMEOUT)
            .with_keep_alive_while_idle(false)
            .with_require_leader(true);
        if let Some(tls) = tls(config).map_err(unavailable)? {
            options = options.with_tls(tls);
        }
        if !config.user.is_empty() {
            options = options.with_user(&config.user, config.password.reveal()).with_auto_token_refresh(true);
        }
        let connecting = timeout(config.request_timeout(), Client::connect(&config.endpoints, Some(options))).await;
        let client = match connecting {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => return Err(unavailable(RequestError::from(error).reason)),
            Err(_) => return Err(unavailable("no answer".to_owned())),
        };
        let prefix = config.prefix.clone();
        Ok(Self { client, prefix, timeout: config.request_timeout(), errors, seconds, place })
    }

    /// Its version, if it lets this user write below the farm's prefix. It is asked to write on a condition that never holds,
    /// which shows rights and quorum and leaves nothing there.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn check(&self) -> Result<String, StoreError> {
        let unavailable = |RequestError { reason, .. }| StoreError::Unavailable { place: self.place.clone(), reason };
        let key = self.key("doctor");
        let never = Compare::version(key.as_str(), CompareOp::Less, 0);
        let write = Txn::new().when([never]).and_then([TxnOp::put(key, "trial", None)]);
        let (mut kv, mut client) = (self.kv(), self.client());
        self.ask(kv.txn(write)).await.map_err(unavailable)?;
        Ok(self.ask(client.status()).await.map_err(unavailable)?.version().to_owned())
    }

    /// The key of this farm with that name.
    pub(crate) fn key(&self, name: &str) -> String {
        format!("{}/{name}", self.prefix)
    }

    /// The name of a key of this farm.
    pub(crate) fn name(&self, key: &[u8]) -> String {
        String::from_utf8_lossy(key.get(self.prefix.len() + 1..).unwrap_or_default()).into_owned()
    }

    /// The first key of this farm and the end (exclusive) of all of them: `0` comes right after `/`.
    pub(crate) fn all_keys(&self) -> (Vec<u8>, Vec<u8>) {
        (format!("{}/", self.prefix).into(), format!("{}0", self.prefix).into())
    }

    /// For messages.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Takes answers of a whole page of the longest values.
    pub(crate) fn kv(&self) -> KvClient {
        self.client.kv_client().max_decoding_message_size(PAGE * (LONGEST_VALUE + RECORD_OVERHEAD))
    }

    /// Waits for an answer, but no longer than is set: while no member is there, the client would wait for ever.
    pub(crate) async fn ask<T>(&self, request: impl Future<Output = Result<T, Error>>) -> Result<T, RequestError> {
        let began = Instant::now();
        let tell = |outcome| self.seconds.with_label_values(&[outcome]).observe(began.elapsed().as_secs_f64());
        let answer = match timeout(self.timeout, request).await {
            Ok(Ok(answer)) => {
                tell("done");
                return Ok(answer);
            }
            Ok(Err(error)) => RequestError::from(error),
            Err(_) => {
                let reason = format!("no answer in {} ms", self.timeout.as_millis());
                RequestError { kind: RequestErrorKind::Passing, reason }
            }
        };
        tell("failed");
        self.errors.inc();
        Err(answer)
    }

    /// Waits until a key has changed since `revision`, at most for `patience`. It may return too early: what is true is
    /// read, this only wakes up whoever reads.
    pub(crate) async fn wait_for_change(&self, key: &str, revision: i64, patience: Duration) {
        let watch = async || -> Result<(), Error> {
            let options = WatchOptions::new().with_start_revision(revision + 1);
            let mut watch = self.client().watch(key, Some(options)).await?;
            // A message without events says that the watch has begun.
            while let Some(message) = watch.message().await? {
                if message.canceled() || !message.events().is_empty() {
                    return Ok(());
                }
            }
            Ok(())
        };
        let woken = tokio::time::timeout(patience, watch());
        if let Ok(Err(error)) = woken.await {
            let RequestError { reason, .. } = RequestError::from(error);
            tracing::debug!(key, reason, "watch ended");
            self.errors.inc();
            tokio::time::sleep(CONNECT_TIMEOUT.min(patience)).await; // whoever reads next would fail too
        }
    }
}

impl From<Error> for RequestError {
    fn from(error: Error) -> Self {
        use RequestErrorKind::{Compacted, Final, LeaseGone, Passing};
        use tonic::Code;
        let (kind, reason) = match error {
            Error::GRpcStatus(status) => {
                let kind = match status.code() {
                    Code::NotFound => LeaseGone,
                    Code::OutOfRange => Compacted,
                    Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated | Code::Unimplemented => {
                        Final
                    }
                    _ => Passing,
                };
                (kind, format!("{}: {}", status.code(), status.message()))
            }
            Error::LeaseKeepAliveError(reason) => (LeaseGone, reason),
            Error::InvalidArgs(_) | Error::InvalidUri(_) | Error::InvalidMetadataValue(_) => (Final, error.to_string()),
            error => (Passing, error.to_string()),
        };
        Self { kind, reason }
    }
}

/// Certificates, if any are set or an address asks for them.
fn tls(config: &EtcdConfig) -> Result<Option<TlsOptions>, String> {
    let read = |path: &Path| std::fs::read(path).map_err(|error: io::Error| format!("{}: {error}", path.display()));
    let encrypted = config.endpoints.iter().any(|endpoint| endpoint.starts_with("https://"));
    if !encrypted {
        return Ok(None);
    }
    let mut tls = TlsOptions::new().with_enabled_roots();
    if let Some(roots) = &config.tls_roots {
        tls = tls.ca_certificate(Certificate::from_pem(read(roots)?));
    }
    if let (Some(certificate), Some(key)) = (&config.tls_certificate, &config.tls_key) {
        tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    Ok(Some(tls))
}
