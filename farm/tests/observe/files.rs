//! Where committed files are, and where this test leaves what it has found.

use std::fs;
use std::path::{Path, PathBuf};

/// A committed file, by its path in the repository.
pub fn path(name: &str) -> PathBuf {
    root().join(name)
}

/// The text of a committed file.
pub fn committed(name: &str) -> String {
    read(path(name))
}

fn read(path: PathBuf) -> String {
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}: run `make observe`", path.display()))
}

/// What `make observe` has made of the typed source of the dashboards.
pub fn made(name: &str) -> String {
    read(leaving("made").join(name))
}

/// An empty folder below `target/observe`.
pub fn emptied(name: &str) -> PathBuf {
    let folder = leaving(name);
    if let Err(error) = fs::remove_dir_all(&folder) {
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{}: {error}", folder.display());
    }
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Leaves a file for whoever wants to know more.
pub fn leave(name: &str, text: &str) {
    fs::write(leaving(name), text).unwrap();
}

/// What was left there.
pub fn left(name: &str) -> String {
    read(leaving(name))
}

/// Where something of this name is left.
pub fn leaving(name: &str) -> PathBuf {
    root().join("target/observe").join(name)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate should lie in the workspace")
}
