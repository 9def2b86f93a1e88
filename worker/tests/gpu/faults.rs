//! Every fault ends in the right step of the ladder, with a right chunk.

use shared::fleet::Class;
use shared::placement::Stage;
use shared::rendition::VideoCodec;
use shared::task::{Outcome, Receipt, VideoReceipt};

use crate::indexed::{clip, index};
use crate::scene::{Crew, Machine};

/// Lets a card prove itself in good health; then it has a fault.
async fn make(fault: &str) -> VideoReceipt {
    let (machine, source) = (Machine::new("l4", ""), index(&clip("edit_list.mp4")).unwrap());
    let crew = Crew::well(&machine).await;
    machine.play("l4", fault);
    let outcome = crew.make(&source, 0, source.whole(VideoCodec::H264), Class::Gpu).await;
    crew.stop().await;
    let Outcome::Done(Receipt::Video(receipt)) = outcome else { panic!("{fault}: {outcome:?}") };
    assert_eq!(receipt.frames, receipt.frames_expected, "{fault}");
    receipt
}

async fn falls(fault: &str, stages: &[Stage], placement: &str) {
    let receipt = make(fault).await;
    let hardware = &receipt.hardware;
    let found: Vec<Stage> = hardware.fallbacks.iter().map(|fallback| fallback.stage).collect();
    assert_eq!((found.as_slice(), hardware.placement.as_str()), (stages, placement), "{fault}: {hardware:?}");
}

#[tokio::test]
async fn an_encoder_that_fails_leaves_the_decoder() {
    falls("NvEncEncodePicture@20+=20", &[Stage::Encode], "nvdec+cuda+software").await;
}

#[tokio::test]
async fn a_decoder_that_fails_leaves_the_encoder() {
    falls("cuvidDecodePicture@7+=999", &[Stage::Decode], "software+cuda+nvenc").await;
}

#[tokio::test]
async fn pictures_that_the_card_calls_damaged_are_decoded_in_software() {
    falls("decode:corrupt", &[Stage::Decode], "software+cuda+nvenc").await;
}

#[tokio::test]
async fn kernels_that_fail_leave_software() {
    // Every call fails after it, so the decoder may be the first to notice.
    let hardware = make("cuLaunchKernel@9+=719").await.hardware;
    assert_eq!(hardware.placement.as_str(), "software");
    assert_eq!(hardware.fallbacks.last().map(|fallback| fallback.stage), Some(Stage::Scale), "{hardware:?}");
}

#[tokio::test]
async fn sessions_that_others_have_taken_cost_their_rendition_alone() {
    let receipt = make("sessions=1").await;
    let encoders: Vec<bool> = receipt.parts.iter().map(|part| part.encoder.starts_with("NVENC")).collect();
    assert_eq!(encoders.iter().filter(|nvenc| **nvenc).count(), 1, "{encoders:?}");
    assert_eq!(receipt.hardware.placement.as_str(), "nvdec+cuda+nvenc");
    assert_eq!(receipt.hardware.fallbacks.len(), 1);
}

#[tokio::test]
async fn a_card_that_hangs_is_left_step_by_step() {
    let receipt = make("NvEncLockBitstream@5:hang").await;
    let stages: Vec<Stage> = receipt.hardware.fallbacks.iter().map(|fallback| fallback.stage).collect();
    assert_eq!(stages, [Stage::Slot, Stage::Slot]);
    assert_eq!(receipt.hardware.placement.as_str(), "nvdec+cuda+software");
}

#[tokio::test]
async fn a_card_that_is_lost_leaves_software() {
    let receipt = make("device_lost@300").await;
    assert_eq!(receipt.hardware.placement.as_str(), "software", "{:?}", receipt.hardware);
    assert!(!receipt.hardware.fallbacks.is_empty());
}

/// What the first attempt has read is there for the next, though the store has lost it.
#[tokio::test]
async fn inputs_are_fetched_once() {
    let (mut machine, source) = (Machine::new("l4", ""), index(&clip("hevc_bframes.mp4")).unwrap());
    machine.config.progress_interval_ms = 0;
    let crew = Crew::well(&machine).await;
    machine.play("l4", "cuvidDecodePicture@29:hang=1500,cuvidDecodePicture@30=999");
    crew.begin(&source, 0, source.whole(VideoCodec::H264), Class::Gpu).await;
    crew.hears(|outcome| matches!(outcome, Outcome::Progress(_))).await;
    std::fs::remove_dir_all(source.folder.path().join("work")).unwrap();
    let outcome = crew.hears(|outcome| matches!(outcome, Outcome::Done(_) | Outcome::Failed(_))).await;
    crew.stop().await;
    let Outcome::Done(Receipt::Video(receipt)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(receipt.hardware.placement.as_str(), "software+cuda+nvenc");
    assert_eq!(receipt.frames, receipt.frames_expected);
}
