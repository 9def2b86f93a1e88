//! The farm itself: `farm doctor` and `farm transcode` with this card, against `farm transcode` that sees none.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use nvidia::Codec;
use serde_json::Value;

use crate::bench::Bench;
use crate::ffmpeg;
use crate::findings::Findings;
use crate::usage::{Meter, Usage};

/// Lets it say what the card does, make a film both ways, and looks at what came out.
pub fn run(bench: &Bench, findings: &mut Findings) -> Result<()> {
    if !program()?.is_file() {
        findings.note("all of it", format!("left out: there is no {}", program()?.display()));
        return Ok(());
    }
    doctor(findings)?;
    let pictures = bench.film(Codec::H264, 8)?.packets.len() as u64;
    let film = bench.film_file(Codec::H264, 8)?;
    let (card, with_card) = transcode(bench, "with-card", &film, None)?;
    let placements = placements(&with_card)?;
    let on_card = placements.iter().filter(|placement| placement.as_str() != "software+software+software").count();
    let found = format!("{on_card} of {} chunks: {}", placements.len(), kinds(&placements));
    findings.check("chunks that the card had a part in", on_card == placements.len(), found);
    whole("with the card", &with_card, pictures, findings)?;

    // What CUDA is shown then is nothing.
    let (alone, without) = transcode(bench, "without-card", &film, Some(("CUDA_VISIBLE_DEVICES", "")))?;
    whole("without", &without, pictures, findings)?;
    for (way, Usage { cpu_s, wall_s }) in [("with the card", card), ("without", alone)] {
        findings.measure(format!("{way}: CPU"), cpu_s, "s");
        findings.measure(format!("{way}: time, with the card's proof"), wall_s, "s");
    }
    findings.measure("CPU, with the card ÷ without", card.cpu_s / alone.cpu_s, "×");
    Ok(())
}

/// The program, beside this one; `benches/gpu/check` builds both.
fn program() -> Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name("farm"))
}

fn doctor(findings: &mut Findings) -> Result<()> {
    let mut doctor = Command::new(program()?);
    doctor.args(["doctor", "--json"]);
    for line in String::from_utf8(doctor.output()?.stdout)?.lines() {
        let finding: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let field = |name: &str| finding[name].as_str().unwrap_or_default().to_owned();
        if field("what").starts_with("gpu") {
            findings.check(format!("doctor: {}", field("what")), field("grade") == "ok", field("text"));
        }
    }
    Ok(())
}

/// Makes a presentation of the film; what it took, and where it is.
fn transcode(bench: &Bench, way: &str, film: &Path, variable: Option<(&str, &str)>) -> Result<(Usage, PathBuf)> {
    let out = bench.scratch.join(way);
    let mut farm = Command::new(program()?);
    farm.arg("transcode").arg(film).arg(&out).args(["--segment", "2s", "--fresh"]);
    farm.env("TMPDIR", &bench.scratch).envs(variable);
    let meter = Meter::start()?;
    ffmpeg::output(farm)?;
    Ok((meter.read()?, out))
}

/// What each chunk's stages ran on in the end.
fn placements(out: &Path) -> Result<Vec<String>> {
    let report: Value = serde_json::from_slice(&std::fs::read(out.join("run.json"))?)?;
    let tasks = report["tasks"].as_array().context("run.json without tasks")?;
    let chunks = tasks.iter().filter(|task| task["name"].as_str().is_some_and(|name| name.starts_with("video")));
    let placement = |task: &Value| {
        let stage = |name| task["hardware"]["placement"][name].as_str().unwrap_or("software").to_owned();
        ["decode", "scale", "encode"].map(stage).join("+")
    };
    Ok(chunks.map(placement).collect())
}

/// Those that there are, each once.
fn kinds(placements: &[String]) -> String {
    let mut kinds = placements.to_vec();
    kinds.sort();
    kinds.dedup();
    kinds.join(", ")
}

/// Every picture of the film is in every rendition.
fn whole(way: &str, out: &Path, pictures: u64, findings: &mut Findings) -> Result<()> {
    let mut ffprobe = Command::new("ffprobe");
    ffprobe.args(["-v", "error", "-select_streams", "v", "-count_frames"]);
    ffprobe.args(["-show_entries", "stream=width,height,nb_read_frames", "-of", "csv=p=0"]);
    let counted = String::from_utf8(ffmpeg::output({
        ffprobe.arg(out.join("master.m3u8"));
        ffprobe
    })?)?;
    let mut rows: Vec<&str> = counted.lines().filter(|line| !line.is_empty()).collect();
    rows.sort_unstable();
    rows.dedup(); // programs and streams are told alike
    let all = rows.iter().all(|row| row.trim_end_matches(',').rsplit(',').next() == Some(&pictures.to_string()));
    findings.check(format!("{way}: every picture in every rendition"), all && !rows.is_empty(), rows.join("; "));
    Ok(())
}
