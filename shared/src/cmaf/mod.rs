//! What CMAF we write (ISO/IEC 23000-19).

use serde::{Deserialize, Serialize};

/// What a decoder needs before the first sample: the payload of the codec's configuration box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DecoderConfig {
    /// `avcC` (ISO/IEC 14496-15 5.3.3.1).
    Avc(#[serde(with = "crate::hex")] Vec<u8>),
    /// `hvcC` (ISO/IEC 14496-15 8.3.3.1).
    Hevc(#[serde(with = "crate::hex")] Vec<u8>),
    /// `av1C` (AV1 Codec ISO Media File Format Binding 2.3).
    Av1(#[serde(with = "crate::hex")] Vec<u8>),
    /// `AudioSpecificConfig` (ISO/IEC 14496-3 1.6.2.1), carried in `esds`.
    Aac(#[serde(with = "crate::hex")] Vec<u8>),
    /// `dOps` (Encapsulation of Opus in ISO Base Media File Format 4.3.2).
    Opus(#[serde(with = "crate::hex")] Vec<u8>),
}
