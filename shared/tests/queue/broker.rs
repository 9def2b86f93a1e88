//! What a broker can do wrong, with real ones.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use shared::cmaf::DecoderConfig;
use shared::family::Family;
use shared::fleet::{AttemptRef, Class};
use shared::queue::nats::{NatsConfig, NatsQueue};
use shared::queue::{Incoming, Queue, QueueError};
use shared::task::*;
use shared::testing::{Server, free_port};
use shared::time::{MediaTime, Timescale};

use super::contract::{Roles, conformance};
use super::sample::*;

/// `None` if it is not installed.
fn broker() -> Option<Server> {
    let port = free_port();
    Server::start("nats-server", port, |folder| {
        let store = folder.join("store").display().to_string();
        ["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd", &store].map(str::to_owned).to_vec()
    })
}

pub fn config(port: u16) -> NatsConfig {
    static FARMS: AtomicU32 = AtomicU32::new(0);
    NatsConfig {
        urls: vec![format!("nats://127.0.0.1:{port}")],
        prefix: format!("farm-{}", FARMS.fetch_add(1, Ordering::Relaxed)),
        max_task_bytes: 16 << 20,
        max_report_bytes: 64 << 20,
        ..NatsConfig::default()
    }
}

pub async fn connect(config: &NatsConfig) -> NatsQueue {
    NatsQueue::connect(config).await.unwrap()
}

/// Tries until it works.
pub async fn again<T>(work: impl AsyncFn() -> Result<T, QueueError>) -> T {
    let mut pause = tokio::time::interval(Duration::from_millis(20));
    soon(async {
        loop {
            pause.tick().await;
            if let Ok(done) = work().await {
                return done;
            }
        }
    })
    .await
}

async fn push_again(coordinator: &NatsQueue, job: &str) {
    let attempts = AtomicU32::new(1);
    again(async || {
        let attempt = AttemptId(attempts.fetch_add(1, Ordering::Relaxed));
        coordinator.push(Task { attempt, ..task(job) }, NORMAL).await
    })
    .await;
}

/// A coordinator that has opened the queue, and a worker.
async fn pair(config: &NatsConfig) -> (NatsQueue, NatsQueue) {
    let (coordinator, worker) = (connect(config).await, connect(config).await);
    coordinator.open().await.unwrap();
    (coordinator, worker)
}

#[tokio::test]
async fn the_queue_on_a_broker_keeps_the_contract() {
    let Some(broker) = broker() else { return };
    conformance(async || {
        let config = config(broker.port());
        let workers = [connect(&config).await, connect(&config).await];
        let workers = workers.into_iter().map(|worker| Arc::new(worker) as Arc<dyn Queue>).collect();
        Roles { coordinator: Arc::new(connect(&config).await), workers }
    })
    .await;
}

#[tokio::test]
async fn a_queue_that_was_there_before_is_known_again_and_changed_where_the_configuration_was() {
    let Some(broker) = broker() else { return };
    let config = config(broker.port());
    let first = connect(&config).await;
    assert!(!first.open().await.unwrap());
    first.push(task("a"), NORMAL).await.unwrap();
    drop(first);
    let second = connect(&NatsConfig { max_tasks: 1, ..config.clone() }).await;
    assert!(second.open().await.unwrap());
    assert!(second.push(task("b"), NORMAL).await.is_err(), "another limit holds");
    assert_eq!(pull_job(&connect(&config).await).await, "a");
}

#[tokio::test]
async fn the_task_of_a_dead_worker_goes_to_another_and_that_of_a_living_one_stays() {
    let Some(broker) = broker() else { return };
    let config = NatsConfig { ack_wait_ms: 1_000, ..config(broker.port()) };
    let (coordinator, dying) = pair(&config).await;
    let other = connect(&config).await;
    coordinator.push(task("a"), NORMAL).await.unwrap();
    std::mem::forget(pull(&dying).await); // neither acknowledged nor given back
    let delivery = pull(&other).await;
    assert_eq!(delivery.task().id.job.as_str(), "a");

    let mut works_on = tokio::time::interval(Duration::from_millis(100));
    let three_times_ack_wait = async {
        for _ in 0..30 {
            works_on.tick().await;
            delivery.still_working().await.unwrap();
        }
    };
    tokio::select! {
        _ = dying.pull(Class::Cpu) => panic!("a task that is worked on was handed out again"),
        () = three_times_ack_wait => {}
    }
    delivery.ack().await.unwrap();
}

