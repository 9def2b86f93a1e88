//! The GPUs of this host, as those who run attempts see them: what each can do, how many attempts it takes at once, and
//! whether it is trusted at the moment.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shared::fleet::{Ability, Class};
use shared::placement::Placement;
use shared::task::{Task, Work};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::warn;

use super::breaker::Breaker;
use crate::proof::gpu::{Card, Kept};

/// All of them. Attempts take seats; without a free one they run in software.
#[derive(Debug, Default)]
pub struct Gpus {
    kept: Kept,
    cards: Mutex<Vec<Held>>,
    offer: watch::Sender<Offer>,
    changed: Notify,
}

/// What others are told of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offer {
    /// Attempts of [`Class::Gpu`] that run at once.
    pub slots: u32,
    /// They are being tried for the first time.
    pub on_trial: bool,
}

#[derive(Debug)]
struct Held {
    card: Arc<Card>,
    taken: u32,
    breaker: Breaker,
}

impl Held {
    /// What it encodes; while it is not trusted, why it does not.
    fn claims(&self, now: Instant) -> Vec<Ability> {
        let Card { uuid, name, .. } = &*self.card;
        let rest = self.breaker.rest(now).map(|rest| format!("{uuid} {name} {rest}"));
        let claims = self.card.claims().into_iter();
        claims.map(|claim| Ability { lack: rest.clone().or(claim.lack), ..claim }).collect()
    }
}

impl Gpus {
    /// None is known yet; there may be some (`on_trial`). A fault takes away what is `kept` of a card's proof.
    pub fn new(kept: Kept, on_trial: bool) -> Self {
        Self { kept, offer: watch::Sender::new(Offer { slots: 0, on_trial }), ..Self::default() }
    }

    /// What was proven before the worker started, and is to be known when it starts again.
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Everything is to be proven anew.
    pub fn doubt(&self) {
        self.held().iter().for_each(|one| self.kept.forget(&one.card.uuid));
    }

    /// What has been found and proven. Cards that were known before keep their seats and what is remembered of them.
    pub fn found(&self, cards: Vec<Card>) {
        let mut held = self.held();
        let mut before = std::mem::take(&mut *held);
        for card in cards {
            let known = before.iter().position(|old| old.card.uuid == card.uuid).map(|at| before.swap_remove(at));
            let (taken, mut breaker) = known.map_or_else(Default::default, |old| (old.taken, old.breaker));
            breaker.tested(card.lack.is_none(), Instant::now());
            held.push(Held { card: Arc::new(card), taken, breaker });
        }
        self.count(&held);
        self.changed.notify_one();
    }

    fn count(&self, held: &[Held]) {
        let encoding = held.iter().filter(|one| one.breaker.trusts() && one.card.encodes());
        self.offer.send_replace(Offer { slots: encoding.map(|one| one.card.seats).sum(), on_trial: false });
    }

    /// What others are told, now and whenever that changes.
    pub fn offer(&self) -> watch::Receiver<Offer> {
        self.offer.subscribe()
    }

    /// Waits until there are more slots than this number (`true`), or not.
    pub async fn has_slots(&self, number: u32, has: bool) {
        // Can't fail: the sender is `self`.
        drop(self.offer.subscribe().wait_for(|offer| (offer.slots > number) == has).await);
    }

    /// The codecs of [`Class::Gpu`], each as the card that does it best says. One that is not trusted does nothing.
    pub fn claims(&self) -> Vec<Ability> {
        let mut claims: Vec<Ability> = Vec::new();
        let now = Instant::now();
        for claim in self.held().iter().flat_map(|one| one.claims(now)) {
            match claims.iter_mut().find(|known| known.name == claim.name) {
                Some(known) if known.lack.is_some() => *known = claim,
                Some(_) => {}
                None => claims.push(claim),
            }
        }
        claims
    }

