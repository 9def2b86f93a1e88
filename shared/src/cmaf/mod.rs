//! What CMAF we write (ISO/IEC 23000-19), in safe Rust from typed boxes.
//!
//! A track is one init segment and any number of media segments. A media segment is one CMAF fragment; we write no
//! chunks. Bytes depend on the arguments alone: no clock, no random number, no version string.
//!
//! ```text
//! init segment                        media segment
//! ftyp                                styp
//! moov                                moof
//! ├─ mvhd                             ├─ mfhd   segment number + 1
//! ├─ trak                             └─ traf
//! │  ├─ tkhd                             ├─ tfhd   what all samples have in common
//! │  ├─ edts─elst   where media starts   ├─ tfdt   decode time of the first sample, 64 bits
//! │  └─ mdia                             └─ trun   what differs: duration, size, flags, offset
//! │     ├─ mdhd                       mdat
//! │     ├─ hdlr                       └─ the samples, without gaps
//! │     └─ minf
//! │        ├─ vmhd | smhd
//! │        ├─ dinf─dref─url
//! │        └─ stbl
//! │           ├─ stsd
//! │           │  └─ avc1 | hvc1 | av01 | mp4a | Opus
//! │           │     ├─ avcC | hvcC | av1C | esds | dOps
//! │           │     ├─ colr   if the colours are known
//! │           │     └─ pasp   1:1
//! │           └─ stts stsc stsz stco   empty
//! └─ mvex─trex
//! ```
//!
//! Boxes whose sections are cited without a document are those of ISO/IEC 14496-12.

mod av1;
mod bits;
mod decoder_config;
mod init;
mod movie;
mod nal;
mod parameter_sets;
mod segment;
mod timing;
mod union;

use serde::{Deserialize, Serialize};

pub use self::init::{Edit, InitKind, InitSegment};
pub use self::movie::{Movie, MovieHead, MovieTrack, Shown};
pub use self::segment::{MediaSegment, Sample, SampleSummary, SegmentSummary, WrittenSegment, read_segment};
pub use self::timing::{decode_times, reorder_delay};

/// The only track of each file we write.
const TRACK_ID: u32 = 1;

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

/// Bytes that can't be read, or values that can't be written.
#[derive(Debug, thiserror::Error)]
pub enum CmafError {
    /// Not what the codec's or the container's specification says.
    #[error("{what}: {why}")]
    Invalid {
        /// Where: a box or a codec's header.
        what: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A box that is not well-formed.
    #[error("{what}: {source}")]
    Box {
        /// Which one.
        what: &'static str,
        /// As the box reader or writer says.
        source: mp4_atom::Error,
    },
    /// Two decoder configurations that no third can stand for.
    #[error("{what}: {one} and {other} do not go together")]
    Clash {
        /// In what they differ.
        what: String,
        /// What the one says.
        one: String,
        /// What the other says.
        other: String,
    },
}

impl CmafError {
    const fn invalid(what: &'static str, why: &'static str) -> Self {
        Self::Invalid { what, why }
    }

    fn in_box(what: &'static str) -> impl FnOnce(mp4_atom::Error) -> Self {
        move |source| Self::Box { what, source }
    }
}
