//! The coordinator that leads is killed, stands still, or hands over.

use std::time::{Duration, Instant};

use super::support::chance::{Chance, number};
use super::support::cluster::client::Client;
use super::support::cluster::{Cluster, LEASE_S, Parts};
use super::support::load::{Load, tiny_clips};

/// What fail-over may take beyond the lease.
const GRACE: Duration = Duration::from_secs(2);
/// What handing over may take.
const HAND_OVER: Duration = Duration::from_secs(1);
/// What a leader may take to find out that it is none any more.
const STEP_DOWN: Duration = Duration::from_secs(1);
/// Whatever happens, another job ends within this time.
const FLOW: Duration = Duration::from_secs(40);

fn start() -> Option<(Cluster, Load)> {
    let parts = Parts { coordinators: 3, workers: 2, slots: 2, ..Parts::default() };
    let cluster = parts.start()?;
    let load = Load::start(&cluster, tiny_clips(cluster.folder.path()), 3);
    Some((cluster, load))
}

/// Waits until another coordinator than `old` leads, since `began`. Returns who, and adds how long it took.
fn follow(cluster: &Cluster, old: usize, began: Instant, spans: &mut Vec<Duration>) -> usize {
    let next = cluster.leader_but(Some(old));
    spans.push(began.elapsed());
    next
}

/// The shortest, the middle one and the longest.
fn show(what: &str, spans: &mut [Duration]) {
    spans.sort_unstable();
    let [first, middle, last] = [0, spans.len() / 2, spans.len() - 1].map(|place| spans[place]);
    eprintln!("{} {what}: {first:.1?} to {last:.1?}, half of them within {middle:.1?}", spans.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_killed_is_followed_in_time_and_no_job_is_lost() {
    let Some((mut cluster, mut load)) = start() else { return };
    let (mut chance, mut spans) = (Chance::new(), Vec::new());
    for _ in 0..number("FARM_LEADER_KILLS", 3) {
        load.flows(1, FLOW).await;
        tokio::time::sleep(chance.within(Duration::from_secs(1))).await;
        let leader = cluster.leader();
        cluster.coordinators[leader].kill();
        follow(&cluster, leader, Instant::now(), &mut spans);
        cluster.coordinators[leader].restart();
        cluster.coordinators[leader].wait_until_ready();
    }
    load.flows(1, FLOW).await;
    let jobs = load.finish().await;
    show("fail-overs", &mut spans);
    eprintln!("{jobs} jobs");
    assert!(spans.iter().all(|span| *span <= Duration::from_secs(LEASE_S) + GRACE), "{spans:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stood_still_changes_nothing_and_follows() {
    let Some((cluster, mut load)) = start() else { return };
    let still = Duration::from_secs(number("FARM_STOPPED_S", LEASE_S + 2));
    let (mut spans, mut refused) = (Vec::new(), 0.0);
    for _ in 0..number("FARM_STOPS", 2) {
        load.flows(1, FLOW).await;
        let leader = cluster.leader();
        let old = &cluster.coordinators[leader];
        let before = old.metric("farm_coordinator_fenced_writes_total").unwrap();
        let stopped = Instant::now();
        old.stop();
        let next = follow(&cluster, leader, stopped, &mut spans);
        let terms = cluster.coordinators[next].metric("farm_coordinator_terms_total");
        load.flows(1, FLOW).await;
        tokio::time::sleep(still.saturating_sub(stopped.elapsed())).await;
        old.proceed();
        let began = Instant::now();
        while old.metric("farm_coordinator_leader") != Some(0.0) {
            assert!(began.elapsed() < STEP_DOWN, "it still believes that it leads");
        }
        let job = load.last_job();
        Client::new(vec![old.api]).succeeded(&job).await;
        refused += old.metric("farm_coordinator_fenced_writes_total").unwrap() - before;
        assert_eq!(cluster.leader(), next);
        assert_eq!(cluster.coordinators[next].metric("farm_coordinator_terms_total"), terms);
    }
    let jobs = load.finish().await;
    show("fail-overs", &mut spans);
    eprintln!("{jobs} jobs; {refused} writes refused");
    assert!(spans.iter().all(|span| *span <= Duration::from_secs(LEASE_S) + GRACE), "{spans:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_told_to_end_hands_over_at_once() {
    let Some((mut cluster, mut load)) = start() else { return };
    let mut spans = Vec::new();
    for _ in 0..3 {
        load.flows(1, FLOW).await;
        let leader = cluster.leader();
        let began = Instant::now();
        cluster.coordinators[leader].ask_to_end();
        follow(&cluster, leader, began, &mut spans);
        let (status, _) = cluster.coordinators[leader].ended();
        assert!(status.success(), "{status}");
        cluster.coordinators[leader].restart();
        cluster.coordinators[leader].wait_until_ready();
    }
    load.finish().await;
    show("hand-overs", &mut spans);
    assert!(spans.iter().all(|span| *span <= HAND_OVER), "{spans:?}");
}
