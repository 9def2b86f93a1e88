//! The cluster's store: etcd, written by the coordinator that leads.
//!
//! ```text
//! <prefix>/leader               who leads, under a lease   (crate::lead)
//! <prefix>/job/<job>            the records, as in every store
//! <prefix>/task/<job>/<task>
//! <prefix>/hold/<worker>
//! ```
//!
//! A record that is too long for one value is stored in pieces ([`long`]).
//!
//! A revision is etcd's `mod_revision`. A commit is one transaction that compares the `mod_revision` of every key it
//! changes and the `create_revision` of the leader's key: who was deposed while it slept, or was cut off, is refused by
//! etcd itself, whatever it believes. A request without an answer is made again for as long as the term lasts. It may have
//! been carried out, and then the next one is refused; but nobody else writes in this term, so keys that all changed in
//! one revision changed by it.

mod connection;
mod long;
mod packing;

use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{
    Compare, CompareOp, DeleteOptions, GetOptions, ResponseHeader, Txn, TxnOp, TxnOpResponse, TxnResponse,
};
use prometheus::IntCounter;
use tracing::warn;

pub use connection::Etcd;
pub(crate) use connection::{RequestError, RequestErrorKind};

use super::{Change, LONGEST_RECORD, Revision, Store, StoreError, Stored, check_lengths};
use crate::lead::Guard;

/// Well below the 1.5 MiB that etcd takes in one request by default.
const LONGEST_VALUE: usize = 1 << 20;
/// Values of one transaction together, in bytes.
const LONGEST_PART: usize = LONGEST_VALUE + LONGEST_VALUE / 4;
/// Changes of one transaction: etcd's default limit is 128 comparisons, one of which is the guard.
const MOST_TOGETHER: usize = 127;
/// Records read at once.
const PAGE: usize = 256;
/// Pauses before asking again.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Records in etcd, for one term of one leader.
pub struct EtcdStore {
    etcd: Etcd,
    guard: Guard,
    refusals: IntCounter,
}

impl EtcdStore {
    /// For the leader of this term. Commits that are refused because it is over count in `refusals`.
    pub fn new(etcd: Etcd, guard: Guard, refusals: IntCounter) -> Self {
        Self { etcd, guard, refusals }
    }

    fn deposed(&self) -> StoreError {
        StoreError::Deposed { place: self.etcd.place().to_owned() }
    }

    /// Asks, unless the term is over.
    async fn in_term<T>(&self, ask: impl Future<Output = T>) -> Result<T, StoreError> {
        tokio::select! {
            biased;
            () = self.guard.over() => Err(self.deposed()),
            answer = ask => Ok(answer),
        }
    }

