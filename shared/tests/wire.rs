//! The wire format: golden files of every kind of task and report, and what is refused.
//!
//! The files are version 1 of the format as it was first written. They may be added to, never changed: a new field must
//! leave the old bytes readable. `FARM_BLESS=1 cargo test -p shared --test wire` writes those that are missing.

use std::collections::BTreeMap;
use std::path::PathBuf;

use proptest::prelude::*;
use prost::Message;
use proto::v1;
use shared::cmaf::DecoderConfig;
use shared::error::{ErrorKind, TaskError};
use shared::family::Family;
use shared::fleet::{Ability, AttemptRef, Class, Directive, GiveWay, GpuShare, Heartbeat, Standing};
use shared::index::{AudioRun, Gop, ListRef};
use shared::rendition::{AudioCodec, AudioRendition, RateControl, VideoCodec, VideoRendition};
use shared::source::{AudioStream, Color, DecoderSetup, Finding, SourceInfo, Timing, Verdict, VideoStream};
use shared::task::*;
use shared::time::{FrameRate, MediaTime, SegmentGrid, Timescale};
use shared::wire::{
    LARGEST_MESSAGE_BYTES, decode_directive, decode_heartbeat, decode_report, decode_task, encode_directive,
    encode_heartbeat, encode_report, encode_task,
};

#[path = "wire/receipts.rs"]
mod receipts;
use receipts::receipts;

const AVCC: &str = "0164000cffe1001a6764000cacd941419f9f011000000300100000030320f142996001000668ebe3cb22c0fdf8f800";
const HLG: Color = Color { primaries: 9, transfer: 18, matrix: 9, full_range: true };

fn list(part: u32) -> ListRef {
    ListRef { stream: 3, part, offset: 1 << 33, len: 4_000 }
}

fn timescale(ticks: u32) -> Timescale {
    Timescale::new(ticks).unwrap()
}

fn video_stream() -> VideoStream {
    VideoStream {
        index: 3,
        codec: "hevc".into(),
        setup: DecoderSetup(vec![1, 2, 0xff]),
        timescale: timescale(90_000),
        width_px: 1921,
        height_px: 1080,
        sample_aspect: (4, 3),
        rotation: 270,
        mirrored: true,
        frame_rate: FrameRate { numerator: 30_000, denominator: 1_001 },
        interlaced: true,
        pixel_format: "yuv420p10le".into(),
        color: HLG,
        timing: Timing::Packets,
    }
}

fn audio_stream() -> AudioStream {
    AudioStream {
        index: 1,
        codec: "ac3".into(),
        setup: DecoderSetup(vec![9]),
        timescale: timescale(44_100),
        sample_rate_hz: 44_100,
        channels: 6,
        language: "de".into(),
        title: "Kommentar".into(),
        default: true,
    }
}

fn video_rendition(name: &str, codec: VideoCodec, height_px: u32) -> VideoRendition {
    let rate = RateControl { crf: 22.5, maxrate_bps: 5_000_000, bufsize_bits: 10_000_000 };
    let preset = if codec == VideoCodec::Av1 { "8" } else { "veryfast" };
    VideoRendition { name: name.into(), codec, width_px: height_px * 2, height_px, rate, preset: preset.into() }
}

fn findings() -> Vec<Finding> {
    let (code, text, handling) = ("gap".into(), "2 s without audio at 00:10".into(), "filled with silence".into());
    vec![Finding { code, text, handling }]
}

fn video_task() -> VideoTask {
    VideoTask {
        stream: video_stream(),
        lists: vec![list(0), list(1)],
        start: 540_000,
        end: Some(1_080_000),
        grid: SegmentGrid::new(6_000).unwrap(),
        segment_count: Some(100),
        transform: Transform { rotation: 90, mirror: true, deinterlace: true, tone_map: true },
        color: HLG,
        renditions: vec![
            video_rendition("v-1080", VideoCodec::H264, 1080),
            video_rendition("v-720", VideoCodec::Hevc, 720),
            video_rendition("v-360", VideoCodec::Av1, 360),
        ],
        images: Some(ImagePlan {
            tile_interval_ms: 10_000,
            tile_width_px: 160,
            tile_height_px: 90,
            poster_at: Some(900_000),
        }),
        pins: BTreeMap::new(),
    }
}

