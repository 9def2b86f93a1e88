//! The contract of `Store`, run on every implementation, and what each promises besides.

#[cfg(feature = "cluster")]
mod etcd;
#[cfg(feature = "cluster")]
mod lead;
#[cfg(feature = "cluster")]
mod rig;

use coordinator::store::redb::RedbStore;
use coordinator::store::{Change, Revision, Store, StoreError};

fn change(key: &str, expected: Option<Revision>, value: Option<&[u8]>) -> Change {
    Change { key: key.to_owned(), expected, value: value.map(<[u8]>::to_vec) }
}

async fn content(store: &dyn Store) -> Vec<(String, Vec<u8>)> {
    store.load().await.unwrap().into_iter().map(|stored| (stored.key, stored.value)).collect()
}

fn entry(key: &str, value: &[u8]) -> (String, Vec<u8>) {
    (key.to_owned(), value.to_vec())
}

/// Makes changes that fit into one transaction.
async fn commit(store: &dyn Store, changes: Vec<Change>) -> Revision {
    let count = changes.len();
    let revisions = store.commit(changes).await.unwrap();
    assert_eq!(revisions, vec![revisions[0]; count]);
    revisions[0]
}

/// Each part starts from the empty store that `open` makes.
async fn conformance(open: impl AsyncFn() -> Box<dyn Store>) {
    a_record_is_what_was_committed_last(&*open().await).await;
    a_commit_is_whole_or_nothing(&*open().await).await;
    a_change_from_another_revision_is_refused(&*open().await).await;
    a_record_has_a_longest_size(&*open().await).await;
    large_commits_are_made_and_read_whole(&*open().await).await;
}

async fn a_record_is_what_was_committed_last(store: &dyn Store) {
    assert_eq!(content(store).await, []);
    let first = commit(store, vec![change("b", None, Some(b"1")), change("a", None, Some(b"2"))]).await;
    assert_eq!(content(store).await, [entry("a", b"2"), entry("b", b"1")]);
    let second = commit(store, vec![change("a", Some(first), Some(b"3"))]).await;
    assert!(second > first);
    let revisions: Vec<Revision> = store.load().await.unwrap().iter().map(|stored| stored.revision).collect();
    assert_eq!(revisions, [second, first]);
    store.commit(vec![change("a", Some(second), None)]).await.unwrap();
    assert_eq!(content(store).await, [entry("b", b"1")]);
}

async fn a_commit_is_whole_or_nothing(store: &dyn Store) {
    let error = store.commit(vec![change("a", None, Some(b"1")), change("b", Some(Revision(9)), Some(b"2"))]).await;
    assert!(matches!(error, Err(StoreError::Conflict { key }) if key == "b"));
    assert_eq!(content(store).await, []);
}

async fn a_change_from_another_revision_is_refused(store: &dyn Store) {
    let old = commit(store, vec![change("a", None, Some(b"1"))]).await;
    let new = commit(store, vec![change("a", Some(old), Some(b"2"))]).await;
    for wrong in [None, Some(old)] {
        for value in [Some(b"3".as_slice()), None] {
            let error = store.commit(vec![change("a", wrong, value)]).await;
            assert!(matches!(error, Err(StoreError::Conflict { .. })), "{wrong:?} {value:?}");
        }
    }
    store.commit(vec![change("a", Some(new), Some(b"4"))]).await.unwrap();
    assert_eq!(content(store).await, [entry("a", b"4")]);
}

async fn a_record_has_a_longest_size(store: &dyn Store) {
    let longest = store.longest_record();
    let changes = vec![change("a", None, Some(b"1")), change("b", None, Some(&noise(longest + longest / 50)))];
    let error = store.commit(changes).await;
    assert!(matches!(error, Err(StoreError::TooLong { size, most, .. }) if size > longest && most == longest));
    assert_eq!(content(store).await, []);
    let long = noise(longest - longest / 50);
    commit(store, vec![change("a", None, Some(&long))]).await;
    assert!(content(store).await == [entry("a", &long)]);
}

/// Bytes that nothing makes shorter.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Beyond every limit of a transaction or an answer.
async fn large_commits_are_made_and_read_whole(store: &dyn Store) {
    let key = |n: usize| format!("task/j/video-{n:04}");
    let value = |n: usize| vec![b'v'; 10_000 + n];
    let new = (0..1000).map(|n| Change { key: key(n), expected: None, value: Some(value(n)) });
    let revisions = store.commit(new.collect()).await.unwrap();
    let stored = store.load().await.unwrap();
    assert_eq!(stored.iter().map(|stored| stored.revision).collect::<Vec<_>>(), revisions);
    assert!(stored.into_iter().map(|stored| (stored.key, stored.value)).eq((0..1000).map(|n| (key(n), value(n)))));
    let gone = (0..999).map(|n| Change { key: key(n), expected: Some(revisions[n]), value: None });
    store.commit(gone.collect()).await.unwrap();
    assert_eq!(content(store).await, [(key(999), value(999))]);
}

#[tokio::test]
async fn redb_in_a_file_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let number = std::cell::Cell::new(0);
    conformance(async || {
        number.set(number.get() + 1);
        Box::new(RedbStore::open(&folder.path().join(number.get().to_string())).unwrap()) as Box<dyn Store>
    })
    .await;
}

#[tokio::test]
async fn redb_in_memory_keeps_the_contract() {
    conformance(async || Box::new(RedbStore::in_memory().unwrap()) as Box<dyn Store>).await;
}

#[tokio::test]
async fn records_survive_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let store = RedbStore::open(&path).unwrap();
    let revision = commit(&store, vec![change("a", None, Some(b"1"))]).await;
    drop(store);
    let store = RedbStore::open(&path).unwrap();
    assert_eq!(content(&store).await, [entry("a", b"1")]);
    assert!(commit(&store, vec![change("a", Some(revision), Some(b"2"))]).await > revision);
}

#[test]
fn a_second_farm_on_the_same_file_is_kept_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let _first = RedbStore::open(&path).unwrap();
    let error = RedbStore::open(&path).err().unwrap();
    assert!(error.to_string().starts_with("another farm is running on "), "{error}");
}

#[test]
fn a_damaged_file_is_said_to_be_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    std::fs::write(&path, vec![7; 20_000]).unwrap();
    let error = RedbStore::open(&path).err().unwrap();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    let error = RedbStore::open(&folder.path().join("missing/state")).err().unwrap();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
}
