//! From a container's timestamps to the presentation's: jumps re-based, zero at the earliest time of any stream.

use ffmpeg_next::Packet;
use ffmpeg_next::packet::side_data::Type;
use shared::error::TaskError;
use shared::index::{Place, SideData};
use shared::source::{SourceInfo, Timing, VideoStream};
use shared::time::{MediaTime, Timescale};

use super::streams::Found;
use super::trial::Trial;

/// A forward step this long is a jump of the clock, not a pause, in containers whose clock may jump.
const JUMP_FORWARD_S: i64 = 10;

/// A backward step this long is a jump.
const JUMP_BACK_S: i64 = 1;

/// Where a packet's bytes were found or put.
#[derive(Debug, Clone, Copy)]
pub struct Stored {
    pub place: Place,
    pub offset: u64,
    pub size: u32,
}

/// A packet as the container has it, in ticks of its stream.
#[derive(Debug, Clone)]
pub struct RawPacket {
    pub stream: u32,
    pub stored: Stored,
    pub pts: Option<i64>,
    pub dts: Option<i64>,
    pub duration: u32,
    pub key: bool,
    pub discard: bool,
    /// How decoding can start here, as the bitstream says; `None` where only the container tells.
    pub access: Option<super::access::Access>,
    pub side: Vec<SideData>,
}

/// A packet on the presentation's timeline.
pub type Placed = RawPacket;

struct Clock {
    timescale: Timescale,
    factor: i64,
    origin: i64,
    next: Option<i64>, // expected decode time
}

/// The clocks of all streams.
pub struct Timeline {
    clocks: Vec<Clock>,
    may_jump: bool,
    shift: MediaTime, // added to every time after a jump
    jumps: u32,
    access: super::access::AccessReader,
}

impl Timeline {
    pub fn new(found: &Found) -> Self {
        let scale = |index: usize| {
            let video = found.info.video.iter().map(|video| (video.index, video.timescale));
            let mut all = video.chain(found.info.audio.iter().map(|audio| (audio.index, audio.timescale)));
            all.find(|(stream, _)| *stream as usize == index).map_or(Timescale::MILLIS, |(_, scale)| scale)
        };
        let clock =
            |(index, factor): (usize, &i64)| Clock { timescale: scale(index), factor: *factor, origin: 0, next: None };
        Self {
            clocks: found.tick_factors.iter().enumerate().map(clock).collect(),
            may_jump: found.may_jump,
            shift: MediaTime::new(0, Timescale::new(90_000).unwrap_or(Timescale::MILLIS)),
            jumps: 0,
            access: super::access::AccessReader::new(found.info.video.as_ref()),
        }
    }

    /// Takes a packet's times, in order of reading.
    pub fn read(&mut self, packet: &Packet, stored: Stored) -> RawPacket {
        let stream = packet.stream();
        let clock = &self.clocks[stream];
        let scaled = |time: Option<i64>| time.map(|time| time.saturating_mul(clock.factor));
        let (mut pts, mut dts) = (scaled(packet.pts()), scaled(packet.dts()));
        let duration = u32::try_from(packet.duration().saturating_mul(clock.factor)).unwrap_or(0);
        if self.may_jump
            && let Some(at) = dts.or(pts)
        {
            let shift = self.follow(stream, at, duration);
            (pts, dts) = (pts.map(|time| time.saturating_add(shift)), dts.map(|time| time.saturating_add(shift)));
        }
        let hidden = packet.data().is_some_and(|data| self.access.hides(stream as u32, data));
        RawPacket {
            stream: stream as u32,
            stored,
            pts,
            dts,
            duration,
            key: packet.is_key(),
            discard: hidden || crate::av::is_discarded(packet),
            access: packet.data().and_then(|data| self.access.classify(stream as u32, data)),
            side: kept_side_data(packet),
        }
    }

    /// The shift in force for a decode time of `stream`, after looking for a jump.
    fn follow(&mut self, stream: usize, at: i64, duration: u32) -> i64 {
        let clock = &mut self.clocks[stream];
        let second = i64::from(clock.timescale.get());
        let mut shift = clock.timescale.rescale_nearest(self.shift.ticks, self.shift.timescale);
        if let Some(next) = clock.next {
            let step = at.saturating_add(shift).saturating_sub(next);
            if step > JUMP_FORWARD_S * second || step < -JUMP_BACK_S * second {
                shift = shift.saturating_sub(step);
                self.shift.ticks = self.shift.timescale.rescale_nearest(shift, clock.timescale);
                self.jumps += 1;
            }
        }
        clock.next = Some(at.saturating_add(shift).saturating_add(i64::from(duration)));
        shift
    }

