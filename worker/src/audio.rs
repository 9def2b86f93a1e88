//! A whole audio track: decode, repair the timeline, resample, encode, cut on the grid.
//!
//! ```text
//! packets ─ decode ─ mix ─ timeline ─ resample ─ encode ─ segments
//!           frames   float  silence    rendition's        on the grid
//!                    1, 2 ch in gaps   rate
//! ```
//!
//! Everything streams: what is held is a packet, a frame at each stage, and the open segment.

pub(crate) mod decode;
pub(crate) mod encode;
mod frames;
pub(crate) mod mix;
mod resample;
pub(crate) mod samples;
mod timeline;

use std::time::{Duration, Instant};

use shared::error::TaskError;
use shared::family::Family;
use shared::index::{PacketList, SideData};
use shared::task::{AudioReceipt, AudioTask, Making, Progress, SegmentInfo, TrackPart};
use shared::time::{MediaTime, Timescale};

use self::decode::{Decoded, Decoding};
use self::encode::Encoding;
use self::mix::Mixer;
use self::resample::Resampler;
use self::samples::Samples;
use self::timeline::Timeline;
use crate::codec::Packet;
use crate::meter::{Meter, Stopwatch};
use crate::segmenter::{Cutter, Segment, Segmenter};
use crate::task::{Area, Emission, Emit, Inputs};

/// Samples that go through resampler and encoder at once, so that neither a long gap nor a long frame is ever held in
/// memory at the rendition's rate.
const BLOCK: usize = 8192;

/// Longest silence that is put into a track. A source that asks for more has broken times.
const LONGEST_SILENCE_S: u64 = 24 * 3600;

/// Frames without a time that wait for the first that has one.
const MOST_UNTIMED: usize = 64;

/// How often progress is told.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// Encodes one audio track from its first packet to its last.
///
/// The signal keeps its place in time to within [`timeline::TOLERANCE_MS`] whatever the source's timestamps do; it ends
/// where the source's ends. Fails as `input` if not one sample can be decoded, as `unsupported` if there is no decoder.
pub fn encode_track(task: &AudioTask, inputs: &Inputs, emit: &mut Emit<'_>) -> Result<AudioReceipt, TaskError> {
    let meter = Meter::start();
    let mut decoding = Decoding::open(&task.stream)?;
    let mut track = Track::open(task)?;
    for list in &inputs.lists {
        track.take(decoding.begin(list)?, emit)?;
        let mut sides = Sides { list, next: 0 };
        for (number, entry) in (0u32..).zip(&list.packets) {
            track.take(decoding.decode(entry, sides.of(number), &inputs.objects)?, emit)?;
            track.tell_progress(emit)?;
        }
    }
    track.take(decoding.finish()?, emit)?;
    let (mut receipt, errors) = (track.finish(emit)?, decoding.errors());
    receipt.decode_errors = errors;
    receipt.spent = meter.spent();
    Ok(receipt)
}

/// Walks along a list's side data, which is in order of packets.
struct Sides<'a> {
    list: &'a PacketList,
    next: usize,
}

impl<'a> Sides<'a> {
    /// Side data of packet `number`; numbers must come in order.
    fn of(&mut self, number: u32) -> &'a [SideData] {
        let left = &self.list.side[self.next..];
        let passed = left.iter().take_while(|side| side.packet < number).count();
        let mine = left[passed..].iter().take_while(|side| side.packet == number).count();
        self.next += passed + mine;
        &left[passed..passed + mine]
    }
}

/// The stages after the decoder.
struct Track<'a> {
    task: &'a AudioTask,
    rate: Timescale, // the rendition's
    mixer: Mixer,
    timeline: Timeline,
    resampler: Resampler,
    encoding: Encoding,
    encode: Stopwatch,
    segmenter: Segmenter,
    segments: Vec<SegmentInfo>,
    untimed: Vec<Samples>, // the first frames, until one has a time
    lead: Option<Lead>,    // `None` until the first sample
    filled: u64,
    dropped: u64,
    frames: u64,
    told: Instant,
}

/// Where the signal starts.
#[derive(Clone, Copy)]
struct Lead {
    /// Presentation time, in samples.
    start: u64,
    /// Samples the encoder puts in front.
    priming: u64,
    /// Decode time of the first coded frame.
    first: u64,
}

