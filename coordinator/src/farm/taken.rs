//! What has left the queue, as far as it can be told: lanes are first in, first out.
//!
//! An attempt that a worker took just before it died together with the coordinator was heard of by nobody, and looks as if
//! it still waited on the queue. It does not if one that was queued after it has begun, or if nothing waits there.

use std::collections::BTreeMap;

use shared::fleet::{Class, Lane, Urgency};

/// The depth of the queue may be so old.
const DEPTH_AGE_MS: u64 = 2_000;

/// Up to when the attempts of each lane have left the queue.
#[derive(Debug, Default)]
pub(super) struct Taken(BTreeMap<Lane, u64>);

impl Taken {
    /// An attempt that was queued there and then has begun.
    pub(super) fn begun(&mut self, lane: Lane, queued_ms: u64) {
        let before = self.0.entry(lane).or_default();
        *before = (*before).max(queued_ms);
    }

    /// Nothing waits on the queue.
    pub(super) fn all(&mut self, now_ms: u64) {
        let lanes = Class::ALL.into_iter().flat_map(|class| Urgency::ALL.map(|urgency| Lane { class, urgency }));
        for lane in lanes {
            let before = self.0.entry(lane).or_default();
            *before = (*before).max(now_ms.saturating_sub(DEPTH_AGE_MS));
        }
    }

    /// Attempts that were queued there before this time have left the queue.
    pub(super) fn before(&self, lane: Lane) -> u64 {
        self.0.get(&lane).copied().unwrap_or(0)
    }
}
