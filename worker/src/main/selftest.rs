//! `worker gpu-selftest`: what every GPU of this host can do, tried now, in words an operator can act on.

use std::sync::Arc;

use shared::program::Failure;
use worker::config::Config;
use worker::proof::gpu::{self, Card};
use worker::slot::spawner::Spawner;

/// Tries the GPUs, or the one with this UUID or number, and prints what was found.
///
/// # Errors
/// There is no GPU, none that was meant, or one of them can't be used.
pub async fn run(mut config: Config, wanted: Option<String>, json: bool) -> Result<(), Failure> {
    let number = wanted.as_ref().and_then(|wanted| wanted.parse::<usize>().ok());
    if let (Some(wanted), None) = (&wanted, number) {
        config.worker.gpu.devices = vec![wanted.clone()];
    }
    let cards = gpu::prove(&Arc::new(config.worker), &Spawner::start()?).await?;
    let cards: Vec<Card> = match number {
        Some(number) => cards.into_iter().skip(number).take(1).collect(),
        None => cards,
    };
    if cards.is_empty() {
        return Err("there is no GPU of this number".into());
    }
    match json {
        true => println!("{}", serde_json::to_string_pretty(&cards)?),
        false => cards.iter().for_each(print),
    }
    match cards.iter().find(|card| card.lack.is_some()) {
        Some(card) => Err(format!("{} can't be used", card.name).into()),
        None => Ok(()),
    }
}

fn print(card: &Card) {
    let Card { name, uuid, pci_bus_id, memory_bytes, driver, .. } = card;
    let driver = driver.as_deref().unwrap_or("unknown");
    let part = if card.mig { ", part of a divided GPU" } else { "" };
    println!("{name} ({uuid}, {pci_bus_id}, {} GiB, driver {driver}{part})", memory_bytes >> 30);
    for tried in &card.tried {
        match &tried.lack {
            None => println!("  {:<20} works  ({} ms)", tried.name, tried.ms),
            Some(lack) => println!("  {:<20} does not work: {lack}", tried.name),
        }
    }
    let measured = &card.measured;
    println!(
        "  engines: {} that encode, {} that decode; {} encoder sessions; {} frames of 1080p H.264 a second",
        measured.encode_engines, measured.decode_engines, measured.sessions, measured.encode_fps
    );
    match &card.lack {
        None => println!("  takes {} attempts at once", card.seats),
        Some(lack) => println!("  is not used: {lack}"),
    }
}
