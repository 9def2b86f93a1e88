//! Reads a stream to its end and on, in order, as the only one.
//!
//! A reader has a consumer of its own. Whoever takes over deletes the consumer of whoever read before and makes a new one,
//! which begins with the oldest message that is not acknowledged; nothing waits for `ack_wait`. The same happens after
//! every disturbance, so order never depends on what the broker sends twice.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use async_nats::jetstream;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use async_nats::{Message, Subject};
use async_trait::async_trait;
use futures::TryStreamExt;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{error, warn};

use super::backoff::Backoff;
use super::ledger::{Arrival, Ledger};
use super::link::{Link, chain};
use super::listener::{Heard, acknowledge, confirm};
use super::pull::{Pull, Pulled, Source};
use super::reports::Assembly;
use super::streams::reader;
use super::tasks::{id_of, parse_message_id};
use crate::fleet::AttemptRef;
use crate::queue::{Incoming, QueueError};
use crate::wire::decode_report;

/// Messages asked for at once.
const BATCH: usize = 64;

/// Makes of a stream's messages what the coordinator is told.
#[async_trait]
pub(super) trait Interpret: Send + 'static {
    /// What is told, if anything, and the ids of the messages that are handled with it.
    async fn read(&mut self, message: &Message, id: String) -> (Option<Incoming>, Vec<String>);
}

/// The only reader of a stream.
pub(super) struct Tail {
    link: Arc<Link>,
    stream: String,
    ledger: Arc<Mutex<Ledger>>,
    out: mpsc::Sender<Heard>,
    /// What the names of its consumers begin with.
    reader: String,
    consumer: String,
    consumers: u64,
}

/// Why reading stops.
enum Stop {
    /// Begin again.
    Broken(QueueError),
    /// Somebody else reads.
    Displaced,
    /// Nobody listens.
    Unheard,
}

impl From<QueueError> for Stop {
    fn from(error: QueueError) -> Self {
        Self::Broken(error)
    }
}

impl Tail {
    /// Becomes the only reader.
    pub async fn take_over(
        link: Arc<Link>,
        stream: String,
        ledger: Arc<Mutex<Ledger>>,
        out: mpsc::Sender<Heard>,
    ) -> Result<Self, QueueError> {
        let token = link.client.new_inbox();
        let reader = format!("reader-{}-", token.rsplit('.').next().unwrap_or_default());
        let mut tail = Self { link, stream, ledger, out, reader, consumer: String::new(), consumers: 0 };
        for consumer in tail.consumers().await? {
            tail.delete(&consumer).await?;
        }
        tail.make_consumer().await?;
        Ok(tail)
    }

    async fn consumers(&self) -> Result<Vec<String>, QueueError> {
        let stream = self.link.jetstream.get_stream_no_info(&self.stream).await;
        let stream = stream.map_err(|error| self.failed(&error))?;
        stream.consumer_names().try_collect().await.map_err(|error| self.failed(&error))
    }

    async fn delete(&self, consumer: &str) -> Result<(), QueueError> {
        let deleted = self.link.jetstream.delete_consumer_from_stream(consumer, &self.stream).await;
        deleted.map(|_| ()).map_err(|error| self.failed(&error))
    }

    async fn make_consumer(&mut self) -> Result<(), QueueError> {
        self.consumers += 1;
        self.consumer = format!("{}{}", self.reader, self.consumers);
        self.link.ensure_consumer(reader(self.consumer.clone(), &self.link.config), &self.stream).await
    }

