//! What a worker tells of itself and what it is told besides tasks.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use shared::fleet::{Ability, AttemptRef, Class, Directive, GpuShare, Heartbeat, Standing};
use shared::task::{Cancellation, Receipt, Task, WorkerId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::gpus::{Gpus, Offer};
use crate::proof::{self, Proof};

/// What is not wanted, or was passed on, that a worker remembers; what is older has left the queue, which is short.
const REMEMBERED: usize = 1024;
/// How often a worker leaves an attempt to others before it makes it after all: they may all be gone. Before that the
/// coordinator hands out another attempt, for those who are there then.
const MOST_PASSES: u32 = 10;

/// The state of a worker that others see and change.
pub struct Presence {
    worker: WorkerId,
    slots: u32,
    host: String,
    started_ms: u64,
    gpus: Arc<Gpus>,
    draining: CancellationToken,
    told: watch::Sender<Told>,
    doing: Mutex<Doing>,
    proof: watch::Sender<Proof>,
}

/// What it was told.
#[derive(Default)]
struct Told {
    cancelled: VecDeque<Cancellation>,
    stopped: VecDeque<AttemptRef>,
    hold: bool,
    prove: bool,
}

/// What it does and has done.
#[derive(Default)]
struct Doing {
    running: BTreeSet<AttemptRef>,
    gpu_busy: u32,
    cpu_speed: Speed,
    gpu_speed: Speed,
    passed_on: VecDeque<(AttemptRef, u32)>,
}

/// What the slots of a class have made.
#[derive(Default)]
struct Speed {
    encoded_ms: u64,
    encoding_ms: u64,
}

impl Speed {
    /// Milliseconds of presentation that one slot makes in a second; 0 before the first chunk.
    fn ms_per_s(&self) -> u32 {
        let speed = (self.encoded_ms * 1000).checked_div(self.encoding_ms).unwrap_or(0);
        u32::try_from(speed).unwrap_or(u32::MAX)
    }
}

impl Presence {
    /// A worker that takes what comes, once it has proven something, until `draining` is cancelled.
    pub fn new(worker: WorkerId, slots: u32, gpus: Arc<Gpus>, draining: CancellationToken) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let started_ms = u64::try_from(started.as_millis()).unwrap_or(u64::MAX);
        let (told, doing, proof) = Default::default();
        Self { worker, slots, host, started_ms, gpus, draining, told, doing, proof }
    }

    /// Does as it is told, if it is meant.
    pub fn obey(&self, directive: Directive) {
        match directive {
            Directive::Cancel(cancellation) => {
                self.told.send_modify(|told| remember(&mut told.cancelled, cancellation));
            }
            Directive::Stop(attempt) => self.told.send_modify(|told| remember(&mut told.stopped, attempt)),
            Directive::Hold(worker) if worker == self.worker => drop(self.set_hold(true)),
            Directive::Release(worker) if worker == self.worker => drop(self.set_hold(false)),
            Directive::Drain(worker) if worker == self.worker => {
                info!(%worker, "told to drain");
                self.draining.cancel();
            }
            Directive::Prove(worker) if worker == self.worker => self.told.send_modify(|told| told.prove = true),
            Directive::GiveWay(other) if other.worker == self.worker && self.started_ms < other.started_ms => {
                if self.set_hold(true) {
                    let host = other.host;
                    error!(worker = %self.worker, host, "takes nothing while a younger process of this name lives");
                }
            }
            Directive::Hold(_)
            | Directive::Release(_)
            | Directive::Drain(_)
            | Directive::Prove(_)
            | Directive::GiveWay(_) => {}
        }
    }

    /// Whether that is news.
    fn set_hold(&self, hold: bool) -> bool {
        let changed = self.told.send_if_modified(|told| std::mem::replace(&mut told.hold, hold) != hold);
        if changed {
            info!(worker = %self.worker, hold, "told to hold, or not to any more");
        }
        changed
    }

    /// Waits until the attempt is not wanted any more.
    pub async fn unwanted(&self, task: &Task) {
        let attempt = attempt_of(task);
        let unwanted =
            |told: &Told| told.cancelled.iter().any(|one| one.covers(task)) || told.stopped.contains(&attempt);
        // Can't fail: the sender is `self`.
        drop(self.told.subscribe().wait_for(unwanted).await);
    }

    /// Waits until the worker takes tasks (`true`) or does not: it was told to hold, or has proven nothing.
    pub async fn takes_tasks(&self, takes: bool) {
        let (mut told, mut proof) = (self.told.subscribe(), self.proof.subscribe());
        while (!told.borrow_and_update().hold && !proof.borrow_and_update().classes().is_empty()) != takes {
            // Neither can fail: the senders are `self`.
            tokio::select! {
                _ = told.changed() => {}
                _ = proof.changed() => {}
            }
        }
    }

    /// What has been tried, now and whenever that changes.
    pub fn proof(&self) -> watch::Receiver<Proof> {
        self.proof.subscribe()
    }

    /// Everything is claimed until it is tried.
    pub fn assume_fit(&self) {
        self.proof.send_modify(|proof| proof.assumed = true);
    }

    /// Everything has been tried.
    pub fn proven(&self, abilities: Vec<Ability>) {
        self.told.send_modify(|told| told.prove = false);
        self.proof.send_modify(|proof| *proof = Proof { abilities, number: proof.number + 1, assumed: false });
        let proof = self.proof.borrow();
        for class in proof::tried() {
            match proof.lack(class) {
                None => info!(worker = %self.worker, %class, "proven"),
                Some(lack) => error!(worker = %self.worker, %class, lack, "not claimed: its trial failed"),
            }
        }
    }

    /// Waits until it is to try again what it can do.
    pub async fn asked_to_prove(&self) {
        // Can't fail: the sender is `self`.
        drop(self.told.subscribe().wait_for(|told| told.prove).await);
    }

    /// Waits until it has tried once more what it can do without GPUs.
    pub async fn proven_again(&self) {
        let mut proof = self.proof.subscribe();
        let before = proof.borrow_and_update().number.max(1); // the first is at the start, beside that of the GPUs
        // Can't fail: the sender is `self`.
        drop(proof.wait_for(|proof| proof.number > before).await);
    }

    /// Whether to leave the task to others: it asks for that, and this worker has not done so too often.
    pub fn leaves_to_others(&self, task: &Task) -> bool {
        if !task.avoid.contains(&self.worker) {
            return false;
        }
        let attempt = attempt_of(task);
        let passed_on = &mut self.doing().passed_on;
        if !passed_on.iter().any(|(known, _)| *known == attempt) {
            remember(passed_on, (attempt.clone(), 0));
        }
        let times = passed_on.iter_mut().find(|(known, _)| *known == attempt).map(|(_, times)| times);
        times.is_some_and(|times| {
            *times += 1;
            *times <= MOST_PASSES
        })
    }

    /// An attempt runs until the guard is dropped. `None`: it runs here already.
    pub fn begin(&self, task: &Task, class: Class) -> Option<Running<'_>> {
        let attempt = attempt_of(task);
        let mut doing = self.doing();
        if !doing.running.insert(attempt.clone()) {
            return None;
        }
        doing.gpu_busy += u32::from(class == Class::Gpu);
        Some(Running { presence: self, attempt, class })
    }

    /// An attempt has ended well.
    pub fn made(&self, receipt: &Receipt, class: Class) {
        let Receipt::Video(video) = receipt else { return };
        let Some(part) = video.parts.first() else { return };
        let mut doing = self.doing();
        let speed = match class {
            Class::Cpu => &mut doing.cpu_speed,
            Class::Gpu => &mut doing.gpu_speed,
        };
        speed.encoded_ms += part.duration_ms();
        speed.encoding_ms += video.spent.wall_ms;
    }

    /// What it says of itself now.
    pub fn heartbeat(&self) -> Heartbeat {
        let (doing, proof) = (self.doing(), self.proof.borrow());
        let Offer { slots, on_trial } = *self.gpus.offer().borrow();
        let gpu = GpuShare { slots, busy: doing.gpu_busy, speed_ms_per_s: doing.gpu_speed.ms_per_s(), on_trial };
        let on_gpus = (slots > 0).then_some(Class::Gpu);
        let standing = match (self.draining.is_cancelled(), self.told.borrow().hold) {
            (true, _) => Standing::Draining,
            (false, true) => Standing::Holding,
            (false, false) => Standing::Working,
        };
        Heartbeat {
            worker: self.worker.clone(),
            build: env!("CARGO_PKG_VERSION").to_owned(),
            host: self.host.clone(),
            classes: proof.classes().into_iter().chain(on_gpus).collect(),
            abilities: proof.abilities.iter().cloned().chain(self.gpus.claims()).collect(),
            proofs: proof.number,
            slots: self.slots,
            gpu,
            running: doing.running.iter().cloned().collect(),
            standing,
            speed_ms_per_s: doing.cpu_speed.ms_per_s(),
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
    class: Class,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut doing = self.presence.doing();
        doing.running.remove(&self.attempt);
        doing.gpu_busy -= u32::from(self.class == Class::Gpu);
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

#[cfg(test)]
mod tests {
    use shared::task::{AttemptId, IndexTask, JobId, Places, TaskId, TaskName, Work};

    use super::*;

    #[test]
    fn a_task_is_left_to_others_but_not_for_ever() {
        let id = |name: &str| WorkerId::new(name).unwrap();
        let presence = Presence::new(id("a"), 1, Arc::default(), CancellationToken::new());
        let task = |attempt, avoid: &[&str]| Task {
            id: TaskId { job: JobId::new("job").unwrap(), name: TaskName::Index },
            attempt: AttemptId(attempt),
            places: Places { source: "s".into(), target: "t".into(), work: "w".into() },
            work: Work::Index(IndexTask { max_pixels: 1, growing_ms: None }),
            avoid: avoid.iter().map(|name| id(name)).collect(),
            source_mark: None,
            trace: None,
        };
        assert!(!presence.leaves_to_others(&task(1, &["b"])));
        let times = (0..100).take_while(|_| presence.leaves_to_others(&task(2, &["b", "a"]))).count();
        assert_eq!(times, MOST_PASSES as usize);
        assert!(presence.leaves_to_others(&task(3, &["a"])), "another attempt is counted apart");
    }
}
