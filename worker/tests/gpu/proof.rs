//! What a card proves, and what is said of one that can't.

use std::sync::Arc;

use shared::fleet::Class;
use worker::proof::gpu::{self, Card};
use worker::slot::spawner::Spawner;

use crate::scene::{Crew, Machine};

async fn prove(machine: &Machine) -> Result<Vec<Card>, String> {
    gpu::prove(&Arc::new(machine.config.clone()), &Spawner::start().unwrap()).await
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
        for trial in ["kernels", "decode-h264", "decode-hevc", "encode-h264", "encode-hevc", "sessions", "speed"] {
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
    let error = prove(&Machine::new("none", "")).await.unwrap_err();
    assert!(error.contains("finds no device") && error.contains("nvidia-smi"), "{error}");
    let mut machine = Machine::new("l4", "");
    machine.config.slot_program.args[0] = "LD_LIBRARY_PATH=/nowhere".into();
    let error = prove(&machine).await.unwrap_err();
    assert!(error.contains("install NVIDIA's driver"), "{error}");
    machine.config.gpu.enabled = worker::config::GpuUse::Off;
    assert!(prove(&machine).await.unwrap_err().contains("switched off"));
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
