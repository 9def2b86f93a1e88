//! What is left in a folder of objects whose writers died: `KEY#NUMBER`, beside its place. Object stores show nothing that
//! is not whole.

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::{Storage, StorageError};

impl Storage {
    /// Removes the halves of objects that are `ours`, by their keys, and the folders that are empty then. Returns how many
    /// there were.
    pub async fn remove_halves(&self, ours: impl Fn(&str) -> bool) -> Result<u64, StorageError> {
        let Some(root) = &self.folder else { return Ok(0) };
        let mut removed = 0;
        for half in halves(root).map_err(failed)? {
            if !key(root, &half).is_some_and(|key| ours(&key)) {
                continue;
            }
            match tokio::fs::remove_file(&half).await {
                // Its writer was alive, and has put it in its place.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                result => result.map_err(failed)?,
            }
            removed += 1;
            for folder in half.ancestors().skip(1).take_while(|folder| folder != root) {
                if tokio::fs::remove_dir(folder).await.is_err() {
                    break; // something is in it
                }
            }
        }
        Ok(removed)
    }
}

fn failed(error: io::Error) -> StorageError {
    StorageError::of("")(object_store::Error::Generic { store: "file", source: error.into() })
}

/// The key of the object that a file is a half of; `None` if it is none.
fn key(root: &Path, half: &Path) -> Option<String> {
    let (key, number) = half.strip_prefix(root).ok()?.to_str()?.rsplit_once('#')?;
    (!number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())).then(|| key.to_owned())
}

/// Every half below `folder`, which others may change meanwhile.
fn halves(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(halves(&entry.path())?);
        } else if key(folder, &entry.path()).is_some() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::StorageConfig;

    #[tokio::test]
    async fn what_dead_writers_began_goes_and_what_is_not_ours_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["720p", "tiles", "theirs"] {
            fs::create_dir(path(name)).unwrap();
        }
        for name in ["720p/a.m4s", "720p/b.m4s#1", "720p/b.m4s#22", "tiles/1#3", "720p/c#d", "720p/#", "theirs/x#1"] {
            fs::write(path(name), "half").unwrap();
        }
        let storage = Storage::open(&format!("file:{}", folder.path().display()), &StorageConfig::default()).unwrap();
        assert_eq!(storage.remove_halves(|key| !key.starts_with("theirs/")).await.unwrap(), 3);
        assert_eq!(halves(folder.path()).unwrap(), [path("theirs/x#1")]);
        assert!(path("720p/a.m4s").is_file() && path("720p/c#d").is_file() && path("720p/#").is_file());
        assert!(!path("tiles").is_dir(), "nothing is in it any more");
    }
}
