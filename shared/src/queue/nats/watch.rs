//! Looks after the streams: how much waits there, and whether they are still the same.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::jetstream::stream;
use tokio::sync::mpsc;
use tracing::error;

use super::backoff::Backoff;
use super::link::Link;
use super::listener::Heard;
use super::streams::{Names, failed, lanes};
use crate::fleet::Class;
use crate::queue::{Incoming, QueueError};

/// How often the broker is asked.
const EVERY: Duration = Duration::from_secs(5);

/// The task stream as it was last seen.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Nanoseconds of UNIX time.
    created: i128,
    /// Place of the last task that was pushed.
    pushed: u64,
}

impl Known {
    /// The stream is this one.
    pub fn see(&mut self, info: &stream::Info) {
        *self = Self { created: info.created.unix_timestamp_nanos(), pushed: info.state.last_sequence };
    }

    /// A task was stored.
    pub fn push(&mut self, place: u64) {
        self.pushed = self.pushed.max(place);
    }
}

/// Tells [`Incoming::Depth`] and [`Incoming::Lost`].
pub(super) struct Watch {
    link: Arc<Link>,
    known: Arc<Mutex<Known>>,
    out: mpsc::Sender<Heard>,
}

impl Watch {
    pub fn new(link: Arc<Link>, known: Arc<Mutex<Known>>, out: mpsc::Sender<Heard>) -> Self {
        Self { link, known, out }
    }

    pub async fn run(self) {
        let mut changes = self.link.changes();
        let mut backoff = Backoff::default();
        loop {
            match self.look().await {
                Ok(incoming) => {
                    if self.out.send((Ok(incoming), Vec::new())).await.is_err() {
                        return;
                    }
                    backoff.reset();
                    // Either way it is time to look.
                    let _ = tokio::time::timeout(EVERY, changes.changed()).await;
                }
                Err(error) => backoff.pause("the queue can't be looked after", &error).await,
            }
        }
    }

    async fn look(&self) -> Result<Incoming, QueueError> {
        self.link.require_connection()?;
        if let Some(why) = self.loss().await? {
            error!(why, "the broker has lost tasks or results; making its streams anew");
            let (tasks, _) = self.link.ensure().await?;
            self.known().see(&tasks);
            return Ok(Incoming::Lost);
        }
        Ok(Incoming::Depth(self.depth().await?))
    }

    /// Why what was pushed may not be there any more.
    async fn loss(&self) -> Result<Option<&'static str>, QueueError> {
        let (created, pushed) = {
            let known = self.known();
            (known.created, known.pushed)
        };
        let names = &self.link.names;
        for others in [&names.reports, &names.advisories] {
            if self.link.find_stream(others).await?.is_none() {
                return Ok(Some("a stream is gone"));
            }
        }
        Ok(match self.link.find_stream(&names.tasks).await? {
            None => Some("the stream of the tasks is gone"),
            Some(info) if info.created.unix_timestamp_nanos() != created => Some("the stream of the tasks is new"),
            Some(info) if info.state.last_sequence < pushed => Some("the stream of the tasks went back in time"),
            Some(_) => None,
        })
    }

    /// Tasks that nobody has yet.
    async fn depth(&self) -> Result<u64, QueueError> {
        let tasks = &self.link.names.tasks;
        let stream = self.link.jetstream.get_stream_no_info(tasks).await;
        let stream = stream.map_err(|error| failed("stream", tasks, &error))?;
        let mut depth = 0;
        for lane in lanes(&Class::ALL) {
            let consumer = Names::lane_consumer(lane);
            match stream.consumer_info(&consumer).await {
                Ok(info) => depth += info.num_pending,
                Err(error) => {
                    self.link.ensure().await?; // in case that it is gone
                    return Err(failed("consumer", &consumer, &error));
                }
            }
        }
        Ok(depth)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
