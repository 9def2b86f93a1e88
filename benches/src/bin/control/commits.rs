//! When what the coordinator decides about tasks is in etcd.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Result;
use coordinator::job::{TaskRecord, TaskState};
use etcd_client::{Client, EventType, WatchOptions};
use shared::fleet::AttemptRef;
use shared::task::TaskId;
use tokio::task::JoinSet;

use crate::farm::Farm;

/// Moments, by what was decided.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    /// An attempt is about to be handed out.
    pub handed: HashMap<AttemptRef, Instant>,
    /// A receipt was accepted.
    pub done: HashMap<TaskId, Instant>,
}

/// A watch on the records of all tasks; it ends when it is dropped.
pub struct Commits {
    seen: Arc<Mutex<Seen>>,
    _watch: JoinSet<()>,
}

impl Commits {
    pub async fn watch(farm: &Farm) -> Result<Self> {
        let mut client = Client::connect([format!("http://127.0.0.1:{}", farm.etcd.port())], None).await?;
        let mut changes = client.watch("/farm/task/", Some(WatchOptions::new().with_prefix())).await?;
        let seen = Arc::<Mutex<Seen>>::default();
        let (noted, mut watch) = (seen.clone(), JoinSet::new());
        watch.spawn(async move {
            // What it misses is missing in the figures, which say so.
            while let Ok(Some(response)) = changes.message().await {
                let now = Instant::now();
                let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
                let puts = response.events().iter().filter(|event| event.event_type() == EventType::Put);
                for record in puts.filter_map(|event| serde_json::from_slice(event.kv()?.value()).ok()) {
                    note(&mut noted, record, now);
                }
            }
        });
        Ok(Self { seen, _watch: watch })
    }

    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn note(seen: &mut Seen, record: TaskRecord, now: Instant) {
    let TaskRecord { id, attempt, state, .. } = record;
    match state {
        TaskState::Waiting => {}
        TaskState::Out => drop(seen.handed.entry(AttemptRef { task: id, attempt }).or_insert(now)),
        TaskState::Done(_) => drop(seen.done.entry(id).or_insert(now)),
    }
}
