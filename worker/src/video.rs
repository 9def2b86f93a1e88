//! Decode once, feed every rung, cut where the clock says.
//!
//! One thread decodes and scales, one thread per rung encodes; every encoder is single-threaded, so the bytes do not
//! depend on how the threads run.

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{self, ScopedJoinHandle};

use shared::cmaf::{DecoderConfig, reorder_delay};
use shared::error::TaskError;
use shared::rendition::VideoRendition;
use shared::task::{Making, Progress, SegmentInfo, Spent, Stages, TrackPart, VideoReceipt, VideoTask};
use shared::time::Timescale;

use crate::codec::backend::Backend;
use crate::codec::encoder::EncoderPlan;
use crate::codec::{Encoder, Packet, Picture, Pictures};
use crate::images::ImageTaker;
use crate::index::shortest_frame;
use crate::meter::{Meter, Stopwatch};
use crate::promise::Promise;
use crate::quality::Look;
use crate::segmenter::{Cutter, Segment, Segmenter};
use crate::task::{Area, Emission, Emit, Inputs};

/// Pictures that may wait for each rung: enough to hide an encoder's uneven pace, 6 MB at 1080p.
const RUNG_QUEUE: usize = 2;

/// Frames between two reports of progress.
const PROGRESS_FRAMES: u64 = 12;

/// Encodes one chunk: every frame of `[task.start, task.end)` into every rendition.
pub fn encode_chunk(task: &VideoTask, inputs: &Inputs, emit: &mut Emit<'_>) -> Result<VideoReceipt, TaskError> {
    let meter = Meter::start();
    let promise = Promise::of(task, &inputs.lists);
    let backend = &inputs.backend;
    let mut decoder = backend.decoder(&task.stream, inputs)?;
    let mut scaler = backend.scaler(task)?;
    let (mut decode, mut scale) = (Stopwatch::default(), Stopwatch::default());
    let plans: Vec<EncoderPlan> = (0..task.renditions.len()).map(|rung| EncoderPlan::new(task, rung)).collect();
    thread::scope(|scope| {
        let mut rungs = Rungs::start(scope, task, backend, &plans);
        let mut chunk = Chunk::new(task, &promise);
        while let Some(mut picture) = decode.time(|| decoder.next_picture())? {
            let pts = chunk.time_of(&picture);
            picture.set_pts(pts); // filters with two inputs need a time
            if pts < promise.warm_up_from {
                continue; // preroll from the random access point before
            }
            if task.end.is_some_and(|end| pts >= end) {
                break;
            }
            for pictures in scale.time(|| scaler.push(picture))? {
                chunk.take(pictures, &mut rungs, emit)?;
            }
        }
        for pictures in scale.time(|| scaler.finish())? {
            chunk.take(pictures, &mut rungs, emit)?;
        }
        backend.believe(chunk.frames, promise.expected(chunk.frames))?;
        if chunk.frames == 0 && promise.frames > 0 {
            return Err(TaskError::input("undecodable", format!("no frame from {} on can be decoded", promise.text())));
        }
        let parts = rungs.finish(promise.end_after(chunk.last), emit)?;
        let encode_ms = parts.iter().map(|part| part.making.encode_ms).sum();
        let stages = Stages { decode_ms: decode.ms(), scale_ms: scale.ms(), encode_ms, ..Stages::default() };
        Ok(VideoReceipt {
            parts,
            frames_expected: promise.expected(chunk.frames),
            frames: chunk.frames,
            first_pts: chunk.first,
            last_pts: chunk.last,
            decode_errors: decoder.errors(),
            tiles: chunk.images.tiles,
            poster: chunk.images.poster,
            spent: Spent { stages, ..meter.spent() },
            hardware: backend.hardware(),
        })
    })
}

