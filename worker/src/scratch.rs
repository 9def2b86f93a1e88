//! Files that exist only as open descriptors.
//!
//! ```text
//! <scratch>/lock                 held while the folders below are looked through
//!           <pid>.<number>/lock  held as long as that process lives
//!                          file  for the moment between making it and taking its name away
//!           <GPU>.json           what a GPU has proven ([`crate::proof::gpu::Kept`])
//! ```
//!
//! A file loses its name as soon as it is open, so nothing is left of a process that is killed but its folder, which the
//! next one takes away.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use shared::error::{ErrorKind, TaskError};

const LOCK: &str = "lock";

/// A folder for scratch files. Nothing is made before the first file is.
#[derive(Debug)]
pub struct Scratch {
    base: PathBuf,
    own: Mutex<Option<Own>>,
    next: AtomicU64,
    /// Bytes in all files that are open.
    used: Arc<AtomicU64>,
}

/// Room for scratch files, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Of the file system.
    pub whole: u64,
    /// What may still be written there.
    pub free: u64,
    /// What this worker's files hold.
    pub used: u64,
}

/// This process's folder.
#[derive(Debug)]
struct Own {
    path: PathBuf,
    _lock: File, // says that this process lives
}

/// A file without a name.
#[derive(Debug)]
pub struct ScratchFile {
    /// For this process.
    pub writer: File,
    /// For a slot, which may only read.
    pub reader: File,
    /// What is in it.
    pub held: Held,
}

/// Bytes in a file, which count until this is dropped.
#[derive(Debug)]
pub struct Held {
    bytes: AtomicU64,
    all: Arc<AtomicU64>,
}

impl Held {
    /// So many were written.
    pub fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.all.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.fetch_sub(*self.bytes.get_mut(), Ordering::Relaxed);
    }
}

/// A file without a name to which nothing is written any more.
#[derive(Debug)]
pub struct ScratchReader {
    file: File,
    _held: Held,
}

impl ScratchReader {
    /// The file once more, for a slot.
    pub fn try_clone(&self) -> io::Result<File> {
        self.file.try_clone()
    }
}

impl ScratchFile {
    /// It is written.
    pub fn into_reader(self) -> ScratchReader {
        ScratchReader { file: self.reader, _held: self.held }
    }
}

impl Scratch {
    /// Scratch files below `base`; if it is there, what dead processes have left in it is removed.
    pub fn new(base: &Path) -> Self {
        let (own, next, used) = Default::default();
        let scratch = Self { base: base.to_owned(), own, next, used };
        match scratch.lock_base().and_then(|_lock| scratch.remove_leftovers()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(folder = %base.display(), %error, "scratch folder not looked through");
            }
            _ => {}
        }
        scratch
    }

    /// Makes a file. Blocking.
    pub fn file(&self) -> Result<ScratchFile, TaskError> {
        self.make().map_err(|error| self.failure(&error))
    }

    /// A scratch file could not be made or written.
    pub fn failure(&self, error: &io::Error) -> TaskError {
        let (code, advice) = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ("scratch_full", "free space there"),
            _ => ("scratch", "the worker must be able to write there"),
        };
        let text = format!("{}: {error}; {advice}, or set `scratch` to another folder", self.base.display());
        TaskError::new(ErrorKind::Exhausted, code, text)
    }

    fn make(&self) -> io::Result<ScratchFile> {
        let path = self.own_folder()?.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        let writer = File::create_new(&path)?;
        let reader = File::open(&path);
        fs::remove_file(&path)?;
        let held = Held { bytes: AtomicU64::new(0), all: self.used.clone() };
        Ok(ScratchFile { writer, reader: reader?, held })
    }

    /// How much room there is, where the folder is or would be made. Blocking.
    pub fn space(&self) -> io::Result<Space> {
        let there = self.base.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
        let system = rustix::fs::statvfs(there)?;
        let bytes = |blocks: u64| blocks.saturating_mul(system.f_frsize);
        let used = self.used.load(Ordering::Relaxed);
        Ok(Space { whole: bytes(system.f_blocks), free: bytes(system.f_bavail), used })
    }

    fn own_folder(&self) -> io::Result<PathBuf> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = &*own {
            return Ok(own.path.clone());
        }
        make_folder(&self.base)?;
        let _lock = self.lock_base()?; // nobody takes the folder for a dead process's before its lock is held
        self.remove_leftovers()?;
        let path = (0..).map(|number| self.base.join(format!("{}.{number}", std::process::id())));
        for path in path {
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {
                    let lock = File::create_new(path.join(LOCK))?;
                    lock.lock()?;
                    *own = Some(Own { path: path.clone(), _lock: lock });
                    return Ok(path);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {} // another worker of this process
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("there are no numbers left"))
    }

    fn lock_base(&self) -> io::Result<File> {
        check_folder(&self.base)?;
        let lock = File::options().create(true).truncate(false).write(true).open(self.base.join(LOCK))?;
        lock.lock()?;
        Ok(lock)
    }

    fn remove_leftovers(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.base)? {
            let path = entry?.path();
            if !path.is_dir() {
                continue;
            }
            let lives = match File::open(path.join(LOCK)).map(|lock| lock.try_lock()) {
                Ok(Err(TryLockError::WouldBlock)) => true,
                Ok(Err(TryLockError::Error(error))) => return Err(error),
                Ok(Ok(())) | Err(_) => false,
            };
            if !lives {
                tracing::info!(folder = %path.display(), "scratch of a dead process removed");
                fs::remove_dir_all(&path)?;
            }
        }
        Ok(())
    }
}

