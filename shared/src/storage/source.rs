//! Sources beyond this host: read by ranges, and only as long as they stay what they were when they were opened.

use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt};

use super::place::Place;
use super::{Fault, StorageConfig, StorageError};
use crate::error::TaskError;

/// A source object of an object store.
#[derive(Clone)]
pub struct RemoteSource {
    uri: String,
    store: Arc<dyn ObjectStore>,
    path: Path,
    mark: Mark,
}

/// What a source is recognised by: two answers with the same mark are of the same bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    size: u64,
    e_tag: Option<String>,
    modified: i64, // milliseconds of UNIX time
}

impl Mark {
    fn of(meta: &ObjectMeta) -> Self {
        let modified = meta.last_modified.timestamp_millis();
        Self { size: meta.size, e_tag: meta.e_tag.clone(), modified }
    }
}

impl RemoteSource {
    /// Finds out what is there now. Sources of this host are for [`super::local_path`].
    ///
    /// # Errors
    /// `source_missing` and `source_too_large` are the source's fault; the rest is the store's.
    pub async fn open(uri: &str, config: &StorageConfig) -> Result<Self, TaskError> {
        let Place::Bucket { kind, bucket, prefix: path } = Place::parse(uri)? else {
            return Err(TaskError::bug(format!("{uri} is a file of this host and was taken for another's")));
        };
        let store = config.client(kind, &bucket)?;
        let meta = store.head(&path).await.map_err(|error| failed(uri, error))?;
        if meta.size > config.largest_source_bytes {
            let limit = config.largest_source_bytes;
            let text = format!("{uri}: {} bytes are more than {limit} (largest_source_bytes)", meta.size);
            return Err(TaskError::input("source_too_large", text));
        }
        Ok(Self { uri: uri.to_owned(), store, path, mark: Mark::of(&meta) })
    }

    /// Bytes in all.
    pub fn size_bytes(&self) -> u64 {
        self.mark.size
    }

    /// Reads `len` bytes from `offset`, all of them.
    ///
    /// # Errors
    /// `source_changed` if the source is not what was opened.
    pub async fn read(&self, offset: u64, len: u64) -> Result<Bytes, TaskError> {
        if len == 0 {
            return Ok(Bytes::new());
        }
        // Nobody asks for more than there was.
        let end = offset.checked_add(len).filter(|end| *end <= self.mark.size).ok_or_else(|| changed(&self.uri))?;
        let options = GetOptions { range: Some((offset..end).into()), ..GetOptions::default() };
        let found = self.store.get_opts(&self.path, options).await.map_err(|error| failed(&self.uri, error))?;
        if Mark::of(&found.meta) != self.mark {
            return Err(changed(&self.uri));
        }
        let bytes = found.bytes().await.map_err(|error| failed(&self.uri, error))?;
        if bytes.len() as u64 == len { Ok(bytes) } else { Err(changed(&self.uri)) }
    }
}

fn failed(uri: &str, error: object_store::Error) -> TaskError {
    let error = StorageError::of(uri)(error);
    match error.fault() {
        Fault::Missing => TaskError::input("source_missing", format!("{uri} does not exist; check the source's URI")),
        _ => error.into(),
    }
}

fn changed(uri: &str) -> TaskError {
    let advice = "submit the job again, and leave the source alone until it has ended";
    TaskError::input("source_changed", format!("{uri} was replaced while it was read; {advice}"))
}
