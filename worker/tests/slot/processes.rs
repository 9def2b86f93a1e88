//! Slots, as the kernel sees them.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use shared::task::{Outcome, WorkerId};
use worker::slot::request::{FileRole, InputFile, Origin, Request};
use worker::slot::sight::Sight;
use worker::slot::spawner::Spawner;
use worker::slot::{Slot, Step};

use crate::{Crew, Scene, config};

/// The argument with which this test program opens a slot that hangs, tells its pid, and waits to be killed.
const AS_WORKER: &str = "as-worker";

/// What that program finds in its environment.
const SECRET: &str = "planted-secret";

/// The name of the test that is also that program, for `--exact`.
const WORKER_TEST: &str = "processes::killing_the_worker_kills_its_slots";

#[tokio::test]
async fn a_slot_has_a_socket_its_files_and_nothing_else() {
    // Left open for all descendants, as a careless shell or build tool does.
    let leaked = rustix::fs::open("/dev/zero", OFlags::RDONLY, Mode::empty()).unwrap();
    let scene = Scene::new();
    let crew = Crew::start(worker::config::WorkerConfig { slot_files: 1000, ..config() });
    assert!(matches!(crew.run(scene.task("look")).await, Outcome::Done(_)));
    crew.stop().await;
    drop(leaked);

    let seen = std::fs::read_to_string(scene.path().join("work/seen.txt")).unwrap();
    let fds: Vec<&str> = seen.lines().filter(|line| line.starts_with("fd")).collect();
    let source = format!("fd 3 {}", scene.path().join("source").display());
    assert_eq!(fds.len(), 4, "{seen}");
    assert!(fds[0].starts_with("fd 0 socket:"), "{seen}");
    assert!(fds[1] == "fd 1 /dev/null" && fds[2].starts_with("fd 2 pipe:") && fds[3] == source, "{seen}");
    let allowed = ["LD_LIBRARY_PATH", "RUST_BACKTRACE", "GLIBC_TUNABLES", "SVT_LOG"].map(|name| format!("env {name}"));
    assert!(
        seen.lines().filter(|line| line.starts_with("env")).all(|line| allowed.iter().any(|name| name == line)),
        "{seen}"
    );
    for line in ["cwd /", "Max core file size 0 0 bytes", "Max open files 1000 1000 files"] {
        assert!(seen.lines().any(|seen| seen == line), "{line} is not in {seen}");
    }
    assert!(seen.contains(&format!("Max address space {0} {0} bytes", config().slot_memory_bytes)), "{seen}");
}

#[tokio::test]
async fn closing_a_slot_leaves_nothing_behind() {
    let (scene, spawner) = (Scene::new(), Spawner::start().unwrap());
    let slot = hanging(&scene, &spawner).await;
    let pid = slot.pid().unwrap();
    slot.close().await;
    assert_eq!(state_of(pid), None);
}

#[tokio::test]
async fn dropping_a_slot_kills_it() {
    let (scene, spawner) = (Scene::new(), Spawner::start().unwrap());
    let slot = hanging(&scene, &spawner).await;
    let pid = slot.pid().unwrap();
    drop(slot);
    while state_of(pid).is_some() {
        tokio::task::yield_now().await; // the runtime reaps it
    }
}

#[tokio::test]
async fn an_idle_slot_that_was_killed_is_replaced_without_a_failure() {
    let (scene, crew) = (Scene::new(), Crew::start(config()));
    let pid = |outcome| match outcome {
        Outcome::Done(shared::task::Receipt::Index(receipt)) => receipt.bytes as u32,
        other => panic!("{other:?}"),
    };
    let first = pid(crew.run(scene.task("fine")).await);
    let process = Pid::from_raw(first.cast_signed()).unwrap();
    kill_process(process, Signal::KILL).unwrap();
    // Until all its threads are gone, and without reaping it: that is the worker's part.
    waitid(WaitId::Pid(process), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).unwrap();
    assert_ne!(pid(crew.run(scene.task("fine")).await), first);
    crew.stop().await;
}

#[tokio::test]
async fn killing_the_worker_kills_its_slots() {
    if std::env::args().any(|arg| arg == AS_WORKER) {
        let (scene, spawner) = (Scene::new(), Spawner::start().unwrap());
        let slot = hanging(&scene, &spawner).await;
        println!("\nslot {}", slot.pid().unwrap());
        std::future::pending::<()>().await;
    }
    let (mut worker, slot) = worker_with_a_slot();
    assert!(state_of(slot).is_some());
    worker.kill().unwrap();
    worker.wait().unwrap();
    end_of(slot).await;
}

#[tokio::test]
async fn no_secret_of_the_worker_reaches_a_slot() {
    let (mut worker, slot) = worker_with_a_slot();
    let knows = |pid: u32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
        environment.windows(SECRET.len()).any(|part| part == SECRET.as_bytes())
    };
    assert!(knows(worker.id()));
    assert!(!knows(slot));
    worker.kill().unwrap();
    worker.wait().unwrap();
    end_of(slot).await;
}

/// The program of the test before the last, and the pid of its slot.
fn worker_with_a_slot() -> (Child, u32) {
    let mut worker = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", WORKER_TEST, "--nocapture", "--test-threads=1", AS_WORKER])
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(worker.stdout.take().unwrap()).lines().map(Result::unwrap);
    let slot = lines.find_map(|line| line.strip_prefix("slot ")?.parse().ok()).unwrap();
    (worker, slot)
}

/// A slot in the middle of an attempt that does not end.
async fn hanging(scene: &Scene, spawner: &Spawner) -> Slot {
    let mut slot = Slot::open(Arc::new(config()), spawner, Sight::Nothing).await.unwrap();
    let (task, worker) = (scene.task("hang"), WorkerId::new("tester").unwrap());
    let source = InputFile { role: FileRole::Source, origin: Origin::Path(scene.path().join("source")) };
    let request = Request { task: &task, worker: &worker, lists: vec![], files: vec![source], gpu: None };
    slot.begin(&request).await.unwrap();
    assert!(matches!(slot.next().await.unwrap(), Step::Progress(_)));
    slot
}

/// Waits until a process has ended, reaped or not.
async fn end_of(pid: u32) {
    while state_of(pid).is_some_and(|state| state != 'Z') {
        tokio::task::yield_now().await;
    }
}

/// `None` if the process is gone, `Z` if it has ended and nobody has reaped it.
fn state_of(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(") ").next()?.chars().next()
}