    /// Waits before a request is made again, longer each time; the error says that it must not be.
    async fn pause(&self, error: RequestError, pause: &mut Duration) -> Result<(), StoreError> {
        let RequestError { kind, reason } = error;
        if kind == RequestErrorKind::Final {
            return Err(StoreError::Unavailable { place: self.etcd.place().to_owned(), reason });
        }
        warn!(reason, "etcd does not answer; asking again");
        self.in_term(tokio::time::sleep(*pause)).await?;
        *pause = (*pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }

    async fn load_once(&self) -> Result<Vec<Stored>, RequestError> {
        let (mut from, end) = self.etcd.all_keys();
        let page = GetOptions::new().with_range(end).with_limit(PAGE as i64);
        let mut records = Vec::new();
        let mut revision = 0; // of the first page; 0 stands for the newest
        loop {
            let mut client = self.etcd.kv();
            let options = page.clone().with_revision(revision);
            let mut response = self.etcd.ask(client.get(from.as_slice(), Some(options))).await?;
            if revision == 0 {
                revision = response.header().map_or(0, |header| header.revision());
            }
            let more = response.more();
            for pair in response.take_kvs() {
                let revision = revision_of(pair.mod_revision());
                let (key, value) = pair.into_key_value();
                if key != self.guard.key().as_bytes() {
                    records.push(Stored { key: self.etcd.name(&key), revision, value });
                }
                from = key;
            }
            if !more {
                return Ok(records);
            }
            from.push(0); // right after the last one
        }
    }

    /// Stores the pieces of values that are too long; what is left of such a change says which they are.
    async fn store_pieces(&self, changes: &mut [Change]) -> Result<(), StoreError> {
        for Change { key, expected, value } in changes {
            let Some(long) = value.take_if(|value| value.len() > LONGEST_VALUE) else { continue };
            let (name, pieces) = (long::Pieces::of(&long, *expected), long.chunks(LONGEST_VALUE));
            for (number, piece) in pieces.enumerate() {
                let piece = TxnOp::put(self.etcd.key(&name.key(key, number)), piece, None);
                let guarded = Txn::new().when([self.leads()]).and_then([piece]).or_else([self.leader()]);
                self.carry_out(guarded, &[]).await?;
            }
            *value = Some(name.to_value());
        }
        Ok(())
    }

    /// Makes parts of a commit, each in one transaction.
    async fn commit_parts(&self, changes: &[Change]) -> Result<Vec<Revision>, StoreError> {
        let mut revisions = Vec::with_capacity(changes.len());
        for part in parts(changes) {
            let revision = self.carry_out(self.transaction(part), part).await?;
            revisions.extend(part.iter().map(|_| revision));
        }
        Ok(revisions)
    }

    /// Makes a transaction that holds these changes.
    async fn carry_out(&self, transaction: Txn, part: &[Change]) -> Result<Revision, StoreError> {
        let mut pause = FIRST_PAUSE;
        let mut tried = false;
        loop {
            let mut client = self.etcd.kv();
            let answer = self.in_term(self.etcd.ask(client.txn(transaction.clone()))).await?;
            match answer {
                Ok(answer) if answer.succeeded() => return Ok(newest(answer.header())),
                Ok(answer) => return self.refused(part, &answer, tried),
                Err(error) => self.pause(error, &mut pause).await?,
            }
            tried = true;
        }
    }

    /// This is still the term.
    fn leads(&self) -> Compare {
        Compare::create_revision(self.guard.key(), CompareOp::Equal, self.guard.created())
    }

    /// Who leads, if a transaction is refused.
    fn leader(&self) -> TxnOp {
        TxnOp::get(self.guard.key(), Some(GetOptions::new().with_keys_only()))
    }

    fn transaction(&self, part: &[Change]) -> Txn {
        let mut compares = vec![self.leads()];
        let mut otherwise = vec![self.leader()];
        let mut changes = Vec::with_capacity(part.len());
        for Change { key, expected, value } in part {
            let key = self.etcd.key(key);
            // A key that does not exist has revision 0.
            let expected = expected.map_or(0, |revision| i64::try_from(revision.0).unwrap_or(i64::MAX));
            compares.push(Compare::mod_revision(key.as_str(), CompareOp::Equal, expected));
            otherwise.push(TxnOp::get(key.as_str(), Some(GetOptions::new().with_keys_only())));
            changes.push(match value {
                Some(value) => TxnOp::put(key, value.as_slice(), None),
                None => {
                    let with_pieces = DeleteOptions::new().with_range(long::end(&key));
                    TxnOp::delete(key, Some(with_pieces))
                }
            });
        }
        Txn::new().when(compares).and_then(changes).or_else(otherwise)
    }

    /// Why a transaction was refused; it may be because it was made before.
    fn refused(&self, part: &[Change], answer: &TxnResponse, tried: bool) -> Result<Revision, StoreError> {
        let found = found(answer);
        let Some(((created, _), records)) = found.split_first() else { return Err(self.deposed()) };
        if *created != self.guard.created() {
            return Err(self.deposed());
        }
        if tried && let Some(revision) = made_before(part, records, newest(answer.header())) {
            return Ok(revision);
        }
        let expected = |change: &Change| change.expected.map_or(0, |revision| revision.0);
        let wrong = records.iter().zip(part).find(|((_, found), change)| revision_of(*found).0 != expected(change));
        let key = wrong.map_or_else(|| self.guard.key().to_owned(), |(_, change)| change.key.clone());
        Err(StoreError::Conflict { key })
    }
}

#[async_trait]
impl Store for EtcdStore {
    fn longest_record(&self) -> usize {
        LONGEST_RECORD
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.guard.holds() { Ok(()) } else { Err(self.deposed()) }
    }

