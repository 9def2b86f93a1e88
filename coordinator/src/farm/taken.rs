//! What has left the queue, as far as it can be told: lanes are first in, first out.
//!
//! An attempt that a worker took just before it died together with the coordinator was heard of by nobody, and looks as if
//! it still waited on the queue. It does not if one that was queued after it has begun, or if nothing waits there.

use std::collections::BTreeMap;

use shared::fleet::Urgency;
use shared::task::TaskName;

use super::urgency;

/// The depth of the queue may be so old.
const DEPTH_AGE_MS: u64 = 2_000;

/// Up to when the attempts of each lane have left the queue.
#[derive(Debug, Default)]
pub(super) struct Taken(BTreeMap<Urgency, u64>);

impl Taken {
    /// An attempt at `name` that was queued then has begun.
    pub(super) fn begun(&mut self, name: TaskName, queued_ms: u64) {
        let before = self.0.entry(urgency(name)).or_default();
        *before = (*before).max(queued_ms);
    }

    /// Nothing waits on the queue.
    pub(super) fn all(&mut self, now_ms: u64) {
        for urgency in Urgency::ALL {
            let before = self.0.entry(urgency).or_default();
            *before = (*before).max(now_ms.saturating_sub(DEPTH_AGE_MS));
        }
    }

    /// Attempts at `name` that were queued before this time have left the queue.
    pub(super) fn before(&self, name: TaskName) -> u64 {
        self.0.get(&urgency(name)).copied().unwrap_or(0)
    }
}
