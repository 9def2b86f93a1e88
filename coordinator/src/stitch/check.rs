//! One receipt against its task.

use std::fmt::Display;

use shared::cmaf::DecoderConfig;
use shared::rendition::{AudioCodec, VideoCodec};
use shared::task::{AudioReceipt, AudioTask, SegmentInfo, StoredObject, TrackPart, VideoReceipt, VideoTask};
use shared::time::{MediaTime, SegmentGrid, Timescale};

use super::Refusal;

/// Refuses a chunk's receipt that is not what its task asked for.
///
/// A receipt that passes has one part per rendition in the task's order; all parts have the same segments, which lie in
/// the chunk, on the grid, touch each other, hold all frames and are stored under keys with their own hash. The frame
/// count is looked at last: [`Refusal::Frames`] means that everything else is right.
pub fn check_video(task: &VideoTask, receipt: &VideoReceipt) -> Result<(), Refusal> {
    expect_receipt("number of renditions", task.renditions.len(), receipt.parts.len())?;
    let numbering = Numbering { grid: task.grid, segment_count: task.segment_count };
    for (rendition, part) in task.renditions.iter().zip(&receipt.parts) {
        let about = Part { rendition: &rendition.name, part };
        about.expect("rendition", &rendition.name, &part.rendition)?;
        about.expect("timescale", task.stream.timescale, part.timescale)?;
        let config = match rendition.codec {
            VideoCodec::H264 => "avcC",
            VideoCodec::Hevc => "hvcC",
            VideoCodec::Av1 => "av1C",
        };
        about.expect("decoder config", config, config_box(&part.config))?;
        about.check_segments(numbering)?;
        about.check_range(task)?;
        about.check_cuts(&receipt.parts[0].segments)?;
        let samples: u64 = part.segments.iter().map(|segment| u64::from(segment.samples)).sum();
        about.expect("sum of frames", receipt.frames, samples)?;
    }
    check_ends(receipt)?;
    if receipt.frames != receipt.frames_expected && receipt.decode_errors == 0 {
        return Err(Refusal::Frames { expected: receipt.frames_expected, found: receipt.frames });
    }
    Ok(())
}

/// Refuses an audio track's receipt that is not what its task asked for.
///
/// A receipt that passes has segments that start where priming has to start, touch each other, lie on the grid and hold
/// priming, signal and less than a second of remainder.
pub fn check_audio(task: &AudioTask, receipt: &AudioReceipt) -> Result<(), Refusal> {
    let part = &receipt.part;
    let about = Part { rendition: &task.rendition.name, part };
    about.expect("rendition", &task.rendition.name, &part.rendition)?;
    about.expect("timescale", task.rendition.sample_rate_hz, part.timescale.get())?;
    let config = match task.rendition.codec {
        AudioCodec::Aac => "esds",
        AudioCodec::Opus => "dOps",
    };
    about.expect("decoder config", config, config_box(&part.config))?;
    about.check_segments(Numbering { grid: task.grid, segment_count: Some(task.segment_count) })?;
    let total: u128 = part.segments.iter().map(|segment| u128::from(segment.duration)).sum();
    let needed = u128::from(receipt.priming) + u128::from(receipt.samples);
    if !(needed..needed + u128::from(part.timescale.get())).contains(&total) {
        return Err(about.wrong("number of samples", format!("{needed} and a remainder"), total));
    }
    let start = part.timescale.rescale_nearest(receipt.start.ticks, receipt.start.timescale);
    if start < 0 {
        return Err(about.wrong("start of the signal", "0 or more", start));
    }
    let priming = i64::try_from(receipt.priming).unwrap_or(i64::MAX);
    if let Some(first) = part.segments.first() {
        about.expect("first decode time", start.saturating_sub(priming).max(0), first.start)?;
    }
    Ok(())
}

/// The box that a configuration goes into.
fn config_box(config: &DecoderConfig) -> &'static str {
    match config {
        DecoderConfig::Avc(_) => "avcC",
        DecoderConfig::Hevc(_) => "hvcC",
        DecoderConfig::Av1(_) => "av1C",
        DecoderConfig::Aac(_) => "esds",
        DecoderConfig::Opus(_) => "dOps",
    }
}

/// First and last presentation time agree with the segments, which are those of the first part like those of any other.
fn check_ends(receipt: &VideoReceipt) -> Result<(), Refusal> {
    let segments = receipt.parts.first().map_or(&[][..], |part| &part.segments);
    let (Some(first), Some(last)) = (segments.first(), segments.last()) else {
        expect_receipt("first presentation time", "none", option(receipt.first_pts).as_str())?;
        return expect_receipt("last presentation time", "none", option(receipt.last_pts).as_str());
    };
    expect_receipt("first presentation time", first.start.to_string(), option(receipt.first_pts))?;
    let inside = |pts: i64| pts >= last.start && pts.abs_diff(last.start) < last.duration;
    if receipt.last_pts.is_some_and(inside) {
        return Ok(());
    }
    let expected = format!("in {} and the {} ticks after it", last.start, last.duration);
    Err(Refusal::Receipt { what: "last presentation time", expected, found: option(receipt.last_pts) })
}

