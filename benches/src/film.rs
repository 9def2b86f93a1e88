//! A long film that was never encoded: the tasks and receipts of its chunks and of its audio track, as the coordinator sees
//! them. What is measured with it is the coordinator alone.

use std::collections::BTreeMap;

use shared::cmaf::DecoderConfig;
use shared::family::Family;
use shared::hex;
use shared::placement::Hardware;
use shared::rendition::{AudioCodec, AudioRendition, RateControl, VideoCodec, VideoRendition};
use shared::source::{AudioStream, Color, DecoderSetup, SourceInfo, Timing, Verdict, VideoStream};
use shared::task::{
    AudioReceipt, AudioTask, IndexReceipt, SegmentInfo, Spent, StoredObject, TrackPart, Transform, VideoReceipt,
    VideoTask,
};
use shared::time::{FrameRate, MediaTime, SegmentGrid, Timescale};

const FRAMES_PER_SECOND: u32 = 25;
const TICKS_PER_FRAME: u32 = 512;
const SEGMENT_MS: u32 = 6_000;
const SEGMENTS_PER_CHUNK: u64 = 2;
const SAMPLE_RATE_HZ: u32 = 48_000;
/// `avcC` and AudioSpecificConfig of real encoders, since init segments are made from them.
const AVCC: &str = "0164000cffe1001a6764000cacd941419f9f011000000300100000030320f142996001000668ebe3cb22c0fdf8f800";
const AAC: [u8; 5] = [0x11, 0x90, 0x56, 0xe5, 0x00];
const RUNGS: [(&str, u32, u32, u32); 4] = [
    ("1080p", 1920, 1080, 5_000_000),
    ("720p", 1280, 720, 2_800_000),
    ("480p", 854, 480, 1_400_000),
    ("360p", 640, 360, 800_000),
];

/// Everything that a job's workers have said when they are done.
pub struct Film {
    /// What indexing found first.
    pub source: SourceInfo,
    /// The end of the index.
    pub index: IndexReceipt,
    /// Where segments are cut.
    pub grid: SegmentGrid,
    /// In order of time.
    pub chunks: Vec<(VideoTask, VideoReceipt)>,
    /// The one audio track.
    pub audio: (AudioTask, AudioReceipt),
}

impl Film {
    /// A film of so many hours at 25 frames a second, in the four rungs of the profile `web`.
    pub fn of_hours(hours: u32) -> Self {
        let segments = u64::from(hours) * 3_600_000 / u64::from(SEGMENT_MS);
        let grid = SegmentGrid::new(SEGMENT_MS).expect("six seconds should be a segment duration");
        let chunk = |number| chunk(grid, segments, number * SEGMENTS_PER_CHUNK);
        let chunks: Vec<_> = (0..segments.div_ceil(SEGMENTS_PER_CHUNK)).map(chunk).collect();
        let spent = Spent::new(1, 1);
        let source = SourceInfo {
            container: "mov,mp4,m4a,3gp,3g2,mj2".to_owned(),
            size_bytes: Some(1 << 34),
            mark: None,
            declared_ms: Some(u64::from(hours) * 3_600_000),
            verdict: Verdict::Standard,
            findings: Vec::new(),
            video: Some(video_stream()),
            audio: vec![audio_stream()],
            ignored: Vec::new(),
        };
        let index = IndexReceipt { verdict: Verdict::Standard, findings: Vec::new(), bytes: 1 << 34, spent };
        Self { source, index, grid, chunks, audio: audio(grid, segments) }
    }
}

fn video_timescale() -> Timescale {
    Timescale::new(FRAMES_PER_SECOND * TICKS_PER_FRAME).expect("12800 should not be zero")
}

fn sample_rate() -> Timescale {
    Timescale::new(SAMPLE_RATE_HZ).expect("48000 should not be zero")
}

fn color() -> Color {
    Color { primaries: 1, transfer: 1, matrix: 1, full_range: false }
}

fn video_stream() -> VideoStream {
    VideoStream {
        index: 0,
        codec: "h264".to_owned(),
        setup: DecoderSetup(Vec::new()),
        timescale: video_timescale(),
        width_px: 1920,
        height_px: 1080,
        sample_aspect: (1, 1),
        rotation: 0,
        mirrored: false,
        frame_rate: FrameRate { numerator: FRAMES_PER_SECOND, denominator: 1 },
        interlaced: false,
        pixel_format: "yuv420p".to_owned(),
        color: color(),
        timing: Timing::Packets,
    }
}

fn audio_stream() -> AudioStream {
    AudioStream {
        index: 1,
        codec: "aac".to_owned(),
        setup: DecoderSetup(Vec::new()),
        timescale: sample_rate(),
        sample_rate_hz: SAMPLE_RATE_HZ,
        channels: 2,
        language: "en".to_owned(),
        title: String::new(),
        default: true,
    }
}