fn tasks() -> Vec<(&'static str, Task)> {
    let last_chunk = VideoTask { end: None, segment_count: None, images: None, ..video_task() };
    let audio = AudioTask {
        stream: audio_stream(),
        lists: vec![list(7)],
        grid: SegmentGrid::new(2_000).unwrap(),
        segment_count: 12,
        rendition: AudioRendition {
            name: "a-de".into(),
            stream: 1,
            codec: AudioCodec::Aac,
            bitrate_bps: 128_000,
            sample_rate_hz: 48_000,
            channels: 2,
            language: "de".into(),
            title: "Kommentar".into(),
            default: true,
        },
    };
    let pins = [("v-1080", Family::NvencAda), ("v-360", Family::Software)].map(|(name, family)| (name.into(), family));
    let pinned = VideoTask { pins: pins.into(), ..video_task() };
    let storyboard = StoryboardTask {
        tiles: vec!["tiles/000000.jpg".into(), "tiles/000001.jpg".into()],
        tile_width_px: 160,
        tile_height_px: 90,
        columns: 10,
        rows: 10,
    };
    let task = |name, work| Task {
        id: TaskId { job: JobId::new("job-1").unwrap(), name },
        attempt: AttemptId(2),
        places: Places { source: "file:///a/b c.mp4".into(), target: "out".into(), work: "out/.work".into() },
        source_mark: None,
        work,
        avoid: vec![],
        trace: None,
    };
    let index = Work::Index(IndexTask { max_pixels: 1 << 26, growing_ms: None });
    let avoid = ["worker-1", "worker-2"].map(|id| WorkerId::new(id).unwrap()).to_vec();
    vec![
        ("task-index", task(TaskName::Index, index.clone())),
        ("task-video", task(TaskName::Video(12), Work::Video(video_task()))),
        ("task-video-last", task(TaskName::Video(13), Work::Video(last_chunk))),
        ("task-audio", task(TaskName::Audio(1), Work::Audio(audio))),
        ("task-storyboard", task(TaskName::Storyboard, Work::Storyboard(storyboard))),
        ("task-avoid", Task { avoid, ..task(TaskName::Index, index) }),
        ("task-video-pinned", task(TaskName::Video(12), Work::Video(pinned))),
    ]
}

fn reports() -> Vec<(&'static str, TaskReport)> {
    let source = SourceInfo {
        container: "mov,mp4".into(),
        size_bytes: Some(1 << 40),
        mark: None,
        declared_ms: Some(600_000),
        verdict: Verdict::NonStandard,
        findings: findings(),
        video: Some(video_stream()),
        audio: vec![audio_stream()],
        ignored: vec!["stream 4: cover art".into()],
    };
    let gop = Gop { start: 9_000, first: -3_000, last: 15_000, end: 18_000, frames: 7, bytes: 1 << 35, list: list(2) };
    let runs = vec![AudioRun { start: -1_024, end: 44_100, list: list(3) }];
    let error = TaskError::new(ErrorKind::Exhausted, "memory", "the slot had 400 MiB");
    let report = |name, outcome| TaskReport {
        task: TaskId { job: JobId::new("job-1").unwrap(), name },
        attempt: AttemptId(1),
        worker: WorkerId::new("local").unwrap(),
        outcome,
    };
    let index = |piece| report(TaskName::Index, Outcome::Index(piece));
    let progress = Outcome::Progress(Progress { done_ms: 4_000, frames: 96 });
    let mut reports = vec![
        ("report-started", report(TaskName::Video(0), Outcome::Started)),
        ("report-progress", report(TaskName::Video(0), progress)),
        ("report-index-source", index(IndexReport::Source(source))),
        ("report-index-gops", index(IndexReport::Gops(vec![gop, gop]))),
        ("report-index-audio", index(IndexReport::Audio { stream: 1, runs })),
        ("report-failed", report(TaskName::Audio(1), Outcome::Failed(error))),
    ];
    let done = |(golden, name, receipt)| (golden, report(name, Outcome::Done(receipt)));
    reports.extend(receipts().into_iter().map(done));
    reports
}

