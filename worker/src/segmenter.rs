//! Packets of one rendition to finished CMAF segments.
//!
//! Every segment is closed and starts with an IDR, so its decode times follow from its presentation times alone (see
//! [`decode_times`]): `tfdt` is the first frame's presentation time, durations are the differences. No segment needs to
//! know anything of its neighbours but when the next one starts.

use shared::cmaf::{MediaSegment, Sample, decode_times};
use shared::error::TaskError;
use shared::storage::segment_object;
use shared::task::SegmentInfo;
use shared::time::{MediaTime, SegmentGrid, Timescale};

use crate::codec::Packet;

/// A finished segment.
#[derive(Debug)]
pub struct Segment {
    /// What the receipt says of it.
    pub info: SegmentInfo,
    /// The object.
    pub bytes: Vec<u8>,
}

/// Cuts one rendition of one chunk.
pub struct Segmenter {
    rendition: String,
    timescale: Timescale,
    cutter: Cutter,
    delay: u32,
    open: Vec<Packet>,
}

/// Which segment and which GOP a frame belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Cutter {
    /// Where to cut.
    pub grid: SegmentGrid,
    /// Ticks per second of the times asked about.
    pub timescale: Timescale,
    /// Segments of the presentation; what follows the last belongs to it.
    pub segment_count: Option<u64>,
}

impl Cutter {
    /// Segment number.
    pub fn segment_of(&self, pts: i64) -> u64 {
        let number = self.grid.segment_of(MediaTime::new(pts, self.timescale));
        self.segment_count.map_or(number, |count| number.min(count.saturating_sub(1)))
    }

    /// GOP number: a new one starts a new IDR.
    pub fn gop_of(&self, pts: i64) -> u64 {
        self.grid.gop_of(MediaTime::new(pts, self.timescale))
    }
}

impl Segmenter {
    /// Cuts the rendition of this name. `delay` is that of its init segment: media time − presentation time in ticks.
    pub fn new(rendition: &str, cutter: Cutter, delay: u32) -> Self {
        Self { rendition: rendition.to_owned(), timescale: cutter.timescale, cutter, delay, open: Vec::new() }
    }

    /// Takes packets in decode order; returns the segment that the first packet of the next one closes.
    pub fn push(&mut self, packet: Packet) -> Result<Option<Segment>, TaskError> {
        let number = self.cutter.segment_of(packet.pts);
        let closed = match self.open.first() {
            None if !packet.idr => return Err(self.broken(packet.pts, "a segment starts without an IDR")),
            Some(first) if self.cutter.segment_of(first.pts) != number => {
                if !packet.idr {
                    return Err(self.broken(packet.pts, "a frame of another segment comes without an IDR"));
                }
                Some(self.close(packet.pts)?)
            }
            _ => None,
        };
        self.open.push(packet);
        Ok(closed)
    }

    /// Closes the last segment: its last frame is shown until `end`.
    pub fn finish(&mut self, end: i64) -> Result<Option<Segment>, TaskError> {
        if self.open.is_empty() { Ok(None) } else { self.close(end).map(Some) }
    }

    fn close(&mut self, end: i64) -> Result<Segment, TaskError> {
        let packets = std::mem::take(&mut self.open);
        let times: Vec<i64> = packets.iter().map(|packet| packet.pts).collect();
        let (start, last) = (times[0], times.iter().copied().max().unwrap_or(times[0]));
        let number = self.cutter.segment_of(start);
        let Some(mut times) = decode_times(&times, self.delay) else {
            return Err(self.broken(start, "the IDR is not the first frame shown, or frames are shown at one time"));
        };
        times.push(end.max(last.saturating_add(1)));
        let mut samples = Vec::with_capacity(packets.len());
        for (packet, decode) in packets.into_iter().zip(times.windows(2)) {
            let duration = u32::try_from(decode[1] - decode[0]).ok().filter(|duration| *duration > 0);
            let composition = i32::try_from(packet.pts + i64::from(self.delay) - decode[0]).ok();
            let (Some(duration), Some(composition)) = (duration, composition) else {
                return Err(self.broken(packet.pts, "a frame's time does not fit the segment"));
            };
            samples.push(Sample { data: packet.data, duration, composition, sync: packet.idr });
        }
        let decode_time = u64::try_from(start).map_err(|_| self.broken(start, "a frame before the presentation"))?;
        let sequence = u32::try_from(number + 1).map_err(|_| self.broken(start, "too many segments"))?;
        let written = MediaSegment { sequence, decode_time, samples }
            .write()
            .map_err(|error| TaskError::bug(format!("segment {number} of {}: {error}", self.rendition)))?;
        let object = segment_object(&self.rendition, number, &written.bytes);
        let info = SegmentInfo {
            number,
            start,
            duration: (times[times.len() - 1] - start) as u64,
            samples: (times.len() - 1) as u32,
            first_sample_end: written.first_sample_end,
            object,
        };
        Ok(Segment { info, bytes: written.bytes })
    }

    fn broken(&self, pts: i64, what: &str) -> TaskError {
        TaskError::bug(format!("{} at {}: {what}", self.rendition, MediaTime::new(pts, self.timescale)))
    }
}
