//! Renditions: one encoded version each of the video or of an audio track. Plain data, decided by the coordinator.

use serde::{Deserialize, Serialize};

/// Video codecs the farm can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VideoCodec {
    /// H.264 / AVC, High profile (ISO/IEC 14496-10).
    H264,
    /// H.265 / HEVC, Main or Main 10 profile (ISO/IEC 23008-2).
    Hevc,
    /// AV1, Main profile.
    Av1,
}

impl VideoCodec {
    /// As profiles have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::H264 => "h264",
            Self::Hevc => "hevc",
            Self::Av1 => "av1",
        }
    }
}

/// Audio codecs the farm can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AudioCodec {
    /// AAC-LC (ISO/IEC 14496-3).
    Aac,
    /// Opus (RFC 6716), always at 48 kHz.
    Opus,
}

impl AudioCodec {
    /// As profiles have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aac => "aac",
            Self::Opus => "opus",
        }
    }
}

/// Capped constant quality: `crf` decides, the VBV of `maxrate_bps` and `bufsize_bits` bounds.
///
/// The bound holds for the joined track: whatever the chunks are, a decoder buffer of `bufsize_bits` filled at
/// `maxrate_bps` never underflows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RateControl {
    /// Constant rate factor in the encoder's own scale; lower is better.
    pub crf: f32,
    /// Ceiling in bits per second.
    pub maxrate_bps: u32,
    /// Decoder buffer in bits.
    pub bufsize_bits: u32,
}

/// One rung of a job's ladder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VideoRendition {
    /// Directory and id, `[a-z0-9-]+`, unique in the job.
    pub name: String,
    /// Codec to encode with.
    pub codec: VideoCodec,
    /// Even, in square pixels, after rotation.
    pub width_px: u32,
    /// Even, in square pixels, after rotation.
    pub height_px: u32,
    /// How bits are spent.
    pub rate: RateControl,
    /// The encoder's preset by its own name (`veryfast`; a number for SVT-AV1).
    pub preset: String,
}

/// One audio track of a job: one source stream in one codec.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AudioRendition {
    /// Directory and id, `[a-z0-9-]+`, unique in the job.
    pub name: String,
    /// Index of the source stream.
    pub stream: u32,
    /// Codec to encode with.
    pub codec: AudioCodec,
    /// Average bits per second.
    pub bitrate_bps: u32,
    /// Samples per second of the encoded track; also its timescale.
    pub sample_rate_hz: u32,
    /// 1 or 2.
    pub channels: u32,
    /// BCP 47 tag; `und` if the source does not say.
    pub language: String,
    /// What a player's menu shows.
    pub title: String,
    /// The track a player starts with. One per job.
    pub default: bool,
}
