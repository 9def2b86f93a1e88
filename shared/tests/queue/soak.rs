//! Work goes through a broker that dies again and again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use shared::fleet::Class;
use shared::queue::nats::NatsConfig;
use shared::queue::{Incoming, Queue};
use shared::task::{Outcome, TaskReport, WorkerId};
use shared::testing::{Server, free_port};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::broker::{again, config, connect};
use super::sample::*;

/// Tasks between two deaths.
const TASKS: usize = 100;
/// Slots of each of two workers.
const SLOTS: usize = 4;

/// A broker that has on disk what it has confirmed.
fn broker() -> Option<Server> {
    let port = free_port();
    Server::start("nats-server", port, |folder| {
        let config = folder.join("nats.conf");
        let store = folder.join("store").display().to_string();
        let text =
            format!("listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: {store:?}, sync_interval: always }}\n");
        std::fs::write(&config, text).unwrap();
        vec!["-c".into(), config.display().to_string()]
    })
}

/// Does what it is asked for until the queue is closed.
async fn slot(queue: Arc<dyn Queue>) {
    while let Some(delivery) = queue.pull(Class::Cpu).await.unwrap() {
        let (task, attempt) = (delivery.task().id.clone(), delivery.task().attempt);
        queue.report(report(task.job.as_str(), Outcome::Started)).await.unwrap();
        let worker = WorkerId::new("worker").unwrap();
        let outcome = result(0).outcome;
        queue.report(TaskReport { task, attempt, worker, outcome }).await.unwrap();
        delivery.ack().await.unwrap();
    }
}

/// Pushes tasks, hears results; says after how many results a broker shall die.
async fn coordinate(queue: &dyn Queue, deaths: usize, die: mpsc::Sender<()>) -> usize {
    let mut open: BTreeSet<String> = (0..TASKS * (deaths + 1)).map(|number| format!("job-{number}")).collect();
    let mut twice = 0;
    let mut heard = 0;
    let mut missing: Vec<String> = open.iter().cloned().collect();
    while !open.is_empty() {
        for job in std::mem::take(&mut missing) {
            again(async || queue.push(task(&job), NORMAL).await).await;
        }
        match soon(queue.next_incoming()).await.unwrap().expect("the queue should be open") {
            Incoming::Report(report) if report.outcome.is_sign_of_life() => {}
            Incoming::Report(report) => {
                if !open.remove(report.task.job.as_str()) {
                    twice += 1;
                    continue;
                }
                heard += 1;
                if heard % TASKS == 0 && heard / TASKS <= deaths {
                    die.send(()).await.unwrap();
                }
            }
            Incoming::Lost => missing = open.iter().cloned().collect(),
            _ => {}
        }
    }
    twice
}

/// `FARM_BROKER_DEATHS`: how often it is killed; every third time its store is wiped as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_flows_through_a_broker_that_dies_again_and_again() {
    let Some(mut broker) = broker() else { return };
    let deaths = std::env::var_os("FARM_BROKER_DEATHS").map_or(3, |deaths| deaths.to_str().unwrap().parse().unwrap());
    let config = NatsConfig { ack_wait_ms: 2_000, ..config(broker.port()) };
    let coordinator = connect(&config).await;
    coordinator.open().await.unwrap();
    let mut slots = JoinSet::new();
    let workers: [Arc<dyn Queue>; 2] = [Arc::new(connect(&config).await), Arc::new(connect(&config).await)];
    for worker in workers.iter().flat_map(|worker| std::iter::repeat_n(worker, SLOTS)) {
        slots.spawn(slot(worker.clone()));
    }
    let (die, mut told) = mpsc::channel(1);
    let killer = tokio::task::spawn_blocking(move || {
        let mut death = 0;
        while told.blocking_recv().is_some() {
            death += 1;
            broker.kill();
            if death % 3 == 0 {
                std::fs::remove_dir_all(broker.folder().join("store")).unwrap();
            }
            broker.restart();
        }
        broker
    });
    let began = Instant::now();
    let twice = coordinate(&coordinator, deaths, die).await;
    eprintln!("{} tasks in {:?}, {deaths} deaths, {twice} done twice", TASKS * (deaths + 1), began.elapsed());
    // The last acknowledgements still need it.
    let _broker = killer.await.unwrap();
    workers.iter().for_each(|worker| worker.close());
    soon(slots.join_all()).await;
}
