//! Sources beyond this host: read by ranges, and only as long as they stay what they were when they were opened.

use std::fs::Metadata;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt};
use sha2::{Digest, Sha256};

use super::metered::{StoreCall, Watch};
use super::place::Place;
#[cfg(feature = "https")]
use super::web::{WebMark, WebSource};
use super::{Fault, StorageConfig, StorageError};
use crate::error::TaskError;

/// Bytes of a mark: two sources of one place don't get the same by chance.
const MARK_BYTES: usize = 8;

/// A source that is not a file of this host.
#[derive(Clone)]
pub struct RemoteSource {
    name: String, // for people
    size: u64,
    origin: Origin,
}

#[derive(Clone)]
enum Origin {
    Store {
        store: Arc<dyn ObjectStore>,
        watch: Watch,
        path: Path,
        mark: StoreMark,
    },
    #[cfg(feature = "https")]
    Web(WebSource, WebMark),
}

/// What an object is recognised by: two answers with the same mark are of the same bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct StoreMark {
    size: u64,
    e_tag: Option<String>,
    modified_ms: i64,
}

impl StoreMark {
    fn of(meta: &ObjectMeta) -> Self {
        Self { size: meta.size, e_tag: meta.e_tag.clone(), modified_ms: meta.last_modified.timestamp_millis() }
    }
}

impl RemoteSource {
    /// Finds out what is there now. Sources of this host are for [`super::local_path`].
    ///
    /// # Errors
    /// What is of kind `Input` is the source's fault (`source_missing`, `source_too_large`, `source_refused` …); the rest is the
    /// store's or the network's.
    pub async fn open(uri: &str, config: &StorageConfig) -> Result<Self, TaskError> {
        let (name, size, origin) = match Place::parse(uri)? {
            Place::Folder(_) => return Err(TaskError::bug(format!("{uri} is a file of this host"))),
            Place::Bucket { kind, bucket, prefix: path } => {
                let store = config.client(kind, &bucket)?;
                let watch = config.live.watch.clone();
                let look = async { super::if_there(store.head(&path).await) };
                let found = watch.time(StoreCall::Look, look).await.map_err(|error| failed(uri, error))?;
                let meta = found.ok_or_else(|| missing(uri))?;
                (uri.to_owned(), meta.size, Origin::Store { store, watch, path, mark: StoreMark::of(&meta) })
            }
            #[cfg(feature = "https")]
            Place::Web => {
                let source = WebSource::new(uri, config)?;
                let mark = source.look().await?;
                (source.name(), mark.size, Origin::Web(source, mark))
            }
            #[cfg(not(feature = "https"))]
            Place::Web => {
                let why = "this build lacks the feature `https`".to_owned();
                return Err(StorageError::Config { place: uri.to_owned(), why }.into());
            }
        };
        if size > config.largest_source_bytes {
            let limit = config.largest_source_bytes;
            let text = format!("{name}: {size} bytes are more than {limit} (largest_source_bytes)");
            return Err(TaskError::input("source_too_large", text));
        }
        Ok(Self { name, size, origin })
    }

    /// Bytes in all.
    pub fn size_bytes(&self) -> u64 {
        self.size
    }

    /// What it is recognised by: [`crate::source::SourceInfo::mark`].
    pub fn mark(&self) -> String {
        match &self.origin {
            Origin::Store { mark, .. } => {
                let version = mark.e_tag.clone().unwrap_or_else(|| mark.modified_ms.to_string());
                digits(mark.size, &version)
            }
            #[cfg(feature = "https")]
            Origin::Web(_, mark) => digits(mark.size, &mark.version()),
        }
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
        let Some(end) = offset.checked_add(len).filter(|end| *end <= self.size) else { return Err(self.changed()) };
        let read = match &self.origin {
            Origin::Store { store, watch, path, mark } => {
                let options = GetOptions { range: Some((offset..end).into()), ..GetOptions::default() };
                let read = async {
                    let found = store.get_opts(path, options).await?;
                    let same = StoreMark::of(&found.meta) == *mark;
                    found.bytes().await.map(|bytes| same.then_some(bytes))
                };
                watch.time(StoreCall::Read, read).await.map_err(|error| failed(&self.name, error))?
            }
            #[cfg(feature = "https")]
            Origin::Web(source, mark) => source.read(mark, offset, len).await?,
        };
        read.filter(|bytes| bytes.len() as u64 == len).ok_or_else(|| self.changed())
    }

    fn changed(&self) -> TaskError {
        source_changed(&self.name)
    }
}

/// What a file of this host is recognised by, as [`RemoteSource::mark`].
pub fn file_mark(file: &Metadata) -> String {
    let since_epoch = file.modified().ok().and_then(|modified| modified.duration_since(UNIX_EPOCH).ok());
    digits(file.len(), &since_epoch.unwrap_or_default().as_nanos().to_string())
}

/// The source is not the one that the job began with.
pub fn source_changed(name: &str) -> TaskError {
    TaskError::input("source_changed", format!("{name} was replaced or written to while the job ran"))
}

/// What stands for a size and a version. Workers of all versions agree on it.
fn digits(size: u64, version: &str) -> String {
    crate::hex::encode(&Sha256::digest(format!("{size} {version}"))[..MARK_BYTES])
}

fn failed(name: &str, error: object_store::Error) -> TaskError {
    let error = StorageError::of(name)(error);
    match error.fault() {
        Fault::Missing => missing(name),
        _ => error.into(),
    }
}

fn missing(name: &str) -> TaskError {
    TaskError::input("source_missing", format!("{name} does not exist; check the source's URI"))
}
