//! `task.proto`: what a worker claims.

use proto::v1;

use super::task::attempt;
use super::{
    Wire, WireEnum, WireError, all_from_wire, all_to_wire, object_key, optional, plain_name, required, timescale,
    wire_enum,
};
use crate::error::{ErrorKind, TaskError};
use crate::family::Family;
use crate::source::Verdict;
use crate::task::{
    AudioReceipt, IndexReceipt, IndexReport, Making, Outcome, Progress, Receipt, SegmentInfo, Spent, Stages,
    StoredObject, StoryboardReceipt, TaskId, TaskName, TaskReport, TrackPart, VideoReceipt, WorkerId,
};
use crate::time::MediaTime;

wire_enum!(ErrorKind: Input, Unsupported, Transient, Exhausted, Cancelled, Bug);

impl Wire for TaskReport {
    type Message = v1::TaskReport;

    fn to_wire(&self) -> v1::TaskReport {
        v1::TaskReport {
            task: Some(self.task.to_wire()),
            attempt: self.attempt.0,
            worker: self.worker.as_str().to_owned(),
            outcome: Some(self.outcome.to_wire()),
        }
    }

    fn from_wire(message: v1::TaskReport) -> Result<Self, WireError> {
        let task: TaskId = required("task", message.task)?;
        let outcome: Outcome = required("outcome", message.outcome)?;
        let named = match (&outcome, task.name) {
            (Outcome::Done(receipt), name) => matches!(
                (name, receipt),
                (TaskName::Index, Receipt::Index(_))
                    | (TaskName::Video(_), Receipt::Video(_))
                    | (TaskName::Audio(_), Receipt::Audio(_))
                    | (TaskName::Storyboard, Receipt::Storyboard(_))
            ),
            (Outcome::Index(_), name) => name == TaskName::Index,
            (Outcome::Started | Outcome::Progress(_) | Outcome::Failed(_), _) => true,
        };
        if !named {
            return Err(WireError::at("outcome", format_args!("not what {} makes", task.name)));
        }
        let worker = WorkerId::try_from(message.worker).map_err(|error| WireError::at("worker", error))?;
        Ok(Self { task, attempt: attempt(message.attempt)?, worker, outcome })
    }
}

impl Wire for Outcome {
    type Message = v1::task_report::Outcome;

    fn to_wire(&self) -> v1::task_report::Outcome {
        use v1::task_report::Outcome as Out;
        match self {
            Self::Started => Out::Started(v1::Started {}),
            Self::Progress(progress) => Out::Progress(progress.to_wire()),
            Self::Index(piece) => Out::Index(piece.to_wire()),
            Self::Done(receipt) => Out::Done(receipt.to_wire()),
            Self::Failed(error) => Out::Failed(error.to_wire()),
        }
    }

    fn from_wire(message: v1::task_report::Outcome) -> Result<Self, WireError> {
        use v1::task_report::Outcome as Out;
        Ok(match message {
            Out::Started(v1::Started {}) => Self::Started,
            Out::Progress(progress) => Self::Progress(Wire::from_wire(progress)?),
            Out::Index(piece) => Self::Index(Wire::from_wire(piece)?),
            Out::Done(receipt) => Self::Done(Wire::from_wire(receipt)?),
            Out::Failed(error) => Self::Failed(Wire::from_wire(error)?),
        })
    }
}

impl Wire for Progress {
    type Message = v1::Progress;

    fn to_wire(&self) -> v1::Progress {
        v1::Progress { done_ms: self.done_ms, frames: self.frames }
    }

    fn from_wire(message: v1::Progress) -> Result<Self, WireError> {
        Ok(Self { done_ms: message.done_ms, frames: message.frames })
    }
}

impl Wire for TaskError {
    type Message = v1::TaskError;

    fn to_wire(&self) -> v1::TaskError {
        v1::TaskError { kind: self.kind.code(), code: self.code.clone(), message: self.message.clone() }
    }

    fn from_wire(message: v1::TaskError) -> Result<Self, WireError> {
        let kind = ErrorKind::from_code("kind", message.kind)?;
        Ok(Self { kind, code: message.code, message: message.message })
    }
}

impl Wire for IndexReport {
    type Message = v1::IndexReport;

    fn to_wire(&self) -> v1::IndexReport {
        use v1::index_report::Piece;
        let piece = match self {
            Self::Source(source) => Piece::Source(source.to_wire()),
            Self::Gops(gops) => Piece::Gops(v1::Gops { gops: all_to_wire(gops) }),
            Self::Audio { stream, runs } => Piece::Audio(v1::AudioRuns { stream: *stream, runs: all_to_wire(runs) }),
        };
        v1::IndexReport { piece: Some(piece) }
    }

