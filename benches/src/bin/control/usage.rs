//! What processes use, by the kernel's and by etcd's own count.

use std::time::Duration;

use anyhow::{Context, Result};
use shared::testing::ask;

/// Length of a tick of `/proc/PID/stat`: the same on all of Linux, whatever the kernel's own.
const TICK: Duration = Duration::from_millis(10);

/// CPU time that a process has taken, its threads' and the kernel's on its behalf.
pub fn cpu(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // After the name, which is in brackets and may hold anything; user and system are fields 14 and 15 (`man 5 proc`).
    let fields = stat.rsplit_once(')').context("no name in /proc/PID/stat")?.1.split_whitespace();
    let ticks: Result<Vec<u32>, _> = fields.skip(11).take(2).map(str::parse).collect();
    Ok(TICK * ticks?.iter().sum())
}

/// A line of `/proc/PID/status` in MiB: `VmRSS`, `VmHWM`.
pub fn memory_mib(pid: u32, line: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let found = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
    let kib = found.and_then(|text| text.trim().strip_suffix(" kB")).with_context(|| format!("no {line}"))?;
    Ok(kib.parse::<f64>()? / 1024.0)
}

/// What etcd has written since it began.
#[derive(Debug, Clone, Copy)]
pub struct Writes {
    /// Entries of its log, each flushed to disk: transactions, and now and then a lease.
    pub commits: f64,
    /// Keys that were put.
    pub puts: f64,
}

impl Writes {
    /// Of the etcd on this port.
    pub fn of(port: u16) -> Result<Self> {
        // Without chunks in between, which HTTP/1.1 has.
        let text = ask(port, "GET /metrics HTTP/1.0\r\n\r\n");
        let count = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            value.with_context(|| format!("etcd has no {name}"))?.trim().parse::<f64>().context(name.to_owned())
        };
        Ok(Self {
            commits: count("etcd_server_proposals_applied_total")?,
            puts: count("etcd_debugging_mvcc_put_total")?,
        })
    }
}
