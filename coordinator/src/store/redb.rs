//! The embedded store: one file, one process, every commit flushed to disk.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use redb::backends::InMemoryBackend;
use redb::{Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition};

use super::{Change, LONGEST_RECORD, Revision, Store, StoreError, Stored, check_lengths};

const RECORDS: TableDefinition<&str, (u64, &[u8])> = TableDefinition::new("records");
const COUNTERS: TableDefinition<&str, u64> = TableDefinition::new("counters");
/// The revision of the last commit.
const REVISION: &str = "revision";
/// Pages kept in memory; records are read once, at start.
const CACHE_BYTES: usize = 4 << 20;

/// Records in a redb file.
pub struct RedbStore {
    database: Arc<Database>,
    place: String,
}

impl RedbStore {
    /// Opens the file, or makes it; its folder must exist. The file is locked until the store is dropped.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let place = path.display().to_string();
        match builder().create(path) {
            Ok(database) => Self::new(database, place),
            Err(DatabaseError::DatabaseAlreadyOpen) => Err(StoreError::Locked { place }),
            Err(DatabaseError::Storage(StorageError::Io(error))) if error.kind() != std::io::ErrorKind::InvalidData => {
                Err(StoreError::Unavailable { place, reason: error.to_string() })
            }
            Err(error) => Err(StoreError::Damaged { place, reason: error.to_string() }),
        }
    }

    /// A store that lives as long as the process, for tests and previews.
    pub fn in_memory() -> Result<Self, StoreError> {
        let place = "memory".to_owned();
        match builder().create_with_backend(InMemoryBackend::new()) {
            Ok(database) => Self::new(database, place),
            Err(error) => Err(StoreError::Unavailable { place, reason: error.to_string() }),
        }
    }

    fn new(database: Database, place: String) -> Result<Self, StoreError> {
        let store = Self { database: Arc::new(database), place };
        store.make_tables().map_err(|error| store.failed(&error))?;
        Ok(store)
    }

    fn make_tables(&self) -> Result<(), redb::Error> {
        let write = self.database.begin_write()?;
        write.open_table(RECORDS)?;
        write.open_table(COUNTERS)?;
        write.commit()?;
        Ok(())
    }

    fn failed(&self, error: &redb::Error) -> StoreError {
        let (place, reason) = (self.place.clone(), error.to_string());
        match error {
            redb::Error::Corrupted(_)
            | redb::Error::TableTypeMismatch { .. }
            | redb::Error::TypeDefinitionChanged { .. } => StoreError::Damaged { place, reason },
            _ => StoreError::Unavailable { place, reason },
        }
    }

    /// Runs a transaction where it may wait for the disk.
    async fn blocking<T: Send + 'static>(
        &self,
        run: impl FnOnce(&Database) -> Result<T, Failed> + Send + 'static,
    ) -> Result<T, StoreError> {
        let database = self.database.clone();
        let result = tokio::task::spawn_blocking(move || run(&database)).await;
        match result {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(Failed::Refused(error))) => Err(error),
            Ok(Err(Failed::Database(error))) => Err(self.failed(&error)),
            Err(error) => Err(StoreError::Unavailable { place: self.place.clone(), reason: error.to_string() }),
        }
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// Why a transaction was not made.
enum Failed {
    Refused(StoreError),
    Database(redb::Error),
}

impl<E: Into<redb::Error>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self::Database(error.into())
    }
}

#[async_trait]
impl Store for RedbStore {
    fn longest_record(&self) -> usize {
        LONGEST_RECORD
    }

    async fn load(&self) -> Result<Vec<Stored>, StoreError> {
        self.blocking(load).await
    }

    async fn commit(&self, changes: Vec<Change>) -> Result<Vec<Revision>, StoreError> {
        check_lengths(&changes, LONGEST_RECORD)?;
        let count = changes.len();
        let revision = self.blocking(move |database| commit(database, &changes)).await?;
        Ok(vec![revision; count])
    }
}

fn load(database: &Database) -> Result<Vec<Stored>, Failed> {
    let table = database.begin_read()?.open_table(RECORDS)?;
    let mut records = Vec::new();
    for entry in table.iter()? {
        let (key, value) = entry?;
        let (revision, bytes) = value.value();
        records.push(Stored { key: key.value().to_owned(), revision: Revision(revision), value: bytes.to_vec() });
    }
    Ok(records)
}

fn commit(database: &Database, changes: &[Change]) -> Result<Revision, Failed> {
    let write = database.begin_write()?;
    let revision = {
        let mut counters = write.open_table(COUNTERS)?;
        let revision = counters.get(REVISION)?.map_or(0, |last| last.value()) + 1;
        counters.insert(REVISION, revision)?;
        let mut records = write.open_table(RECORDS)?;
        for change in changes {
            let found = records.get(change.key.as_str())?.map(|entry| Revision(entry.value().0));
            // Dropping the transaction undoes it.
            if found != change.expected {
                return Err(Failed::Refused(StoreError::Conflict { key: change.key.clone() }));
            }
            match &change.value {
                Some(value) => drop(records.insert(change.key.as_str(), (revision, value.as_slice()))?),
                None => drop(records.remove(change.key.as_str())?),
            }
        }
        Revision(revision)
    };
    write.commit()?;
    Ok(revision)
}
