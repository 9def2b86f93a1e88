//! What this process and the programs that it started and waited for have used.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Length of a tick of `/proc/PID/stat`: the same on all of Linux.
const TICK: Duration = Duration::from_millis(10);

/// Measures from its making on.
pub struct Meter {
    began: Instant,
    before: Duration,
}

/// CPU time and time.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    pub cpu_s: f64,
    pub wall_s: f64,
}

impl Meter {
    pub fn start() -> Result<Self> {
        Ok(Self { began: Instant::now(), before: cpu()? })
    }

    pub fn read(&self) -> Result<Usage> {
        let wall_s = self.began.elapsed().as_secs_f64();
        Ok(Usage { cpu_s: cpu()?.saturating_sub(self.before).as_secs_f64(), wall_s })
    }
}

/// User's and system's, own and of ended children: fields 14 to 17 (`man 5 proc`).
fn cpu() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // After the name, which is in brackets and may hold anything.
    let fields = stat.rsplit_once(')').context("no name in /proc/self/stat")?.1.split_whitespace();
    let ticks: Result<Vec<u32>, _> = fields.skip(11).take(4).map(str::parse).collect();
    Ok(TICK * ticks?.iter().sum())
}
