//! Who is there, what they can do, and who is not trusted any more. Pure: fed by heartbeats and by how attempts end.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use shared::error::ErrorKind;
use shared::fleet::{AttemptRef, Class, Directive, HEARTBEAT_MS, Heartbeat, Standing};
use shared::task::{TaskId, WorkerId};

/// A worker that has missed so many heartbeats is gone.
const MISSED_HEARTBEATS: u64 = 5;
/// Silence after which a worker counts as gone, if others are heard meanwhile.
pub const LOST_AFTER_MS: u64 = MISSED_HEARTBEATS * HEARTBEAT_MS;
/// Silence of everybody after which all count as gone: until then it may be the queue that is away, and workers go on.
pub const ALL_LOST_AFTER_MS: u64 = 60_000;
/// A coordinator that has not looked for so long has not listened either.
const STALL_MS: u64 = 5_000;
/// Different tasks that fail one after another on a worker for reasons that are its own.
const MOST_FAULTS: usize = 3;
/// How long a worker that was gone is still shown.
const SHOWN_MS: u64 = 15 * 60_000;

/// Why a worker is told to hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// A person asked for it.
    Cordoned,
    /// It failed where others need not: the reason.
    Quarantined(String),
}

/// A worker as the coordinator knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerView {
    /// What it said last.
    pub heartbeat: Heartbeat,
    /// When, in milliseconds of UNIX time.
    pub heard_ms: u64,
    /// It has missed too many heartbeats.
    pub lost: bool,
    /// Why it is told to hold.
    pub hold: Option<Hold>,
    /// Attempts it has ended well and badly since it was first heard of.
    pub done: u64,
    /// Attempts that failed there.
    pub failed: u64,
}

/// All workers.
#[derive(Debug, Default)]
pub struct Workers {
    known: BTreeMap<WorkerId, Known>,
    /// When silence was last looked for.
    looked_ms: u64,
    /// Since when it is looked for without a break.
    listening_ms: u64,
}

#[derive(Debug)]
struct Known {
    view: WorkerView,
    /// Tasks that failed here since the last success, for reasons that are the worker's own.
    faults: BTreeSet<TaskId>,
}

impl Workers {
    /// A worker has spoken. Returns what it must be told again: a directive may have been lost.
    pub fn beat(&mut self, heartbeat: Heartbeat, now_ms: u64) -> Option<Directive> {
        let id = heartbeat.worker.clone();
        let known = self.known.entry(id.clone()).or_insert_with(|| Known {
            view: WorkerView {
                heartbeat: heartbeat.clone(),
                heard_ms: now_ms,
                lost: false,
                hold: None,
                done: 0,
                failed: 0,
            },
            faults: BTreeSet::new(),
        });
        let view = &mut known.view;
        (view.heard_ms, view.lost, view.heartbeat) = (now_ms, false, heartbeat);
        match (view.heartbeat.standing, &view.hold) {
            (Standing::Working, Some(_)) => Some(Directive::Hold(id)),
            (Standing::Holding, None) => Some(Directive::Release(id)),
            _ => None,
        }
    }

    /// Whether it is another process than the one that spoke before: returns what that one ran.
    pub fn began_anew(&mut self, heartbeat: &Heartbeat) -> Option<Vec<AttemptRef>> {
        let view = &mut self.known.get_mut(&heartbeat.worker)?.view;
        let before = view.heartbeat.started_ms; // 0: it has not spoken to this coordinator
        let anew = before != 0 && before != heartbeat.started_ms;
        anew.then(|| std::mem::take(&mut view.heartbeat.running))
    }

    /// Marks who has not been heard for too long; returns the attempts they held.
    pub fn lose_silent(&mut self, now_ms: u64) -> Vec<(WorkerId, Vec<AttemptRef>)> {
        if self.looked_ms + STALL_MS < now_ms {
            self.listening_ms = now_ms;
        }
        self.looked_ms = now_ms;
        let (listening_ms, newest_ms) = (self.listening_ms, self.views().map(|view| view.heard_ms).max().unwrap_or(0));
        let silent = |view: &WorkerView| {
            let since = view.heard_ms.max(listening_ms);
            since + LOST_AFTER_MS <= newest_ms || since + ALL_LOST_AFTER_MS <= now_ms
        };
        let mut lost = Vec::new();
        for (id, Known { view, .. }) in &mut self.known {
            if !view.lost && silent(view) {
                view.lost = true;
                lost.push((id.clone(), std::mem::take(&mut view.heartbeat.running)));
            }
        }
        self.known
            .retain(|_, Known { view, .. }| !view.lost || view.heard_ms + SHOWN_MS > now_ms || view.hold.is_some());
        lost
    }

    /// Attempts that can run at once on everybody who takes tasks of this class.
    pub fn slots(&self, class: Class) -> usize {
        let working = self.views().filter(|view| {
            !view.lost
                && view.hold.is_none()
                && view.heartbeat.standing == Standing::Working
                && view.heartbeat.classes.contains(&class)
        });
        working.map(|view| view.heartbeat.slots as usize).sum()
    }

    /// An attempt has ended well.
    pub fn succeeded(&mut self, worker: &WorkerId) {
        if let Some(known) = self.known.get_mut(worker) {
            known.view.done += 1;
            known.faults.clear();
        }
    }

