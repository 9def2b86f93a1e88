//! The driver's libraries and the card.

use std::process::Command;

use anyhow::Result;
use nvidia::decode::Cuvid;
use nvidia::encode::Nvenc;
use nvidia::{Device, Lack};

use crate::bench::Bench;
use crate::findings::Findings;
use crate::published::Generation;

/// Prints why there is no card; nothing if there is one.
pub fn look() {
    match Device::count() {
        Ok(0) => println!("the driver is there, and no card"),
        Ok(_) => {}
        Err(lack) => println!("{lack}"),
    }
}

/// What is there.
pub fn run(bench: &Bench, findings: &mut Findings) -> Result<()> {
    findings.note("cards", Device::count()?);
    let device = bench.device()?;
    let facts = device.facts();
    findings.note("name", &facts.name);
    findings.note("uuid, bus", format!("{}, {}", facts.uuid, facts.pci_bus_id));
    let (major, minor) = facts.compute_capability;
    let generation =
        Generation::of(facts.compute_capability).map_or("unknown".to_owned(), |known| format!("{known:?}"));
    findings.note("compute capability", format!("{major}.{minor}, video engines of {generation}"));
    findings.note("memory", format!("{} MiB, {} free", facts.memory_bytes >> 20, device.free_bytes()? >> 20));
    findings.note("newest CUDA of the driver", format!("{}.{}", facts.cuda.0, facts.cuda.1));
    findings.note("kernel module", facts.driver.as_deref().unwrap_or("not told"));
    findings.note("part of a card (MIG)", if facts.mig { "yes" } else { "no" });
    findings.check("libnvcuvid.so.1", Cuvid::load(None).is_ok(), words(Cuvid::load(None).map(|_| "loads".to_owned())));
    let nvenc = Nvenc::load(None).map(|nvenc| format!("loads, interface {}.{}", nvenc.version.0, nvenc.version.1));
    findings.note("libnvidia-encode.so.1", words(nvenc));
    for line in listed() {
        findings.note("ldconfig", line);
    }
    Ok(())
}

fn words(result: Result<String, Lack>) -> String {
    result.unwrap_or_else(|lack| lack.to_string())
}

/// Where the system's loader has the driver's libraries.
fn listed() -> Vec<String> {
    let Ok(output) = Command::new("ldconfig").arg("-p").output() else { return Vec::new() };
    let ours = ["libcuda.so.1", "libnvcuvid.so.1", "libnvidia-encode.so.1", "libnvidia-ptxjitcompiler.so.1"];
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .map(str::trim)
        .filter(|line| ours.iter().any(|name| line.starts_with(name)))
        .map(str::to_owned)
        .collect()
}
