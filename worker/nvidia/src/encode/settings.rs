//! What an encoder is asked for, in the words of the software recipe.

use crate::codec::Codec;
use crate::surface::Format;

/// How one encoder encodes. The parameter sets follow from it, the card's generation and its driver alone.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodeSettings {
    /// Into what.
    pub codec: Codec,
    /// In pixels; even.
    pub width: u32,
    /// In pixels; even.
    pub height: u32,
    /// Of what is pushed: 8 bits a sample, or 10 in the upper bits of 16.
    pub format: Format,
    /// Frames per second, as numerator and denominator. Frames may come otherwise; rate control counts with this.
    pub frame_rate: (u32, u32),
    /// x264's, x265's or SVT-AV1's constant rate factor.
    pub crf: f32,
    /// What the buffer is filled with, in bits per second.
    pub maxrate_bps: u32,
    /// Size of the decoder's buffer, in bits.
    pub buffer_bits: u32,
    /// How full the buffer is at the start, in bits.
    pub initial_fill_bits: u32,
    /// In the codec's own numbers: H.264 `level_idc` (40 is 4), HEVC `general_level_idc` (120 is 4). `None`: the driver's
    /// choice, which may differ from card to card; AV1's always is.
    pub level: Option<u32>,
    /// Number of all parameter sets (VPS, SPS, PPS), so that several families of encoders can share an init segment.
    /// H.264 and HEVC have 16 of the scarcest.
    pub parameter_set: u32,
    /// What the samples mean.
    pub color: Color,
    /// `P1` (fast) to `P7` (good).
    pub preset: u8,
    /// Without B-frames, look-ahead, adaptive quantisation and second pass: for a card that fails its proof with them.
    pub plain: bool,
}

/// Colour description (ITU-T H.273).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Color {
    /// `ColourPrimaries`.
    pub primaries: u8,
    /// `TransferCharacteristics`.
    pub transfer: u8,
    /// `MatrixCoefficients`.
    pub matrix: u8,
    /// `VideoFullRangeFlag`.
    pub full_range: bool,
}

impl EncodeSettings {
    /// NVENC's target quality for the constant rate factor, in 256ths: to 51, and for AV1 to 63 (drivers take that, whatever
    /// the header says); 0 would leave it to the driver.
    pub(super) fn target_quality(&self) -> u16 {
        let most = if self.codec == Codec::Av1 { 63.0 } else { 51.0 };
        (self.crf * 256.0).clamp(256.0, most * 256.0) as u16
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::encode) fn settings(codec: Codec) -> EncodeSettings {
        EncodeSettings {
            codec,
            width: 1280,
            height: 720,
            format: Format::Nv12,
            frame_rate: (30_000, 1001),
            crf: 23.5,
            maxrate_bps: 2_800_000,
            buffer_bits: 5_600_000,
            initial_fill_bits: 5_040_000,
            level: Some(31),
            parameter_set: 3,
            color: Color { primaries: 9, transfer: 16, matrix: 9, full_range: false },
            preset: 5,
            plain: false,
        }
    }

    #[test]
    fn the_rate_factor_becomes_a_target_quality_that_is_never_automatic() {
        let quality = |codec, crf| EncodeSettings { crf, ..settings(codec) }.target_quality();
        assert_eq!(quality(Codec::H264, 23.5), 23 * 256 + 128);
        assert_eq!(quality(Codec::H264, 0.0), 256);
        assert_eq!(quality(Codec::Hevc, 60.0), 51 * 256);
        assert_eq!(quality(Codec::Av1, 40.0), 40 * 256);
        assert_eq!(quality(Codec::Av1, 70.0), 63 * 256);
        assert_eq!(quality(Codec::H264, f32::NAN), 0, "NaN is refused before");
    }
}
