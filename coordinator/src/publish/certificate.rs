//! `presentation.json`: what was made of what, and that it was checked.
//!
//! The same source and the same job give the same bytes: nothing in here depends on who worked, when, how often or how
//! fast. Those facts are in [`RunReport`](super::RunReport).

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use shared::cmaf::DecoderConfig;
use shared::family::Family;
use shared::rendition::{AudioRendition, VideoRendition};
use shared::source::{AudioStream, Color, Finding, SourceInfo, Timing, Verdict, VideoStream};
use shared::task::{
    AudioReceipt, AudioTask, ImagePlan, IndexReceipt, SegmentInfo, StoredObject, Transform, VideoReceipt, VideoTask,
};
use shared::time::{FrameRate, SegmentGrid, Timescale};

use super::outline::{Listing, Outline};
use super::rate::Rate;
use super::{I_FRAME_PLAYLIST, MANIFEST, MEDIA_PLAYLIST, MULTIVARIANT, PublishError, THUMBNAILS};
use crate::stitch::{AudioTrack, Presentation, VideoTrack};

/// The job's certificate. Times are in ticks of the track that they are about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    /// Version of the farm that planned, checked and published.
    pub farm: String,
    /// SHA-256 over everything that was asked for: grid, chunks, transform, renditions.
    pub recipe: String,
    /// Length of the longest track.
    pub duration_ms: u64,
    /// What indexing found.
    pub source: SourceRecord,
    /// Where segments are cut.
    pub grid: SegmentGrid,
    /// Largest first.
    pub video: Vec<VideoRecord>,
    /// In the job's order.
    pub audio: Vec<AudioRecord>,
    /// In order of time.
    pub chunks: Vec<ChunkRecord>,
    /// A still, if one was asked for.
    pub poster: Option<StoredObject>,
    /// Storyboard sheets, if they were asked for.
    pub storyboard: Vec<StoredObject>,
    /// One file for each rendition, if they were asked for.
    pub movies: Vec<StoredObject>,
    /// Everything a player may start from, and what those lead to.
    pub playlists: Vec<String>,
}

/// The source as indexing saw it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceRecord {
    /// FFmpeg's name of the container format.
    pub container: String,
    /// Bytes.
    pub size_bytes: u64,
    /// The final judgement.
    pub verdict: Verdict,
    /// What is unusual, and what was done about it.
    pub findings: Vec<Finding>,
    /// The video stream that was transcoded.
    pub video: Option<VideoStreamRecord>,
    /// The audio streams that were transcoded.
    pub audio: Vec<AudioStreamRecord>,
    /// Streams left out, each with the reason.
    pub ignored: Vec<String>,
}

/// A video stream of the source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VideoStreamRecord {
    /// Index in the container.
    pub index: u32,
    /// FFmpeg's name of the codec.
    pub codec: String,
    /// FFmpeg's name of the pixel format.
    pub pixel_format: String,
    /// Coded picture width.
    pub width_px: u32,
    /// Coded picture height.
    pub height_px: u32,
    /// Width ÷ height of a sample.
    pub sample_aspect: (u32, u32),
    /// Clockwise degrees to stand upright.
    pub rotation: u32,
    /// Mirrored left to right.
    pub mirrored: bool,
    /// Made of fields.
    pub interlaced: bool,
    /// Average.
    pub frame_rate: FrameRate,
    /// Ticks per second.
    pub timescale: Timescale,
    /// Colour description.
    pub color: Color,
    /// How frames got their times.
    pub timing: Timing,
}

/// An audio stream of the source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AudioStreamRecord {
    /// Index in the container.
    pub index: u32,
    /// FFmpeg's name of the codec.
    pub codec: String,
    /// Samples per second.
    pub sample_rate_hz: u32,
    /// Channel count.
    pub channels: u32,
    /// As the container has it.
    pub language: String,
}

/// A finished video track.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VideoRecord {
    /// What was asked for.
    pub rendition: VideoRendition,
    /// What was made.
    pub track: TrackRecord,
    /// Colours that were encoded.
    pub color: Color,
    /// Frames of all segments.
    pub frames: u64,
}

/// A finished audio track.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AudioRecord {
    /// What was asked for.
    pub rendition: AudioRendition,
    /// What was made.
    pub track: TrackRecord,
    /// Samples of the signal.
    pub samples: u64,
    /// Samples from the presentation's start to the signal's.
    pub start: u64,
    /// Samples in front of the signal in the track.
    pub priming: u64,
    /// Samples of silence put into gaps of the source.
    pub filled: u64,
    /// Samples of the source dropped because they overlapped.
    pub dropped: u64,
    /// Packets and frames the decoder complained about.
    pub decode_errors: u64,
    /// SHA-256 of each segment.
    pub segments: Vec<String>,
}

