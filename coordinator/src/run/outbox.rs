//! Carries out commands: saves first, in one commit where that can be, then the rest in order.

mod pending;
mod stock;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::DeserializeOwned;
use shared::fleet::{AttemptRef, Lane};
use shared::queue::Queue;
use shared::storage::{Storage, StorageConfig, StorageError};
use shared::task::{JobId, Task, WorkerId};
use shared::trace::{TraceId, Tracer};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::field::display;
use tracing::{debug, error, info, warn};

use super::Views;
use super::journal::Journal;
use crate::archive::{Archive, Archived};
use crate::farm::{CleanUp, Command, Count, Event, Restored, Round, TakeAway};
use crate::job::{JobView, Milestone};
use crate::publish::{self, Owner, PublishError, Publisher};
use crate::store::{Revision, Store, StoreError, Stored};
use crate::workers::Hold;
use pending::Pending;

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

/// A job's publisher remembers what it has written; a round takes it out and puts it back.
type Publishers = Arc<Mutex<HashMap<JobId, Publisher>>>;

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
                    log_hold(&worker, hold.as_ref());
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
                    log(&view, shown.as_ref().map(|shown| shown.borrow()).as_deref(), self.journal.tracer());
                }
                self.views.show(*view);
            }
            Command::Publish(round) => {
                let (job, publishers, last) = (round.job.clone(), self.publishers.clone(), round.last.is_some());
                let publishing = publish_round(*round, publishers, self.storage.clone(), self.store.clone());
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
                self.beside(clean_up(*order, storage, archive), move |result| {
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

/// A line for each change of state since `before` was shown.
fn log(view: &JobView, before: Option<&JobView>, tracer: &Tracer) {
    let job = &view.id;
    let trace_id = || tracer.trace_of(job).map(display::<TraceId>);
    // One that is submitted anew begins another history.
    let before = before.filter(|before| view.history.starts_with(&before.history));
    for moment in &view.history[before.map_or(0, |before| before.history.len())..] {
        let became = moment.what.as_str();
        match (moment.what, view.problems.iter().rfind(|problem| problem.fatal)) {
            (Milestone::Failed, Some(problem)) => {
                let (code, scope, text) = (&problem.code, &problem.scope, &problem.text);
                error!(%job, became, code, scope, text, trace_id = trace_id(), "job");
            }
            _ => info!(%job, became, trace_id = trace_id(), "job"),
        }
    }
    if view.settled && !before.is_some_and(|before| before.settled) {
        info!(%job, state = %view.state, trace_id = trace_id(), "job settled");
    }
    debug!(%job, state = %view.state, chunks = view.chunks.done, trace_id = trace_id(), "job shown");
}

/// Why a worker takes nothing from now on, or that it does again.
fn log_hold(worker: &WorkerId, hold: Option<&Hold>) {
    match hold {
        Some(Hold::Quarantined(reason)) => warn!(%worker, reason, "worker quarantined"),
        Some(Hold::Cordoned) => info!(%worker, "worker cordoned"),
        None => info!(%worker, "worker released"),
    }
}

/// Writes a round; says whether there is a multivariant playlist.
async fn publish_round(
    round: Round,
    publishers: Publishers,
    storage: StorageConfig,
    store: Arc<dyn Store>,
) -> Result<bool, PublishError> {
    let Round { job, places, presentation, mut last } = round;
    let target = Storage::open(&places.target, &storage)?;
    let known = publishers.lock().unwrap_or_else(PoisonError::into_inner).remove(&job);
    let mut publisher = match known {
        Some(publisher) => publisher,
        None => {
            publish::claim(&target, &job).await?;
            Publisher::new(target.clone()).asking(store)
        }
    };
    if let Some(last) = last.as_mut().filter(|last| last.movies) {
        last.certificate.movies = publish::write_movies(&target, &presentation).await?;
    }
    let certificate = last.as_ref().map(|last| &last.certificate);
    let published = publisher.publish(&presentation, certificate).await?;
    if let Some(last) = &last {
        last.report.write(&target).await?;
        let removed = publish::sweep(&target, &presentation).await?;
        info!(%job, removed, "published; segments of lost attempts removed");
    }
    publishers.lock().unwrap_or_else(PoisonError::into_inner).insert(job, publisher);
    Ok(published.multivariant)
}

/// Removes the work objects, and of a job that did not complete the presentation, playlists first; what has become another
/// job's stays. A folder that was never made is not made now.
async fn clean_up(order: CleanUp, storage: StorageConfig, archive: Option<Arc<Archive>>) -> Result<(), StorageError> {
    if let (Some(tenant), Some(archive)) = (&order.forget, archive) {
        archive.remove(tenant, &order.job).await?;
    }
    if let Some(take_away) = &order.take_away
        && let Some(target) = Storage::open_existing(&order.places.target, &storage)?
    {
        withdraw(&target, &order, take_away).await?;
    }
    match Storage::open_existing(&order.places.work, &storage)? {
        Some(work) if !order.keep_parts => work.clear().await,
        _ => Ok(()),
    }
}

/// Takes a presentation away, or what has come of it.
async fn withdraw(target: &Storage, order: &CleanUp, take_away: &TakeAway) -> Result<(), StorageError> {
    match Owner::find(target, &order.job).await? {
        Owner::Other => return Ok(()),
        Owner::Nobody if !take_away.whole => {}
        Owner::Nobody | Owner::ThisJob => publish::unpublish(target).await?,
    }
    if order.keep_parts {
        return Ok(());
    }
    publish::remove_media(target, &take_away.renditions).await?;
    for key in &take_away.images {
        target.delete(key).await?;
    }
    if take_away.whole {
        publish::remove_extras(target).await?;
    }
    publish::disclaim(target).await?;
    if order.forget.is_some() {
        target.remove_folder().await;
    }
    Ok(())
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
