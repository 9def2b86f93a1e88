//! Every metric of a worker.

use prometheus::{Gauge, IntCounter, IntGauge, Opts, Registry};
use shared::fleet::{Heartbeat, Standing};
use shared::queue::Incoming;
use shared::queue::metered::Meter;
use shared::task::TaskReport;
use shared::telemetry::{AttemptMetrics, register};

/// What an operator needs to see.
#[derive(Debug)]
pub struct Metrics {
    slots: IntGauge,
    running_attempts: IntGauge,
    taking_tasks: IntGauge,
    speed: Gauge,
    queue_errors: IntCounter,
    attempts: AttemptMetrics,
}

impl Metrics {
    /// Metrics in `registry`.
    ///
    /// # Panics
    /// If it has them already.
    pub fn new(registry: &Registry) -> Self {
        Self {
            slots: register(registry, IntGauge::with_opts(opts("slots", "Attempts that can run at once."))),
            running_attempts: register(registry, IntGauge::with_opts(opts("running_attempts", "Attempts that run."))),
            taking_tasks: register(
                registry,
                IntGauge::with_opts(opts("taking_tasks", "1 while new tasks are taken: not holding, not draining.")),
            ),
            speed: register(
                registry,
                Gauge::with_opts(opts(
                    "slot_speed_ratio",
                    "Encoded time a slot makes in its time, by all chunks so far.",
                )),
            ),
            queue_errors: register(
                registry,
                IntCounter::with_opts(opts("nats_errors_total", "Messages that NATS did not take or give.")),
            ),
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
        self.slots.set(heartbeat.slots.into());
        self.running_attempts.set(i64::try_from(heartbeat.running.len()).unwrap_or(i64::MAX));
        self.taking_tasks.set((heartbeat.standing == Standing::Working).into());
        self.speed.set(f64::from(heartbeat.speed_ms_per_s) / 1000.0);
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
    use shared::fleet::Class;
    use shared::task::WorkerId;

    use super::*;

    #[test]
    fn a_heartbeat_sets_what_it_says() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry);
        metrics.beaten(&Heartbeat {
            worker: WorkerId::new("w").unwrap(),
            build: String::new(),
            host: String::new(),
            classes: vec![Class::Cpu],
            slots: 4,
            running: vec![],
            standing: Standing::Draining,
            speed_ms_per_s: 2_500,
            started_ms: 0,
        });
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for line in ["farm_worker_slots 4", "farm_worker_taking_tasks 0", "farm_worker_slot_speed_ratio 2.5"] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