    /// An attempt has failed, or its receipt was refused. Returns a directive if the worker is not trusted any more: it
    /// would empty the queue by failing fast (a black hole).
    pub fn failed(&mut self, worker: &WorkerId, task: &TaskId, kind: ErrorKind, code: &str) -> Option<Directive> {
        let known = self.known.get_mut(worker).filter(|_| kind != ErrorKind::Cancelled)?;
        known.view.failed += 1;
        // A worker that ran out of something rests by itself until there is more of it.
        let own = matches!(kind, ErrorKind::Bug | ErrorKind::Unsupported);
        if !own || known.view.hold.is_some() {
            return None;
        }
        known.faults.insert(task.clone());
        if known.faults.len() < MOST_FAULTS {
            return None;
        }
        let reason = format!("{MOST_FAULTS} tasks failed here one after another, the last with {code}");
        known.view.hold = Some(Hold::Quarantined(reason));
        Some(Directive::Hold(worker.clone()))
    }

    /// A person wants a worker to hold, or to work again. `None`: no such worker.
    pub fn hold(&mut self, worker: &WorkerId, hold: bool) -> Option<Directive> {
        let known = self.known.get_mut(worker)?;
        known.view.hold = hold.then_some(Hold::Cordoned);
        known.faults.clear();
        Some(if hold { Directive::Hold(worker.clone()) } else { Directive::Release(worker.clone()) })
    }

    /// Remembers what the store knows of a worker that may not have spoken yet.
    pub fn restore(&mut self, worker: WorkerId, hold: Hold, now_ms: u64) {
        let heartbeat = Heartbeat {
            worker: worker.clone(),
            build: String::new(),
            host: String::new(),
            classes: Vec::new(),
            slots: 0,
            running: Vec::new(),
            standing: Standing::Holding,
            speed_ms_per_s: 0,
            started_ms: 0,
        };
        let view = WorkerView { heartbeat, heard_ms: now_ms, lost: true, hold: Some(hold), done: 0, failed: 0 };
        self.known.insert(worker, Known { view, faults: BTreeSet::new() });
    }

    /// One worker.
    pub fn get(&self, worker: &WorkerId) -> Option<&WorkerView> {
        self.known.get(worker).map(|known| &known.view)
    }

    /// Everybody, by id.
    pub fn views(&self) -> impl Iterator<Item = &WorkerView> {
        self.known.values().map(|known| &known.view)
    }
}

#[cfg(test)]
mod tests {
    use shared::task::{JobId, TaskName};

    use super::*;

    fn heartbeat(worker: &str) -> Heartbeat {
        Heartbeat {
            worker: WorkerId::new(worker).unwrap(),
            build: "test".into(),
            host: "here".into(),
            classes: vec![Class::Cpu],
            slots: 2,
            running: vec![],
            standing: Standing::Working,
            speed_ms_per_s: 0,
            started_ms: 0,
        }
    }

    fn task(chunk: u32) -> TaskId {
        TaskId { job: JobId::new("job").unwrap(), name: TaskName::Video(chunk) }
    }

    #[test]
    fn only_those_who_take_tasks_count() {
        let mut workers = Workers::default();
        assert_eq!(workers.beat(heartbeat("a"), 0), None);
        assert_eq!(workers.beat(heartbeat("b"), 0), None);
        assert_eq!(workers.slots(Class::Cpu), 4);
        let b = WorkerId::new("b").unwrap();
        assert_eq!(workers.hold(&b, true), Some(Directive::Hold(b.clone())));
        assert_eq!(workers.slots(Class::Cpu), 2);
        workers.lose_silent(0);
        workers.lose_silent(STALL_MS);
        workers.beat(heartbeat("b"), LOST_AFTER_MS);
        assert_eq!(workers.lose_silent(LOST_AFTER_MS).len(), 1);
        assert_eq!(workers.slots(Class::Cpu), 0);
        workers.beat(heartbeat("a"), LOST_AFTER_MS);
        assert_eq!(workers.slots(Class::Cpu), 2);
    }

    #[test]
    fn a_lost_directive_is_said_again_with_the_next_heartbeat() {
        let mut workers = Workers::default();
        let a = WorkerId::new("a").unwrap();
        workers.beat(heartbeat("a"), 0);
        workers.hold(&a, true);
        assert_eq!(workers.beat(heartbeat("a"), 1), Some(Directive::Hold(a.clone())));
        let holding = Heartbeat { standing: Standing::Holding, ..heartbeat("a") };
        assert_eq!(workers.beat(holding.clone(), 2), None);
        workers.hold(&a, false);
        assert_eq!(workers.beat(holding, 3), Some(Directive::Release(a)));
    }

    #[test]
    fn a_black_hole_is_quarantined_and_one_bad_task_is_not_its_fault() {
        let mut workers = Workers::default();
        let a = WorkerId::new("a").unwrap();
        workers.beat(heartbeat("a"), 0);
        for _ in 0..5 {
            assert_eq!(workers.failed(&a, &task(0), ErrorKind::Bug, "slot_died"), None);
            assert_eq!(workers.failed(&a, &task(9), ErrorKind::Input, "undecodable"), None);
        }
        for chunk in 0..5 {
            assert_eq!(workers.failed(&a, &task(chunk), ErrorKind::Exhausted, "scratch_full"), None);
        }
        workers.failed(&a, &task(1), ErrorKind::Bug, "slot_died");
        workers.succeeded(&a);
        workers.failed(&a, &task(1), ErrorKind::Bug, "slot_died");
        workers.failed(&a, &task(2), ErrorKind::Bug, "slot_died");
        assert_eq!(workers.failed(&a, &task(3), ErrorKind::Bug, "slot_died"), Some(Directive::Hold(a.clone())));
        assert!(matches!(&workers.get(&a).unwrap().hold, Some(Hold::Quarantined(_))));
        assert_eq!(workers.slots(Class::Cpu), 0);
    }
}
