//! How many workers are wanted: work in seconds, against who is there.

use shared::fleet::{Class, Standing};

use super::WorkerView;
use crate::farm::Backlog;

/// Speed of a slot of which nothing is known: real time.
const UNKNOWN_SPEED_MS_PER_S: u32 = 1_000;
/// What a task counts of which nobody knows how long it takes, in seconds: enough to be seen where there are no workers.
const UNMEASURED_S: f64 = 1.0;

/// How much work of a class waits, and who is there for it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Seconds that one slot needs for it, at the speed of those who work.
    pub queued_seconds: f64,
    /// Slots of workers that take tasks.
    pub slots: u32,
    /// Attempts that run there.
    pub busy_slots: u32,
    /// Milliseconds of presentation that a slot encodes in a second: the average of those who work, or what was last heard.
    pub speed_ms_per_s: u32,
}

impl Load {
    /// Of what waits and runs of a class.
    pub fn of(class: Class, backlog: &Backlog, workers: &[WorkerView]) -> Self {
        // One that was told to work again will have begun before anybody acts on this.
        let there = |view: &&WorkerView| {
            let beat = &view.heartbeat;
            let stays = beat.standing != Standing::Draining && view.hold.is_none() && !view.lost;
            stays && beat.classes.contains(&class)
        };
        let beats: Vec<_> = workers.iter().filter(there).map(|view| &view.heartbeat).collect();
        let measured = beats.iter().map(|beat| (u64::from(beat.slots_of(class)), u64::from(beat.speed_of(class))));
        let measured = measured.filter(|(_, speed)| *speed > 0);
        let (weight, total) =
            measured.fold((0, 0), |(weight, total), (slots, speed)| (weight + slots, total + slots * speed));
        let average = total.checked_div(weight).and_then(|speed| u32::try_from(speed).ok());
        let known = [average.unwrap_or(0), backlog.speed_ms_per_s, UNKNOWN_SPEED_MS_PER_S];
        let speed_ms_per_s = known.into_iter().find(|speed| *speed > 0).unwrap_or(UNKNOWN_SPEED_MS_PER_S);
        let encoding = backlog.left_ms as f64 / f64::from(speed_ms_per_s);
        Self {
            queued_seconds: encoding + f64::from(backlog.unmeasured) * UNMEASURED_S,
            slots: beats.iter().map(|beat| beat.slots_of(class)).sum(),
            busy_slots: beats.iter().map(|beat| beat.busy_of(class)).sum(),
            speed_ms_per_s,
        }
    }
}
