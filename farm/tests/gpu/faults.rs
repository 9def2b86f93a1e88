//! Cards that fall ill after they have proven themselves: each fault costs what failed and no more, the presentation is
//! right, and the job says what happened.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::machine::{Machine, families, hardware, make, placements, source};
use crate::support::served::Served;

/// A farm on a machine whose card was well when it proved itself.
struct Ward {
    machine: Machine,
    farm: Served,
    source: PathBuf,
}

impl Ward {
    fn open() -> Self {
        let machine = Machine::new("t4", "");
        let farm = machine.serve();
        let source = source(farm.folder.path(), "1");
        Self { machine, farm, source }
    }

    /// Makes a job of one chunk on a card that has this fault from now on; where it is, and its JSON.
    fn make(&self, fault: &str) -> (PathBuf, Value) {
        self.machine.play("t4", fault);
        self.farm.kill_slots(); // they have loaded the libraries as they were
        make(&self.farm, &self.source, &["--segment", "2s", "--rungs", "all"])
    }

    /// The same; its chunk was not made at these stages, but here, and `run.json`, the job and its explanation say so.
    fn falls(&self, fault: &str, stages: &[&str], placement: &str) -> PathBuf {
        let (out, job) = self.make(fault);
        let fallbacks = &hardware(&out)[0]["fallbacks"];
        let found: Vec<_> = fallbacks.as_array().unwrap().iter().map(|one| one["stage"].as_str().unwrap()).collect();
        assert_eq!((found.as_slice(), placements(&out)[0].as_str()), (stages, placement), "{fault}: {fallbacks}");
        let explained = self.farm.json(&["job", "explain", job["id"].as_str().unwrap()]).remove(0).to_string();
        for stage in stages {
            let code = format!("gpu_{stage}_fallback");
            assert!(job["problems"].to_string().contains(&code), "{job}");
            assert!(explained.contains(&code), "{explained}");
        }
        out
    }
}

#[test]
fn each_stage_that_fails_is_left_out_and_after_three_faults_the_card_is() {
    let ward = Ward::open();
    ward.falls("NvEncEncodePicture@20+=20", &["encode"], "nvdec+cuda+software");
    ward.falls("cuvidDecodePicture@7+=999", &["decode"], "software+cuda+nvenc");
    // Every call fails after a kernel that failed, so the decoder may be the first to notice.
    let (out, _) = ward.make("cuLaunchKernel@9+=719");
    assert_eq!(placements(&out), ["software+software+software"]);
    assert_eq!(hardware(&out)[0]["fallbacks"].as_array().unwrap().last().unwrap()["stage"], "scale");
    let (out, job) = ward.make("");
    assert_eq!(hardware(&out), [Value::Null], "it is not trusted until it has passed its test again");
    assert_eq!(job["problems"], json!([]), "{job}");
}

/// Other users of a card, and sources that it can't decode, are no fault of its own: it is used for all that it can still do,
/// until it is gone.
#[test]
fn what_is_not_the_cards_fault_costs_one_chunk_or_one_rendition() {
    let ward = Ward::open();
    let out = ward.falls("sessions=1", &["encode"], "nvdec+cuda+nvenc");
    let mut chunk = families(&out).remove(0);
    chunk.sort();
    assert_eq!(chunk, ["nvenc-turing", "software"]);
    ward.falls("decode:corrupt", &["decode"], "software+cuda+nvenc");
    let (out, _) = ward.make("memory=1");
    assert_eq!(placements(&out), ["software+software+software"]);
    let (out, _) = ward.make("");
    assert_eq!(placements(&out), ["nvdec+cuda+nvenc"]);
    ward.machine.assert_content();
    let (out, job) = ward.make("device_lost@200");
    assert_eq!(placements(&out), ["software+software+software"]);
    assert!(job["problems"].to_string().contains("_fallback"), "{job}");
}
