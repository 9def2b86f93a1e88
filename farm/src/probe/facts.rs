//! What an index task reported, gathered; and as JSON.

use serde::Serialize;
use shared::index::{AudioRun, Gop};
use shared::source::{AudioStream, DynamicRange, Finding, SourceInfo, Timing, Verdict, VideoStream};
use shared::task::{IndexReceipt, IndexReport};

/// Gathers an index task's reports.
#[derive(Debug, Default)]
pub struct Facts {
    /// `None` until the first report has come.
    pub source: Option<SourceInfo>,
    /// `None` until the source has been read to its end.
    pub receipt: Option<IndexReceipt>,
    video: VideoTotals,
    /// By stream index, the end of its last run, in ticks.
    audio_ends: Vec<(u32, i64)>,
}

#[derive(Debug, Default, Clone, Copy)]
struct VideoTotals {
    gops: u64,
    frames: u64,
    bytes: u64,
    end: i64,
    longest_gop: i64,
}

impl Facts {
    /// Adds a piece of the index.
    pub fn add(&mut self, report: IndexReport) {
        match report {
            IndexReport::Source(source) => self.source = Some(source),
            IndexReport::Gops(gops) => gops.iter().for_each(|gop| self.video.add(gop)),
            IndexReport::Audio { stream, runs } => self.add_audio(stream, &runs),
        }
    }

    fn add_audio(&mut self, stream: u32, runs: &[AudioRun]) {
        let end = runs.iter().map(|run| run.end).max().unwrap_or(0);
        match self.audio_ends.iter_mut().find(|(index, _)| *index == stream) {
            Some((_, known)) => *known = end.max(*known),
            None => self.audio_ends.push((stream, end)),
        }
    }

    /// What is known now; `None` before the source has shown itself.
    pub fn report(&self) -> Option<ProbeReport> {
        let source = self.source.as_ref()?;
        let receipt = self.receipt.as_ref();
        let video = source.video.as_ref().map(|stream| VideoReport::new(stream, self.video));
        let end_of = |stream: &AudioStream| {
            self.audio_ends.iter().find(|(index, _)| *index == stream.index).map_or(0, |(_, end)| *end)
        };
        let audio: Vec<_> = source.audio.iter().map(|stream| AudioReport::new(stream, end_of(stream))).collect();
        let longest = video.iter().map(|v| v.seconds).chain(audio.iter().map(|a| a.seconds)).fold(0.0, f64::max);
        Some(ProbeReport {
            verdict: receipt.map_or(source.verdict, |receipt| receipt.verdict),
            container: source.container.clone(),
            size_bytes: receipt.map(|receipt| receipt.bytes).or(source.size_bytes),
            seconds: longest,
            declared_seconds: source.declared_ms.map(|ms| ms as f64 / 1000.0),
            video,
            audio,
            ignored: source.ignored.clone(),
            findings: receipt.map_or_else(|| source.findings.clone(), |receipt| receipt.findings.clone()),
        })
    }
}

impl VideoTotals {
    fn add(&mut self, gop: &Gop) {
        self.gops += 1;
        self.frames += u64::from(gop.frames);
        self.bytes += gop.bytes;
        self.end = self.end.max(gop.end);
        self.longest_gop = self.longest_gop.max(gop.end - gop.start);
    }
}

/// What `farm probe --json` prints: stable names, units last. Seconds are for people; the farm counts in ticks.
#[derive(Debug, Serialize)]
pub struct ProbeReport {
    pub(super) verdict: Verdict,
    pub(super) container: String,
    pub(super) size_bytes: Option<u64>,
    pub(super) seconds: f64,
    pub(super) declared_seconds: Option<f64>,
    pub(super) video: Option<VideoReport>,
    pub(super) audio: Vec<AudioReport>,
    pub(super) ignored: Vec<String>,
    pub(super) findings: Vec<Finding>,
}

#[derive(Debug, Serialize)]
pub(super) struct VideoReport {
    pub(super) stream: u32,
    pub(super) codec: String,
    pub(super) pixel_format: String,
    pub(super) width_px: u32,
    pub(super) height_px: u32,
    pub(super) display_width_px: u32,
    pub(super) display_height_px: u32,
    pub(super) sample_aspect: (u32, u32),
    pub(super) rotation_degrees: u32,
    pub(super) mirrored: bool,
    pub(super) frames_per_second: f64,
    pub(super) frames: u64,
    pub(super) seconds: f64,
    pub(super) average_bps: u64,
    pub(super) gops: u64,
    pub(super) longest_gop_seconds: f64,
    pub(super) interlaced: bool,
    pub(super) dynamic_range: DynamicRange,
    pub(super) primaries: u8,
    pub(super) transfer: u8,
    pub(super) matrix: u8,
    pub(super) full_range: bool,
    pub(super) timing: Timing,
    pub(super) ticks_per_second: u32,
}

#[derive(Debug, Serialize)]
pub(super) struct AudioReport {
    pub(super) stream: u32,
    pub(super) codec: String,
    pub(super) sample_rate_hz: u32,
    pub(super) channels: u32,
    pub(super) language: String,
    pub(super) title: String,
    pub(super) default: bool,
    pub(super) seconds: f64,
}

impl VideoReport {
    fn new(stream: &VideoStream, totals: VideoTotals) -> Self {
        let (display_width_px, display_height_px) = stream.display_size();
        let seconds = stream.timescale.seconds(totals.end);
        Self {
            stream: stream.index,
            codec: stream.codec.clone(),
            pixel_format: stream.pixel_format.clone(),
            width_px: stream.width_px,
            height_px: stream.height_px,
            display_width_px,
            display_height_px,
            sample_aspect: stream.sample_aspect,
            rotation_degrees: stream.rotation,
            mirrored: stream.mirrored,
            frames_per_second: stream.frame_rate.per_second(),
            frames: totals.frames,
            seconds,
            average_bps: if seconds > 0.0 { (totals.bytes as f64 * 8.0 / seconds) as u64 } else { 0 },
            gops: totals.gops,
            longest_gop_seconds: stream.timescale.seconds(totals.longest_gop),
            interlaced: stream.interlaced,
            dynamic_range: stream.color.dynamic_range(),
            primaries: stream.color.primaries,
            transfer: stream.color.transfer,
            matrix: stream.color.matrix,
            full_range: stream.color.full_range,
            timing: stream.timing,
            ticks_per_second: stream.timescale.get(),
        }
    }
}

impl AudioReport {
    fn new(stream: &AudioStream, end: i64) -> Self {
        Self {
            stream: stream.index,
            codec: stream.codec.clone(),
            sample_rate_hz: stream.sample_rate_hz,
            channels: stream.channels,
            language: stream.language.clone(),
            title: stream.title.clone(),
            default: stream.default,
            seconds: stream.timescale.seconds(end),
        }
    }
}