fn attempt(attempt: u32) -> AttemptRef {
    AttemptRef {
        task: TaskId { job: JobId::new("job-1").unwrap(), name: TaskName::Video(12) },
        attempt: AttemptId(attempt),
    }
}

fn heartbeats() -> Vec<(&'static str, Heartbeat)> {
    let heartbeat = |standing, running| Heartbeat {
        build: "0.1.0".into(),
        host: "Röhre".into(),
        slots: 4,
        running,
        standing,
        speed_ms_per_s: 2_500,
        proofs: 0,
        ..shared::testing::heartbeat("worker-1")
    };
    let started = Heartbeat { started_ms: 1_700_000_000_000, ..heartbeat(Standing::Working, vec![attempt(1)]) };
    let works = Ability { class: Class::Cpu, name: "h264".into(), lack: None };
    let lacks = Ability { name: "hevc".into(), lack: Some("this FFmpeg has no libx265".into()), ..works.clone() };
    let proven = Heartbeat { abilities: vec![works, lacks], proofs: 2, ..heartbeat(Standing::Working, vec![]) };
    let gpu = GpuShare { slots: 12, busy: 1, speed_ms_per_s: 40_000, on_trial: false };
    let on_trial =
        Heartbeat { gpu: GpuShare { on_trial: true, ..Default::default() }, ..heartbeat(Standing::Working, vec![]) };
    let classes = Class::ALL.to_vec();
    let on_gpus = Heartbeat { gpu, classes, ..heartbeat(Standing::Working, vec![attempt(1), attempt(2)]) };
    vec![
        ("heartbeat-gpu", on_gpus),
        ("heartbeat-gpu-on-trial", on_trial),
        ("heartbeat-working", heartbeat(Standing::Working, vec![attempt(1), attempt(2)])),
        ("heartbeat-holding", heartbeat(Standing::Holding, vec![])),
        ("heartbeat-draining", heartbeat(Standing::Draining, vec![attempt(1)])),
        ("heartbeat-started", started),
        ("heartbeat-proven", proven),
    ]
}

fn directives() -> Vec<(&'static str, Directive)> {
    let worker = || WorkerId::new("worker-1").unwrap();
    let give_way = GiveWay { worker: worker(), started_ms: 1_700_000_000_000, host: "cellar".into() };
    vec![
        ("directive-cancel", Directive::Cancel(Cancellation { job: JobId::new("job-1").unwrap(), last: AttemptId(7) })),
        ("directive-stop", Directive::Stop(attempt(3))),
        ("directive-hold", Directive::Hold(worker())),
        ("directive-release", Directive::Release(worker())),
        ("directive-drain", Directive::Drain(worker())),
        ("directive-prove", Directive::Prove(worker())),
        ("directive-give-way", Directive::GiveWay(give_way)),
    ]
}

/// The committed bytes of this name.
fn golden(name: &str, now: &[u8]) -> Vec<u8> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.bin"));
    if std::env::var_os("FARM_BLESS").is_some() && !file.try_exists().unwrap() {
        std::fs::write(&file, now).unwrap();
    }
    std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

#[test]
fn golden_tasks_are_read_and_written_byte_for_byte() {
    for (name, task) in tasks() {
        let bytes = golden(name, &encode_task(&task));
        assert_eq!(decode_task(&bytes).unwrap(), task, "{name}");
        assert_eq!(encode_task(&task), bytes, "{name}");
    }
}

#[test]
fn golden_reports_are_read_and_written_byte_for_byte() {
    for (name, report) in reports() {
        let bytes = golden(name, &encode_report(&report));
        assert_eq!(decode_report(&bytes).unwrap(), report, "{name}");
        assert_eq!(encode_report(&report), bytes, "{name}");
    }
}

