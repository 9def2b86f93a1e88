//! A machine with cards that are played, and what its chunks ran on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use card::{Library, settings};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::right::{assert_judged_right, assert_right};
use crate::support::served::Served;
use crate::support::{Presentation, clip, folder, run, transcode_command};

/// No trial takes longer, whatever else runs here.
const PATIENCE: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_millis(200);

/// Where its libraries lie.
pub struct Machine(TempDir);

impl Machine {
    /// With cards as `card::profile` names them, and faults as `card::fault` writes them.
    pub fn new(cards: &str, faults: &str) -> Self {
        let machine = Self(folder());
        card::folder(machine.libraries(), &card::folder::built().unwrap(), &Library::ALL).unwrap();
        machine.play(cards, faults);
        machine
    }

    /// From now on, for every process that loads the libraries anew.
    pub fn play(&self, cards: &str, faults: &str) {
        settings::set(self.libraries(), cards, faults, &self.ledger()).unwrap();
    }

    pub fn libraries(&self) -> &Path {
        self.0.path()
    }

    fn ledger(&self) -> PathBuf {
        self.0.path().join("ledger")
    }

    /// The stand-ins have nothing to complain of.
    pub fn assert_content(&self) {
        assert_eq!(fs::read_to_string(self.ledger()).unwrap_or_default(), "");
    }

    /// What `farm transcode` makes there, and what it says meanwhile. It is right.
    pub fn transcode(&self, source: &Path, options: &[&str]) -> (Presentation, String) {
        let folder = folder();
        let out = folder.path().join("out");
        let mut command = transcode_command(source, &out, options);
        let output = command.env("LD_LIBRARY_PATH", self.libraries()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        let presentation = Presentation::read(&out).in_folder(folder);
        assert_made_right(source, &presentation);
        (presentation, said)
    }

    /// `farm serve`, when its cards have been tried.
    pub fn serve(&self) -> Served {
        let farm = Served::start_with(Some(self.libraries()));
        until_tried(|| farm.json(&["worker", "list"])[0]["abilities"].to_string().contains("WORK_CLASS_GPU"));
        farm
    }
}

/// Waits until cards have been tried.
#[expect(clippy::disallowed_methods, reason = "a process says how it is when it is asked")]
pub fn until_tried(tried: impl Fn() -> bool) {
    let began = Instant::now();
    while !tried() {
        assert!(began.elapsed() < PATIENCE, "the cards are still being tried");
        std::thread::sleep(PAUSE);
    }
}

/// What a farm makes of a source, and what it says of the job. It is right.
pub fn make(farm: &Served, source: &Path, options: &[&str]) -> (PathBuf, Value) {
    let id = farm.submit(source, options);
    let job = farm.json(&["job", "get", &id, "--wait-for", "succeeded"]).remove(0);
    assert_eq!(job["state"], "JOB_STATE_SUCCEEDED", "{job}");
    let out = farm.out(&id);
    assert_made_right(source, &Presentation::read(&out));
    (out, job)
}

/// By these tests' own measure, and by the judge's.
pub fn assert_made_right(source: &Path, presentation: &Presentation) {
    assert_right(source, presentation);
    assert_judged_right(source, &presentation.out);
}

/// Seconds of 480p25 with sound.
pub fn source(folder: &Path, seconds: &str) -> PathBuf {
    let source = folder.join(format!("{seconds}s.mp4"));
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-v", "error", "-i"]).arg(clip("bunny_720p25.mp4"));
    ffmpeg.args(["-t", seconds, "-vf", "scale=854:480"]);
    ffmpeg.args(["-c:v", "libx264", "-preset", "ultrafast", "-crf", "16", "-bf", "2"]);
    run(ffmpeg.args(["-c:a", "copy"]).arg(&source));
    source
}

/// What `run.json` says that each chunk ran on, in order; null: software, as was meant.
pub fn hardware(out: &Path) -> Vec<Value> {
    let report: Value = serde_json::from_slice(&fs::read(out.join("run.json")).unwrap()).unwrap();
    let chunk = |task: &&Value| task["name"].as_str().unwrap().starts_with("video");
    report["tasks"].as_array().unwrap().iter().filter(chunk).map(|task| task["hardware"].clone()).collect()
}

/// Where the stages of each chunk ran in the end: decoder, scaler and encoder.
pub fn placements(out: &Path) -> Vec<String> {
    let stage = |hardware: &Value, stage: &str| match &hardware["placement"][stage] {
        Value::String(name) => name.clone(),
        _ => "software".to_owned(),
    };
    let placement = |hardware: &Value| ["decode", "scale", "encode"].map(|name| stage(hardware, name)).join("+");
    hardware(out).iter().map(placement).collect()
}

/// Families of the encoders of each chunk's renditions, largest first.
pub fn families(out: &Path) -> Vec<Vec<String>> {
    let certificate: Value = serde_json::from_slice(&fs::read(out.join("presentation.json")).unwrap()).unwrap();
    let family = |rendition: &Value| rendition["family"].as_str().unwrap_or("software").to_owned();
    let chunk = |chunk: &Value| chunk["renditions"].as_array().unwrap().iter().map(family).collect();
    certificate["chunks"].as_array().unwrap().iter().map(chunk).collect()
}
