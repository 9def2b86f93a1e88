//! Attempts, as the coordinator sees them.

use std::num::NonZeroUsize;

use shared::error::ErrorKind;
use shared::fleet::{AttemptRef, Class, Directive, Standing};
use shared::index::{ListRef, PacketEntry, PacketList, Place, packed_key};
use shared::rendition::{AudioCodec, AudioRendition};
use shared::source::{AudioStream, DecoderSetup};
use shared::task::{
    AttemptId, AudioTask, Cancellation, IndexReport, Outcome, Progress, Receipt, StoryboardTask, Task, TaskName, Work,
    WorkerId,
};
use shared::time::{SegmentGrid, Timescale};
use worker::config::WorkerConfig;

use crate::{Crew, Scene, config};

#[tokio::test]
async fn an_attempt_reports_in_order_and_stores_what_it_makes() {
    let (scene, crew) = (Scene::new(), Crew::start(config()));
    crew.push(scene.task("fine")).await;
    let outcomes = crew.outcomes().await;
    assert_eq!(outcomes.first(), Some(&Outcome::Started));
    assert!(outcomes.contains(&Outcome::Index(IndexReport::Audio { stream: 1, runs: vec![] })));
    let [.., Outcome::Progress(last), Outcome::Done(Receipt::Index(receipt))] = &outcomes[..] else {
        panic!("{outcomes:?}")
    };
    assert_eq!(last, &Progress { done_ms: 3960, frames: 99 });
    assert!(outcomes.len() < 20, "100 steps in no time are not worth 100 reports: {outcomes:?}");
    assert!(receipt.spent.wall_ms >= 5 && receipt.spent.cpu_ms > 0, "{receipt:?}");
    assert_eq!(std::fs::read(scene.path().join("target/a/1.m4s")).unwrap(), b"segment");
    crew.stop().await;
}

/// Every way to fail, each followed by an attempt that succeeds, on the same slot of the same worker.
#[tokio::test]
async fn each_failure_costs_its_attempt_and_nothing_else() {
    use ErrorKind::{Bug, Exhausted, Input};
    let failures = [
        ("abort", Bug, "slot_crashed", "SIGABRT"),
        ("abort", Bug, "slot_crashed", "assertion of a C library"),
        ("exit", Bug, "slot_crashed", "exit status: 3"),
        ("panic", Bug, "panic", "program.rs"),
        ("panic", Bug, "panic", "no frame can be that large"),
        ("killed", Exhausted, "slot_killed", "SIGKILL"),
        ("greedy", Exhausted, "slot_memory", "slot_memory_bytes"),
        ("hang", Bug, "slot_stalled", "stall_timeout_ms"),
        ("still", Bug, "slot_stalled", "stall_timeout_ms"),
        ("garbage", Bug, "slot_protocol", "broke the protocol"),
        ("huge", Bug, "slot_protocol", "4294967295 bytes"),
        ("escape", Bug, "slot_protocol", "../outside"),
        ("liar", Bug, "slot_protocol", "not what index makes"),
        ("stranger", Bug, "slot_protocol", "without a proper kind"),
        ("broken", Input, "no_frames", "nothing decodes"),
    ];
    let config = WorkerConfig { stall_timeout_ms: 2_000, ..config() };
    let (scene, crew) = (Scene::new(), Crew::start(config));
    for (behaviour, kind, code, words) in failures {
        let Outcome::Failed(error) = crew.run(scene.task(behaviour)).await else { panic!("{behaviour} succeeded") };
        assert_eq!((error.kind, error.code.as_str()), (kind, code), "{behaviour}: {error}");
        assert!(error.message.contains(words), "{behaviour}: {error}");
        assert!(matches!(crew.run(scene.task("fine")).await, Outcome::Done(_)), "after {behaviour}");
    }
    assert!(!scene.path().join("outside").try_exists().unwrap());
    crew.stop().await;
}

#[tokio::test]
async fn an_attempt_has_its_share_of_cpu_time() {
    let (scene, crew) = (Scene::new(), Crew::start(WorkerConfig { attempt_cpu_s: 1, ..config() }));
    let Outcome::Failed(error) = crew.run(scene.task("busy")).await else { panic!("it has no end") };
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Input, "slot_cpu_limit"), "{error}");
    crew.stop().await;
}

