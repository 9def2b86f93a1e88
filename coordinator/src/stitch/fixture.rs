//! Tasks and receipts for tests: what an honest worker would say.

use std::collections::BTreeMap;

use shared::cmaf::DecoderConfig;
use shared::family::Family;
use shared::placement::Hardware;
use shared::rendition::{AudioCodec, AudioRendition, RateControl, VideoCodec, VideoRendition};
use shared::source::{AudioStream, Color, DecoderSetup, SourceInfo, Timing, Verdict, VideoStream};
use shared::task::{
    AudioReceipt, AudioTask, IndexReceipt, SegmentInfo, Spent, StoredObject, TrackPart, Transform, VideoReceipt,
    VideoTask,
};
use shared::time::{FrameRate, MediaTime, SegmentGrid, Timescale};

use super::{Presentation, stitch_audio, stitch_video};

/// 1920x1080 to 640x360: names, sizes, ceilings in kbit/s.
const LADDER: [(&str, u32, u32, u32); 4] =
    [("v1080", 1920, 1080, 5000), ("v720", 1280, 720, 2800), ("v480", 854, 480, 1400), ("v360", 640, 360, 800)];

/// Ticks per second of 29.97 frames per second.
pub(crate) const NTSC: u32 = 30_000;
/// Ticks of such a frame.
pub(crate) const NTSC_FRAME: i64 = 1_001;

pub(crate) const BT709: Color = Color { primaries: 1, transfer: 1, matrix: 1, full_range: false };
pub(crate) const PQ: Color = Color { primaries: 9, transfer: 16, matrix: 9, full_range: false };

/// High profile, level 1.2, as x264 describes it.
pub(crate) fn avc() -> DecoderConfig {
    let payload = "0164000cffe1001a6764000cacd941419f9f011000000300100000030320f142996001000668ebe3cb22c0fdf8f800";
    DecoderConfig::Avc(shared::hex::decode(payload).unwrap())
}

/// The same of another encoder family: id 15, one reference frame, no reordering.
pub(crate) fn other_avc() -> DecoderConfig {
    let sets = "000000016764000c082cb40a0cfcf808800000030080000019078a1550000000016808042f3cb0";
    DecoderConfig::from_annexb_h264(&shared::hex::decode(sets).unwrap()).unwrap()
}

/// AAC-LC, 48 kHz, stereo.
pub(crate) fn aac() -> DecoderConfig {
    DecoderConfig::Aac(vec![0x11, 0x90])
}

pub(crate) fn grid() -> SegmentGrid {
    SegmentGrid::new(6000).unwrap()
}

pub(crate) fn video_stream() -> VideoStream {
    VideoStream {
        index: 0,
        codec: "h264".into(),
        setup: DecoderSetup(vec![1, 2, 3]),
        timescale: Timescale::new(NTSC).unwrap(),
        width_px: 1920,
        height_px: 1080,
        sample_aspect: (1, 1),
        rotation: 0,
        mirrored: false,
        frame_rate: FrameRate { numerator: 30_000, denominator: 1_001 },
        interlaced: false,
        pixel_format: "yuv420p".into(),
        color: BT709,
        timing: Timing::Packets,
    }
}

pub(crate) fn source() -> SourceInfo {
    SourceInfo {
        container: "mov".into(),
        size_bytes: Some(1_000_000),
        mark: None,
        declared_ms: Some(20_000),
        verdict: Verdict::Standard,
        findings: Vec::new(),
        video: Some(video_stream()),
        audio: vec![audio_stream(1)],
        ignored: Vec::new(),
    }
}

pub(crate) fn index_receipt() -> IndexReceipt {
    IndexReceipt { verdict: Verdict::Standard, findings: Vec::new(), bytes: 1_000_000, spent: Spent::default() }
}

pub(crate) fn ladder() -> Vec<VideoRendition> {
    let rung = |(name, width_px, height_px, kbps): (&str, u32, u32, u32)| VideoRendition {
        name: name.into(),
        codec: VideoCodec::H264,
        width_px,
        height_px,
        rate: RateControl { crf: 23.0, maxrate_bps: kbps * 1000, bufsize_bits: kbps * 2000 },
        preset: "veryfast".into(),
    };
    LADDER.map(rung).into()
}

