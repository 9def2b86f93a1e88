//! Attempts, counted as they end: the same family for the coordinator, which hears of all, and for a worker, which hears
//! of its own.

use prometheus::{Counter, CounterVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry};

use super::register;
use crate::error::ErrorKind;
use crate::task::{Outcome, Receipt, Spent, TaskName, TaskReport};
use crate::time::Timescale;

/// Seconds an attempt may take: from a short chunk to the index of a long film.
const SECONDS: [f64; 12] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0, 180.0, 600.0, 3600.0];
/// What the codes of failures begin with in which a child process died or had to be killed.
const CHILD_DEATH: &str = "slot_";

/// What is counted of attempts.
#[derive(Debug, Clone)]
pub struct AttemptMetrics {
    ended: IntCounterVec,
    seconds: HistogramVec,
    cpu_seconds: CounterVec,
    encoded_seconds: Counter,
    child_deaths: IntCounter,
}

impl AttemptMetrics {
    /// Metrics whose names begin with `program`, such as `farm_worker`.
    ///
    /// # Panics
    /// If `registry` has them already.
    pub fn new(registry: &Registry, program: &str) -> Self {
        let opts = |name: &str, help: &str| Opts::new(format!("{program}_{name}"), help);
        let seconds = opts("attempt_seconds", "Elapsed time of attempts that ended well, by kind of task.");
        let seconds = HistogramOpts { common_opts: seconds, buckets: SECONDS.to_vec() };
        let ended = opts("attempts_total", "Attempts that have ended, by kind of task and by how they ended.");
        let cpu = opts("attempt_cpu_seconds_total", "CPU time of attempts that ended well, by kind of task.");
        let encoded = "Presentation time of encoded chunks: divided by farm time it is the speed, in times real time.";
        let deaths = opts("child_deaths_total", "Attempts whose child process died, hung, or broke a limit.");
        Self {
            ended: register(registry, IntCounterVec::new(ended, &["task", "outcome"])),
            seconds: register(registry, HistogramVec::new(seconds, &["task"])),
            cpu_seconds: register(registry, CounterVec::new(cpu, &["task"])),
            encoded_seconds: register(registry, Counter::with_opts(opts("encoded_seconds_total", encoded))),
            child_deaths: register(registry, IntCounter::with_opts(deaths)),
        }
    }

    /// A worker has said something of an attempt; only ends count.
    pub fn reported(&self, report: &TaskReport) {
        let task = task(report.task.name);
        let outcome = match &report.outcome {
            Outcome::Done(receipt) => {
                let Spent { wall_ms, cpu_ms } = receipt.spent();
                self.seconds.with_label_values(&[task]).observe(seconds(wall_ms));
                self.cpu_seconds.with_label_values(&[task]).inc_by(seconds(cpu_ms));
                self.encoded_seconds.inc_by(seconds(encoded_ms(receipt)));
                "done"
            }
            Outcome::Failed(error) => {
                if error.code.starts_with(CHILD_DEATH) {
                    self.child_deaths.inc();
                }
                kind(error.kind)
            }
            Outcome::Started | Outcome::Progress(_) | Outcome::Index(_) => return,
        };
        self.ended.with_label_values(&[task, outcome]).inc();
    }
}

/// For people and for metrics; a longer time than any attempt takes loses no digit.
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

/// Presentation time of a chunk; nothing else is counted.
fn encoded_ms(receipt: &Receipt) -> u64 {
    let Receipt::Video(video) = receipt else { return 0 };
    let Some(part) = video.parts.first() else { return 0 };
    let ticks: u64 = part.segments.iter().map(|segment| segment.duration).sum();
    Timescale::MILLIS.rescale_floor(i64::try_from(ticks).unwrap_or(i64::MAX), part.timescale).unsigned_abs()
}

fn task(name: TaskName) -> &'static str {
    match name {
        TaskName::Index => "index",
        TaskName::Video(_) => "video",
        TaskName::Audio(_) => "audio",
        TaskName::Storyboard => "storyboard",
    }
}

fn kind(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Input => "input",
        ErrorKind::Unsupported => "unsupported",
        ErrorKind::Transient => "transient",
        ErrorKind::Exhausted => "exhausted",
        ErrorKind::Cancelled => "cancelled",
        ErrorKind::Bug => "bug",
    }
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;

    use super::*;
    use crate::error::TaskError;
    use crate::task::{AttemptId, JobId, StoryboardReceipt, TaskId, WorkerId};

    #[test]
    fn ends_are_counted_by_how_they_were() {
        let registry = Registry::new();
        let metrics = AttemptMetrics::new(&registry, "farm_test");
        let report = |outcome| TaskReport {
            task: TaskId { job: JobId::new("j").unwrap(), name: TaskName::Storyboard },
            attempt: AttemptId(1),
            worker: WorkerId::new("w").unwrap(),
            outcome,
        };
        let spent = Spent { wall_ms: 1500, cpu_ms: 2000 };
        metrics.reported(&report(Outcome::Started));
        metrics.reported(&report(Outcome::Done(Receipt::Storyboard(StoryboardReceipt { sheets: vec![], spent }))));
        metrics.reported(&report(Outcome::Failed(TaskError::new(ErrorKind::Bug, "slot_crashed", "signal 11"))));
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for line in [
            "farm_test_attempts_total{outcome=\"done\",task=\"storyboard\"} 1",
            "farm_test_attempts_total{outcome=\"bug\",task=\"storyboard\"} 1",
            "farm_test_attempt_seconds_sum{task=\"storyboard\"} 1.5",
            "farm_test_attempt_cpu_seconds_total{task=\"storyboard\"} 2",
            "farm_test_child_deaths_total 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
