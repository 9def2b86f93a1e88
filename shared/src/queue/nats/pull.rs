//! One request for messages, and what it brings.
//!
//! Written here rather than taken from the client, whose streams of messages hide what has been lost on its way.

use std::time::Duration;

use async_nats::{Message, StatusCode, Subject, Subscriber};
use futures::StreamExt;
use serde_json::json;
use tokio::sync::watch;

use super::link::{ANSWER_TIMEOUT, Link, chain};
use crate::queue::QueueError;

/// How long the broker remembers a request that waits.
const EXPIRES: Duration = Duration::from_secs(30);
/// How often it says that it still does.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Without a word for so long it has forgotten.
const SILENCE: Duration = Duration::from_secs(11);

/// Where the messages come from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub stream: &'a str,
    pub consumer: &'a str,
}

/// What has come.
#[derive(Debug)]
pub(super) enum Pulled {
    /// A message, with the subject that its acks go to.
    Message(Message, Subject),
    /// All that was asked for has come, or nothing for now.
    Over,
    /// The request can't be relied on any more.
    Broken(String),
}

/// A request that the broker knows of. What comes after it was dropped is handed out again after `ack_wait`.
#[derive(Debug)]
pub(super) struct Pull {
    subscriber: Subscriber,
    changes: watch::Receiver<bool>,
    /// Messages that may still come.
    left: usize,
    silence: Duration,
}

impl Pull {
    /// Asks for a message that is there now.
    pub async fn now(link: &Link, source: Source<'_>) -> Result<Self, QueueError> {
        Self::request(link, source, 1, json!({ "batch": 1, "no_wait": true }), ANSWER_TIMEOUT).await
    }

    /// Asks for up to `batch` messages, as they come.
    pub async fn waiting(link: &Link, source: Source<'_>, batch: usize) -> Result<Self, QueueError> {
        let (expires, heartbeat) = (nanos(EXPIRES), nanos(HEARTBEAT));
        let request = json!({ "batch": batch, "expires": expires, "idle_heartbeat": heartbeat });
        Self::request(link, source, batch, request, SILENCE).await
    }

    async fn request(
        link: &Link,
        source: Source<'_>,
        batch: usize,
        request: serde_json::Value,
        silence: Duration,
    ) -> Result<Self, QueueError> {
        link.require_connection()?;
        let changes = link.changes();
        let inbox = link.client.new_inbox();
        let failed = |error: &(dyn std::error::Error + 'static)| QueueError(format!("pull: {}", chain(error)));
        let subscriber = link.client.subscribe(inbox.clone()).await.map_err(|error| failed(&error))?;
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", source.stream, source.consumer);
        let sent = link.client.publish_with_reply(subject, inbox, request.to_string().into()).await;
        sent.map_err(|error| failed(&error))?;
        Ok(Self { subscriber, changes, left: batch, silence })
    }

    /// Waits for what comes next. Can be dropped and called again.
    pub async fn next(&mut self) -> Pulled {
        while self.left > 0 {
            let message = tokio::select! {
                biased;
                message = self.subscriber.next() => message,
                _ = self.changes.changed() => return Pulled::Broken("the connection was lost".into()),
                () = tokio::time::sleep(self.silence) => return Pulled::Broken("the broker is silent".into()),
            };
            let Some(message) = message else {
                self.left = 0;
                return Pulled::Broken("the connection is closed".into());
            };
            match (message.status, message.reply.clone()) {
                (Some(StatusCode::IDLE_HEARTBEAT), _) => {}
                (None, Some(reply)) => {
                    self.left -= 1;
                    return Pulled::Message(message, reply);
                }
                (status, _) => {
                    self.left = 0;
                    return ended(status, message.description.unwrap_or_default());
                }
            }
        }
        Pulled::Over
    }
}

fn ended(status: Option<StatusCode>, description: String) -> Pulled {
    match status {
        Some(StatusCode::NOT_FOUND | StatusCode::TIMEOUT) => Pulled::Over,
        Some(StatusCode::NO_RESPONDERS) => Pulled::Broken("there is no such consumer".into()),
        Some(status) => Pulled::Broken(format!("{status} {description}")),
        None => Pulled::Broken("a message without a reply".into()),
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The delivery has been dealt with.
pub(super) const ACK: &str = "+ACK";
/// Hand it to somebody else now.
pub(super) const NAK: &str = "-NAK";
/// It is being dealt with.
pub(super) const IN_PROGRESS: &str = "+WPI";
/// Hand it to nobody; why follows.
pub(super) const TERMINATE: &str = "+TERM";
