//! The real slot over a real S3 server: the same reports and the same bytes as over files of this host.
//!
//! This test program is its own slot program.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::exit;
use std::sync::Arc;

use shared::error::TaskError;
use shared::fleet::{Class, Lane, Urgency};
use shared::index::Gop;
use shared::queue::memory::MemoryQueue;
use shared::queue::{Incoming, Queue};
use shared::rendition::{RateControl, VideoCodec, VideoRendition};
use shared::source::SourceInfo;
use shared::storage::{Storage, StorageConfig};
use shared::task::{
    AttemptId, IndexReport, IndexTask, JobId, Outcome, Places, Receipt, Spent, Task, TaskId, TaskName, Transform,
    VideoTask, Work, WorkerId,
};
use shared::testing::s3::{BUCKET, S3Server};
use shared::time::SegmentGrid;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use worker::config::{SlotProgram, WorkerConfig};
use worker::run::Worker;

/// The last argument of this program when it is to be a slot.
const AS_SLOT: &str = "as-slot";
/// The name of the test below, for `--exact`.
const SLOT_TEST: &str = "this_program_is_its_own_slot";

#[test]
fn this_program_is_its_own_slot() {
    if std::env::args().any(|arg| arg == AS_SLOT) {
        worker::child::run_child();
        exit(0)
    }
}

/// A worker, and where its jobs' bytes are.
struct Crew {
    queue: Arc<MemoryQueue>,
    abort: CancellationToken,
    _worker: JoinSet<()>,
    config: WorkerConfig,
}

impl Crew {
    fn start(storage: StorageConfig, scratch: &Path) -> Self {
        let args = ["--exact", SLOT_TEST, "--nocapture", "--test-threads=1", AS_SLOT];
        let config = WorkerConfig {
            slots: std::num::NonZeroUsize::MIN,
            slot_program: SlotProgram { path: std::env::current_exe().unwrap(), args: args.map(String::from).into() },
            storage,
            scratch: scratch.to_owned(),
            ..WorkerConfig::default()
        };
        let queue = Arc::new(MemoryQueue::default());
        let (draining, abort) = (CancellationToken::new(), CancellationToken::new());
        let worker =
            Worker::new(config.clone(), queue.clone(), WorkerId::new("tester").unwrap(), draining).without_proof();
        let run = worker.run(abort.clone());
        let _worker = JoinSet::from_iter([async move { run.await.unwrap() }]);
        Self { queue, abort, _worker, config }
    }

    /// Everything an attempt says but how far it is, and its receipt.
    async fn run(&self, name: TaskName, places: &Places, work: Work) -> Result<(Vec<IndexReport>, Receipt), TaskError> {
        self.run_marked(name, places, None, work).await
    }

    /// As [`Self::run`], of a job that began with the source of this mark.
    async fn run_marked(
        &self,
        name: TaskName,
        places: &Places,
        source_mark: Option<String>,
        work: Work,
    ) -> Result<(Vec<IndexReport>, Receipt), TaskError> {
        let id = TaskId { job: JobId::new("job").unwrap(), name };
        let task =
            Task { id, attempt: AttemptId(1), places: places.clone(), source_mark, work, avoid: vec![], trace: None };
        self.queue.push(task, Lane { class: Class::Cpu, urgency: Urgency::Normal }).await.unwrap();
        let mut reports = Vec::new();
        loop {
            let Incoming::Report(report) = self.queue.next_incoming().await.unwrap().unwrap() else { continue };
            match report.outcome {
                Outcome::Index(report) => reports.push(report),
                Outcome::Done(receipt) => return Ok((reports, receipt)),
                Outcome::Failed(error) => return Err(error),
                Outcome::Started | Outcome::Progress(_) => {}
            }
        }
    }

    async fn objects(&self, uri: &str) -> Vec<(String, bytes::Bytes)> {
        let storage = Storage::open(uri, &self.config.storage).unwrap();
        let mut objects = Vec::new();
        for key in storage.list("").await.unwrap() {
            let bytes = storage.get(&key).await.unwrap();
            objects.push((key, bytes));
        }
        objects
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.abort.cancel();
    }
}

fn clip(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../farm/tests/media").join(name)
}

/// One chunk of everything.
fn chunk(reports: &[IndexReport]) -> VideoTask {
    let info: &SourceInfo = reports
        .iter()
        .find_map(|report| match report {
            IndexReport::Source(info) => Some(info),
            _ => None,
        })
        .unwrap();
    let gops = reports.iter().filter_map(|report| match report {
        IndexReport::Gops(gops) => Some(gops),
        _ => None,
    });
    let gops: Vec<&Gop> = gops.flatten().collect();
    let stream = info.video.clone().unwrap();
    VideoTask {
        lists: gops.iter().map(|gop| gop.list).collect(),
        start: 0,
        end: None,
        grid: SegmentGrid::new(2000).unwrap(),
        segment_count: None,
        transform: Transform { rotation: 0, mirror: false, deinterlace: false, tone_map: false },
        color: stream.color,
        renditions: vec![VideoRendition {
            name: "small".into(),
            codec: VideoCodec::H264,
            width_px: 160,
            height_px: 90,
            rate: RateControl { crf: 30.0, maxrate_bps: 500_000, bufsize_bits: 1_000_000 },
            preset: "ultrafast".into(),
        }],
        images: None,
        pins: BTreeMap::new(),
        stream,
    }
}

