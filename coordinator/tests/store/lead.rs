//! Who leads when leaders die, stand still or go.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use coordinator::lead::{Candidate, follow};
use coordinator::store::{Store, StoreError};
use shared::testing::Server;
use tokio::sync::watch;

use crate::rig::{LONG, SHORT, connect, etcd_server, lead};
use crate::{change, content};

/// What fail-over may take beyond the lease.
const GRACE: Duration = Duration::from_secs(2);
/// Where the leader in a process of its own finds etcd.
const PORT: &str = "FARM_TEST_ETCD_PORT";

#[tokio::test]
async fn a_leader_that_goes_is_followed_at_once_and_everybody_knows() {
    let Some(server) = etcd_server() else { return };
    let etcd = connect(server.port(), "/farm").await;
    let (address, mut known) = watch::channel(None);
    let mut follower = tokio::task::JoinSet::new();
    follower.spawn(follow(etcd.clone(), address));
    let mut first = lead(etcd.clone(), "first:7070", LONG).await;
    known.wait_for(|address| address.as_deref() == Some("first:7070")).await.unwrap();
    let mut second = Candidate::new(etcd, "second:7070".to_owned(), LONG);
    let campaign = second.campaign();
    tokio::pin!(campaign);
    tokio::select! {
        _ = &mut campaign => panic!("two leaders"),
        () = tokio::time::sleep(Duration::from_millis(500)) => {}
    }
    let began = Instant::now();
    drop(first.term);
    first.candidate.resign().await;
    let _term = campaign.await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    known.wait_for(|address| address.as_deref() == Some("second:7070")).await.unwrap();
}

#[tokio::test]
async fn a_term_outlives_a_restart_of_etcd_but_not_its_lease() {
    let Some(mut server) = etcd_server() else { return };
    let mut leader = lead(connect(server.port(), "/farm").await, "here", SHORT * 2).await;
    server.kill();
    server.restart();
    let over = tokio::time::timeout(SHORT * 5 / 2, leader.term.guard().over()).await;
    assert!(over.is_err(), "the lease was not kept after the restart");
    server.kill();
    let began = Instant::now();
    assert!(leader.store.check().is_ok());
    leader.term.guard().over().await;
    assert!(leader.store.check().is_err());
    assert!(began.elapsed() <= SHORT * 2, "{:?}", began.elapsed());
    server.restart();
    let began = Instant::now();
    leader.candidate.campaign().await; // its own old key is no obstacle
    assert!(began.elapsed() < GRACE, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_killed_leader_is_followed_when_its_lease_has_run_out() {
    let Some(server) = etcd_server() else { return };
    let mut leader = Process::start(&server);
    leader.wait_for("made");
    leader.child.kill().unwrap();
    let began = Instant::now();
    lead(connect(server.port(), "/farm").await, "here", SHORT).await;
    assert!(began.elapsed() <= SHORT + GRACE, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_leader_that_stood_still_longer_than_its_lease_can_change_nothing() {
    let Some(server) = etcd_server() else { return };
    let mut zombie = Process::start(&server);
    zombie.wait_for("made");
    zombie.signal("STOP");
    let new = lead(connect(server.port(), "/farm").await, "here", LONG).await;
    let before = content(&new.store).await;
    zombie.signal("CONT");
    for _ in 0..WRITES_AFTER {
        zombie.wait_for("refused");
    }
    assert_eq!(content(&new.store).await, before);
    assert_eq!(before.len(), 1);
}

/// Tries to write after it was told that it does not lead any more.
const WRITES_AFTER: usize = 20;

/// Not a test: a leader in a process of its own, which writes as fast as it can.
#[tokio::test]
#[ignore = "started by other tests"]
async fn leader_process() {
    let Some(port) = std::env::var_os(PORT) else { return };
    let port = port.to_str().unwrap().parse().unwrap();
    let leader = lead(connect(port, "/farm").await, "process", SHORT).await;
    let mut revision = None;
    let mut refused = 0;
    for number in 0_u64.. {
        let value = number.to_string();
        match leader.store.commit(vec![change("job/a", revision, Some(value.as_bytes()))]).await {
            Ok(revisions) => {
                revision = Some(revisions[0]);
                println!("made");
            }
            Err(StoreError::Deposed { .. }) => {
                assert!(leader.store.check().is_err(), "what etcd refuses is known here");
                refused += 1;
                println!("refused");
                if refused == WRITES_AFTER {
                    return;
                }
            }
            Err(error) => panic!("{error}"),
        }
    }
}

struct Process {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Process {
    fn start(etcd: &Server) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "lead::leader_process", "--ignored", "--nocapture"])
            .env(PORT, etcd.port().to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn wait_for(&mut self, line: &str) {
        assert!(self.lines.by_ref().any(|found| found.unwrap() == line), "the process ended before it said {line}");
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
