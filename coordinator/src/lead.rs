//! Who of several coordinators decides: the one whose key is in etcd.
//!
//! ```text
//! follow ──── the key is gone ───→ campaign ──── mine ───→ term ──── lease lost, or resigned ───→ follow
//! ```
//!
//! The key lives as long as a lease. The leader counts its lease from the moment it asked for it, so its term is over
//! before etcd gives the key to anybody else; if its clock or its process stands still meanwhile, etcd refuses what it
//! writes ([`Guard`]). Streams of etcd's client don't reconnect, so none is relied on: the lease is kept by asking again
//! and again, and the watch only wakes up whoever then reads the key.

use std::time::Duration;

use etcd_client::{Compare, CompareOp, KeyValue, PutOptions, Txn, TxnOp};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::store::etcd::{Etcd, RequestError, RequestErrorKind};

/// The name of the leader's key.
const LEADER: &str = "leader";
/// The key is read at least so often, should a watch have missed something.
const READ_AGAIN: Duration = Duration::from_secs(1);
/// Pause after etcd could not be asked.
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// A lease is kept this often in its life.
const KEEPS: u32 = 3;

/// What every write of a term is compared with.
#[derive(Debug, Clone)]
pub struct Guard {
    key: String,
    created: i64,
    over: CancellationToken,
    /// The lease may run out then.
    until: watch::Receiver<Instant>,
}

impl Guard {
    /// The leader's key.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// Its `create_revision` in this term; every other term has another one.
    pub(crate) fn created(&self) -> i64 {
        self.created
    }

    /// Whether this is still the term, by the clock: known sooner than by [`Self::over`], when the process stood still.
    pub fn holds(&self) -> bool {
        !self.over.is_cancelled() && Instant::now() < *self.until.borrow()
    }

    /// Waits until the term is over.
    pub async fn over(&self) {
        self.over.cancelled().await;
    }

    /// Cancelled when the term is over.
    pub fn token(&self) -> CancellationToken {
        self.over.clone()
    }
}

/// The time in which this coordinator leads. Dropped, the lease is not kept any longer, and the term is over.
#[derive(Debug)]
pub struct Term {
    guard: Guard,
    _keeper: JoinSet<()>,
}

impl Term {
    /// For the store.
    pub fn guard(&self) -> Guard {
        self.guard.clone()
    }
}

impl Drop for Term {
    fn drop(&mut self) {
        self.guard.over.cancel();
    }
}

/// A coordinator that wants to lead.
pub struct Candidate {
    etcd: Etcd,
    address: String,
    ttl: Duration,
    lease: Option<i64>, // of the current or the last term, until it is given back
}

impl Candidate {
    /// Others will find this coordinator at `address` while it leads; it is followed `ttl` after it has died. etcd
    /// counts in whole seconds and makes short leases longer.
    pub fn new(etcd: Etcd, address: String, ttl: Duration) -> Self {
        Self { etcd, address, ttl, lease: None }
    }

    /// Waits until this coordinator leads; while etcd does not answer, for that too.
    pub async fn campaign(&mut self) -> Term {
        loop {
            match self.try_to_lead().await {
                Ok(Seen::Mine(term)) => return term,
                Ok(Seen::Free) => {}
                Ok(Seen::Other { revision }) => {
                    self.etcd.wait_for_change(&self.etcd.key(LEADER), revision, READ_AGAIN).await;
                }
                Err(error) => {
                    warn!(%error, "etcd can't be asked who leads");
                    sleep(ASK_AGAIN).await;
                }
            }
        }
    }

    /// Gives the lease back, so that somebody else can lead at once. Without an answer from etcd it runs out by itself.
    pub async fn resign(&mut self) {
        if let Err(error) = self.give_back().await {
            warn!(%error, "the lease runs out by itself");
        }
    }

    async fn give_back(&mut self) -> Result<(), RequestError> {
        let Some(lease) = self.lease else { return Ok(()) };
        let mut client = self.etcd.client();
        match self.etcd.ask(client.lease_revoke(lease)).await {
            Ok(_) => {}
            Err(error) if error.kind == RequestErrorKind::LeaseGone => {}
            Err(error) => return Err(error),
        }
        self.lease = None;
        Ok(())
    }

