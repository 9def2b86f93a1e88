//! The index task: reads a source front to back, once, and streams out what it is and where its packets lie.
//!
//! The source is never held in memory: what stays is one GOP's packet places, and the bytes of packed objects up to
//! [`writer::LARGEST_PACK`] each. Times leave here repaired and counted from the presentation's start: edit lists are
//! applied by libavformat, timestamp jumps are re-based ([`timeline`]), missing and duplicate times are mended GOP by
//! GOP ([`gops`]).

mod access;
mod fields;
mod gops;
mod open;
mod streams;
mod timeline;
mod trial;
mod writer;

use std::time::Instant;

use ffmpeg_next::{Error, Packet};
use shared::error::{ErrorKind, TaskError};
use shared::source::{Finding, SourceInfo, Timing, Verdict};
use shared::task::{IndexReceipt, IndexReport, IndexTask, Progress, Spent};

use crate::source::ByteSource;
use crate::task::{Emission, Emit, ffmpeg_error};
use fields::FieldPairs;
use gops::GopBuilder;
pub(crate) use gops::shortest_frame;
use streams::Found;
use timeline::{RawPacket, Timeline};
use trial::Trial;
use writer::{AudioWriter, PacketStore};

/// Packets between two reports of progress.
const PROGRESS_PACKETS: u64 = 4096;

/// Packets of other streams read before an audio stream that has not begun is taken to begin after the video.
const LONGEST_WAIT_PACKETS: usize = 2048;

/// A stream's times are known well enough once this many packets have shown their order: H.264 reorders 16 at most.
const REORDER_PACKETS: usize = 32;

/// Reads the source front to back.
pub fn index_source(task: &IndexTask, source: &ByteSource, emit: &mut Emit<'_>) -> Result<IndexReceipt, TaskError> {
    let begun = Instant::now();
    let mut input = open::open(source)?;
    let found = streams::describe(&input, source.size(), task.max_pixels)?;
    let mut index = Index::new(found, source.clone());
    let mut packet = Packet::empty();
    let mut packets = 0u64;
    loop {
        match packet.read(&mut input) {
            Ok(()) => index.take(&packet, emit)?,
            Err(Error::Eof) => break,
            Err(error) => {
                index.find("read_error", format!("reading stopped: {error}"), "what could be read until there is kept");
                break;
            }
        }
        packets += 1;
        if packets.is_multiple_of(PROGRESS_PACKETS) {
            emit(Emission::Progress(Progress { done_ms: 0, frames: packets }))?;
        }
    }
    index.finish(source.size().unwrap_or(0), begun, emit)
}

struct Index {
    info: SourceInfo,
    timeline: Timeline,
    store: PacketStore,
    waiting: Vec<RawPacket>, // until the presentation's start is known
    begun: bool,
    trial: Trial,
    fields: Option<FieldPairs>,
    video: Option<GopBuilder>,
    audio: Vec<AudioWriter>,
}

impl Index {
    fn new(found: Found, source: ByteSource) -> Self {
        Self {
            timeline: Timeline::new(&found),
            store: PacketStore::new(source),
            waiting: Vec::new(),
            begun: false,
            trial: Trial::default(),
            fields: None,
            video: found.info.video.as_ref().map(GopBuilder::new),
            audio: found.info.audio.iter().map(AudioWriter::new).collect(),
            info: found.info,
        }
    }

    fn find(&mut self, code: &str, text: String, handling: &str) {
        self.info.findings.push(Finding { code: code.into(), text, handling: handling.into() });
        self.info.verdict = Verdict::NonStandard;
    }

    fn wanted(&self, stream: u32) -> bool {
        self.info.video.as_ref().is_some_and(|video| video.index == stream)
            || self.info.audio.iter().any(|audio| audio.index == stream)
    }

    fn take(&mut self, packet: &Packet, emit: &mut Emit<'_>) -> Result<(), TaskError> {
        let stream = packet.stream() as u32;
        if !self.wanted(stream) || packet.size() == 0 {
            return Ok(());
        }
        if streams::is_encrypted(packet) {
            return Err(streams::encrypted());
        }
        let mut raw = self.timeline.read(packet, self.store.put(stream, packet, emit)?);
        let of_video = self.info.video.as_ref().is_some_and(|video| video.index == stream);
        if let Some(pairs) = self.fields.as_mut().filter(|_| of_video) {
            pairs.join(&mut raw);
        }
        if self.begun {
            return self.pass_on(raw, emit);
        }
        if of_video {
            self.trial.keep(packet, &raw);
        }
        self.waiting.push(raw);
        if self.start_is_known() { self.begin(emit) } else { Ok(()) }
    }