#[tokio::test]
async fn an_attempt_that_only_ever_advances_has_an_end() {
    let config = WorkerConfig { attempt_timeout_ms: 1_000, ..config() };
    let (scene, crew) = (Scene::new(), Crew::start(config));
    let Outcome::Failed(error) = crew.run(scene.task("endless")).await else { panic!("it has no end") };
    assert_eq!(error.code, "slot_timeout", "{error}");
    crew.stop().await;
}

#[tokio::test]
async fn a_missing_source_is_the_users_to_mend() {
    let (scene, crew) = (Scene::new(), Crew::start(config()));
    let mut task = scene.task("fine");
    task.places.source = "/nowhere/clip.mp4".into();
    let Outcome::Failed(error) = crew.run(task).await else { panic!("there is no source") };
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Input, "source_missing"));
    crew.stop().await;
}

#[tokio::test]
async fn a_slot_program_that_does_not_start_fails_attempts_not_the_worker() {
    let mut config = config();
    config.slot_program.path = "/nowhere/farm".into();
    let (scene, crew) = (Scene::new(), Crew::start(config));
    for _ in 0..2 {
        let Outcome::Failed(error) = crew.run(scene.task("fine")).await else { panic!("there is no program") };
        assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Exhausted, "slot_spawn"), "{error}");
    }
    crew.stop().await;
}

#[tokio::test]
async fn a_slot_runs_several_tasks_and_is_replaced_after_its_share() {
    let config = WorkerConfig { slot_tasks: 2, ..config() };
    let (scene, crew) = (Scene::new(), Crew::start(config));
    let task = scene.task_of("fine", TaskName::Storyboard, storyboard(vec![]));
    let pids = pids(&crew, [&task; 4]).await;
    assert_eq!((pids[0], pids[2]), (pids[1], pids[3]));
    assert_ne!(pids[0], pids[2]);
    crew.stop().await;
}

#[tokio::test]
async fn a_slot_that_has_opened_a_container_takes_no_other_task() {
    let (scene, crew) = (Scene::new(), Crew::start(config()));
    let other = scene.task_of("fine", TaskName::Storyboard, storyboard(vec![]));
    let pids = pids(&crew, [&scene.task("fine"), &other, &other]).await;
    assert_ne!(pids[0], pids[1]);
    assert_eq!(pids[1], pids[2]);
    crew.stop().await;
}

/// The processes that ran these tasks, one after another.
async fn pids<const N: usize>(crew: &Crew, tasks: [&Task; N]) -> Vec<u64> {
    let mut pids = Vec::new();
    for task in tasks {
        pids.push(match crew.run(task.clone()).await {
            Outcome::Done(Receipt::Index(receipt)) => receipt.bytes,
            Outcome::Done(Receipt::Storyboard(receipt)) => receipt.sheets[0].key.parse().unwrap(),
            other => panic!("{other:?}"),
        });
    }
    pids
}

#[tokio::test]
async fn a_cancelled_job_loses_its_running_and_its_waiting_attempts_and_may_be_tried_again() {
    let (scene, crew) = (Scene::new(), Crew::start(config()));
    crew.push(scene.task("hang")).await;
    crew.push(scene.task("hang")).await;
    assert_eq!(crew.report().await.outcome, Outcome::Started);
    let job = scene.task("hang").id.job;
    crew.direct(Directive::Cancel(Cancellation { job, last: AttemptId(1) })).await;
    for _ in 0..2 {
        let Some(Outcome::Failed(error)) = crew.outcomes().await.pop() else { panic!("it succeeded") };
        assert_eq!(error.kind, ErrorKind::Cancelled);
    }
    assert!(matches!(crew.run(scene.task("fine")).await, Outcome::Done(_)));
    crew.stop().await;
}

