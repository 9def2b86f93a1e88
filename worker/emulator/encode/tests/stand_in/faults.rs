//! Every fault ends as FFmpeg reports it on a real machine.

use std::time::{Duration, Instant};

use crate::ffmpeg::encode;
use crate::machine::{Machine, likeness};

const H264: &str = "-c:v h264_nvenc -b:v 3M";

/// What FFmpeg says when it encodes H.264 on a machine with this card and these faults.
fn failure(card: &str, faults: &str) -> String {
    let machine = Machine::new();
    let source = machine.source(40, "yuv420p");
    let run = encode(&machine, card, faults, &source, H264, &machine.path("coded.mp4"));
    assert!(!run.ok, "{run:?}");
    run.text
}

#[track_caller]
fn says(text: &str, wanted: &str) {
    assert!(text.contains(wanted), "{wanted:?} is not in {text}");
}

#[test]
fn a_card_without_nvenc_is_an_unsupported_device() {
    says(&failure("h200", ""), "OpenEncodeSessionEx failed: unsupported device (2)");
}

#[test]
fn a_machine_without_a_card_has_no_device() {
    says(&failure("none", ""), "CUDA_ERROR_NO_DEVICE");
}

#[test]
fn a_system_without_a_free_session_is_out_of_memory() {
    says(&failure("rtx3060", "sessions=0"), "OpenEncodeSessionEx failed: out of memory (10)");
}

#[test]
fn a_call_that_fails_ends_the_stream() {
    says(&failure("l4", "NvEncEncodePicture@20=20"), "EncodePicture failed!: generic error (20)");
    says(&failure("l4", "NvEncLockBitstream@5=5"), "Failed locking bitstream buffer: device does not exist (5)");
    says(&failure("l4", "NvEncCreateBitstreamBuffer@1=10"), "CreateBitstreamBuffer failed: out of memory (10)");
}

#[test]
fn a_device_that_is_lost_is_noticed_here_too() {
    says(&failure("l4", "device_lost@100"), "unknown error");
}

#[test]
fn a_call_that_hangs_takes_its_time() {
    let machine = Machine::new();
    let source = machine.source(5, "yuv420p");
    let start = Instant::now();
    let run = encode(&machine, "l4", "NvEncLockBitstream@2:hang=700", &source, H264, &machine.path("coded.mp4"));
    assert!(run.ok && run.ledger.is_empty(), "{run:?}");
    assert!(start.elapsed() >= Duration::from_millis(700));
}

#[test]
fn corrupt_output_decodes_and_is_not_what_went_in() {
    let machine = Machine::new();
    let (source, coded) = (machine.source(10, "yuv420p"), machine.path("coded.mp4"));
    let run = encode(&machine, "l4", "encode:corrupt", &source, H264, &coded);
    assert!(run.ok, "{run:?}");
    assert!(likeness(&coded, &source) < 20.0);
}

#[test]
fn another_generation_of_cards_writes_other_parameter_sets() {
    let machine = Machine::new();
    let source = machine.source(10, "yuv420p");
    for codec in ["h264", "hevc"] {
        let headers = |faults: &str| {
            let coded = machine.path(&format!("coded.{codec}"));
            let run = encode(&machine, "l4", faults, &source, &format!("-c:v {codec}_nvenc -b:v 3M"), &coded);
            assert!(run.ok, "{run:?}");
            std::fs::read(&coded).unwrap()[..64].to_vec()
        };
        assert_eq!(headers(""), headers(""));
        assert_ne!(headers(""), headers("encode:header"), "{codec}");
    }
}