    /// A place for an attempt of a class, on the card with the most free ones; `None`: it runs in software. Cards that only
    /// decode help the attempts of [`Class::Cpu`].
    pub fn seat(&self, task: &Task, class: Class) -> Option<Seat<'_>> {
        let Work::Video(video) = &task.work else { return None };
        let mut held = self.held();
        let here = |one: &Held| one.card.encodes() == (class == Class::Gpu);
        let free = |one: &&mut Held| here(one) && one.breaker.trusts() && one.taken < one.card.seats;
        let best = held.iter_mut().filter(free).max_by_key(|one| one.card.seats - one.taken)?;
        let placement = best.card.placement(video);
        if !placement.needs_gpu() {
            return None;
        }
        best.taken += 1;
        Some(Seat { gpus: self, card: best.card.clone(), placement })
    }

    /// An attempt has failed by the fault of a card; `what` is for people.
    pub fn blame(&self, card: &Card, what: &str) {
        self.kept.forget(&card.uuid);
        let mut held = self.held();
        let Some(known) = held.iter_mut().find(|one| one.card.uuid == card.uuid) else { return };
        if known.breaker.fault(what, Instant::now()) {
            warn!(
                gpu = card.uuid,
                name = card.name,
                what,
                "it failed too often: not used until it has passed its test again"
            );
            self.count(&held);
            self.changed.notify_one();
        }
    }

    /// Waits until a card is to be tested again.
    pub async fn test_due(&self) {
        loop {
            let due = self.held().iter().filter_map(|one| one.breaker.test_at()).min();
            match due {
                Some(at) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(at) => return,
                        () = self.changed.notified() => {}
                    }
                }
                None => self.changed.notified().await,
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, Vec<Held>> {
        self.cards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An attempt's place on a card, free again when this is dropped.
#[derive(Debug)]
pub struct Seat<'a> {
    gpus: &'a Gpus,
    /// Which.
    pub card: Arc<Card>,
    /// The best that it can do for the task.
    pub placement: Placement,
}

impl Seat<'_> {
    /// The attempt has failed by the card's fault; `what` is for people.
    pub fn blame(&self, what: &str) {
        self.gpus.blame(&self.card, what);
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        if let Some(held) = self.gpus.held().iter_mut().find(|one| one.card.uuid == self.card.uuid) {
            held.taken = held.taken.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::gpu::Tried;

    #[test]
    fn a_card_that_rests_says_so_of_all_it_could_do_unless_another_does_it() {
        let card = |uuid: &str, seats| {
            let able = |name: &str| Tried { name: name.to_owned(), lack: None, ms: 1 };
            let tried = vec![able("encode-h264"), able("encode-hevc")];
            Card { uuid: uuid.to_owned(), name: "Tesla T4".to_owned(), tried, seats, ..Card::default() }
        };
        let (first, second) = (card("GPU-1", 2), card("GPU-2", 3));
        let gpus = Gpus::default();
        let lacks = || gpus.claims().into_iter().map(|claim| claim.lack).collect::<Vec<_>>();
        let tire = |card: &Card| (0..3).for_each(|_| gpus.blame(card, "scale: cuMemAlloc failed"));

        gpus.found(vec![first.clone(), second.clone()]);
        tire(&first);
        assert_eq!((lacks(), gpus.offer().borrow().slots), (vec![None, None], 3), "the other card does it");
        tire(&second);
        assert_eq!(gpus.offer().borrow().slots, 0);
        let [Some(h264), Some(hevc)] = &lacks()[..] else { panic!("{:?}", lacks()) };
        assert_eq!(h264, hevc);
        assert!(h264.starts_with("GPU-2 Tesla T4 rests for 0 s, after 3 faults"), "{h264}");
        assert!(h264.contains("the last: scale: cuMemAlloc failed; it is tested again in "), "{h264}");
        gpus.found(vec![first, second]);
        assert_eq!((lacks(), gpus.offer().borrow().slots), (vec![None, None], 5), "they have passed");
    }
}