    fn from_wire(message: v1::IndexReport) -> Result<Self, WireError> {
        use v1::index_report::Piece;
        Ok(match message.piece.ok_or_else(|| WireError::at("piece", "missing"))? {
            Piece::Source(source) => Self::Source(Wire::from_wire(source)?),
            Piece::Gops(v1::Gops { gops }) => Self::Gops(all_from_wire("gops", gops)?),
            Piece::Audio(v1::AudioRuns { stream, runs }) => Self::Audio { stream, runs: all_from_wire("runs", runs)? },
        })
    }
}

impl Wire for Receipt {
    type Message = v1::Receipt;

    fn to_wire(&self) -> v1::Receipt {
        use v1::receipt::Made;
        let made = match self {
            Self::Index(receipt) => Made::Index(receipt.to_wire()),
            Self::Video(receipt) => Made::Video(receipt.to_wire()),
            Self::Audio(receipt) => Made::Audio(receipt.to_wire()),
            Self::Storyboard(receipt) => Made::Storyboard(receipt.to_wire()),
        };
        v1::Receipt { made: Some(made) }
    }

    fn from_wire(message: v1::Receipt) -> Result<Self, WireError> {
        use v1::receipt::Made;
        Ok(match message.made.ok_or_else(|| WireError::at("made", "missing"))? {
            Made::Index(receipt) => Self::Index(Wire::from_wire(receipt)?),
            Made::Video(receipt) => Self::Video(Wire::from_wire(receipt)?),
            Made::Audio(receipt) => Self::Audio(Wire::from_wire(receipt)?),
            Made::Storyboard(receipt) => Self::Storyboard(Wire::from_wire(receipt)?),
        })
    }
}

impl Wire for Spent {
    type Message = v1::Spent;

    fn to_wire(&self) -> v1::Spent {
        let stages = (self.stages != Stages::default()).then(|| self.stages.to_wire());
        v1::Spent { wall_ms: self.wall_ms, cpu_ms: self.cpu_ms, stages }
    }

    fn from_wire(message: v1::Spent) -> Result<Self, WireError> {
        let stages = message.stages.map(Stages::from_wire).transpose()?.unwrap_or_default();
        Ok(Self { wall_ms: message.wall_ms, cpu_ms: message.cpu_ms, stages })
    }
}

impl Wire for Stages {
    type Message = v1::Stages;

    fn to_wire(&self) -> v1::Stages {
        let Self { fetch_ms, decode_ms, scale_ms, encode_ms, upload_ms } = *self;
        v1::Stages { fetch_ms, decode_ms, scale_ms, encode_ms, upload_ms }
    }

    fn from_wire(message: v1::Stages) -> Result<Self, WireError> {
        let v1::Stages { fetch_ms, decode_ms, scale_ms, encode_ms, upload_ms } = message;
        Ok(Self { fetch_ms, decode_ms, scale_ms, encode_ms, upload_ms })
    }
}

impl Wire for IndexReceipt {
    type Message = v1::IndexReceipt;

    fn to_wire(&self) -> v1::IndexReceipt {
        v1::IndexReceipt {
            verdict: self.verdict.code(),
            findings: all_to_wire(&self.findings),
            bytes: self.bytes,
            spent: Some(self.spent.to_wire()),
        }
    }

    fn from_wire(message: v1::IndexReceipt) -> Result<Self, WireError> {
        Ok(Self {
            verdict: Verdict::from_code("verdict", message.verdict)?,
            findings: all_from_wire("findings", message.findings)?,
            bytes: message.bytes,
            spent: required("spent", message.spent)?,
        })
    }
}

impl Wire for StoredObject {
    type Message = v1::StoredObject;

    fn to_wire(&self) -> v1::StoredObject {
        v1::StoredObject { key: self.key.clone(), size: self.size, sha256: self.sha256.clone() }
    }

    fn from_wire(message: v1::StoredObject) -> Result<Self, WireError> {
        let v1::StoredObject { key, size, sha256 } = message;
        if sha256.len() != 32 {
            return Err(WireError::at("sha256", format_args!("{} bytes are not 32", sha256.len())));
        }
        Ok(Self { key: object_key("key", key)?, size, sha256 })
    }
}

impl Wire for SegmentInfo {
    type Message = v1::Segment;

    fn to_wire(&self) -> v1::Segment {
        v1::Segment {
            number: self.number,
            start: self.start,
            duration: self.duration,
            samples: self.samples,
            first_sample_end: self.first_sample_end,
            object: Some(self.object.to_wire()),
        }
    }

    fn from_wire(message: v1::Segment) -> Result<Self, WireError> {
        let v1::Segment { number, start, duration, samples, first_sample_end, object } = message;
        Ok(Self { number, start, duration, samples, first_sample_end, object: required("object", object)? })
    }
}

