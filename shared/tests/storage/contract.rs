//! What every store does for a farm.

use bytes::Bytes;
use shared::storage::{Fault, Storage};
use shared::task::StoredObject;

/// More than one part of an upload.
pub const PART: usize = 5 << 20;

/// All that a farm asks of a store, which is empty before and after.
pub async fn contract(storage: &Storage) {
    objects(storage).await;
    uploads(storage).await;
    once(storage).await;
    storage.clear().await.unwrap();
}

async fn objects(storage: &Storage) {
    let text = Bytes::from_static(b"0123456789");
    assert_eq!(storage.size("a/b").await.unwrap(), None);
    assert_eq!(storage.get("a/b").await.unwrap_err().fault(), Fault::Missing);
    assert_eq!(storage.put("a/b", text.clone()).await.unwrap(), StoredObject::of("a/b", &text));
    assert_eq!(storage.size("a/b").await.unwrap(), Some(10));
    assert_eq!(storage.get("a/b").await.unwrap(), text);
    assert_eq!(storage.get_range("a/b", 2, 3).await.unwrap(), "234");
    assert_eq!(storage.get_range("a/b", 7, 3).await.unwrap(), "789");
    assert_eq!(storage.get_range("a/b", 7, 0).await.unwrap(), "");
    for (offset, len) in [(8, 3), (10, 1), (u64::MAX, 1)] {
        assert!(storage.get_range("a/b", offset, len).await.is_err(), "{offset} {len}");
    }

    storage.put("a/b", "new".into()).await.unwrap();
    assert_eq!(storage.get("a/b").await.unwrap(), "new");

    for key in ["a/c", "ab/d", "e"] {
        storage.put(key, "x".into()).await.unwrap();
    }
    assert_eq!(storage.list("").await.unwrap(), ["a/b", "a/c", "ab/d", "e"]);
    assert_eq!(storage.list("a").await.unwrap(), ["a/b", "a/c"]);
    assert_eq!(storage.list("nothing").await.unwrap(), [] as [&str; 0]);
    for _ in 0..2 {
        storage.delete("a/b").await.unwrap();
    }
    assert_eq!(storage.list("a").await.unwrap(), ["a/c"]);
    storage.clear().await.unwrap();
    assert_eq!(storage.list("").await.unwrap(), [] as [&str; 0]);
}

async fn uploads(storage: &Storage) {
    let part = Bytes::from(vec![7; PART]);
    let mut upload = storage.upload("v720.mp4").await.unwrap();
    for _ in 0..3 {
        upload.push(part.clone()).await.unwrap();
    }
    assert_eq!(storage.size("v720.mp4").await.unwrap(), None);
    assert_eq!(upload.finish().await.unwrap(), StoredObject::of("v720.mp4", &part.repeat(3)));
    assert_eq!(storage.get("v720.mp4").await.unwrap(), part.repeat(3));

    let mut upload = storage.upload("dropped.mp4").await.unwrap();
    upload.push(part).await.unwrap();
    drop(upload);
    assert_eq!(storage.list("").await.unwrap(), ["v720.mp4"]);

    let large = Bytes::from(vec![9; (32 << 20) + 1]);
    assert_eq!(storage.put("large", large.clone()).await.unwrap().size, large.len() as u64);
    assert_eq!(storage.get("large").await.unwrap(), large);
}

/// A key that carries its content's hash is written once.
async fn once(storage: &Storage) {
    let key = shared::storage::segment_object("v720", 3, b"segment").key;
    for _ in 0..2 {
        assert_eq!(storage.put(&key, "segment".into()).await.unwrap().size, 7);
    }
    storage.put(&key, "another".into()).await.unwrap(); // of the same size, so it must be the same
    assert_eq!(storage.get(&key).await.unwrap(), "segment");
    let (left, right) = tokio::join!(storage.put("k.0123456789abcdef.m4s", "a".into()), async {
        storage.put("k.0123456789abcdef.m4s", "a".into()).await
    });
    assert_eq!(left.unwrap(), right.unwrap());

    // What was cut off is no such content.
    let cut = shared::storage::segment_object("v720", 4, b"segment").key;
    storage.put(&cut, "seg".into()).await.unwrap();
    storage.put(&cut, "segment".into()).await.unwrap();
    assert_eq!(storage.get(&cut).await.unwrap(), "segment");
}

/// Objects say what they are and how long caches may keep them.
pub async fn labels(storage: &Storage) {
    let (minute, year) = ("public, max-age=60", "public, max-age=31536000, immutable");
    for (key, kind, kept) in [
        ("master.m3u8", Some("application/vnd.apple.mpegurl"), minute),
        ("manifest.mpd", Some("application/dash+xml"), minute),
        ("poster.jpg", Some("image/jpeg"), minute),
        ("v720/000001.0123456789abcdef.m4s", Some("video/mp4"), year),
        ("v720/init.0123456789abcdef.mp4", Some("video/mp4"), year),
    ] {
        storage.put(key, "x".into()).await.unwrap();
        let labels = storage.labels(key).await.unwrap();
        assert_eq!(labels, (kind.map(str::to_owned), Some(kept.to_owned())), "{key}");
    }
    let mut upload = storage.upload("v720/v720.mp4").await.unwrap();
    upload.push("x".into()).await.unwrap();
    upload.finish().await.unwrap();
    let labels = storage.labels("v720/v720.mp4").await.unwrap();
    assert_eq!(labels, (Some("video/mp4".to_owned()), Some(minute.to_owned())));
}
