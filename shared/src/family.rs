//! Encoder families: whose parameter sets fit into one init segment.
//!
//! Encoders of one family write the same parameter sets for the same rendition; those of another write others, for the
//! same pictures. Both may work on one track if their sets carry different ids, since a slice names the set it was made
//! for: the init segment then holds the sets of all of them ([`DecoderConfig::union`](crate::cmaf::DecoderConfig::union)).
//! Every worker finds its id in this table, so that nobody has to agree with anybody.
//!
//! | family | id | who |
//! |---|---|---|
//! | `software` | 0 | x264, x265, SVT-AV1 |
//! | `nvenc-maxwell` … `nvenc-blackwell` | 1 to 7 | NVENC, by the GPU's generation |
//! | `nvenc-other` | 8 | NVENC of a generation that this version does not know |
//! | `ffmpeg-nvenc` | 0 | NVENC through FFmpeg, which can't set ids: it never shares a track with `software` |
//! | `stand-in` | 15 | x264 with other settings: for tests, and made only where a task asks for it |

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Who encoded a part of a track.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// x264, x265 or SVT-AV1.
    #[default]
    Software,
    /// NVENC of compute capability 5.
    NvencMaxwell,
    /// NVENC of compute capability 6.
    NvencPascal,
    /// NVENC of compute capability 7.0 to 7.2.
    NvencVolta,
    /// NVENC of compute capability 7.5.
    NvencTuring,
    /// NVENC of compute capability 8.0 to 8.8.
    NvencAmpere,
    /// NVENC of compute capability 8.9.
    NvencAda,
    /// NVENC of compute capability 10 and 12.
    NvencBlackwell,
    /// NVENC of any other GPU.
    NvencOther,
    /// NVENC through FFmpeg's own encoders.
    FfmpegNvenc,
    /// x264 with settings that nobody else uses.
    StandIn,
}

impl Family {
    /// Every family there is.
    pub const ALL: [Self; 11] = [
        Self::Software,
        Self::NvencMaxwell,
        Self::NvencPascal,
        Self::NvencVolta,
        Self::NvencTuring,
        Self::NvencAmpere,
        Self::NvencAda,
        Self::NvencBlackwell,
        Self::NvencOther,
        Self::FfmpegNvenc,
        Self::StandIn,
    ];

    /// NVENC of a GPU with this compute capability.
    pub const fn nvenc(compute_capability: (u32, u32)) -> Self {
        match compute_capability {
            (5, _) => Self::NvencMaxwell,
            (6, _) => Self::NvencPascal,
            (7, 0..=2) => Self::NvencVolta,
            (7, 5) => Self::NvencTuring,
            (8, 0..=8) => Self::NvencAmpere,
            (8, 9) => Self::NvencAda,
            (10 | 12, _) => Self::NvencBlackwell,
            _ => Self::NvencOther,
        }
    }

    /// Id of the family's only VPS, SPS and PPS of each track. At most 15, which every codec allows for each of them.
    pub const fn parameter_set_id(self) -> u8 {
        match self {
            Self::Software | Self::FfmpegNvenc => 0,
            Self::NvencMaxwell => 1,
            Self::NvencPascal => 2,
            Self::NvencVolta => 3,
            Self::NvencTuring => 4,
            Self::NvencAmpere => 5,
            Self::NvencAda => 6,
            Self::NvencBlackwell => 7,
            Self::NvencOther => 8,
            Self::StandIn => 15,
        }
    }

    /// Its name, as receipts and certificates have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Software => "software",
            Self::NvencMaxwell => "nvenc-maxwell",
            Self::NvencPascal => "nvenc-pascal",
            Self::NvencVolta => "nvenc-volta",
            Self::NvencTuring => "nvenc-turing",
            Self::NvencAmpere => "nvenc-ampere",
            Self::NvencAda => "nvenc-ada",
            Self::NvencBlackwell => "nvenc-blackwell",
            Self::NvencOther => "nvenc-other",
            Self::FfmpegNvenc => "ffmpeg-nvenc",
            Self::StandIn => "stand-in",
        }
    }

    /// Whether it need not be told: what was made before there were others, and most of what is made.
    pub fn is_software(&self) -> bool {
        *self == Self::Software
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Family {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|family| family.as_str() == name);
        found.ok_or_else(|| format!("{name:?} is not an encoder family"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for family in Family::ALL {
            assert_eq!(family.as_str().parse(), Ok(family));
            assert_eq!(serde_json::to_string(&family).unwrap(), format!("\"{family}\""));
        }
        assert!("x264".parse::<Family>().is_err());
    }

    #[test]
    fn only_who_can_t_choose_shares_an_id() {
        for (one, family) in Family::ALL.into_iter().enumerate() {
            assert!(family.parameter_set_id() <= 15);
            for other in &Family::ALL[one + 1..] {
                let shared = family.parameter_set_id() == other.parameter_set_id();
                assert_eq!(shared, family == Family::Software && *other == Family::FfmpegNvenc, "{family} and {other}");
            }
        }
    }

    #[test]
    fn generations_are_told_by_compute_capability() {
        let generations = [(5, 2), (6, 1), (7, 0), (7, 5), (8, 6), (8, 9), (12, 0), (9, 0), (13, 0)];
        let names = generations.map(|capability| Family::nvenc(capability).as_str());
        let expected = ["maxwell", "pascal", "volta", "turing", "ampere", "ada", "blackwell", "other", "other"];
        assert_eq!(names, expected.map(|name| format!("nvenc-{name}")));
    }
}
