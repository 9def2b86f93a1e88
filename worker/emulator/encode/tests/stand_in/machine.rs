//! A machine with cards: a folder with the stand-ins, and programs that run on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use card::Library;
use tempfile::TempDir;

/// Tells a child of this test which of its scenarios to play.
pub const SCENARIO: &str = "FARM_SCENARIO";

/// The folder, which goes with it.
pub struct Machine(TempDir);

impl Machine {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        card::folder(folder.path(), &card::folder::built().unwrap(), &[Library::Cuda, Library::Encode]).unwrap();
        Self(folder)
    }

    /// A file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs a program on a machine with this card and these faults.
    pub fn run(&self, mut program: Command, card: &str, faults: &str) -> Run {
        let ledger = self.path("ledger");
        _ = fs::remove_file(&ledger);
        card::play(&mut program, self.0.path(), card, faults, &ledger);
        let Output { status, stderr, stdout } = program.output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        Run { ok: status.success(), text, ledger: fs::read_to_string(&ledger).unwrap_or_default() }
    }

    /// Has a child of this test do what `test`, one that is ignored, does with the scenario.
    pub fn child(&self, test: &str, scenario: &str, card: &str, faults: &str) -> Run {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", test, "--ignored", "--nocapture"]).env(SCENARIO, scenario);
        self.run(child, card, faults)
    }

    /// Moving pictures with noise in them, 320x180 at 30 in a second, in this pixel format.
    pub fn source(&self, pictures: u32, format: &str) -> PathBuf {
        let path = self.path("source.nut");
        let graph = format!("testsrc2=s=320x180:r=30,noise=alls=6:allf=t,format={format}");
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-v", "error", "-nostdin", "-y", "-f", "lavfi", "-i", &graph, "-frames:v", &pictures.to_string()]);
        ffmpeg.args(["-c:v", "rawvideo"]).arg(&path);
        assert!(ffmpeg.status().unwrap().success());
        path
    }
}

/// What became of a program.
#[derive(Debug)]
pub struct Run {
    pub ok: bool,
    /// All that it said.
    pub text: String,
    /// What it did wrong.
    pub ledger: String,
}

/// Kinds of the pictures in display order, with a capital for those that start anew (`Ibbp`), and what the decoder complains
/// of.
pub fn decode(path: &Path) -> (String, String) {
    let mut ffprobe = Command::new("ffprobe");
    ffprobe.args(["-v", "warning", "-show_entries", "frame=key_frame,pict_type", "-of", "csv=p=0"]).arg(path);
    let Output { stdout, stderr, .. } = ffprobe.output().unwrap();
    let said = String::from_utf8(stdout).unwrap();
    let frames = said.lines().filter_map(|line| line.split_once(','));
    let kind = |(key, kind): (&str, &str)| {
        let kind = kind.chars().next().unwrap_or('?');
        if key == "1" { kind } else { kind.to_ascii_lowercase() }
    };
    (frames.map(kind).collect(), String::from_utf8(stderr).unwrap())
}

/// Likeness of two videos in dB; 100 for equal ones.
pub fn likeness(one: &Path, other: &Path) -> f64 {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "info", "-nostdin", "-i"]).arg(one).arg("-i").arg(other);
    ffmpeg.args(["-lavfi", "[0]settb=1/30,setpts=N[a];[1]settb=1/30,setpts=N[b];[a][b]psnr", "-f", "null", "-"]);
    let said = String::from_utf8(ffmpeg.output().unwrap().stderr).unwrap();
    let average = said.rsplit("average:").next().and_then(|rest| rest.split_whitespace().next());
    match average {
        Some("inf") => 100.0,
        average => average.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no likeness in {said}")),
    }
}
