//! Carries out commands: saves first, in one commit where that can be, then the rest in order.
//!
//! What is done beside the loop has a file each: [`round`], [`removal`], [`stock`].

mod log;
mod pending;
mod removal;
mod round;
mod stock;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use serde::de::DeserializeOwned;
use shared::fleet::{AttemptRef, Lane};
use shared::queue::Queue;
use shared::storage::StorageConfig;
use shared::task::{JobId, Task, WorkerId};
use shared::trace::Tracer;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::field::display;
use tracing::{info, warn};

use super::Views;
use super::journal::Journal;
use crate::archive::{Archive, Archived};
use crate::farm::{Command, Count, Event, Restored};
use crate::store::{Revision, Store, StoreError, Stored};
use pending::Pending;
use round::Publishers;

/// The coordinator's hands.
pub(super) struct Outbox {
    store: Arc<dyn Store>,
    revisions: BTreeMap<String, Revision>,
    queue: Arc<dyn Queue>,
    finish: mpsc::UnboundedSender<Event>,
    views: Views,
    publishers: Publishers,
    storage: StorageConfig,
    archive: Option<Arc<Archive>>,
    counter: Counter,
    journal: Journal,
    /// What was remembered at the start has been shown.
    begun: bool,
    beside: TaskTracker,
    /// What runs beside the loop ends with the loop: by then another coordinator may do the same.
    gone: CancellationToken,
}

/// Whoever counts what happens.
pub(super) type Counter = Box<dyn Fn(Count) + Send + Sync>;

impl Outbox {
    pub(super) fn new(
        store: Arc<dyn Store>,
        queue: Arc<dyn Queue>,
        finish: mpsc::UnboundedSender<Event>,
        views: Views,
        storage: StorageConfig,
        archive: Option<Arc<Archive>>,
    ) -> Self {
        let (revisions, publishers) = (BTreeMap::new(), Publishers::default());
        Self {
            store,
            revisions,
            queue,
            finish,
            views,
            publishers,
            storage,
            archive,
            counter: Box::new(|_| {}),
            journal: Journal::new(Tracer::default()),
            begun: false,
            beside: TaskTracker::new(),
            gone: CancellationToken::new(),
        }
    }

    pub(super) fn count_with(&mut self, counter: Counter) {
        self.counter = counter;
    }

    /// Tells `tracer` what becomes of jobs.
    pub(super) fn trace(&mut self, tracer: Tracer) {
        self.journal = Journal::new(tracer);
    }

    pub(super) fn views(&self) -> &Views {
        &self.views
    }

    pub(super) fn archive(&self) -> Option<Arc<Archive>> {
        self.archive.clone()
    }

    /// Reads what the store remembers.
    pub(super) async fn load(&mut self) -> Result<Restored, StoreError> {
        let mut restored = Restored::default();
        for Stored { key, revision, value } in self.store.load().await? {
            let damaged = |reason: String| StoreError::Damaged { place: key.clone(), reason };
            match key.split_once('/') {
                Some(("job", _)) => restored.jobs.push(parse(&key, &value)?),
                Some(("task", _)) => restored.tasks.push(parse(&key, &value)?),
                Some(("hold", worker)) => {
                    let worker = WorkerId::try_from(worker.to_owned()).map_err(damaged)?;
                    restored.holds.push((worker, parse(&key, &value)?));
                }
                _ => return Err(damaged("no such kind of record".to_owned())),
            }
            self.revisions.insert(key, revision);
        }
        self.journal.resume(&restored);
        Ok(restored)
    }

