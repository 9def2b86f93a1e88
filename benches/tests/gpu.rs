//! The check of GPUs checks: a whole run on the emulators is right, a card that decodes wrongly is not.

use std::path::Path;
use std::process::{Command, Output};

/// The check with clips of two codecs, on this card.
fn check(card: &str, more: &[&str]) -> Output {
    let clips = tempfile::tempdir().unwrap();
    for clip in ["bunny_720p25.mp4", "hevc_bframes.mp4"] {
        let media = Path::new(env!("CARGO_MANIFEST_DIR")).join("../farm/tests/media").canonicalize().unwrap();
        std::os::unix::fs::symlink(media.join(clip), clips.path().join(clip)).unwrap();
    }
    let mut gpu = Command::new(env!("CARGO_BIN_EXE_gpu"));
    gpu.args(["--json", "--on-emulator", card, "--clips"]).arg(clips.path()).args(more);
    gpu.output().unwrap()
}

fn report(output: &Output) -> serde_json::Value {
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

fn findings(report: &serde_json::Value) -> Vec<&serde_json::Value> {
    report["sections"].as_array().unwrap().iter().flat_map(|one| one["findings"].as_array().unwrap()).collect()
}

#[test]
fn a_card_without_nvenc_is_checked_from_its_driver_to_the_whole_way() {
    let output = check("h200", &[]);
    let report = report(&output);
    assert!(output.status.success(), "{report:#}");
    assert_eq!(report["sections"].as_array().unwrap().len(), 8, "{report:#}");
    let all = findings(&report);
    assert!(all.iter().filter(|one| one["right"] == true).count() >= 24, "{report:#}");
    let opened = all.iter().find(|one| one["what"] == "opening a session").unwrap();
    assert!(opened["found"].as_str().unwrap().contains("status 2 (UNSUPPORTED_DEVICE)"), "{opened}");
    let published = all.iter().find(|one| one["what"] == "H.264, 8 bit, 8 at once").unwrap();
    assert_eq!(published["figure"]["published"], 771.0, "a Hopper decodes as a Turing does: {published}");
}

#[test]
fn an_encoder_is_measured_against_what_is_published() {
    let output = check("t4", &["--only", "nvenc"]);
    let report = report(&output);
    assert!(output.status.success(), "{report:#}");
    let all = findings(&report);
    let measured = all.iter().find(|one| one["what"] == "H.264, P5, 1 at once").unwrap();
    assert_eq!(measured["figure"]["published"], 264.0, "{measured}");
    assert!(measured["figure"]["value"].as_f64().unwrap() > 0.0, "{measured}");
}

#[test]
fn a_card_that_decodes_something_else_is_found_out() {
    let output = check("t4", &["--only", "decode", "--faults", "decode:wrong"]);
    let report = report(&output);
    assert_eq!(output.status.code(), Some(1), "{report:#}");
    let all = findings(&report);
    let bunny = all.iter().find(|one| one["what"] == "bunny_720p25.mp4").unwrap();
    assert_eq!(bunny["right"], false, "{bunny}");
}

#[test]
fn a_machine_without_a_card_is_skipped_by_name() {
    let output = check("none", &[]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.starts_with("SKIPPED: no NVIDIA driver"), "{said}");
}
