//! What the next commit will change.

use std::collections::BTreeMap;

use crate::store::{Change, Revision};

/// Records to write and to remove, in the order the core gave them: of a commit that the store makes in parts, every
/// beginning is a state to go on from.
#[derive(Debug, Default)]
pub(super) struct Pending {
    records: BTreeMap<String, Record>,
}

#[derive(Debug)]
struct Record {
    place: usize,
    value: Option<Vec<u8>>,
}

impl Pending {
    /// Writes a record. One that is written twice stands where it was first, with its last content.
    pub(super) fn put(&mut self, key: String, value: Vec<u8>) {
        self.set(key, Some(value));
    }

    /// Removes a record, if there is one.
    pub(super) fn remove(&mut self, key: String) {
        self.set(key, None);
    }

    fn set(&mut self, key: String, value: Option<Vec<u8>>) {
        let place = self.records.len();
        self.records.entry(key).or_insert(Record { place, value: None }).value = value;
    }

    /// The changes, made from these revisions.
    pub(super) fn into_changes(self, revisions: &BTreeMap<String, Revision>) -> Vec<Change> {
        let mut records: Vec<(String, Record)> = self.records.into_iter().collect();
        records.sort_by_key(|(_, record)| record.place);
        let changes = records.into_iter().map(|(key, Record { value, .. })| {
            let expected = revisions.get(&key).copied();
            Change { key, expected, value }
        });
        changes.filter(|change| change.value.is_some() || change.expected.is_some()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_stand_in_the_order_they_were_given() {
        let mut pending = Pending::default();
        pending.put("task/k/video-0".into(), vec![1]);
        pending.remove("hold/never-saved".into());
        pending.remove("hold/saved".into());
        pending.put("job/k".into(), vec![2]);
        pending.put("task/k/video-0".into(), vec![3]);
        let revisions = BTreeMap::from([("hold/saved".to_owned(), Revision(5))]);
        let changes = pending.into_changes(&revisions);
        let short: Vec<_> = changes.iter().map(|c| (c.key.as_str(), c.expected, c.value.clone())).collect();
        assert_eq!(
            short,
            [
                ("task/k/video-0", None, Some(vec![3])),
                ("hold/saved", Some(Revision(5)), None),
                ("job/k", None, Some(vec![2])),
            ]
        );
    }
}
