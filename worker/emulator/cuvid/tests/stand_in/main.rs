//! The stand-in as its clients see it: FFmpeg, and a small one of our own that can be told to misbehave.

mod client;
mod ffmpeg;
mod misdeeds;
mod streams;

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use card::Library;

/// Runs a child on the stand-ins of all three libraries; what the ledger says then.
fn play(child: &mut Command, card: &str, faults: &str) -> (Output, String) {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger");
    card::folder(folder.path(), &card::folder::built().unwrap(), &Library::ALL).unwrap();
    card::play(child, folder.path(), card, faults, &ledger);
    let output = child.output().unwrap();
    (output, fs::read_to_string(&ledger).unwrap_or_default())
}

/// A child that runs one of the ignored tests.
fn ignored(test: &str) -> Command {
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--ignored", "--exact", test]);
    child
}

/// Encodes a moving picture of that size.
fn encode(to: &Path, size: &str, frames: u32, encoder: &[&str]) {
    let source = format!("testsrc2=s={size}:r=25");
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-y", "-f", "lavfi", "-i", &source, "-frames:v", &frames.to_string()]);
    let output = ffmpeg.args(encoder).arg(to).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
