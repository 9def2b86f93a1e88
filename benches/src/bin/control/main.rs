//! The control plane under load: a real coordinator, a real NATS that flushes every message to disk, a real etcd, and
//! workers inside this process that touch no media (`fleet`).
//!
//! | subcommand | what is measured |
//! |---|---|
//! | `throughput` | chunks a second, CPU and writes of etcd for a chunk |
//! | `jobs` | jobs a second |
//! | `overhead` | what a chunk waits for besides its work |
//! | `fleet` | how well a thousand workers are kept busy |
//! | `straggler` | what one slow worker costs all |
//! | `memory` | the coordinator with ten thousand chunks at once |
//! | `all` | all of them, on a fresh farm each |

mod commits;
mod farm;
mod figures;
mod fleet;
mod jobs;
mod ledger;
mod scenarios;
mod usage;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use figures::Figures;
use scenarios::{fleets, latency, memory, volume};

/// Measures the control plane with workers that make nothing.
#[derive(Parser)]
struct Arguments {
    /// The figures as JSON.
    #[arg(long, global = true)]
    json: bool,
    /// The coordinator's program; the one beside this one if left out.
    #[arg(long, global = true)]
    coordinator: Option<PathBuf>,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    #[command(flatten)]
    One(Scenario),
    /// Everything, with the sizes that the goals name
    All,
}

/// A scenario with its sizes.
#[derive(Parser)]
struct One {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Subcommand)]
enum Scenario {
    /// Chunks a second, CPU and etcd writes for a chunk
    Throughput(volume::Throughput),
    /// Jobs a second
    Jobs(volume::Jobs),
    /// What a chunk waits for besides its work
    Overhead(latency::Overhead),
    /// How well many workers are kept busy
    Fleet(fleets::Fleet),
    /// What one slow worker costs all
    Straggler(fleets::Straggler),
    /// The coordinator's memory
    Memory(memory::Memory),
}

#[tokio::main]
async fn main() -> Result<()> {
    let Arguments { json, coordinator, what } = Arguments::parse();
    let beside = || std::env::current_exe().map(|program| program.with_file_name("coordinator"));
    let coordinator = coordinator.map_or_else(beside, Ok)?;
    let began = Instant::now();
    let all: Vec<Scenario> = match what {
        What::One(scenario) => vec![scenario],
        What::All => ALL.iter().map(|name| One::parse_from(["control", name]).scenario).collect(),
    };
    let mut figures: Vec<Figures> = Vec::new();
    for one in &all {
        figures.push(match one {
            Scenario::Throughput(size) => size.run(&coordinator).await.context("throughput")?,
            Scenario::Jobs(size) => size.run(&coordinator).await.context("jobs")?,
            Scenario::Overhead(size) => size.run(&coordinator).await.context("overhead")?,
            Scenario::Fleet(size) => size.run(&coordinator).await.context("fleet")?,
            Scenario::Straggler(size) => size.run(&coordinator).await.context("straggler")?,
            Scenario::Memory(size) => size.run(&coordinator).await.context("memory")?,
        });
        eprintln!("{:.0?}", began.elapsed());
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&figures)?);
    } else {
        figures::print(&figures);
    }
    Ok(())
}

/// What `all` stands for.
const ALL: [&str; 6] = ["throughput", "jobs", "overhead", "fleet", "straggler", "memory"];
