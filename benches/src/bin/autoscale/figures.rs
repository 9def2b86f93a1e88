//! What a day has shown.

use anyhow::Result;
use serde::Serialize;

use crate::world::World;

/// The objective: no task waits longer than so many seconds. It is the limit of the alert FarmBacklogOld.
pub const OLDEST_S: u64 = 300;
/// From work to the first worker where there was none, besides the start of a node.
pub const WAKE_S: u64 = 30;
/// Of the workers' time that is for nothing.
pub const IDLE_PERCENT: f64 = 15.0;

/// Of many values: half are not above `half`, 99 in a hundred not above `nearly_all`.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Spread {
    pub half: u64,
    pub nearly_all: u64,
    pub most: u64,
}

impl Spread {
    fn of(mut values: Vec<u64>) -> Self {
        values.sort_unstable();
        let at = |percent: usize| values.get((values.len() * percent / 100).min(values.len().saturating_sub(1)));
        let [half, nearly_all, most] = [50, 99, 100].map(|percent| at(percent).copied().unwrap_or(0));
        Self { half, nearly_all, most }
    }
}

/// The figures of one day.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    pub films: usize,
    pub film_hours: f64,
    /// Hours of workers, from their first task on.
    pub worker_hours: f64,
    /// Of these, in percent: slots without work that counted.
    pub idle_percent: f64,
    /// Of all hours that were paid, the start of nodes included.
    pub unused_percent: f64,
    pub starts: u32,
    pub most_workers: u32,
    pub given_back: u32,
    /// Age of the oldest task that waited, in seconds, while there was work.
    pub oldest_s: Spread,
    /// From upload to playable, in seconds.
    pub playable_s: Spread,
    /// From work to a worker where there was none, less the start of a node, in seconds: the longest.
    pub wake_s: u64,
    pub wakes: u32,
}

impl Figures {
    /// Of the class of workers with this name.
    pub fn of(world: &World, name: &str) -> Self {
        let pool = world.pools.iter().find(|pool| pool.kind.name == name).expect("the world should have this class");
        let ledger = pool.ledger;
        let part = |useful: u64, all: u64| 100.0 * (1.0 - useful as f64 / all.max(1) as f64);
        let slots = f64::from(pool.kind.gpu_slots.max(1));
        let oldest = world.oldest_ms.get(&pool.kind.class).cloned().unwrap_or_default();
        let waited = |seen: &crate::world::Seen| Some((seen.playable_ms? - seen.submitted_ms) / 1000);
        Self {
            films: world.jobs.len(),
            film_hours: world.jobs.values().map(|seen| seen.length_ms as f64).sum::<f64>() / 3.6e6,
            worker_hours: ledger.there_ms as f64 / 3.6e6 / slots,
            idle_percent: part(ledger.useful_ms, ledger.there_ms),
            unused_percent: part(ledger.useful_ms, ledger.there_ms + ledger.starting_ms),
            starts: ledger.starts,
            most_workers: ledger.most,
            given_back: ledger.given_back,
            oldest_s: Spread::of(oldest.into_iter().map(|ms| ms / 1000).collect()),
            playable_s: Spread::of(world.jobs.values().filter_map(waited).collect()),
            wake_s: ledger.wake_ms / 1000,
            wakes: ledger.wakes,
        }
    }

    /// Goals that this day missed.
    pub fn missed(&self) -> Vec<&'static str> {
        let goals = [
            (self.oldest_s.most <= OLDEST_S, "the oldest task waited too long"),
            (self.wake_s <= WAKE_S, "the first worker came too late"),
            (self.idle_percent <= IDLE_PERCENT, "too much idle time"),
        ];
        goals.into_iter().filter(|(kept, _)| !kept).map(|(_, goal)| goal).collect()
    }
}

/// As a table in Markdown, or as JSON.
pub fn print(rows: &[(String, Figures)], json: bool) -> Result<()> {
    if json {
        for (name, figures) in rows {
            println!("{}", serde_json::json!({ "numbers": name, "figures": figures }));
        }
        return Ok(());
    }
    println!(
        "| numbers | films, hours | GPU hours | idle | with starts | starts | most | given back | oldest waits s, 99 %, most \
         | playable s, half, 99 % | wakes, longest s |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for (name, f) in rows {
        println!(
            "| {name} | {}, {:.0} | {:.1} | {:.1} % | {:.1} % | {} | {} | {} | {}, {} | {}, {} | {}, {} |",
            f.films,
            f.film_hours,
            f.worker_hours,
            f.idle_percent,
            f.unused_percent,
            f.starts,
            f.most_workers,
            f.given_back,
            f.oldest_s.nearly_all,
            f.oldest_s.most,
            f.playable_s.half,
            f.playable_s.nearly_all,
            f.wakes,
            f.wake_s,
        );
    }
    Ok(())
}
