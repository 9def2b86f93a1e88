//! What the coordinator holds in memory while all chunks of many jobs are known and none is done.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;
use tokio::sync::watch;

use super::{PATIENCE, source_of};
use crate::farm::Farm;
use crate::figures::{Figures, Goal};
use crate::fleet::{Fleet, Orders};
use crate::jobs::{Jobs, chunks};
use crate::usage::{Writes, memory_mib};

/// Without a write for so long, the coordinator has come to rest.
const REST: Duration = Duration::from_millis(1_500);

/// Jobs whose chunks are not finished before all are known.
#[derive(Args)]
pub struct Memory {
    #[arg(long, default_value_t = 1_000)]
    jobs: usize,
    /// Of each job, about.
    #[arg(long, default_value_t = 10)]
    chunks: usize,
    #[arg(long, default_value_t = 64)]
    workers: usize,
}

/// Tasks of a job besides its chunks, and some room.
const OTHER_TASKS: usize = 4;

impl Memory {
    pub async fn run(&self, coordinator: &Path) -> Result<Figures> {
        let (open, gate) = watch::channel(false);
        // A slot for everything at once, or the chunks of the first jobs would keep the others from being indexed.
        let slots = (self.jobs * (self.chunks + OTHER_TASKS)).div_ceil(self.workers);
        let mut orders = Orders::instant(self.workers, slots, source_of(self.chunks));
        orders.gate = Some(gate);
        // What waits at the gate says little: this is about what is held, not about what is heard.
        orders.progress = Duration::from_secs(5);
        let mut farm = Farm::start(coordinator).await?;
        let fleet = Fleet::start(&farm.queue(), orders).await?;
        let jobs = Jobs::connect(&farm).await?;
        let empty = memory_mib(farm.pid(), "VmRSS")?;
        let ids = jobs.submit(&farm, self.jobs).await?;
        tokio::time::timeout(PATIENCE, fleet.ledger.indexed(self.jobs)).await?;
        rest(&mut farm).await?;
        let full = memory_mib(farm.pid(), "VmRSS")?;
        open.send_replace(true);
        let views = jobs.succeeded(&mut farm, &fleet, &ids, PATIENCE).await?;
        rest(&mut farm).await?;
        let drained = memory_mib(farm.pid(), "VmRSS")?;
        let highest = memory_mib(farm.pid(), "VmHWM")?;
        let chunks = chunks(&views);
        let mut figures = Figures::new("memory", format!("{} jobs, {chunks} chunks, none done", self.jobs));
        figures.judge("coordinator, all chunks live", full, "MiB", Goal::AtMost(256.0));
        figures.judge("coordinator, at most", highest, "MiB", Goal::AtMost(256.0));
        figures.judge("a chunk", (full - empty) * 1024.0 / chunks as f64, "KiB", Goal::AtMost(8.0));
        figures.add("coordinator, after all have succeeded", drained, "MiB");
        figures.add("coordinator, before the first job", empty, "MiB");
        Ok(figures)
    }
}

/// Waits until nothing is written any more.
async fn rest(farm: &mut Farm) -> Result<()> {
    let began = Instant::now();
    loop {
        let before = Writes::of(farm.etcd.port())?.puts;
        tokio::time::sleep(REST).await;
        farm.check()?;
        if Writes::of(farm.etcd.port())?.puts == before {
            return Ok(());
        }
        ensure!(began.elapsed() < PATIENCE, "the coordinator does not come to rest");
    }
}
