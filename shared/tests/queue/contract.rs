//! What a coordinator and its workers rely on, whatever the queue is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::fleet::{Class, Directive, Lane};
use shared::queue::{Incoming, Queue};
use shared::task::{Outcome, Progress, Task, WorkerId};
use shared::trace::TraceContext;
use tokio::task::JoinSet;

use super::sample::*;

/// Both sides of one queue.
pub struct Roles {
    pub coordinator: Arc<dyn Queue>,
    pub workers: Vec<Arc<dyn Queue>>,
}

impl Roles {
    async fn push(&self, jobs: &[&str]) {
        for job in jobs {
            self.coordinator.push(task(job), NORMAL).await.unwrap();
        }
    }

    fn worker(&self) -> &dyn Queue {
        &*self.workers[0]
    }

    fn last_worker(&self) -> &dyn Queue {
        &**self.workers.last().unwrap()
    }
}

/// Each part starts from an empty queue that `open` makes.
pub async fn conformance(open: impl AsyncFn() -> Roles) {
    tasks_come_in_order(open().await).await;
    a_task_keeps_its_trace(open().await).await;
    urgent_tasks_come_first(open().await).await;
    tasks_of_another_class_are_left_alone(open().await).await;
    what_waits_for_a_class_is_taken_back(open().await).await;
    a_task_is_handed_out_until_it_is_acknowledged(open().await).await;
    a_task_that_is_passed_on_pauses(open().await).await;
    a_pull_that_is_dropped_loses_nothing(open().await).await;
    waiting_pulls_are_woken(open().await).await;
    results_come_in_order(open().await).await;
    an_impatient_coordinator_misses_nothing(open().await).await;
    signs_of_life_and_heartbeats_are_heard(open().await).await;
    directives_reach_every_worker(open().await).await;
    close_ends_what_waits(open().await).await;
}

async fn tasks_come_in_order(roles: Roles) {
    roles.coordinator.open().await.unwrap();
    roles.push(&["a", "b", "c"]).await;
    let delivery = pull(roles.worker()).await;
    assert_eq!(*delivery.task(), task("a"));
    delivery.still_working().await.unwrap();
    delivery.ack().await.unwrap();
    assert_eq!(pull_job(roles.last_worker()).await, "b");
    assert_eq!(pull_job(roles.worker()).await, "c");
}

async fn a_task_keeps_its_trace(roles: Roles) {
    roles.coordinator.open().await.unwrap();
    let trace = TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let traced = Task { trace, ..task("a") };
    roles.coordinator.push(traced.clone(), NORMAL).await.unwrap();
    roles.coordinator.push(task("b"), NORMAL).await.unwrap();
    for wanted in [traced, task("b")] {
        let delivery = pull(roles.worker()).await;
        assert_eq!(*delivery.task(), wanted);
        delivery.ack().await.unwrap();
    }
}

async fn urgent_tasks_come_first(roles: Roles) {
    roles.coordinator.open().await.unwrap();
    roles.push(&["a", "b"]).await;
    roles.coordinator.push(task("urgent"), URGENT).await.unwrap();
    assert_eq!(pull_job(roles.worker()).await, "urgent");
    assert_eq!(pull_job(roles.worker()).await, "a");
    assert_eq!(pull_job(roles.worker()).await, "b");
}

async fn tasks_of_another_class_are_left_alone(roles: Roles) {
    roles.coordinator.open().await.unwrap();
    let worker = roles.worker();
    let (gpu, ()) = soon(async {
        tokio::join!(worker.pull(Class::Gpu), async {
            roles.push(&["a"]).await;
            assert_eq!(pull_job(worker).await, "a", "one that waits for another class is not in the way");
            let lane = Lane { class: Class::Gpu, ..NORMAL };
            roles.coordinator.push(task("b"), lane).await.unwrap();
        })
    })
    .await;
    let delivery = gpu.unwrap().unwrap();
    assert_eq!(*delivery.task(), task("b"));
    delivery.ack().await.unwrap();
}

async fn what_waits_for_a_class_is_taken_back(roles: Roles) {
    roles.coordinator.open().await.unwrap();
    let (gpu, worker) = (Lane { class: Class::Gpu, ..NORMAL }, roles.worker());
    for (job, lane) in [("a", gpu), ("b", NORMAL), ("c", Lane { class: Class::Gpu, ..URGENT })] {
        roles.coordinator.push(task(job), lane).await.unwrap();
    }
    roles.coordinator.clear(Class::Gpu).await.unwrap();
    roles.coordinator.push(task("d"), gpu).await.unwrap();
    let delivery = soon(worker.pull(Class::Gpu)).await.unwrap().unwrap();
    assert_eq!(*delivery.task(), task("d"), "what waited is gone, what comes is not");
    delivery.ack().await.unwrap();
    assert_eq!(pull_job(worker).await, "b", "another class is left alone");
}

async fn a_task_is_handed_out_until_it_is_acknowledged(roles: Roles) {
    roles.coordinator.open().await.unwrap();
    roles.push(&["a"]).await;
    pull(roles.worker()).await.give_back().await.unwrap();
    let delivery = pull(roles.last_worker()).await;
    assert_eq!(delivery.task().id.job.as_str(), "a");
    drop(delivery);
    assert_eq!(pull_job(roles.worker()).await, "a");
    roles.push(&["b"]).await;
    assert_eq!(pull_job(roles.worker()).await, "b");
}

