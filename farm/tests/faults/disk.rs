//! What a disk can do to a farm.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::Command;

use crate::load::{Load, flowing, tidied_up};
use crate::support::cluster::{Cluster, Parts};
use crate::support::run;

/// Set where the test below may mount things that nobody else sees.
const INSIDE: &str = "FARM_TEST_INSIDE";
const TEST: &str = "disk::a_worker_whose_scratch_is_full_rests_until_there_is_room_and_others_go_on";
/// Of each scratch folder: more than one source.
const ROOM: &str = "size=16m";

#[test]
fn a_worker_whose_scratch_is_full_rests_until_there_is_room_and_others_go_on() {
    if std::env::var_os(INSIDE).is_some() {
        return tokio::runtime::Runtime::new().unwrap().block_on(inside());
    }
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount"]);
        command
    };
    if !unshare().arg("true").status().is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: this system lets nobody mount things in a namespace of their own");
        return;
    }
    let test = std::env::current_exe().unwrap();
    let ran = unshare().arg(test).args(["--exact", TEST, "--nocapture"]).env(INSIDE, "1").status().unwrap();
    assert!(ran.success(), "{ran}");
}

async fn inside() {
    let parts = Parts { coordinators: 1, s3: true, ..Parts::default() };
    let Some(mut cluster) = parts.start() else { return };
    for worker in 0..2 {
        let scratch = cluster.scratch(worker);
        std::fs::create_dir_all(&scratch).unwrap();
        run(Command::new("mount").args(["-t", "tmpfs", "-o", ROOM, "farm-test"]).arg(&scratch));
        cluster.workers[worker].kill(); // it has a folder below what is mounted over
        cluster.workers[worker].restart();
    }
    let load = Load::start(&cluster, 4).await;
    flowing(&cluster, 2).await;

    while failed(&cluster, 0) == 0.0 {
        fill(&cluster.scratch(0));
        flowing(&cluster, 1).await; // the other worker has room
    }
    while failed(&cluster, 1) == 0.0 {
        fill(&cluster.scratch(1));
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    for worker in 0..2 {
        std::fs::remove_file(cluster.scratch(worker).join("ballast")).unwrap();
    }
    let took = flowing(&cluster, 2).await;
    let jobs = load.finish(&cluster).await;
    let failed = [0, 1].map(|worker| failed(&cluster, worker));
    eprintln!("{jobs} jobs, none lost; {failed:?} attempts failed of full disks; flowing again after {took:?}");
    assert!(failed.iter().all(|failed| *failed <= 10.0), "a worker without room is no black hole: {failed:?}");
    tidied_up(&cluster).await;
    for worker in 0..2 {
        cluster.workers[worker].terminate();
        let left = std::fs::read_dir(cluster.scratch(worker)).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(left.collect::<Vec<_>>(), ["lock"]);
    }
}

/// Leaves no room, until an attempt gives back what it has of it.
fn fill(folder: &Path) {
    let mut ballast = OpenOptions::new().create(true).append(true).open(folder.join("ballast")).unwrap();
    let full = ballast.write_all(&vec![0; 32 << 20]).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::StorageFull);
}

/// Attempts that a worker could not make for want of something.
fn failed(cluster: &Cluster, worker: usize) -> f64 {
    let metrics = cluster.workers[worker].get("/metrics");
    let exhausted = |line: &&str| line.starts_with("farm_worker_attempts_total{") && line.contains("\"exhausted\"");
    metrics.lines().filter(exhausted).map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
}