/// Workers that knew of one family only did not name it.
fn family(name: &str) -> Result<Family, WireError> {
    if name.is_empty() {
        return Ok(Family::Software);
    }
    name.parse().map_err(|error| WireError::at("family", error))
}

impl Wire for TrackPart {
    type Message = v1::TrackPart;

    fn to_wire(&self) -> v1::TrackPart {
        v1::TrackPart {
            rendition: self.rendition.clone(),
            timescale: self.timescale.get(),
            config: Some(self.config.to_wire()),
            segments: all_to_wire(&self.segments),
            encoder: self.encoder.clone(),
            family: if self.family.is_software() { String::new() } else { self.family.to_string() },
            making: (!self.making.is_unknown()).then(|| self.making.to_wire()),
        }
    }

    fn from_wire(message: v1::TrackPart) -> Result<Self, WireError> {
        Ok(Self {
            rendition: plain_name("rendition", message.rendition)?,
            timescale: timescale("timescale", message.timescale)?,
            config: required("config", message.config)?,
            segments: all_from_wire("segments", message.segments)?,
            encoder: message.encoder,
            family: family(&message.family)?,
            making: optional("making", message.making)?.unwrap_or_default(),
        })
    }
}

impl Wire for Making {
    type Message = v1::Making;

    fn to_wire(&self) -> v1::Making {
        let Self { encode_ms, width_px, height_px, psnr_mdb } = *self;
        v1::Making { encode_ms, width_px, height_px, psnr_mdb }
    }

    fn from_wire(message: v1::Making) -> Result<Self, WireError> {
        let v1::Making { encode_ms, width_px, height_px, psnr_mdb } = message;
        Ok(Self { encode_ms, width_px, height_px, psnr_mdb })
    }
}

/// A storyboard tile.
impl Wire for (u64, StoredObject) {
    type Message = v1::Tile;

    fn to_wire(&self) -> v1::Tile {
        v1::Tile { number: self.0, object: Some(self.1.to_wire()) }
    }

    fn from_wire(message: v1::Tile) -> Result<Self, WireError> {
        Ok((message.number, required("object", message.object)?))
    }
}

impl Wire for VideoReceipt {
    type Message = v1::VideoReceipt;

    fn to_wire(&self) -> v1::VideoReceipt {
        v1::VideoReceipt {
            parts: all_to_wire(&self.parts),
            frames_expected: self.frames_expected,
            frames: self.frames,
            first_pts: self.first_pts,
            last_pts: self.last_pts,
            decode_errors: self.decode_errors,
            tiles: all_to_wire(&self.tiles),
            poster: self.poster.as_ref().map(Wire::to_wire),
            spent: Some(self.spent.to_wire()),
            hardware: (!self.hardware.is_plain()).then(|| self.hardware.to_wire()),
        }
    }

    fn from_wire(message: v1::VideoReceipt) -> Result<Self, WireError> {
        Ok(Self {
            parts: all_from_wire("parts", message.parts)?,
            frames_expected: message.frames_expected,
            frames: message.frames,
            first_pts: message.first_pts,
            last_pts: message.last_pts,
            decode_errors: message.decode_errors,
            tiles: all_from_wire("tiles", message.tiles)?,
            poster: optional("poster", message.poster)?,
            spent: required("spent", message.spent)?,
            hardware: optional("hardware", message.hardware)?.unwrap_or_default(),
        })
    }
}

impl Wire for AudioReceipt {
    type Message = v1::AudioReceipt;

    fn to_wire(&self) -> v1::AudioReceipt {
        v1::AudioReceipt {
            part: Some(self.part.to_wire()),
            samples: self.samples,
            start: self.start.ticks,
            timescale: self.start.timescale.get(),
            priming: self.priming,
            filled: self.filled,
            dropped: self.dropped,
            decode_errors: self.decode_errors,
            spent: Some(self.spent.to_wire()),
        }
    }

    fn from_wire(message: v1::AudioReceipt) -> Result<Self, WireError> {
        Ok(Self {
            part: required("part", message.part)?,
            samples: message.samples,
            start: MediaTime::new(message.start, timescale("timescale", message.timescale)?),
            priming: message.priming,
            filled: message.filled,
            dropped: message.dropped,
            decode_errors: message.decode_errors,
            spent: required("spent", message.spent)?,
        })
    }
}

impl Wire for StoryboardReceipt {
    type Message = v1::StoryboardReceipt;

    fn to_wire(&self) -> v1::StoryboardReceipt {
        v1::StoryboardReceipt { sheets: all_to_wire(&self.sheets), spent: Some(self.spent.to_wire()) }
    }

    fn from_wire(message: v1::StoryboardReceipt) -> Result<Self, WireError> {
        Ok(Self { sheets: all_from_wire("sheets", message.sheets)?, spent: required("spent", message.spent)? })
    }
}
