//! NVIDIA's GPUs: what each has been seen to do just now, and what keeps one from being used. None is no fault: everything is
//! done in software then.

use std::path::Path;
use std::sync::Arc;

use indicatif::HumanBytes;
use shared::placement::EncodeBy;
use worker::config::{GpuUse, WorkerConfig};
use worker::proof::gpu::{Absence, Card, Kept, prove};
use worker::slot::spawner::Spawner;

use super::{Finding, Grade};

/// Where the kernel lists what is on the bus.
const BUS: &str = "/sys/bus/pci/devices";
const NVIDIA: &str = "0x10de";
/// How PCI's classes of displays and of accelerators for them begin.
const DISPLAY: &str = "0x03";

/// Names of data-centre cards whose encoder was left out. Only words depend on it: what is used was tried.
const WITHOUT_NVENC: [&str; 13] =
    ["A100", "A100X", "A30", "A800", "B100", "B200", "B300", "GB200", "GB300", "GH200", "H100", "H200", "H800"];

pub(super) async fn look(config: &Arc<WorkerConfig>, spawner: &Spawner) -> Vec<Finding> {
    if config.gpu.enabled == GpuUse::Off {
        return vec![Finding::new("gpu", Grade::Ok, "switched off (gpu.enabled)", "")];
    }
    match prove(config, spawner, &Kept::default()).await {
        Ok(cards) => cards.iter().enumerate().flat_map(|(number, card)| judge(number, card)).collect(),
        Err(absence) => vec![judge_absence(&absence, cards_on(Path::new(BUS)))],
    }
}

/// How many NVIDIA cards the bus has, whatever drives them.
fn cards_on(bus: &Path) -> usize {
    let Ok(devices) = std::fs::read_dir(bus) else { return 0 };
    let says = |device: &Path, file: &str, text: &str| {
        std::fs::read_to_string(device.join(file)).is_ok_and(|found| found.starts_with(text))
    };
    let paths = devices.flatten().map(|device| device.path());
    paths.filter(|device| says(device, "vendor", NVIDIA) && says(device, "class", DISPLAY)).count()
}

fn judge_absence(absence: &Absence, on_bus: usize) -> Finding {
    let Absence { why, advice, driver } = absence;
    match (driver, on_bus) {
        (false, 0) => Finding::new("gpu", Grade::Ok, "no NVIDIA GPU here: everything is done in software", ""),
        (_, 0) => Finding::new("gpu", Grade::Warn, format!("none is used: {why}"), advice),
        (_, cards) => Finding::new("gpu", Grade::Warn, format!("{cards} on the bus, and none is used: {why}"), advice),
    }
}

fn judge(number: usize, card: &Card) -> Vec<Finding> {
    let Card { name, uuid, memory_bytes, seats, .. } = card;
    let part = if card.mig { ", part of a divided GPU" } else { "" };
    let what = format!("{name}{part}, {}, driver {}, {uuid}", HumanBytes(*memory_bytes), card.driver_words());
    let used = match &card.lack {
        None => Finding::new(format!("gpu {number}"), Grade::Ok, format!("{what}: takes {seats} chunks at once"), ""),
        Some(_) => {
            let advice = "see the lines below; chunks are made in software";
            Finding::new(format!("gpu {number}"), Grade::Warn, format!("{what}: not used"), advice)
        }
    };
    let stages = [("decode", judge_decoding(card)), ("scale", judge_scaling(card)), ("encode", judge_encoding(card))];
    let stages = stages.map(|(stage, finding)| Finding { what: format!("gpu {number} {stage}"), ..finding });
    std::iter::once(used).chain(stages).collect()
}

fn judge_decoding(card: &Card) -> Finding {
    let tried =
        card.tried.iter().filter_map(|tried| Some((tried.name.strip_prefix("decode-")?, tried.lack.as_deref())));
    let (able, unable): (Vec<_>, Vec<_>) = tried.partition(|(_, lack)| lack.is_none());
    let names = |some: &[(&str, Option<&str>)]| some.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    if able.is_empty() {
        return refusal(unable.first().and_then(|(_, lack)| *lack));
    }
    let but = if unable.is_empty() { String::new() } else { format!("; in software: {}", names(&unable)) };
    let engines = card.measured.decode_engines;
    Finding::new("", Grade::Ok, format!("{} ({}){but}", names(&able), count(engines, "engine")), "")
}

fn judge_scaling(card: &Card) -> Finding {
    match card.tried.iter().find(|tried| tried.name == "kernels").map(|tried| tried.lack.as_deref()) {
        Some(None) => Finding::new("", Grade::Ok, "every sample as on the host", ""),
        Some(lack) => refusal(lack),
        None => refusal(None),
    }
}