impl Lead {
    /// Priming lies in front of a signal that starts late enough; else the track starts at 0 and its edit list skips
    /// the priming that has no room.
    fn of(start: u64, priming: u64) -> Self {
        Self { start, priming, first: start.saturating_sub(priming) }
    }
}

impl<'a> Track<'a> {
    fn open(task: &'a AudioTask) -> Result<Self, TaskError> {
        let channels = task.rendition.channels;
        let encoding = Encoding::open(&task.rendition)?;
        let source = timescale(task.stream.sample_rate_hz)?;
        let rate = timescale(task.rendition.sample_rate_hz)?;
        let cutter = Cutter { grid: task.grid, timescale: rate, segment_count: Some(task.segment_count) };
        Ok(Self {
            task,
            rate,
            mixer: Mixer::new(channels),
            timeline: Timeline::new(task.stream.timescale, source),
            resampler: Resampler::new(source, rate, channels)?,
            encoding,
            encode: Stopwatch::default(),
            segmenter: Segmenter::new(&task.rendition.name, cutter, 0),
            segments: Vec::new(),
            untimed: Vec::new(),
            lead: None,
            filled: 0,
            dropped: 0,
            frames: 0,
            told: Instant::now(),
        })
    }

    /// Takes what the decoder gave.
    fn take(&mut self, decoded: Vec<Decoded>, emit: &mut Emit<'_>) -> Result<(), TaskError> {
        for item in decoded {
            match item {
                Decoded::Lost => self.timeline.note_loss(),
                Decoded::Frame(mut frame) => {
                    let rate = timescale(frame.rate())?;
                    if rate != self.timeline.rate() {
                        self.change_rate(rate, emit)?;
                    }
                    let pts = frame.pts();
                    let samples = self.mixer.mix(&mut frame)?;
                    self.wait_for_time(pts, samples, emit)?;
                }
            }
        }
        Ok(())
    }

    /// The source goes on at another rate: the old resampler gives what it holds.
    fn change_rate(&mut self, rate: Timescale, emit: &mut Emit<'_>) -> Result<(), TaskError> {
        self.place_untimed(emit)?;
        let fresh = Resampler::new(rate, self.rate, self.task.rendition.channels)?;
        let rest = std::mem::replace(&mut self.resampler, fresh).finish()?;
        self.timeline.set_rate(rate);
        self.encode(&rest, emit)
    }

    /// Where the first frames belong is known when one of them has a time.
    fn wait_for_time(&mut self, pts: Option<i64>, samples: Samples, emit: &mut Emit<'_>) -> Result<(), TaskError> {
        let begun = self.timeline.position().is_some();
        if !begun && pts.is_none() && self.untimed.len() < MOST_UNTIMED {
            self.untimed.push(samples);
            return Ok(());
        }
        if let Some(pts) = pts.filter(|_| !self.untimed.is_empty()) {
            self.timeline.start_before(pts, self.untimed.iter().map(Samples::len).sum());
        }
        self.place_untimed(emit)?;
        self.place(pts, samples, emit)
    }

    fn place_untimed(&mut self, emit: &mut Emit<'_>) -> Result<(), TaskError> {
        std::mem::take(&mut self.untimed).into_iter().try_for_each(|samples| self.place(None, samples, emit))
    }

    /// Puts samples where they belong.
    fn place(&mut self, pts: Option<i64>, mut samples: Samples, emit: &mut Emit<'_>) -> Result<(), TaskError> {
        let placement = self.timeline.place(pts, samples.len());
        let source = self.timeline.rate();
        samples.take_front(placement.early + placement.overlap);
        self.dropped += self.rescaled(placement.overlap as i64, source);
        if samples.len() == 0 {
            return Ok(());
        }
        if self.lead.is_none() {
            let start = self.timeline.position().unwrap_or(0) - samples.len() as i64;
            self.lead = Some(Lead::of(self.rescaled(start, source), self.encoding.priming()));
        }
        self.check_silence(placement.silence, source)?;
        self.filled += self.rescaled(placement.silence.try_into().unwrap_or(i64::MAX), source);
        for block in silence(self.task.rendition.channels, placement.silence).chain(samples.blocks(BLOCK)) {
            let ready = self.resampler.push(block)?;
            self.encode(&ready, emit)?;
        }
        Ok(())
    }

    fn check_silence(&self, samples: u64, rate: Timescale) -> Result<(), TaskError> {
        let longest = LONGEST_SILENCE_S * u64::from(rate.get());
        if samples > longest {
            let stream = self.task.stream.index;
            let text = format!("audio stream {stream} has a gap of {} s", samples / u64::from(rate.get()));
            return Err(TaskError::input("audio_gap", text));
        }
        Ok(())
    }

