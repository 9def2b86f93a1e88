//! Objects: a URI names a store and a prefix; keys below it are written once.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, WriteMultipart};
use sha2::{Digest, Sha256};

use crate::task::StoredObject;

/// Size of the parts in which large objects are written: S3 takes no more than 10,000, which makes 78 GiB.
const UPLOAD_PART_BYTES: usize = 8 << 20;
/// Parts on their way at once.
const UPLOAD_PARTS: usize = 2;

/// An object could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Not a URI this build can open.
    #[error("{0:?} is not a place this farm can read or write: give a path or a file: URI")]
    Uri(String),
    /// The store said no.
    #[error("{key}: {source}")]
    Store {
        /// Which object.
        key: String,
        /// What the store said.
        source: object_store::Error,
    },
}

/// A store and a prefix in it.
#[derive(Clone)]
pub struct Storage {
    store: Arc<dyn ObjectStore>,
    root: PathBuf,
}

impl Storage {
    /// Opens the prefix a `file:` URI names; the folder is made if it is missing.
    pub fn open(uri: &str) -> Result<Self, StorageError> {
        let root = local_path(uri)?;
        let failed = |source| StorageError::Store { key: uri.to_owned(), source };
        std::fs::create_dir_all(&root)
            .map_err(|error| failed(object_store::Error::Generic { store: "file", source: error.into() }))?;
        let store = LocalFileSystem::new_with_prefix(&root).map_err(failed)?.with_automatic_cleanup(true);
        Ok(Self { store: Arc::new(store), root })
    }

    /// Writes an object whole: a reader sees all of it or none.
    pub async fn put(&self, key: &str, bytes: Bytes) -> Result<StoredObject, StorageError> {
        let object = StoredObject::of(key, &bytes);
        self.store
            .put(&Path::from(key), PutPayload::from_bytes(bytes))
            .await
            .map_err(|source| StorageError::Store { key: key.to_owned(), source })?;
        Ok(object)
    }

    /// Begins an object too large to be held in memory: it is there once it is finished, and never if it is dropped.
    pub async fn upload(&self, key: &str) -> Result<Upload, StorageError> {
        let begun = self.store.put_multipart(&Path::from(key)).await;
        let upload = begun.map_err(|source| StorageError::Store { key: key.to_owned(), source })?;
        let parts = WriteMultipart::new_with_chunk_size(upload, UPLOAD_PART_BYTES);
        Ok(Upload {
            parts,
            object: StoredObject { key: key.to_owned(), size: 0, sha256: Vec::new() },
            hash: Sha256::new(),
        })
    }

    /// Reads an object whole.
    pub async fn get(&self, key: &str) -> Result<Bytes, StorageError> {
        let failed = |source| StorageError::Store { key: key.to_owned(), source };
        self.store.get(&Path::from(key)).await.map_err(failed)?.bytes().await.map_err(failed)
    }

    /// Reads `len` bytes from `offset`.
    pub async fn get_range(&self, key: &str, offset: u64, len: u64) -> Result<Bytes, StorageError> {
        self.store
            .get_range(&Path::from(key), offset..offset + len)
            .await
            .map_err(|source| StorageError::Store { key: key.to_owned(), source })
    }

    /// The size of an object; `None` if there is none of that key.
    pub async fn size(&self, key: &str) -> Result<Option<u64>, StorageError> {
        match self.store.head(&Path::from(key)).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(StorageError::Store { key: key.to_owned(), source }),
        }
    }

    /// All keys below `prefix`, sorted.
    pub async fn list(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        let failed = |source| StorageError::Store { key: prefix.to_owned(), source };
        let prefix = (!prefix.is_empty()).then(|| Path::from(prefix));
        let found: Vec<_> = self.store.list(prefix.as_ref()).try_collect().await.map_err(failed)?;
        let mut keys: Vec<String> = found.into_iter().map(|meta| meta.location.to_string()).collect();
        keys.sort();
        Ok(keys)
    }

    /// Removes an object; one that is not there counts as removed.
    pub async fn delete(&self, key: &str) -> Result<(), StorageError> {
        match self.store.delete(&Path::from(key)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(StorageError::Store { key: key.to_owned(), source }),
        }
    }

    /// Where an object lies on this host, for handing a file descriptor to a slot.
    pub fn local_file(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }
}