/// Makes a folder that only this user looks into, if it isn't there.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).recursive(true).create(path)?;
    check_folder(path)
}

/// A folder of somebody else may be full of links that lead elsewhere.
pub(crate) fn check_folder(path: &Path) -> io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    if meta.is_dir() && meta.uid() == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is not a folder of this user"))
}

/// A worker that ends leaves nothing.
impl Drop for Scratch {
    fn drop(&mut self) {
        let own = self.own.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(Own { path, .. }) = own.take()
            && let Err(error) = fs::remove_dir_all(&path)
        {
            tracing::warn!(folder = %path.display(), %error, "scratch folder not removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn a_file_has_no_name_and_its_folder_goes_with_the_worker() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("scratch");
        let scratch = Scratch::new(&base);
        assert!(!base.try_exists().unwrap()); // nothing before it is needed
        let file = scratch.file().unwrap();
        file.writer.write_all_at(b"later", 1 << 20).unwrap();
        let mut read = [0; 5];
        file.reader.read_exact_at(&mut read, 1 << 20).unwrap();
        assert_eq!(&read, b"later");
        assert!(file.reader.write_at(b"x", 0).is_err());
        file.held.add(5);
        let space = scratch.space().unwrap();
        assert!(space.whole > space.free && space.used == 5, "{space:?}");
        drop(file.into_reader());
        assert_eq!(scratch.space().unwrap().used, 0);
        let own = base.join(format!("{}.0", std::process::id()));
        assert_eq!(fs::read_dir(&own).unwrap().count(), 1); // the lock
        drop(scratch);
        assert!(!own.try_exists().unwrap());
    }

    #[test]
    fn what_the_dead_left_is_removed_and_what_the_living_have_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let living = Scratch::new(folder.path());
        living.file().unwrap();
        let dead = folder.path().join("4194305.0");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join(LOCK), "").unwrap();
        fs::write(dead.join("7"), "left").unwrap();
        let next = Scratch::new(folder.path());
        assert!(!dead.try_exists().unwrap());
        living.file().unwrap();
        next.file().unwrap();
    }

    #[test]
    fn a_full_disk_is_no_fault_of_the_source() {
        let error = Scratch::new(Path::new("/nowhere")).failure(&io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Exhausted, "scratch_full"));
    }
}
