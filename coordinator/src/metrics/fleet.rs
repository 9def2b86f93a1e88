//! What there is now, by what the leader knows: jobs, tasks, workers, work that waits.

use std::collections::BTreeMap;

use prometheus::{GaugeVec, IntGauge, IntGaugeVec};
use shared::fleet::{Class, Standing};
use shared::telemetry::Declare;

use crate::farm::{Backlog, TaskCounts};
use crate::run::Handle;
use crate::workers::{Hold, Load, WorkerView};

/// Where a job may stand.
const STATES: [&str; 6] = ["probing", "encoding", "publishing", "completed", "failed", "cancelled"];
/// What a worker may do.
const STANDINGS: [&str; 6] = ["working", "unproven", "holding", "quarantined", "draining", "lost"];

/// What is told of jobs, tasks and workers. Nothing, while another coordinator leads.
#[derive(Debug)]
pub struct FleetMetrics {
    jobs: IntGaugeVec,
    tasks: IntGaugeVec,
    workers: IntGaugeVec,
    slots: IntGaugeVec,
    running_attempts: IntGaugeVec,
    queued_tasks: IntGauge,
    queue_age_seconds: GaugeVec,
    backlog_seconds: GaugeVec,
    work_seconds: GaugeVec,
}

impl FleetMetrics {
    /// Metrics of a coordinator that does not lead.
    pub fn new(new: Declare<'_>) -> Self {
        let work = "Time that one slot needs for it, at the speed of those who work.";
        let age = "Since when the oldest task waits on the queue.";
        let tasks = "Tasks that are not done, by kind and where they stand.";
        Self {
            jobs: new.gauges("jobs", "Jobs by state.", ["state"], &[]),
            tasks: new.gauges("tasks", tasks, ["task", "state"], &[]),
            workers: new.gauges("workers", "Workers by what they do.", ["standing"], &[]),
            slots: new.gauges("slots", "Slots of the workers that take tasks, by class.", ["class"], &[]),
            running_attempts: new.gauges("running_attempts", "Attempts that workers say they run.", ["class"], &[]),
            queued_tasks: new.gauge("queued_tasks", "Tasks on the queue that wait for a worker."),
            queue_age_seconds: new.gauges("queue_age_seconds", age, ["class"], &[]),
            backlog_seconds: new.gauges(
                "backlog_seconds",
                "Presentation time that is not encoded yet.",
                ["class"],
                &[],
            ),
            work_seconds: new.gauges("work_seconds", work, ["class"], &[]),
        }
    }

    /// Looks once.
    pub async fn look(&self, handle: &Handle) {
        let mut states = BTreeMap::from(STATES.map(|state| (state.to_owned(), 0)));
        handle.list(|view| {
            *states.entry(view.state.to_string()).or_default() += 1;
            false
        });
        self.count_jobs(&states);
        self.count_tasks(&handle.task_counts().await);
        let workers = handle.workers().await;
        self.count_workers(&workers);
        self.count_work(&handle.backlog().await, &workers);
    }

    /// The queue has said how many tasks wait there.
    pub fn queued(&self, tasks: u64) {
        self.queued_tasks.set(i64::try_from(tasks).unwrap_or(i64::MAX));
    }

    fn count_jobs(&self, states: &BTreeMap<String, i64>) {
        for (state, count) in states {
            self.jobs.with_label_values(&[state]).set(*count);
        }
    }

    fn count_tasks(&self, kinds: &BTreeMap<&'static str, TaskCounts>) {
        for (kind, TaskCounts { waiting, queued, running }) in kinds {
            for (state, count) in [("waiting", waiting), ("queued", queued), ("running", running)] {
                self.tasks.with_label_values(&[kind, state]).set(i64::try_from(*count).unwrap_or(i64::MAX));
            }
        }
    }

    fn count_workers(&self, workers: &[WorkerView]) {
        for wanted in STANDINGS {
            let count = workers.iter().filter(|view| standing(view) == wanted).count();
            self.workers.with_label_values(&[wanted]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let alive = || workers.iter().filter(|view| !view.lost);
        for class in Class::ALL {
            let working = alive().filter(|view| standing(view) == "working");
            let slots: u32 = working.map(|view| view.heartbeat.slots_of(class)).sum();
            let running: u32 = alive().map(|view| view.heartbeat.busy_of(class)).sum();
            self.slots.with_label_values(&[class.as_str()]).set(slots.into());
            self.running_attempts.with_label_values(&[class.as_str()]).set(running.into());
        }
    }

    fn count_work(&self, backlogs: &BTreeMap<Class, Backlog>, workers: &[WorkerView]) {
        for (class, backlog) in backlogs {
            let label = [class.as_str()];
            let load = Load::of(*class, backlog, workers);
            self.backlog_seconds.with_label_values(&label).set(backlog.left_ms as f64 / 1000.0);
            self.queue_age_seconds.with_label_values(&label).set(backlog.oldest_ms as f64 / 1000.0);
            self.work_seconds.with_label_values(&label).set(load.queued_seconds);
        }
    }

    /// It is another's to tell.
    pub fn forget(&self) {
        for gauges in [&self.jobs, &self.tasks, &self.workers, &self.slots, &self.running_attempts] {
            gauges.reset();
        }
        for gauges in [&self.backlog_seconds, &self.queue_age_seconds, &self.work_seconds] {
            gauges.reset();
        }
        self.queued_tasks.set(0);
    }
}

fn standing(view: &WorkerView) -> &'static str {
    match (view.lost, &view.hold, view.heartbeat.standing) {
        (true, ..) => "lost",
        (false, Some(Hold::Quarantined(_)), _) => "quarantined",
        (false, Some(Hold::Cordoned), _) | (false, None, Standing::Holding) => "holding",
        (false, None, Standing::Working) if view.heartbeat.classes.is_empty() => "unproven",
        (false, None, Standing::Working) => "working",
        (false, None, Standing::Draining) => "draining",
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{Registry, TextEncoder};
    use shared::fleet::Heartbeat;
    use shared::task::WorkerId;

    use super::*;
    use crate::workers::Workers;

    #[test]
    fn workers_and_jobs_are_counted_and_forgotten() {
        let registry = Registry::new();
        let metrics = FleetMetrics::new(Declare::new(&registry, "farm_test"));
        let mut workers = Workers::default();
        for name in ["a", "b"] {
            workers.beat(Heartbeat { slots: 3, ..shared::testing::heartbeat(name) }, 0);
        }
        workers.restore(WorkerId::new("c").unwrap(), Hold::Cordoned, 0);
        workers.hold(&WorkerId::new("b").unwrap(), true);
        metrics.count_workers(&workers.views().cloned().collect::<Vec<_>>());
        metrics.count_jobs(&BTreeMap::from([("encoding".to_owned(), 2)]));
        let text = || TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for line in [
            "farm_test_workers{standing=\"working\"} 1",
            "farm_test_workers{standing=\"holding\"} 1",
            "farm_test_workers{standing=\"lost\"} 1",
            "farm_test_workers{standing=\"quarantined\"} 0",
            "farm_test_slots{class=\"cpu\"} 3",
            "farm_test_slots{class=\"gpu\"} 0",
            "farm_test_jobs{state=\"encoding\"} 2",
        ] {
            assert!(text().lines().any(|found| found == line), "{line}\n{}", text());
        }
        metrics.forget();
        assert_eq!(
            text().lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>(),
            ["farm_test_queued_tasks 0"]
        );
    }
}
