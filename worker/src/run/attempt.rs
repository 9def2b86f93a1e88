//! One attempt: inputs to the slot, objects to storage, reports to the queue.

use std::collections::HashMap;
use std::time::SystemTime;

use bytes::Bytes;
use shared::error::{ErrorKind, TaskError};
use shared::queue::QueueError;
use shared::source::SourceInfo;
use shared::storage::{Storage, StorageConfig, is_plain_key};
use shared::task::{IndexReport, Outcome, Progress, Receipt, StoredObject, Task, TaskReport};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::feed::Feed;
use super::inputs::{self, Gathered, InputPlaces, KnownSource};
use crate::meter::Stopwatch;
use crate::slot::request::{GpuOrder, Request};
use crate::slot::{Slot, Step};
use crate::task::Area;

/// Why an attempt ends without a receipt.
#[derive(Debug)]
pub enum Stop {
    /// It failed or was cancelled; the coordinator must know.
    Failed(TaskError),
    /// The worker goes; somebody else may have the task.
    Aborted,
    /// Nobody listens.
    Queue(QueueError),
}

impl From<TaskError> for Stop {
    fn from(error: TaskError) -> Self {
        Self::Failed(error)
    }
}

/// One attempt on its way.
pub struct Attempt<'a> {
    shared: &'a Shared,
    task: &'a Task,
    abort: &'a CancellationToken,
    target: Prefix,
    work: Prefix,
    unsent: Option<Progress>,
    sent_at: Instant,
    /// Of an attempt that may be run again.
    gathered: Option<Gathered>,
    fetch: Stopwatch,
    upload: Stopwatch,
    times: Times,
}

/// When an attempt did what, from its beginning to its end; an end that is not known is the attempt's.
#[derive(Debug, Clone, Copy, Default)]
pub struct Times {
    /// The worker gathered what the slot reads.
    pub fetch: Option<(SystemTime, Option<SystemTime>)>,
    /// The slot worked.
    pub slot: Option<(SystemTime, Option<SystemTime>)>,
    /// From the first object to the last.
    pub upload: Option<(SystemTime, Option<SystemTime>)>,
}

impl<'a> Attempt<'a> {
    /// An attempt at `task`.
    pub fn new(shared: &'a Shared, task: &'a Task, abort: &'a CancellationToken) -> Self {
        let prefix = |uri: &str| Prefix::new(uri, &shared.config.storage);
        let (target, work) = (prefix(&task.places.target), prefix(&task.places.work));
        let (unsent, sent_at, gathered) = (None, Instant::now(), None);
        let (fetch, upload, times) = Default::default();
        Self { shared, task, abort, target, work, unsent, sent_at, gathered, fetch, upload, times }
    }