#[tokio::test]
async fn results_survive_a_coordinator_that_dies_before_it_handles_them() {
    let Some(broker) = broker() else { return };
    let config = config(broker.port());
    let (first, worker) = pair(&config).await;
    for number in 0..100 {
        worker.report(result(number)).await.unwrap();
    }
    for number in 0..=50 {
        assert_eq!(hear_report(&first).await, result(number));
    }
    first.finish().await.unwrap(); // 50 acks; what was told last is not handled
    first.check().await.unwrap(); // the broker, which does things in order, has them
    drop(first);
    let second = connect(&config).await;
    second.open().await.unwrap();
    worker.report(result(100)).await.unwrap();
    for number in 50..=100 {
        assert_eq!(hear_report(&second).await, result(number));
    }
}

#[tokio::test]
async fn a_coordinator_that_was_replaced_hears_no_more_results() {
    let Some(broker) = broker() else { return };
    let config = config(broker.port());
    let (old, worker) = pair(&config).await;
    let new = connect(&config).await;
    new.open().await.unwrap();
    worker.report(result(1)).await.unwrap();
    let ended = soon(async {
        loop {
            match old.next_incoming().await {
                Ok(incoming) => assert!(!matches!(incoming, Some(Incoming::Report(_))), "{incoming:?}"),
                Err(error) => return error.to_string(),
            }
        }
    });
    let ended = ended.await;
    assert!(ended.contains("another coordinator reads"), "{ended}");
    assert_eq!(hear_report(&new).await, result(1));
}

#[tokio::test]
async fn a_broker_that_is_killed_and_restarted_loses_nothing() {
    let Some(mut broker) = broker() else { return };
    let config = config(broker.port());
    let (coordinator, worker) = pair(&config).await;
    for job in ["a", "b", "c"] {
        coordinator.push(task(job), NORMAL).await.unwrap();
    }
    let held = pull(&worker).await;
    worker.report(result(0)).await.unwrap();
    worker.report(result(1)).await.unwrap();
    assert_eq!(hear_report(&coordinator).await, result(0));
    broker.kill();
    held.still_working().await.unwrap();
    let restart = async {
        while coordinator.push(task("d"), NORMAL).await.is_ok() {}
        tokio::task::spawn_blocking(move || {
            broker.restart();
            broker
        })
        .await
        .unwrap()
    };
    let reported = async { worker.report(result(2)).await.unwrap() };
    let (_broker, ()) = soon(async { tokio::join!(restart, reported) }).await;
    assert_eq!(hear_report(&coordinator).await, result(1));
    assert_eq!(hear_report(&coordinator).await, result(2));
    held.ack().await.unwrap();
    assert_eq!(pull_job(&worker).await, "b");
    assert_eq!(pull_job(&worker).await, "c");
    push_again(&coordinator, "e").await;
    assert_eq!(pull_job(&worker).await, "e");
}

#[tokio::test]
async fn a_store_that_is_gone_is_said_to_be_and_work_flows_again() {
    let Some(mut broker) = broker() else { return };
    let config = config(broker.port());
    let (coordinator, worker) = pair(&config).await;
    coordinator.push(task("a"), NORMAL).await.unwrap();
    broker.kill();
    std::fs::remove_dir_all(broker.folder().join("store")).unwrap();
    broker.restart();
    let flows = async {
        hear(&coordinator, |incoming| (incoming == Incoming::Lost).then_some(())).await;
        coordinator.push(task("a"), NORMAL).await.unwrap();
        worker.report(result(1)).await.unwrap();
        assert_eq!(hear_report(&coordinator).await, result(1));
    };
    let (job, ()) = tokio::join!(pull_job(&worker), flows);
    assert_eq!(job, "a");
}

#[tokio::test]
async fn a_stream_that_is_full_refuses_tasks() {
    let Some(broker) = broker() else { return };
    let config = NatsConfig { max_tasks: 2, ..config(broker.port()) };
    let (coordinator, worker) = pair(&config).await;
    coordinator.push(task("a"), NORMAL).await.unwrap();
    coordinator.push(task("b"), URGENT).await.unwrap();
    let refused = coordinator.push(task("c"), NORMAL).await.unwrap_err().to_string();
    assert!(refused.contains("maximum messages exceeded"), "{refused}");
    assert_eq!(pull_job(&worker).await, "b");
    coordinator.push(task("c"), NORMAL).await.unwrap();
    assert_eq!(pull_job(&worker).await, "a");
    assert_eq!(pull_job(&worker).await, "c");
}

#[tokio::test]
async fn a_task_that_is_pushed_twice_is_handed_out_once_and_that_is_said() {
    let Some(broker) = broker() else { return };
    let (coordinator, worker) = pair(&config(broker.port())).await;
    coordinator.push(task("a"), NORMAL).await.unwrap();
    let said = coordinator.push(task("a"), NORMAL).await.unwrap_err().to_string();
    assert_eq!(said, "queue: a/index/1 was offered before");
    coordinator.push(task("b"), NORMAL).await.unwrap();
    assert_eq!(pull_job(&worker).await, "a");
    assert_eq!(pull_job(&worker).await, "b");
}

