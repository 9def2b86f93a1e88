//! `farm doctor`.

use std::process::{Command, Output};

use serde_json::Value;

fn doctor(args: &[&str]) -> (Output, Vec<Value>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_farm"));
    let output = command.arg("doctor").args(args).arg("--json").env_remove("RUST_LOG").output().unwrap();
    let lines = String::from_utf8(output.stdout.clone()).unwrap();
    let findings = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (output, findings)
}

fn grade<'a>(findings: &'a [Value], what: &str) -> &'a str {
    let finding =
        findings.iter().find(|finding| finding["what"] == what).unwrap_or_else(|| panic!("nothing of {what}"));
    finding["grade"].as_str().unwrap()
}

#[test]
fn a_host_that_runs_these_tests_is_fit_and_its_storage_is_tried() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("place");
    let (output, findings) = doctor(&["--storage", place.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{findings:#?}");
    for what in ["encode H.264", "encode HEVC", "encode AV1", "encode AAC", "encode Opus", "storage"] {
        assert_eq!(grade(&findings, what), "ok", "{findings:#?}");
    }
    for what in ["memory", "scratch space", "open files"] {
        assert_ne!(grade(&findings, what), "bad", "{findings:#?}");
    }
}

#[test]
fn what_is_missing_is_said_with_what_to_do() {
    let (output, findings) =
        doctor(&["--nats", "nats://127.0.0.1:9", "--etcd", "http://127.0.0.1:9", "--storage", "/proc/nowhere"]);
    assert_eq!(output.status.code(), Some(1));
    for what in ["NATS", "etcd", "storage"] {
        assert_eq!(grade(&findings, what), "bad");
        let finding = findings.iter().find(|finding| finding["what"] == what).unwrap();
        assert!(!finding["advice"].as_str().unwrap().is_empty(), "{finding}");
    }
}