    /// What is tried.
    pub fn task(&self) -> &'a Task {
        self.task
    }

    /// When it did what. Of several runs, the last one's slot.
    pub fn times(&self) -> &Times {
        &self.times
    }

    /// Says that it has begun.
    pub async fn begin(&self) -> Result<(), Stop> {
        self.report(Outcome::Started).await
    }

    /// Runs it, on a GPU if it may. Unless this succeeds, the slot is spent; one that was on a GPU may be run again in
    /// another, with the same inputs.
    pub async fn run(&mut self, slot: &mut Slot, gpu: Option<GpuOrder>) -> Result<Receipt, Stop> {
        let gathered = match self.gathered.take() {
            Some(gathered) => gathered,
            None => self.gather().await?,
        };
        self.gathered = gpu.is_some().then(|| gathered.again());
        self.times.slot = Some((SystemTime::now(), None));
        let Gathered { lists, files, mut feed, source } = gathered;
        let request = Request { task: self.task, worker: &self.shared.id, lists, files, gpu };
        self.unless_stopped(slot.begin(&request)).await?;
        drop(request); // the lists of a long track are large, and the slot has its own descriptors
        loop {
            match self.unless_stopped(next_step(slot, feed.as_mut())).await? {
                Step::Progress(progress) => self.unsent = Some(progress),
                Step::Object { area, key, bytes } => {
                    let from = self.times.upload.map_or_else(SystemTime::now, |(from, _)| from);
                    self.times.upload = Some((from, None));
                    let place = match area {
                        Area::Target => &mut self.target,
                        Area::Work => &mut self.work,
                    };
                    self.upload.wait(place.store(key, bytes)).await?;
                    self.times.upload = Some((from, Some(SystemTime::now())));
                }
                Step::Index(report) => self.report(Outcome::Index(marked(report, source.as_ref()))).await?,
                Step::Done(mut receipt) => {
                    self.check(&receipt)?;
                    if let Some(source) = &source {
                        source.check().await?;
                    }
                    let stages = &mut receipt.spent_mut().stages;
                    (stages.fetch_ms, stages.upload_ms) = (self.fetch.ms(), self.upload.ms());
                    self.times.slot = self.times.slot.map(|(from, _)| (from, Some(SystemTime::now())));
                    self.send_progress().await?;
                    return Ok(receipt);
                }
            }
            if self.sent_at.elapsed() >= self.shared.config.progress_interval() {
                self.sent_at = Instant::now();
                self.send_progress().await?;
            }
        }
    }

    async fn gather(&mut self) -> Result<Gathered, Stop> {
        let (work, mut fetch) = (self.work.storage()?.clone(), self.fetch);
        let began = SystemTime::now();
        self.times.fetch = Some((began, None));
        let gathered = fetch.wait(self.unless_stopped(self.gather_from(&work))).await;
        self.times.fetch = Some((began, Some(SystemTime::now())));
        self.fetch = fetch;
        gathered
    }

    async fn gather_from(&self, work: &Storage) -> Result<Gathered, TaskError> {
        let (config, scratch) = (&self.shared.config, &self.shared.scratch);
        let mark = self.task.source_mark.as_deref();
        let places = InputPlaces { source: &self.task.places.source, mark, work, config: &config.storage, scratch };
        let late = |_| {
            let text = format!("inputs not here in {} ms (attempt_timeout_ms)", config.attempt_timeout_ms);
            TaskError::transient("inputs_timeout", text)
        };
        tokio::time::timeout(config.attempt_timeout(), inputs::gather(self.task, &places)).await.map_err(late)?
    }

    async fn send_progress(&mut self) -> Result<(), Stop> {
        match self.unsent.take() {
            Some(progress) => self.report(Outcome::Progress(progress)).await,
            None => Ok(()),
        }
    }

    async fn report(&self, outcome: Outcome) -> Result<(), Stop> {
        let Task { id, attempt, .. } = self.task;
        let report = TaskReport { task: id.clone(), attempt: *attempt, worker: self.shared.id.clone(), outcome };
        tokio::select! {
            biased;
            sent = self.shared.queue.report(report) => sent.map_err(Stop::Queue),
            () = self.abort.cancelled() => Err(Stop::Aborted), // the coordinator may have stopped reading
        }
    }

    /// Waits for the slot, but not longer than it is wanted. Storing is not interrupted: when a cancelled attempt has
    /// been reported, it writes nothing more.
    async fn unless_stopped<T>(&self, work: impl Future<Output = Result<T, TaskError>>) -> Result<T, Stop> {
        tokio::select! {
            biased;
            () = self.abort.cancelled() => Err(Stop::Aborted),
            () = self.shared.presence.unwanted(self.task) => Err(TaskError::cancelled().into()),
            done = work => Ok(done?),
        }
    }

    /// A receipt may only name what was stored, as it was stored.
    fn check(&self, receipt: &Receipt) -> Result<(), TaskError> {
        let (target, work): (Vec<&StoredObject>, Vec<&StoredObject>) = match receipt {
            Receipt::Index(_) => return Ok(()),
            Receipt::Video(video) => {
                let segments = video.parts.iter().flat_map(|part| &part.segments).map(|segment| &segment.object);
                (segments.chain(&video.poster).collect(), video.tiles.iter().map(|(_, tile)| tile).collect())
            }
            Receipt::Audio(audio) => (audio.part.segments.iter().map(|segment| &segment.object).collect(), vec![]),
            Receipt::Storyboard(storyboard) => (storyboard.sheets.iter().collect(), vec![]),
        };
        let wrong = target
            .into_iter()
            .find(|object| !self.target.holds(object))
            .or_else(|| work.into_iter().find(|object| !self.work.holds(object)));
        match wrong {
            None => Ok(()),
            Some(object) => {
                let text = format!("the receipt names {:?}, which was not stored like that", object.key);
                Err(TaskError::new(ErrorKind::Bug, "receipt_object", text))
            }
        }
    }
}

/// What a slot can't know: what the source is recognised by.
fn marked(report: IndexReport, source: Option<&KnownSource>) -> IndexReport {
    match report {
        IndexReport::Source(info) => {
            IndexReport::Source(SourceInfo { mark: source.map(|source| source.mark.clone()), ..info })
        }
        report => report,
    }
}

/// What the slot does next, while its reads are answered.
async fn next_step(slot: &mut Slot, mut feed: Option<&mut Feed>) -> Result<Step, TaskError> {
    loop {
        let Some(feed) = feed.as_mut() else { return slot.next().await };
        tokio::select! {
            biased;
            advanced = feed.advanced() => advanced?,
            step = slot.next() => return step,
        }
        slot.pardon();
    }
}

/// One of the two places an attempt writes to. Opened when first used: a refused source leaves no folder behind.
struct Prefix {
    uri: String,
    config: StorageConfig,
    storage: Option<Storage>,
    stored: HashMap<String, StoredObject>,
}

impl Prefix {
    fn new(uri: &str, config: &StorageConfig) -> Self {
        Self { uri: uri.to_owned(), config: config.clone(), storage: None, stored: HashMap::new() }
    }

    fn storage(&mut self) -> Result<&Storage, TaskError> {
        match &mut self.storage {
            Some(storage) => Ok(storage),
            unopened => Ok(unopened.insert(Storage::open(&self.uri, &self.config)?)),
        }
    }

    async fn store(&mut self, key: String, bytes: Bytes) -> Result<(), TaskError> {
        if !is_plain_key(&key) {
            let text = format!("the slot broke the protocol: {key:?} is not a key");
            return Err(TaskError::new(ErrorKind::Bug, "slot_protocol", text));
        }
        let object = self.storage()?.put(&key, bytes).await?;
        self.stored.insert(key, object);
        Ok(())
    }

    fn holds(&self, object: &StoredObject) -> bool {
        self.stored.get(&object.key) == Some(object)
    }
}