/// An object that is being written piece by piece.
pub struct Upload {
    parts: WriteMultipart,
    object: StoredObject,
    hash: Sha256,
}

impl Upload {
    /// Adds to the end. Waits while too much is on its way.
    pub async fn push(&mut self, bytes: Bytes) -> Result<(), StorageError> {
        let waited = self.parts.wait_for_capacity(UPLOAD_PARTS).await;
        waited.map_err(|source| StorageError::Store { key: self.object.key.clone(), source })?;
        self.hash.update(&bytes);
        self.object.size += bytes.len() as u64;
        self.parts.put(bytes);
        Ok(())
    }

    /// Makes the object appear.
    pub async fn finish(self) -> Result<StoredObject, StorageError> {
        let Self { parts, object, hash } = self;
        match parts.finish().await {
            Ok(_) => Ok(StoredObject { sha256: hash.finalize().to_vec(), ..object }),
            Err(source) => Err(StorageError::Store { key: object.key, source }),
        }
    }
}

impl StoredObject {
    /// What a store will hold under `key` once `bytes` are written there.
    pub fn of(key: impl Into<String>, bytes: &[u8]) -> Self {
        Self { key: key.into(), size: bytes.len() as u64, sha256: Sha256::digest(bytes).to_vec() }
    }
}

/// The path a `file:` URI or a bare path names.
pub fn local_path(uri: &str) -> Result<PathBuf, StorageError> {
    match uri.split_once(':') {
        Some(("file", path)) => Ok(PathBuf::from(path.strip_prefix("//").unwrap_or(path))),
        Some((scheme, rest)) if rest.starts_with("//") && !scheme.contains('/') => {
            Err(StorageError::Uri(uri.to_owned()))
        }
        _ => Ok(PathBuf::from(uri)),
    }
}

/// Longest key [`is_plain_key`] accepts.
const LONGEST_KEY_BYTES: usize = 512;

/// Whether a key stays below its prefix on any kind of store, and away from what is not for slots there: plain names
/// between slashes, none of them hidden (a farm's own state is).
pub fn is_plain_key(key: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let name = |name: &str| !name.is_empty() && !name.starts_with('.') && name.bytes().all(plain);
    key.len() <= LONGEST_KEY_BYTES && key.split('/').all(name)
}

/// The key of a segment: the content's hash is in it, so a key has one content whoever writes it and however often.
pub fn segment_key(rendition: &str, number: u64, bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    format!("{rendition}/{number:06}.{}.m4s", crate::hex::encode(&digest[..8]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_below_their_prefix() {
        for key in ["720p/000001.0a1b2c3d.m4s", "index/0-000000", "poster.jpg"] {
            assert!(is_plain_key(key), "{key}");
        }
        for key in ["", "/etc/passwd", "a/../b", "..", "a//b", "a/", ".farm/state", "a b", "a\\b", "ü", "a\0"] {
            assert!(!is_plain_key(key), "{key}");
        }
        assert!(!is_plain_key(&"a".repeat(LONGEST_KEY_BYTES + 1)));
    }

    #[tokio::test]
    async fn an_upload_appears_when_it_is_finished_and_never_if_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path().to_str().unwrap()).unwrap();
        let part = Bytes::from(vec![7; UPLOAD_PART_BYTES / 2 + 1]);
        let mut upload = storage.upload("v720.mp4").await.unwrap();
        for _ in 0..3 {
            upload.push(part.clone()).await.unwrap();
        }
        assert_eq!(storage.size("v720.mp4").await.unwrap(), None);
        let object = upload.finish().await.unwrap();
        assert_eq!(object, StoredObject::of("v720.mp4", &part.repeat(3)));
        assert_eq!(storage.get("v720.mp4").await.unwrap(), part.repeat(3));

        let mut upload = storage.upload("dropped.mp4").await.unwrap();
        upload.push(part).await.unwrap();
        drop(upload);
        assert_eq!(storage.list("").await.unwrap(), ["v720.mp4"]);
    }
}
