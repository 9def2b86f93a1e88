//! What is true: records that survive the coordinator, as text keys and JSON values.
//!
//! ```text
//! job/<job>           spec, state, ladder, findings   (JobRecord)
//! task/<job>/<task>   work, state, accepted receipt   (TaskRecord)
//! hold/<worker>       why a worker is told to hold    (Hold)
//! ```
//!
//! A change says which revision of the record it was made from, and a commit with a change that was made from another
//! one is refused whole: that is all a second coordinator needs to be kept out by. One process, one file: the embedded
//! store ([`redb`]) is also the lock of its folder.

pub mod redb;

use async_trait::async_trait;

/// Longest value, in bytes. The longest there is, is a chunk with the most packet lists a plan may give it.
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
    /// More than [`LONGEST_RECORD`].
    #[error("record {key} would be {size} bytes long, the most is {LONGEST_RECORD}")]
    TooLong {
        /// Which record.
        key: String,
        /// Bytes.
        size: usize,
    },
}

/// Where the coordinator's records are. Durable: what a commit has returned survives a power cut.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// All records, by key.
    async fn load(&self) -> Result<Vec<Stored>, StoreError>;

    /// Makes all changes or none; returns the revision of the changed records.
    async fn commit(&self, changes: Vec<Change>) -> Result<Revision, StoreError>;
}