    fn failed(&self, error: &(dyn std::error::Error + 'static)) -> QueueError {
        QueueError(format!("stream {}: {}", self.stream, chain(error)))
    }

    /// Reads until somebody else does.
    pub async fn run(mut self, mut interpret: impl Interpret) {
        let mut backoff = Backoff::default();
        let mut stop = self.read(&mut interpret, &mut backoff).await;
        loop {
            match stop {
                Stop::Unheard => return,
                Stop::Displaced => {
                    let error = QueueError(format!("another coordinator reads {} now", self.stream));
                    // The coordinator may have ended meanwhile.
                    let _ = self.out.send((Err(error), Vec::new())).await;
                    return;
                }
                Stop::Broken(error) => backoff.pause("results are not read", &error).await,
            }
            stop = match self.begin_again().await {
                Ok(()) => self.read(&mut interpret, &mut backoff).await,
                Err(stop) => stop,
            };
        }
    }

    /// A new consumer, unless somebody else has one.
    async fn begin_again(&mut self) -> Result<(), Stop> {
        for consumer in self.consumers().await? {
            if !consumer.starts_with(&self.reader) {
                return Err(Stop::Displaced);
            }
            self.delete(&consumer).await?;
        }
        Ok(self.make_consumer().await?)
    }

    /// Reads what its consumer brings, until something is wrong.
    async fn read(&self, interpret: &mut impl Interpret, backoff: &mut Backoff) -> Stop {
        let Err(stop) = self.try_read(interpret, backoff).await;
        stop
    }

    async fn try_read(&self, interpret: &mut impl Interpret, backoff: &mut Backoff) -> Result<Infallible, Stop> {
        let mut expected = 1;
        loop {
            let source = Source { stream: &self.stream, consumer: &self.consumer };
            let mut pull = Pull::waiting(&self.link, source, BATCH).await?;
            loop {
                match pull.next().await {
                    Pulled::Over => break,
                    Pulled::Broken(why) => return Err(QueueError(why).into()),
                    Pulled::Message(message, reply) => {
                        let message = jetstream::Message { message, context: self.link.jetstream.clone() };
                        let info = message.info().map_err(|error| QueueError(error.to_string()))?;
                        if info.consumer_sequence != expected {
                            return Err(QueueError("a message was lost on its way".into()).into());
                        }
                        expected += 1;
                        // A stream that is made anew counts from 1 again.
                        let (at, made) = (info.stream_sequence, info.published.unix_timestamp_nanos());
                        let id = format!("{}.{at}.{made}", self.stream);
                        self.take(interpret, message.message, id, reply).await?;
                        backoff.reset();
                    }
                }
            }
        }
    }

    async fn take(
        &self,
        interpret: &mut impl Interpret,
        message: Message,
        place: String,
        reply: Subject,
    ) -> Result<(), Stop> {
        let id = id_of(&message).map_or(place, str::to_owned);
        let arrival = self.ledger.lock().unwrap_or_else(PoisonError::into_inner).arrived(&id, reply.clone());
        match arrival {
            Arrival::Waiting => return Ok(()),
            Arrival::Handled => {
                confirm(&self.link, reply);
                return Ok(());
            }
            Arrival::New => {}
        }
        let (incoming, ids) = interpret.read(&message, id).await;
        match incoming {
            Some(incoming) => self.out.send((Ok(incoming), ids)).await.map_err(|_| Stop::Unheard),
            None => {
                ids.into_iter().for_each(|id| acknowledge(&self.link, &self.ledger, id));
                Ok(())
            }
        }
    }
}

/// The stream of results.
#[derive(Default)]
pub(super) struct Reports {
    assembly: Assembly,
}

#[async_trait]
impl Interpret for Reports {
    async fn read(&mut self, message: &Message, id: String) -> (Option<Incoming>, Vec<String>) {
        let Some((bytes, ids)) = self.assembly.take(message, id) else {
            return (None, self.assembly.give_up(Instant::now()));
        };
        match decode_report(&bytes) {
            Ok(report) => (Some(Incoming::Report(Box::new(report))), ids),
            Err(error) => {
                error!(%error, "a report can't be read; dropped");
                (None, ids)
            }
        }
    }
}

/// What the broker says of tasks that it gives up.
pub(super) struct Advisories {
    link: Arc<Link>,
}

/// `MAX_DELIVERIES` and `MSG_TERMINATED`, as much as is needed of them.
#[derive(Debug, Deserialize)]
struct Advisory {
    timestamp: String,
    stream_seq: u64,
    /// What the worker said that refused it: the message's id.
    reason: Option<String>,
}

impl Advisories {
    pub fn new(link: Arc<Link>) -> Self {
        Self { link }
    }

    /// Which attempt it is about. A message that was delivered too often stays in the stream until it is deleted here.
    async fn attempt(&self, advisory: &Advisory) -> Result<Option<AttemptRef>, QueueError> {
        if let Some(attempt) = advisory.reason.as_deref().and_then(parse_message_id) {
            return Ok(Some(attempt));
        }
        let failed = |error: &(dyn std::error::Error + 'static)| QueueError(chain(error));
        let tasks = self.link.jetstream.get_stream_no_info(&self.link.names.tasks).await;
        let tasks = tasks.map_err(|error| failed(&error))?;
        let message = match tasks.get_raw_message(advisory.stream_seq).await {
            Ok(message) => message,
            Err(error) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => return Ok(None),
                LastRawMessageErrorKind::JetStream(error) if error.code() == 404 => return Ok(None),
                _ => return Err(failed(&error)),
            },
        };
        let said = async_nats::datetime::parse_rfc3339(&advisory.timestamp).ok();
        if said.is_none_or(|said| message.time > said) {
            return Ok(None); // the stream was made anew since, and this is another message
        }
        if let Err(error) = tasks.delete_message(advisory.stream_seq).await {
            warn!(%error, stream_seq = advisory.stream_seq, "a task that was given up stays in its stream");
        }
        let id = message.headers.get(async_nats::header::NATS_MESSAGE_ID);
        Ok(id.and_then(|id| parse_message_id(id.as_str())))
    }
}

#[async_trait]
impl Interpret for Advisories {
    async fn read(&mut self, message: &Message, id: String) -> (Option<Incoming>, Vec<String>) {
        let advisory: Advisory = match serde_json::from_slice(&message.payload) {
            Ok(advisory) => advisory,
            Err(error) => {
                error!(%error, subject = %message.subject, "an advisory can't be read");
                return (None, vec![id]);
            }
        };
        let mut backoff = Backoff::default();
        loop {
            match self.attempt(&advisory).await {
                Ok(Some(attempt)) => return (Some(Incoming::Undeliverable(attempt)), vec![id]),
                Ok(None) => {
                    warn!(?advisory, "the broker gave up a message that is no attempt, or is gone");
                    return (None, vec![id]);
                }
                Err(error) => backoff.pause("a task that was given up is not known", &error).await,
            }
        }
    }
}