#[test]
fn golden_heartbeats_are_read_and_written_byte_for_byte() {
    for (name, heartbeat) in heartbeats() {
        let bytes = golden(name, &encode_heartbeat(&heartbeat));
        assert_eq!(decode_heartbeat(&bytes).unwrap(), heartbeat, "{name}");
        assert_eq!(encode_heartbeat(&heartbeat), bytes, "{name}");
    }
}

#[test]
fn golden_directives_are_read_and_written_byte_for_byte() {
    for (name, directive) in directives() {
        let bytes = golden(name, &encode_directive(&directive));
        assert_eq!(decode_directive(&bytes).unwrap(), directive, "{name}");
        assert_eq!(encode_directive(&directive), bytes, "{name}");
    }
}

#[test]
fn what_is_wrong_with_a_heartbeat_or_a_directive_is_named() {
    let error = |spoil: &dyn Fn(&mut v1::Heartbeat)| {
        let mut message = v1::Heartbeat::decode(encode_heartbeat(&heartbeats()[0].1).as_slice()).unwrap();
        spoil(&mut message);
        decode_heartbeat(&message.encode_to_vec()).unwrap_err().to_string()
    };
    assert_eq!(error(&|heartbeat| heartbeat.standing = 0), "wire: standing: 0 is no known Standing");
    assert_eq!(error(&|heartbeat| heartbeat.classes.push(9)), "wire: classes: 9 is no known Class");
    assert_eq!(error(&|heartbeat| heartbeat.running[1].attempt = 0), "wire: running[1].attempt: 0 is not above 0");
    let said = error(&|heartbeat| heartbeat.worker.clear());
    assert_eq!(said, "wire: worker: \"\" is not 1 to 64 of a-z, 0-9 and -");

    let error = |content| decode_directive(&v1::Directive { content }.encode_to_vec()).unwrap_err().to_string();
    assert_eq!(error(None), "wire: content: missing");
    let stop = v1::AttemptRef { task: None, attempt: 1 };
    assert_eq!(error(Some(v1::directive::Content::Stop(stop))), "wire: stop.task: missing");
    assert_eq!(
        error(Some(v1::directive::Content::GiveWay(v1::GiveWay::default()))),
        "wire: give_way.worker: \"\" is not 1 to 64 of a-z, 0-9 and -"
    );
    let said = error(Some(v1::directive::Content::Drain("a/b".into())));
    assert_eq!(said, "wire: drain: \"a/b\" is not 1 to 64 of a-z, 0-9 and -");
}

#[test]
fn every_enum_value_survives() {
    for kind in [
        ErrorKind::Input,
        ErrorKind::Unsupported,
        ErrorKind::Transient,
        ErrorKind::Exhausted,
        ErrorKind::Cancelled,
        ErrorKind::Bug,
    ] {
        let mut report = reports()[0].1.clone();
        report.outcome = Outcome::Failed(TaskError::new(kind, "code", "message"));
        assert_eq!(decode_report(&encode_report(&report)).unwrap(), report);
    }
    for verdict in [Verdict::Standard, Verdict::NonStandard, Verdict::Unsupported, Verdict::Corrupt] {
        let mut report = reports()[0].1.clone();
        report.task.name = TaskName::Index;
        let receipt = IndexReceipt { verdict, findings: Vec::new(), bytes: 0, spent: Spent::default() };
        report.outcome = Outcome::Done(Receipt::Index(receipt));
        assert_eq!(decode_report(&encode_report(&report)).unwrap(), report);
    }
    for (timing, codec) in [(Timing::Packets, AudioCodec::Aac), (Timing::Order, AudioCodec::Opus)] {
        let (mut video, mut audio) = (tasks()[1].1.clone(), tasks()[3].1.clone());
        let (Work::Video(task), Work::Audio(other)) = (&mut video.work, &mut audio.work) else { panic!("other tasks") };
        (task.stream.timing, other.rendition.codec) = (timing, codec);
        assert_eq!(decode_task(&encode_task(&video)).unwrap(), video);
        assert_eq!(decode_task(&encode_task(&audio)).unwrap(), audio);
    }
}

