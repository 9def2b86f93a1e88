//! A machine with a card that is played, a worker on it, and a chunk to make.

use std::collections::BTreeMap;
use std::fs::File;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use card::{Library, folder, variable};
use shared::cmaf::{InitKind, InitSegment, reorder_delay};
use shared::fleet::{Class, Heartbeat, Lane, Urgency};
use shared::index::Gop;
use shared::queue::memory::MemoryQueue;
use shared::queue::{Incoming, Queue};
use shared::rendition::{RateControl, VideoCodec, VideoRendition};
use shared::source::{Color, SourceInfo};
use shared::task::{
    AttemptId, IndexReport, IndexTask, JobId, Outcome, Places, Task, TaskId, TaskName, TaskReport, Transform,
    VideoReceipt, VideoTask, Work, WorkerId,
};
use shared::time::{MediaTime, SegmentGrid};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use worker::config::{GpuConfig, SlotProgram, WorkerConfig};
use worker::index::index_source;
use worker::run::Worker;
use worker::source::ByteSource;
use worker::task::Emission;

use crate::{AS_SLOT, SLOT_TEST};

/// A machine: its libraries, its card, and what its card complains of.
pub struct Machine {
    folder: TempDir,
    pub config: WorkerConfig,
}

impl Machine {
    /// With cards as `card::profile` names them, and faults as `card::fault` writes them.
    pub fn new(cards: &str, faults: &str) -> Self {
        let made = tempfile::tempdir().unwrap();
        folder(made.path(), &card::folder::built().unwrap(), &Library::ALL).unwrap();
        let set = |name: &str, value: &str| format!("{name}={value}");
        let program = std::env::current_exe().unwrap();
        let args = [
            set("LD_LIBRARY_PATH", made.path().to_str().unwrap()),
            set(variable::CARD, cards),
            set(variable::FAULTS, faults),
            set(variable::VIOLATIONS, made.path().join("ledger").to_str().unwrap()),
            program.to_str().unwrap().to_owned(),
            "--exact".to_owned(),
            SLOT_TEST.to_owned(),
            "--nocapture".to_owned(),
            "--test-threads=1".to_owned(),
            AS_SLOT.to_owned(),
        ];
        let config = WorkerConfig {
            slots: NonZeroUsize::MIN,
            slot_program: SlotProgram { path: "/usr/bin/env".into(), args: args.into() },
            stall_timeout_ms: 8_000,
            scratch: made.path().join("scratch"),
            gpu: GpuConfig { slots_per_device: 1, ..GpuConfig::default() },
            ..WorkerConfig::default()
        };
        Self { folder: made, config }
    }

    /// What the stand-ins have complained of; only whoever gave a library back in order has none.
    pub fn complaints(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("ledger")).unwrap_or_default()
    }
}

/// An indexed clip.
pub struct Source {
    folder: TempDir,
    path: PathBuf,
    info: SourceInfo,
    gops: Vec<Gop>,
}