async fn hear_undeliverable(coordinator: &NatsQueue) -> AttemptRef {
    let undeliverable = |incoming| match incoming {
        Incoming::Undeliverable(attempt) => Some(attempt),
        _ => None,
    };
    hear(coordinator, undeliverable).await
}

#[tokio::test]
async fn the_coordinator_hears_of_tasks_that_the_broker_gives_up() {
    let Some(mut broker) = broker() else { return };
    let config = NatsConfig { max_deliver: 2, ..config(broker.port()) };
    let (coordinator, worker) = pair(&config).await;
    let bounce = async || {
        coordinator.push(task("bounces"), NORMAL).await.unwrap();
        pull(&worker).await.give_back().await.unwrap();
        pull(&worker).await.give_back().await.unwrap();
        let (undeliverable, job) = tokio::join!(hear_undeliverable(&coordinator), async {
            coordinator.push(task("next"), NORMAL).await.unwrap();
            pull_job(&worker).await
        });
        assert_eq!((undeliverable, job.as_str()), (attempt("bounces", 1), "next"));
    };
    bounce().await;
    broker.kill();
    std::fs::remove_dir_all(broker.folder().join("store")).unwrap();
    broker.restart();
    hear(&coordinator, |incoming| (incoming == Incoming::Lost).then_some(())).await;
    bounce().await; // as the first task of a stream again
}

#[tokio::test]
async fn a_task_that_cannot_be_read_is_refused_and_the_coordinator_hears_of_it() {
    let Some(broker) = broker() else { return };
    let config = config(broker.port());
    let (coordinator, worker) = pair(&config).await;
    let client = async_nats::connect(&config.urls[0]).await.unwrap();
    let poison = async_nats::jetstream::message::PublishMessage::build().message_id("poisoned/index/1");
    let poison = poison.payload("not a task".into());
    let subject = format!("{}.task.cpu.normal", config.prefix);
    async_nats::jetstream::new(client).send_publish(subject, poison).await.unwrap().await.unwrap();
    coordinator.push(task("next"), NORMAL).await.unwrap();
    assert_eq!(pull_job(&worker).await, "next");
    assert_eq!(hear_undeliverable(&coordinator).await, attempt("poisoned", 1));
}

#[tokio::test]
async fn the_coordinator_hears_how_many_tasks_wait() {
    let Some(broker) = broker() else { return };
    let (coordinator, worker) = pair(&config(broker.port())).await;
    for job in ["a", "b", "c"] {
        coordinator.push(task(job), NORMAL).await.unwrap();
    }
    let _held = pull(&worker).await;
    hear(&coordinator, |incoming| (incoming == Incoming::Depth(2)).then_some(())).await;
}

#[tokio::test]
async fn a_lane_that_is_gone_is_made_anew_and_what_waits_there_counts() {
    let Some(mut broker) = broker() else { return };
    let config = config(broker.port());
    let coordinator = connect(&config).await;
    coordinator.open().await.unwrap();
    let depth = |incoming| if let Incoming::Depth(depth) = incoming { Some(depth) } else { None };
    assert_eq!(hear(&coordinator, depth).await, 0);
    coordinator.push(task("a"), NORMAL).await.unwrap();
    let jetstream = async_nats::jetstream::new(async_nats::connect(&config.urls[0]).await.unwrap());
    let tasks = format!("{}-tasks", config.prefix);
    jetstream.delete_consumer_from_stream("cpu-normal", tasks).await.unwrap();
    broker.kill();
    broker.restart(); // so that it is looked after now
    assert_eq!(hear(&coordinator, depth).await, 1);
}

/// 20 h of audio in segments of 2 s: 4 MiB, where the broker takes messages of 1 MiB.
fn long_receipt() -> TaskReport {
    let timescale = Timescale::new(48_000).unwrap();
    let segment = |number: u64| SegmentInfo {
        number,
        start: number as i64 * 96_000,
        duration: 96_000,
        samples: 94,
        first_sample_end: 1_300,
        object: StoredObject::of(format!("a-de/{number:06}.0123456789abcdef.m4s"), &number.to_le_bytes()),
    };
    let part = TrackPart {
        rendition: "a-de".into(),
        timescale,
        config: DecoderConfig::Aac(vec![0x11, 0x90]),
        segments: (0..36_000).map(segment).collect(),
        encoder: "aac".into(),
        family: Family::Software,
        making: Default::default(),
    };
    let receipt = AudioReceipt {
        part,
        samples: 1,
        start: MediaTime::new(0, timescale),
        priming: 1_024,
        filled: 0,
        dropped: 0,
        decode_errors: 0,
        spent: Spent::default(),
    };
    let mut report = report("job", Outcome::Done(Receipt::Audio(receipt)));
    report.task.name = TaskName::Audio(0);
    report
}