    /// Carries out commands; when it returns, all saves are durable, but for a task's record that no store takes: its job
    /// fails. They are made first, as few commits as can be; what is
    /// not a save follows in its order.
    pub(super) async fn execute(&mut self, commands: Vec<Command>) -> Result<(), StoreError> {
        let (mut pending, mut rest) = (Pending::default(), Vec::new());
        for command in commands {
            self.journal.read(&command);
            match command {
                Command::SaveJob(record) => {
                    let job = &record.spec.id;
                    if pending.removes_below(&tasks_of(job)) {
                        // What is left of its tasks by a process that dies must not stand beside a new life of the job.
                        self.save(&mut pending).await?;
                    }
                    pending.put(format!("job/{job}"), json(&record));
                }
                Command::SaveTask(record) => {
                    let value = json(&record);
                    match value.len() <= self.store.longest_record() {
                        true => pending.put(format!("task/{}", record.id), value),
                        false => self.tell(Event::TooLong(record.id, value.len())),
                    }
                }
                Command::SaveHold(worker, hold) => {
                    log::hold(&worker, hold.as_ref());
                    let key = format!("hold/{worker}");
                    match hold {
                        Some(hold) => pending.put(key, json(&hold)),
                        None => pending.remove(key),
                    }
                }
                Command::ForgetTasks(job) => pending.remove_below(&tasks_of(&job), &self.revisions),
                Command::ForgetJob(job) => {
                    pending.remove(format!("job/{job}"));
                    rest.push(Command::ForgetJob(job)); // people are told of it in order
                }
                command => rest.push(command),
            }
        }
        self.save(&mut pending).await?;
        self.journal.tell();
        let mut pushes = Vec::new();
        for command in rest {
            self.store.check()?;
            match command {
                Command::Enqueue(task, lane) => {
                    let trace = self.journal.task(&task.id);
                    pushes.push((Task { trace, ..*task }, lane));
                }
                command => self.start(command).await,
            }
        }
        self.push(pushes);
        self.begun = true;
        Ok(())
    }

    async fn save(&mut self, pending: &mut Pending) -> Result<(), StoreError> {
        let changes = std::mem::take(pending).into_changes(&self.revisions);
        if changes.is_empty() {
            return Ok(());
        }
        let keys: Vec<(String, bool)> =
            changes.iter().map(|change| (change.key.clone(), change.value.is_some())).collect();
        let revisions = self.store.commit(changes).await?;
        for ((key, kept), revision) in keys.into_iter().zip(revisions) {
            if kept {
                self.revisions.insert(key, revision);
            } else {
                self.revisions.remove(&key);
            }
        }
        Ok(())
    }

    async fn start(&mut self, command: Command) {
        match command {
            Command::SaveJob(_) | Command::SaveTask(_) | Command::SaveHold(..) => {}
            Command::ForgetTasks(_) | Command::Enqueue(..) => {}
            Command::ForgetJob(job) => self.views.forget(&job),
            Command::WarnOfTwin(worker, [host, other]) => {
                let text = "two workers of one name: only the one that started last takes tasks, give each its own";
                warn!(%worker, host, other, text);
            }
            Command::Count(count) => (self.counter)(count),
            Command::Direct(directive) => {
                if let Err(error) = self.queue.direct(directive).await {
                    warn!(%error, "workers not told; the next heartbeat says it again");
                }
            }
            Command::Clear(class) => {
                if let Err(error) = self.queue.clear(class).await {
                    warn!(%class, %error, "stale tasks stay on the queue; whoever takes one is told to stop");
                }
            }
            Command::Notify(view) => {
                let shown = self.views.watch(&view.id);
                if self.begun {
                    log::job(&view, shown.as_ref().map(|shown| shown.borrow()).as_deref(), self.journal.tracer());
                }
                self.views.show(*view);
            }
            Command::Publish(round) => {
                let (job, publishers, last) = (round.job.clone(), self.publishers.clone(), round.last.is_some());
                let publishing = round::publish(*round, publishers, self.storage.clone(), self.store.clone());
                let publishing = self.journal.publishing(&job, last, publishing);
                self.beside(publishing, move |result| match result {
                    Ok(Ok(multivariant)) => Event::Published { job, multivariant },
                    Ok(Err(error)) => {
                        let (transient, missing) = (error.may_pass(), error.is_missing());
                        Event::PublishFailed { job, transient, missing, message: error.to_string() }
                    }
                    Err(panic) => Event::PublishFailed { job, transient: false, missing: false, message: panic },
                });
            }
            Command::CleanUp(order) => {
                let job = order.job.clone();
                self.publishers.lock().unwrap_or_else(PoisonError::into_inner).remove(&job);
                let (storage, archive) = (self.storage.clone(), self.archive.clone());
                self.beside(removal::clean_up(*order, storage, archive), move |result| {
                    let result = result.and_then(|result| result.map_err(|error| error.to_string()));
                    Event::CleanedUp(job, result)
                });
            }
            Command::TakeStock(job, places, wanted) => {
                self.beside(stock::missing(places, *wanted, self.storage.clone()), move |result| {
                    let result = result.and_then(|result| result.map_err(|error| error.to_string()));
                    Event::StockTaken(job, result)
                });
            }
            Command::Archive(archived) => {
                let job = archived.record.spec.id.clone();
                let archive = self.archive.clone();
                self.beside(put_away(archive, archived), move |stored| Event::Archived(job, stored == Ok(true)));
            }
        }
    }

