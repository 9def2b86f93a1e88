//! Video packets to GOPs: runs that start where decoding can start, with every shown frame's time known and unique.

use shared::error::TaskError;
use shared::index::{Gop, LONGEST_LIST, ListRef, PacketList};
use shared::source::{Timing, VideoStream};
use shared::task::IndexReport;
use shared::time::Timescale;

use super::access::Access;
use super::timeline::{Placed, RawPacket};
use super::writer::{ListWriter, PacketStore, add_row};
use crate::task::{Emission, Emit};

/// A GOP is at least this long: all-intra sources would otherwise have one for every frame.
const SHORTEST_GOP_MS: i64 = 500;

/// Media time before the first lists are handed out: enough for the first chunk at the default segment duration.
const FIRST_FLUSH_MS: i64 = 14_000;

/// Media time between later hand-outs.
const FLUSH_MS: i64 = 60_000;

/// Until the list is written.
const NO_LIST: ListRef = ListRef { stream: 0, part: 0, offset: 0, len: 0 };

/// Packets without a random access point after which decoding starts anyway.
const LONGEST_BLIND: u64 = 600;

/// Builds GOPs from packets in decode order.
pub struct GopBuilder {
    order: bool,
    timescale: Timescale,
    frame: i64, // nominal frame duration
    step: i64,  // between frames that would be shown at once
    lists: ListWriter,
    open: Vec<Placed>,
    extradata: Option<Vec<u8>>, // in force, where it differs from the stream's
    ready: Vec<Gop>,
    flushed_until: Option<i64>,
    floor: i64, // the next frame is shown at or after this
    end: i64,
    frames: u64,
    skipped: u64,
    bumped: u64,
    filled: u64,
}

impl GopBuilder {
    pub fn new(video: &VideoStream) -> Self {
        let rate = video.frame_rate;
        let frame = i64::from(video.timescale.get()) * i64::from(rate.denominator) / i64::from(rate.numerator.max(1));
        Self {
            order: video.timing == Timing::Order,
            timescale: video.timescale,
            frame: frame.max(1),
            step: shortest_frame(video.timescale),
            lists: ListWriter::new(video.index),
            open: Vec::new(),
            extradata: None,
            ready: Vec::new(),
            flushed_until: None,
            floor: i64::MIN,
            end: 0,
            frames: 0,
            skipped: 0,
            bumped: 0,
            filled: 0,
        }
    }

    pub fn stream(&self) -> u32 {
        self.lists.stream()
    }

    /// End of the last frame, in milliseconds.
    pub fn end_ms(&self) -> u64 {
        u64::try_from(Timescale::MILLIS.rescale_floor(self.end, self.timescale)).unwrap_or(0)
    }

    pub fn push(&mut self, packet: Placed, store: &mut PacketStore, emit: &mut Emit<'_>) -> Result<(), TaskError> {
        let access = is_access_point(&packet);
        let begun = self.order || self.frames > 0 || !self.open.is_empty();
        if !begun && !begins(&packet) && self.skipped < LONGEST_BLIND {
            self.skipped += 1;
            return Ok(());
        }
        if access && self.is_long_enough(&packet) {
            self.close(store, emit)?;
        }
        if self.open.len() >= LONGEST_LIST / 2 {
            return Err(TaskError::unsupported("gop_too_long", "over 500,000 frames without a random access point"));
        }
        self.open.push(packet);
        Ok(())
    }

    fn is_long_enough(&self, next: &Placed) -> bool {
        let shortest = self.timescale.rescale_ceil(SHORTEST_GOP_MS, Timescale::MILLIS);
        match (self.open.first().and_then(|first| first.pts), next.pts) {
            (Some(start), Some(next)) => next - start >= shortest,
            _ => self.open.len() as i64 * self.frame >= shortest,
        }
    }

    fn close(&mut self, store: &mut PacketStore, emit: &mut Emit<'_>) -> Result<(), TaskError> {
        if self.open.is_empty() {
            return Ok(());
        }
        let packets = std::mem::take(&mut self.open);
        let times = if self.order { self.count_times(packets.len()) } else { self.mend(&packets) };
        let mut list = PacketList { extradata: self.extradata.clone(), ..PacketList::default() };
        let mut gop = Gop {
            start: times[0].max(self.floor),
            first: i64::MAX,
            last: i64::MIN,
            end: i64::MIN,
            frames: 0,
            bytes: 0,
            list: NO_LIST,
        };
        for (packet, pts) in packets.into_iter().zip(times) {
            gop.bytes += u64::from(packet.stored.size);
            if !packet.discard {
                let duration = if packet.duration > 0 { i64::from(packet.duration) } else { self.frame };
                gop.first = gop.first.min(pts);
                gop.last = gop.last.max(pts);
                gop.end = gop.end.max(pts.saturating_add(duration));
                gop.frames += 1;
            }
            self.follow_extradata(&packet);
            add_row(&mut list, packet, pts);
        }
        if gop.frames == 0 {
            (gop.first, gop.last, gop.end) = (gop.start, gop.start, gop.start);
        } else {
            self.end = self.end.max(gop.end);
            self.floor = self.floor.max(gop.last + self.step);
        }
        self.frames += u64::from(gop.frames);
        gop.list = self.lists.add(&list);
        self.ready.push(gop);
        let since = self.end - self.flushed_until.unwrap_or(0);
        let due = if self.flushed_until.is_none() { FIRST_FLUSH_MS } else { FLUSH_MS };
        if Timescale::MILLIS.rescale_floor(since, self.timescale) >= due { self.flush(store, emit) } else { Ok(()) }
    }

