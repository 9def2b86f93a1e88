//! What each GPU of this host can do, found out by doing it: no name of a card is believed, nor what its driver says of
//! itself. Each trial runs in a slot that sees this GPU alone, with a time of its own, so one that crashes or hangs costs
//! that trial.
//!
//! What has worked is remembered ([`Kept`]) for the same GPU, driver and build: who starts again puts one picture through and
//! tries only what did not work.

mod card;
mod kept;
mod trials;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use shared::error::TaskError;
use tracing::{debug, info, warn};

pub use card::{Card, Measured, Tried};
pub use kept::Kept;
pub(crate) use trials::try_out;

use crate::codec::gpu::Trouble;
use crate::config::{GpuUse, WorkerConfig};
use crate::slot::Slot;
use crate::slot::request::GpuOrder;
use crate::slot::sight::Sight;
use crate::slot::spawner::Spawner;

/// How long one trial on a GPU may take: a driver that has slept takes seconds to wake.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(30);

/// There is no GPU that could be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{why}; {advice}")]
pub struct Absence {
    /// What was seen, for people.
    pub why: String,
    /// What an operator does who wants one.
    pub advice: String,
    /// There is a driver all the same.
    pub driver: bool,
}

/// Finds the GPUs that may be used and tries each. Without a driver that is one attempt to load it.
///
/// # Errors
/// Why there is none, in words an operator can act on.
pub async fn prove(config: &Arc<WorkerConfig>, spawner: &Spawner, kept: &Kept) -> Result<Vec<Card>, Absence> {
    let none = |why: &str, advice: &str| Absence { why: why.to_owned(), advice: advice.to_owned(), driver: true };
    if config.gpu.enabled == GpuUse::Off {
        return Err(none("GPUs are switched off (gpu.enabled)", "set it to \"auto\" to use them"));
    }
    let mut prover = Prover { config, spawner, kept, slot: None };
    let found = prover.look().await;
    let mut cards = Vec::new();
    for card in found? {
        cards.push(prover.try_card(card).await);
    }
    prover.close().await;
    match cards.is_empty() {
        true => Err(none("none of the GPUs is among gpu.devices", "see `nvidia-smi -L` for their UUIDs")),
        false => Ok(cards),
    }
}

/// Asks slots, one after another.
struct Prover<'a> {
    config: &'a Arc<WorkerConfig>,
    spawner: &'a Spawner,
    kept: &'a Kept,
    slot: Option<Slot>,
}

impl Prover<'_> {
    /// The GPUs that may be used. Those that are named are looked for one by one: of the parts of a divided GPU a process
    /// sees but one.
    async fn look(&mut self) -> Result<Vec<Card>, Absence> {
        let named = &self.config.gpu.devices;
        let sights = match named.is_empty() {
            true => vec![Sight::All],
            false => named.iter().cloned().map(Sight::One).collect(),
        };
        let (mut cards, mut absence): (Vec<Card>, Option<Absence>) = Default::default();
        for sight in sights {
            match self.look_at(sight).await {
                Ok(found) => {
                    for card in found.into_iter().filter(|card| self.config.gpu.allows(&card.uuid)) {
                        if cards.iter().all(|known| known.uuid != card.uuid) {
                            cards.push(card);
                        }
                    }
                }
                Err(lack) => absence = absence.or(Some(lack)),
            }
        }
        for uuid in named.iter().filter(|uuid| cards.iter().all(|card| card.uuid != **uuid)) {
            warn!(gpu = uuid, "named in gpu.devices, and not there");
        }
        match absence {
            Some(absence) if cards.is_empty() => Err(absence),
            _ => Ok(cards),
        }
    }

    async fn look_at(&mut self, sight: Sight) -> Result<Vec<Card>, Absence> {
        let looked = self.ask(sight, trials::LOOK, &GpuOrder::default()).await;
        self.close().await;
        let failed = |why: String| Absence {
            why,
            advice: "see `nvidia-smi` and the kernel's log for NVRM and Xid".to_owned(),
            driver: true,
        };
        let found = looked.map_err(|error| failed(error.message))?;
        serde_json::from_str(&found).map_err(|error| failed(format!("what a slot tells of GPUs: {error}")))?
    }

    async fn try_card(&mut self, mut card: Card) -> Card {
        let before = self.recall(&mut card).await;
        for name in trials::NAMES {
            // Sessions were counted before it encoded anything: the driver's library was missing then.
            let outdated = name == trials::SESSIONS && card.measured.sessions == 0 && card.encodes();
            if let Some(tried) = before.iter().find(|tried| tried.name == name && !outdated) {
                card.tried.push(tried.clone());
            } else if !trials::instead_of(name).any(|better| card.is_able(&better)) {
                self.try_one(&mut card, name).await;
            }
        }
        self.close().await;
        self.kept.keep(&card, self.config);
        card.seat(&self.config.gpu);
        match &card.lack {
            None => info!(gpu = card.uuid, name = card.name, seats = card.seats, can = %card.abilities(), "proven"),
            Some(lack) => warn!(gpu = card.uuid, name = card.name, lack, "not used"),
        }
        for (codec, by, lack) in card.makeshift() {
            warn!(
                gpu = card.uuid,
                codec = codec.as_str(),
                ?by,
                lack,
                "does not encode with the settings of production"
            );
        }
        card
    }

    /// What has worked before, if it still does: one picture goes all the way.
    async fn recall(&mut self, card: &mut Card) -> Vec<Tried> {
        let Some((tried, measured)) = self.kept.recall(card, self.config) else { return Vec::new() };
        let known = Card { tried, ..card.clone() };
        let Some((name, placement)) = trials::alive(&known) else { return Vec::new() };
        let order = GpuOrder { placement, ..self.order(card, &name) };
        match self.ask(Sight::One(card.uuid.clone()), &name, &order).await {
            Ok(_) => {
                info!(gpu = card.uuid, "it has proven itself before, and is alive");
                card.measured = measured;
                known.tried
            }
            Err(error) => {
                warn!(gpu = card.uuid, lack = error.message, "it has proven itself before, and is to do so again");
                self.kept.forget(&card.uuid);
                Vec::new()
            }
        }
    }

    async fn try_one(&mut self, card: &mut Card, name: &str) {
        let order = self.order(card, name);
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

    fn order(&self, card: &Card, name: &str) -> GpuOrder {
        let placement = trials::placement(name);
        GpuOrder { uuid: card.uuid.clone(), placement, libraries: self.config.gpu.libraries(), sessions: 0 }
    }

    /// After an error the slot is spent, unless the GPU only does not take what it was asked for.
    async fn ask(&mut self, sight: Sight, name: &str, order: &GpuOrder) -> Result<String, TaskError> {
        if self.slot.as_ref().is_none_or(|slot| *slot.sight() != sight) {
            self.close().await;
            let opened = Slot::open(self.config.clone(), self.spawner, sight).await;
            self.slot = Some(opened.map_err(|error| TaskError::unsupported("slot_spawn", error.to_string()))?);
        }
        let Some(slot) = &mut self.slot else { return Err(TaskError::bug("a slot that was opened is gone")) };
        let answer = slot.try_gpu(name, order, TRIAL_TIMEOUT).await;
        if let Err(error) = &answer
            && !matches!(Trouble::of(error), Some((_, Trouble::Refused)))
        {
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
