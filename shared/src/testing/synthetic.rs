//! A worker that makes nothing and claims what a real one would: numbered segments of a source that does not exist.
//!
//! The core's event scripts, the simulation and the bench of the control plane work with it. The coordinator believes what it
//! says: every receipt passes the checks of a real one.

use crate::cmaf::DecoderConfig;
use crate::family::Family;
use crate::index::{AudioRun, Gop, ListRef};
use crate::placement::Hardware;
use crate::source::{AudioStream, Color, DecoderSetup, SourceInfo, Timing, Verdict, VideoStream};
use crate::storage::segment_object;
use crate::task::{
    AudioReceipt, AudioTask, IndexReceipt, IndexReport, Outcome, Receipt, SegmentInfo, Spent, StoredObject,
    StoryboardReceipt, StoryboardTask, Task, TaskReport, TrackPart, VideoReceipt, VideoTask, Work, WorkerId,
};
use crate::time::{FrameRate, MediaTime, Timescale};
use bytes::Bytes;

/// Ticks per second of the video.
const TICKS: u32 = 1000;
/// Ticks per frame of the video.
const FRAME: i64 = 40;
/// Ticks per GOP of the video.
const GOP: i64 = 2_000;
const PRIMING: u64 = 1024;
/// Of a real encoder, since init segments are made from it.
const AVCC: &str = "0164000cffe1001a6764000cacd941419f9f011000000300100000030320f142996001000668ebe3cb22c0fdf8f800";

/// What the source is.
#[derive(Debug, Clone)]
pub struct Source {
    /// Length of both streams, in milliseconds.
    pub length_ms: i64,
    /// What the index says of it in the end.
    pub verdict: Verdict,
    /// Frames of the first segment that the decoder does not give back.
    pub missing_frames: u64,
    /// What it is recognised by.
    pub mark: Option<String>,
    /// GOPs, of two seconds each, that a piece of the index tells of.
    pub gops_a_piece: usize,
}

impl Default for Source {
    fn default() -> Self {
        Self { length_ms: 60_000, verdict: Verdict::Standard, missing_frames: 0, mark: None, gops_a_piece: 4 }
    }
}

fn scale(ticks_per_second: u32) -> Timescale {
    Timescale::new(ticks_per_second).expect("a rate should be above 0")
}

impl Source {
    /// What the index says of it first.
    pub fn info(&self) -> SourceInfo {
        let video = VideoStream {
            index: 0,
            codec: "h264".into(),
            setup: DecoderSetup(vec![1]),
            timescale: scale(TICKS),
            width_px: 1280,
            height_px: 720,
            sample_aspect: (1, 1),
            rotation: 0,
            mirrored: false,
            frame_rate: FrameRate { numerator: 25, denominator: 1 },
            interlaced: false,
            pixel_format: "yuv420p".into(),
            color: Color { primaries: 1, transfer: 1, matrix: 1, full_range: false },
            timing: Timing::Packets,
        };
        let audio = AudioStream {
            index: 1,
            codec: "aac".into(),
            setup: DecoderSetup(vec![2]),
            timescale: scale(48_000),
            sample_rate_hz: 48_000,
            channels: 2,
            language: "eng".into(),
            title: String::new(),
            default: true,
        };
        SourceInfo {
            container: "mov".into(),
            size_bytes: Some(1),
            mark: self.mark.clone(),
            declared_ms: Some(self.length_ms as u64),
            verdict: Verdict::Standard,
            findings: vec![],
            video: Some(video),
            audio: vec![audio],
            ignored: vec![],
        }
    }

    fn gops(&self) -> Vec<Gop> {
        let gop = |n: i64| {
            let (start, end) = (n * GOP, ((n + 1) * GOP).min(self.length_ms));
            let list = ListRef { stream: 0, part: 0, offset: n as u64, len: 1 };
            let frames = ((end - start) / FRAME) as u32;
            Gop { start, first: start, last: end - FRAME, end, frames, bytes: 1, list }
        };
        (0..(self.length_ms + GOP - 1) / GOP).map(gop).collect()
    }

    /// All reports of an attempt at `task` by a worker of the name `worker`, in order.
    pub fn work(&self, task: &Task) -> Vec<TaskReport> {
        self.outcomes(task).into_iter().map(|outcome| report(task, outcome)).collect()
    }

    /// What an attempt at `task` says, in order.
    pub fn outcomes(&self, task: &Task) -> Vec<Outcome> {
        let mut outcomes = vec![Outcome::Started];
        match &task.work {
            Work::Index(_) => outcomes.extend(self.index()),
            Work::Video(work) => outcomes.push(Outcome::Done(Receipt::Video(self.chunk(work)))),
            Work::Audio(work) => outcomes.push(Outcome::Done(Receipt::Audio(self.audio(work)))),
            Work::Storyboard(work) => outcomes.push(Outcome::Done(Receipt::Storyboard(storyboard(work)))),
        }
        outcomes
    }

