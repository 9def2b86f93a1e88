//! On what the stages of a chunk run: each in software, or on a GPU.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest reason of a fallback that is kept, in bytes.
const LONGEST_REASON_BYTES: usize = 512;

/// What decodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecodeBy {
    /// libavcodec.
    #[default]
    Software,
    /// A GPU's decoder.
    Nvdec,
}

/// What scales.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScaleBy {
    /// libavfilter.
    #[default]
    Software,
    /// Our kernels.
    Cuda,
}

/// What encodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EncodeBy {
    /// x264, x265 or SVT-AV1.
    #[default]
    Software,
    /// A GPU's encoder.
    Nvenc,
    /// A GPU's encoder, as FFmpeg drives it.
    FfmpegNvenc,
    /// A GPU's encoder without what it failed with: B-frames, look-ahead, adaptive quantisation, a second pass.
    PlainNvenc,
}

/// What the stages of a chunk run on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Placement {
    /// Packets to pictures.
    pub decode: DecodeBy,
    /// Pictures to the sizes of the rungs.
    pub scale: ScaleBy,
    /// Pictures to packets.
    pub encode: EncodeBy,
}

impl Placement {
    /// Without a GPU.
    pub const SOFTWARE: Self =
        Self { decode: DecodeBy::Software, scale: ScaleBy::Software, encode: EncodeBy::Software };

    /// Whether a stage runs on a GPU.
    pub fn needs_gpu(self) -> bool {
        self != Self::SOFTWARE
    }

    /// Whether this stage runs on a GPU. A [`Stage::Slot`] does if any does.
    pub fn has_on_gpu(self, stage: Stage) -> bool {
        match stage {
            Stage::Decode => self.decode != DecodeBy::Software,
            Stage::Scale => self.scale != ScaleBy::Software,
            Stage::Encode => self.encode != EncodeBy::Software,
            Stage::Slot => self.needs_gpu(),
        }
    }

    /// As it stands in labels: decoder, scaler and encoder.
    pub fn as_str(self) -> &'static str {
        use {DecodeBy as D, EncodeBy as E, ScaleBy as S};
        match (self.decode, self.scale, self.encode) {
            (D::Software, S::Software, E::Software) => "software",
            (D::Software, S::Software, E::Nvenc) => "software+software+nvenc",
            (D::Software, S::Software, E::FfmpegNvenc) => "software+software+ffmpeg_nvenc",
            (D::Software, S::Software, E::PlainNvenc) => "software+software+plain_nvenc",
            (D::Software, S::Cuda, E::Software) => "software+cuda+software",
            (D::Software, S::Cuda, E::Nvenc) => "software+cuda+nvenc",
            (D::Software, S::Cuda, E::FfmpegNvenc) => "software+cuda+ffmpeg_nvenc",
            (D::Software, S::Cuda, E::PlainNvenc) => "software+cuda+plain_nvenc",
            (D::Nvdec, S::Software, E::Software) => "nvdec+software+software",
            (D::Nvdec, S::Software, E::Nvenc) => "nvdec+software+nvenc",
            (D::Nvdec, S::Software, E::FfmpegNvenc) => "nvdec+software+ffmpeg_nvenc",
            (D::Nvdec, S::Software, E::PlainNvenc) => "nvdec+software+plain_nvenc",
            (D::Nvdec, S::Cuda, E::Software) => "nvdec+cuda+software",
            (D::Nvdec, S::Cuda, E::Nvenc) => "nvdec+cuda+nvenc",
            (D::Nvdec, S::Cuda, E::FfmpegNvenc) => "nvdec+cuda+ffmpeg_nvenc",
            (D::Nvdec, S::Cuda, E::PlainNvenc) => "nvdec+cuda+plain_nvenc",
        }
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where something went wrong on a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Packets to pictures.
    Decode,
    /// Pictures to sizes.
    Scale,
    /// Pictures to packets.
    Encode,
    /// The slot itself died or stood still, in a stage that nobody knows.
    Slot,
}

impl Stage {
    /// As it stands in labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Scale => "scale",
            Self::Encode => "encode",
            Self::Slot => "slot",
        }
    }
}

/// A stage that was to run on a GPU and did not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fallback {
    /// Which.
    pub stage: Stage,
    /// Why, for people.
    pub reason: String,
}

impl Fallback {
    /// A long reason is cut.
    pub fn new(stage: Stage, reason: impl Into<String>) -> Self {
        let mut reason = reason.into();
        reason.truncate(reason.floor_char_boundary(LONGEST_REASON_BYTES));
        Self { stage, reason }
    }
}

/// On what a chunk was made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hardware {
    /// Where its stages ran in the end. Which encoder made a rendition is said with its part.
    pub placement: Placement,
    /// The GPU by its UUID; empty: none.
    pub gpu: String,
    /// What was to run on a GPU and did not, in order.
    pub fallbacks: Vec<Fallback>,
    /// Bytes of pictures that went to the GPU.
    pub uploaded_bytes: u64,
    /// Bytes of pictures that came from it.
    pub downloaded_bytes: u64,
}

impl Hardware {
    /// Made in software, as was meant.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let fallback = Fallback::new(Stage::Encode, "ä".repeat(LONGEST_REASON_BYTES));
        assert_eq!(fallback.reason.len(), LONGEST_REASON_BYTES);
        assert_eq!(Fallback::new(Stage::Slot, "it died").reason, "it died");
    }

    #[test]
    fn a_placement_says_which_stages_need_a_gpu() {
        let decoded = Placement { decode: DecodeBy::Nvdec, ..Placement::SOFTWARE };
        assert!(decoded.needs_gpu() && decoded.has_on_gpu(Stage::Decode) && decoded.has_on_gpu(Stage::Slot));
        assert!(!decoded.has_on_gpu(Stage::Scale) && !decoded.has_on_gpu(Stage::Encode));
        assert!(!Placement::SOFTWARE.has_on_gpu(Stage::Slot));
        assert_eq!(decoded.to_string(), "nvdec+software+software");
    }
}
