//! Receipts → tracks. Pure: stitching checks and lists, it moves no bytes.
//!
//! A receipt is checked alone when it arrives ([`check_video`], [`check_audio`]) and a chunk is checked against its
//! neighbour when it is joined ([`append_chunk`]). What passes is a track: segments on the grid in order, without a gap
//! but where the source is damaged, and one decoder config that does for all of them.

mod check;

use shared::cmaf::DecoderConfig;
use shared::rendition::{AudioCodec, AudioRendition, VideoCodec, VideoRendition};
use shared::source::{Color, VideoStream};
use shared::task::{AudioReceipt, AudioTask, SegmentInfo, StoredObject, TrackPart, VideoReceipt, VideoTask};
use shared::time::{FrameRate, MediaTime, SegmentGrid, Timescale};

pub use check::{check_audio, check_video};

/// The segments of one video rendition, as far as they are made.
#[derive(Debug, Clone, PartialEq)]
pub struct VideoTrack {
    /// What it is.
    pub rendition: VideoRendition,
    /// Ticks per second.
    pub timescale: Timescale,
    /// What a player needs first, for any of the segments.
    pub config: DecoderConfig,
    /// What did until encoders of one more family came: for all segments before the one at this position. In order.
    pub outgrown: Vec<(usize, DecoderConfig)>,
    /// Average of the source.
    pub frame_rate: FrameRate,
    /// Colour description of what is encoded.
    pub color: Color,
    /// In order.
    pub segments: Vec<SegmentInfo>,
    /// Encoder and version of the first chunk.
    pub encoder: String,
}

/// The segments of one audio rendition.
#[derive(Debug, Clone, PartialEq)]
pub struct AudioTrack {
    /// What it is. Its sample rate is the track's timescale.
    pub rendition: AudioRendition,
    /// What a player needs first.
    pub config: DecoderConfig,
    /// In order. The first one's decode time is 0, or late by as much as the signal is behind its priming.
    pub segments: Vec<SegmentInfo>,
    /// Presentation time at which the signal starts.
    pub start: MediaTime,
    /// Samples that the encoder adds before the signal.
    pub priming: u64,
    /// Samples of the signal.
    pub samples: u64,
    /// Encoder and version.
    pub encoder: String,
}

/// Storyboard sheets and what is on them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storyboard {
    /// In order of time, below the target prefix.
    pub sheets: Vec<StoredObject>,
    /// Size of each tile.
    pub tile_width_px: u32,
    /// Size of each tile.
    pub tile_height_px: u32,
    /// Tiles in a row.
    pub columns: u32,
    /// Rows in a full sheet.
    pub rows: u32,
    /// Tile `n` is the first frame at or after `n` times this.
    pub tile_interval_ms: u32,
    /// Numbers of the tiles that exist, in sheet order. A long still leaves numbers out.
    pub tiles: Vec<u64>,
    /// Where the last tile ends.
    pub duration_ms: u64,
}

/// What is published: as much as is known, or everything.
#[derive(Debug, Clone, PartialEq)]
pub struct Presentation {
    /// Where segments are cut.
    pub grid: SegmentGrid,
    /// One per rendition of the ladder, largest first, made or not ([`VideoTrack::pending`]). Empty iff the job makes no
    /// video.
    pub video: Vec<VideoTrack>,
    /// One per audio rendition of the job, made or not ([`AudioTrack::pending`]).
    pub audio: Vec<AudioTrack>,
    /// A still for people.
    pub poster: Option<StoredObject>,
    /// For scrubbing.
    pub storyboard: Option<Storyboard>,
    /// Every segment is here.
    pub complete: bool,
}

