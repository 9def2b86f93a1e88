//! Every metric of a worker; `deploy/METRICS.md` lists them.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{Gauge, IntGauge, IntGaugeVec, Registry};
use shared::fleet::{Class, Heartbeat, Standing};
use shared::queue::Incoming;
use shared::queue::metered::{Call, Meter};
use shared::queue::nats::NatsConfig;
use shared::task::TaskReport;
use shared::telemetry::{AttemptMetrics, CertificateMetrics, Declare, QueueMetrics, StorageMetrics, each};

use crate::scratch::Space;

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
    scratch_bytes: IntGauge,
    scratch_free_bytes: IntGauge,
    scratch_used_bytes: IntGauge,
    certificates: CertificateMetrics,
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
            scratch_bytes: new.gauge("scratch_bytes", "Size of the file system that scratch files lie on."),
            scratch_free_bytes: new.gauge("scratch_free_bytes", "Room that is left there."),
            scratch_used_bytes: new.gauge("scratch_used_bytes", "What this worker's own scratch files hold."),
            certificates: CertificateMetrics::new(new),
            queue: QueueMetrics::new(new, &[Call::Report, Call::Beat]),
            attempts: AttemptMetrics::new(new),
        }
    }

    /// Looks at the certificates that these settings name.
    pub fn look_at_certificates(&self, nats: &NatsConfig) {
        self.certificates.shown("nats", nats.tls_certificate.as_deref());
        self.certificates.trusted("nats_roots", nats.tls_roots.as_deref());
    }

    /// There is so much room for scratch files.
    pub fn looked_at_scratch(&self, space: Space) {
        let gauges = [&self.scratch_bytes, &self.scratch_free_bytes, &self.scratch_used_bytes];
        for (gauge, bytes) in gauges.into_iter().zip([space.whole, space.free, space.used]) {
            gauge.set(i64::try_from(bytes).unwrap_or(i64::MAX));
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
        metrics.looked_at_scratch(Space { whole: 100, free: 30, used: 7 });
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        shared::testing::metrics::assert_scrapes(&text);
        for line in [
            "farm_worker_slots{class=\"cpu\"} 4",
            "farm_worker_slots{class=\"gpu\"} 0",
            "farm_worker_taking_tasks 0",
            "farm_worker_draining 1",
            "farm_worker_slot_speed_ratio 2.5",
            "farm_worker_abilities{ability=\"hevc\",class=\"cpu\"} 0",
            "farm_worker_nats_seconds_count{call=\"report\"} 1",
            "farm_worker_scratch_bytes 100",
            "farm_worker_scratch_free_bytes 30",
            "farm_worker_scratch_used_bytes 7",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
