//! The event loop with a real store, a real queue and real playlists; only the worker claims what it has not made.

use std::sync::Arc;
use std::time::Duration;

use coordinator::job::{JobSpec, JobState};
use coordinator::run::{Coordinator, CoordinatorConfig, Handle, SubmitError};
use coordinator::store::Store;
use coordinator::store::redb::RedbStore;
use shared::error::{ErrorKind, TaskError};
use shared::fleet::{Class, Directive};
use shared::queue::Queue;
use shared::queue::memory::MemoryQueue;
use shared::storage::StorageConfig;
use shared::task::{Cancellation, JobId, Outcome, Places, TenantId};
use shared::testing::synthetic::{Source, report};
use shared::trace::Tracer;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::world::{heartbeat, spec};

pub struct Running {
    pub handle: Handle,
    pub shutdown: CancellationToken,
    pub queue: Arc<dyn Queue>,
    pub coordinator: tokio::task::JoinHandle<Result<(), coordinator::run::RunError>>,
}

pub fn start(store: Arc<dyn Store>) -> Running {
    start_as(store, |coordinator| coordinator)
}

pub fn start_traced(store: Arc<dyn Store>, tracer: Tracer) -> Running {
    start_as(store, |coordinator| coordinator.traced(tracer))
}

fn start_as(store: Arc<dyn Store>, fitted: impl FnOnce(Coordinator) -> Coordinator) -> Running {
    let queue: Arc<dyn Queue> = Arc::new(MemoryQueue::default());
    let storage = StorageConfig::default();
    let config = CoordinatorConfig { silence: Duration::from_secs(60), weights: Default::default(), storage };
    let (coordinator, handle) = Coordinator::new(store, queue.clone(), config);
    let alive = queue.clone();
    TaskTracker::new().spawn(async move {
        while alive.beat(heartbeat()).await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await
        }
    });
    let shutdown = CancellationToken::new();
    let coordinator = TaskTracker::new().spawn(fitted(coordinator).run(shutdown.clone()));
    Running { handle, shutdown, queue, coordinator }
}

/// Works off so many tasks, or all.
pub fn work(queue: Arc<dyn Queue>, tasks: usize) -> tokio::task::JoinHandle<()> {
    TaskTracker::new().spawn(async move {
        for _ in 0..tasks {
            let Some(delivery) = queue.pull(Class::Cpu).await.unwrap() else { return };
            for report in Source::default().work(delivery.task()) {
                queue.report(report).await.unwrap();
            }
            delivery.ack().await.unwrap();
        }
    })
}

pub fn job_in(folder: &std::path::Path) -> JobSpec {
    let place = |name: &str| folder.join(name).display().to_string();
    JobSpec { places: Places { source: place("source"), target: place("out"), work: place("work") }, ..spec() }
}

async fn settled(running: &Running, spec: JobSpec) -> JobState {
    let mut view = running.handle.submit(spec).await.unwrap();
    let view = tokio::time::timeout(Duration::from_secs(30), view.wait_for(|view| view.settled)).await;
    view.unwrap().unwrap().state
}

fn files(folder: &std::path::Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().display().to_string();
                found.push((name, std::fs::read(&path).unwrap()));
            }
        }
    }
    found.retain(|(name, _)| name != "run.json"); // times are in it
    found.sort();
    found
}

