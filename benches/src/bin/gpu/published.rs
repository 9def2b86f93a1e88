//! What NVIDIA publishes for one engine at 1080p, 4:2:0, at the highest video clock: the application notes of the Video
//! Codec SDK 13.0. A card's own clock may be lower; a ratio far from 1 is a question, not an answer.

use nvidia::Codec;

/// Generations of the video engines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    Pascal,
    Turing,
    Ampere,
    Ada,
    Blackwell,
}

impl Generation {
    /// By compute capability. A100, H100 and H200 have Turing's decoders.
    pub fn of(compute_capability: (u32, u32)) -> Option<Self> {
        match compute_capability {
            (6, _) => Some(Self::Pascal),
            (7, 5) | (8, 0) | (9, _) => Some(Self::Turing),
            (8, 6 | 7) => Some(Self::Ampere),
            (8, 9) => Some(Self::Ada),
            (10..=12, _) => Some(Self::Blackwell),
            _ => None,
        }
    }

    /// The column of a row that has all generations; 0 is "not published".
    fn of_row(self, row: [u32; 5]) -> Option<f64> {
        let value = row[self as usize];
        (value > 0).then(|| f64::from(value))
    }
}

/// Frames a second that one NVDEC decodes.
pub fn decode_fps(generation: Generation, codec: Codec, depth: u8) -> Option<f64> {
    generation.of_row(match (codec, depth) {
        (Codec::H264, 8) => [694, 771, 748, 903, 2172],
        (Codec::Hevc, 8) => [810, 1316, 1415, 1641, 1872],
        (Codec::Hevc, 10) => [789, 1158, 1299, 1520, 1818],
        (Codec::Vp9, 8) => [846, 932, 1075, 1290, 1445],
        (Codec::Av1, 8) => [0, 0, 790, 1018, 1119],
        _ => return None,
    })
}

/// Frames a second that one NVENC encodes with the tuning "high quality" and variable rate.
pub fn encode_fps(generation: Generation, codec: Codec, preset: u8) -> Option<f64> {
    generation.of_row(match (codec, preset) {
        (Codec::H264, 1) => [692, 833, 846, 885, 948],
        (Codec::H264, 3) => [398, 602, 617, 647, 708],
        (Codec::H264, 5) => [327, 264, 266, 283, 317],
        (Codec::H264, 7) => [250, 207, 213, 211, 227],
        (Codec::Hevc, 1) => [0, 920, 939, 1037, 1119],
        (Codec::Hevc, 3) => [0, 552, 557, 706, 947],
        (Codec::Hevc, 5) => [0, 334, 335, 411, 521],
        (Codec::Hevc, 7) => [0, 171, 171, 181, 181],
        (Codec::Av1, 1) => [0, 0, 0, 741, 957],
        (Codec::Av1, 3) => [0, 0, 0, 549, 678],
        (Codec::Av1, 5) => [0, 0, 0, 440, 552],
        (Codec::Av1, 7) => [0, 0, 0, 323, 401],
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hopper_decodes_like_a_turing_and_has_no_av1() {
        let hopper = Generation::of((9, 0)).unwrap();
        assert_eq!(decode_fps(hopper, Codec::H264, 8), Some(771.0));
        assert_eq!(decode_fps(hopper, Codec::Av1, 8), None);
        assert_eq!(Generation::of((7, 0)), None, "Volta's engines have no row");
        assert_eq!(encode_fps(Generation::of((8, 9)).unwrap(), Codec::H264, 5), Some(283.0));
    }
}
