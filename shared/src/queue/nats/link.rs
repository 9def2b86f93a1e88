//! The connection to the broker and what everybody on it shares.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::context::AccountErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::{self, ContextBuilder, ErrorCode};
use async_nats::{Client, ConnectOptions, Event, Subject};
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::config::NatsConfig;
use super::streams::Names;
use crate::queue::QueueError;

/// How long the broker may take to answer.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the broker may take to confirm an ack, which nothing depends on.
const ACK_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest pause between two tries to connect.
const LONGEST_RECONNECT_PAUSE_MS: u64 = 2_000;
/// A broker that leaves two of these unanswered is gone, though its connection still stands.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// Oldest version whose acks, limits and advisories are what is relied on here.
const OLDEST_VERSION: (i64, i64, i64) = (2, 10, 0);

/// What a broker says whose JetStream is off.
const ABSENT: [ErrorCode; 2] = [ErrorCode::JETSTREAM_NOT_ENABLED, ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT];

/// A connection; it comes back by itself.
#[derive(Debug)]
pub(super) struct Link {
    pub config: NatsConfig,
    pub names: Names,
    servers: String,
    pub client: Client,
    pub jetstream: jetstream::Context,
    /// Unique to this connection.
    pub session: String,
    up: watch::Receiver<bool>,
    beside: TaskTracker,
    runtime: Handle,
}

impl Link {
    /// Connects; a broker that can't be reached in time is an error.
    pub async fn connect(config: &NatsConfig) -> Result<Arc<Self>, QueueError> {
        let wrong = config.check();
        if !wrong.is_empty() {
            return Err(QueueError(wrong.join("; ")));
        }
        let (changed, mut up) = watch::channel(false);
        let servers = servers(config);
        let told = servers.clone();
        let options = options(config).await?.retry_on_initial_connect().event_callback(move |event| {
            note(&event, &changed, &told);
            async {}
        });
        let client = options.connect(&config.urls).await.map_err(|error| unreachable(config, &chain(&error)))?;
        let patience = Duration::from_millis(config.connect_timeout_ms);
        if tokio::time::timeout(patience, up.wait_for(|up| *up)).await.is_err() {
            return Err(unreachable(config, &why_not(config).await?));
        }
        let jetstream = ContextBuilder::new().timeout(ANSWER_TIMEOUT).ack_timeout(ANSWER_TIMEOUT).build(client.clone());
        let session = client.new_inbox().rsplit('.').next().unwrap_or_default().to_owned();
        Ok(Arc::new(Self {
            config: config.clone(),
            names: Names::new(&config.prefix),
            servers,
            client,
            jetstream,
            session,
            up,
            beside: TaskTracker::new(),
            runtime: Handle::current(),
        }))
    }

    /// Refuses a broker that can't keep what is asked of it.
    pub async fn check_broker(&self) -> Result<(), QueueError> {
        let (major, minor, patch) = OLDEST_VERSION;
        let version = self.client.server_info().version;
        if !self.client.is_server_compatible(major, minor, patch) {
            self.distrust(format!("the broker is nats-server {version}: run {major}.{minor} or later"))?;
        }
        let Err(error) = self.jetstream.query_account().await else { return Ok(()) };
        let absent = match error.kind() {
            AccountErrorKind::JetStreamUnavailable => true,
            AccountErrorKind::JetStream(error) => ABSENT.contains(&error.error_code()),
            AccountErrorKind::TimedOut | AccountErrorKind::Other => false,
        };
        let said = chain(&error);
        Err(QueueError(if absent {
            format!("the broker has no JetStream: start it with -js and enable it for this account ({said})")
        } else {
            format!("the broker's JetStream does not answer: {said}")
        }))
    }

    /// An error, unless the configuration allows it.
    pub fn distrust(&self, why: String) -> Result<(), QueueError> {
        if self.config.allow_untrusted {
            warn!(why, "the broker can't be trusted; allow_untrusted is set");
            return Ok(());
        }
        Err(QueueError(format!("{why}, or set allow_untrusted")))
    }

    /// Whether there is a broker now. What is said without one would be said late.
    pub fn require_connection(&self) -> Result<(), QueueError> {
        match self.client.connection_state() {
            async_nats::connection::State::Connected => Ok(()),
            _ => Err(QueueError(format!("not connected to the broker: {}", self.servers))),
        }
    }

    /// Changes whenever the connection is lost or made anew.
    pub fn changes(&self) -> watch::Receiver<bool> {
        let mut changes = self.up.clone();
        changes.mark_unchanged();
        changes
    }