/// How far the chunk has come.
struct Chunk<'a> {
    task: &'a VideoTask,
    promise: &'a Promise,
    cutter: Cutter,
    images: ImageTaker,
    gop: Option<(u64, u64)>, // segment and GOP the last frame fell into
    frames: u64,
    first: Option<i64>,
    last: Option<i64>,
}

impl<'a> Chunk<'a> {
    fn new(task: &'a VideoTask, promise: &'a Promise) -> Self {
        let images = ImageTaker::new(task);
        Self { cutter: cutter(task), task, promise, images, gop: None, frames: 0, first: None, last: None }
    }

    /// A picture that lost its time is shown right after the one before.
    fn time_of(&self, picture: &Picture) -> i64 {
        picture.pts().unwrap_or_else(|| {
            self.last.map_or(self.task.start, |last| last + shortest_frame(self.task.stream.timescale))
        })
    }

    /// Gives the pictures of one moment to every rung.
    fn take(&mut self, mut pictures: Pictures, rungs: &mut Rungs, emit: &mut Emit<'_>) -> Result<(), TaskError> {
        let mut pts = self.time_of(&pictures[0]);
        if pts < self.task.start {
            return Ok(()); // warmed up the deinterlacer
        }
        match (self.last, self.promise.first) {
            (Some(last), _) => pts = pts.max(last + shortest_frame(self.task.stream.timescale)), // two pictures of one packet
            (None, Some(first)) => pts = pts.min(first), // frames were lost: the first one left stands in for them
            (None, None) => {}
        }
        let position = (self.cutter.segment_of(pts), self.cutter.gop_of(pts));
        let idr = self.gop.replace(position) != Some(position); // the only place where an IDR is decided
        self.images.take(pts, &pictures, emit)?;
        for picture in &mut pictures {
            picture.set_pts(pts);
        }
        rungs.push(pictures, idr)?;
        rungs.emit_finished(emit)?;
        self.frames += 1;
        self.first.get_or_insert(pts);
        self.last = Some(pts);
        if self.frames.is_multiple_of(PROGRESS_FRAMES) {
            let done_ms = Timescale::MILLIS.rescale_floor(pts - self.task.start, self.task.stream.timescale);
            emit(Emission::Progress(Progress { done_ms: done_ms as u64, frames: self.frames }))?;
        }
        Ok(())
    }
}

fn cutter(task: &VideoTask) -> Cutter {
    Cutter { grid: task.grid, timescale: task.stream.timescale, segment_count: task.segment_count }
}

enum Feed {
    Picture(Picture, bool),
    End(i64),
}

/// The renditions at work, a thread each.
struct Rungs<'scope> {
    feeds: Vec<SyncSender<Feed>>,
    threads: Vec<ScopedJoinHandle<'scope, Result<TrackPart, TaskError>>>,
    finished: Receiver<Segment>,
}