#[tokio::test]
async fn a_report_that_is_longer_than_a_message_comes_whole() {
    let Some(broker) = broker() else { return };
    let config = config(broker.port());
    let (coordinator, worker) = pair(&config).await;
    let (long, size) = (long_receipt(), shared::wire::encode_report(&long_receipt()).len());
    assert!(size > 3 << 20, "{size}");
    worker.report(long.clone()).await.unwrap();
    worker.report(result(1)).await.unwrap();
    assert_eq!(hear_report(&coordinator).await, long);
    drop(coordinator);
    let coordinator = connect(&config).await; // it was not handled
    coordinator.open().await.unwrap();
    assert_eq!(hear_report(&coordinator).await, long);
    assert_eq!(hear_report(&coordinator).await, result(1));
}

#[tokio::test]
async fn a_worker_waits_where_results_pile_up() {
    let Some(broker) = broker() else { return };
    let config = NatsConfig { max_reports: 2, ..config(broker.port()) };
    let (coordinator, worker) = pair(&config).await;
    let reported = async {
        for number in 0..10 {
            worker.report(result(number)).await.unwrap();
        }
    };
    let heard = async {
        for number in 0..10 {
            assert_eq!(hear_report(&coordinator).await, result(number));
        }
        // Asking on is what handles the last ones.
        hear(&coordinator, |incoming| matches!(incoming, Incoming::Depth(_)).then_some(())).await;
    };
    soon(async { tokio::join!(reported, heard) }).await;
}

fn copy(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(copied.success());
}

#[tokio::test]
async fn a_store_that_went_back_in_time_has_lost_something() {
    let Some(mut broker) = broker() else { return };
    let config = config(broker.port());
    let (coordinator, worker) = pair(&config).await;
    coordinator.push(task("a"), NORMAL).await.unwrap();
    broker.kill();
    let (store, old) = (broker.folder().join("store"), broker.folder().join("old"));
    copy(&store, &old);
    broker.restart();
    push_again(&coordinator, "b").await;
    broker.kill();
    std::fs::remove_dir_all(&store).unwrap();
    std::fs::rename(&old, &store).unwrap();
    broker.restart();
    hear(&coordinator, |incoming| (incoming == Incoming::Lost).then_some(())).await;
    assert_eq!(pull_job(&worker).await, "a");
}

/// Three servers that are one broker.
fn cluster() -> Option<Vec<Server>> {
    let ports: Vec<(u16, u16)> = (0..3).map(|_| (free_port(), free_port())).collect();
    let routes = ports.iter().map(|(_, route)| format!("nats://127.0.0.1:{route}")).collect::<Vec<_>>().join(",");
    let server = |(number, &(port, route)): (usize, &(u16, u16))| {
        Server::start("nats-server", port, |folder| {
            let store = folder.join("store").display().to_string();
            let line = format!(
                "-a 127.0.0.1 -p {port} -js -sd {store} -n n{number} --cluster_name c --cluster nats://127.0.0.1:{route} \
                 --routes {routes}"
            );
            line.split_whitespace().map(str::to_owned).collect()
        })
    };
    ports.iter().enumerate().map(server).collect()
}

#[tokio::test]
async fn a_cluster_goes_on_without_the_server_that_led_it() {
    let Some(mut servers) = cluster() else { return };
    let config = NatsConfig {
        urls: servers.iter().map(|server| format!("nats://127.0.0.1:{}", server.port())).collect(),
        replicas: 3,
        ..config(0)
    };
    let (coordinator, worker) = (connect(&config).await, connect(&config).await);
    again(async || coordinator.open().await).await;
    push_again(&coordinator, "before").await;
    worker.report(result(0)).await.unwrap();

    let jetstream = async_nats::jetstream::new(async_nats::connect(&config.urls[..]).await.unwrap());
    let tasks = jetstream.get_stream(format!("{}-tasks", config.prefix)).await.unwrap();
    let leader = tasks.cached_info().cluster.as_ref().unwrap().leader.as_ref().unwrap();
    servers[leader.strip_prefix('n').unwrap().parse::<usize>().unwrap()].kill();

    push_again(&coordinator, "after").await;
    worker.report(result(1)).await.unwrap();
    assert_eq!(pull_job(&worker).await, "before");
    assert_eq!(pull_job(&worker).await, "after");
    assert_eq!(hear_report(&coordinator).await, result(0));
    assert_eq!(hear_report(&coordinator).await, result(1));
}