/// A segment whose key and checksum differ from all others, as real ones do.
fn segment(rendition: &str, number: u64, start: i64, duration: u64, samples: u32, size: u64) -> SegmentInfo {
    let mut sha256: Vec<u8> = number.to_be_bytes().repeat(4);
    sha256.iter_mut().zip(rendition.bytes().cycle()).for_each(|(byte, salt)| *byte ^= salt);
    let key = format!("{rendition}/{number:06}.{}.m4s", hex::encode(&sha256[..8]));
    let first_sample_end = 20_000 + number % 977;
    SegmentInfo { number, start, duration, samples, first_sample_end, object: StoredObject { key, size, sha256 } }
}

fn chunk(grid: SegmentGrid, segments: u64, first: u64) -> (VideoTask, VideoReceipt) {
    let (timescale, end) = (video_timescale(), (first + SEGMENTS_PER_CHUNK).min(segments));
    let numbers = first..end;
    let frames_each = u64::from(SEGMENT_MS / 1000 * FRAMES_PER_SECOND);
    let renditions: Vec<_> = RUNGS.iter().map(rendition).collect();
    let part = |rendition: &VideoRendition| TrackPart {
        rendition: rendition.name.clone(),
        timescale,
        config: DecoderConfig::Avc(hex::decode(AVCC).expect("the constant should be hexadecimal")),
        segments: numbers
            .clone()
            .map(|number| {
                let (start, next) = (grid.start_of(number, timescale), grid.start_of(number + 1, timescale));
                let size = u64::from(rendition.rate.maxrate_bps) / 8 * 5 + number % 4096;
                segment(&rendition.name, number, start, (next - start) as u64, frames_each as u32, size)
            })
            .collect(),
        encoder: "libx264".to_owned(),
        family: Family::Software,
        making: Default::default(),
    };
    let frames = frames_each * (end - first);
    let (start, stop) = (grid.start_of(first, timescale), grid.start_of(end, timescale));
    let receipt = VideoReceipt {
        parts: renditions.iter().map(part).collect(),
        frames_expected: frames,
        frames,
        first_pts: Some(start),
        last_pts: Some(stop - i64::from(TICKS_PER_FRAME)),
        decode_errors: 0,
        tiles: Vec::new(),
        poster: None,
        spent: Spent::new(1, 1),
        hardware: Hardware::default(),
    };
    let task = VideoTask {
        stream: video_stream(),
        lists: Vec::new(),
        start,
        end: (end < segments).then_some(stop),
        grid,
        segment_count: Some(segments),
        transform: Transform { rotation: 0, mirror: false, deinterlace: false, tone_map: false },
        color: color(),
        renditions,
        images: None,
        pins: BTreeMap::new(),
    };
    (task, receipt)
}

fn rendition(&(name, width_px, height_px, maxrate_bps): &(&str, u32, u32, u32)) -> VideoRendition {
    VideoRendition {
        name: name.to_owned(),
        codec: VideoCodec::H264,
        width_px,
        height_px,
        rate: RateControl { crf: 23.0, maxrate_bps, bufsize_bits: maxrate_bps * 2 },
        preset: "veryfast".to_owned(),
    }
}

fn audio(grid: SegmentGrid, segments: u64) -> (AudioTask, AudioReceipt) {
    let timescale = sample_rate();
    let rendition = AudioRendition {
        name: "audio-0".to_owned(),
        stream: 1,
        codec: AudioCodec::Aac,
        bitrate_bps: 128_000,
        sample_rate_hz: SAMPLE_RATE_HZ,
        channels: 2,
        language: "en".to_owned(),
        title: "English".to_owned(),
        default: true,
    };
    let made = (0..segments).map(|number| {
        let (start, next) = (grid.start_of(number, timescale), grid.start_of(number + 1, timescale));
        segment(&rendition.name, number, start, (next - start) as u64, 281, 96_000 + number % 997)
    });
    let part = TrackPart {
        rendition: rendition.name.clone(),
        timescale,
        config: DecoderConfig::Aac(AAC.to_vec()),
        segments: made.collect(),
        encoder: "aac".to_owned(),
        family: Family::Software,
        making: Default::default(),
    };
    let priming = 1024;
    let receipt = AudioReceipt {
        part,
        samples: segments * u64::from(SEGMENT_MS / 1000 * SAMPLE_RATE_HZ) - priming,
        start: MediaTime::new(0, timescale),
        priming,
        filled: 0,
        dropped: 0,
        decode_errors: 0,
        spent: Spent::new(1, 1),
    };
    let task = AudioTask { stream: audio_stream(), lists: Vec::new(), grid, segment_count: segments, rendition };
    (task, receipt)
}

#[cfg(test)]
mod tests {
    use coordinator::stitch::{check_audio, check_video, stitch_video};

    use super::*;

    #[test]
    fn the_film_is_one_the_coordinator_believes() {
        let film = Film::of_hours(1);
        film.chunks.iter().try_for_each(|(task, receipt)| check_video(task, receipt)).unwrap();
        check_audio(&film.audio.0, &film.audio.1).unwrap();
        let chunks: Vec<_> = film.chunks.iter().map(|(task, receipt)| (task, receipt)).collect();
        let tracks = stitch_video(&chunks).unwrap();
        assert_eq!(tracks.iter().map(|track| track.segments.len()).collect::<Vec<_>>(), [600; 4]);
    }
}
