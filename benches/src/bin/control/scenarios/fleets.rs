//! How well slots are kept busy, with chunks that take as long as real ones differ.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use benches::chance::Chance;
use clap::Args;
use shared::fleet::AttemptRef;
use shared::task::{AttemptId, Task, TaskId};

use super::{PATIENCE, source_of};
use crate::farm::Farm;
use crate::figures::{Figures, Goal};
use crate::fleet::{self, Orders, Pace};
use crate::jobs::{Jobs, chunks};
use crate::ledger::{Made, firsts};

/// Of the logarithm of a chunk's time.
const SIGMA: f64 = 0.5;
/// Of everything that is left to chance.
const SEED: u64 = 1;

/// Many workers of one slot each.
#[derive(Args)]
pub struct Fleet {
    #[arg(long, default_value_t = 1_000)]
    workers: usize,
    /// For each worker, about.
    #[arg(long, default_value_t = 8)]
    chunks: usize,
    /// Half of the chunks take less, in milliseconds.
    #[arg(long, default_value_t = 2_000)]
    median_ms: u64,
    #[arg(long, default_value_t = 20)]
    jobs: usize,
    /// Between two reports of progress of an attempt, in milliseconds.
    #[arg(long, default_value_t = 250)]
    progress_ms: u64,
}

impl Fleet {
    pub async fn run(&self, coordinator: &Path) -> Result<Figures> {
        let orders = Orders {
            pace: pace(Duration::from_millis(self.median_ms), None),
            progress: Duration::from_millis(self.progress_ms),
            ..Orders::instant(self.workers, 1, source_of(self.workers * self.chunks / self.jobs.max(1)))
        };
        let connections = orders.connections;
        let run = run(coordinator, orders, self.jobs).await?;
        let setting = format!(
            "{} jobs, {} chunks of {} ms (median, log-normal, σ {SIGMA}), {} workers of one slot over {connections} \
             connections of their host",
            self.jobs, run.chunks, self.median_ms, self.workers
        );
        let mut figures = Figures::new("fleet", setting);
        let firsts = firsts(&run.made);
        let worked: Vec<f64> = firsts.values().map(|one| one.work().as_secs_f64()).collect();
        let even = worked.iter().sum::<f64>() / self.workers as f64;
        let bound = worked.iter().copied().fold(even, f64::max);
        figures.judge("makespan ÷ the least possible", run.span()?.as_secs_f64() / bound, "", Goal::AtMost(1.10));
        let instant = run.without_delay(self.workers).as_secs_f64() / bound;
        figures.add("the same if nothing but work took time", instant, "");
        figures.judge("slots idle while there is work", 100.0 * run.idle(self.workers)?, "%", Goal::AtMost(5.0));
        figures.add("makespan", run.span()?.as_secs_f64(), "s");
        figures.add("from the first request to the last success", run.whole.as_secs_f64(), "s");
        Ok(figures)
    }
}

/// A healthy fleet, and the same with one slow worker.
#[derive(Args)]
pub struct Straggler {
    #[arg(long, default_value_t = 20)]
    workers: usize,
    /// For each worker, about.
    #[arg(long, default_value_t = 8)]
    chunks: usize,
    #[arg(long, default_value_t = 1_500)]
    median_ms: u64,
    /// How many times slower the slow one is.
    #[arg(long, default_value_t = 10)]
    slower: u32,
}

impl Straggler {
    pub async fn run(&self, coordinator: &Path) -> Result<Figures> {
        let orders = |slower| Orders {
            pace: pace(Duration::from_millis(self.median_ms), slower),
            ..Orders::instant(self.workers, 1, source_of(self.workers * self.chunks))
        };
        let healthy = run(coordinator, orders(None), 1).await?;
        let slowed = run(coordinator, orders(Some(self.slower)), 1).await?;
        let setting = format!(
            "one job, {} chunks of {} ms (median, log-normal, σ {SIGMA}), {} workers of one slot, one {}× slow",
            slowed.chunks, self.median_ms, self.workers, self.slower
        );
        let mut figures = Figures::new("straggler", setting);
        let ratio = slowed.span()?.as_secs_f64() / healthy.span()?.as_secs_f64();
        figures.judge("makespan ÷ that of healthy workers", ratio, "", Goal::AtMost(1.25));
        figures.judge("work of second attempts", 100.0 * slowed.extra(), "%", Goal::AtMost(3.0));
        figures.add("makespan", slowed.span()?.as_secs_f64(), "s");
        Ok(figures)
    }
}

