//! Where committed files are, and where this test leaves what it has found.

use std::fs;
use std::path::{Path, PathBuf};

/// A committed file, by its path in the repository.
pub fn path(name: &str) -> PathBuf {
    root().join(name)
}

/// The text of a committed file.
pub fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What `make observe` has made of the typed source of the dashboards.
pub fn made(name: &str) -> String {
    let file = root().join("target/observe/made").join(name);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}: run `make observe`", file.display()))
}

/// An empty folder below `target/observe`.
pub fn emptied(name: &str) -> PathBuf {
    let folder = root().join("target/observe").join(name);
    if let Err(error) = fs::remove_dir_all(&folder) {
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{}: {error}", folder.display());
    }
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Leaves a file for whoever wants to know more.
pub fn leave(name: &str, text: &str) {
    fs::write(root().join("target/observe").join(name), text).unwrap();
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate should lie in the workspace")
}
