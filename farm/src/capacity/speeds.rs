//! How fast things are, and who says so.

use serde::Serialize;
use shared::rendition::VideoCodec;

/// Pixels of the picture that published figures are about, in millions.
pub const FULL_HD: f64 = 1920.0 * 1080.0 / 1e6;

/// Where a speed comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "source")]
pub enum Origin {
    /// By us, with the command that the source names.
    Measured(String),
    /// By the maker; nobody here has measured it.
    Published(String),
    /// Told by a farm that is served.
    Farm(String),
    /// On the command line.
    Given,
}

/// CPU milliseconds for a million pixels of all rungs together: decoding, scaling and encoding. One core of an AMD EPYC with
/// AVX-512; pictures that are busier than those measured take up to twice as long.
pub fn core_ms_per_megapixel(codec: VideoCodec, preset: &str) -> Option<(f64, Origin)> {
    // Whole ladders: 59.9 and 135.9 s for 1,625 frames of 3.64 million pixels, 20.0 s for 350 frames of 1.15.
    let (ms, what) = match (codec, preset) {
        (VideoCodec::H264, "veryfast") => {
            (10.1, "Against FFmpeg's ways of making the same ladder: x264, veryfast, 1080p25")
        }
        (VideoCodec::H264, "medium") => {
            (23.0, "Against FFmpeg's ways of making the same ladder: x264, medium, 1080p25")
        }
        (VideoCodec::Av1, "8") => (49.6, "AV1: SVT-AV1, preset 8, 720p25"),
        _ => return None,
    };
    Some((ms, Origin::Measured(format!("benches/RESULTS.md, {what}"))))
}

/// A card.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Card {
    /// As it is named on the command line.
    pub name: &'static str,
    /// Encoders.
    pub nvenc: u32,
    /// Decoders.
    pub nvdec: u32,
    generation: Generation,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Generation {
    Turing,
    Ampere,
    Ada,
    Blackwell,
}

const fn card(name: &'static str, generation: Generation, nvenc: u32, nvdec: u32) -> Card {
    Card { name, nvenc, nvdec, generation }
}

/// Cards with encoders. A100, H100 and H200 have none: they decode and scale for CPUs, which are what such a node is planned
/// by.
pub const CARDS: [Card; 9] = [
    card("t4", Generation::Turing, 1, 2),
    card("a10", Generation::Ampere, 1, 2),
    card("a40", Generation::Ampere, 1, 2),
    card("l4", Generation::Ada, 2, 4),
    card("l40s", Generation::Ada, 3, 3),
    card("rtx4090", Generation::Ada, 2, 1),
    card("rtx5080", Generation::Blackwell, 2, 2),
    card("rtx5090", Generation::Blackwell, 3, 2),
    card("rtxpro6000", Generation::Blackwell, 4, 4),
];

impl Card {
    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        CARDS.into_iter().find(|card| card.name == name)
    }

    /// Frames of 1080p that one encoder makes in a second with the worker's settings (P5, high quality); `None`: it can't.
    pub fn encodes_fps(self, codec: VideoCodec) -> Option<f64> {
        Some(match (codec, self.generation) {
            (VideoCodec::H264, Generation::Turing) => 264.0,
            (VideoCodec::H264, Generation::Ampere) => 266.0,
            (VideoCodec::H264, Generation::Ada) => 283.0,
            (VideoCodec::H264, Generation::Blackwell) => 317.0,
            (VideoCodec::Hevc, Generation::Turing) => 334.0,
            (VideoCodec::Hevc, Generation::Ampere) => 335.0,
            (VideoCodec::Hevc, Generation::Ada) => 411.0,
            (VideoCodec::Hevc, Generation::Blackwell) => 521.0,
            (VideoCodec::Av1, Generation::Ada) => 440.0,
            (VideoCodec::Av1, Generation::Blackwell) => 552.0,
            _ => return None,
        })
    }

    /// Frames of 1080p in H.264 that one decoder gives in a second: of all codecs the slowest on most cards.
    pub fn decodes_fps(self) -> f64 {
        match self.generation {
            Generation::Turing => 771.0,
            Generation::Ampere => 748.0,
            Generation::Ada => 903.0,
            Generation::Blackwell => 2172.0,
        }
    }

    /// Who says so.
    pub fn origin(self) -> Origin {
        Origin::Published("NVIDIA's NVENC and NVDEC application notes, SDK 13.0, scaled by pixels".to_owned())
    }
}
