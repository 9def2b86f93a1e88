//! What virtual workers have done, and when.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use shared::fleet::AttemptRef;
use shared::task::{TaskId, TaskName};

/// An attempt at a chunk that has come to its end.
#[derive(Debug, Clone)]
pub struct Made {
    pub attempt: AttemptRef,
    /// When the worker had the task in its hands.
    pub taken: Instant,
    /// When it began to say that it is done, or has stopped.
    pub said: Instant,
    /// It was told to stop.
    pub stopped: bool,
}

impl Made {
    /// How long the worker was busy with it.
    pub fn work(&self) -> Duration {
        self.said - self.taken
    }
}

/// Of a whole fleet.
#[derive(Debug, Default)]
pub struct Ledger {
    made: Mutex<Vec<Made>>,
    indexed: tokio::sync::watch::Sender<usize>,
}

impl Ledger {
    /// An attempt has ended.
    pub fn add(&self, made: Made) {
        match made.attempt.task.name {
            TaskName::Video(_) => self.made.lock().unwrap_or_else(PoisonError::into_inner).push(made),
            TaskName::Index => self.indexed.send_modify(|count| *count += 1),
            TaskName::Audio(_) | TaskName::Storyboard => {}
        }
    }

    /// Waits until so many indexes are done.
    pub async fn indexed(&self, count: usize) {
        // Can't fail: the sender is `self`.
        drop(self.indexed.subscribe().wait_for(|done| *done >= count).await);
    }

    /// All attempts at chunks so far.
    pub fn chunks(&self) -> Vec<Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The attempt at each chunk that said first that it is done.
pub fn firsts(made: &[Made]) -> BTreeMap<&TaskId, &Made> {
    let mut firsts: BTreeMap<&TaskId, &Made> = BTreeMap::new();
    for one in made.iter().filter(|one| !one.stopped) {
        let first = firsts.entry(&one.attempt.task).or_insert(one);
        if one.said < first.said {
            *first = one;
        }
    }
    firsts
}
