//! What a card proves, and what is said of one that can't.

use std::sync::Arc;
use std::time::Instant;

use shared::fleet::Class;
use shared::placement::EncodeBy;
use shared::rendition::VideoCodec;
use worker::proof::gpu::{self, Absence, Card, Kept};
use worker::slot::spawner::Spawner;

use crate::scene::{Crew, Machine};

async fn prove(machine: &Machine) -> Result<Vec<Card>, Absence> {
    prove_knowing(machine, &Kept::default()).await
}

async fn prove_knowing(machine: &Machine, kept: &Kept) -> Result<Vec<Card>, Absence> {
    gpu::prove(&Arc::new(machine.config.clone()), &Spawner::start().unwrap(), kept).await
}

fn lack<'a>(card: &'a Card, trial: &str) -> &'a str {
    let tried = card.tried.iter().find(|tried| tried.name == trial).unwrap();
    tried.lack.as_deref().unwrap_or_default()
}

#[tokio::test]
async fn a_card_proves_what_it_can_and_no_more() {
    let machine = Machine::new("l4,t4", "");
    let cards = prove(&machine).await.unwrap();
    assert_eq!(cards.len(), 2);
    for card in &cards {
        let decode = ["decode-h264", "decode-hevc", "decode-hevc-10", "decode-vp9", "decode-vp9-10"];
        let others = ["kernels", "encode-h264", "encode-hevc", "sessions", "speed"];
        for trial in decode.into_iter().chain(others) {
            assert_eq!(lack(card, trial), "", "{}: {trial}", card.name);
        }
        assert!(card.measured.sessions >= 3 && card.measured.encode_fps > 0, "{:?}", card.measured);
        assert_eq!((card.seats, card.lack.as_ref()), (1, None), "as it is set");
    }
    assert_eq!(lack(&cards[0], "encode-av1"), "");
    assert!(lack(&cards[1], "encode-av1").contains("AV1"), "{}", lack(&cards[1], "encode-av1"));
    assert_eq!(machine.complaints(), "");
}

#[tokio::test]
async fn a_machine_without_a_card_or_a_driver_is_told_what_to_do() {
    let error = prove(&Machine::new("none", "")).await.unwrap_err().to_string();
    assert!(error.contains("finds no device") && error.contains("nvidia-smi"), "{error}");
    let mut machine = Machine::new("l4", "");
    machine.config.slot_program.args[0] = "LD_LIBRARY_PATH=/nowhere".into();
    let error = prove(&machine).await.unwrap_err();
    assert!(!error.driver && error.advice.contains("install NVIDIA's driver"), "{error}");
    machine.config.gpu.enabled = worker::config::GpuUse::Off;
    assert!(prove(&machine).await.unwrap_err().why.contains("switched off"));
}

#[tokio::test]
async fn what_comes_out_wrong_is_not_claimed() {
    for (faults, trial, words) in [
        ("encode:corrupt", "encode-h264", "dB"),
        ("decode:wrong", "decode-h264", "libavcodec"),
        ("cuLaunchKernel@1=719", "kernels", "719"),
    ] {
        let cards = prove(&Machine::new("l4", faults)).await.unwrap();
        let said = lack(&cards[0], trial);
        assert!(said.contains(words), "{faults}: {said:?}");
    }
}

#[tokio::test]
async fn a_worker_claims_the_class_of_gpus_when_a_card_encodes() {
    let machine = Machine::new("l4", "");
    let crew = Crew::start(&machine);
    let heartbeat = crew.heartbeat(|heartbeat| heartbeat.classes.contains(&Class::Gpu)).await;
    assert_eq!(heartbeat.gpu.slots, 1);
    let claims = heartbeat.abilities.iter().filter(|ability| ability.class == Class::Gpu);
    let claims: Vec<_> = claims.map(|ability| (ability.name.as_str(), ability.lack.as_deref())).collect();
    assert_eq!(claims, [("h264", None), ("hevc", None), ("av1", None)]);
    crew.stop().await;
}

#[tokio::test]
async fn who_starts_again_tries_only_what_did_not_work_unless_the_card_has_fallen_ill() {
    let mut machine = Machine::new("t4", "");
    let kept = Kept::below(&machine.config.scratch);
    let first = prove_knowing(&machine, &kept).await.unwrap().remove(0);
    let began = Instant::now();
    let again = prove_knowing(&machine, &kept).await.unwrap().remove(0);
    let took = u64::try_from(began.elapsed().as_millis()).unwrap();
    let worked = |card: &Card| card.tried.iter().filter(|tried| tried.lack.is_none()).cloned().collect::<Vec<_>>();
    assert_eq!(worked(&again), worked(&first), "with the milliseconds that they took then");
    let proving: u64 = first.tried.iter().map(|tried| tried.ms).sum();
    assert!(took < proving, "{took} ms instead of {proving}");
    assert_eq!((again.measured, again.seats), (first.measured, first.seats));
    assert!(lack(&again, "decode-av1").contains("AV1") && machine.complaints().is_empty());

    let mut ill = Machine::new("t4", "cuLaunchKernel@1+=719");
    std::mem::swap(&mut ill.config.scratch, &mut machine.config.scratch);
    let card = prove_knowing(&ill, &kept).await.unwrap().remove(0);
    assert!(lack(&card, "kernels").contains("719"), "{:?}", card.tried);
    let healed = prove_knowing(&machine, &Kept::below(&machine.config.scratch)).await.unwrap().remove(0);
    assert_eq!(lack(&healed, "kernels"), "");
}

#[tokio::test]
async fn an_encoder_that_does_not_work_as_in_production_is_tried_with_plain_settings() {
    let machine = Machine::new("l4", "NvEncInitializeEncoder@1=12");
    let card = prove(&machine).await.unwrap().remove(0);
    assert!(lack(&card, "encode-h264").contains("UNSUPPORTED_PARAM"), "{:?}", card.tried);
    assert_eq!(card.encoder(VideoCodec::H264), Some(EncodeBy::PlainNvenc), "{:?}", card.tried);
    assert_eq!(card.encoder(VideoCodec::Hevc), Some(EncodeBy::Nvenc), "{:?}", card.tried);
    assert!(card.tried.iter().all(|tried| tried.name != "plain-encode-hevc"), "nobody needs it");
}
