//! What a chunk waits for besides its work, where there is no crowd.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;
use shared::testing::synthetic::Source;

use super::PATIENCE;
use crate::commits::Commits;
use crate::farm::Farm;
use crate::figures::{Figures, Goal, quantile};
use crate::fleet::{Fleet, Orders};
use crate::jobs::{Jobs, chunks};

/// Jobs whose sources grow: a chunk comes as soon as the index has read that far.
#[derive(Args)]
pub struct Overhead {
    /// Chunks a second, about.
    #[arg(long, default_value_t = 20)]
    rate: u32,
    /// For so many seconds.
    #[arg(long, default_value_t = 20)]
    seconds: u32,
    /// Sources that grow at once.
    #[arg(long, default_value_t = 4)]
    jobs: u32,
    #[arg(long, default_value_t = 20)]
    workers: usize,
}

/// Of a chunk in the middle of a job.
const CHUNK_MS: u32 = 20_000;
/// Of a GOP of the source.
const GOP_MS: u32 = 2_000;
/// Of a piece of the index.
const GOPS_A_PIECE: u32 = 4;

impl Overhead {
    /// The clock of a chunk runs from the commit that hands it out until a worker has it, and from the moment the worker
    /// begins to say that it is done until that is committed. Commits are seen by a watch on etcd.
    pub async fn run(&self, coordinator: &Path) -> Result<Figures> {
        let length_ms =
            i64::from(self.rate) * i64::from(self.seconds) * i64::from(CHUNK_MS) / i64::from(self.jobs.max(1));
        let source = Source { length_ms, gops_a_piece: GOPS_A_PIECE as usize, ..Source::default() };
        let mut orders = Orders::instant(self.workers, 2, source);
        orders.index_pause = Duration::from_secs(1) * self.jobs * GOP_MS * GOPS_A_PIECE / (self.rate * CHUNK_MS).max(1);
        let mut farm = Farm::start(coordinator).await?;
        let commits = Commits::watch(&farm).await?;
        let fleet = Fleet::start(&farm.queue(), orders).await?;
        let jobs = Jobs::connect(&farm).await?;
        let began = Instant::now();
        let ids = jobs.submit(&farm, self.jobs as usize).await?;
        let views = jobs.succeeded(&mut farm, &fleet, &ids, PATIENCE).await?;
        let took = began.elapsed().as_secs_f64();
        let seen = commits.seen();
        let (mut delivery, mut acceptance, mut both) = (Vec::new(), Vec::new(), Vec::new());
        for made in fleet.ledger.chunks() {
            let (Some(handed), Some(done)) = (seen.handed.get(&made.attempt), seen.done.get(&made.attempt.task)) else {
                continue;
            };
            // Nothing comes before the commit; the watch may be a moment late.
            let there = made.taken.saturating_duration_since(*handed).as_secs_f64() * 1000.0;
            let back = done.saturating_duration_since(made.said).as_secs_f64() * 1000.0;
            delivery.push(there);
            acceptance.push(back);
            both.push(there + back);
        }
        let chunks = chunks(&views);
        ensure!(both.len() * 10 >= chunks * 9, "the watch has seen {} of {chunks} chunks", both.len());
        let setting =
            format!("{} jobs, {:.1} chunks/s, {} workers of 2 slots", self.jobs, chunks as f64 / took, self.workers);
        let mut figures = Figures::new("overhead", setting);
        figures.add("handed out → in hand, median", quantile(&delivery, 500), "ms");
        figures.add("handed out → in hand, p99", quantile(&delivery, 990), "ms");
        figures.add("done → committed, median", quantile(&acceptance, 500), "ms");
        figures.add("done → committed, p99", quantile(&acceptance, 990), "ms");
        figures.judge("both, median", quantile(&both, 500), "ms", Goal::AtMost(20.0));
        figures.judge("both, p99", quantile(&both, 990), "ms", Goal::AtMost(150.0));
        Ok(figures)
    }
}
