//! What indexing found out about a source.

use serde::{Deserialize, Serialize};

use crate::time::{FrameRate, Timescale};

/// The judgement of a source: what the farm will do with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Verdict {
    /// Nothing unusual.
    Standard,
    /// Playable after the handling that its findings name.
    NonStandard,
    /// Sound as far as can be told, but no decoder here reads it.
    Unsupported,
    /// Broken beyond use.
    Corrupt,
}

/// One unusual thing about a source and what is done about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable, `snake_case`.
    pub code: String,
    /// What was seen and where.
    pub text: String,
    /// What the farm does about it.
    pub handling: String,
}

/// Everything a decoder must know before the first packet, as the worker's index task saw it. Only workers look inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecoderSetup(#[serde(with = "crate::hex")] pub Vec<u8>);

/// The dynamic range of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DynamicRange {
    /// BT.709 and its like.
    Sdr,
    /// SMPTE ST 2084.
    Pq,
    /// ARIB STD-B67.
    Hlg,
}

/// Colour description as code points of ISO/IEC 23091-2; 2 is "unspecified".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Color {
    /// Colour primaries.
    pub primaries: u8,
    /// Transfer characteristics.
    pub transfer: u8,
    /// Matrix coefficients.
    pub matrix: u8,
    /// Samples use the full range (0–255) instead of the limited one.
    pub full_range: bool,
}

impl Color {
    /// Decided by the transfer characteristics alone.
    pub fn dynamic_range(self) -> DynamicRange {
        match self.transfer {
            16 => DynamicRange::Pq,
            18 => DynamicRange::Hlg,
            _ => DynamicRange::Sdr,
        }
    }
}

/// How a frame gets its presentation time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Timing {
    /// Each packet carries the exact time of its frame.
    Packets,
    /// The packets' presentation times contradict their order: frames are timed as the decoder sees fit, which depends
    /// on all that came before, so the stream is decoded from its start, as one chunk.
    Decoder,
    /// The packets have no presentation times: frames are timed in output order by the nominal frame rate, so the
    /// stream is decoded from its start, as one chunk.
    Order,
}

/// The source's video stream that is transcoded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VideoStream {
    /// Index in the container.
    pub index: u32,
    /// FFmpeg's name of the codec.
    pub codec: String,
    /// For the decoder; opaque here.
    pub setup: DecoderSetup,
    /// Ticks per second of every time of this stream, and of the tracks made from it.
    pub timescale: Timescale,
    /// Coded picture width.
    pub width_px: u32,
    /// Coded picture height.
    pub height_px: u32,
    /// Sample aspect ratio, width ÷ height. Neither is zero.
    pub sample_aspect: (u32, u32),
    /// Clockwise degrees by which the decoded picture must be turned to stand upright: 0, 90, 180 or 270.
    pub rotation: u32,
    /// The picture must be mirrored left to right, after turning.
    pub mirrored: bool,
    /// Average frame rate.
    pub frame_rate: FrameRate,
    /// The picture is made of two fields.
    pub interlaced: bool,
    /// FFmpeg's name of the pixel format.
    pub pixel_format: String,
    /// Colour description.
    pub color: Color,
    /// How frames get their times.
    pub timing: Timing,
}

impl VideoStream {
    /// Width and height in square pixels of the upright picture.
    pub fn display_size(&self) -> (u32, u32) {
        let (sar_w, sar_h) = self.sample_aspect;
        let wide = (u64::from(self.width_px) * u64::from(sar_w) / u64::from(sar_h.max(1))).clamp(1, 1 << 20) as u32;
        match self.rotation {
            90 | 270 => (self.height_px, wide),
            _ => (wide, self.height_px),
        }
    }
}

/// A source's audio stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AudioStream {
    /// Index in the container.
    pub index: u32,
    /// FFmpeg's name of the codec.
    pub codec: String,
    /// For the decoder; opaque here.
    pub setup: DecoderSetup,
    /// Ticks per second of every time of this stream.
    pub timescale: Timescale,
    /// Samples per second.
    pub sample_rate_hz: u32,
    /// Channel count.
    pub channels: u32,
    /// BCP 47 or ISO 639 tag as the container has it; `und` if it does not say.
    pub language: String,
    /// The container's title of the stream; may be empty.
    pub title: String,
    /// The container's default flag.
    pub default: bool,
}

/// What indexing knows once every stream has shown its first packet; the packets follow.
///
/// All times of all streams count from the presentation's start: the earliest presentation time of any stream that is
/// transcoded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceInfo {
    /// FFmpeg's name of the container format.
    pub container: String,
    /// Bytes, `None` while the source is still growing.
    pub size_bytes: Option<u64>,
    /// Of the same mark, the same bytes. `None`: the source may grow, or nobody knows.
    #[serde(default)]
    pub mark: Option<String>,
    /// What the header promises, in milliseconds; `None` if it promises nothing. Planning may rely on its being the
    /// same each time, not on its being true.
    pub declared_ms: Option<u64>,
    /// The judgement so far.
    pub verdict: Verdict,
    /// What is unusual so far.
    pub findings: Vec<Finding>,
    /// The video stream to transcode, if there is one.
    pub video: Option<VideoStream>,
    /// The audio streams to transcode.
    pub audio: Vec<AudioStream>,
    /// Streams left out, each with the reason, for people.
    pub ignored: Vec<String>,
}

impl SourceInfo {
    /// Whether both are of one source, as far as their marks are known.
    pub fn is_same(&self, other: &Self) -> bool {
        let mark = if self.mark.is_some() { other.mark.clone() } else { None };
        let mark = if other.mark.is_some() { mark } else { self.mark.clone() };
        *self == Self { mark, ..other.clone() }
    }
}
