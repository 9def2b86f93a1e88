//! What the driver tells of the host's GPUs; `deploy/METRICS.md` lists it.
//!
//! ```text
//! scrape ──asks──► thread of readings ──► NVML ──► answer, or none in time
//!                  thread of each GPU ──► NVML waits for an error of that card ──► counter
//! ```
//!
//! A driver can hang, for good where a card is lost: none of its calls is made by a thread that does anything else.
#![forbid(unsafe_code)]

mod nvml;

use std::sync::mpsc::{self, SyncSender};
use std::thread;
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry};
use tracing::warn;

/// So long a scrape waits for the driver; some milliseconds are usual.
const PATIENCE: Duration = Duration::from_secs(1);

/// Has `registry` tell of all GPUs of this host from now on. Returns at once: a thread looks for the driver, once, and there
/// are no such metrics without one.
///
/// # Panics
/// If `registry` has them already.
pub fn expose(registry: &Registry) {
    let metrics = GpuMetrics::new(registry);
    let (ask, asked) = mpsc::sync_channel(1);
    registry.register(Box::new(OnScrape { metrics: metrics.clone(), ask })).expect("GPUs should be exposed once");
    let reader = thread::Builder::new().name("gpu-readings".to_owned());
    if let Err(error) = reader.spawn(move || nvml::serve(&metrics, asked)) {
        warn!(%error, "no metrics of GPUs: no thread for them");
    }
}

/// Readings of every GPU, by its UUID, and its errors so far.
#[derive(Clone, Debug)]
struct GpuMetrics {
    engine_use: GaugeVec,
    memory: IntGaugeVec,
    memory_used: IntGaugeVec,
    temperature: IntGaugeVec,
    power: GaugeVec,
    encode_sessions: IntGaugeVec,
    throttled: IntGaugeVec,
    xid_errors: IntCounterVec,
}

impl GpuMetrics {
    /// The counter is registered; readings are told by [`OnScrape`].
    fn new(registry: &Registry) -> Self {
        let sized = |metric: prometheus::Result<IntGaugeVec>| metric.expect("names and labels should be valid");
        let gauge = |name, help| sized(IntGaugeVec::new(opts(name, help), &["gpu"]));
        let real = |metric: prometheus::Result<GaugeVec>| metric.expect("names and labels should be valid");
        let engine_use = opts("gpu_engine_use_ratio", "Part of the time in which an engine worked lately.");
        let power = opts("gpu_power_watts", "Power that the card draws.");
        let throttled = opts("gpu_throttled", "1 for each reason that keeps clocks low now.");
        let xid_errors = opts("gpu_xid_errors_total", "Errors that the driver told of, by their Xid.");
        let xid_errors = IntCounterVec::new(xid_errors, &["gpu", "xid"]).expect("names and labels should be valid");
        registry.register(Box::new(xid_errors.clone())).expect("GPUs should be exposed once");
        Self {
            engine_use: real(GaugeVec::new(engine_use, &["gpu", "engine"])),
            memory: gauge("gpu_memory_bytes", "Memory of the card."),
            memory_used: gauge("gpu_memory_used_bytes", "Memory in use, by all programs."),
            temperature: gauge("gpu_temperature_celsius", "Temperature of the chip."),
            power: real(GaugeVec::new(power, &["gpu"])),
            encode_sessions: gauge("gpu_encode_sessions", "Encoder sessions that are open, of all programs."),
            throttled: sized(IntGaugeVec::new(throttled, &["gpu", "reason"])),
            xid_errors,
        }
    }

    fn readings(&self) -> [&dyn Collector; 7] {
        [
            &self.engine_use,
            &self.memory,
            &self.memory_used,
            &self.temperature,
            &self.power,
            &self.encode_sessions,
            &self.throttled,
        ]
    }

    /// Forgets all readings: what can't be read any more is not told.
    fn forget(&self) {
        self.engine_use.reset();
        self.power.reset();
        for gauge in [&self.memory, &self.memory_used, &self.temperature, &self.encode_sessions, &self.throttled] {
            gauge.reset();
        }
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.readings().iter().flat_map(|reading| reading.collect()).collect()
    }
}

/// Asks for readings when somebody wants them.
struct OnScrape {
    metrics: GpuMetrics,
    /// Closed where there is no driver; full while the driver hangs.
    ask: SyncSender<SyncSender<Vec<MetricFamily>>>,
}

impl Collector for OnScrape {
    fn desc(&self) -> Vec<&Desc> {
        self.metrics.readings().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let (answer, answered) = mpsc::sync_channel(1);
        match self.ask.try_send(answer) {
            Ok(()) => answered.recv_timeout(PATIENCE).unwrap_or_default(),
            Err(_) => Vec::new(),
        }
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(format!("farm_worker_{name}"), help)
}
