//! A farm under load with a real Prometheus, which looks at it through the committed settings, rules and dashboards while
//! one thing after another goes wrong. `make observe` runs it.
//!
//! | it asserts | by |
//! |---|---|
//! | every query of every panel finds something | `panels` |
//! | each fault lets its alerts fire, and no other; without a fault none does | `scenes` |
//! | the panel that is to show a fault does, and `farm job explain` says what is wrong | `scenes` |
//! | every metric of `deploy/METRICS.md` was recorded, and moved | `metrics` |
//!
//! `FARM_SCENES` plays those scenes alone that have these words in their names, and leaves out what all of them have to show.
//! What Prometheus has seen is left in `target/observe`, with the table that is printed; `FARM_OBSERVED=1` looks at it again,
//! panels and metrics, and plays nothing. `FARM_DRILL` causes one fault that a person is to find, see `person`.

#[allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]
#[path = "../support/mod.rs"]
mod support;

mod alerts;
#[allow(dead_code, reason = "spans are taken here, and not looked at")]
#[path = "../support/collector.rs"]
mod collector;
mod files;
mod load;
mod metrics;
mod panels;
mod person;
mod prometheus;
mod report;
mod scene;
mod scenes;
mod stage;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

// Only loaded at run time; named here so that they are built.
use emulated_cuda as _;
use emulated_cuvid as _;
use emulated_encode as _;
use emulated_ml as _;

use panels::Query;
use prometheus::{Prometheus, Since};
use report::Report;
use stage::Stage;

/// Outside of the runtime.
#[expect(clippy::disallowed_methods, reason = "what other processes do can only be looked at again and again")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Words in the names of scenes that are to be played, with commas between them; without, all are.
const SCENES: &str = "FARM_SCENES";
/// Set where nothing is to be played.
const AGAIN: &str = "FARM_OBSERVED";
/// Words in the name of the fault that a person is to find, or none for any fault.
const DRILL: &str = "FARM_DRILL";
/// Set where the test may mount things that nobody else sees.
const INSIDE: &str = "FARM_TEST_INSIDE";
const TEST: &str = "every_fault_is_seen_where_it_should_be_and_nowhere_else";

/// For all that servers and workers keep: in memory, so that a slow disk is not taken for a slow server.
const ROOM: &str = "2g";

/// Puts a disk in memory over a folder.
fn mount(folder: &Path, size: &str) {
    let mut mount = Command::new("mount");
    support::run(mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "farm-test"]).arg(folder));
}

/// Whether things may be mounted.
fn inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

#[test]
#[ignore = "minutes; `make observe` runs it"]
fn every_fault_is_seen_where_it_should_be_and_nowhere_else() {
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount"]);
        command
    };
    if inside() {
        mount(&std::env::temp_dir(), ROOM);
    }
    if inside() || !unshare().arg("true").status().is_ok_and(|status| status.success()) {
        return tokio::runtime::Runtime::new().unwrap().block_on(watch());
    }
    let test = std::env::current_exe().unwrap();
    let args = ["--exact", TEST, "--ignored", "--nocapture"];
    let mut command = unshare();
    command.arg(test).args(args).env(INSIDE, "1").env("TMPDIR", files::emptied("tmp"));
    let ran = command.status().unwrap();
    assert!(ran.success(), "{ran}");
}

async fn watch() {
    if std::env::var_os(AGAIN).is_some() {
        let Some((prometheus, began)) = Prometheus::again() else { return };
        let complaints = complaints(&prometheus, &panels::all(), began);
        return assert!(complaints.is_empty(), "{complaints:#?}");
    }
    let Some(stage) = Stage::set().await else { return };
    if let Some(words) = words(DRILL) {
        let complaints = person::drill(&stage, &words).await;
        return assert!(complaints.is_empty(), "{complaints:#?}");
    }
    let (mut report, words) = (Report::default(), words(SCENES).unwrap_or_default());
    scenes::play(&stage, &words, &mut report).await;
    let alerts = stage.prometheus.alerts();
    if words.is_empty() {
        report.complain(complaints(&stage.prometheus, &stage.queries, stage.began));
        report.complain(alerts::complaints(&alerts, &report.fired()));
    }
    let [took_s, queries] = [stage.began.elapsed_s() as usize, stage.queries.len()];
    let jobs = stage.load.finish().await;
    report.note(format!("{took_s} s, {queries} queries, {} alerts, {jobs} jobs, none lost", alerts.len()));
    let complaints = report.finish();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

/// What a variable says of scenes, if it is set.
fn words(variable: &str) -> Option<String> {
    Some(std::env::var_os(variable)?.into_string().expect("names of scenes are text"))
}

/// What is wrong with all that was seen since then.
fn complaints(prometheus: &Prometheus, queries: &[Query], since: Since) -> Vec<String> {
    let empty = panels::empty(queries.iter(), prometheus, since);
    empty.chain(metrics::complaints(prometheus, since)).collect()
}
