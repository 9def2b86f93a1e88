//! Metrics of the cards that a stand-in for libnvidia-ml plays.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use card::Library;
use prometheus::{Registry, TextEncoder};

// Only loaded at run time; named here so that it is built.
use emulated_ml as _;

/// What the child waits for before it prints its metrics.
const UNTIL: &str = "UNTIL";
/// It waits a while, and nothing should come.
const NOTHING: &str = "nothing";
const L4: &str = "GPU-6661726d-2d6e-7669-6469-612d6c340000";
const H200: &str = "GPU-6661726d-2d6e-762d-6832-30302d2d0001";

/// What a program tells of these cards: its metrics, its log, and the ledger of the stand-in.
fn told(cards: &str, faults: &str, until: &str) -> (String, String, String) {
    let folder = tempfile::tempdir().unwrap();
    card::folder(folder.path(), &card::folder::built().unwrap(), &[Library::Ml]).unwrap();
    tell(folder.path(), cards, faults, until)
}

fn tell(folder: &Path, cards: &str, faults: &str, until: &str) -> (String, String, String) {
    let ledger = folder.join("ledger");
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--ignored", "--exact", "--nocapture", "prints_metrics"]).env(UNTIL, until);
    card::play(&mut child, folder, cards, faults, &ledger);
    let output = child.output().unwrap();
    let [text, log] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(output.status.success(), "{text}{log}");
    (text, log, fs::read_to_string(&ledger).unwrap_or_default())
}

#[test]
#[ignore = "run as a child"]
fn prints_metrics() {
    tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stderr).init();
    let registry = Registry::new();
    let started = Instant::now();
    gpu_metrics::expose(&registry);
    assert!(started.elapsed() < Duration::from_millis(50), "starting should not wait for the driver");
    let until = env::var_os(UNTIL).unwrap().into_string().unwrap();
    let longest = if until == NOTHING { Duration::from_secs(1) } else { Duration::from_secs(20) };
    loop {
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        if text.contains(&until) || started.elapsed() > longest {
            println!("\n{text}");
            return;
        }
        thread::park_timeout(Duration::from_millis(20));
    }
}

fn assert_lines(text: &str, lines: &[String]) {
    for line in lines {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[test]
fn every_card_tells_what_it_does() {
    let (text, log, ledger) = told("l4,h200", "", "farm_worker_gpu_throttled");
    let mut lines = vec![
        format!("farm_worker_gpu_engine_use_ratio{{engine=\"encode\",gpu=\"{L4}\"}} 0.75"),
        format!("farm_worker_gpu_encode_sessions{{gpu=\"{L4}\"}} 3"),
        format!("farm_worker_gpu_memory_bytes{{gpu=\"{L4}\"}} {}", 23_034_u64 << 20),
        format!("farm_worker_gpu_memory_bytes{{gpu=\"{H200}\"}} {}", 143_771_u64 << 20),
    ];
    for gpu in [L4, H200] {
        lines.extend([
            format!("farm_worker_gpu_engine_use_ratio{{engine=\"sm\",gpu=\"{gpu}\"}} 0.4"),
            format!("farm_worker_gpu_engine_use_ratio{{engine=\"decode\",gpu=\"{gpu}\"}} 0.5"),
            format!("farm_worker_gpu_memory_used_bytes{{gpu=\"{gpu}\"}} {}", 2_u64 << 30),
            format!("farm_worker_gpu_temperature_celsius{{gpu=\"{gpu}\"}} 61"),
            format!("farm_worker_gpu_power_watts{{gpu=\"{gpu}\"}} 72.5"),
            format!("farm_worker_gpu_throttled{{gpu=\"{gpu}\",reason=\"power\"}} 1"),
            format!("farm_worker_gpu_throttled{{gpu=\"{gpu}\",reason=\"temperature\"}} 1"),
            format!("farm_worker_gpu_throttled{{gpu=\"{gpu}\",reason=\"hardware\"}} 0"),
        ]);
    }
    assert_lines(&text, &lines);
    // A card without an encoder: two readings less, each said once, and no warning.
    assert!(!text.contains(&format!("engine=\"encode\",gpu=\"{H200}\"")), "{text}");
    assert_eq!((log.matches("not told by this GPU").count(), log.matches("WARN").count()), (2, 0), "{log}");
    assert_eq!(ledger, "");
}

#[test]
fn errors_of_a_card_are_counted_by_their_number() {
    let count = format!("farm_worker_gpu_xid_errors_total{{gpu=\"{L4}\",xid=\"79\"}} 2");
    let (text, log, ledger) = told("l4", "xid=79@1,xid=31@2,xid=79@3", &count);
    assert_lines(&text, &[count, format!("farm_worker_gpu_xid_errors_total{{gpu=\"{L4}\",xid=\"31\"}} 1")]);
    assert_eq!(log.matches("a GPU has an error").count(), 3, "{log}");
    assert_eq!(ledger, "");
}

#[test]
fn what_a_driver_does_not_have_is_missing_and_said_once() {
    let count = format!("farm_worker_gpu_xid_errors_total{{gpu=\"{L4}\",xid=\"13\"}} 1");
    let (text, log, ledger) = told("l4", "nvmlDeviceGetPowerUsage@1+=13,xid=13@2", &count); // many scrapes until then
    assert!(!text.contains("farm_worker_gpu_power_watts") && text.contains("farm_worker_gpu_temperature"), "{text}");
    assert_eq!(log.matches("not told by this GPU").count(), 1, "{log}");
    assert_eq!(ledger, "");
}

#[test]
fn a_lost_card_is_said_once_and_the_others_go_on() {
    let lost = "nvmlDeviceGetUtilizationRates@1=15,nvmlDeviceGetPowerUsage@1=15,nvmlDeviceGetTemperature@1=15";
    let (text, log, _) = told("l4,h200", lost, "farm_worker_gpu_throttled");
    assert!(text.contains(&format!("farm_worker_gpu_power_watts{{gpu=\"{H200}\"}} 72.5")), "{text}");
    assert!(!text.contains(&format!("farm_worker_gpu_power_watts{{gpu=\"{L4}\"}}")), "{text}");
    assert_eq!(log.lines().filter(|line| line.contains(L4) && line.contains("WARN")).count(), 1, "{log}");
}

#[test]
fn a_driver_that_hangs_costs_its_readings_alone() {
    let count = format!("farm_worker_gpu_xid_errors_total{{gpu=\"{L4}\",xid=\"79\"}} 1");
    let (text, _, _) = told("l4", "nvmlDeviceGetPowerUsage@1:hang,xid=79@2", &count);
    assert_lines(&text, &[count]);
    assert!(!text.contains("farm_worker_gpu_temperature"), "{text}");
}

#[test]
fn without_a_driver_there_are_no_metrics_and_one_line_says_so() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(Library::Ml.soname()), "no library").unwrap(); // also on a machine that has a driver
    let (text, log, _) = tell(folder.path(), "none", "", NOTHING);
    assert!(!text.contains("farm_worker_gpu"), "{text}");
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.contains("no metrics of GPUs"), "{log}");
}
