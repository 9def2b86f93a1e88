//! The output folder: the names in it, who made them, and whose turn it is to write.

mod ours;

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::exit::{Exit, Failure};
use crate::order::Order;
use ours::{clear_tree, is_half_written, is_ours};

/// The HLS multivariant playlist: appears when every rendition has its first segment.
pub const MULTIVARIANT: &str = "master.m3u8";
/// The DASH manifest.
pub const MANIFEST: &str = "manifest.mpd";
/// The certificate: its presence means that the presentation is complete.
pub const CERTIFICATE: &str = "presentation.json";
/// State and intermediate objects of a run that has not ended.
pub const HIDDEN: &str = ".farm";
/// What differs from run to run; the order is added to it when the run has ended.
const RUN_REPORT: &str = "run.json";
/// Key in [`RUN_REPORT`].
const ORDER: &str = "order";
/// Below [`HIDDEN`]: what was ordered.
const ORDER_FILE: &str = "order.json";
/// Below [`HIDDEN`]: the folders that a run made for this output, one a line, outermost first.
const MADE: &str = "made";

/// What a folder holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    /// Nothing of ours, and nothing in our way.
    Free,
    /// A run that has not ended.
    Unfinished,
    /// A complete presentation.
    Complete,
    /// A presentation that somebody else made.
    Foreign,
}

/// An output folder in this process's hands: no other farm writes to it.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Locked; the lock ends with the process, however it ends.
    _lock: File,
    made: Vec<PathBuf>,
}