impl<'scope> Rungs<'scope> {
    fn start<'env>(
        scope: &'scope thread::Scope<'scope, 'env>,
        task: &'scope VideoTask,
        backend: &'scope Backend,
        plans: &'scope [EncoderPlan],
    ) -> Self {
        let (done, finished) = channel();
        let (mut feeds, mut threads) = (Vec::new(), Vec::new());
        let delay = reorder_delay(task.stream.timescale, task.stream.frame_rate);
        for (plan, rendition) in plans.iter().zip(&task.renditions) {
            let (feed, pictures) = sync_channel(RUNG_QUEUE);
            let segmenter = Segmenter::new(&rendition.name, cutter(task), delay);
            let done = done.clone();
            feeds.push(feed);
            threads.push(scope.spawn(move || {
                let encoder = backend.encoder(plan)?;
                let config = plan.track_config(&*encoder);
                Rung { encoder, config, segmenter, segments: Vec::new(), done, encode: Stopwatch::default() }
                    .run(rendition, task, &pictures)
            }));
        }
        Self { feeds, threads, finished }
    }

    /// The pictures of one moment, largest first.
    fn push(&mut self, pictures: Pictures, idr: bool) -> Result<(), TaskError> {
        let gone =
            self.feeds.iter().zip(pictures).any(|(feed, picture)| feed.send(Feed::Picture(picture, idr)).is_err());
        if gone { Err(self.why_gone()) } else { Ok(()) }
    }

    /// The first error of a rung that ended before its time.
    fn why_gone(&mut self) -> TaskError {
        self.feeds.clear();
        let ended = std::mem::take(&mut self.threads).into_iter().map(join);
        ended.filter_map(Result::err).next().unwrap_or_else(|| TaskError::bug("a rung ended before its time"))
    }

    fn emit_finished(&self, emit: &mut Emit<'_>) -> Result<(), TaskError> {
        self.finished.try_iter().try_for_each(|segment| emit_segment(segment, emit))
    }

    /// Ends every rung; the last frame is shown until `end`.
    fn finish(mut self, end: i64, emit: &mut Emit<'_>) -> Result<Vec<TrackPart>, TaskError> {
        for feed in std::mem::take(&mut self.feeds) {
            if feed.send(Feed::End(end)).is_err() {
                return Err(self.why_gone());
            }
        }
        self.finished.iter().try_for_each(|segment| emit_segment(segment, emit))?; // until every rung has hung up
        std::mem::take(&mut self.threads).into_iter().map(join).collect()
    }
}

fn join(thread: ScopedJoinHandle<'_, Result<TrackPart, TaskError>>) -> Result<TrackPart, TaskError> {
    thread.join().unwrap_or_else(|_| Err(TaskError::bug("a rung panicked")))
}

fn emit_segment(segment: Segment, emit: &mut Emit<'_>) -> Result<(), TaskError> {
    emit(Emission::Object { area: Area::Target, key: segment.info.object.key, bytes: segment.bytes })
}

/// One rendition at work.
struct Rung {
    encoder: Box<dyn Encoder>,
    config: DecoderConfig,
    segmenter: Segmenter,
    segments: Vec<SegmentInfo>,
    done: Sender<Segment>,
    encode: Stopwatch,
}

impl Rung {
    fn run(
        mut self,
        rendition: &VideoRendition,
        task: &VideoTask,
        feeds: &Receiver<Feed>,
    ) -> Result<TrackPart, TaskError> {
        let mut look = Look::new(task, rendition, self.encoder.family());
        while let Ok(feed) = feeds.recv() {
            match feed {
                Feed::Picture(picture, idr) => {
                    look.goes_in(&picture)?;
                    let packets = self.encode.time(|| self.encoder.push(picture, idr))?;
                    look.comes_out(&packets, self.encoder.decoder_config())?;
                    self.cut(packets)?;
                }
                Feed::End(end) => {
                    let packets = self.encode.time(|| self.encoder.finish())?;
                    look.comes_out(&packets, self.encoder.decoder_config())?;
                    self.cut(packets)?;
                    let last = self.segmenter.finish(end)?;
                    self.hand_out(last);
                }
            }
        }
        let VideoRendition { width_px, height_px, .. } = *rendition;
        Ok(TrackPart {
            rendition: rendition.name.clone(),
            timescale: task.stream.timescale,
            config: self.config,
            segments: self.segments,
            encoder: self.encoder.name().to_owned(),
            family: self.encoder.family(),
            making: Making { encode_ms: self.encode.ms(), width_px, height_px, psnr_mdb: look.psnr_mdb() },
        })
    }

    fn cut(&mut self, packets: Vec<Packet>) -> Result<(), TaskError> {
        for packet in packets {
            let closed = self.segmenter.push(packet)?;
            self.hand_out(closed);
        }
        Ok(())
    }

    fn hand_out(&mut self, segment: Option<Segment>) {
        if let Some(segment) = segment {
            self.segments.push(segment.info.clone());
            // A chunk that has failed elsewhere takes no more segments; its error is told there.
            let _ = self.done.send(segment);
        }
    }
}
