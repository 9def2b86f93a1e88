//! Running the farm, and reading what it made with other people's tools.

pub mod boxes;
pub mod chance;
pub mod cluster;
pub mod load;
pub mod players;
pub mod presentation;
pub mod probe;
pub mod processes;
pub mod right;
pub mod served;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

pub use presentation::{Presentation, Track};

/// A committed clip; `farm/tests/media/README.md` says what each is for.
pub fn clip(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/media").join(name);
    assert!(path.is_file(), "{} should be a committed clip", path.display());
    path
}

/// A folder that goes away with its owner.
pub fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder for temporary files should be there")
}

/// `farm transcode SOURCE OUT`, not yet started.
pub fn transcode_command(source: &Path, out: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_farm"));
    command.arg("transcode").arg(source).arg(out).args(options).env_remove("RUST_LOG");
    command
}

/// Runs `farm transcode SOURCE OUT`, whatever comes of it.
pub fn transcode(source: &Path, out: &Path, options: &[&str]) -> Output {
    transcode_command(source, out, options).output().expect("the farm should start")
}

/// The built-in profile `name` with Opus instead of AAC, as a file in `folder`.
pub fn with_opus(name: &str, folder: &Path) -> PathBuf {
    let shown = run(Command::new(env!("CARGO_BIN_EXE_farm")).args(["profile", "show", name]));
    let file = folder.join("opus.toml");
    std::fs::write(&file, shown.replace("codec = \"aac\"", "codec = \"opus\"")).expect("a profile");
    file
}

/// Output of a tool that must succeed and must not complain.
pub fn run(command: &mut Command) -> String {
    let (stdout, stderr) = run_with_complaints(command);
    assert!(stderr.is_empty(), "{command:?} says: {stderr}");
    stdout
}

/// Output and complaints of a tool that must succeed.
pub fn run_with_complaints(command: &mut Command) -> (String, String) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; `make test` installs it"));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {}: {stderr}", output.status);
    (String::from_utf8_lossy(&output.stdout).into_owned(), stderr)
}
