//! Pauses between tries.

use std::time::Duration;

use tracing::{debug, warn};

use crate::queue::QueueError;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);

/// Each pause is twice the last one. Only the first failure in a row is worth a warning.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    last: Option<Duration>,
}

impl Backoff {
    /// It has worked.
    pub fn reset(&mut self) {
        self.last = None;
    }

    /// It has failed: waits before the next try.
    pub async fn pause(&mut self, what: &'static str, error: &QueueError) {
        match self.last {
            None => warn!(what, %error, "trying again"),
            Some(_) => debug!(what, %error, "trying again"),
        }
        let pause = self.last.map_or(FIRST, |last| (last * 2).min(LONGEST));
        self.last = Some(pause);
        tokio::time::sleep(pause).await;
    }
}
