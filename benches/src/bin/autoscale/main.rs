//! A day of a farm whose workers come and go: the coordinator's own core and signal, KEDA's algorithm, and the numbers of the
//! Helm chart, in virtual time. Nothing is encoded; the same seed gives the same day.
//!
//! `autoscale` prints the day with the chart's numbers, `autoscale --grid` with others too: what `deploy/SCALING.md` shows.
//! With `--check` it fails if the chart's numbers do not keep what is promised there.

mod day;
mod figures;
mod keda;
mod pods;
mod policy;
mod world;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use shared::fleet::Class;

use figures::{Figures, print};
use pods::Kind;
use policy::{Policy, VALUES};
use world::World;

/// Of a GPU in `web`: NVIDIA publishes 266 frames a second of 1080p for an encoder of Ampere (H.264, P5), which is 5 times
/// real time of the ladder at 30 frames a second; four chunks share it.
const GPU: Kind = Kind {
    name: "gpu",
    class: Class::Gpu,
    gpu_slots: 4,
    cpu_slots: 2,
    speed: 1.27,
    start_ms: 180_000,
    drain_ms: 120_000,
};
/// A core makes the ladder of `web` in real time, as measured.
const CPU: Kind = Kind {
    name: "cpu",
    class: Class::Cpu,
    gpu_slots: 0,
    cpu_slots: 4,
    speed: 1.04,
    start_ms: 60_000,
    drain_ms: 120_000,
};
/// As the chart sets it where GPUs come from nothing.
const AWAIT_GPU_S: u64 = 600;

/// Simulates a day of a farm that is scaled by its work.
#[derive(Parser)]
struct Arguments {
    /// Other days have other seeds
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// So many days, with this seed and the next ones
    #[arg(long, default_value_t = 1)]
    days: u64,
    /// So many times the uploads
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Values of the chart in which the numbers are, laid out as the chart's own; those if it is not given
    #[arg(long, value_name = "FILE")]
    values: Option<PathBuf>,
    /// Other numbers too, one after the other
    #[arg(long)]
    grid: bool,
    /// Fail if a goal is missed
    #[arg(long)]
    check: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let values = match &arguments.values {
        Some(file) => std::fs::read_to_string(file).with_context(|| file.display().to_string())?,
        None => VALUES.to_owned(),
    };
    let (cpu, chart) = (Policy::of(&values, "cpu")?, Policy::of(&values, "gpu")?);
    let mut policies = vec![("the chart's".to_owned(), chart)];
    if arguments.grid {
        policies.extend(others(chart));
    }
    let mut rows = Vec::new();
    for (name, policy) in policies {
        for seed in arguments.seed..arguments.seed + arguments.days {
            rows.push((name.clone(), day(cpu, policy, seed, arguments.scale)?));
        }
    }
    print(&rows, arguments.json)?;
    let missed: Vec<&str> =
        rows.iter().take(arguments.days as usize).flat_map(|(_, figures)| figures.missed()).collect();
    ensure!(!arguments.check || missed.is_empty(), "missed: {}", missed.join(", "));
    Ok(())
}

/// Each number of a policy, lower and higher.
fn others(chart: Policy) -> Vec<(String, Policy)> {
    let mut others = Vec::new();
    for (name, values, set) in [
        ("finishSeconds", [30, 60, 240, 600], (|policy, value| Policy { finish_s: value, ..policy }) as fn(_, _) -> _),
        ("scaleDownWindow", [0, 60, 300, 600], |policy, value| Policy { scale_down_window_s: value, ..policy }),
        ("cooldownPeriod", [30, 60, 300, 600], |policy, value| Policy { cooldown_s: value, ..policy }),
        ("pollingInterval", [5, 15, 30, 60], |policy, value| Policy { polling_s: value, ..policy }),
    ] {
        others.extend(values.map(|value| (format!("{name} {value}"), set(chart, value))));
    }
    others
}

/// A day of workers of both classes.
fn day(cpu: Policy, gpu: Policy, seed: u64, scale: f64) -> Result<Figures> {
    let mut world = World::new(&[(CPU, cpu), (GPU, gpu)], AWAIT_GPU_S, seed);
    world.run(&day::uploads(seed, scale))?;
    Ok(Figures::of(&world, "gpu"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day_of(seed: u64, scale: f64) -> Figures {
        day(Policy::of(VALUES, "cpu").unwrap(), Policy::of(VALUES, "gpu").unwrap(), seed, scale).unwrap()
    }

    /// A tenth of a day, in which a node is seldom full: what it keeps of the goals all the same.
    #[test]
    fn work_waits_no_longer_than_it_may_and_nothing_becomes_one_worker_at_once() {
        let figures = day_of(1, 0.1);
        assert!(figures.wakes > 3 && figures.wake_s <= figures::WAKE_S, "{figures:?}");
        assert!(figures.oldest_s.most <= figures::OLDEST_S, "{figures:?}");
        assert_eq!(figures.given_back, 0, "{figures:?}");
    }

    #[test]
    fn the_same_seed_is_the_same_day() {
        assert_eq!(format!("{:?}", day_of(3, 0.02)), format!("{:?}", day_of(3, 0.02)));
    }
}
