//! A farm in which two encoder families make every second chunk each.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use coordinator::job::{JobSpec, JobState};
use coordinator::ladder::Rungs;
use coordinator::profile::Profile;
use coordinator::run::{Coordinator, CoordinatorConfig};
use coordinator::schedule::Weights;
use coordinator::store::redb::RedbStore;
use shared::family::Family;
use shared::fleet::{Class, Directive, Heartbeat, Lane};
use shared::queue::memory::MemoryQueue;
use shared::queue::{Delivery, Incoming, Queue, QueueError};
use shared::storage::StorageConfig;
use shared::task::{JobId, Places, Task, TaskName, TaskReport, TenantId, Work, WorkerId};
use tokio_util::sync::CancellationToken;
use worker::config::{SlotProgram, WorkerConfig};
use worker::run::Worker;

use crate::support::{Presentation, folder};

/// The queue between coordinator and worker, in which the chunks with odd numbers are pinned to the stand-in.
#[derive(Default)]
struct Alternating(MemoryQueue);

#[async_trait]
impl Queue for Alternating {
    async fn open(&self) -> Result<bool, QueueError> {
        self.0.open().await
    }

    async fn push(&self, mut task: Task, lane: Lane) -> Result<(), QueueError> {
        if let (TaskName::Video(number), Work::Video(work)) = (task.id.name, &mut task.work)
            && number % 2 == 1
        {
            work.pins = work.renditions.iter().map(|rendition| (rendition.name.clone(), Family::StandIn)).collect();
        }
        self.0.push(task, lane).await
    }

    async fn clear(&self, class: Class) -> Result<(), QueueError> {
        self.0.clear(class).await
    }

    async fn direct(&self, directive: Directive) -> Result<(), QueueError> {
        self.0.direct(directive).await
    }

    async fn beat(&self, heartbeat: Heartbeat) -> Result<(), QueueError> {
        self.0.beat(heartbeat).await
    }

    async fn next_directive(&self) -> Result<Option<Directive>, QueueError> {
        self.0.next_directive().await
    }

    async fn pull(&self, class: Class) -> Result<Option<Box<dyn Delivery>>, QueueError> {
        self.0.pull(class).await
    }

    async fn report(&self, report: TaskReport) -> Result<(), QueueError> {
        self.0.report(report).await
    }

    async fn next_incoming(&self) -> Result<Option<Incoming>, QueueError> {
        self.0.next_incoming().await
    }

    fn close(&self) {
        self.0.close();
    }
}

/// What the two make of `source`, in segments of 2 s.
pub fn presentation(source: &Path) -> Presentation {
    let (folder, runtime) = (folder(), tokio::runtime::Runtime::new().expect("a runtime"));
    let out = folder.path().join("out");
    runtime.block_on(transcode(source, folder.path(), &out));
    Presentation::read(&out).in_folder(folder)
}

async fn transcode(source: &Path, folder: &Path, out: &Path) {
    let queue = Arc::new(Alternating::default());
    let store = Arc::new(RedbStore::open(&folder.join("state.redb")).expect("a store"));
    let storage = StorageConfig::default();
    let config = CoordinatorConfig { silence: Duration::from_secs(60), weights: Weights::new(), storage };
    let (coordinator, handle) = Coordinator::new(store, queue.clone(), config);
    let slot_program = SlotProgram { path: env!("CARGO_BIN_EXE_farm").into(), args: vec!["slot".into()] };
    let slots = NonZeroUsize::new(2).expect("2");
    let config = WorkerConfig { slots, slot_program, scratch: folder.join("scratch"), ..WorkerConfig::default() };
    let over = CancellationToken::new();
    let name = WorkerId::new("local").expect("a name");
    let worker = Worker::new(config, queue.clone(), name, over.clone()).without_proof();
    let place = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let places = Places { source: place(source), target: place(out), work: place(&folder.join("work")) };
    let job = async {
        let mut views = handle.submit(spec(places)).await.expect("a job");
        let end = views.wait_for(|view| view.settled && view.state.is_final()).await.expect("the job's end").clone();
        assert_eq!(end.state, JobState::Completed, "{:?}", end.problems);
        over.cancel();
        queue.close();
    };
    let (worked, decided, ()) = tokio::join!(worker.run(over.clone()), coordinator.run(over.clone()), job);
    worked.expect("a worker");
    decided.expect("a coordinator");
}

fn spec(places: Places) -> JobSpec {
    JobSpec {
        id: JobId::new("mixed").expect("an id"),
        tenant: TenantId::default(),
        places,
        profile: Profile::named("web").expect("a profile of the farm"),
        segment_ms: 2_000,
        rungs: Rungs::All,
        preset: None,
        movies: true,
        growing_ms: None,
        keep_parts_ms: 0,
    }
}