#[tokio::test]
async fn what_a_cancelled_job_tries_when_it_is_asked_for_again_runs() {
    let (scene, crew) = (Scene::new(), Crew::start(config()));
    let early = Task { attempt: AttemptId(3), ..scene.task("fine") };
    let again = Task { attempt: AttemptId(4), ..scene.task("fine") };
    let cancellation = Cancellation { job: early.id.job.clone(), last: early.attempt };
    crew.direct(Directive::Cancel(cancellation.clone())).await;
    assert!(matches!(crew.run(again.clone()).await, Outcome::Done(_)));
    let Outcome::Failed(error) = crew.run(early).await else { panic!("it is on the queue still, and not wanted") };
    assert_eq!(error.kind, ErrorKind::Cancelled);
    crew.direct(Directive::Cancel(cancellation)).await;
    assert!(matches!(crew.run(again).await, Outcome::Done(_)), "the same cancellation once more changes nothing");
    crew.stop().await;
}

#[tokio::test]
async fn a_heartbeat_names_what_runs_and_a_single_attempt_can_be_stopped() {
    let (scene, crew) = (Scene::new(), Crew::start(config()));
    assert_eq!(crew.heartbeat().await.running, []);
    let task = scene.task("hang");
    let attempt = AttemptRef { task: task.id.clone(), attempt: task.attempt };
    crew.push(task).await;
    assert_eq!(crew.report().await.outcome, Outcome::Started);
    assert_eq!(crew.heartbeat().await.running, std::slice::from_ref(&attempt));
    crew.direct(Directive::Stop(attempt)).await;
    let Some(Outcome::Failed(error)) = crew.outcomes().await.pop() else { panic!("it succeeded") };
    assert_eq!(error.kind, ErrorKind::Cancelled);
    crew.stop().await;
}

#[tokio::test]
async fn an_attempt_that_is_delivered_twice_runs_once() {
    let config = WorkerConfig { slots: NonZeroUsize::new(2).unwrap(), ..config() };
    let (scene, crew) = (Scene::new(), Crew::start(config));
    let task = scene.task("patient");
    crew.push(task.clone()).await;
    assert_eq!(crew.report().await.outcome, Outcome::Started);
    crew.push(task).await;
    assert!(matches!(crew.run(scene.task("fine")).await, Outcome::Done(_)), "the second slot is not free");
    std::fs::write(scene.path().join("source"), b"grown").unwrap();
    assert!(matches!(crew.outcomes().await.pop(), Some(Outcome::Done(_))));
    crew.stop().await;
}

#[tokio::test]
async fn a_worker_that_holds_takes_nothing_until_it_is_released_and_one_told_to_drain_ends() {
    let (scene, mut crew) = (Scene::new(), Crew::start(config()));
    let tester = WorkerId::new("tester").unwrap();
    crew.direct(Directive::Hold(tester.clone())).await;
    while crew.heartbeat().await.standing != Standing::Holding {}
    crew.push(scene.task("fine")).await;
    crew.direct(Directive::Drain(WorkerId::new("other").unwrap())).await;
    assert_eq!(crew.heartbeat().await.running, []);
    crew.direct(Directive::Release(tester.clone())).await;
    assert!(matches!(crew.outcomes().await.pop(), Some(Outcome::Done(_))));
    crew.direct(Directive::Drain(tester)).await;
    crew.ended().await;
}

#[tokio::test]
async fn a_worker_that_drains_finishes_what_it_has_begun_and_begins_nothing() {
    let (scene, mut crew) = (Scene::new(), Crew::start(config()));
    crew.push(scene.task("patient")).await;
    assert_eq!(crew.report().await.outcome, Outcome::Started);
    crew.draining.cancel();
    crew.push(scene.task("fine")).await;
    std::fs::write(scene.path().join("source"), b"grown").unwrap();
    assert!(matches!(crew.outcomes().await.pop(), Some(Outcome::Done(_))));
    crew.ended().await;
    assert_waiting(&*crew.queue, "fine").await;
}

#[tokio::test]
async fn a_worker_that_aborts_gives_its_tasks_back() {
    let (scene, mut crew) = (Scene::new(), Crew::start(config()));
    crew.push(scene.task("hang")).await;
    assert_eq!(crew.report().await.outcome, Outcome::Started);
    crew.abort.cancel();
    crew.ended().await;
    assert_waiting(&*crew.queue, "hang").await;
}

