//! What the next commit will change.

use std::collections::{BTreeMap, BTreeSet};

use crate::store::{Change, Revision};

/// Records to write and to remove, in the order the core gave them: of a commit that the store makes in parts, every
/// beginning is a state to go on from.
#[derive(Debug, Default)]
pub(super) struct Pending {
    records: BTreeMap<String, Record>,
    /// Of the next record that has none.
    place: usize,
}

#[derive(Debug)]
struct Record {
    place: usize,
    value: Option<Vec<u8>>,
}

impl Pending {
    /// Writes a record. One that is written twice stands where it was first, with its last content.
    pub(super) fn put(&mut self, key: String, value: Vec<u8>) {
        let place = self.next_place();
        self.records.entry(key).or_insert(Record { place, value: None }).value = Some(value);
    }

    /// Removes a record, if there is one: after all that was given before.
    pub(super) fn remove(&mut self, key: String) {
        let place = self.next_place();
        self.records.insert(key, Record { place, value: None });
    }

    /// Removes the records below a prefix: those of `stored`, and what was to be written.
    pub(super) fn remove_below(&mut self, prefix: &str, stored: &BTreeMap<String, Revision>) {
        let mut keys: BTreeSet<String> = below(prefix, stored).map(|(key, _)| key.clone()).collect();
        keys.extend(below(prefix, &self.records).map(|(key, _)| key.clone()));
        keys.into_iter().for_each(|key| self.remove(key));
    }

    /// Whether any record below a prefix is to be removed.
    pub(super) fn removes_below(&self, prefix: &str) -> bool {
        below(prefix, &self.records).any(|(_, record)| record.value.is_none())
    }

    fn next_place(&mut self) -> usize {
        self.place += 1;
        self.place
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

fn below<'a, T>(prefix: &'a str, records: &'a BTreeMap<String, T>) -> impl Iterator<Item = (&'a String, &'a T)> {
    records.range(prefix.to_owned()..).take_while(move |(key, _)| key.starts_with(prefix))
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

    #[test]
    fn what_is_removed_goes_after_what_was_given_before() {
        let mut pending = Pending::default();
        pending.put("task/k/video-0".into(), vec![1]);
        pending.put("task/k/video-1".into(), vec![2]);
        pending.put("task/kk/index".into(), vec![3]);
        pending.put("job/k".into(), vec![4]);
        assert!(!pending.removes_below("task/k/"));
        let stored = ["task/k/index", "task/k/video-0", "task/kk/video-0"].map(|key| (key.to_owned(), Revision(5)));
        let stored = BTreeMap::from(stored);
        pending.remove_below("task/k/", &stored);
        assert!(pending.removes_below("task/k/") && !pending.removes_below("task/kk/"));
        let changes = pending.into_changes(&stored);
        let short: Vec<_> = changes.iter().map(|c| (c.key.as_str(), c.value.clone())).collect();
        let expected = [
            ("task/kk/index", Some(vec![3])),
            ("job/k", Some(vec![4])),
            ("task/k/index", None),
            ("task/k/video-0", None),
        ];
        assert_eq!(short, expected, "what was never stored need not be removed");
    }
}