impl Folder {
    /// Makes the folder if it is missing, and locks it.
    ///
    /// # Errors
    /// `output` if it can't be made or opened, `output_busy` if another farm is at work in it.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let failed = |error: io::Error| {
            Failure::storage("output", format!("{}: {error}", path.display()))
                .help("choose a folder that may be written")
        };
        let path = std::path::absolute(path).map_err(failed)?;
        if path.to_str().is_none() {
            return Err(failed(io::Error::other("its name is not UTF-8")));
        }
        if path.is_file() {
            return Err(failed(io::Error::other("is a file and not a folder")));
        }
        let mut made = missing(&path).map_err(failed)?;
        fs::create_dir_all(&path).map_err(failed)?;
        let lock = File::open(&path).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(error)) => return Err(failed(error)),
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::storage(
                    "output_busy",
                    format!("{}: another farm is writing there", path.display()),
                )
                .help("wait until it has ended, or choose another folder"));
            }
        }
        let hidden = path.join(HIDDEN);
        match fs::read_to_string(hidden.join(MADE)) {
            Ok(list) => made = list.lines().map(PathBuf::from).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        Ok(Self { path, _lock: lock, made })
    }

    /// Where it is, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it holds now.
    ///
    /// # Errors
    /// `output`.
    pub fn contents(&self) -> Result<Contents, Failure> {
        let has = |name: &str| self.path.join(name).try_exists().map_err(|error| self.failed(error));
        let certified = self.is_certified().map_err(|error| self.failed(error))?;
        let played = has(MULTIVARIANT)? || has(MANIFEST)? || has(CERTIFICATE)?;
        Ok(match (has(HIDDEN)?, certified, played) {
            (true, ..) => Contents::Unfinished,
            (false, true, _) => Contents::Complete,
            (false, false, true) => Contents::Foreign,
            (false, false, false) => Contents::Free,
        })
    }

    /// Whether there is a certificate that a farm wrote, of this or another version.
    fn is_certified(&self) -> io::Result<bool> {
        let text = read(&self.path.join(CERTIFICATE))?;
        let document: Option<Value> = text.and_then(|text| serde_json::from_slice(&text).ok());
        Ok(document.is_some_and(|document| document.get("farm").is_some() && document.get("recipe").is_some()))
    }

    /// What an earlier run was asked for; `None` if there was none, or if it does not say.
    ///
    /// # Errors
    /// `output`.
    pub fn order(&self) -> Result<Option<Order>, Failure> {
        let begun = read(&self.path.join(HIDDEN).join(ORDER_FILE)).map_err(|error| self.failed(error))?;
        if let Some(text) = begun {
            return Ok(serde_json::from_slice(&text).ok());
        }
        let ended = read(&self.path.join(RUN_REPORT)).map_err(|error| self.failed(error))?;
        let report: Option<Value> = ended.and_then(|text| serde_json::from_slice(&text).ok());
        Ok(report.and_then(|mut report| serde_json::from_value(report.get_mut(ORDER)?.take()).ok()))
    }

    /// Makes the place for state and intermediate objects, and removes what a killed run had half written.
    ///
    /// # Errors
    /// `output`.
    pub fn prepare(&self, order: &Order) -> Result<PathBuf, Failure> {
        let hidden = self.path.join(HIDDEN);
        let list: String = self.made.iter().map(|path| format!("{}\n", path.display())).collect();
        fs::create_dir_all(&hidden)
            .and_then(|()| write(&hidden.join(MADE), list.as_bytes()))
            .and_then(|()| write(&hidden.join(ORDER_FILE), &json(order)))
            .and_then(|()| clear_tree(&self.path, &is_half_written))
            .map_err(|error| self.failed(error))?;
        Ok(hidden)
    }

    /// The run has ended well: notes what was ordered, and removes state and intermediate objects.
    ///
    /// # Errors
    /// `output`.
    pub fn finish(&self, order: &Order) -> Result<(), Failure> {
        let path = self.path.join(RUN_REPORT);
        let noted = read(&path).and_then(|text| {
            let report = text.and_then(|text| serde_json::from_slice(&text).ok());
            let mut report = report.unwrap_or_else(|| Value::Object(Default::default()));
            report[ORDER] = serde_json::to_value(order)?;
            write(&path, &json(&report))
        });
        noted.and_then(|()| remove_tree(&self.path.join(HIDDEN))).map_err(|error| self.failed(error))
    }

    /// Removes everything that a farm made here and leaves everything else.
    ///
    /// # Errors
    /// `output`.
    pub fn clear(&self) -> Result<(), Failure> {
        clear_tree(&self.path, &|folder, name| is_ours(folder, name) || is_half_written(folder, name))
            .and_then(|()| remove_tree(&self.path.join(HIDDEN)))
            .map_err(|error| self.failed(error))
    }

    /// Leaves nothing behind: what was made here goes, and the folder too if it was made for this run.
    ///
    /// # Errors
    /// `output`.
    pub fn abandon(self) -> Result<(), Failure> {
        self.clear()?;
        for made in self.made.iter().rev() {
            match fs::remove_dir(made) {
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => break,
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(self.failed(error)),
                _ => {}
            }
        }
        Ok(())
    }

    fn failed(&self, error: io::Error) -> Failure {
        Failure::storage("output", format!("{}: {error}", self.path.display()))
            .help("check its permissions and the disk")
    }

    /// The folder holds a presentation that this program did not make.
    pub fn foreign(&self) -> Failure {
        let names = format!("{MULTIVARIANT}, {MANIFEST} or {CERTIFICATE}");
        let message = format!("{}: holds a {names} that no farm made", self.path.display());
        Failure::new(Exit::Storage, "output_foreign", message).help("choose another folder")
    }
}

/// The folders that must be made for `path` to be there, outermost first.
fn missing(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut missing = Vec::new();
    for part in path.ancestors() {
        if part.try_exists()? {
            break;
        }
        missing.push(part.to_path_buf());
    }
    missing.reverse();
    Ok(missing)
}

/// `None` if there is no such file.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whole or not at all.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut half = path.as_os_str().to_owned();
    half.push("#1"); // as object stores on disk name what is not whole yet
    fs::write(&half, content)?;
    fs::rename(&half, path)
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).expect("plain data should serialise");
    text.push(b'\n');
    text
}

fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(root: &Path, names: &[&str]) {
        for name in names {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
    }

    fn names(root: &Path) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![root.to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                found.push(entry.path().strip_prefix(root).unwrap().display().to_string());
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                }
            }
        }
        found.sort();
        found
    }

    fn order() -> Order {
        let source = crate::order::Source::open(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")));
        let profile = coordinator::profile::Profile::named("web").unwrap();
        Order::new(&source.unwrap(), profile, 6000, coordinator::ladder::Rungs::Auto, None, false)
    }

    const OURS: [&str; 17] = [
        "master.m3u8",
        "manifest.mpd",
        "presentation.json",
        "run.json",
        "poster.jpg",
        "storyboard.vtt",
        "storyboard/000.0123456789abcdef.jpg",
        "v720/v720.mp4",
        "a-en/a-en.mp4#1",
        "a-en/init.fedcba9876543210.mp4#1",
        "v720/init.0123456789abcdef.mp4",
        "v720/playlist.m3u8",
        "v720/iframes.m3u8",
        "v720/000012.0123456789abcdef.m4s",
        "a-en/000000.0123456789abcdef.m4s",
        "a-en/000001.0123456789abcdef.m4s#3",
        ".farm/state.redb",
    ];

    #[test]
    fn clearing_takes_what_is_ours_and_leaves_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let foreign = [
            "holiday.mp4",
            "v720/notes.txt",
            "v720/init.mp4",
            "v720.mp4",
            "holiday/holiday.mp4",
            "a-en/clip.m4s",
            "music/playlist.m3u8",
            "storyboard/1.jpg",
            "Photos/000012.0123456789abcdef.m4s",
        ];
        put(dir.path(), &OURS);
        put(dir.path(), &foreign);
        Folder::open(dir.path()).unwrap().clear().unwrap();
        let folders = ["v720", "a-en", "holiday", "music", "storyboard", "Photos"];
        let mut expected: Vec<String> = foreign.iter().chain(&folders).map(|s| s.to_string()).collect();
        expected.sort();
        assert_eq!(names(dir.path()), expected);
    }

    #[test]
    fn an_abandoned_folder_goes_with_the_parents_made_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("made/for/this");
        let folder = Folder::open(&out).unwrap();
        folder.prepare(&order()).unwrap();
        drop(folder); // as if killed; the next run goes on
        put(&out, &OURS);
        Folder::open(&out).unwrap().abandon().unwrap();
        assert_eq!(names(dir.path()), Vec::<String>::new());

        let kept = dir.path().join("kept");
        put(&kept, &["holiday.mp4"]);
        Folder::open(&kept).unwrap().abandon().unwrap();
        assert_eq!(names(dir.path()), ["kept", "kept/holiday.mp4"]);
    }

    #[test]
    fn a_folder_has_one_writer() {
        let dir = tempfile::tempdir().unwrap();
        let first = Folder::open(dir.path()).unwrap();
        assert_eq!(Folder::open(dir.path()).unwrap_err().code, "output_busy");
        drop(first);
        Folder::open(dir.path()).unwrap();
    }

    #[test]
    fn the_order_is_known_while_a_run_lasts_and_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        assert_eq!(folder.order().unwrap(), None);
        folder.prepare(&order()).unwrap();
        assert_eq!(folder.order().unwrap(), Some(order()));
        fs::write(dir.path().join(RUN_REPORT), r#"{"wall_ms": 7}"#).unwrap();
        folder.finish(&order()).unwrap();
        assert_eq!(names(dir.path()), [RUN_REPORT]);
        assert_eq!(folder.order().unwrap(), Some(order()));
        let report: Value = serde_json::from_slice(&fs::read(dir.path().join(RUN_REPORT)).unwrap()).unwrap();
        assert_eq!(report["wall_ms"], 7);
    }

    #[test]
    fn what_a_killed_run_had_half_written_goes() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), &["master.m3u8#1", "v720/playlist.m3u8#2", "v720/000001.0123456789abcdef.m4s", "notes#1"]);
        let folder = Folder::open(dir.path()).unwrap();
        folder.prepare(&order()).unwrap();
        folder.finish(&order()).unwrap();
        assert_eq!(names(dir.path()), ["notes#1", "run.json", "v720", "v720/000001.0123456789abcdef.m4s"]);
    }

    #[test]
    fn contents_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        assert_eq!(folder.contents().unwrap(), Contents::Free);
        put(dir.path(), &["master.m3u8"]);
        assert_eq!(folder.contents().unwrap(), Contents::Foreign);
        put(dir.path(), &["presentation.json"]);
        assert_eq!(folder.contents().unwrap(), Contents::Foreign);
        fs::write(dir.path().join(CERTIFICATE), r#"{"farm": "0.1.0", "recipe": "12ab"}"#).unwrap();
        assert_eq!(folder.contents().unwrap(), Contents::Complete);
        folder.prepare(&order()).unwrap();
        assert_eq!(folder.contents().unwrap(), Contents::Unfinished);
    }
}
