//! What the coordinator hears: four sources, one at a time.

use std::sync::{Arc, Mutex, PoisonError};

use async_nats::Subscriber;
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::ledger::Ledger;
use super::link::{Link, chain};
use super::pull::ACK;
use super::tail::{Advisories, Reports, Tail};
use super::watch::{Known, Watch};
use crate::queue::{Incoming, QueueError};
use crate::wire::{WireError, decode_heartbeat, decode_report};

/// What may wait for the coordinator in memory.
const CAPACITY: usize = 256;

/// What the coordinator is told next, and the ids of the messages that it came in.
pub(super) type Heard = (Result<Incoming, QueueError>, Vec<String>);

/// Listens until it is dropped.
pub(super) struct Listener {
    link: Arc<Link>,
    ledger: Arc<Mutex<Ledger>>,
    inbox: tokio::sync::Mutex<Inbox>,
}

struct Inbox {
    heard: mpsc::Receiver<Heard>,
    /// Of what was told since; counts as handled when the next is waited for.
    told: Vec<String>,
    /// Aborted when dropped.
    sources: JoinSet<()>,
}

impl Listener {
    /// Begins to listen; an earlier coordinator hears no results any more.
    pub async fn start(link: Arc<Link>, known: Arc<Mutex<Known>>) -> Result<Self, QueueError> {
        let ledger = Arc::<Mutex<Ledger>>::default();
        let (out, heard) = mpsc::channel(CAPACITY);
        // The broker does things in order: once it answers the readers, it knows of these.
        let life = subscribe(&link, link.names.life("*")).await?;
        let workers = subscribe(&link, link.names.worker("*")).await?;
        let tail = |stream: &str| Tail::take_over(link.clone(), stream.to_owned(), ledger.clone(), out.clone());
        let reports = tail(&link.names.reports).await?;
        let advisories = tail(&link.names.advisories).await?;

        let mut sources = JoinSet::new();
        sources.spawn(reports.run(Reports::default()));
        sources.spawn(advisories.run(Advisories::new(link.clone())));
        let report = |bytes: &[u8]| decode_report(bytes).map(|report| Incoming::Report(Box::new(report)));
        sources.spawn(relay(life, report, out.clone()));
        let heartbeat = |bytes: &[u8]| decode_heartbeat(bytes).map(Incoming::Heartbeat);
        sources.spawn(relay(workers, heartbeat, out.clone()));
        sources.spawn(Watch::new(link.clone(), known, out).run());
        let inbox = Inbox { heard, told: Vec::new(), sources };
        Ok(Self { link, ledger, inbox: inbox.into() })
    }

    /// Waits for what comes next; what was returned before is acknowledged. Can be dropped and called again.
    pub async fn next(&self) -> Result<Incoming, QueueError> {
        let mut inbox = self.inbox.lock().await;
        while let Some(id) = inbox.told.pop() {
            acknowledge(&self.link, &self.ledger, id);
        }
        loop {
            let Inbox { heard, told, sources } = &mut *inbox;
            tokio::select! {
                biased;
                Some(ended) = sources.join_next() => if let Err(error) = ended {
                    return Err(QueueError(format!("a source of the coordinator ended: {error}")));
                },
                Some((incoming, ids)) = heard.recv() => {
                    *told = ids;
                    return incoming;
                }
                else => return Err(QueueError("nothing is heard any more".into())),
            }
        }
    }

    /// What has come besides; acknowledged together with what came before.
    pub fn more(&self) -> Result<Option<Incoming>, QueueError> {
        let Ok(mut inbox) = self.inbox.try_lock() else { return Ok(None) };
        let Ok((incoming, ids)) = inbox.heard.try_recv() else { return Ok(None) };
        inbox.told.extend(ids);
        incoming.map(Some)
    }
}

/// A lost ack is no harm: the message comes again and is known.
pub(super) fn acknowledge(link: &Arc<Link>, ledger: &Mutex<Ledger>, id: String) {
    let reply = ledger.lock().unwrap_or_else(PoisonError::into_inner).handle(id);
    if let Some(reply) = reply {
        confirm(link, reply);
    }
}

/// Acknowledges a delivery.
pub(super) fn confirm(link: &Arc<Link>, reply: async_nats::Subject) {
    let client = link.client.clone();
    link.beside(async move {
        if let Err(error) = client.publish(reply, ACK.into()).await {
            debug!(%error, "not acknowledged; it comes again");
        }
    });
}

async fn subscribe(link: &Link, subject: String) -> Result<Subscriber, QueueError> {
    link.client.subscribe(subject).await.map_err(|error| QueueError(chain(&error)))
}

async fn relay(mut from: Subscriber, read: impl Fn(&[u8]) -> Result<Incoming, WireError>, out: mpsc::Sender<Heard>) {
    while let Some(message) = from.next().await {
        match read(&message.payload) {
            Ok(incoming) => {
                if out.send((Ok(incoming), Vec::new())).await.is_err() {
                    return;
                }
            }
            Err(error) => warn!(subject = %message.subject, %error, "not understood"),
        }
    }
}
