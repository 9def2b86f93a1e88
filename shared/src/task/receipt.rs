//! What a worker claims to have made, and how it was made.

use serde::{Deserialize, Serialize};

use crate::cmaf::DecoderConfig;
use crate::family::Family;
use crate::placement::{Fallback, Hardware};
use crate::source::{Finding, Verdict};
use crate::time::{MediaTime, Timescale};

/// What a finished attempt claims to have made. The coordinator checks it against the plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Receipt {
    /// The source has been read to its end.
    Index(IndexReceipt),
    /// A chunk.
    Video(VideoReceipt),
    /// An audio track.
    Audio(AudioReceipt),
    /// Storyboard sheets.
    Storyboard(StoryboardReceipt),
}

impl Receipt {
    /// What it cost.
    pub fn spent(&self) -> Spent {
        match self {
            Self::Index(receipt) => receipt.spent,
            Self::Video(receipt) => receipt.spent,
            Self::Audio(receipt) => receipt.spent,
            Self::Storyboard(receipt) => receipt.spent,
        }
    }

    /// The same, to be added to.
    pub fn spent_mut(&mut self) -> &mut Spent {
        match self {
            Self::Index(receipt) => &mut receipt.spent,
            Self::Video(receipt) => &mut receipt.spent,
            Self::Audio(receipt) => &mut receipt.spent,
            Self::Storyboard(receipt) => &mut receipt.spent,
        }
    }

    /// The parts of tracks in it.
    pub fn parts(&self) -> &[TrackPart] {
        match self {
            Self::Video(receipt) => &receipt.parts,
            Self::Audio(receipt) => std::slice::from_ref(&receipt.part),
            Self::Index(_) | Self::Storyboard(_) => &[],
        }
    }

    /// Forgets how parts were made: what is left is the claim, and what is kept of it.
    pub fn forget_making(&mut self) {
        let parts = match self {
            Self::Video(receipt) => receipt.parts.as_mut_slice(),
            Self::Audio(receipt) => std::slice::from_mut(&mut receipt.part),
            Self::Index(_) | Self::Storyboard(_) => &mut [],
        };
        parts.iter_mut().for_each(|part| part.making = Making::default());
    }

    /// Before it was made as it says, this went wrong.
    pub fn fell_back(&mut self, before: Vec<Fallback>) {
        if let Self::Video(receipt) = self {
            receipt.hardware.fallbacks.splice(0..0, before);
        }
    }
}

/// The end of the index.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IndexReceipt {
    /// The final judgement.
    pub verdict: Verdict,
    /// All findings, those of [`SourceInfo`](crate::source::SourceInfo) included.
    pub findings: Vec<Finding>,
    /// Bytes read.
    pub bytes: u64,
    /// What it cost.
    pub spent: Spent,
}

/// One object the worker has stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredObject {
    /// Key below the target or work prefix.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the bytes.
    #[serde(with = "crate::hex")]
    pub sha256: Vec<u8>,
}

/// One media segment: exactly one fragment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentInfo {
    /// Number on the grid.
    pub number: u64,
    /// Presentation time of the first sample (for audio: decode time), in ticks of the track.
    pub start: i64,
    /// Sum of the sample durations, in ticks of the track.
    pub duration: u64,
    /// Samples: frames, or audio frames.
    pub samples: u32,
    /// Bytes from the segment's start to the end of its first sample: what an I-frame playlist points at.
    pub first_sample_end: u64,
    /// Where it is stored, below the target prefix.
    pub object: StoredObject,
}

/// The segments of one rendition that one attempt made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrackPart {
    /// Name of the rendition.
    pub rendition: String,
    /// Ticks per second.
    pub timescale: Timescale,
    /// What a player needs first. Parts of a track join if theirs unite ([`DecoderConfig::union`]).
    pub config: DecoderConfig,
    /// In order, without a gap.
    pub segments: Vec<SegmentInfo>,
    /// Encoder and its version.
    pub encoder: String,
    /// Whose parameter sets they are.
    #[serde(default, skip_serializing_if = "Family::is_software")]
    pub family: Family,
    /// How it was made.
    #[serde(default, skip_serializing_if = "Making::is_unknown")]
    pub making: Making,
}