/// Another place has other marks.
fn unmarked(report: IndexReport) -> IndexReport {
    match report {
        IndexReport::Source(info) => {
            assert!(info.mark.is_some());
            IndexReport::Source(SourceInfo { mark: None, ..info })
        }
        report => report,
    }
}

fn unspent(mut receipt: Receipt) -> Receipt {
    receipt.forget_making();
    *receipt.spent_mut() = Spent::default();
    receipt
}

#[tokio::test]
async fn sources_of_an_object_store_give_the_same_reports_and_bytes() {
    let Some(server) = S3Server::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let scratch = folder.path().join("scratch");
    let crew = Crew::start(server.config(), &scratch);
    // Packets that lie in the source, and packets that are packed into objects of their own.
    for name in ["bunny_720p25.mp4", "start_131s.ts"] {
        let here = |part: &str| folder.path().join(name).join(part).to_str().unwrap().to_owned();
        let there = |part: &str| format!("s3://{BUCKET}/{name}/{part}");
        let local = Places { source: clip(name).to_str().unwrap().to_owned(), target: here("out"), work: here("work") };
        let remote = Places { source: there("source"), target: there("out"), work: there("work") };
        let sources = Storage::open(&there(""), &crew.config.storage).unwrap();
        sources.put("source", std::fs::read(clip(name)).unwrap().into()).await.unwrap();

        let mut results = Vec::new();
        for places in [&local, &remote] {
            let index = Work::Index(IndexTask { max_pixels: 1 << 24, growing_ms: None });
            let (reports, index) = crew.run(TaskName::Index, places, index).await.unwrap();
            let encode = Work::Video(chunk(&reports));
            let (_, video) = crew.run(TaskName::Video(0), places, encode).await.unwrap();
            let (target, work) = (crew.objects(&places.target).await, crew.objects(&places.work).await);
            assert!(!target.is_empty() && !work.is_empty());
            let reports: Vec<_> = reports.into_iter().map(unmarked).collect();
            results.push((reports, unspent(index), unspent(video), target, work));
        }
        assert!(results[0] == results[1], "{name}");
    }
    // Nothing has a name there but the lock of the living.
    let own = std::fs::read_dir(&scratch).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.is_dir());
    assert_eq!(std::fs::read_dir(own.unwrap()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_source_that_is_not_there_or_goes_away_is_told() {
    let Some(server) = S3Server::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let crew = Crew::start(server.config(), &folder.path().join("scratch"));
    let uri = |part: &str| format!("s3://{BUCKET}/{part}");
    let places = Places { source: uri("source"), target: uri("out"), work: uri("work") };
    let index = || Work::Index(IndexTask { max_pixels: 1 << 24, growing_ms: None });
    let error = crew.run(TaskName::Index, &places, index()).await.unwrap_err();
    assert_eq!(error.code, "source_missing", "{error}");

    let sources = Storage::open(&uri(""), &crew.config.storage).unwrap();
    sources.put("source", std::fs::read(clip("bunny_720p25.mp4")).unwrap().into()).await.unwrap();
    let (reports, _) = crew.run(TaskName::Index, &places, index()).await.unwrap();
    let encode = || Work::Video(chunk(&reports));
    let Some(IndexReport::Source(info)) = reports.first() else { panic!("{reports:?}") };
    let began_with = || info.mark.clone();
    crew.run_marked(TaskName::Video(0), &places, began_with(), encode()).await.unwrap();
    let mut altered = std::fs::read(clip("bunny_720p25.mp4")).unwrap();
    *altered.last_mut().unwrap() ^= 1;
    sources.put("source", altered.into()).await.unwrap();
    for (name, work) in [(TaskName::Video(0), encode()), (TaskName::Index, index())] {
        let error = crew.run_marked(name, &places, began_with(), work).await.unwrap_err();
        assert_eq!(error.code, "source_changed", "{name}: it is as long as it was: {error}");
    }
    sources.put("source", "another, and shorter".into()).await.unwrap();
    let error = crew.run(TaskName::Video(0), &places, encode()).await.unwrap_err();
    assert_eq!(error.code, "source_changed", "{error}");
    sources.delete("source").await.unwrap();
    let error = crew.run(TaskName::Video(0), &places, encode()).await.unwrap_err();
    assert_eq!(error.code, "source_missing", "{error}");
}
