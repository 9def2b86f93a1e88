//! Pages of metrics, judged by Prometheus's own tool.

use std::env;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// `promtool check metrics` has nothing to say about the page. Passes if there is no promtool, and says so.
///
/// # Panics
/// If it has.
pub fn assert_scrapes(page: &str) {
    let Some(promtool) = promtool() else {
        return eprintln!("SKIPPED: promtool is not installed; `make prometheus` unpacks it");
    };
    let mut child = Command::new(promtool);
    let child = child.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().expect("promtool should start");
    let mut stdin = child.stdin.take().expect("it was asked for");
    stdin.write_all(page.as_bytes()).expect("promtool should read the page");
    drop(stdin);
    let said = child.wait_with_output().expect("promtool should end");
    assert!(said.status.success(), "{}\n{page}", String::from_utf8_lossy(&said.stderr));
}

fn promtool() -> Option<PathBuf> {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/prometheus/usr/bin");
    let path = env::var_os("PATH").unwrap_or_default();
    let mut places = std::iter::once(ours).chain(env::split_paths(&path)).map(|folder| folder.join("promtool"));
    places.find(|place| place.is_file())
}