    /// Puts a message into the stream of its subject; returns its place there, and whether it is that of an earlier one of
    /// the same id. When this fails, it may be there all the same.
    pub async fn store(&self, subject: String, message: PublishMessage) -> Result<PublishAck, QueueError> {
        self.require_connection()?;
        let mut changes = self.changes();
        let failed = |error: &(dyn Error + 'static)| QueueError(chain(error));
        let sent = self.jetstream.send_publish(subject, message).await.map_err(|error| failed(&error))?;
        tokio::select! {
            biased;
            stored = sent.into_future() => stored.map_err(|error| failed(&error)),
            _ = changes.changed() => Err(QueueError("the connection to the broker was lost".into())),
        }
    }

    /// Says something to whoever listens now.
    pub async fn say(&self, subject: String, payload: Vec<u8>) -> Result<(), QueueError> {
        self.require_connection()?;
        self.client.publish(subject, payload.into()).await.map_err(|error| QueueError(chain(&error)))
    }

    /// Answers for a delivery and waits until the broker has heard it.
    pub async fn answer(&self, reply: &Subject, answer: impl Into<Bytes>) -> Result<(), QueueError> {
        self.require_connection()?;
        let heard = self.client.request(reply.clone(), answer.into());
        match tokio::time::timeout(ACK_TIMEOUT, heard).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(QueueError(chain(&error))),
            Err(_) => Err(QueueError(format!("no answer in {} s", ACK_TIMEOUT.as_secs()))),
        }
    }

    /// Does something that nobody waits for. Also from outside of a runtime.
    pub fn beside(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.beside.spawn_on(work, &self.runtime);
    }

    /// Waits for what runs beside, and until everything is on its way.
    pub async fn finish(&self) -> Result<(), QueueError> {
        self.beside.close();
        self.beside.wait().await;
        self.require_connection()?;
        self.client.flush().await.map_err(|error| QueueError(chain(&error)))
    }
}

async fn options(config: &NatsConfig) -> Result<ConnectOptions, QueueError> {
    let mut options = ConnectOptions::new()
        .name("farm")
        .custom_inbox_prefix(config.answers_to())
        .max_reconnects(None)
        .ping_interval(PING_INTERVAL)
        .require_tls(config.tls_required)
        .reconnect_delay_callback(|tries| {
            let doubled = 50u64.saturating_mul(1 << tries.min(10));
            Duration::from_millis(doubled.min(LONGEST_RECONNECT_PAUSE_MS))
        });
    if let Some(login) = &config.login {
        options = options.user_and_password(login.user.clone(), login.password.clone());
    }
    if let Some(path) = &config.credentials_file {
        let unread = |error| QueueError(format!("credentials_file {}: {error}", path.display()));
        options = options.credentials_file(path).await.map_err(unread)?;
    }
    if let Some(path) = &config.tls_roots {
        options = options.add_root_certificates(path.clone());
    }
    if let (Some(certificate), Some(key)) = (&config.tls_certificate, &config.tls_key) {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    Ok(options)
}

fn note(event: &Event, up: &watch::Sender<bool>, servers: &str) {
    match event {
        Event::Connected => {
            up.send_replace(true);
            info!("connected to the broker");
        }
        Event::Disconnected => {
            up.send_replace(false);
            warn!(servers, "connection to the broker lost; `farm doctor --nats URL` says why");
        }
        Event::LameDuckMode | Event::SlowConsumer(_) | Event::ServerError(_) => warn!(%event, "broker"),
        Event::ClientError(_) | Event::Draining | Event::Closed => debug!(%event, "broker"),
    }
}

/// Why a broker can't be reached: a client that tries again and again does not tell.
async fn why_not(config: &NatsConfig) -> Result<String, QueueError> {
    let once = options(config).await?.connect(&config.urls);
    Ok(match tokio::time::timeout(ANSWER_TIMEOUT, once).await {
        Ok(Err(error)) => chain(&error),
        Ok(Ok(_)) | Err(_) => "no answer in time".to_owned(),
    })
}

fn unreachable(config: &NatsConfig, why: &str) -> QueueError {
    QueueError(format!("no broker at {}: {why}", servers(config)))
}

/// Where brokers are looked for.
fn servers(config: &NatsConfig) -> String {
    config.urls.iter().map(|url| without_login(url)).collect::<Vec<_>>().join(", ")
}

/// A URL may carry a password.
fn without_login(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        (None, Some((_, host))) => host.to_owned(),
        (_, None) => url.to_owned(),
    }
}

/// An error with what caused it.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_show_no_password() {
        assert_eq!(without_login("nats://user:pass@host:4222"), "nats://host:4222");
        assert_eq!(without_login("user:pass@host"), "host");
        assert_eq!(without_login("tls://host"), "tls://host");
    }
}