/// What video and audio tracks have in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackRecord {
    /// RFC 6381 codecs parameter.
    pub codecs: String,
    /// Ticks per second.
    pub timescale: Timescale,
    /// Presentation time of the first sample.
    pub start: i64,
    /// Presentation time after the last.
    pub end: i64,
    /// Segments.
    pub segments: u64,
    /// Bytes of all segments.
    pub bytes: u64,
    /// Peak of about a target duration, bits per second.
    pub bandwidth_bps: u64,
    /// Bits per second.
    pub average_bandwidth_bps: u64,
    /// Encoders and their versions; more than one if chunks were made by different ones.
    pub encoders: Vec<String>,
    /// Families of these encoders; left out if it is `software` alone.
    #[serde(default = "software", skip_serializing_if = "is_software")]
    pub families: BTreeSet<Family>,
    /// Digest of the decoder configuration: 16 hexadecimal digits.
    pub decoder_config: String,
    /// The init segment.
    pub init: StoredObject,
}

/// A checked chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkRecord {
    /// First shown time.
    pub start: i64,
    /// End (exclusive); `None`: everything that follows.
    pub end: Option<i64>,
    /// Frames that the packet lists promise.
    pub frames_expected: u64,
    /// Frames decoded and encoded.
    pub frames: u64,
    /// Presentation time of the first.
    pub first_pts: Option<i64>,
    /// Presentation time of the last.
    pub last_pts: Option<i64>,
    /// Packets and frames the decoder complained about.
    pub decode_errors: u64,
    /// By rendition, in the ladder's order.
    pub renditions: Vec<PartRecord>,
}

/// What a chunk gave to a rendition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRecord {
    /// Name of the rendition.
    pub rendition: String,
    /// Bytes of its segments.
    pub bytes: u64,
    /// SHA-256 of each segment.
    pub segments: Vec<String>,
    /// Who made them; left out if it is `software`.
    #[serde(default, skip_serializing_if = "Family::is_software")]
    pub family: Family,
}

/// What was made by nobody who would have to be named.
fn software() -> BTreeSet<Family> {
    [Family::Software].into()
}

fn is_software(families: &BTreeSet<Family>) -> bool {
    *families == software()
}

/// What the digest of the recipe covers.
#[derive(Serialize)]
struct Recipe<'a> {
    grid: SegmentGrid,
    chunks: Vec<ChunkRecipe<'a>>,
    audio: Vec<&'a AudioRendition>,
}

#[derive(Serialize)]
struct ChunkRecipe<'a> {
    start: i64,
    end: Option<i64>,
    transform: Transform,
    color: Color,
    renditions: &'a [VideoRendition],
    images: Option<ImagePlan>,
}

impl Certificate {
    /// Draws up the certificate of a complete presentation. `chunks` and `audio` are what its tracks were stitched from,
    /// in the same order.
    pub fn new(
        source: &SourceInfo,
        index: &IndexReceipt,
        presentation: &Presentation,
        chunks: &[(&VideoTask, &VideoReceipt)],
        audio: &[(&AudioTask, &AudioReceipt)],
    ) -> Result<Self, PublishError> {
        let outline = Outline::of(presentation)?;
        let storyboard = presentation.storyboard.as_ref();
        let video = presentation.video.iter().zip(&outline.video);
        let tracks = presentation.audio.iter().zip(&outline.audio).zip(audio);
        Ok(Self {
            farm: env!("CARGO_PKG_VERSION").to_owned(),
            recipe: recipe(presentation, chunks),
            duration_ms: outline.duration_ms(),
            source: source_record(source, index),
            grid: presentation.grid,
            video: video.map(|(track, listing)| video_record(track, listing, chunks, outline.target_s)).collect(),
            audio: tracks
                .map(|((track, listing), (_, receipt))| audio_record(track, listing, receipt, outline.target_s))
                .collect(),
            chunks: chunks.iter().map(|(task, receipt)| chunk_record(task, receipt)).collect(),
            poster: presentation.poster.clone(),
            storyboard: storyboard.map(|storyboard| storyboard.sheets.clone()).unwrap_or_default(),
            movies: Vec::new(),
            playlists: playlists(&outline),
        })
    }

    /// As it is stored.
    pub fn to_json(&self) -> Bytes {
        super::json(self)
    }
}

fn recipe(presentation: &Presentation, chunks: &[(&VideoTask, &VideoReceipt)]) -> String {
    let chunks = chunks.iter().map(|(task, _)| ChunkRecipe {
        start: task.start,
        end: task.end,
        transform: task.transform,
        color: task.color,
        renditions: &task.renditions,
        images: task.images,
    });
    let audio = presentation.audio.iter().map(|track| &track.rendition).collect();
    digest(&super::json(&Recipe { grid: presentation.grid, chunks: chunks.collect(), audio }))
}

fn digest(bytes: &[u8]) -> String {
    shared::hex::encode(&StoredObject::of("", bytes).sha256)
}

