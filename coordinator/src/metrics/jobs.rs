//! What happens to jobs and their tasks, each counted once: the core says it when it happens, after it is saved, and a
//! coordinator that takes over says nothing of what was before.

use prometheus::{Histogram, IntCounterVec};
use shared::task::TaskName;
use shared::telemetry::{Declare, each};

use crate::farm::{Count, Hedge, HowEnded};
use crate::workers::Quarantined;

/// Seconds until a job can be played.
const PLAYABLE_SECONDS: [f64; 12] = [1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0];
/// Seconds until a job is whole.
const SUCCEEDED_SECONDS: [f64; 15] =
    [1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 14_400.0, 43_200.0];

/// What is counted of jobs.
#[derive(Debug)]
pub struct JobMetrics {
    playable_seconds: Histogram,
    succeeded_seconds: Histogram,
    ended: IntCounterVec,
    retries: IntCounterVec,
    hedges: IntCounterVec,
    quarantines: IntCounterVec,
}

impl JobMetrics {
    /// Metrics of a farm in which nothing has happened.
    pub fn new(new: Declare<'_>) -> Self {
        let playable = "Time from when a job was asked for, or tried again, until it could be played.";
        let succeeded = "Time from when a job was asked for, or tried again, until it was whole.";
        let ended = "Jobs that have ended; `refused` is the source's or the request's fault, `failed` the farm's.";
        let retries = "Tasks tried again after a failure, by kind.";
        let hedges = "Attempts made beside a slow one.";
        let quarantines = "Workers put under quarantine; `black_hole`: all of its faults came within a minute.";
        let ends = [HowEnded::Succeeded, HowEnded::Cancelled, HowEnded::Refused, HowEnded::Failed].map(outcome);
        let hedged = [Hedge::Started, Hedge::Won, Hedge::Lost].map(hedge);
        let causes = [Quarantined::BlackHole, Quarantined::Failures].map(cause);
        Self {
            playable_seconds: new.histogram("playable_seconds", playable, &PLAYABLE_SECONDS),
            succeeded_seconds: new.histogram("succeeded_seconds", succeeded, &SUCCEEDED_SECONDS),
            ended: new.counters("jobs_ended_total", ended, ["outcome"], &each(ends)),
            retries: new.counters("retries_total", retries, ["task"], &each(TaskName::KINDS)),
            hedges: new.counters("hedges_total", hedges, ["outcome"], &each(hedged)),
            quarantines: new.counters("quarantines_total", quarantines, ["cause"], &each(causes)),
        }
    }

    /// Something has happened.
    pub fn count(&self, count: Count) {
        let seconds = |ms: u64| ms as f64 / 1000.0;
        match count {
            Count::Playable(after_ms) => self.playable_seconds.observe(seconds(after_ms)),
            Count::Ended(how, after_ms) => {
                self.ended.with_label_values(&[outcome(how)]).inc();
                if how == HowEnded::Succeeded {
                    self.succeeded_seconds.observe(seconds(after_ms));
                }
            }
            Count::Retry(task) => self.retries.with_label_values(&[task.kind()]).inc(),
            Count::Hedge(what) => self.hedges.with_label_values(&[hedge(what)]).inc(),
            Count::Quarantine(how) => self.quarantines.with_label_values(&[cause(how)]).inc(),
        }
    }
}

fn outcome(how: HowEnded) -> &'static str {
    match how {
        HowEnded::Succeeded => "succeeded",
        HowEnded::Cancelled => "cancelled",
        HowEnded::Refused => "refused",
        HowEnded::Failed => "failed",
    }
}

fn hedge(what: Hedge) -> &'static str {
    match what {
        Hedge::Started => "started",
        Hedge::Won => "won",
        Hedge::Lost => "lost",
    }
}

fn cause(how: Quarantined) -> &'static str {
    match how {
        Quarantined::BlackHole => "black_hole",
        Quarantined::Failures => "failures",
    }
}