    /// Samples of the source in samples of the rendition.
    fn rescaled(&self, samples: i64, source: Timescale) -> u64 {
        u64::try_from(self.rate.rescale_nearest(samples, source)).unwrap_or(0)
    }

    fn encode(&mut self, samples: &Samples, emit: &mut Emit<'_>) -> Result<(), TaskError> {
        for coded in self.encode.time(|| self.encoding.push(samples))? {
            self.keep(coded, emit)?;
        }
        self.tell_progress(emit)
    }

    /// Coded frames follow each other without a gap; a frame belongs to the segment in which its decode time lies.
    fn keep(&mut self, data: Vec<u8>, emit: &mut Emit<'_>) -> Result<(), TaskError> {
        let pts = i64::try_from(self.decode_time()).unwrap_or(i64::MAX);
        self.frames += 1;
        let finished = self.segmenter.push(Packet { data, pts, idr: true })?;
        self.hand_out(finished, emit)
    }

    /// Decode time of the next coded frame.
    fn decode_time(&self) -> u64 {
        self.lead.map_or(0, |lead| lead.first) + self.frames * u64::from(self.encoding.frame_size())
    }

    fn hand_out(&mut self, finished: Option<Segment>, emit: &mut Emit<'_>) -> Result<(), TaskError> {
        let Some(Segment { info, bytes }) = finished else { return Ok(()) };
        let key = info.object.key.clone();
        self.segments.push(info);
        emit(Emission::Object { area: Area::Target, key, bytes })
    }

    fn tell_progress(&mut self, emit: &mut Emit<'_>) -> Result<(), TaskError> {
        if self.told.elapsed() < PROGRESS_INTERVAL {
            return Ok(());
        }
        self.told = Instant::now();
        let done_ms = self.decode_time() * 1000 / u64::from(self.rate.get());
        emit(Emission::Progress(Progress { done_ms, frames: self.frames }))
    }

    /// Drains every stage. The last frame lasts only as long as the signal does, so that the track's durations add up
    /// to priming and signal exactly.
    fn finish(mut self, emit: &mut Emit<'_>) -> Result<AudioReceipt, TaskError> {
        self.place_untimed(emit)?;
        let empty = Resampler::new(self.rate, self.rate, self.task.rendition.channels)?;
        let rest = std::mem::replace(&mut self.resampler, empty).finish()?;
        self.encode(&rest, emit)?;
        let Some(lead) = self.lead else {
            let text = format!("no sound could be decoded from stream {}", self.task.stream.index);
            return Err(TaskError::input("audio_undecodable", text));
        };
        let samples = self.encoding.taken();
        let end = lead.first + lead.priming + samples;
        for coded in self.encode.time(|| self.encoding.finish())? {
            if self.decode_time() < end {
                self.keep(coded, emit)?;
            }
        }
        if self.decode_time() < end {
            let text = format!("{} gave {} samples, not {end}", self.encoding.name(), self.decode_time());
            return Err(TaskError::bug(text));
        }
        let last = self.segmenter.finish(i64::try_from(end).unwrap_or(i64::MAX))?;
        self.hand_out(last, emit)?;
        Ok(AudioReceipt {
            part: TrackPart {
                rendition: self.task.rendition.name.clone(),
                timescale: self.rate,
                config: self.encoding.config().clone(),
                segments: self.segments,
                encoder: self.encoding.name(),
                family: Family::Software,
                making: Making { encode_ms: self.encode.ms(), ..Making::default() },
            },
            samples,
            start: MediaTime::new(lead.start as i64, self.rate),
            priming: lead.priming,
            filled: self.filled,
            dropped: self.dropped,
            decode_errors: 0,
            spent: Default::default(),
        })
    }
}

/// Silence in blocks.
fn silence(channels: u32, samples: u64) -> impl Iterator<Item = Samples> {
    let block = BLOCK as u64;
    let rest = Some(samples % block).filter(|rest| *rest > 0);
    let lengths = (0..samples / block).map(move |_| block).chain(rest);
    lengths.map(move |length| Samples::silence(channels, length as usize))
}

fn timescale(rate_hz: u32) -> Result<Timescale, TaskError> {
    Timescale::new(rate_hz).ok_or_else(|| TaskError::bug("a sample rate of 0"))
}