fn source_record(source: &SourceInfo, index: &IndexReceipt) -> SourceRecord {
    SourceRecord {
        container: source.container.clone(),
        size_bytes: source.size_bytes.unwrap_or(index.bytes),
        verdict: index.verdict,
        findings: index.findings.clone(),
        video: source.video.as_ref().map(video_stream_record),
        audio: source.audio.iter().map(audio_stream_record).collect(),
        ignored: source.ignored.clone(),
    }
}

fn video_stream_record(stream: &VideoStream) -> VideoStreamRecord {
    VideoStreamRecord {
        index: stream.index,
        codec: stream.codec.clone(),
        pixel_format: stream.pixel_format.clone(),
        width_px: stream.width_px,
        height_px: stream.height_px,
        sample_aspect: stream.sample_aspect,
        rotation: stream.rotation,
        mirrored: stream.mirrored,
        interlaced: stream.interlaced,
        frame_rate: stream.frame_rate,
        timescale: stream.timescale,
        color: stream.color,
        timing: stream.timing,
    }
}

fn audio_stream_record(stream: &AudioStream) -> AudioStreamRecord {
    AudioStreamRecord {
        index: stream.index,
        codec: stream.codec.clone(),
        sample_rate_hz: stream.sample_rate_hz,
        channels: stream.channels,
        language: stream.language.clone(),
    }
}

fn video_record(
    track: &VideoTrack,
    listing: &Listing,
    chunks: &[(&VideoTask, &VideoReceipt)],
    target_s: u64,
) -> VideoRecord {
    let parts = chunks.iter().flat_map(|(_, receipt)| &receipt.parts);
    let parts = parts.filter(|part| part.rendition == track.rendition.name);
    VideoRecord {
        rendition: track.rendition.clone(),
        track: track_record(listing, &track.config, parts.map(|part| (part.encoder.as_str(), part.family)), target_s),
        color: track.color,
        frames: track.segments.iter().map(|segment| u64::from(segment.samples)).sum(),
    }
}

fn audio_record(track: &AudioTrack, listing: &Listing, receipt: &AudioReceipt, target_s: u64) -> AudioRecord {
    AudioRecord {
        rendition: track.rendition.clone(),
        track: track_record(listing, &track.config, [(track.encoder.as_str(), Family::Software)], target_s),
        samples: track.samples,
        start: track.lead(),
        priming: track.priming,
        filled: receipt.filled,
        dropped: receipt.dropped,
        decode_errors: receipt.decode_errors,
        segments: hashes(&track.segments),
    }
}

fn track_record<'a>(
    listing: &Listing,
    config: &DecoderConfig,
    encoders: impl IntoIterator<Item = (&'a str, Family)>,
    target_s: u64,
) -> TrackRecord {
    let rate = Rate::of(listing, target_s);
    let (encoders, families): (BTreeSet<&str>, BTreeSet<Family>) = encoders.into_iter().unzip();
    TrackRecord {
        codecs: listing.codecs.clone(),
        timescale: listing.timescale,
        start: listing.timeline.first().map_or(0, |(start, _)| *start),
        end: listing.end(),
        segments: listing.segments.len() as u64,
        bytes: listing.segments.iter().map(|segment| segment.object.size).sum(),
        bandwidth_bps: rate.peak_bps,
        average_bandwidth_bps: rate.average_bps,
        encoders: encoders.into_iter().map(str::to_owned).collect(),
        families,
        decoder_config: config.digest(),
        init: listing.init.clone(),
    }
}

fn chunk_record(task: &VideoTask, receipt: &VideoReceipt) -> ChunkRecord {
    let renditions = receipt.parts.iter().map(|part| PartRecord {
        rendition: part.rendition.clone(),
        bytes: part.bytes(),
        segments: hashes(&part.segments),
        family: part.family,
    });
    ChunkRecord {
        start: task.start,
        end: task.end,
        frames_expected: receipt.frames_expected,
        frames: receipt.frames,
        first_pts: receipt.first_pts,
        last_pts: receipt.last_pts,
        decode_errors: receipt.decode_errors,
        renditions: renditions.collect(),
    }
}

fn hashes(segments: &[SegmentInfo]) -> Vec<String> {
    segments.iter().map(|segment| shared::hex::encode(&segment.object.sha256)).collect()
}

fn playlists(outline: &Outline) -> Vec<String> {
    let mut keys = vec![MULTIVARIANT.to_owned(), MANIFEST.to_owned()];
    keys.extend(outline.all().map(|listing| super::key(listing.name, MEDIA_PLAYLIST)));
    keys.extend(outline.video.iter().map(|listing| super::key(listing.name, I_FRAME_PLAYLIST)));
    keys.extend(outline.presentation.storyboard.is_some().then(|| THUMBNAILS.to_owned()));
    keys
}