    fn follow_extradata(&mut self, packet: &Placed) {
        let kind = ffmpeg_next::ffi::AVPacketSideDataType::AV_PKT_DATA_NEW_EXTRADATA as u32;
        if let Some(side) = packet.side.iter().find(|side| side.kind == kind) {
            self.extradata = Some(side.data.clone());
        }
    }

    /// Times by output order: which packet shows which frame is not known, but how many frames come is.
    fn count_times(&self, packets: usize) -> Vec<i64> {
        (0..packets as i64).map(|n| (self.frames as i64 + n) * self.frame).collect()
    }

    /// Presentation times of the packets: missing ones filled into the holes, none twice, none before what is already
    /// shown.
    fn mend(&mut self, packets: &[Placed]) -> Vec<i64> {
        let mut times = self.fill(packets);
        let mut shown: Vec<usize> = (0..packets.len()).filter(|row| !packets[*row].discard).collect();
        shown.sort_by_key(|row| times[*row]);
        let mut floor = self.floor;
        for row in shown {
            if times[row] < floor {
                times[row] = floor;
                self.bumped += 1;
            }
            floor = times[row].saturating_add(self.step);
        }
        times
    }

    fn fill(&mut self, packets: &[Placed]) -> Vec<i64> {
        let known: std::collections::BTreeSet<i64> = packets.iter().filter_map(|packet| packet.pts).collect();
        let start = packets[0].pts.or(packets[0].dts).or(known.first().copied()).unwrap_or(self.end);
        let mut hole = start;
        let mut times = Vec::with_capacity(packets.len());
        for packet in packets {
            times.push(packet.pts.unwrap_or_else(|| {
                while known.range(hole - self.frame / 2..=hole + self.frame / 2).next().is_some() {
                    hole += self.frame;
                }
                self.filled += 1;
                hole += self.frame;
                hole - self.frame
            }));
        }
        times
    }

    fn flush(&mut self, store: &mut PacketStore, emit: &mut Emit<'_>) -> Result<(), TaskError> {
        if self.ready.is_empty() {
            return Ok(());
        }
        store.flush(self.stream(), emit)?;
        self.lists.flush(emit)?;
        self.flushed_until = Some(self.end);
        emit(Emission::Index(IndexReport::Gops(std::mem::take(&mut self.ready))))
    }

    pub fn finish(&mut self, store: &mut PacketStore, emit: &mut Emit<'_>) -> Result<(), TaskError> {
        self.close(store, emit)?;
        if self.frames == 0 {
            return Err(TaskError::input("no_frames", "the video stream has no frame that can be shown"));
        }
        self.flush(store, emit)
    }

    /// What was unusual.
    pub fn findings(&self) -> Vec<(&'static str, String, &'static str)> {
        let counted = [
            (self.skipped, "mid_gop_start", "packets before the first random access point", "left out"),
            (self.filled, "missing_times", "packets without a presentation time", "timed by the gaps they fit in"),
            (self.bumped, "duplicate_times", "frames not later than the frame before", "moved 0.1 ms later"),
        ];
        let seen = counted.into_iter().filter(|(count, ..)| *count > 0);
        seen.map(|(count, code, what, handling)| (code, format!("{count} {what}"), handling)).collect()
    }
}

/// The shortest time for which a frame is shown: a tenth of a millisecond, which players and tools can tell from none.
pub fn shortest_frame(timescale: Timescale) -> i64 {
    i64::from(timescale.get() / 10_000).max(1)
}

/// A stream that starts elsewhere is read from here on.
pub fn begins(packet: &RawPacket) -> bool {
    is_access_point(packet) || packet.key
}

fn is_access_point(packet: &RawPacket) -> bool {
    match packet.access {
        Some(access) => access == Access::Clean,
        None => packet.key,
    }
}

/// The earliest time that will be shown, among packets in decode order from the start of a stream.
pub fn first_shown<'a>(packets: impl Iterator<Item = &'a RawPacket>) -> Option<i64> {
    let from_access = packets.skip_while(|packet| !begins(packet));
    from_access.filter(|packet| !packet.discard).filter_map(|packet| packet.pts).min()
}