    /// Zero is the earliest presentation time among the packets read so far.
    pub fn set_origin(&mut self, info: &SourceInfo, packets: &[RawPacket]) {
        let mut earliest: Option<MediaTime> = None;
        let mut consider = |time: MediaTime| {
            let earlier = earliest.is_none_or(|known| {
                i128::from(time.ticks) * i128::from(known.timescale.get())
                    < i128::from(known.ticks) * i128::from(time.timescale.get())
            });
            if earlier {
                earliest = Some(time);
            }
        };
        if let Some(video) = info.video.as_ref().filter(|video| video.timing != Timing::Order) {
            let shown = super::gops::first_shown(packets.iter().filter(|packet| packet.stream == video.index));
            if let Some(first) = shown {
                consider(MediaTime::new(first, video.timescale));
            }
        }
        for audio in &info.audio {
            let mut of_stream = packets.iter().filter(|packet| packet.stream == audio.index);
            if let Some((first, time)) = of_stream.find_map(|packet| packet.pts.map(|pts| (packet, pts))) {
                let skipped = skipped_samples(first);
                let skip = audio
                    .timescale
                    .rescale_nearest(skipped, Timescale::new(audio.sample_rate_hz).unwrap_or(audio.timescale));
                consider(MediaTime::new(time.saturating_add(skip), audio.timescale));
            }
        }
        let Some(origin) = earliest else { return };
        for clock in &mut self.clocks {
            clock.origin = clock.timescale.rescale_nearest(origin.ticks, origin.timescale);
        }
    }

    /// Moves a packet onto the presentation's timeline.
    pub fn place(&self, mut packet: RawPacket) -> Placed {
        let origin = self.clocks[packet.stream as usize].origin;
        packet.pts = packet.pts.map(|time| time.saturating_sub(origin));
        packet.dts = packet.dts.map(|time| time.saturating_sub(origin));
        packet
    }

    /// What was unusual.
    pub fn findings(&self) -> Vec<(&'static str, String, &'static str)> {
        if self.jumps == 0 {
            return Vec::new();
        }
        vec![("clock_jump", format!("the clock jumps {} times", self.jumps), "what follows is joined without a gap")]
    }
}

/// Finds out from its first packets how a video's frames get their times.
pub fn choose_timing(video: &mut VideoStream, packets: &[RawPacket], trial: &Trial) -> Result<(), TaskError> {
    let times: Vec<_> = packets.iter().filter(|packet| packet.stream == video.index).collect();
    let known = times.iter().filter(|packet| packet.pts.is_some()).count();
    let reordered = crate::codec::setup::Setup::open(&video.setup).is_ok_and(|setup| setup.video_delay > 0);
    if known * 2 <= times.len() {
        video.timing = Timing::Order;
        video.timescale = Timescale::new(video.frame_rate.numerator).unwrap_or(Timescale::MILLIS);
        return Ok(());
    }
    let contradicts = |packet: &&RawPacket| packet.pts.is_some() && packet.pts == packet.dts;
    if reordered && times.len() > 1 && times.iter().all(contradicts) && trial.reorders(video)? {
        video.timing = Timing::Decoder;
    }
    Ok(())
}

/// Samples a decoder drops before this packet's first (`AV_PKT_DATA_SKIP_SAMPLES`: little-endian u32 first).
fn skipped_samples(packet: &RawPacket) -> i64 {
    let kind = Type::SkipSamples;
    let skip = packet.side.iter().find(|side| side.kind == side_kind(kind));
    skip.and_then(|side| side.data.first_chunk::<4>()).map_or(0, |bytes| i64::from(u32::from_le_bytes(*bytes)))
}

fn side_kind(kind: Type) -> u32 {
    ffmpeg_next::ffi::AVPacketSideDataType::from(kind) as u32
}

/// Only what decoders need: new codec headers, palettes, samples to skip.
fn kept_side_data(packet: &Packet) -> Vec<SideData> {
    packet
        .side_data()
        .filter(|side| matches!(side.kind(), Type::NewExtraData | Type::Palette | Type::SkipSamples))
        .map(|side| SideData { packet: 0, kind: side_kind(side.kind()), data: side.data().to_vec() })
        .collect()
}
