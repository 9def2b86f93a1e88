//! The end of a run: what is there now, from the certificate.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use coordinator::publish::Certificate;
use coordinator::publish::certificate::TrackRecord;
use serde::Serialize;
use shared::source::{Finding, Verdict};

use crate::exit::Failure;
use crate::presentation::{CERTIFICATE, MANIFEST, MULTIVARIANT};
use crate::progress::{minutes, verdict_word};

/// The last line of `farm transcode --json`.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename = "done")]
pub struct Summary {
    /// An earlier run had made it.
    already_made: bool,
    verdict: Verdict,
    findings: Vec<Finding>,
    duration_seconds: f64,
    renditions: Vec<Rendition>,
    out: PathBuf,
    hls: PathBuf,
    dash: PathBuf,
    certificate: PathBuf,
    /// One for each rendition, if `--mp4` asked for them.
    mp4: Vec<PathBuf>,
    /// Elapsed in this run.
    seconds: f64,
    /// Presentation time per elapsed time; `None` if an earlier run did some of the work.
    speed: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Rendition {
    name: String,
    /// Size of the picture, or title of the audio track.
    text: String,
    codecs: String,
    average_bps: u64,
    peak_bps: u64,
    bytes: u64,
    segments: u64,
}

impl Rendition {
    fn new(name: &str, text: String, track: &TrackRecord) -> Self {
        Self {
            name: name.to_owned(),
            text,
            codecs: track.codecs.clone(),
            average_bps: track.average_bandwidth_bps,
            peak_bps: track.bandwidth_bps,
            bytes: track.bytes,
            segments: track.segments,
        }
    }
}

/// How much of the presentation this run has made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// It was there.
    None,
    /// An earlier run had begun.
    Rest,
    /// All.
    Whole,
}

impl Summary {
    /// Reads the certificate in `out`.
    ///
    /// # Errors
    /// `certificate` if it is not there or not one.
    pub fn read(out: &Path, share: Share, elapsed: Duration) -> Result<Self, Failure> {
        let path = out.join(CERTIFICATE);
        let failed = |error: String| {
            Failure::storage("certificate", format!("{}: {error}", path.display()))
                .help("--fresh makes everything anew")
        };
        let text = std::fs::read(&path).map_err(|error| failed(error.to_string()))?;
        let made: Certificate = serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))?;
        let video = made.video.iter().map(|video| {
            let size = format!("{}x{}", video.rendition.width_px, video.rendition.height_px);
            Rendition::new(&video.rendition.name, size, &video.track)
        });
        let audio = made
            .audio
            .iter()
            .map(|audio| Rendition::new(&audio.rendition.name, audio.rendition.title.clone(), &audio.track));
        let duration_seconds = made.duration_ms as f64 / 1000.0;
        let seconds = elapsed.as_secs_f64();
        Ok(Self {
            already_made: share == Share::None,
            verdict: made.source.verdict,
            findings: made.source.findings.clone(),
            duration_seconds,
            renditions: video.chain(audio).collect(),
            out: out.to_path_buf(),
            hls: out.join(MULTIVARIANT),
            dash: out.join(MANIFEST),
            certificate: path,
            mp4: made.movies.iter().map(|movie| out.join(&movie.key)).collect(),
            seconds,
            speed: (share == Share::Whole && seconds > 0.0).then(|| duration_seconds / seconds),
        })
    }

    /// For people.
    pub fn text(&self) -> String {
        let length = minutes(self.duration_seconds.round() as u64);
        let mut text = match (self.already_made, self.speed) {
            (true, _) => format!("already made: {length} of media"),
            (false, None) => format!("done: {length} of media, the rest of it in {:.1} s", self.seconds),
            (false, Some(speed)) => format!("done: {length} of media in {:.1} s, {speed:.1}x real time", self.seconds),
        };
        text.push('\n');
        let names = self.renditions.iter().map(|r| r.name.chars().count()).max().unwrap_or(0);
        let texts = self.renditions.iter().map(|r| r.text.chars().count()).max().unwrap_or(0);
        for made in &self.renditions {
            let (name, what, codecs) = (&made.name, &made.text, &made.codecs);
            let rate = made.average_bps as f64 / 1e6;
            let _ = writeln!(text, "  {name:names$}  {what:texts$}  {codecs:18}  {rate:6.2} Mb/s");
        }
        for movie in &self.mp4 {
            let _ = writeln!(text, "file:   {}", movie.display());
        }
        let _ = match self.findings.len() {
            0 => writeln!(text, "source: {}", verdict_word(self.verdict)),
            count => {
                let codes: Vec<_> = self.findings.iter().map(|finding| finding.code.as_str()).collect();
                let plural = if count == 1 { "" } else { "s" };
                let (verdict, codes) = (verdict_word(self.verdict), codes.join(", "));
                writeln!(
                    text,
                    "source: {verdict}, {count} finding{plural} ({codes}): see {}",
                    self.certificate.display()
                )
            }
        };
        let _ = writeln!(text, "watch:  farm play {}", self.out.display());
        text
    }
}