#[tokio::test]
async fn a_killed_coordinator_goes_on_and_publishes_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, broken) = (job_in(&folder.path().join("a")), job_in(&folder.path().join("b")));
    let running = start(Arc::new(RedbStore::in_memory().unwrap()));
    let worker = work(running.queue.clone(), usize::MAX);
    assert_eq!(settled(&running, whole).await, JobState::Completed);
    worker.abort();

    std::fs::create_dir_all(folder.path().join("b")).unwrap();
    let state = folder.path().join("b/state");
    {
        let running = start(Arc::new(RedbStore::open(&state).unwrap()));
        let mut view = running.handle.submit(broken.clone()).await.unwrap();
        work(running.queue.clone(), 3).await.unwrap();
        view.wait_for(|view| view.chunks.done > 0).await.unwrap();
        running.coordinator.abort();
        assert!(running.coordinator.await.unwrap_err().is_cancelled());
    }
    let running = start(Arc::new(reopened(&state).await));
    let worker = work(running.queue.clone(), usize::MAX);
    assert_eq!(settled(&running, broken).await, JobState::Completed);
    worker.abort();
    running.shutdown.cancel();
    running.coordinator.await.unwrap().unwrap();

    let (expected, got) = (files(&folder.path().join("a/out")), files(&folder.path().join("b/out")));
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&got), names(&expected));
    assert!(names(&got).contains(&"master.m3u8".to_owned()));
    assert!(got == expected, "playlists differ");
    assert!(!folder.path().join("b/work").try_exists().unwrap(), "the work folder is left behind");
}

