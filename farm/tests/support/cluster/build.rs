//! The programs of a cluster, as they are now.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;
use std::time::SystemTime;

/// Where cargo puts all programs of a build: above the folder of its tests.
pub fn programs() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().to_owned()
}

/// One of them.
pub fn program(name: &str) -> PathBuf {
    programs().join(name)
}

/// Builds the programs, unless a build of the whole workspace just has.
pub fn build() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let sources = ["coordinator", "worker", "shared", "proto"].map(|package| newest(&root.join(package)));
        let sources = sources.into_iter().max().unwrap();
        let fresh = |name| program(name).metadata().and_then(|file| file.modified()).is_ok_and(|made| made > sources);
        if fresh("coordinator") && fresh("worker") {
            return;
        }
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--locked", "--workspace", "--bins"]).current_dir(root);
        if program("farm").parent().is_some_and(|folder| folder.ends_with("release")) {
            cargo.arg("--release");
        }
        assert!(cargo.status().unwrap().success(), "coordinator and worker can't be built");
    });
}

/// When something below `folder` that a program is built from was changed last.
fn newest(folder: &Path) -> SystemTime {
    let mut newest = SystemTime::UNIX_EPOCH;
    let mut folders = vec![folder.join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                newest = newest.max(entry.metadata().unwrap().modified().unwrap());
            }
        }
    }
    newest
}