async fn assert_waiting(queue: &dyn shared::queue::Queue, behaviour: &str) {
    let delivery = queue.pull(Class::Cpu).await.unwrap().unwrap();
    assert_eq!(delivery.task().id.job.as_str(), behaviour);
}

#[tokio::test]
async fn a_receipt_names_only_what_was_stored() {
    let (scene, crew) = (Scene::new(), Crew::start(config()));
    let Outcome::Failed(error) = crew.run(scene.task_of("liar", TaskName::Storyboard, storyboard(vec![]))).await else {
        panic!("the lie is believed")
    };
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Bug, "receipt_object"), "{error}");
    assert!(error.message.contains("sheet.jpg"), "{error}");
    crew.stop().await;
}

#[tokio::test]
async fn tiles_arrive_in_order_however_many_there_are() {
    let scene = Scene::new();
    let keys: Vec<String> = (0..150).map(|n| format!("tiles/{n:06}.raw")).collect();
    std::fs::create_dir_all(scene.path().join("work/tiles")).unwrap();
    for (n, key) in keys.iter().enumerate() {
        std::fs::write(scene.path().join("work").join(key), [n as u8]).unwrap();
    }
    let made = made_by(&scene, TaskName::Storyboard, storyboard(keys)).await;
    assert!(made.into_iter().eq(0..150));
}

#[tokio::test]
async fn packets_are_read_from_wherever_they_lie() {
    let scene = Scene::new();
    std::fs::create_dir_all(scene.path().join("work/packed")).unwrap();
    std::fs::create_dir_all(scene.path().join("work/index")).unwrap();
    std::fs::write(scene.path().join("source"), b"..source..").unwrap();
    std::fs::write(scene.path().join("work").join(packed_key(1, 3)), b"packed.").unwrap();
    let packet = |place, offset| PacketEntry {
        place,
        offset,
        size: 6,
        pts: 0,
        dts: 0,
        duration: 1024,
        key: true,
        discard: false,
    };
    let lists: Vec<Vec<u8>> = [packet(Place::Source, 2), packet(Place::Packed(3), 0)]
        .map(|packet| PacketList { packets: vec![packet], ..Default::default() }.encode())
        .into();
    std::fs::write(scene.path().join("work/index/1-000000"), lists.concat()).unwrap();
    let (first, second) = (lists[0].len() as u32, lists[1].len() as u32);
    let at = |offset, len| ListRef { stream: 1, part: 0, offset, len };
    let work = audio_task(vec![at(u64::from(first), second), at(0, first)]);
    assert_eq!(made_by(&scene, TaskName::Audio(0), Work::Audio(work)).await, b"packedsource");
}

/// What the behaviour `read` finds in the inputs of a task.
async fn made_by(scene: &Scene, name: TaskName, work: Work) -> Vec<u8> {
    let crew = Crew::start(config());
    let task: Task = scene.task_of("read", name, work);
    let outcome = crew.run(task).await;
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    crew.stop().await;
    std::fs::read(scene.path().join("target/all.bin")).unwrap()
}

fn storyboard(tiles: Vec<String>) -> Work {
    Work::Storyboard(StoryboardTask { tiles, tile_width_px: 2, tile_height_px: 2, columns: 10, rows: 15 })
}

fn audio_task(lists: Vec<ListRef>) -> AudioTask {
    let stream = AudioStream {
        index: 1,
        codec: "aac".into(),
        setup: DecoderSetup(vec![]),
        timescale: Timescale::new(48_000).unwrap(),
        sample_rate_hz: 48_000,
        channels: 2,
        language: "und".into(),
        title: String::new(),
        default: true,
    };
    let rendition = AudioRendition {
        name: "audio".into(),
        stream: 1,
        codec: AudioCodec::Aac,
        bitrate_bps: 128_000,
        sample_rate_hz: 48_000,
        channels: 2,
        language: "und".into(),
        title: String::new(),
        default: true,
    };
    AudioTask { stream, lists, grid: SegmentGrid::new(6000).unwrap(), segment_count: 1, rendition }
}
