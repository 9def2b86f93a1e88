//! `worker gpu-selftest`: what every GPU of this host can do, tried now, in words an operator can act on.

use std::process::ExitCode;
use std::sync::Arc;

use serde::Serialize;
use shared::config::ConfigError;
use shared::program::{self, Failure};
use worker::config::{Config, WorkerConfig};
use worker::proof::gpu::{self, Card, Kept};
use worker::slot::spawner::Spawner;

/// What was found, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Found {
    cards: Vec<Card>,
    /// Why there are none.
    lack: Option<String>,
}

/// Tries the GPUs, or the one with this UUID or number, and prints what was found. Ends with 1 if there is none or one of them
/// can't be used, with 2 if the settings are wrong.
pub fn run(config: Result<Config, ConfigError>, wanted: Option<&str>, json: bool) -> ExitCode {
    let config = match program::usable(config) {
        Ok(config) => config.worker,
        Err(end) => return end,
    };
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::from);
    let (cards, lack) = match runtime.and_then(|runtime| runtime.block_on(find(config, wanted))) {
        Ok(cards) => (cards, None),
        Err(lack) => (Vec::new(), Some(lack.to_string())),
    };
    let found = Found { cards, lack };
    match serde_json::to_string_pretty(&found) {
        Ok(text) if json => println!("{text}"),
        _ => print(&found),
    }
    let usable = found.lack.is_none() && found.cards.iter().all(|card| card.lack.is_none());
    if usable { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn find(mut config: WorkerConfig, wanted: Option<&str>) -> Result<Vec<Card>, Failure> {
    let number = wanted.and_then(|wanted| wanted.parse::<usize>().ok());
    if let (Some(wanted), None) = (wanted, number) {
        config.gpu.devices = vec![wanted.to_owned()];
    }
    let mut cards = gpu::prove(&Arc::new(config), &Spawner::start()?, &Kept::default()).await?;
    if let Some(number) = number {
        cards = cards.into_iter().skip(number).take(1).collect();
    }
    if cards.is_empty() { Err("there is no GPU of this number".into()) } else { Ok(cards) }
}

fn print(found: &Found) {
    found.cards.iter().for_each(print_card);
    if let Some(lack) = &found.lack {
        println!("no GPU can be used: {lack}");
    }
}

fn print_card(card: &Card) {
    let Card { name, uuid, pci_bus_id, memory_bytes, .. } = card;
    let part = if card.mig { ", part of a divided GPU" } else { "" };
    println!("{name} ({uuid}, {pci_bus_id}, {} GiB, driver {}{part})", memory_bytes >> 30, card.driver_words());
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
