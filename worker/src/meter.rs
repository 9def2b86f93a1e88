//! What an attempt costs.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, Timespec, clock_gettime};
use shared::task::Spent;

/// Measures from its making. A slot runs one attempt at a time, so the process's CPU time is the attempt's.
#[derive(Debug)]
pub struct Meter {
    started: Instant,
    cpu_ms_before: u64,
}

impl Meter {
    /// Starts measuring.
    pub fn start() -> Self {
        Self { started: Instant::now(), cpu_ms_before: process_cpu_ms() }
    }

    /// What has been spent since the start.
    pub fn spent(&self) -> Spent {
        let wall_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Spent::new(wall_ms, process_cpu_ms().saturating_sub(self.cpu_ms_before))
    }
}

/// Adds up the time that one stage takes, call by call.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stopwatch(Duration);

impl Stopwatch {
    /// Does it, and adds the time it took.
    pub fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let result = work();
        self.0 += began.elapsed();
        result
    }

    /// [`Self::time`] for what waits.
    pub async fn wait<T>(&mut self, work: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let result = work.await;
        self.0 += began.elapsed();
        result
    }

    /// So far.
    pub fn ms(&self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

fn process_cpu_ms() -> u64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::ProcessCPUTime);
    tv_sec.unsigned_abs() * 1000 + tv_nsec.unsigned_abs() / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_costs_cpu_time() {
        let meter = Meter::start();
        let mut sum = 0u64;
        while meter.spent().wall_ms < 200 {
            sum = (0..10_000u64).fold(sum, |sum, n| std::hint::black_box(sum ^ n));
        }
        assert!(meter.spent().cpu_ms >= 20, "{:?}", meter.spent());
    }
}
