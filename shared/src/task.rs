//! What the coordinator asks of a worker and what the worker claims to have done.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::TaskError;
use crate::family::Family;
use crate::index::{AudioRun, Gop, ListRef};
use crate::rendition::{AudioRendition, VideoRendition};
use crate::source::{AudioStream, Color, SourceInfo, VideoStream};
use crate::time::SegmentGrid;
use crate::trace::TraceContext;

mod receipt;

pub use receipt::*;

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