fn option(pts: Option<i64>) -> String {
    pts.map_or_else(|| "none".to_owned(), |pts| pts.to_string())
}

fn expect_receipt<T: PartialEq + Display>(what: &'static str, expected: T, found: T) -> Result<(), Refusal> {
    if expected == found {
        return Ok(());
    }
    Err(Refusal::Receipt { what, expected: expected.to_string(), found: found.to_string() })
}

/// How segments are numbered.
#[derive(Clone, Copy)]
struct Numbering {
    grid: SegmentGrid,
    segment_count: Option<u64>,
}

impl Numbering {
    fn number(self, start: i64, timescale: Timescale) -> u64 {
        let number = self.grid.segment_of(MediaTime::new(start, timescale));
        self.segment_count.map_or(number, |count| number.min(count.saturating_sub(1)))
    }
}

/// A part and the name it should have.
struct Part<'a> {
    rendition: &'a str,
    part: &'a TrackPart,
}

impl Part<'_> {
    fn wrong(&self, what: &'static str, expected: impl Display, found: impl Display) -> Refusal {
        let rendition = self.rendition.to_owned();
        Refusal::Track { rendition, what, expected: expected.to_string(), found: found.to_string() }
    }

    fn expect<T: PartialEq + Display>(&self, what: &'static str, expected: T, found: T) -> Result<(), Refusal> {
        if expected == found { Ok(()) } else { Err(self.wrong(what, expected, found)) }
    }

    fn wrong_segment(
        &self,
        segment: &SegmentInfo,
        what: &'static str,
        expected: impl Display,
        found: impl Display,
    ) -> Refusal {
        Refusal::Segment {
            rendition: self.rendition.to_owned(),
            number: segment.number,
            start: segment.start,
            what,
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }

    /// Each segment lies on the grid, starts where the one before it ends, holds something and is stored as it should.
    fn check_segments(&self, numbering: Numbering) -> Result<(), Refusal> {
        let mut before: Option<&SegmentInfo> = None;
        for segment in &self.part.segments {
            let wrong = |what, expected: &dyn Display, found: &dyn Display| {
                Err(self.wrong_segment(segment, what, expected, found))
            };
            let number = numbering.number(segment.start, self.part.timescale);
            if segment.number != number {
                return wrong("number", &number, &segment.number);
            }
            if let Some(before) = before {
                if segment.number <= before.number {
                    return wrong("number", &format!("more than {}", before.number), &segment.number);
                }
                let end = i128::from(before.start) + i128::from(before.duration);
                if i128::from(segment.start) != end {
                    return wrong("start", &end, &segment.start);
                }
            }
            if segment.samples == 0 || segment.duration < u64::from(segment.samples) {
                let expected = format!("at least {} for {} samples", segment.samples.max(1), segment.samples);
                return wrong("duration", &expected, &segment.duration);
            }
            if segment.start.checked_add_unsigned(segment.duration).is_none() {
                return wrong("duration", &"less", &segment.duration);
            }
            self.check_object(segment)?;
            before = Some(segment);
        }
        Ok(())
    }

    /// Stored under `<rendition>/<number:06>.<hash16>.m4s`, with a first sample inside.
    fn check_object(&self, segment: &SegmentInfo) -> Result<(), Refusal> {
        let StoredObject { key, size, sha256 } = &segment.object;
        if sha256.len() != 32 {
            return Err(self.wrong_segment(segment, "length of the hash", 32, sha256.len()));
        }
        let expected = format!("{}/{:06}.{}.m4s", self.rendition, segment.number, shared::hex::encode(&sha256[..8]));
        if *key != expected {
            return Err(self.wrong_segment(segment, "key", expected, key));
        }
        if !(1..=*size).contains(&segment.first_sample_end) {
            let expected = format!("1 to {size}");
            return Err(self.wrong_segment(segment, "end of the first sample", expected, segment.first_sample_end));
        }
        Ok(())
    }

    /// Each segment starts in the chunk.
    fn check_range(&self, task: &VideoTask) -> Result<(), Refusal> {
        for segment in &self.part.segments {
            let ended = task.end.is_some_and(|end| segment.start >= end);
            if segment.start < task.start || ended {
                let expected = format!("in {} to {}", task.start, option(task.end));
                return Err(self.wrong_segment(segment, "start", expected, segment.start));
            }
        }
        Ok(())
    }

    /// The same cuts and frames as the first part.
    fn check_cuts(&self, segments: &[SegmentInfo]) -> Result<(), Refusal> {
        self.expect("number of segments", segments.len(), self.part.segments.len())?;
        for (segment, first) in self.part.segments.iter().zip(segments) {
            let wrong =
                |what, expected: &dyn Display, found: &dyn Display| self.wrong_segment(segment, what, expected, found);
            if segment.start != first.start {
                return Err(wrong("start", &first.start, &segment.start));
            }
            if segment.duration != first.duration {
                return Err(wrong("duration", &first.duration, &segment.duration));
            }
            if segment.samples != first.samples {
                return Err(wrong("number of frames", &first.samples, &segment.samples));
            }
        }
        Ok(())
    }
}
