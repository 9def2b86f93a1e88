//! Records that are too long for one value, such as the receipt of ten hours of sound in segments of two seconds.
//!
//! ```text
//! <key>                           pieces <count> of <revision>
//! <key> NUL <revision>-<number>   a piece
//! ```
//!
//! The pieces are stored first, the record's key last and in one transaction, so that a record is old or new and never half
//! of it. They are named after the revision that the change is made from: those that the stored record consists of are
//! never written again, and those that a leader left behind when it died are written by the next one. All of them go
//! with the record.

use std::collections::BTreeMap;

use super::{LONGEST_VALUE, damaged};
use crate::store::{Revision, StoreError, Stored};

/// A value that begins so stands for pieces. JSON never does.
pub const MARK: &str = "pieces ";
/// Between a record's key and what follows of its pieces'; no record's key has one.
const NUL: char = '\0';

/// The pieces of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pieces {
    count: usize,
    /// Of the record before; 0: there was none.
    from: u64,
}

impl Pieces {
    /// Those of a value that takes the place of the one of that revision.
    pub fn of(value: &[u8], from: Option<Revision>) -> Self {
        Self { count: value.len().div_ceil(LONGEST_VALUE), from: from.map_or(0, |revision| revision.0) }
    }

    /// Name of a piece; numbers begin at 0.
    pub fn key(self, record: &str, number: usize) -> String {
        format!("{record}{NUL}{:020}-{number:04}", self.from)
    }

    /// What the record's key holds.
    pub fn to_value(self) -> Vec<u8> {
        format!("{MARK}{} of {}", self.count, self.from).into()
    }

    /// The other way round; `None`: the value is the record.
    fn from_value(value: &[u8]) -> Option<Self> {
        let (count, from) = std::str::from_utf8(value).ok()?.strip_prefix(MARK)?.split_once(" of ")?;
        Some(Self { count: count.parse().ok()?, from: from.parse().ok()? })
    }
}

/// The end (exclusive) of a record's key and those of all its pieces.
pub fn end(key: &str) -> String {
    format!("{key}\u{1}")
}

/// Puts records together from what is stored.
pub fn join(stored: Vec<Stored>) -> Result<Vec<Stored>, StoreError> {
    let (pieces, mut records): (Vec<Stored>, Vec<Stored>) = stored.into_iter().partition(|one| one.key.contains(NUL));
    let pieces: BTreeMap<String, Vec<u8>> = pieces.into_iter().map(|piece| (piece.key, piece.value)).collect();
    for Stored { key, value, .. } in &mut records {
        let Some(long) = Pieces::from_value(value) else { continue };
        let parts: Option<Vec<&[u8]>> =
            (0..long.count).map(|number| pieces.get(&long.key(key, number)).map(Vec::as_slice)).collect();
        *value = parts.ok_or_else(|| damaged(key, "a piece of it is missing"))?.concat();
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(key: &str, value: &[u8]) -> Stored {
        Stored { key: key.to_owned(), revision: Revision(7), value: value.to_vec() }
    }

    #[test]
    fn records_come_together_from_the_pieces_that_are_theirs() {
        let long = Pieces { count: 2, from: 5 };
        let older = Pieces { count: 3, from: 4 };
        let mut all = vec![
            stored("job/a", b"{}"),
            stored("task/a", &long.to_value()),
            stored(&older.key("task/a", 0), b"x"),
            stored(&long.key("task/a", 0), b"1"),
            stored(&long.key("task/a", 1), b"2"),
            stored(&long.key("task/gone", 0), b"y"),
        ];
        assert_eq!(join(all.clone()).unwrap(), [stored("job/a", b"{}"), stored("task/a", b"12")]);
        all.remove(4);
        assert!(matches!(join(all), Err(StoreError::Damaged { place, .. }) if place == "task/a"));
    }

    #[test]
    fn no_other_key_lies_between_a_record_and_its_pieces() {
        let piece = Pieces { count: 9999, from: u64::MAX }.key("job/a", 9_998);
        assert!("job/a" < piece.as_str() && piece < end("job/a") && end("job/a").as_str() < "job/a ");
    }
}
