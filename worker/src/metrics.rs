//! Every metric of a worker; `deploy/METRICS.md` lists them.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{Gauge, IntGauge, IntGaugeVec, Registry};
use shared::fleet::{Class, Heartbeat, Standing};
use shared::queue::Incoming;
use shared::queue::metered::{Call, Meter};
use shared::task::TaskReport;
use shared::telemetry::{AttemptMetrics, Declare, QueueMetrics, StorageMetrics, each};

/// What the names of all metrics of this program begin with.
pub const PROGRAM: &str = "farm_worker";

/// What an operator needs to see.
#[derive(Debug)]
pub struct Metrics {
    /// Of stores.
    pub storage: Arc<StorageMetrics>,
    slots: IntGaugeVec,
    running_attempts: IntGaugeVec,
    taking_tasks: IntGauge,
    draining: IntGauge,
    speed: Gauge,
    abilities: IntGaugeVec,
    proofs: IntGauge,
    queue: QueueMetrics,
    attempts: AttemptMetrics,
}

impl Metrics {
    /// Metrics in `registry`.
    ///
    /// # Panics
    /// If it has them already.
    pub fn new(registry: &Registry) -> Self {
        let new = Declare::new(registry, PROGRAM);
        let slots = "Attempts that can run at once, by class; 0 until it is proven that they can.";
        let taking = "1 while new tasks are taken: proven, not holding, not draining.";
        let speed = "Encoded time a slot makes in its time, by all chunks so far.";
        let abilities = "1 for what has been tried here and works, 0 for what does not.";
        let classes = each(Class::ALL.map(Class::as_str));
        Self {
            storage: Arc::new(StorageMetrics::new(new)),
            slots: new.gauges("slots", slots, ["class"], &classes),
            running_attempts: new.gauges("running_attempts", "Attempts that run, by class.", ["class"], &classes),
            taking_tasks: new.gauge("taking_tasks", taking),
            draining: new.gauge("draining", "1 while what runs is finished, after which the program ends."),
            speed: new.gauge("slot_speed_ratio", speed),
            abilities: new.gauges("abilities", abilities, ["class", "ability"], &[]),
            proofs: new.gauge("proofs", "Times that was tried what this host can do, since the start."),
            queue: QueueMetrics::new(new, &[Call::Report, Call::Beat]),
            attempts: AttemptMetrics::new(new),
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
        for class in Class::ALL {
            self.slots.with_label_values(&[class.as_str()]).set(heartbeat.slots_of(class).into());
            self.running_attempts.with_label_values(&[class.as_str()]).set(heartbeat.busy_of(class).into());
        }
        self.taking_tasks.set(takes.into());
        self.draining.set((heartbeat.standing == Standing::Draining).into());
        self.speed.set(f64::from(heartbeat.speed_ms_per_s) / 1000.0);
        self.proofs.set(heartbeat.proofs.into());
        for ability in &heartbeat.abilities {
            let labels = [ability.class.as_str(), ability.name.as_str()];
            self.abilities.with_label_values(&labels).set(ability.lack.is_none().into());
        }
    }

    fn answered(&self, call: Call, time: Duration) {
        self.queue.answered(call, time);
    }

    fn failed(&self) {
        self.queue.failed();
    }
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;
    use shared::fleet::Ability;

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
            "farm_worker_slots{class=\"cpu\"} 4",
            "farm_worker_slots{class=\"gpu\"} 0",
            "farm_worker_taking_tasks 0",
            "farm_worker_draining 1",
            "farm_worker_slot_speed_ratio 2.5",
            "farm_worker_abilities{ability=\"hevc\",class=\"cpu\"} 0",
            "farm_worker_nats_seconds_count{call=\"report\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