/// Why a receipt does not count or does not join.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Frames went missing or came twice without a decoder complaint. If a second attempt says exactly the same, the
    /// packet lists promised what is not there, and the coordinator takes it.
    #[error("{found} frames were made, the packet lists promise {expected}")]
    Frames {
        /// Frames of the packet lists.
        expected: u64,
        /// Frames made.
        found: u64,
    },
    /// A number about the whole receipt is wrong.
    #[error("{what} is {found}, expected {expected}")]
    Receipt {
        /// Which number.
        what: &'static str,
        /// What it should be.
        expected: String,
        /// What the receipt says.
        found: String,
    },
    /// A number about a rendition is wrong.
    #[error("{rendition}: {what} is {found}, expected {expected}")]
    Track {
        /// Name of the rendition asked for.
        rendition: String,
        /// Which number.
        what: &'static str,
        /// What it should be.
        expected: String,
        /// What the receipt says.
        found: String,
    },
    /// A number about a segment is wrong.
    #[error("{rendition}, segment {number} at {start}: {what} is {found}, expected {expected}")]
    Segment {
        /// Name of the rendition.
        rendition: String,
        /// Number the receipt gives the segment.
        number: u64,
        /// Presentation time of its first sample, in ticks of the track.
        start: i64,
        /// Which number.
        what: &'static str,
        /// What it should be.
        expected: String,
        /// What the receipt says.
        found: String,
    },
    /// Two chunks don't join.
    #[error("{rendition}: the chunk at {at} does not join: {what} is {found}, expected {expected}")]
    Seam {
        /// Name of the rendition.
        rendition: String,
        /// Start of the later chunk, in ticks of the track.
        at: i64,
        /// Which property.
        what: &'static str,
        /// What the track so far asks for.
        expected: String,
        /// What the chunk has.
        found: String,
    },
}

impl VideoTrack {
    /// A track of which nothing is made yet: it holds back the multivariant playlist. Its decoder config is empty.
    pub fn pending(rendition: &VideoRendition, stream: &VideoStream, color: Color) -> Self {
        let config = match rendition.codec {
            VideoCodec::H264 => DecoderConfig::Avc(Vec::new()),
            VideoCodec::Hevc => DecoderConfig::Hevc(Vec::new()),
            VideoCodec::Av1 => DecoderConfig::Av1(Vec::new()),
        };
        Self {
            rendition: rendition.clone(),
            timescale: stream.timescale,
            config,
            outgrown: Vec::new(),
            frame_rate: stream.frame_rate,
            color,
            segments: Vec::new(),
            encoder: String::new(),
        }
    }

    /// Adds a chunk's segments; `config` does for them and for all before.
    fn append(&mut self, segments: &[SegmentInfo], config: DecoderConfig) {
        let (end, grown_until) = (self.segments.len(), self.outgrown.last().map_or(0, |(until, _)| *until));
        let before = std::mem::replace(&mut self.config, config);
        if before != self.config && end > grown_until {
            self.outgrown.push((end, before));
        }
        self.segments.extend_from_slice(segments);
    }

    /// Presentation time and duration of each segment, in ticks. A segment lasts until the next one starts: where the
    /// source is damaged its last picture is held.
    pub fn timeline(&self) -> impl Iterator<Item = (i64, u64)> {
        let nexts = self.segments.iter().skip(1).map(|next| Some(next.start)).chain([None]);
        self.segments.iter().zip(nexts).map(|(segment, next)| {
            let held = next.and_then(|next| u64::try_from(next - segment.start).ok());
            (segment.start, held.unwrap_or(segment.duration))
        })
    }
}

impl AudioTrack {
    /// A track that is not made yet: it holds back the multivariant playlist. Its decoder config is empty.
    pub fn pending(rendition: &AudioRendition) -> Self {
        let config = match rendition.codec {
            AudioCodec::Aac => DecoderConfig::Aac(Vec::new()),
            AudioCodec::Opus => DecoderConfig::Opus(Vec::new()),
        };
        Self {
            rendition: rendition.clone(),
            config,
            segments: Vec::new(),
            start: MediaTime::new(0, Timescale::MILLIS),
            priming: 0,
            samples: 0,
            encoder: String::new(),
        }
    }

    /// Ticks per second: the sample rate.
    pub fn timescale(&self) -> Timescale {
        Timescale::new(self.rendition.sample_rate_hz).unwrap_or(Timescale::MILLIS)
    }

    /// Samples between the presentation's start and the signal's.
    pub fn lead(&self) -> u64 {
        self.timescale().rescale_nearest(self.start.ticks.max(0), self.start.timescale) as u64
    }

    /// Samples by which decode times run ahead of presentation times: priming that the presentation has no room for.
    pub fn shift(&self) -> u64 {
        self.priming.saturating_sub(self.lead())
    }

    /// Presentation time and duration of each segment, in ticks. Priming in front of the presentation's start does not
    /// count.
    pub fn timeline(&self) -> impl Iterator<Item = (i64, u64)> {
        let shift = i64::try_from(self.shift()).unwrap_or(i64::MAX);
        self.segments.iter().map(move |segment| {
            let start = segment.start.saturating_sub(shift).max(0);
            let end = segment.start.saturating_add_unsigned(segment.duration).saturating_sub(shift).max(0);
            (start, end.abs_diff(start))
        })
    }
}