    async fn try_to_lead(&mut self) -> Result<Seen, RequestError> {
        self.give_back().await?; // of a term that is over, or of a campaign that was lost
        let (leader, revision) = read(&self.etcd).await?;
        if leader.is_some() {
            return Ok(Seen::Other { revision });
        }
        let asked = Instant::now();
        let mut client = self.etcd.client();
        let ttl_s = i64::try_from(self.ttl.as_secs()).unwrap_or(i64::MAX).max(1);
        let lease = self.etcd.ask(client.lease_grant(ttl_s, None)).await?;
        self.lease = Some(lease.id());
        let ttl = Duration::from_secs(lease.ttl().unsigned_abs());
        let key = self.etcd.key(LEADER);
        let free = Compare::create_revision(key.as_str(), CompareOp::Equal, 0);
        let take = TxnOp::put(key.as_str(), self.address.as_str(), Some(PutOptions::new().with_lease(lease.id())));
        // Whether it was made is read: without an answer, too.
        let made = self.etcd.ask(client.txn(Txn::new().when([free]).and_then([take]))).await;
        let (leader, _) = read(&self.etcd).await?;
        match leader.filter(|leader| leader.lease() == lease.id()) {
            Some(mine) => Ok(Seen::Mine(self.begin(&mine, ttl, asked))),
            None => made.map(|_| Seen::Free),
        }
    }

    fn begin(&self, key: &KeyValue, ttl: Duration, asked: Instant) -> Term {
        let over = CancellationToken::new();
        let (until, known) = watch::channel(asked + ttl);
        let (key_name, created) = (self.etcd.key(LEADER), key.create_revision());
        let guard = Guard { key: key_name, created, over: over.clone(), until: known };
        info!(term = guard.created, "this coordinator leads");
        let mut keeper = JoinSet::new();
        keeper.spawn(keep(self.etcd.clone(), key.lease(), ttl, until, over));
        Term { guard, _keeper: keeper }
    }
}

/// What a look at the leader's key has shown.
enum Seen {
    Mine(Term),
    Free,
    Other { revision: i64 },
}

/// Keeps a lease for as long as etcd lets it; then the term is over.
async fn keep(etcd: Etcd, lease: i64, ttl: Duration, known: watch::Sender<Instant>, over: CancellationToken) {
    let mut until = *known.borrow();
    let mut next = until - ttl + ttl / KEEPS;
    let reason = loop {
        sleep_until(next.min(until)).await;
        let asked = Instant::now();
        let mut client = etcd.client();
        match timeout_at(until, etcd.ask(client.lease_keep_alive(lease))).await {
            // The stream is dropped: one question, one answer.
            Ok(Ok(_)) => {
                (until, next) = (asked + ttl, asked + ttl / KEEPS);
                known.send_replace(until);
            }
            Ok(Err(error)) if error.kind == RequestErrorKind::LeaseGone => break error.reason,
            Ok(Err(error)) => {
                warn!(%error, "the lease could not be kept; trying again");
                next = Instant::now() + ASK_AGAIN;
            }
            Err(_) => break "etcd did not answer in time".to_owned(),
        }
        if Instant::now() >= until {
            break "it ran out".to_owned();
        }
    };
    warn!(reason, "the lease is lost: this coordinator does not lead any more");
    over.cancel();
}

/// Keeps `leader` at the address of the coordinator that leads; `None` while nobody does. Never ends. While etcd does not
/// answer, the last one stays.
pub async fn follow(etcd: Etcd, leader: watch::Sender<Option<String>>) {
    loop {
        match read(&etcd).await {
            Ok((key, revision)) => {
                let address = key.map(|key| String::from_utf8_lossy(key.value()).into_owned());
                leader.send_if_modified(|known| {
                    let changed = *known != address;
                    *known = address;
                    changed
                });
                etcd.wait_for_change(&etcd.key(LEADER), revision, READ_AGAIN).await;
            }
            Err(error) => {
                warn!(%error, "etcd can't be asked who leads");
                sleep(ASK_AGAIN).await;
            }
        }
    }
}

/// The leader's key, and the revision it was read at.
async fn read(etcd: &Etcd) -> Result<(Option<KeyValue>, i64), RequestError> {
    let mut client = etcd.kv();
    let mut response = etcd.ask(client.get(etcd.key(LEADER), None)).await?;
    let revision = response.header().map_or(0, |header| header.revision());
    Ok((response.take_kvs().pop(), revision))
}
