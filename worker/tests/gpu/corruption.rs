//! A card that goes wrong after it has proven itself, and says nothing; and inputs that go wrong wherever they are tried.

use std::process::Command;

use shared::fleet::Class;
use shared::placement::Stage;
use shared::rendition::VideoCodec;
use shared::task::{Outcome, Receipt, VideoReceipt};

use crate::indexed::{Indexed, clip, index};
use crate::scene::{Crew, Machine, track};

/// How alike the largest rendition is to the source, in decibels, by FFmpeg.
fn likeness_db(source: &Indexed, receipt: &VideoReceipt) -> f64 {
    let task = source.whole(VideoCodec::H264);
    let made = track(source, &task, receipt, 0);
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-i"]).arg(made.path()).arg("-i").arg(&source.source);
    let (width, height) = (task.renditions[0].width_px, task.renditions[0].height_px);
    let compare = format!("[1:v]scale={width}:{height}[scaled];[0:v][scaled]psnr");
    let said = ffmpeg.args(["-lavfi", &compare, "-f", "null", "-"]).output().unwrap();
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    let (_, average) = said.rsplit_once("average:").unwrap_or_else(|| panic!("{said}"));
    average.split_whitespace().next().unwrap().parse().unwrap()
}

async fn make(crew: &Crew, source: &Indexed, number: u32) -> Outcome {
    crew.make(source, number, source.whole(VideoCodec::H264), Class::Gpu).await
}

/// Three chunks come out as other pictures: each is made again without the encoder, and then the card is left.
#[tokio::test]
async fn pictures_that_come_out_as_others_are_made_again_and_count_against_the_card() {
    let (machine, source) = (Machine::new("l4", ""), index(&clip("edit_list.mp4")).unwrap());
    let crew = Crew::start(&machine);
    crew.heartbeat(|heartbeat| heartbeat.classes.contains(&Class::Gpu)).await;
    machine.play("l4", "encode:corrupt");
    for number in 0..3 {
        let Outcome::Done(Receipt::Video(receipt)) = make(&crew, &source, number).await else {
            panic!("chunk {number} failed")
        };
        let hardware = &receipt.hardware;
        let fallbacks: Vec<Stage> = hardware.fallbacks.iter().map(|fallback| fallback.stage).collect();
        assert_eq!((fallbacks.as_slice(), hardware.placement.as_str()), (&[Stage::Encode][..], "nvdec+cuda+software"));
        let reason = &hardware.fallbacks[0].reason;
        assert!(reason.contains("came out as another") && reason.contains("gpu_encode_fault"), "{reason}");
        assert_eq!(receipt.frames, receipt.frames_expected);
        let likeness = likeness_db(&source, &receipt);
        assert!(likeness > 30.0, "{likeness} dB");
    }
    let left = crew.heartbeat(|heartbeat| heartbeat.gpu.slots == 0).await;
    assert!(!left.classes.contains(&Class::Gpu));
    crew.stop().await;
}

/// Slots die of it on the card and without.
#[tokio::test]
async fn what_fails_without_the_card_too_does_not_count_against_it() {
    let (mut machine, source) = (Machine::new("l4", ""), index(&clip("edit_list.mp4")).unwrap());
    let (poison, script) = (machine.libraries().join("poison"), machine.libraries().join("slot"));
    let program = &machine.config.slot_program;
    let args: Vec<String> = program.args.iter().map(|arg| format!("'{arg}'")).collect();
    let text = format!("#!/bin/sh\n[ -e {} ] && exit 3\nexec /usr/bin/env {}\n", poison.display(), args.join(" "));
    std::fs::write(&script, text).unwrap();
    machine.config.slot_program.path = "/bin/sh".into();
    machine.config.slot_program.args = vec![script.to_str().unwrap().into()];
    let crew = Crew::start(&machine);
    crew.heartbeat(|heartbeat| heartbeat.classes.contains(&Class::Gpu)).await;
    std::fs::write(&poison, "").unwrap();
    for number in 0..3 {
        let outcome = make(&crew, &source, number).await;
        let Outcome::Failed(error) = outcome else { panic!("{outcome:?}") };
        assert_eq!(error.code, "slot_crashed");
    }
    std::fs::remove_file(&poison).unwrap();
    let Outcome::Done(Receipt::Video(receipt)) = make(&crew, &source, 3).await else { panic!("it is well again") };
    assert_eq!(receipt.hardware.placement.as_str(), "nvdec+cuda+nvenc");
    crew.stop().await;
}