/// The same chunk takes the same time wherever it is made, but on worker 0, which is so many times slower.
fn pace(median: Duration, slower: Option<u32>) -> Pace {
    Arc::new(move |task: &Task, worker| {
        let time = Chance::of(&task.id.to_string(), SEED).log_normal(median, SIGMA);
        time * slower.filter(|_| worker == 0).unwrap_or(1)
    })
}

struct Run {
    chunks: usize,
    made: Vec<Made>,
    whole: Duration,
}

async fn run(coordinator: &Path, orders: Orders, count: usize) -> Result<Run> {
    let mut farm = Farm::start(coordinator).await?;
    let fleet = fleet::Fleet::start(&farm.queue(), orders).await?;
    let jobs = Jobs::connect(&farm).await?;
    let began = Instant::now();
    let ids = jobs.submit(&farm, count).await?;
    let views = jobs.succeeded(&mut farm, &fleet, &ids, PATIENCE).await?;
    Ok(Run { chunks: chunks(&views), made: fleet.ledger.chunks(), whole: began.elapsed() })
}

impl Run {
    /// When the first chunk was begun.
    fn began(&self) -> Result<Instant> {
        self.made.iter().map(|one| one.taken).min().context("no chunk was made")
    }

    /// From then until the last chunk was done.
    fn span(&self) -> Result<Duration> {
        let ended = firsts(&self.made).values().map(|one| one.said).max().context("no chunk was made")?;
        Ok(ended - self.began()?)
    }

    /// How long the same chunks in the same order take slots that have the next one at once: nobody knows beforehand which
    /// of the last ones are long.
    fn without_delay(&self, slots: usize) -> Duration {
        let firsts = firsts(&self.made);
        let mut chunks: Vec<&Made> = firsts.values().copied().collect();
        chunks.sort_by_key(|one| one.taken);
        let mut free_at: BinaryHeap<Reverse<Duration>> = (0..slots).map(|_| Reverse(Duration::ZERO)).collect();
        for chunk in chunks {
            let Reverse(free) = free_at.pop().unwrap_or_default();
            free_at.push(Reverse(free + chunk.work()));
        }
        free_at.into_iter().map(|Reverse(end)| end).max().unwrap_or_default()
    }

    /// Share of the slots' time, until the last chunk was begun, in which they had none.
    fn idle(&self, slots: usize) -> Result<f64> {
        let (began, firsts) = (self.began()?, firsts(&self.made));
        let last = firsts.values().map(|one| one.taken).max().context("no chunk was made")?;
        let busy = self.made.iter().map(|one| one.said.min(last).saturating_duration_since(one.taken));
        let busy: Duration = busy.sum();
        Ok(1.0 - busy.as_secs_f64() / ((last - began).as_secs_f64() * slots as f64))
    }

    /// Time of attempts at chunks that another was made at before, as a share of that of the attempts that counted.
    fn extra(&self) -> f64 {
        // Where the numbers of a job's attempts begin is the coordinator's affair.
        let mut earliest: BTreeMap<&TaskId, AttemptId> = BTreeMap::new();
        for AttemptRef { task, attempt } in self.made.iter().map(|one| &one.attempt) {
            earliest.entry(task).and_modify(|first| *first = (*first).min(*attempt)).or_insert(*attempt);
        }
        let again = |one: &&Made| one.attempt.attempt > earliest[&one.attempt.task];
        let again: Duration = self.made.iter().filter(again).map(Made::work).sum();
        let counted: Duration = firsts(&self.made).values().map(|one| one.work()).sum();
        again.as_secs_f64() / counted.as_secs_f64()
    }
}
