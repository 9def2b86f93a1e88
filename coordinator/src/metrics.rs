//! Every metric of a coordinator; `deploy/METRICS.md` lists them. While it does not lead, the gauges are empty and the counters stand still.

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus::{GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntGauge, IntGaugeVec, Opts, Registry};
use shared::fleet::{Heartbeat, Standing};
use shared::queue::Incoming;
use shared::queue::metered::{Call, Meter};
use shared::task::TaskReport;
use shared::telemetry::{ANSWER_SECONDS, AttemptMetrics, register};

use crate::run::Handle;
use crate::workers::{Hold, Load, WorkerView};

/// How often jobs and workers are counted.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// What an operator needs to see.
#[derive(Debug)]
pub struct Metrics {
    /// 1 while this coordinator leads.
    pub leader: IntGauge,
    /// Terms that have begun here.
    pub terms: IntCounter,
    /// Writes refused because the term was over.
    pub fenced_writes: IntCounter,
    /// Requests to etcd that failed.
    pub etcd_errors: IntCounter,
    /// Time until etcd had answered, by whether it did what it was asked for.
    pub etcd_seconds: HistogramVec,
    queue_errors: IntCounter,
    queue_seconds: HistogramVec,
    queued_tasks: IntGauge,
    queue_age_seconds: GaugeVec,
    jobs: IntGaugeVec,
    workers: IntGaugeVec,
    slots: IntGauge,
    running_attempts: IntGauge,
    backlog_seconds: GaugeVec,
    work_seconds: GaugeVec,
    attempts: AttemptMetrics,
}

impl Metrics {
    /// Metrics in `registry`.
    ///
    /// # Panics
    /// If it has them already.
    pub fn new(registry: &Registry) -> Self {
        let gauge = |name, help| register(registry, IntGauge::with_opts(opts(name, help)));
        let gauges = |name, help, label| register(registry, IntGaugeVec::new(opts(name, help), &[label]));
        let by_class = |name, help| register(registry, GaugeVec::new(opts(name, help), &["class"]));
        let counter = |name, help| register(registry, IntCounter::with_opts(opts(name, help)));
        let answers = |name, help, label| {
            let opts = HistogramOpts { common_opts: opts(name, help), buckets: ANSWER_SECONDS.to_vec() };
            register(registry, HistogramVec::new(opts, &[label]))
        };
        Self {
            leader: gauge("leader", "1 while this coordinator leads."),
            terms: counter("terms_total", "Times this coordinator began to lead."),
            fenced_writes: counter("fenced_writes_total", "Writes refused because another coordinator leads."),
            etcd_errors: counter("etcd_errors_total", "Requests to etcd that failed; they are made again."),
            etcd_seconds: answers("etcd_seconds", "Time until etcd had answered, by outcome.", "outcome"),
            queue_errors: counter("nats_errors_total", "Messages to workers that NATS did not take."),
            queue_seconds: answers("nats_seconds", "Time until NATS had taken or refused a message, by kind.", "call"),
            queued_tasks: gauge("queued_tasks", "Tasks on the queue that wait for a worker."),
            queue_age_seconds: by_class("queue_age_seconds", "Since when the oldest task waits on the queue."),
            jobs: gauges("jobs", "Jobs by state.", "state"),
            workers: gauges("workers", "Workers by what they do.", "standing"),
            slots: gauge("slots", "Slots of the workers that take tasks."),
            running_attempts: gauge("running_attempts", "Attempts that workers say they run."),
            backlog_seconds: by_class("backlog_seconds", "Presentation time that is not encoded yet."),
            work_seconds: by_class("work_seconds", "Time that one slot needs for it, at the speed of those who work."),
            attempts: AttemptMetrics::new(registry, "farm_coordinator"),
        }
    }

    /// Counts what the core knows again and again; never returns.
    pub async fn watch(&self, handle: &Handle) {
        let mut look = tokio::time::interval(LOOK_AGAIN);
        loop {
            look.tick().await;
            let mut states: BTreeMap<String, i64> = BTreeMap::new();
            handle.list(|view| {
                *states.entry(view.state.to_string()).or_default() += 1;
                false
            });
            self.count_jobs(&states);
            let workers = handle.workers().await;
            self.count_workers(&workers);
            for (class, backlog) in handle.backlog().await {
                let class_label = [class.as_str()];
                let load = Load::of(class, backlog.left_ms, &workers);
                self.backlog_seconds.with_label_values(&class_label).set(backlog.left_ms as f64 / 1000.0);
                self.queue_age_seconds.with_label_values(&class_label).set(backlog.oldest_ms as f64 / 1000.0);
                self.work_seconds.with_label_values(&class_label).set(load.queued_seconds);
            }
        }
    }

    fn count_jobs(&self, states: &BTreeMap<String, i64>) {
        self.jobs.reset(); // a state that nobody is in any more is gone
        for (state, count) in states {
            self.jobs.with_label_values(&[state.as_str()]).set(*count);
        }
    }

    fn count_workers(&self, workers: &[WorkerView]) {
        self.workers.reset();
        for view in workers {
            self.workers.with_label_values(&[standing(view)]).inc();
        }
        let alive = || workers.iter().filter(|view| !view.lost);
        let working = alive().filter(|view| standing(view) == "working");
        let slots: u32 = working.map(|view| view.heartbeat.slots).sum();
        let running: usize = alive().map(|view| view.heartbeat.running.len()).sum();
        self.slots.set(slots.into());
        self.running_attempts.set(i64::try_from(running).unwrap_or(i64::MAX));
    }

    /// The term is over: what is known of jobs and workers is somebody else's to tell.
    pub fn forget(&self) {
        self.leader.set(0);
        self.jobs.reset();
        self.workers.reset();
        for gauge in [&self.backlog_seconds, &self.queue_age_seconds, &self.work_seconds] {
            gauge.reset();
        }
        for gauge in [&self.slots, &self.running_attempts, &self.queued_tasks] {
            gauge.set(0);
        }
    }
}

impl Meter for Metrics {
    fn heard(&self, incoming: &Incoming) {
        match incoming {
            Incoming::Report(report) => self.attempts.reported(report),
            Incoming::Depth(tasks) => self.queued_tasks.set(i64::try_from(*tasks).unwrap_or(i64::MAX)),
            Incoming::Heartbeat(_) | Incoming::Lost | Incoming::Undeliverable(_) => {}
        }
    }

    fn reported(&self, _: &TaskReport) {}

    fn beaten(&self, _: &Heartbeat) {}

    fn answered(&self, call: Call, time: Duration) {
        self.queue_seconds.with_label_values(&[call.as_str()]).observe(time.as_secs_f64());
    }

    fn failed(&self) {
        self.queue_errors.inc();
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

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(format!("farm_coordinator_{name}"), help)
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;
    use shared::task::WorkerId;

    use super::*;
    use crate::workers::Workers;

    #[test]
    fn workers_and_jobs_are_counted_and_forgotten() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry);
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
            "farm_coordinator_workers{standing=\"working\"} 1",
            "farm_coordinator_workers{standing=\"holding\"} 1",
            "farm_coordinator_workers{standing=\"lost\"} 1",
            "farm_coordinator_slots 3",
            "farm_coordinator_jobs{state=\"encoding\"} 2",
        ] {
            assert!(text().lines().any(|found| found == line), "{line}\n{}", text());
        }
        metrics.forget();
        assert!(!text().contains("farm_coordinator_jobs{"), "{}", text());
    }
}