/// What ran beside the aborted loop holds the store a moment longer.
async fn reopened(path: &std::path::Path) -> RedbStore {
    loop {
        match RedbStore::open(path) {
            Ok(store) => return store,
            Err(coordinator::store::StoreError::Locked { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_cancelled_job_is_called_off_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(Arc::new(RedbStore::in_memory().unwrap()));
    let spec = job_in(folder.path());
    let mut view = running.handle.submit(spec.clone()).await.unwrap();
    work(running.queue.clone(), 1).await.unwrap();
    view.wait_for(|view| view.chunks.complete).await.unwrap();
    running.handle.cancel(spec.id.clone()).await.unwrap();
    let directive = running.queue.next_directive().await.unwrap().unwrap();
    assert!(matches!(directive, Directive::Cancel(Cancellation { job, .. }) if job == spec.id));
    for _ in 0..4 {
        let delivery = running.queue.pull(Class::Cpu).await.unwrap().unwrap();
        let cancelled = report(delivery.task(), Outcome::Failed(TaskError::cancelled()));
        running.queue.report(cancelled).await.unwrap();
        delivery.ack().await.unwrap();
    }
    assert_eq!(view.wait_for(|view| view.settled).await.unwrap().state, JobState::Cancelled);
    assert!(running.handle.watch(&spec.id).unwrap().borrow().settled);
}

/// Refuses the source of one job.
fn refuse(queue: Arc<dyn Queue>) -> tokio::task::JoinHandle<()> {
    TaskTracker::new().spawn(async move {
        let delivery = queue.pull(Class::Cpu).await.unwrap().unwrap();
        let refused = TaskError::new(ErrorKind::Unsupported, "codec", "no decoder for vvc");
        queue.report(report(delivery.task(), Outcome::Failed(refused))).await.unwrap();
        delivery.ack().await.unwrap();
    })
}

#[tokio::test]
async fn a_job_takes_no_other_jobs_presentation_away() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(Arc::new(RedbStore::in_memory().unwrap()));
    let worker = work(running.queue.clone(), usize::MAX);
    let first = job_in(folder.path());
    assert_eq!(settled(&running, first.clone()).await, JobState::Completed);
    worker.abort();
    let made = files(&folder.path().join("out"));

    let second = JobSpec { id: JobId::new("second").unwrap(), ..first.clone() };
    let held = running.handle.submit(second.clone()).await.unwrap_err();
    assert!(matches!(held, SubmitError::TargetHeld(Some(by)) if by == first.id));
    let stranger = JobSpec { tenant: TenantId::new("other").unwrap(), ..second.clone() };
    let held = running.handle.submit(stranger).await.unwrap_err();
    assert!(matches!(held, SubmitError::TargetHeld(None)), "nobody hears of other tenants' jobs");

    let mut view = running.handle.watch(&first.id).unwrap();
    running.handle.delete(first.id.clone(), false).await.unwrap();
    while view.changed().await.is_ok() {}
    let worker = refuse(running.queue.clone());
    assert_eq!(settled(&running, second).await, JobState::Failed(ErrorKind::Unsupported));
    worker.await.unwrap();
    assert!(files(&folder.path().join("out")) == made, "nothing of it was the second job's");
}

#[tokio::test]
async fn a_refused_source_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(Arc::new(RedbStore::in_memory().unwrap()));
    let worker = refuse(running.queue.clone());
    assert_eq!(settled(&running, job_in(folder.path())).await, JobState::Failed(ErrorKind::Unsupported));
    worker.await.unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn jobs_that_make_no_sense_are_refused() {
    let running = start(Arc::new(RedbStore::in_memory().unwrap()));
    let wrong = running.handle.submit(JobSpec { segment_ms: 1, ..spec() }).await;
    assert!(matches!(wrong, Err(SubmitError::Wrong(_))));
    running.handle.submit(spec()).await.unwrap();
    let taken = running.handle.submit(JobSpec { segment_ms: 4_000, ..spec() }).await;
    assert!(matches!(taken, Err(SubmitError::Taken(_))));
    running.shutdown.cancel();
    running.coordinator.await.unwrap().unwrap();
    assert!(matches!(running.handle.submit(spec()).await, Err(SubmitError::Closed)));
}

#[tokio::test]
async fn a_job_that_is_erased_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(Arc::new(RedbStore::in_memory().unwrap()));
    let worker = work(running.queue.clone(), usize::MAX);
    let spec = job_in(folder.path());
    assert_eq!(settled(&running, spec.clone()).await, JobState::Completed);
    worker.abort();
    assert!(folder.path().join("out/master.m3u8").is_file());
    let mut view = running.handle.watch(&spec.id).unwrap();
    running.handle.delete(spec.id.clone(), true).await.unwrap();
    while view.changed().await.is_ok() {}
    assert!(view.borrow().is_deleted() && running.handle.watch(&spec.id).is_none());
    assert_eq!(running.handle.deleted(|view| view.id == spec.id).len(), 1, "for those who hear of it late");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[cfg(feature = "cluster")]
#[tokio::test]
async fn a_scrape_tells_what_has_happened_and_what_there_is() {
    use coordinator::metrics::Metrics;
    use prometheus::{Registry, TextEncoder};

    let (folder, registry) = (tempfile::tempdir().unwrap(), Registry::new());
    let metrics = Arc::new(Metrics::new(&registry));
    let counter = metrics.clone();
    let store = Arc::new(RedbStore::open(&folder.path().join("state")).unwrap());
    let running = start_as(store, |coordinator| coordinator.counting(move |count| counter.jobs.count(count)));
    work(running.queue.clone(), usize::MAX);
    assert_eq!(settled(&running, job_in(folder.path())).await, JobState::Completed);
    let looking = tokio::time::timeout(Duration::from_secs(1), metrics.watch(&running.handle));
    assert!(looking.await.is_err(), "it looks again and again");
    let page = || TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    for line in [
        "farm_coordinator_jobs_ended_total{outcome=\"succeeded\"} 1",
        "farm_coordinator_jobs_ended_total{outcome=\"failed\"} 0",
        "farm_coordinator_playable_seconds_count 1",
        "farm_coordinator_succeeded_seconds_count 1",
        "farm_coordinator_jobs{state=\"completed\"} 1",
        "farm_coordinator_jobs{state=\"encoding\"} 0",
        "farm_coordinator_tasks{state=\"running\",task=\"video\"} 0",
        "farm_coordinator_workers{standing=\"working\"} 1",
        "farm_coordinator_slots{class=\"cpu\"} 2",
        "farm_coordinator_work_seconds{class=\"cpu\"} 0",
    ] {
        assert!(page().lines().any(|found| found == line), "{line}\n{}", page());
    }
    metrics.forget();
    assert!(!page().contains("farm_coordinator_jobs{") && page().contains("farm_coordinator_jobs_ended_total{"));
}