fn judge_encoding(card: &Card) -> Finding {
    let claims = card.claims();
    let able: Vec<&str> = claims.iter().filter(|one| one.lack.is_none()).map(|one| one.name.as_str()).collect();
    let measured = &card.measured;
    let text = format!(
        "{} ({}, {}, {} frames of 1080p a second)",
        able.join(", "),
        count(measured.encode_engines, "engine"),
        count(measured.sessions, "session"),
        measured.encode_fps
    );
    if let Some((codec, by, lack)) = card.makeshift().next() {
        let way = if by == EncodeBy::FfmpegNvenc { "by FFmpeg's way" } else { "with plain settings" };
        let text = format!("{text}; {} only {way}: {lack}", codec.as_str());
        return Finding::new(
            "",
            Grade::Warn,
            text,
            "it is used like that; try a newer driver, then `worker gpu-selftest`",
        );
    }
    if !able.is_empty() {
        return Finding::new("", Grade::Ok, text, "");
    }
    if has_no_encoder(&card.name) {
        return Finding::new("", Grade::Ok, "this kind of card has no encoder: the CPUs encode what it decodes", "");
    }
    let lack = claims.first().and_then(|claim| claim.lack.as_deref());
    match lack {
        Some(lack) if lack.contains("UNSUPPORTED_DEVICE") => {
            let advice = "if it has an encoder: in containers, drivers 570 and 580 give it to the last GPU alone; use \
                          550, or give the container this GPU alone";
            Finding::new("", Grade::Warn, lack, advice)
        }
        lack => refusal(lack),
    }
}

fn has_no_encoder(name: &str) -> bool {
    name.split([' ', '-']).any(|word| WITHOUT_NVENC.contains(&word))
}

/// What a trial was refused with: libraries that are missing say after a semicolon what to do about it.
fn refusal(lack: Option<&str>) -> Finding {
    let lack = lack.unwrap_or("not tried");
    let (text, advice) =
        lack.split_once("; ").unwrap_or((lack, "see `worker gpu-selftest`, and the kernel's log for Xid"));
    Finding::new("", Grade::Warn, text, advice)
}

fn count(number: u32, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

#[cfg(test)]
mod tests {
    use worker::proof::gpu::Tried;

    use super::*;

    fn tried(name: &str, lack: Option<&str>) -> Tried {
        Tried { name: name.to_owned(), lack: lack.map(str::to_owned), ms: 1 }
    }

    #[test]
    fn a_card_on_the_bus_without_a_driver_is_told_and_no_card_is_no_fault() {
        let bus = tempfile::tempdir().unwrap();
        for (slot, vendor, class) in
            [("0", "0x10de\n", "0x030200\n"), ("1", "0x10de\n", "0x040300\n"), ("2", "0x8086\n", "0x030000\n")]
        {
            let device = bus.path().join(slot);
            std::fs::create_dir(&device).unwrap();
            std::fs::write(device.join("vendor"), vendor).unwrap();
            std::fs::write(device.join("class"), class).unwrap();
        }
        let on_bus = cards_on(bus.path());
        assert_eq!((on_bus, cards_on(Path::new("/nowhere"))), (1, 0));
        let absence =
            Absence { why: "libcuda.so.1: no such library".into(), advice: "install it".into(), driver: false };
        let told = judge_absence(&absence, on_bus);
        assert_eq!((told.grade, told.advice.as_str()), (Grade::Warn, "install it"));
        assert_eq!(judge_absence(&absence, 0).grade, Grade::Ok);
        let hidden = judge_absence(&Absence { driver: true, ..absence }, 0);
        assert_eq!(hidden.grade, Grade::Warn, "whoever has a driver wants a GPU");
    }

    #[test]
    fn a_missing_library_is_told_with_what_to_do() {
        let lack = "libnvidia-encode.so.1: cannot open; NVIDIA_DRIVER_CAPABILITIES=compute lacks `video`: set it";
        let card = Card { name: "NVIDIA L4".into(), tried: vec![tried("encode-h264", Some(lack))], ..Card::default() };
        let told = judge_encoding(&card);
        assert_eq!((told.grade, told.text.as_str()), (Grade::Warn, "libnvidia-encode.so.1: cannot open"));
        assert!(told.advice.contains("lacks `video`"), "{told:?}");
    }

    #[test]
    fn a_card_without_an_encoder_is_well_and_one_whose_encoder_is_hidden_is_not() {
        let lack = "NVENC can't do that: NvEncOpenEncodeSessionEx ends with status 2 (UNSUPPORTED_DEVICE)";
        let card = |name: &str| Card {
            name: name.to_owned(),
            tried: vec![tried("decode-h264", None), tried("encode-h264", Some(lack))],
            ..Card::default()
        };
        for name in ["NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-40GB", "NVIDIA H200 MIG 1g.18gb"] {
            assert_eq!(judge_encoding(&card(name)).grade, Grade::Ok, "{name}");
        }
        let hidden = judge_encoding(&card("NVIDIA L40S"));
        assert!(hidden.grade == Grade::Warn && hidden.advice.contains("last GPU alone"), "{hidden:?}");
    }

    #[test]
    fn settings_that_are_refused_are_told_with_the_reason() {
        let tried = vec![tried("encode-h264", Some("look-ahead hangs")), tried("plain-encode-h264", None)];
        let told = judge_encoding(&Card { tried, ..Card::default() });
        assert!(told.grade == Grade::Warn && told.text.contains("h264 only with plain settings: look-ahead hangs"));
    }
}