/// What is said about a task after `spoil`.
fn task_error(index: usize, spoil: impl FnOnce(&mut v1::Task)) -> String {
    let mut message = v1::Task::decode(encode_task(&tasks()[index].1).as_slice()).unwrap();
    spoil(&mut message);
    decode_task(&message.encode_to_vec()).unwrap_err().to_string()
}

fn video_error(spoil: impl FnOnce(&mut v1::VideoTask)) -> String {
    task_error(1, |message| {
        let Some(v1::task::Work::Video(task)) = &mut message.work else { panic!("not a video task") };
        spoil(task);
    })
}

#[test]
fn what_is_wrong_with_a_task_is_named() {
    let long = "a".repeat(65);
    assert_eq!(task_error(0, |task| task.id = None), "wire: id: missing");
    assert_eq!(task_error(0, |task| task.work = None), "wire: work: missing");
    assert_eq!(task_error(0, |task| task.places = None), "wire: places: missing");
    assert_eq!(task_error(0, |task| task.attempt = 0), "wire: attempt: 0 is not above 0");
    assert_eq!(
        task_error(0, |task| task.id.as_mut().unwrap().task = "storyboard".into()),
        "wire: work: not what storyboard is"
    );
    assert_eq!(
        task_error(1, |task| task.id.as_mut().unwrap().task = "video-12".into()),
        "wire: id.task: video-12 is not how that task is spelt"
    );
    assert!(task_error(0, |task| task.id.as_mut().unwrap().job = long).starts_with("wire: id.job: "));
    let up = "tiles/../../x".to_owned();
    let escape = task_error(4, |task| {
        let Some(v1::task::Work::Storyboard(task)) = &mut task.work else { panic!("not a storyboard") };
        task.tiles[1] = up;
    });
    assert_eq!(escape, "wire: work.tiles: tiles/../../x is not an object key");
}

#[test]
fn what_is_wrong_with_a_video_task_is_named() {
    let stream = |task: &mut v1::VideoTask| task.stream.clone().unwrap();
    for (error, expected) in [
        (video_error(|task| task.renditions[1].width_px = 1281), "renditions[1].width_px: 1281 is not even"),
        (video_error(|task| task.renditions[0].height_px = 0), "renditions[0].height_px: 0 is not above 0"),
        (video_error(|task| task.renditions[0].codec = 0), "renditions[0].codec: 0 is no known VideoCodec"),
        (video_error(|task| task.renditions[2].codec = 77), "renditions[2].codec: 77 is no known VideoCodec"),
        (
            video_error(|task| task.renditions[0].name = "V/1".into()),
            "renditions[0].name: V/1 is not 1 to 64 of a-z, 0-9 and -",
        ),
        (
            video_error(|task| task.renditions[0].rate.as_mut().unwrap().crf = f32::NAN),
            "renditions[0].rate.crf: NaN is not 0 to 63",
        ),
        (video_error(|task| task.renditions.clear()), "renditions: none"),
        (
            video_error(|task| task.pins.push(v1::Pin { rendition: "v-1080".into(), family: "x".into() })),
            "pins.family: \"x\" is not an encoder family",
        ),
        (video_error(|task| task.segment_ms = 1), "segment_ms: 1 is not a duration segments may have"),
        (video_error(|task| task.segment_count = Some(0)), "segment_count: 0 is not above 0"),
        (video_error(|task| task.start = -1), "start: -1 is not in the presentation"),
        (video_error(|task| task.end = Some(540_000)), "end: 540000 is not after the start"),
        (
            video_error(|task| task.lists[0].offset = u64::MAX),
            "lists[0].offset: 18446744073709551615 is not below the end of all objects",
        ),
        (
            video_error(|task| task.transform.as_mut().unwrap().rotation = 45),
            "transform.rotation: 45 is not 0, 90, 180 or 270",
        ),
        (video_error(|task| task.color.as_mut().unwrap().matrix = 256), "color.matrix: 256 is above 255"),
        (
            video_error(|task| task.stream = Some(v1::VideoStream { timescale: 0, ..stream(task) })),
            "stream.timescale: 0 is no timescale",
        ),
        (
            video_error(|task| task.stream = Some(v1::VideoStream { timing: 0, ..stream(task) })),
            "stream.timing: 0 is no known Timing",
        ),
        (video_error(|task| task.images.as_mut().unwrap().tile_width_px = 3), "images.tile_width_px: 3 is not even"),
    ] {
        assert_eq!(error, format!("wire: work.{expected}"));
    }
}

