//! A worker that the network cuts off from the broker for longer than it may be silent, and lets back.

use std::time::{Duration, Instant};

use crate::load::{Load, PATIENCE, flowing};
use crate::support::cluster::way::Way;
use crate::support::cluster::{Cluster, Host, Parts};

/// Workers that count as gone.
const LOST: &str = "farm_coordinator_workers{standing=\"lost\"}";
/// Longer than that it stays away.
const BEYOND: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_cut_off_and_comes_back_costs_no_job_and_nothing_counts_twice() {
    let way = Way::start();
    let host = Host { way: Some(way.clone()), ..Host::default() };
    let parts = Parts { coordinators: 1, hosts: [(1, host)].into(), ..Parts::default() };
    let Some(cluster) = parts.start() else { return };
    let load = Load::start(&cluster, 4).await;
    while made(&cluster, 1) == 0.0 {
        flowing(&cluster, 1).await;
    }
    way.cut(true);
    until(|| cluster.coordinators[0].metric(LOST) == Some(1.0)).await;
    flowing(&cluster, 1).await; // the other worker goes on
    tokio::time::sleep(BEYOND).await;
    let before = made(&cluster, 1);
    way.cut(false);
    until(|| cluster.coordinators[0].metric(LOST) == Some(0.0)).await;
    until(|| made(&cluster, 1) > before + 2.0).await; // more than what it had at hand
    let jobs = load.finish(&cluster).await;
    eprintln!("{jobs} jobs, none lost");
}

/// Attempts that a worker has ended well.
fn made(cluster: &Cluster, worker: usize) -> f64 {
    let metrics = cluster.workers[worker].get("/metrics");
    let done = |line: &&str| line.starts_with("farm_worker_attempts_total{") && line.contains("\"done\"");
    metrics.lines().filter(done).map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
}

async fn until(so: impl Fn() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < PATIENCE, "it does not come to that");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
