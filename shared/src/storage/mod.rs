//! Objects: a URI names a store and a prefix; keys below it are written once.
//!
//! | URI | store | feature |
//! |---|---|---|
//! | a path, `file:/folder` | a folder of this host | |
//! | `s3://bucket/prefix` | S3 and what speaks its protocol | `s3` |
//! | `gs://bucket/prefix` | Google Cloud Storage | `gcs` |
//! | `az://container/prefix`, `abfs://…` | Azure Blob Storage | `azure` |
//! | `https://host/path` | a web server; sources only | `https` |
//!
//! Requests are made again here after network errors and 5xx answers, a few times and briefly ([`StorageConfig`]); what
//! remains is told as a [`Fault`], and what is done about that is the coordinator's decision.

mod client;
mod config;
mod error;
#[cfg(feature = "https")]
mod guard;
mod halves;
mod key;
pub mod label;
mod metered;
mod place;
mod source;
mod upload;
#[cfg(feature = "https")]
mod web;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{Attribute, Attributes, GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use sha2::{Digest, Sha256};

use crate::task::StoredObject;
use metered::Watch;
use place::Place;

pub use config::StorageConfig;
pub use error::{Fault, StorageError};
pub use key::{is_plain_key, segment_object, sheet_object};
pub use metered::{StorageMeter, StoreCall};
pub use place::local_path;
pub use source::{RemoteSource, file_mark, source_changed};
pub use upload::Upload;

/// Code of the failures of a web server that does not answer, or says that it is in trouble.
pub const SERVER_DOWN: &str = "source_unavailable";

/// Larger objects go to an object store in parts, so that no single request takes long.
const LARGEST_PUT_BYTES: usize = 32 << 20;

/// A store and a prefix in it.
#[derive(Clone)]
pub struct Storage {
    store: Arc<dyn ObjectStore>,
    /// Where the objects are files; such a store keeps no attributes, and a new name takes an old one's place at once.
    folder: Option<PathBuf>,
    watch: Watch,
}

impl Storage {
    /// Opens the prefix that `uri` names. A folder is made if it is missing; of an object store nothing is asked yet.
    pub fn open(uri: &str, config: &StorageConfig) -> Result<Self, StorageError> {
        let watch = config.live.watch.clone();
        match Place::parse(uri)? {
            Place::Folder(folder) => {
                std::fs::create_dir_all(&folder)
                    .map_err(|error| object_store::Error::Generic { store: "file", source: error.into() })
                    .map_err(StorageError::of(uri))?;
                let store = LocalFileSystem::new_with_prefix(&folder).map_err(StorageError::of(uri))?;
                Ok(Self { store: Arc::new(store.with_automatic_cleanup(true)), folder: Some(folder), watch })
            }
            Place::Bucket { kind, bucket, prefix } => {
                let store = PrefixStore::new(config.client(kind, &bucket)?, prefix);
                Ok(Self { store: Arc::new(store), folder: None, watch })
            }
            Place::Web => {
                let why = "a web server can only be read from".to_owned();
                Err(StorageError::Uri { uri: uri.to_owned(), why })
            }
        }
    }

    /// Opens what is there: `None` if `uri` names a folder that was never made.
    pub fn open_existing(uri: &str, config: &StorageConfig) -> Result<Option<Self>, StorageError> {
        match Place::parse(uri)? {
            Place::Folder(folder) if !folder.is_dir() => Ok(None),
            _ => Self::open(uri, config).map(Some),
        }
    }

    /// A store that is gone with its last clone.
    pub fn in_memory() -> Self {
        Self { store: Arc::new(InMemory::new()), folder: None, watch: Watch::default() }
    }

    /// Writes an object whole: a reader sees all of it or none. Under a key that carries its content's hash, an object of
    /// the same size counts as written, whoever wrote it; any other key gets the new content.
    pub async fn put(&self, key: &str, bytes: Bytes) -> Result<StoredObject, StorageError> {
        let object = StoredObject::of(key, &bytes);
        let once = label::is_content_named(key);
        let multipart = self.folder.is_none() && bytes.len() > LARGEST_PUT_BYTES;
        if once && (multipart || self.folder.is_some()) && self.size(key).await? == Some(object.size) {
            return Ok(object);
        }
        if multipart {
            let mut upload = self.upload(key).await?;
            upload.push(bytes).await?;
            return upload.finish().await;
        }
        let create = once && self.folder.is_none();
        match self.put_whole(key, bytes.clone(), create).await {
            Err(StorageError::Store { source: object_store::Error::AlreadyExists { .. }, .. }) if create => {
                if self.size(key).await? != Some(object.size) {
                    self.put_whole(key, bytes, false).await?; // what is there can't be what the key promises
                }
            }
            written => written?,
        }
        Ok(object)
    }

    async fn put_whole(&self, key: &str, bytes: Bytes, create: bool) -> Result<(), StorageError> {
        let mode = if create { PutMode::Create } else { PutMode::Overwrite };
        let options = PutOptions { mode, attributes: self.attributes(key), ..PutOptions::default() };
        let (path, payload) = (Path::from(key), PutPayload::from_bytes(bytes));
        let put = self.watch.time(StoreCall::Write, self.store.put_opts(&path, payload, options)).await;
        put.map(drop).map_err(StorageError::of(key))
    }

    /// Begins an object too large to be held in memory.
    pub async fn upload(&self, key: &str) -> Result<Upload, StorageError> {
        let options = self.attributes(key).into();
        let path = Path::from(key);
        let begun = self.watch.time(StoreCall::Write, self.store.put_multipart_opts(&path, options)).await;
        Ok(Upload::new(key, self.watch.upload(begun.map_err(StorageError::of(key))?)))
    }