/// Tracks of a run of chunks that starts with a job's first one and has no gap. Every receipt should have passed
/// [`check_video`].
pub fn stitch_video(chunks: &[(&VideoTask, &VideoReceipt)]) -> Result<Vec<VideoTrack>, Refusal> {
    let mut tracks = Vec::new();
    let mut damaged = false;
    for (task, receipt) in chunks {
        append_chunk(&mut tracks, task, receipt, damaged)?;
        damaged = receipt.decode_errors > 0;
    }
    Ok(tracks)
}

/// Joins the next chunk to the tracks so far: the step of [`stitch_video`], for a coordinator that keeps the tracks.
///
/// `tracks` is empty before the first chunk and unchanged after a refusal. `damaged` says that the decoder complained
/// in the chunk before: then, or if it did in this one, the chunk may start later than the track ends.
pub fn append_chunk(
    tracks: &mut Vec<VideoTrack>,
    task: &VideoTask,
    receipt: &VideoReceipt,
    damaged: bool,
) -> Result<(), Refusal> {
    let damaged = damaged || receipt.decode_errors > 0;
    if tracks.is_empty() {
        tracks.extend(task.renditions.iter().zip(&receipt.parts).map(|(rendition, part)| first(task, rendition, part)));
        return Ok(());
    }
    if tracks.len() != receipt.parts.len() {
        let (expected, found) = (tracks.len().to_string(), receipt.parts.len().to_string());
        return Err(Refusal::Receipt { what: "number of renditions", expected, found });
    }
    let seams = tracks.iter().zip(&receipt.parts).map(|(track, part)| check_seam(track, part, task.start, damaged));
    let configs = seams.collect::<Result<Vec<_>, _>>()?;
    for ((track, part), config) in tracks.iter_mut().zip(&receipt.parts).zip(configs) {
        track.append(&part.segments, config);
    }
    Ok(())
}

fn first(task: &VideoTask, rendition: &VideoRendition, part: &TrackPart) -> VideoTrack {
    VideoTrack {
        rendition: rendition.clone(),
        timescale: part.timescale,
        config: part.config.clone(),
        outgrown: Vec::new(),
        frame_rate: task.stream.frame_rate,
        color: task.color,
        segments: part.segments.clone(),
        encoder: part.encoder.clone(),
    }
}

/// One rendition, one timescale, numbers rise, the track ends where the chunk starts, and there is one decoder config for
/// both, which is returned.
fn check_seam(track: &VideoTrack, part: &TrackPart, at: i64, damaged: bool) -> Result<DecoderConfig, Refusal> {
    let refuse = |what, expected: String, found: String| {
        let rendition = track.rendition.name.clone();
        Err(Refusal::Seam { rendition, at, what, expected, found })
    };
    if part.rendition != track.rendition.name {
        return refuse("rendition", track.rendition.name.clone(), part.rendition.clone());
    }
    if part.timescale != track.timescale {
        return refuse("timescale", track.timescale.to_string(), part.timescale.to_string());
    }
    let config = match track.config.union(&part.config) {
        Ok(config) => config,
        Err(error) => {
            return refuse("decoder config", track.config.digest(), format!("{} ({error})", part.config.digest()));
        }
    };
    let (Some(last), Some(next)) = (track.segments.last(), part.segments.first()) else {
        return Ok(config);
    };
    if next.number <= last.number {
        return refuse("first segment", format!("after {}", last.number), next.number.to_string());
    }
    let end = i128::from(last.start) + i128::from(last.duration);
    let start = i128::from(next.start);
    if start != end && !(damaged && start > end) {
        return refuse("first presentation time", end.to_string(), start.to_string());
    }
    Ok(config)
}

/// The track an audio receipt makes. The receipt should have passed [`check_audio`].
pub fn stitch_audio(task: &AudioTask, receipt: &AudioReceipt) -> AudioTrack {
    AudioTrack {
        rendition: task.rendition.clone(),
        config: receipt.part.config.clone(),
        segments: receipt.part.segments.clone(),
        start: receipt.start,
        priming: receipt.priming,
        samples: receipt.samples,
        encoder: receipt.part.encoder.clone(),
    }
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
