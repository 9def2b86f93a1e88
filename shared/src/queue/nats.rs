//! The queue on NATS JetStream.
//!
//! | file | holds |
//! |---|---|
//! | `nats/config.rs` | what is said of a broker |
//! | `nats/link.rs` | the connection, and whether the broker can be trusted |
//! | `nats/streams.rs` | subjects, streams, consumers and their settings |
//! | `nats/pull.rs` | one request for messages |
//! | `nats/tasks.rs` | tasks: pushed, pulled, answered for |
//! | `nats/reports.rs` | reports: sent, in parts if they are long |
//! | `nats/listener.rs` | what the coordinator hears |
//! | `nats/tail.rs` | reading results and advisories in order |
//! | `nats/ledger.rs` | what has come twice |
//! | `nats/watch.rs` | depth and loss |
//! | `nats/backoff.rs` | pauses |
//!
//! A broker that is away for a while ends nobody: workers go on with what they have and keep their results until it is
//! back, pulls wait, the coordinator's pushes fail and are tried again by its rules. Price: a worker whose broker never
//! comes back waits for ever; whoever runs it sees that by its heartbeats.

mod backoff;
mod config;
mod ledger;
mod link;
mod listener;
mod pull;
mod reports;
mod streams;
mod tail;
mod tasks;
mod watch;

use std::sync::{Arc, Mutex, PoisonError};

use async_nats::Subscriber;
use async_trait::async_trait;
use futures::StreamExt;
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub use config::{Login, NatsConfig};

use super::{Delivery, Incoming, Queue, QueueError};
use crate::fleet::{Class, Directive, Heartbeat, Lane};
use crate::task::{Task, TaskReport};
use crate::wire::{decode_directive, encode_directive, encode_heartbeat};
use link::{Link, chain};
use listener::Listener;
use watch::Known;

/// A queue on a broker, for a coordinator or a worker. A coordinator that decides is the only one that hears results:
/// [`Queue::open`] takes them away from whoever had them, who then gets an error.
pub struct NatsQueue {
    link: Arc<Link>,
    /// By class.
    pullers: [tasks::Puller; Class::ALL.len()],
    closed: CancellationToken,
    sender: Arc<reports::Sender>,
    known: Arc<Mutex<Known>>,
    /// `None` until it is opened.
    listener: Mutex<Option<Arc<Listener>>>,
    /// `None` until directives are asked for.
    directives: tokio::sync::Mutex<Option<Subscriber>>,
}

impl NatsQueue {
    /// Connects to the first server that answers.
    pub async fn connect(config: &NatsConfig) -> Result<Self, QueueError> {
        Ok(Self::over(Link::connect(config).await?, Arc::default()))
    }

    /// One more worker over the same connection: it waits for tasks in a line of its own.
    pub fn another(&self) -> Self {
        Self::over(self.link.clone(), self.sender.clone())
    }

    /// All that send over one connection number their reports together.
    fn over(link: Arc<Link>, sender: Arc<reports::Sender>) -> Self {
        Self {
            pullers: Class::ALL.map(|class| tasks::Puller::new(link.clone(), class)),
            link,
            closed: CancellationToken::new(),
            sender,
            known: Arc::default(),
            listener: Mutex::default(),
            directives: tokio::sync::Mutex::default(),
        }
    }

    /// Whether there is a broker now, and one that can be trusted.
    pub async fn check(&self) -> Result<(), QueueError> {
        self.link.require_connection()?;
        self.link.check_broker().await
    }

    /// Waits until all that was said, and what was given back, is on its way. Call it last.
    pub async fn finish(&self) -> Result<(), QueueError> {
        self.link.finish().await
    }

    fn listener(&self) -> Option<Arc<Listener>> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Queue for NatsQueue {
    async fn open(&self) -> Result<bool, QueueError> {
        self.link.check_broker().await?;
        let (tasks, existed) = self.link.ensure().await?;
        self.known.lock().unwrap_or_else(PoisonError::into_inner).see(&tasks);
        let listener = Listener::start(self.link.clone(), self.known.clone()).await?;
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(listener));
        Ok(existed)
    }

    async fn push(&self, task: Task, lane: Lane) -> Result<(), QueueError> {
        let place = tasks::push(&self.link, &task, lane).await?;
        self.known.lock().unwrap_or_else(PoisonError::into_inner).push(place);
        Ok(())
    }

    async fn clear(&self, class: Class) -> Result<(), QueueError> {
        tasks::clear(&self.link, class).await
    }

    async fn next_incoming(&self) -> Result<Option<Incoming>, QueueError> {
        let listener = self.listener().ok_or_else(|| QueueError("not opened".into()))?;
        tokio::select! {
            biased;
            () = self.closed.cancelled() => Ok(None),
            incoming = listener.next() => incoming.map(Some),
        }
    }

    fn more_incoming(&self) -> Result<Option<Incoming>, QueueError> {
        self.listener().map_or(Ok(None), |listener| listener.more())
    }

    async fn direct(&self, directive: Directive) -> Result<(), QueueError> {
        self.link.say(self.link.names.direct(), encode_directive(&directive)).await
    }

    async fn pull(&self, class: Class) -> Result<Option<Box<dyn Delivery>>, QueueError> {
        tokio::select! {
            biased;
            () = self.closed.cancelled() => Ok(None),
            delivery = self.pullers[class as usize].next() => Ok(Some(delivery)),
        }
    }

    async fn report(&self, report: TaskReport) -> Result<(), QueueError> {
        self.sender.send(&self.link, &report).await
    }

    async fn beat(&self, heartbeat: Heartbeat) -> Result<(), QueueError> {
        let subject = self.link.names.worker(heartbeat.worker.as_str());
        self.link.say(subject, encode_heartbeat(&heartbeat)).await
    }

    async fn next_directive(&self) -> Result<Option<Directive>, QueueError> {
        let mut directives = self.directives.lock().await;
        let subscriber = match &mut *directives {
            Some(subscriber) => subscriber,
            unasked => {
                let subscribed = self.link.client.subscribe(self.link.names.direct()).await;
                unasked.insert(subscribed.map_err(|error| QueueError(chain(&error)))?)
            }
        };
        loop {
            let message = tokio::select! {
                biased;
                () = self.closed.cancelled() => return Ok(None),
                message = subscriber.next() => message,
            };
            let Some(message) = message else { return Err(QueueError("the connection is closed".into())) };
            match decode_directive(&message.payload) {
                Ok(directive) => return Ok(Some(directive)),
                Err(error) => warn!(%error, "a directive can't be read"),
            }
        }
    }

    fn close(&self) {
        self.closed.cancel();
    }
}