    fn index(&self) -> Vec<Outcome> {
        let piece = Outcome::Index;
        let mut outcomes = vec![piece(IndexReport::Source(self.info()))];
        outcomes
            .extend(self.gops().chunks(self.gops_a_piece.max(1)).map(|gops| piece(IndexReport::Gops(gops.to_vec()))));
        let run =
            AudioRun { start: 0, end: self.length_ms * 48, list: ListRef { stream: 1, part: 0, offset: 0, len: 1 } };
        outcomes.push(piece(IndexReport::Audio { stream: 1, runs: vec![run] }));
        let receipt = IndexReceipt { verdict: self.verdict, findings: vec![], bytes: 1, spent: Spent::default() };
        outcomes.push(Outcome::Done(Receipt::Index(receipt)));
        outcomes
    }

    /// What a chunk's attempt claims.
    pub fn chunk(&self, task: &VideoTask) -> VideoReceipt {
        let end = task.end.unwrap_or(self.length_ms);
        let frames: Vec<i64> = (task.start..end).step_by(FRAME as usize).collect();
        let missing = if task.start == 0 { self.missing_frames } else { 0 };
        let parts = task.renditions.iter().map(|rendition| TrackPart {
            rendition: rendition.name.clone(),
            timescale: scale(TICKS),
            config: DecoderConfig::Avc(crate::hex::decode(AVCC).expect("it should be hexadecimal")),
            segments: segments(&rendition.name, task, &frames, missing),
            encoder: "fake".into(),
            family: Family::Software,
            making: Default::default(),
        });
        let tile =
            |n: i64| (n.unsigned_abs(), StoredObject::of(format!("tiles/{n:06}.jpg"), &Bytes::from_static(b"tile")));
        let interval = task.images.map(|images| i64::from(images.tile_interval_ms));
        let first = |interval: i64| (task.start + interval - 1) / interval;
        let tiles = interval.map(|interval| (first(interval)..).take_while(move |n| n * interval < end).map(tile));
        let poster = task.images.and_then(|images| images.poster_at);
        VideoReceipt {
            parts: parts.collect(),
            frames_expected: frames.len() as u64,
            frames: frames.len() as u64 - missing,
            first_pts: frames.first().copied(),
            last_pts: frames.last().copied(),
            decode_errors: 0,
            tiles: tiles.into_iter().flatten().collect(),
            poster: poster.map(|_| StoredObject::of("poster.jpg", &Bytes::from_static(b"poster"))),
            spent: Spent::new(10, 20),
            hardware: Hardware::default(),
        }
    }

    fn audio(&self, task: &AudioTask) -> AudioReceipt {
        let (name, rate) = (&task.rendition.name, scale(48_000));
        let samples = self.length_ms as u64 * 48;
        let starts: Vec<i64> =
            (0..task.segment_count).map(|n| (task.grid.start_of(n, rate) + 1023) / 1024 * 1024).collect();
        let end = (PRIMING + samples).div_ceil(1024) as i64 * 1024;
        let ends = starts.iter().skip(1).copied().chain([end]);
        let segment = |(number, (start, end)): (u64, (&i64, i64))| SegmentInfo {
            number,
            start: *start,
            duration: (end - start) as u64,
            samples: ((end - start) / 1024) as u32,
            first_sample_end: 1,
            object: object(name, number, *start),
        };
        AudioReceipt {
            part: TrackPart {
                rendition: name.clone(),
                timescale: rate,
                config: DecoderConfig::Aac(vec![0x11, 0x90]),
                segments: (0..).zip(starts.iter().zip(ends)).map(segment).collect(),
                encoder: "fake".into(),
                family: Family::Software,
                making: Default::default(),
            },
            samples,
            start: MediaTime::new(0, rate),
            priming: PRIMING,
            filled: 0,
            dropped: 0,
            decode_errors: 0,
            spent: Spent::new(10, 20),
        }
    }
}

fn segments(rendition: &str, task: &VideoTask, frames: &[i64], missing: u64) -> Vec<SegmentInfo> {
    let mut made: Vec<SegmentInfo> = Vec::new();
    for pts in frames {
        let number = task.grid.segment_of(MediaTime::new(*pts, scale(TICKS)));
        let number = task.segment_count.map_or(number, |count| number.min(count - 1));
        match made.last_mut().filter(|segment| segment.number == number) {
            Some(segment) => {
                segment.samples += 1;
                segment.duration += FRAME as u64;
            }
            None => made.push(SegmentInfo {
                number,
                start: *pts,
                duration: FRAME as u64,
                samples: 1,
                first_sample_end: 1,
                object: object(rendition, number, *pts),
            }),
        }
    }
    if let Some(first) = made.first_mut() {
        first.samples -= missing as u32;
    }
    made
}

fn object(rendition: &str, number: u64, start: i64) -> StoredObject {
    let bytes = Bytes::from(format!("{rendition} {number} {start}"));
    segment_object(rendition, number, &bytes)
}

fn storyboard(task: &StoryboardTask) -> StoryboardReceipt {
    let sheets = task.tiles.len().div_ceil((task.columns * task.rows) as usize);
    let sheet = |n| StoredObject::of(format!("storyboard/{n:03}.jpg"), &Bytes::from_static(b"sheet"));
    StoryboardReceipt { sheets: (0..sheets).map(sheet).collect(), spent: Spent::default() }
}

/// What a worker of the name `worker` says about its attempt at `task`.
pub fn report(task: &Task, outcome: Outcome) -> TaskReport {
    let worker = WorkerId::new("worker").expect("it should be a name");
    TaskReport { task: task.id.clone(), attempt: task.attempt, worker, outcome }
}