    async fn load(&self) -> Result<Vec<Stored>, StoreError> {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.in_term(self.load_once()).await? {
                Ok(records) => return long::join(records)?.into_iter().map(unpacked).collect(),
                Err(error) => self.pause(error, &mut pause).await?,
            }
        }
    }

    async fn commit(&self, mut changes: Vec<Change>) -> Result<Vec<Revision>, StoreError> {
        check_lengths(&changes, LONGEST_RECORD)?;
        for change in &mut changes {
            let value = change.value.take().map(packing::pack).transpose();
            change.value = value.map_err(|error| damaged(&change.key, &error.to_string()))?;
        }
        let made = match self.store_pieces(&mut changes).await {
            Ok(()) => self.commit_parts(&changes).await,
            Err(error) => Err(error),
        };
        if let Err(StoreError::Deposed { .. }) = &made {
            self.refusals.inc();
        }
        made
    }
}

fn unpacked(Stored { key, revision, value }: Stored) -> Result<Stored, StoreError> {
    match packing::unpack(value) {
        Ok(value) => Ok(Stored { key, revision, value }),
        Err(error) => Err(damaged(&key, &error.to_string())),
    }
}

fn damaged(key: &str, reason: &str) -> StoreError {
    StoreError::Damaged { place: key.to_owned(), reason: reason.to_owned() }
}

/// As few parts as keep every limit of etcd, in order.
fn parts(mut changes: &[Change]) -> Vec<&[Change]> {
    let mut parts = Vec::new();
    while !changes.is_empty() {
        let mut size = 0;
        let fits = changes.iter().take(MOST_TOGETHER).take_while(|change| {
            size += change.key.len() + change.value.as_ref().map_or(0, Vec::len);
            size <= LONGEST_PART
        });
        let (part, rest) = changes.split_at(fits.count().max(1));
        parts.push(part);
        changes = rest;
    }
    parts
}

/// Revisions of creation and of the last change of the keys a refused transaction was about; 0 for those that are not
/// there.
fn found(answer: &TxnResponse) -> Vec<(i64, i64)> {
    let revisions = answer.op_responses().into_iter().map(|response| match response {
        TxnOpResponse::Get(get) => {
            get.kvs().first().map_or((0, 0), |pair| (pair.create_revision(), pair.mod_revision()))
        }
        _ => (0, 0),
    });
    revisions.collect()
}

/// The revision in which all changes of a part were made together, if they were.
fn made_before(part: &[Change], records: &[(i64, i64)], newest: Revision) -> Option<Revision> {
    let of = |kept: bool| {
        let chosen = part.iter().zip(records).filter(move |(change, _)| change.value.is_some() == kept);
        chosen.map(|(_, (_, revision))| *revision)
    };
    let written = of(true).next().map_or(newest, revision_of);
    let together = of(true).all(|revision| revision != 0 && revision_of(revision) == written);
    (together && of(false).all(|revision| revision == 0)).then_some(written)
}

/// The revision etcd was at when it answered.
fn newest(header: Option<&ResponseHeader>) -> Revision {
    revision_of(header.map_or(0, ResponseHeader::revision))
}

fn revision_of(revision: i64) -> Revision {
    Revision(revision.unsigned_abs()) // etcd counts up from 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(size: usize) -> Change {
        Change { key: "k".into(), expected: None, value: Some(vec![0; size]) }
    }

    #[test]
    fn parts_keep_the_limits_and_the_order() {
        let changes: Vec<Change> = (0..300).map(change).collect();
        let lengths: Vec<usize> = parts(&changes).iter().map(|part| part.len()).collect();
        assert_eq!(lengths, [127, 127, 46]);
        assert_eq!(parts(&changes).concat(), changes);
        let (long, short) = (LONGEST_VALUE, LONGEST_PART - LONGEST_VALUE - 2);
        let large: Vec<Change> = [long, short, 9, long, short].map(change).into();
        let lengths: Vec<usize> = parts(&large).iter().map(|part| part.len()).collect();
        assert_eq!(lengths, [2, 2, 1]);
        assert!(parts(&[]).is_empty());
    }
}