    /// The loop may have ended; the records say what is left to do.
    fn tell(&self, event: Event) {
        let _ = self.finish.send(event);
    }

    /// Runs `work` beside the loop; its result, or its panic, comes back as an event.
    fn beside<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
        event: impl FnOnce(Result<T, String>) -> Event + Send + 'static,
    ) {
        let work = self.gone.clone().run_until_cancelled_owned(work);
        let (finish, work) = (self.finish.clone(), self.beside.spawn(work));
        self.beside.spawn(async move {
            let result = work.await.map_err(|error| error.to_string()).transpose();
            if let Some(result) = result {
                // The loop may have ended; the records say what is left to do.
                let _ = finish.send(event(result));
            }
        });
    }

    /// Offers tasks to the workers, in order: beside the loop, as a broker may be silent for long.
    fn push(&self, tasks: Vec<(Task, Lane)>) {
        if tasks.is_empty() {
            return;
        }
        let pushes = tasks.into_iter().map(|(task, lane)| {
            let (queue, finish) = (self.queue.clone(), self.finish.clone());
            let attempt = AttemptRef { task: task.id.clone(), attempt: task.attempt };
            let trace_id = task.trace.map(|context| display(context.trace));
            async move {
                if let Err(error) = queue.push(task, lane).await {
                    warn!(task = %attempt.task, %error, trace_id, "task not enqueued");
                    // The loop may have ended; the queue then counts as what it says of itself.
                    let _ = finish.send(Event::NotEnqueued(attempt));
                }
            }
        });
        let pushes = futures::future::join_all(pushes);
        self.beside.spawn(self.gone.clone().run_until_cancelled_owned(pushes));
    }

    /// Waits for what runs beside the loop.
    pub(super) async fn finish(&self) {
        self.beside.close();
        self.beside.wait().await;
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.gone.cancel();
    }
}

/// Prefix of the keys of its tasks' records.
fn tasks_of(job: &JobId) -> String {
    format!("task/{job}/")
}

fn json<T: serde::Serialize>(record: &T) -> Vec<u8> {
    serde_json::to_vec(record).expect("records should be plain data")
}

fn parse<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T, StoreError> {
    let damaged = |error: serde_json::Error| StoreError::Damaged { place: key.to_owned(), reason: error.to_string() };
    serde_json::from_slice(value).map_err(damaged)
}

/// Says whether a job is in the archive now.
async fn put_away(archive: Option<Arc<Archive>>, archived: Box<Archived>) -> bool {
    let (job, Some(archive)) = (&archived.record.spec.id, archive) else { return false };
    let stored = archive.put(&archived).await;
    match &stored {
        Ok(()) => info!(%job, "job put away"),
        Err(error) => warn!(%job, %error, "job can't be put away; trying again later"),
    }
    stored.is_ok()
}
