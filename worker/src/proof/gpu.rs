//! What each GPU of this host can do, found out by doing it: no name of a card is believed, nor what its driver says of
//! itself. Each trial runs in a slot that sees this GPU alone, with a time of its own, so one that crashes or hangs costs
//! that trial.

mod card;
mod trials;

use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::error::TaskError;
use tracing::{debug, info, warn};

pub use card::{Card, Measured, Tried};
pub(crate) use trials::try_out;

use crate::config::{GpuUse, WorkerConfig};
use crate::slot::Slot;
use crate::slot::request::GpuOrder;
use crate::slot::sight::Sight;
use crate::slot::spawner::Spawner;

/// How long one trial on a GPU may take: a driver that has slept takes seconds to wake.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(30);

/// Finds the GPUs that may be used and tries each. Without a driver that is one attempt to load it.
///
/// # Errors
/// Why there is none, in words an operator can act on.
pub async fn prove(config: &Arc<WorkerConfig>, spawner: &Spawner) -> Result<Vec<Card>, String> {
    if config.gpu.enabled == GpuUse::Off {
        return Err("GPUs are switched off (gpu.enabled)".to_owned());
    }
    let mut prover = Prover { config, spawner, slot: None };
    let looked = prover.ask(Sight::All, trials::LOOK, &GpuOrder::default()).await;
    prover.close().await;
    let found: Vec<Card> = match looked {
        Ok(found) => serde_json::from_str(&found).map_err(|error| format!("what a slot tells of GPUs: {error}"))?,
        Err(error) => return Err(error.message),
    };
    let mut cards = Vec::new();
    for card in found.into_iter().filter(|card| config.gpu.allows(&card.uuid)) {
        cards.push(prover.try_card(card).await);
    }
    match cards.is_empty() {
        true => Err("none of the GPUs is among gpu.devices".to_owned()),
        false => Ok(cards),
    }
}

/// Asks slots, one after another.
struct Prover<'a> {
    config: &'a Arc<WorkerConfig>,
    spawner: &'a Spawner,
    slot: Option<Slot>,
}

impl Prover<'_> {
    async fn try_card(&mut self, mut card: Card) -> Card {
        for name in trials::NAMES {
            if name.starts_with(card::FFMPEG) && card.is_able(name.trim_start_matches(card::FFMPEG)) {
                continue; // only where the direct way has failed
            }
            let order = GpuOrder {
                uuid: card.uuid.clone(),
                placement: trials::placement(name),
                libraries: self.config.gpu.libraries(),
            };
            let began = Instant::now();
            let answer = self.ask(Sight::One(card.uuid.clone()), name, &order).await;
            let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            match &answer {
                Ok(found) => debug!(gpu = card.uuid, name, found, ms, "tried: it works"),
                Err(error) => debug!(gpu = card.uuid, name, error.message, ms, "tried: it does not work"),
            }
            if let Ok(found) = &answer {
                card.measured.learn(found);
            }
            let lack = answer.err().map(|error| error.message);
            card.tried.push(Tried { name: name.to_owned(), lack, ms });
        }
        self.close().await;
        card.seat(&self.config.gpu);
        match &card.lack {
            None => info!(gpu = card.uuid, name = card.name, seats = card.seats, can = %card.abilities(), "proven"),
            Some(lack) => warn!(gpu = card.uuid, name = card.name, lack, "not used"),
        }
        card
    }

    /// After an error the slot is spent.
    async fn ask(&mut self, sight: Sight, name: &str, order: &GpuOrder) -> Result<String, TaskError> {
        if self.slot.as_ref().is_none_or(|slot| *slot.sight() != sight) {
            self.close().await;
            let opened = Slot::open(self.config.clone(), self.spawner, sight).await;
            self.slot = Some(opened.map_err(|error| TaskError::unsupported("slot_spawn", error.to_string()))?);
        }
        let Some(slot) = &mut self.slot else { return Err(TaskError::bug("a slot that was opened is gone")) };
        let answer = slot.try_gpu(name, order, TRIAL_TIMEOUT).await;
        if answer.is_err() {
            self.close().await;
        }
        answer
    }

    async fn close(&mut self) {
        if let Some(slot) = self.slot.take() {
            slot.close().await;
        }
    }
}