    fn attributes(&self, key: &str) -> Attributes {
        let mut attributes = Attributes::new();
        if self.folder.is_none() {
            attributes.insert(Attribute::CacheControl, label::cache_control(key).into());
            if let Some(kind) = label::content_type(key) {
                attributes.insert(Attribute::ContentType, kind.into());
            }
        }
        attributes
    }

    /// Reads an object whole.
    pub async fn get(&self, key: &str) -> Result<Bytes, StorageError> {
        let path = Path::from(key);
        let whole = async { self.store.get(&path).await?.bytes().await };
        self.watch.time(StoreCall::Read, whole).await.map_err(StorageError::of(key))
    }

    /// Reads an object whole; `None` if there is none of that key, which is no failure of the store.
    pub async fn find(&self, key: &str) -> Result<Option<Bytes>, StorageError> {
        let path = Path::from(key);
        let whole = async { if_there(async { self.store.get(&path).await?.bytes().await }.await) };
        self.watch.time(StoreCall::Read, whole).await.map_err(StorageError::of(key))
    }

    /// Reads `len` bytes from `offset`, all of them.
    pub async fn get_range(&self, key: &str, offset: u64, len: u64) -> Result<Bytes, StorageError> {
        let short = || StorageError::Short { key: key.to_owned(), offset, len };
        if len == 0 {
            return Ok(Bytes::new());
        }
        let end = offset.checked_add(len).ok_or_else(short)?;
        let path = Path::from(key);
        let read = self.watch.time(StoreCall::Read, self.store.get_range(&path, offset..end)).await;
        let bytes = read.map_err(StorageError::of(key))?;
        if bytes.len() as u64 == len { Ok(bytes) } else { Err(short()) }
    }

    /// The size of an object; `None` if there is none of that key.
    pub async fn size(&self, key: &str) -> Result<Option<u64>, StorageError> {
        let path = Path::from(key);
        let look = async { if_there(self.store.head(&path).await) };
        let found = self.watch.time(StoreCall::Look, look).await.map_err(StorageError::of(key))?;
        Ok(found.map(|meta| meta.size))
    }

    /// `Content-Type` and `Cache-Control` of an object, where the store keeps such: a folder does not.
    pub async fn labels(&self, key: &str) -> Result<(Option<String>, Option<String>), StorageError> {
        let options = GetOptions { head: true, ..GetOptions::default() };
        let path = Path::from(key);
        let found = self.watch.time(StoreCall::Look, self.store.get_opts(&path, options)).await;
        let found = found.map_err(StorageError::of(key))?;
        let label = |attribute| found.attributes.get(&attribute).map(|value| value.to_string());
        Ok((label(Attribute::ContentType), label(Attribute::CacheControl)))
    }

    /// All keys below `prefix`, sorted.
    pub async fn list(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        let below = (!prefix.is_empty()).then(|| Path::from(prefix));
        let all = self.store.list(below.as_ref()).try_collect::<Vec<_>>();
        let found = self.watch.time(StoreCall::List, all).await.map_err(StorageError::of(prefix))?;
        let mut keys: Vec<String> = found.into_iter().map(|meta| meta.location.to_string()).collect();
        keys.sort();
        Ok(keys)
    }

    /// Every key, in no order, and when it was written last, in milliseconds of UNIX time.
    pub fn ages(&self) -> impl Stream<Item = Result<(String, i64), StorageError>> + Send {
        let all = self.store.list(None);
        all.map_ok(|meta| (meta.location.to_string(), meta.last_modified.timestamp_millis()))
            .map_err(|error| StorageError::of("")(error))
    }

    /// Removes an object; one that is not there counts as removed.
    pub async fn delete(&self, key: &str) -> Result<(), StorageError> {
        let path = Path::from(key);
        let remove = async { gone(self.store.delete(&path).await) };
        self.watch.time(StoreCall::Remove, remove).await.map_err(StorageError::of(key))
    }

    /// Removes every object, what dead writers have left of others, and the folder if nothing else is in it.
    pub async fn clear(&self) -> Result<(), StorageError> {
        self.remove_halves(|_| true).await?;
        let keys: Vec<_> = self.list("").await?.into_iter().map(|key| Ok(Path::from(key))).collect();
        let removed = self.store.delete_stream(futures::stream::iter(keys).boxed());
        let remove = removed.map(|removed| gone(removed.map(drop))).try_collect::<()>();
        self.watch.time(StoreCall::Remove, remove).await.map_err(StorageError::of(""))?;
        self.remove_folder().await;
        Ok(())
    }

    /// Removes the folder of objects that are files, unless anything is in it.
    pub async fn remove_folder(&self) {
        if let Some(folder) = &self.folder {
            let _ = tokio::fs::remove_dir(folder).await; // stays if anything is in it
        }
    }

    /// Where an object is a file of this host; `None` in an object store.
    pub fn local_file(&self, key: &str) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(key))
    }
}

/// That something is not there is an answer, and no failure of the store.
fn if_there<T>(found: Result<T, object_store::Error>) -> Result<Option<T>, object_store::Error> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error::fault(&error) == Fault::Missing => Ok(None),
        Err(error) => Err(error),
    }
}

/// What was not there counts as removed.
fn gone(removed: Result<(), object_store::Error>) -> Result<(), object_store::Error> {
    match removed {
        Err(object_store::Error::NotFound { .. }) => Ok(()),
        removed => removed,
    }
}

impl StoredObject {
    /// What a store will hold under `key` once `bytes` are written there.
    pub fn of(key: impl Into<String>, bytes: &[u8]) -> Self {
        Self { key: key.into(), size: bytes.len() as u64, sha256: Sha256::digest(bytes).to_vec() }
    }
}
