//! What is saved together, and in which order.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use coordinator::job::{JobRecord, JobState};
use coordinator::store::redb::RedbStore;
use coordinator::store::{Change, Revision, Store, StoreError, Stored};
use shared::error::TaskError;
use shared::fleet::Class;
use shared::task::Outcome;
use shared::testing::synthetic::report;

use crate::looping::{job_in, start, work};

/// Remembers what was committed.
struct Recorded {
    store: RedbStore,
    commits: Mutex<Vec<Vec<Change>>>,
}

#[async_trait]
impl Store for Recorded {
    fn longest_record(&self) -> usize {
        self.store.longest_record()
    }

    async fn load(&self) -> Result<Vec<Stored>, StoreError> {
        self.store.load().await
    }

    async fn commit(&self, changes: Vec<Change>) -> Result<Vec<Revision>, StoreError> {
        self.commits.lock().unwrap().push(changes.clone());
        self.store.commit(changes).await
    }
}

#[tokio::test]
async fn tasks_are_forgotten_with_the_job_that_settles_and_before_its_new_life() {
    let folder = tempfile::tempdir().unwrap();
    let recorded = Arc::new(Recorded { store: RedbStore::in_memory().unwrap(), commits: Mutex::default() });
    let running = start(recorded.clone());
    let spec = job_in(folder.path());
    running.handle.submit(spec.clone()).await.unwrap();
    let delivery = running.queue.pull(Class::Cpu).await.unwrap().unwrap();
    running.handle.cancel(spec.id.clone()).await.unwrap();
    let mut view = running.handle.submit(spec.clone()).await.unwrap(); // begins when the attempt is over
    let cancelled = report(delivery.task(), Outcome::Failed(TaskError::cancelled()));
    running.queue.report(cancelled).await.unwrap();
    delivery.ack().await.unwrap();
    let worker = work(running.queue.clone(), usize::MAX);
    let ended = |view: &coordinator::job::JobView| view.settled && view.state == JobState::Completed;
    view.wait_for(ended).await.unwrap();
    worker.abort();

    let commits = recorded.commits.lock().unwrap().clone();
    let is_task = |change: &Change| change.key.starts_with(&format!("task/{}/", spec.id));
    let removes = |commit: &Vec<Change>| commit.iter().any(|change| is_task(change) && change.value.is_none());
    let forgetting: Vec<&Vec<Change>> = commits.iter().filter(|commit| removes(commit)).collect();
    let mut states = Vec::new();
    for commit in &forgetting {
        let (job, tasks) = commit.split_first().unwrap();
        let record: JobRecord = serde_json::from_slice(job.value.as_ref().unwrap()).unwrap();
        assert!(record.settled, "a job that goes on needs its tasks");
        assert!(tasks.iter().all(|change| is_task(change) && change.value.is_none()), "{tasks:?}");
        states.push(record.state);
    }
    assert_eq!(states, [JobState::Cancelled, JobState::Completed]);
}