impl TrackPart {
    /// Milliseconds of presentation in it.
    pub fn duration_ms(&self) -> u64 {
        let ticks = self.segments.iter().fold(0_u64, |ticks, segment| ticks.saturating_add(segment.duration));
        Timescale::MILLIS.rescale_floor(i64::try_from(ticks).unwrap_or(i64::MAX), self.timescale).unsigned_abs()
    }

    /// Bytes of its segments.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().fold(0, |bytes, segment| bytes.saturating_add(segment.object.size))
    }
}

/// How a part was made, which is no part of the claim: attempts that claim the same differ in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Making {
    /// Milliseconds that its encoder worked.
    pub encode_ms: u64,
    /// Width of the pictures; 0 for sound.
    pub width_px: u32,
    /// Height of the pictures; 0 for sound.
    pub height_px: u32,
    /// How alike one picture is to what went into the encoder: thousandths of a decibel of PSNR; `None`: nobody has looked.
    pub psnr_mdb: Option<u32>,
}

impl Making {
    /// Workers of an earlier version don't tell.
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

/// Time that an attempt took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// Elapsed milliseconds.
    pub wall_ms: u64,
    /// CPU milliseconds of the slot.
    pub cpu_ms: u64,
    /// What the time went into.
    #[serde(default, skip_serializing_if = "Stages::is_unknown")]
    pub stages: Stages,
}

impl Spent {
    /// Of which only the sums are known.
    pub fn new(wall_ms: u64, cpu_ms: u64) -> Self {
        Self { wall_ms, cpu_ms, stages: Stages::default() }
    }
}

/// Milliseconds of an attempt by what it did. Stages overlap, and one that runs on several threads counts each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stages {
    /// The worker waited for what the attempt reads.
    pub fetch_ms: u64,
    /// Decoding video.
    pub decode_ms: u64,
    /// Deinterlacing, scaling, tone mapping and turning, for all renditions.
    pub scale_ms: u64,
    /// Encoding video, over all renditions.
    pub encode_ms: u64,
    /// The worker waited for storage to take what the attempt made.
    pub upload_ms: u64,
}

impl Stages {
    /// By name, in the order of the work.
    pub fn named(self) -> [(&'static str, u64); 5] {
        let Self { fetch_ms, decode_ms, scale_ms, encode_ms, upload_ms } = self;
        [("fetch", fetch_ms), ("decode", decode_ms), ("scale", scale_ms), ("encode", encode_ms), ("upload", upload_ms)]
    }

    fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

/// What a chunk's attempt claims.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VideoReceipt {
    /// One for each rendition of the task, in its order.
    pub parts: Vec<TrackPart>,
    /// Frames that the packet lists promise for the chunk.
    pub frames_expected: u64,
    /// Frames that came out of the decoder and went into every rendition.
    pub frames: u64,
    /// Presentation time of the first frame; `None` iff there is none.
    pub first_pts: Option<i64>,
    /// Presentation time of the last frame; `None` iff there is none.
    pub last_pts: Option<i64>,
    /// Packets and frames the decoder complained about.
    pub decode_errors: u64,
    /// Storyboard tiles, below the work prefix: number and object.
    pub tiles: Vec<(u64, StoredObject)>,
    /// The poster, below the target prefix, if it was in this chunk.
    pub poster: Option<StoredObject>,
    /// What it cost.
    pub spent: Spent,
    /// On what it was made.
    #[serde(default, skip_serializing_if = "Hardware::is_plain")]
    pub hardware: Hardware,
}

/// What an audio track's attempt claims.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AudioReceipt {
    /// The track.
    pub part: TrackPart,
    /// Samples of the signal, without priming and remainder.
    pub samples: u64,
    /// Presentation time at which the signal starts.
    pub start: MediaTime,
    /// Samples the encoder adds before the signal.
    pub priming: u64,
    /// Samples of silence put into gaps of the source.
    pub filled: u64,
    /// Samples of the source dropped because they overlapped.
    pub dropped: u64,
    /// Packets and frames the decoder complained about.
    pub decode_errors: u64,
    /// What it cost.
    pub spent: Spent,
}

/// What a storyboard's attempt claims.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoryboardReceipt {
    /// Sheets below the target prefix, in order.
    pub sheets: Vec<StoredObject>,
    /// What it cost.
    pub spent: Spent,
}