/// The chunk of segments `first..end`, or to the end of the presentation if `end` is the number of all segments.
pub(crate) fn video_task(first: u64, end: u64, count: u64) -> VideoTask {
    let stream = video_stream();
    let edge = |segment| grid().start_of(segment, stream.timescale);
    VideoTask {
        lists: Vec::new(),
        start: edge(first),
        end: (end < count).then(|| edge(end)),
        grid: grid(),
        segment_count: (end >= count).then_some(count),
        transform: Transform { rotation: 0, mirror: false, deinterlace: false, tone_map: false },
        color: stream.color,
        renditions: ladder(),
        images: None,
        pins: BTreeMap::new(),
        stream,
    }
}

/// The receipt for `task` if the source's frames were shown at `times`, the last one until `end`.
pub(crate) fn video_receipt(task: &VideoTask, times: &[i64], end: i64) -> VideoReceipt {
    let here = |time: &&i64| **time >= task.start && task.end.is_none_or(|end| **time < end);
    let frames: Vec<i64> = times.iter().filter(here).copied().collect();
    let after = times.iter().copied().find(|time| task.end.is_some_and(|end| *time >= end)).unwrap_or(end);
    let part = |rendition: &VideoRendition| TrackPart {
        rendition: rendition.name.clone(),
        timescale: task.stream.timescale,
        config: avc(),
        segments: video_segments(task, rendition, &frames, after),
        encoder: "libx264 164".into(),
        family: Family::Software,
        making: Default::default(),
    };
    VideoReceipt {
        parts: task.renditions.iter().map(part).collect(),
        frames_expected: frames.len() as u64,
        frames: frames.len() as u64,
        first_pts: frames.first().copied(),
        last_pts: frames.last().copied(),
        decode_errors: 0,
        tiles: Vec::new(),
        poster: None,
        spent: Spent::default(),
        hardware: Hardware::default(),
    }
}

fn video_segments(task: &VideoTask, rendition: &VideoRendition, frames: &[i64], after: i64) -> Vec<SegmentInfo> {
    let last = task.segment_count.map_or(u64::MAX, |count| count - 1);
    let number = |time: &i64| task.grid.segment_of(MediaTime::new(*time, task.stream.timescale)).min(last);
    let groups: Vec<&[i64]> = frames.chunk_by(|one, next| number(one) == number(next)).collect();
    let ends = groups.iter().skip(1).map(|group| group[0]).chain([after]);
    let segment = |(group, end): (&&[i64], i64)| {
        let duration = (end - group[0]) as u64;
        // Segments differ in size, but always in the same way.
        let wobble = 100 - number(&group[0]) % 7;
        let bits = u64::from(rendition.rate.maxrate_bps) * duration / u64::from(task.stream.timescale.get());
        segment(&rendition.name, number(&group[0]), group[0], duration, group.len(), bits / 8 * wobble / 100)
    };
    groups.iter().zip(ends).map(segment).collect()
}

pub(crate) fn segment(
    rendition: &str,
    number: u64,
    start: i64,
    duration: u64,
    samples: usize,
    size: u64,
) -> SegmentInfo {
    let sha256 = StoredObject::of("", format!("{rendition} {number} {size}").as_bytes()).sha256;
    let key = format!("{rendition}/{number:06}.{}.m4s", shared::hex::encode(&sha256[..8]));
    let object = StoredObject { key, size, sha256 };
    SegmentInfo { number, start, duration, samples: samples as u32, first_sample_end: size / 5 + 1, object }
}

/// 29.97 frames per second for `segments` segments and `more` frames.
pub(crate) fn ntsc_times(segments: u64, more: i64) -> (Vec<i64>, i64) {
    let end = grid().start_of(segments, Timescale::new(NTSC).unwrap());
    let frames = (end + NTSC_FRAME - 1) / NTSC_FRAME + more;
    ((0..frames).map(|frame| frame * NTSC_FRAME).collect(), frames * NTSC_FRAME)
}

pub(crate) fn audio_stream(index: u32) -> AudioStream {
    AudioStream {
        index,
        codec: "aac".into(),
        setup: DecoderSetup(vec![4, 5]),
        timescale: Timescale::new(48_000).unwrap(),
        sample_rate_hz: 48_000,
        channels: 2,
        language: "eng".into(),
        title: String::new(),
        default: index == 1,
    }
}

