//! The driver's own accounts of its cards, by NVML.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::thread;

use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, EventSet, Nvml};
use prometheus::proto::MetricFamily;
use tracing::{error, info, warn};

use super::GpuMetrics;

/// How long the thread of a GPU waits for an error before it looks whether it is still wanted, in milliseconds.
const WAIT_MS: u32 = 1000;
/// Xid that stands for an error that NVML does not know.
const UNKNOWN_XID: u64 = 999;
/// What keeps clocks low although there is work, as the metric's label has it.
const REASONS: [(&str, ThrottleReasons); 4] = [
    ("power", ThrottleReasons::SW_POWER_CAP),
    ("power_brake", ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN),
    ("temperature", ThrottleReasons::SW_THERMAL_SLOWDOWN.union(ThrottleReasons::HW_THERMAL_SLOWDOWN)),
    ("hardware", ThrottleReasons::HW_SLOWDOWN),
];

/// A card, by the UUID that it keeps.
struct Gpu<'nvml> {
    uuid: String,
    device: Device<'nvml>,
}

/// Answers with readings until nobody can ask any more, and counts errors besides; returns at once where there is no driver.
pub fn serve(metrics: &GpuMetrics, asked: Receiver<SyncSender<Vec<MetricFamily>>>) {
    let nvml = match Nvml::init() {
        Ok(nvml) => nvml,
        Err(error) => {
            info!(%error, "no metrics of GPUs: the driver's libnvidia-ml.so.1 can't be used");
            return;
        }
    };
    let gpus = find(&nvml);
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        for gpu in &gpus {
            let watch = || watch(&nvml, gpu, metrics, &ended);
            if let Err(error) = thread::Builder::new().name("gpu-errors".to_owned()).spawn_scoped(scope, watch) {
                warn!(gpu = gpu.uuid, %error, "errors of a GPU are not counted: no thread for it");
            }
        }
        let mut said = Said::default();
        for answer in asked {
            metrics.forget();
            for gpu in &gpus {
                read(gpu, metrics, &mut said);
            }
            if answer.try_send(metrics.collect()).is_err() {
                warn!("the driver took so long to tell of the GPUs that nobody waits for it any more");
            }
        }
        ended.store(true, Ordering::Relaxed);
    });
}

/// All cards that tell who they are.
fn find(nvml: &Nvml) -> Vec<Gpu<'_>> {
    let count = nvml.device_count().unwrap_or_else(|error| {
        warn!(%error, "no metrics of GPUs: the driver can't count them");
        0
    });
    let found = (0..count).filter_map(|index| {
        let gpu = nvml.device_by_index(index).and_then(|device| Ok(Gpu { uuid: device.uuid()?, device }));
        gpu.inspect_err(|error| warn!(index, %error, "no metrics of a GPU")).ok()
    });
    found.collect()
}

/// Sets what the card tells.
fn read(Gpu { uuid, device }: &Gpu<'_>, metrics: &GpuMetrics, said: &mut Said) {
    let uuid = uuid.as_str();
    let engines = [
        ("sm", device.utilization_rates().map(|rates| rates.gpu)),
        ("encode", device.encoder_utilization().map(|info| info.utilization)),
        ("decode", device.decoder_utilization().map(|info| info.utilization)),
    ];
    for (engine, percent) in engines {
        if let Some(percent) = said.once(uuid, engine, percent) {
            metrics.engine_use.with_label_values(&[uuid, engine]).set(f64::from(percent) / 100.0);
        }
    }
    if let Some(memory) = said.once(uuid, "memory", device.memory_info()) {
        metrics.memory.with_label_values(&[uuid]).set(bytes(memory.total));
        metrics.memory_used.with_label_values(&[uuid]).set(bytes(memory.used));
    }
    if let Some(degrees) = said.once(uuid, "temperature", device.temperature(TemperatureSensor::Gpu)) {
        metrics.temperature.with_label_values(&[uuid]).set(degrees.into());
    }
    if let Some(milliwatts) = said.once(uuid, "power", device.power_usage()) {
        metrics.power.with_label_values(&[uuid]).set(f64::from(milliwatts) / 1000.0);
    }
    if let Some(encoders) = said.once(uuid, "encode sessions", device.encoder_stats()) {
        metrics.encode_sessions.with_label_values(&[uuid]).set(encoders.session_count.into());
    }
    if let Some(low) = said.once(uuid, "throttling", device.current_throttle_reasons()) {
        for (reason, bits) in REASONS {
            metrics.throttled.with_label_values(&[uuid, reason]).set(low.intersects(bits).into());
        }
    }
}

/// Which readings of which card were said to be missing.
#[derive(Default)]
struct Said(HashSet<(String, &'static str)>);

impl Said {
    /// The reading, or none and one line about it; one line for all where the card is lost.
    fn once<T>(&mut self, gpu: &str, reading: &'static str, result: Result<T, NvmlError>) -> Option<T> {
        let error = match result {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let reading = if matches!(error, NvmlError::GpuLost) { "all" } else { reading };
        if self.0.insert((gpu.to_owned(), reading)) {
            match error {
                NvmlError::NotSupported => info!(gpu, reading, "not told by this GPU"),
                error => warn!(gpu, reading, %error, "not told by this GPU"),
            }
        }
        None
    }
}

/// Counts a card's errors until nobody wants to know.
fn watch(nvml: &Nvml, gpu: &Gpu<'_>, metrics: &GpuMetrics, ended: &AtomicBool) {
    let uuid = gpu.uuid.as_str();
    let errors = match listen(nvml, gpu) {
        Ok(errors) => errors,
        Err(error) => {
            warn!(gpu = uuid, %error, "errors of a GPU are not counted");
            return;
        }
    };
    while !ended.load(Ordering::Relaxed) {
        let xid = match errors.wait(WAIT_MS).map(|event| event.event_data) {
            Ok(Some(XidError::Value(xid))) => xid,
            Ok(Some(XidError::Unknown)) => UNKNOWN_XID,
            Ok(None) | Err(NvmlError::Timeout) => continue,
            Err(error) => {
                warn!(gpu = uuid, %error, "errors of a GPU are not counted any more");
                return;
            }
        };
        error!(gpu = uuid, xid, "a GPU has an error");
        metrics.xid_errors.with_label_values(&[uuid, &xid.to_string()]).inc();
    }
}

/// A set of one card's errors: what happens says by itself whose it is, also where the card can't be asked any more.
fn listen<'nvml>(nvml: &'nvml Nvml, gpu: &Gpu<'nvml>) -> Result<EventSet<'nvml>, NvmlError> {
    let set = nvml.create_event_set()?;
    gpu.device.register_events(EventTypes::CRITICAL_XID_ERROR, set).map_err(|refused| refused.error)
}

fn bytes(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
