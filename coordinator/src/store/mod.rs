//! What is true: records that survive the coordinator, as text keys and JSON values.
//!
//! ```text
//! job/<job>           spec, state, ladder, findings   (JobRecord)
//! task/<job>/<task>   work, state, accepted receipt   (TaskRecord)
//! hold/<worker>       why a worker is told to hold    (Hold)
//! ```
//!
//! A change says which revision of the record it was made from, and a commit with a change that was made from another
//! one is refused. The embedded store ([`redb`]) is one file of one process, and the lock of its folder. The cluster's
//! (`etcd`) takes changes from the coordinator that leads and from nobody else: [`StoreError::Deposed`].

#[cfg(feature = "cluster")]
pub mod etcd;
pub mod redb;

use async_trait::async_trait;

/// Longest record of both stores, in bytes: room for the packet lists of any chunk that a plan may have, and for the receipt
/// of some 60,000 segments.
pub const LONGEST_RECORD: usize = 16 << 20;

/// Grows with every commit; no two have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// A record and when it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Which record.
    pub key: String,
    /// The commit that wrote it.
    pub revision: Revision,
    /// Its content.
    pub value: Vec<u8>,
}

/// One change of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which record.
    pub key: String,
    /// The revision it is made from; `None`: there is no such record.
    pub expected: Option<Revision>,
    /// The new content; `None` removes the record.
    pub value: Option<Vec<u8>>,
}

/// The store can't be used, or said no.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it.
    #[error("another farm is running on {place}: stop it, or wait until it has ended")]
    Locked {
        /// Which store.
        place: String,
    },
    /// Its content is not what this store writes.
    #[error("{place} is damaged or not a farm's state ({reason}): start again with --fresh")]
    Damaged {
        /// Which store.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// It can't be read or written.
    #[error("{place}: {reason}")]
    Unavailable {
        /// Which store.
        place: String,
        /// Why.
        reason: String,
    },
    /// The record is not what the change was made from: somebody else writes here.
    #[error("record {key} was changed by somebody else")]
    Conflict {
        /// Which record.
        key: String,
    },
    /// More than [`Store::longest_record`].
    #[error("record {key} would be {size} bytes long, the most is {most}")]
    TooLong {
        /// Which record.
        key: String,
        /// Bytes.
        size: usize,
        /// Bytes.
        most: usize,
    },
    /// This coordinator does not lead any more, so nothing it asks for is written.
    #[error("{place}: this coordinator does not lead any more")]
    Deposed {
        /// Which store.
        place: String,
    },
}

/// Where the coordinator's records are. Durable: what a commit has returned survives a power cut.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Longest value it takes, in bytes.
    fn longest_record(&self) -> usize;

    /// Whether this process still decides. To be asked before what nobody refuses: a message, an object.
    ///
    /// # Errors
    /// [`StoreError::Deposed`].
    fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// All records, by key.
    async fn load(&self) -> Result<Vec<Stored>, StoreError>;

    /// Makes all changes, each of another record; returns the revision of each record, in the order of the changes.
    ///
    /// Either all are made or, with an error, none. A store that can make only so many at once makes more of them in
    /// parts, in the order they are given: a process that dies in between leaves a beginning of the list behind. So
    /// whoever commits puts first what may stand without the rest.
    async fn commit(&self, changes: Vec<Change>) -> Result<Vec<Revision>, StoreError>;
}

/// Refuses changes that are too long for the store.
fn check_lengths(changes: &[Change], most: usize) -> Result<(), StoreError> {
    let size = |change: &Change| change.value.as_ref().map_or(0, Vec::len);
    match changes.iter().find(|change| size(change) > most) {
        Some(change) => Err(StoreError::TooLong { key: change.key.clone(), size: size(change), most }),
        None => Ok(()),
    }
}