async fn a_task_that_is_passed_on_pauses(roles: Roles) {
    let pause = Duration::from_millis(300);
    roles.coordinator.open().await.unwrap();
    roles.push(&["a", "b"]).await;
    let passed_on = Instant::now();
    pull(roles.worker()).await.pass_on(pause).await.unwrap();
    assert_eq!(pull_job(roles.worker()).await, "b");
    assert_eq!(pull_job(roles.last_worker()).await, "a");
    assert!(passed_on.elapsed() >= pause, "{:?}", passed_on.elapsed());
}

async fn a_pull_that_is_dropped_loses_nothing(roles: Roles) {
    roles.coordinator.open().await.unwrap();
    for round in 0..20 {
        let job = format!("job-{round}");
        let pushed = roles.coordinator.push(task(&job), if round % 2 == 0 { NORMAL } else { URGENT });
        let taken = tokio::select! {
            delivery = pull(roles.worker()) => Some(delivery),
            pushed = pushed => {
                pushed.unwrap();
                None
            }
        };
        match taken {
            Some(delivery) => {
                // The push was dropped: it may have come through or not, and a task pushed twice is the coordinator's to know.
                assert_eq!(delivery.task().id.job.as_str(), job);
                delivery.ack().await.unwrap();
            }
            None => assert_eq!(pull_job(roles.last_worker()).await, job),
        }
    }
}

async fn waiting_pulls_are_woken(roles: Roles) {
    roles.coordinator.open().await.unwrap();
    let mut pulls = JoinSet::new();
    for number in 0..8 {
        let worker = roles.workers[number % roles.workers.len()].clone();
        pulls.spawn(async move { pull_job(&*worker).await });
    }
    let jobs: Vec<String> = (0..8).map(|number| format!("job-{number}")).collect();
    for (number, job) in jobs.iter().enumerate() {
        roles.coordinator.push(task(job), if number % 3 == 0 { URGENT } else { NORMAL }).await.unwrap();
    }
    let mut taken = pulls.join_all().await;
    taken.sort();
    assert_eq!(taken, jobs);
}

async fn results_come_in_order(roles: Roles) {
    roles.coordinator.open().await.unwrap();
    for number in 0..200 {
        roles.worker().report(result(number)).await.unwrap();
    }
    for number in 0..200 {
        assert_eq!(hear_report(&*roles.coordinator).await, result(number));
    }
}

async fn an_impatient_coordinator_misses_nothing(roles: Roles) {
    roles.coordinator.open().await.unwrap();
    let (worker, coordinator) = (roles.workers[0].clone(), roles.coordinator.clone());
    let reports = async {
        for number in 0..50 {
            worker.report(result(number)).await.unwrap();
        }
    };
    let hear = async {
        let mut heard = Vec::new();
        while heard.len() < 50 {
            tokio::select! {
                biased;
                incoming = coordinator.next_incoming() => if let Some(Incoming::Report(report)) = incoming.unwrap() {
                    heard.push(*report);
                },
                () = tokio::task::yield_now() => {}
            }
        }
        heard
    };
    let ((), heard) = soon(async { tokio::join!(reports, hear) }).await;
    assert_eq!(heard, (0..50).map(result).collect::<Vec<_>>());
}

async fn signs_of_life_and_heartbeats_are_heard(roles: Roles) {
    roles.coordinator.open().await.unwrap();
    let progress = report("job", Outcome::Progress(Progress { done_ms: 40, frames: 1 }));
    roles.worker().report(report("job", Outcome::Started)).await.unwrap();
    roles.worker().report(progress.clone()).await.unwrap();
    assert_eq!(hear_report(&*roles.coordinator).await, report("job", Outcome::Started));
    assert_eq!(hear_report(&*roles.coordinator).await, progress);
    for worker in &roles.workers {
        worker.beat(heartbeat("beating")).await.unwrap();
        let heard = hear(&*roles.coordinator, |incoming| match incoming {
            Incoming::Heartbeat(heartbeat) => Some(heartbeat),
            _ => None,
        });
        assert_eq!(heard.await, heartbeat("beating"));
    }
}

async fn directives_reach_every_worker(roles: Roles) {
    roles.coordinator.open().await.unwrap();
    let mut workers = JoinSet::new();
    for worker in roles.workers.clone() {
        workers.spawn(async move { worker.next_directive().await.unwrap().unwrap() });
    }
    let directive = Directive::Drain(WorkerId::new("worker").unwrap());
    // Who does not listen yet does not hear it: it is said again, as the coordinator does.
    let mut again = tokio::time::interval(std::time::Duration::from_millis(50));
    soon(async {
        while !workers.is_empty() {
            tokio::select! {
                Some(heard) = workers.join_next() => assert_eq!(heard.unwrap(), directive),
                _ = again.tick() => roles.coordinator.direct(directive.clone()).await.unwrap(),
            }
        }
    })
    .await;
}

async fn close_ends_what_waits(roles: Roles) {
    roles.coordinator.open().await.unwrap();
    for worker in &roles.workers {
        let close = async {
            tokio::task::yield_now().await;
            worker.close();
        };
        let (pulled, directive, ()) =
            soon(async { tokio::join!(worker.pull(Class::Cpu), worker.next_directive(), close) }).await;
        assert!(pulled.unwrap().is_none() && directive.unwrap().is_none());
        assert!(soon(worker.pull(Class::Cpu)).await.unwrap().is_none());
    }
}
