//! Every metric of a worker; `deploy/METRICS.md` lists them.

use std::time::Duration;

use prometheus::{Gauge, HistogramOpts, HistogramVec, IntCounter, IntGauge, IntGaugeVec, Opts, Registry};
use shared::fleet::{Heartbeat, Standing};
use shared::queue::Incoming;
use shared::queue::metered::{Call, Meter};
use shared::task::TaskReport;
use shared::telemetry::{ANSWER_SECONDS, AttemptMetrics, register};

/// What an operator needs to see.
#[derive(Debug)]
pub struct Metrics {
    slots: IntGauge,
    running_attempts: IntGauge,
    taking_tasks: IntGauge,
    speed: Gauge,
    abilities: IntGaugeVec,
    proofs: IntGauge,
    queue_errors: IntCounter,
    queue_seconds: HistogramVec,
    attempts: AttemptMetrics,
}

impl Metrics {
    /// Metrics in `registry`.
    ///
    /// # Panics
    /// If it has them already.
    pub fn new(registry: &Registry) -> Self {
        let gauge = |name, help| register(registry, IntGauge::with_opts(opts(name, help)));
        let abilities = opts("abilities", "1 for what has been tried here and works, 0 for what does not.");
        let speed = opts("slot_speed_ratio", "Encoded time a slot makes in its time, by all chunks so far.");
        let errors = opts("nats_errors_total", "Messages that NATS did not take or give.");
        let seconds = opts("nats_seconds", "Time until NATS had taken or refused a message, by kind of message.");
        let seconds = HistogramOpts { common_opts: seconds, buckets: ANSWER_SECONDS.to_vec() };
        Self {
            slots: gauge("slots", "Attempts that can run at once."),
            running_attempts: gauge("running_attempts", "Attempts that run."),
            taking_tasks: gauge("taking_tasks", "1 while new tasks are taken: proven, not holding, not draining."),
            proofs: gauge("proofs", "Times that was tried what this host can do, since the start."),
            abilities: register(registry, IntGaugeVec::new(abilities, &["class", "ability"])),
            speed: register(registry, Gauge::with_opts(speed)),
            queue_errors: register(registry, IntCounter::with_opts(errors)),
            queue_seconds: register(registry, HistogramVec::new(seconds, &["call"])),
            attempts: AttemptMetrics::new(registry, "farm_worker"),
        }
    }
}

impl Meter for Metrics {
    fn heard(&self, _: &Incoming) {}

    fn reported(&self, report: &TaskReport) {
        self.attempts.reported(report);
    }

    fn beaten(&self, heartbeat: &Heartbeat) {
        let takes = heartbeat.standing == Standing::Working && !heartbeat.classes.is_empty();
        self.slots.set(heartbeat.slots.into());
        self.running_attempts.set(i64::try_from(heartbeat.running.len()).unwrap_or(i64::MAX));
        self.taking_tasks.set(takes.into());
        self.speed.set(f64::from(heartbeat.speed_ms_per_s) / 1000.0);
        self.proofs.set(heartbeat.proofs.into());
        for ability in &heartbeat.abilities {
            let labels = [ability.class.as_str(), ability.name.as_str()];
            self.abilities.with_label_values(&labels).set(ability.lack.is_none().into());
        }
    }

    fn answered(&self, call: Call, time: Duration) {
        self.queue_seconds.with_label_values(&[call.as_str()]).observe(time.as_secs_f64());
    }

    fn failed(&self) {
        self.queue_errors.inc();
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(format!("farm_worker_{name}"), help)
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;
    use shared::fleet::{Ability, Class};

    use super::*;

    #[test]
    fn a_heartbeat_sets_what_it_says() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry);
        let ability = Ability { class: Class::Cpu, name: "hevc".into(), lack: Some("no libx265".into()) };
        metrics.beaten(&Heartbeat {
            slots: 4,
            standing: Standing::Draining,
            speed_ms_per_s: 2_500,
            abilities: vec![ability],
            ..shared::testing::heartbeat("w")
        });
        metrics.answered(Call::Report, Duration::from_millis(20));
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for line in [
            "farm_worker_slots 4",
            "farm_worker_taking_tasks 0",
            "farm_worker_slot_speed_ratio 2.5",
            "farm_worker_abilities{ability=\"hevc\",class=\"cpu\"} 0",
            "farm_worker_nats_seconds_count{call=\"report\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