    /// The earliest time of the presentation is known when every stream has shown its first packets.
    fn start_is_known(&self) -> bool {
        let seen = |stream: u32| self.waiting.iter().filter(|packet| packet.stream == stream).count();
        let video = self.info.video.as_ref().is_none_or(|video| seen(video.index) >= REORDER_PACKETS);
        let audio = self.info.audio.iter().all(|audio| seen(audio.index) > 0);
        (video && audio) || self.waiting.len() >= LONGEST_WAIT_PACKETS
    }

    fn begin(&mut self, emit: &mut Emit<'_>) -> Result<(), TaskError> {
        if let Some(video) = &mut self.info.video {
            self.trial.add_preamble(video)?;
            timeline::choose_timing(video, &self.waiting, &self.trial)?;
            if let Some(mut pairs) = FieldPairs::of(video, &self.waiting)
                && self.trial.pairs(video)?
            {
                let of_video = self.waiting.iter_mut().filter(|packet| packet.stream == video.index);
                of_video.for_each(|packet| pairs.join(packet));
                self.fields = Some(pairs);
            }
            let hidden = self.trial.hide_undecodable(video, &mut self.waiting)?;
            self.tell_timing();
            if hidden > 0 {
                self.find(
                    "leading_pictures",
                    format!("{hidden} pictures before the first lack their references"),
                    "left out",
                );
            }
        }
        self.trial = Trial::default();
        self.video = self.info.video.as_ref().map(GopBuilder::new);
        self.timeline.set_origin(&self.info, &self.waiting);
        self.begun = true;
        emit(Emission::Index(IndexReport::Source(self.info.clone())))?;
        for raw in std::mem::take(&mut self.waiting) {
            self.pass_on(raw, emit)?;
        }
        Ok(())
    }

    fn tell_timing(&mut self) {
        let Some(video) = &self.info.video else { return };
        let rate = video.frame_rate.per_second();
        match video.timing {
            Timing::Packets => {}
            Timing::Decoder => self.find(
                "contradicting_times",
                "the packets' presentation times contradict their order".to_owned(),
                "frames are timed by the decoder, in one chunk",
            ),
            Timing::Order => self.find(
                "no_times",
                "the packets carry no presentation times".to_owned(),
                &format!("frames are timed in output order at {rate:.3} per second, in one chunk"),
            ),
        }
    }

    fn pass_on(&mut self, raw: RawPacket, emit: &mut Emit<'_>) -> Result<(), TaskError> {
        let packet = self.timeline.place(raw);
        if let Some(video) = self.video.as_mut().filter(|video| video.stream() == packet.stream) {
            return video.push(packet, &mut self.store, emit);
        }
        match self.audio.iter_mut().find(|audio| audio.stream() == packet.stream) {
            Some(audio) => audio.push(packet, &mut self.store, emit),
            None => Ok(()),
        }
    }

    fn finish(mut self, bytes: u64, begun: Instant, emit: &mut Emit<'_>) -> Result<IndexReceipt, TaskError> {
        if !self.begun {
            if self.waiting.is_empty() {
                return Err(TaskError::input("no_packets", "the source has a header but no audio or video in it"));
            }
            self.begin(emit)?;
        }
        if let Some(mut video) = self.video.take() {
            video.finish(&mut self.store, emit)?;
            for (code, text, handling) in video.findings() {
                self.find(code, text, handling);
            }
            self.check_length(video.end_ms());
        }
        for mut audio in std::mem::take(&mut self.audio) {
            audio.finish(&mut self.store, emit)?;
        }
        for (code, text, handling) in self.timeline.findings() {
            self.find(code, text, handling);
        }
        let spent = Spent::new(begun.elapsed().as_millis() as u64, 0);
        Ok(IndexReceipt { verdict: self.info.verdict, findings: self.info.findings, bytes, spent })
    }

    /// Says so if the header promises more than there is.
    fn check_length(&mut self, end_ms: u64) {
        let Some(declared) = self.info.declared_ms else { return };
        if declared > end_ms + 1_000 && declared > end_ms + end_ms / 20 {
            let text = format!("the header promises {declared} ms, the video ends at {end_ms} ms");
            self.find("shorter_than_declared", text, "what is there is transcoded");
        }
    }
}

/// What libavformat said, as a task error: an unreadable source unless memory ran out.
fn unreadable(code: &str, what: &str, error: Error) -> TaskError {
    ffmpeg_error(ErrorKind::Input, code, what, error)
}