pub(crate) fn audio_task(index: u32, language: &str, segment_count: u64) -> AudioTask {
    AudioTask {
        stream: audio_stream(index),
        lists: Vec::new(),
        grid: grid(),
        segment_count,
        rendition: AudioRendition {
            name: format!("a{index}"),
            stream: index,
            codec: AudioCodec::Aac,
            bitrate_bps: 128_000,
            sample_rate_hz: 48_000,
            channels: 2,
            language: language.into(),
            title: format!("Track {index}"),
            default: index == 1,
        },
    }
}

/// The receipt for a signal of `samples` that starts `lead` samples late, from an encoder with a frame of priming.
pub(crate) fn audio_receipt(task: &AudioTask, lead: u64, samples: u64) -> AudioReceipt {
    let rate = Timescale::new(task.rendition.sample_rate_hz).unwrap();
    let priming = 1024;
    let (first, end) = (lead.saturating_sub(priming), lead.max(priming) + samples);
    let frames: Vec<i64> = (first..end).step_by(1024).map(|time| time as i64).collect();
    let number =
        |time: &i64| task.grid.segment_of(MediaTime::new(*time, rate)).min(task.segment_count.saturating_sub(1));
    let groups: Vec<&[i64]> = frames.chunk_by(|one, next| number(one) == number(next)).collect();
    let ends = groups.iter().skip(1).map(|group| group[0]).chain([end as i64]);
    let segments = groups.iter().zip(ends).map(|(group, end)| {
        let duration = (end - group[0]) as u64;
        let size = duration * u64::from(task.rendition.bitrate_bps) / 8 / 48_000;
        segment(&task.rendition.name, number(&group[0]), group[0], duration, group.len(), size.max(1))
    });
    AudioReceipt {
        part: TrackPart {
            rendition: task.rendition.name.clone(),
            timescale: rate,
            config: aac(),
            segments: segments.collect(),
            encoder: "aac".into(),
            family: Family::Software,
            making: Default::default(),
        },
        samples,
        start: MediaTime::new(lead as i64, rate),
        priming,
        filled: 0,
        dropped: 0,
        decode_errors: 0,
        spent: Spent::default(),
    }
}

/// A job's accepted receipts.
pub(crate) struct Job {
    pub(crate) video: Vec<(VideoTask, VideoReceipt)>,
    pub(crate) audio: Vec<(AudioTask, AudioReceipt)>,
}

impl Job {
    /// `segments` segments of 29.97 frames per second and stereo sound in chunks of `chunk` segments.
    pub(crate) fn new(segments: u64, chunk: u64) -> Self {
        let (times, end) = ntsc_times(segments, 0);
        let chunks = (0..segments).step_by(chunk as usize).map(|first| {
            let task = video_task(first, (first + chunk).min(segments), segments);
            let near = times.partition_point(|time| *time < task.start);
            let far = task.end.map_or(times.len(), |end| times.partition_point(|time| *time < end) + 1);
            let receipt = video_receipt(&task, &times[near..far.min(times.len())], end);
            (task, receipt)
        });
        let task = audio_task(1, "en", segments);
        let receipt = audio_receipt(&task, 0, (end * 48_000 / i64::from(NTSC)) as u64);
        Self { video: chunks.collect(), audio: vec![(task, receipt)] }
    }

    pub(crate) fn chunks(&self) -> Vec<(&VideoTask, &VideoReceipt)> {
        self.video.iter().map(|(task, receipt)| (task, receipt)).collect()
    }

    pub(crate) fn sound(&self) -> Vec<(&AudioTask, &AudioReceipt)> {
        self.audio.iter().map(|(task, receipt)| (task, receipt)).collect()
    }

    /// Encoders of another family make the first rendition of this chunk.
    pub(crate) fn made_by_others(mut self, chunk: usize) -> Self {
        let part = &mut self.video[chunk].1.parts[0];
        (part.config, part.family, part.encoder) = (other_avc(), Family::StandIn, "other".into());
        self
    }

    /// Everything, complete.
    pub(crate) fn presentation(&self) -> Presentation {
        Presentation {
            grid: grid(),
            video: stitch_video(&self.chunks()).unwrap(),
            audio: self.audio.iter().map(|(task, receipt)| stitch_audio(task, receipt)).collect(),
            poster: None,
            storyboard: None,
            complete: true,
        }
    }
}
