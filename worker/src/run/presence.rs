//! What a worker tells of itself and what it is told besides tasks.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use shared::fleet::{AttemptRef, Class, Directive, Heartbeat, Standing};
use shared::task::{Cancellation, Receipt, Task, WorkerId};
use shared::time::Timescale;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

/// What is not wanted that a worker remembers; what is older has left the queue, which is short.
const REMEMBERED: usize = 1024;

/// The state of a worker that others see and change.
pub struct Presence {
    worker: WorkerId,
    slots: u32,
    host: String,
    started_ms: u64,
    draining: CancellationToken,
    told: watch::Sender<Told>,
    doing: Mutex<Doing>,
}

/// What it was told.
#[derive(Default)]
struct Told {
    cancelled: VecDeque<Cancellation>,
    stopped: VecDeque<AttemptRef>,
    hold: bool,
}

/// What it does and has done.
#[derive(Default)]
struct Doing {
    running: BTreeSet<AttemptRef>,
    encoded_ms: u64,
    encoding_ms: u64,
}

impl Presence {
    /// A worker that takes what comes until `draining` is cancelled.
    pub fn new(worker: WorkerId, slots: u32, draining: CancellationToken) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let started_ms = u64::try_from(started.as_millis()).unwrap_or(u64::MAX);
        Self { worker, slots, host, started_ms, draining, told: watch::Sender::default(), doing: Mutex::default() }
    }

    /// Does as it is told, if it is meant.
    pub fn obey(&self, directive: Directive) {
        match directive {
            Directive::Cancel(cancellation) => {
                self.told.send_modify(|told| remember(&mut told.cancelled, cancellation));
            }
            Directive::Stop(attempt) => self.told.send_modify(|told| remember(&mut told.stopped, attempt)),
            Directive::Hold(worker) if worker == self.worker => self.set_hold(true),
            Directive::Release(worker) if worker == self.worker => self.set_hold(false),
            Directive::Drain(worker) if worker == self.worker => {
                info!(%worker, "told to drain");
                self.draining.cancel();
            }
            Directive::Hold(_) | Directive::Release(_) | Directive::Drain(_) => {}
        }
    }

    fn set_hold(&self, hold: bool) {
        let changed = self.told.send_if_modified(|told| std::mem::replace(&mut told.hold, hold) != hold);
        if changed {
            info!(worker = %self.worker, hold, "told to {}", if hold { "hold" } else { "work again" });
        }
    }

    /// Waits until the attempt is not wanted any more.
    pub async fn unwanted(&self, task: &Task) {
        let attempt = attempt_of(task);
        let unwanted =
            |told: &Told| told.cancelled.iter().any(|one| one.covers(task)) || told.stopped.contains(&attempt);
        // Can't fail: the sender is `self`.
        drop(self.told.subscribe().wait_for(unwanted).await);
    }

    /// Waits until the worker is (`true`) or is not told to hold.
    pub async fn held(&self, hold: bool) {
        // Can't fail: the sender is `self`.
        drop(self.told.subscribe().wait_for(|told| told.hold == hold).await);
    }

    /// An attempt runs until the guard is dropped. `None`: it runs here already.
    pub fn begin(&self, task: &Task) -> Option<Running<'_>> {
        let attempt = attempt_of(task);
        let new = self.doing().running.insert(attempt.clone());
        new.then(|| Running { presence: self, attempt })
    }

    /// An attempt has ended well.
    pub fn made(&self, receipt: &Receipt) {
        let Receipt::Video(video) = receipt else { return };
        let Some(part) = video.parts.first() else { return };
        let ticks: u64 = part.segments.iter().map(|segment| segment.duration).sum();
        let ms = Timescale::MILLIS.rescale_floor(i64::try_from(ticks).unwrap_or(i64::MAX), part.timescale);
        let mut doing = self.doing();
        doing.encoded_ms += ms.unsigned_abs();
        doing.encoding_ms += video.spent.wall_ms;
    }

    /// What it says of itself now.
    pub fn heartbeat(&self) -> Heartbeat {
        let doing = self.doing();
        let speed_ms_per_s = (doing.encoded_ms * 1000).checked_div(doing.encoding_ms).unwrap_or(0);
        let standing = match (self.draining.is_cancelled(), self.told.borrow().hold) {
            (true, _) => Standing::Draining,
            (false, true) => Standing::Holding,
            (false, false) => Standing::Working,
        };
        Heartbeat {
            worker: self.worker.clone(),
            build: env!("CARGO_PKG_VERSION").to_owned(),
            host: self.host.clone(),
            classes: Class::ALL.to_vec(),
            slots: self.slots,
            running: doing.running.iter().cloned().collect(),
            standing,
            speed_ms_per_s: u32::try_from(speed_ms_per_s).unwrap_or(u32::MAX),
            started_ms: self.started_ms,
        }
    }

    fn doing(&self) -> std::sync::MutexGuard<'_, Doing> {
        self.doing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Heartbeats name the attempt while this lives.
pub struct Running<'a> {
    presence: &'a Presence,
    attempt: AttemptRef,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.presence.doing().running.remove(&self.attempt);
    }
}

fn attempt_of(task: &Task) -> AttemptRef {
    AttemptRef { task: task.id.clone(), attempt: task.attempt }
}

fn remember<T: PartialEq>(known: &mut VecDeque<T>, new: T) {
    if !known.contains(&new) {
        known.push_back(new);
        if known.len() > REMEMBERED {
            known.pop_front();
        }
    }
}
