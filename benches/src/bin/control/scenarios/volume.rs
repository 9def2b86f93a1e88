//! As much as goes through: no chunk takes any time.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;

use super::{PATIENCE, source_of};
use crate::farm::{Farm, Used};
use crate::figures::{Figures, Goal};
use crate::fleet::{Fleet, Orders};
use crate::jobs::{self, chunks};
use crate::ledger::firsts;

/// Long jobs.
#[derive(Args)]
pub struct Throughput {
    /// Chunks in all, about.
    #[arg(long, default_value_t = 4_000)]
    chunks: usize,
    /// Jobs that they belong to.
    #[arg(long, default_value_t = 10)]
    jobs: usize,
    #[arg(long, default_value_t = 64)]
    workers: usize,
    /// Of each worker.
    #[arg(long, default_value_t = 4)]
    slots: usize,
}

impl Throughput {
    /// A chunk counts once the farm has said that its job is whole.
    pub async fn run(&self, coordinator: &Path) -> Result<Figures> {
        let jobs = self.jobs.clamp(1, self.chunks.max(1));
        let orders = Orders::instant(self.workers, self.slots, source_of(self.chunks / jobs));
        let run = flood(coordinator, orders, jobs).await?;
        let Run { chunks, took, used, .. } = run;
        let each = |value: f64| value / chunks as f64;
        let ms = |time: Duration| each(time.as_secs_f64() * 1000.0);
        let setting = format!("{jobs} jobs, {chunks} chunks, {} workers of {} slots", self.workers, self.slots);
        let mut figures = Figures::new("throughput", setting);
        figures.judge("chunks, saved", chunks as f64 / took.as_secs_f64(), "/s", Goal::AtLeast(300.0));
        figures.judge("CPU of a chunk: coordinator", ms(used.coordinator), "ms", Goal::AtMost(5.0));
        figures.add("CPU of a chunk: with NATS and etcd", ms(used.all), "ms");
        figures.judge("writes of etcd for a chunk", each(used.etcd.commits), "", Goal::AtMost(3.0));
        figures.add("keys put in etcd for a chunk", each(used.etcd.puts), "");
        Ok(figures)
    }
}

/// Short jobs: a chunk, the audio, the index and the storyboard.
#[derive(Args)]
pub struct Jobs {
    #[arg(long, default_value_t = 500)]
    jobs: usize,
    #[arg(long, default_value_t = 64)]
    workers: usize,
    /// Of each worker.
    #[arg(long, default_value_t = 4)]
    slots: usize,
}

impl Jobs {
    pub async fn run(&self, coordinator: &Path) -> Result<Figures> {
        let orders = Orders::instant(self.workers, self.slots, source_of(1));
        let Run { whole, used, .. } = flood(coordinator, orders, self.jobs).await?;
        let setting = format!("{} jobs of one chunk, {} workers of {} slots", self.jobs, self.workers, self.slots);
        let mut figures = Figures::new("jobs", setting);
        let each = |time: Duration| time.as_secs_f64() * 1000.0 / self.jobs as f64;
        figures.judge(
            "jobs, from request to success",
            self.jobs as f64 / whole.as_secs_f64(),
            "/s",
            Goal::AtLeast(30.0),
        );
        figures.add("CPU of a job: coordinator", each(used.coordinator), "ms");
        figures.add("CPU of a job: with NATS and etcd", each(used.all), "ms");
        Ok(figures)
    }
}

struct Run {
    chunks: usize,
    /// From the first request until the last job has succeeded.
    whole: Duration,
    /// The same from the first chunk in a worker's hands.
    took: Duration,
    used: Used,
}

async fn flood(coordinator: &Path, orders: Orders, count: usize) -> Result<Run> {
    let mut farm = Farm::start(coordinator).await?;
    let fleet = Fleet::start(&farm.queue(), orders).await?;
    let jobs = jobs::Jobs::connect(&farm).await?;
    let (before, began) = (farm.used()?, Instant::now());
    let ids = jobs.submit(&farm, count).await?;
    let views = jobs.succeeded(&mut farm, &fleet, &ids, PATIENCE).await?;
    let ended = Instant::now();
    let used = farm.used()?.since(&before);
    let made = fleet.ledger.chunks();
    let first = firsts(&made).values().map(|one| one.taken).min().context("no chunk was made")?;
    Ok(Run { chunks: chunks(&views), whole: ended - began, took: ended - first, used })
}
