//! Cards that are well: each does what it can, from the first chunk on.

use std::process::Command;

use serde_json::Value;

use crate::machine::{Machine, families, hardware, make, placements, source};
use crate::support::{Presentation, clip, folder, run};

/// Chunks of 2 s and 1 s in 480p and 360p.
const TWO_SIZES: [&str; 6] = ["--segment", "2s", "--rungs", "all", "--profile", "web"];

fn assert_everywhere(presentation: &Presentation, placement: &str) {
    let found = placements(&presentation.out);
    assert!(!found.is_empty() && found.iter().all(|one| one == placement), "{found:?}, {placement} wanted");
}

#[test]
fn a_t4_makes_all_of_it_and_no_picture_leaves_it() {
    let (folder, machine) = (folder(), Machine::new("t4", ""));
    let (presentation, said) = machine.transcode(&source(folder.path(), "3"), &TWO_SIZES);
    assert_everywhere(&presentation, "nvdec+cuda+nvenc");
    assert!(said.contains("until the GPUs of this machine have been tried"), "{said}");
    for chunk in hardware(&presentation.out) {
        assert!(chunk["gpu"].as_str().unwrap().starts_with("GPU-"), "{chunk}");
        assert_eq!(chunk["fallbacks"].as_array().unwrap().len(), 0, "{chunk}");
        assert_eq!(chunk["uploaded_bytes"], 0, "{chunk}");
    }
    assert!(families(&presentation.out).iter().flatten().all(|family| family == "nvenc-turing"));
    machine.assert_content();
}

#[test]
fn an_rtx_3060_encodes_what_it_does_not_decode() {
    let (folder, machine) = (folder(), Machine::new("rtx3060", ""));
    let film = folder.path().join("film.mkv");
    let made = ["-t", "3", "-an", "-c:v", "mpeg4", "-q:v", "3"];
    run(Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(clip("hevc_bframes.mp4"))
        .args(made)
        .arg(&film));
    let (presentation, _) = machine.transcode(&film, &["--profile", "hevc"]);
    assert_everywhere(&presentation, "software+cuda+nvenc");
    assert!(hardware(&presentation.out)[0]["uploaded_bytes"].as_u64() > Some(0));
    assert!(families(&presentation.out).iter().flatten().all(|family| family == "nvenc-ampere"));
    machine.assert_content();
}

#[test]
fn an_l4_makes_av1() {
    let machine = Machine::new("l4", "");
    let (presentation, _) = machine.transcode(&clip("hevc_bframes.mp4"), &["--profile", "av1"]);
    assert_everywhere(&presentation, "nvdec+cuda+nvenc");
    assert!(families(&presentation.out).iter().flatten().all(|family| family == "nvenc-ada"));
    machine.assert_content();
}

#[test]
fn an_h200_decodes_and_scales_for_x264() {
    let (folder, machine) = (folder(), Machine::new("h200", ""));
    let (presentation, _) = machine.transcode(&source(folder.path(), "3"), &TWO_SIZES);
    assert_everywhere(&presentation, "nvdec+cuda+software");
    assert!(families(&presentation.out).iter().flatten().all(|family| family == "software"));
    machine.assert_content();
}

/// A real card answers when it has time, in groups, and reads its input late.
#[test]
fn a_card_that_takes_its_time_is_waited_for() {
    let folder = folder();
    let machine = Machine::new("t4", "lazy_streams,encode:burst,encode:late,decode:reuse");
    let (presentation, _) = machine.transcode(&source(folder.path(), "3"), &TWO_SIZES);
    assert_everywhere(&presentation, "nvdec+cuda+nvenc");
    machine.assert_content();
}

/// What a card says it has and has not: it encodes all the same, without.
#[test]
fn a_card_that_fails_with_the_settings_of_production_encodes_with_plain_ones() {
    let (folder, machine) = (folder(), Machine::new("t4", "encode:plain"));
    let (presentation, _) = machine.transcode(&source(folder.path(), "3"), &TWO_SIZES);
    assert_everywhere(&presentation, "nvdec+cuda+plain_nvenc");
    assert!(families(&presentation.out).iter().flatten().all(|family| family == "nvenc-turing"));
    machine.assert_content();
}

/// What fails of ours alone is done by FFmpeg's own encoder, which feeds the card in another way.
#[test]
fn where_nvenc_works_for_ffmpeg_alone_ffmpeg_drives_it() {
    let (folder, machine) = (folder(), Machine::new("t4", "NvEncRegisterResource@1+=8"));
    let (presentation, _) = machine.transcode(&source(folder.path(), "3"), &TWO_SIZES);
    assert_everywhere(&presentation, "nvdec+cuda+ffmpeg_nvenc");
    assert!(families(&presentation.out).iter().flatten().all(|family| family == "ffmpeg-nvenc"));
}

/// What a card decodes comes to the host through a kernel as well, so a driver that can't compile ours leaves the encoder to
/// who gives it pictures of the host.
#[test]
fn where_no_kernel_runs_ffmpeg_encodes_what_software_scales() {
    let (folder, machine) = (folder(), Machine::new("t4", "cuModuleLoadData@1+=218"));
    let (presentation, _) = machine.transcode(&source(folder.path(), "3"), &TWO_SIZES);
    assert_everywhere(&presentation, "software+software+ffmpeg_nvenc");
    assert!(families(&presentation.out).iter().flatten().all(|family| family == "ffmpeg-nvenc"));
}

/// Whoever drives it: it decodes and scales for software.
#[test]
fn a_card_that_codes_other_pictures_than_it_was_given_is_given_none() {
    let (folder, machine) = (folder(), Machine::new("t4", "encode:corrupt"));
    let farm = machine.serve();
    let (out, _) = make(&farm, &source(folder.path(), "3"), &TWO_SIZES);
    assert_eq!(placements(&out), ["nvdec+cuda+software"; 2]);
}

#[test]
fn a_card_that_decodes_what_the_source_has_not_encodes_what_software_decodes() {
    let (folder, machine) = (folder(), Machine::new("t4", "decode:wrong"));
    let (presentation, _) = machine.transcode(&source(folder.path(), "3"), &TWO_SIZES);
    assert_everywhere(&presentation, "software+cuda+nvenc");
}

#[test]
fn a_card_that_is_gone_from_the_start_costs_nothing() {
    let (folder, machine) = (folder(), Machine::new("t4", "device_lost@1"));
    let (presentation, _) = machine.transcode(&source(folder.path(), "3"), &TWO_SIZES);
    assert_eq!(hardware(&presentation.out), [Value::Null, Value::Null]);
}