impl Source {
    pub fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../farm/tests/media").join(name);
        let folder = tempfile::tempdir().unwrap();
        let (mut info, mut gops) = (None, Vec::new());
        let mut emit = |emission| {
            match emission {
                Emission::Object { key, bytes, .. } => {
                    let path = folder.path().join("work").join(key);
                    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                    std::fs::write(path, bytes).unwrap();
                }
                Emission::Index(IndexReport::Source(found)) => info = Some(found),
                Emission::Index(IndexReport::Gops(mut more)) => gops.append(&mut more),
                Emission::Index(IndexReport::Audio { .. }) | Emission::Progress(_) => {}
            }
            Ok(())
        };
        let source = ByteSource::of_file(File::open(&path).unwrap()).unwrap();
        index_source(&IndexTask { max_pixels: 1 << 26, growing_ms: None }, &source, &mut emit).unwrap();
        Self { info: info.unwrap(), folder, path, gops }
    }

    /// All of the clip as one chunk.
    pub fn task(&self, codec: VideoCodec) -> VideoTask {
        let stream = self.info.video.clone().unwrap();
        let grid = SegmentGrid::new(2000).unwrap();
        let end = self.gops.iter().map(|gop| gop.end).max().unwrap();
        let (width, height) = stream.display_size();
        let rendition = |name: &str, scale: u32| VideoRendition {
            name: name.into(),
            codec,
            width_px: (width / scale) & !1,
            height_px: (height / scale) & !1,
            rate: RateControl { crf: 23.0, maxrate_bps: 3_000_000, bufsize_bits: 6_000_000 },
            preset: "veryfast".into(),
        };
        VideoTask {
            lists: self.gops.iter().map(|gop| gop.list).collect(),
            start: 0,
            end: None,
            grid,
            segment_count: Some(grid.count_until(MediaTime::new(end, stream.timescale))),
            transform: Transform {
                rotation: stream.rotation,
                mirror: stream.mirrored,
                deinterlace: stream.interlaced,
                tone_map: false,
            },
            color: Color { full_range: false, ..stream.color },
            renditions: vec![rendition("large", 1), rendition("small", 2)],
            images: None,
            pins: BTreeMap::new(),
            stream,
        }
    }

    fn attempt(&self, number: u32, work: VideoTask) -> Task {
        let place = |name: &str| self.folder.path().join(name).to_str().unwrap().to_owned();
        Task {
            id: TaskId { job: JobId::new("job").unwrap(), name: TaskName::Video(number) },
            attempt: AttemptId(1),
            places: Places {
                source: self.path.to_str().unwrap().to_owned(),
                target: place("target"),
                work: place("work"),
            },
            source_mark: None,
            work: Work::Video(work),
            avoid: vec![],
            trace: None,
        }
    }

    /// A rendition of a receipt as one file.
    pub fn track(&self, task: &VideoTask, receipt: &VideoReceipt, rung: usize) -> tempfile::NamedTempFile {
        let (part, rendition) = (&receipt.parts[rung], &task.renditions[rung]);
        let timescale = task.stream.timescale;
        let kind = InitKind::Video {
            width_px: rendition.width_px,
            height_px: rendition.height_px,
            color: task.color,
            delay: reorder_delay(timescale, task.stream.frame_rate),
        };
        let init = InitSegment { kind, timescale, config: part.config.clone(), language: "und".into() };
        let mut bytes = init.write().unwrap().to_vec();
        for segment in &part.segments {
            bytes.extend(std::fs::read(self.folder.path().join("target").join(&segment.object.key)).unwrap());
        }
        let file = tempfile::NamedTempFile::with_suffix(".mp4").unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }
}

/// A worker at work on a machine.
pub struct Crew {
    pub queue: Arc<MemoryQueue>,
    draining: CancellationToken,
    worker: JoinSet<Result<(), worker::run::WorkerError>>,
}

impl Crew {
    /// One that has not proven anything yet.
    pub fn start(machine: &Machine) -> Self {
        let queue = Arc::new(MemoryQueue::default());
        let draining = CancellationToken::new();
        let id = WorkerId::new("tester").unwrap();
        let worker = Worker::new(machine.config.clone(), queue.clone(), id, draining.clone()).without_proof();
        Self { queue, worker: JoinSet::from_iter([worker.run(CancellationToken::new())]), draining }
    }

    /// Waits for a heartbeat of which this is true.
    pub async fn heartbeat(&self, wanted: impl Fn(&Heartbeat) -> bool) -> Heartbeat {
        loop {
            if let Incoming::Heartbeat(heartbeat) = self.queue.next_incoming().await.unwrap().unwrap()
                && wanted(&heartbeat)
            {
                return heartbeat;
            }
        }
    }

    /// Makes a chunk as a task of this class; how the attempt ended.
    pub async fn make(&self, source: &Source, number: u32, work: VideoTask, class: Class) -> Outcome {
        let lane = Lane { class, urgency: Urgency::Normal };
        self.queue.push(source.attempt(number, work), lane).await.unwrap();
        loop {
            if let Incoming::Report(report) = self.queue.next_incoming().await.unwrap().unwrap()
                && let TaskReport { outcome: outcome @ (Outcome::Done(_) | Outcome::Failed(_)), .. } = *report
            {
                return outcome;
            }
        }
    }

    pub async fn stop(mut self) {
        self.draining.cancel();
        self.worker.join_next().await.unwrap().unwrap().unwrap();
    }
}
