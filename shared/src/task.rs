//! What the coordinator asks of a worker and what the worker claims to have done.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::cmaf::DecoderConfig;
use crate::error::TaskError;
use crate::family::Family;
use crate::index::{AudioRun, Gop, ListRef};
use crate::placement::{Fallback, Hardware};
use crate::rendition::{AudioRendition, VideoRendition};
use crate::source::{AudioStream, Color, Finding, SourceInfo, Verdict, VideoStream};
use crate::time::{MediaTime, SegmentGrid, Timescale};
use crate::trace::TraceContext;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl $name {
            /// `None` unless `text` is 1 to 64 of `[a-z0-9-]`.
            pub fn new(text: impl Into<String>) -> Option<Self> {
                let text = text.into();
                let fits = (1..=64).contains(&text.len());
                let plain = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
                (fits && plain).then_some(Self(text))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                Self::new(text.clone()).ok_or_else(|| format!("{text:?} is not 1 to 64 of a-z, 0-9 and -"))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// One source → one presentation.
    JobId
);
text_id!(
    /// One worker daemon.
    WorkerId
);
text_id!(
    /// Whose jobs they are.
    TenantId
);

impl Default for TenantId {
    /// The only one of a farm that knows no others.
    fn default() -> Self {
        Self("local".to_owned())
    }
}

/// Which try at a task, from 1. Each is above those before it; the first one's number means nothing. A job that starts over
/// counts on, so a number is never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptId(pub u32);

/// A task of a job, by what it makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TaskName {
    /// Finds out what the source is and where its packets lie.
    Index,
    /// Encodes every video rendition of the chunk with this number.
    Video(u32),
    /// Encodes the audio rendition with this number.
    Audio(u32),
    /// Puts the chunks' tiles together into storyboard sheets.
    Storyboard,
}

impl TaskName {
    /// Every kind of task.
    pub const KINDS: [&'static str; 4] = ["index", "video", "audio", "storyboard"];

    /// Its kind, as it stands in labels.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Video(_) => "video",
            Self::Audio(_) => "audio",
            Self::Storyboard => "storyboard",
        }
    }
}

impl fmt::Display for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index => f.write_str("index"),
            Self::Video(chunk) => write!(f, "video-{chunk:06}"),
            Self::Audio(track) => write!(f, "audio-{track:06}"),
            Self::Storyboard => f.write_str("storyboard"),
        }
    }
}

impl FromStr for TaskName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |digits: &str| digits.parse().map_err(|_| format!("{text:?} is not a task name"));
        match text.split_once('-') {
            None if text == "index" => Ok(Self::Index),
            None if text == "storyboard" => Ok(Self::Storyboard),
            Some(("video", digits)) => Ok(Self::Video(number(digits)?)),
            Some(("audio", digits)) => Ok(Self::Audio(number(digits)?)),
            _ => Err(format!("{text:?} is not a task name")),
        }
    }
}

impl TryFrom<String> for TaskName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl Serialize for TaskName {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TaskName {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// One item of work, unique for ever.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId {
    /// The job it belongs to.
    pub job: JobId,
    /// What it makes.
    pub name: TaskName,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.job, self.name)
    }
}

/// Where a job's bytes are: URIs (`file:` today).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places {
    /// The source object.
    pub source: String,
    /// Prefix of the presentation.
    pub target: String,
    /// Prefix of list objects, packed objects and tiles; removed when the job has ended.
    pub work: String,
}

/// One attempt at a task, as it travels to a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Which task.
    pub id: TaskId,
    /// Which try.
    pub attempt: AttemptId,
    /// Where to read and write.
    pub places: Places,
    /// The [`SourceInfo::mark`] of the source that the job began with, if it is known.
    pub source_mark: Option<String>,
    /// What to do.
    pub work: Work,
    /// Workers that should leave it to others: it failed there, or they can't do it. At most [`Self::MOST_AVOIDED`].
    #[serde(default)]
    pub avoid: Vec<WorkerId>,
    /// The task's span, below which that of the attempt hangs; `None`: it is not traced. It travels beside the message.
    #[serde(skip)]
    pub trace: Option<TraceContext>,
}

impl Task {
    /// Each of them may hand the task on a few times, and a queue delivers nothing for ever.
    pub const MOST_AVOIDED: usize = 3;
}

/// Attempts that are not wanted any more. It may come late or twice: what a job that starts over tries is beyond it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancellation {
    /// Of all tasks of this job.
    pub job: JobId,
    /// Up to this one.
    pub last: AttemptId,
}

impl Cancellation {
    /// Whether this attempt is not wanted any more.
    pub fn covers(&self, task: &Task) -> bool {
        self.job == task.id.job && task.attempt <= self.last
    }
}

/// What a task asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Find out what the source is.
    Index(IndexTask),
    /// Encode a chunk.
    Video(VideoTask),
    /// Encode an audio track.
    Audio(AudioTask),
    /// Put tiles together.
    Storyboard(StoryboardTask),
}

