//! The bench of the control plane runs: the small case of one scenario.

use std::process::Command;

#[path = "../../farm/tests/support/cluster/build.rs"]
mod build;

#[test]
fn a_small_run_makes_all_chunks_and_says_what_they_cost() {
    if shared::testing::program("nats-server").is_none() || shared::testing::program("etcd").is_none() {
        return;
    }
    build::build();
    let mut control = Command::new(env!("CARGO_BIN_EXE_control"));
    let output =
        control.args(["throughput", "--chunks", "50", "--jobs", "2", "--workers", "2", "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let all: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let figures = all[0]["figures"].as_array().unwrap();
    assert!(figures.len() >= 5 && figures.iter().all(|figure| figure["value"].as_f64().unwrap() > 0.0), "{all}");
}