#[test]
fn what_is_wrong_with_a_receipt_is_named() {
    let (_, done) = reports().into_iter().find(|(name, _)| *name == "report-done-video").unwrap();
    let error = |spoil: &dyn Fn(&mut v1::VideoReceipt)| {
        let mut message = v1::TaskReport::decode(encode_report(&done).as_slice()).unwrap();
        let Some(v1::task_report::Outcome::Done(receipt)) = &mut message.outcome else { panic!("not done") };
        let Some(v1::receipt::Made::Video(video)) = &mut receipt.made else { panic!("not a chunk") };
        spoil(video);
        decode_report(&message.encode_to_vec()).unwrap_err().to_string()
    };
    for (error, expected) in [
        (error(&|video| video.parts[0].timescale = 0), "parts[0].timescale: 0 is no timescale"),
        (error(&|video| video.parts[0].segments[1].object = None), "parts[0].segments[1].object: missing"),
        (
            error(&|video| video.parts[0].config = Some(v1::DecoderConfig { config: None })),
            "parts[0].config.config: missing",
        ),
        (
            error(&|video| video.poster.as_mut().unwrap().key = "/etc/x".into()),
            "poster.key: /etc/x is not an object key",
        ),
        (error(&|video| video.poster.as_mut().unwrap().sha256.truncate(31)), "poster.sha256: 31 bytes are not 32"),
        (error(&|video| video.parts[0].family = "x".into()), "parts[0].family: \"x\" is not an encoder family"),
        (error(&|video| video.spent = None), "spent: missing"),
    ] {
        assert_eq!(error, format!("wire: outcome.{expected}"));
    }
    let broken = v1::decoder_config::Config::Avc(vec![1, 2, 3]);
    let said = error(&|video| video.parts[0].config = Some(v1::DecoderConfig { config: Some(broken.clone()) }));
    assert!(said.starts_with("wire: outcome.parts[0].config.config: avcC: "), "{said}");
    let other = TaskReport { task: TaskId { name: TaskName::Audio(12), ..done.task.clone() }, ..done.clone() };
    let said = decode_report(&encode_report(&other)).unwrap_err().to_string();
    assert_eq!(said, "wire: outcome: not what audio-000012 makes");
}

#[test]
fn fields_of_a_later_version_are_passed_over() {
    let (_, task) = &tasks()[1];
    let mut bytes = encode_task(task);
    bytes.extend([0xfa, 0x3f, 3, b'n', b'e', b'w']); // field 1023, 3 bytes
    assert_eq!(decode_task(&bytes).unwrap(), *task);
}

#[test]
fn messages_beyond_all_measure_are_not_read() {
    let error = decode_report(&vec![0; LARGEST_MESSAGE_BYTES + 1]).unwrap_err();
    assert_eq!(error.to_string(), "wire: report: 8388609 bytes, at most 8388608 are read");
}

proptest! {
    #[test]
    fn damaged_messages_never_panic(which in 0usize..16, at in 0usize..600, value: [u8; 3], cut in 0usize..900) {
        let all: Vec<_> = tasks().iter().map(|(_, task)| encode_task(task))
            .chain(reports().iter().map(|(_, report)| encode_report(report))).collect();
        let mut bytes = all[which % all.len()].clone();
        bytes.iter_mut().skip(at).zip(value).for_each(|(byte, value)| *byte = value);
        bytes.truncate(cut);
        // What is accepted must be sound enough to be written again.
        if let Ok(task) = decode_task(&bytes) {
            prop_assert_eq!(decode_task(&encode_task(&task)).unwrap(), task);
        }
        if let Ok(report) = decode_report(&bytes) {
            prop_assert_eq!(decode_report(&encode_report(&report)).unwrap(), report);
        }
    }
}