/// Limits of indexing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexTask {
    /// Largest coded picture that is accepted, in pixels.
    pub max_pixels: u64,
    /// The source may still grow: it is whole once it has not for so many milliseconds. `None`: it is whole.
    pub growing_ms: Option<NonZeroU32>,
}

/// What happens to a decoded picture before it is scaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transform {
    /// Clockwise turn in degrees: 0, 90, 180 or 270.
    pub rotation: u32,
    /// Mirror left to right, after turning.
    pub mirror: bool,
    /// Weave two fields into one progressive picture each.
    pub deinterlace: bool,
    /// Map PQ or HLG to BT.709.
    pub tone_map: bool,
}

/// Pictures for people, made from the same decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImagePlan {
    /// A storyboard tile is taken from the first frame at or after each multiple of this.
    pub tile_interval_ms: u32,
    /// Even.
    pub tile_width_px: u32,
    /// Even.
    pub tile_height_px: u32,
    /// Make the poster from the first frame at or after this time, in ticks of the stream, if it lies in this chunk.
    pub poster_at: Option<i64>,
}

/// A chunk: decode once, encode every rendition, cut on the grid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VideoTask {
    /// What to decode.
    pub stream: VideoStream,
    /// Lists that cover the chunk, in order: from the random access point at or before `start` to the first list that
    /// shows a frame at or after `end`, if there is one.
    pub lists: Vec<ListRef>,
    /// First shown time, in ticks of the stream: a grid point.
    pub start: i64,
    /// End of the chunk (exclusive); `None` for the last chunk: everything that follows belongs to it.
    pub end: Option<i64>,
    /// Where to cut.
    pub grid: SegmentGrid,
    /// Segments of the whole presentation; a frame past the last belongs to the last. `None` until the end is known.
    pub segment_count: Option<u64>,
    /// Before scaling.
    pub transform: Transform,
    /// Colour description of what is encoded.
    pub color: Color,
    /// Largest first.
    pub renditions: Vec<VideoRendition>,
    /// Pictures for people.
    pub images: Option<ImagePlan>,
    /// Renditions that must be made by encoders of this family, by name; the worker chooses for all others.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pins: BTreeMap<String, Family>,
}

/// A whole audio track.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AudioTask {
    /// What to decode.
    pub stream: AudioStream,
    /// All lists of the stream, in order.
    pub lists: Vec<ListRef>,
    /// Where to cut.
    pub grid: SegmentGrid,
    /// Segments of this track; a sample past the last belongs to the last.
    pub segment_count: u64,
    /// What to make.
    pub rendition: AudioRendition,
}

/// Tiles to sprite sheets (JPEG), row by row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoryboardTask {
    /// Keys of the tiles below the work prefix, in order of time.
    pub tiles: Vec<String>,
    /// Size of each tile.
    pub tile_width_px: u32,
    /// Size of each tile.
    pub tile_height_px: u32,
    /// Tiles in a row.
    pub columns: u32,
    /// Rows in a sheet.
    pub rows: u32,
}

/// What a worker says about an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskReport {
    /// Which task.
    pub task: TaskId,
    /// Which try.
    pub attempt: AttemptId,
    /// Who says it.
    pub worker: WorkerId,
    /// What it says.
    pub outcome: Outcome,
}

/// The content of a report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The attempt has begun.
    Started,
    /// Still working.
    Progress(Progress),
    /// A piece of the index; they come in order.
    Index(IndexReport),
    /// Finished: what was made.
    Done(Receipt),
    /// Ended without a result.
    Failed(TaskError),
}

impl Outcome {
    /// It only says that the attempt goes on: nothing is lost if it is not heard.
    pub fn is_sign_of_life(&self) -> bool {
        matches!(self, Self::Started | Self::Progress(_))
    }
}

/// How far an attempt has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Milliseconds of presentation finished in this attempt.
    pub done_ms: u64,
    /// Frames or audio frames finished in this attempt.
    pub frames: u64,
}

/// A piece of the index.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "a report is moved a few times and never kept in bulk")]
pub enum IndexReport {
    /// First, once.
    Source(SourceInfo),
    /// Then GOPs in order of decoding.
    Gops(Vec<Gop>),
    /// And runs of audio packets, by stream index, in order.
    Audio {
        /// Index of the source stream.
        stream: u32,
        /// In order.
        runs: Vec<AudioRun>,
    },
}

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
    /// What it cost, to be added to.
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

    /// What it cost.
    pub fn spent(&self) -> Spent {
        match self {
            Self::Index(receipt) => receipt.spent,
            Self::Video(receipt) => receipt.spent,
            Self::Audio(receipt) => receipt.spent,
            Self::Storyboard(receipt) => receipt.spent,
        }
    }
}

/// The end of the index.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IndexReceipt {
    /// The final judgement.
    pub verdict: Verdict,
    /// All findings, those of [`SourceInfo`] included.
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
