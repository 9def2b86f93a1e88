//! Who is there, what they can do, and who is not trusted any more. Pure: fed by heartbeats and by how attempts end.

mod load;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use shared::error::ErrorKind;
use shared::fleet::{Ability, AttemptRef, Class, Directive, GpuShare, HEARTBEAT_MS, Heartbeat, Standing};
use shared::task::{JobId, Task, TaskId, Work, WorkerId};

use crate::job::TaskRecord;
use crate::retry::blames_worker;
pub use load::Load;

/// A worker that has missed so many heartbeats is gone.
const MISSED_HEARTBEATS: u64 = 5;
/// Silence after which a worker counts as gone, if others are heard meanwhile.
pub const LOST_AFTER_MS: u64 = MISSED_HEARTBEATS * HEARTBEAT_MS;
/// Silence of everybody after which all count as gone: until then it may be the queue that is away, and workers go on.
pub const ALL_LOST_AFTER_MS: u64 = 60_000;
/// A coordinator that has not looked for so long has not listened either.
const STALL_MS: u64 = 5_000;
/// Different tasks that fail one after another on a worker for reasons that may be its own.
const MOST_FAULTS: usize = 3;
/// Different jobs of which something fails one after another on a worker, before it is doubted though nobody has made any of
/// it elsewhere: so many sources that crash whoever reads them don't come at once.
const MOST_FAULTY_JOBS: usize = 3;
/// For so long a worker is quarantined at least, and twice as long each time in a row.
const FIRST_QUARANTINE_MS: u64 = 30_000;
const LONGEST_QUARANTINE_MS: u64 = 3_600_000;
/// Faults that come so close together are those of a black hole: a worker that would empty the queue by failing fast.
const BLACK_HOLE_MS: u64 = 60_000;
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

/// How the faults came that led to a quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quarantined {
    /// All of them within [`BLACK_HOLE_MS`].
    BlackHole,
    /// Over a longer time.
    Failures,
}

/// A process that has the name of another which started later and lives as well. It is not listened to, as two that
/// are would count as one that begins anew each time, and told to take nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Twin {
    /// On which host.
    pub host: String,
    /// When it started, in milliseconds of UNIX time by its own clock.
    pub started_ms: u64,
    /// When it was heard last, in milliseconds of UNIX time.
    pub heard_ms: u64,
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
    /// Another process of its name.
    pub twin: Option<Twin>,
}

impl WorkerView {
    /// Of a worker of which nothing else is known.
    fn new(heartbeat: Heartbeat, heard_ms: u64) -> Self {
        Self { heartbeat, heard_ms, lost: false, hold: None, done: 0, failed: 0, twin: None }
    }

    /// Whether it takes tasks of this class.
    pub fn takes(&self, class: Class) -> bool {
        self.works() && self.heartbeat.classes.contains(&class)
    }

    /// Whether it takes tasks of the classes that it has proven.
    fn works(&self) -> bool {
        self.heartbeat.standing == Standing::Working && self.hold.is_none() && !self.lost
    }
}

/// All workers.
#[derive(Debug, Default)]
pub struct Workers {
    known: BTreeMap<WorkerId, Known>,
    /// When silence was last looked for.
    looked_ms: u64,
    /// Since when it is looked for without a break.
    listening_ms: u64,
    /// Of each class, also when nobody is left of it.
    lately: BTreeMap<Class, Lately>,
}

/// What was last heard of a class.
#[derive(Debug, Clone, Copy, Default)]
struct Lately {
    /// When somebody took its tasks.
    seen_ms: u64,
    /// How fast a slot was.
    speed_ms_per_s: u32,
}

#[derive(Debug)]
struct Known {
    view: WorkerView,
    /// Tasks that failed here since the last success, for reasons that may be the worker's own; whether another worker has
    /// made them since.
    faults: BTreeMap<TaskId, bool>,
    /// Jobs of which something failed here since the last success, whoever was to blame.
    jobs: BTreeSet<JobId>,
    /// When the first and the last of them came, in milliseconds of UNIX time.
    faults_ms: (u64, u64),
    /// Quarantines since the last success.
    quarantines: u32,
    /// `None`: there is none, or it was put under it before a restart and has not spoken since.
    quarantine: Option<Quarantine>,
}

/// How a worker gets out again.
#[derive(Debug, Clone, Copy)]
struct Quarantine {
    /// It has to prove itself once more than so many times,
    proofs: u32,
    /// and no sooner than now.
    until_ms: u64,
}

impl Known {
    fn new(view: WorkerView) -> Self {
        let (faults, jobs) = (BTreeMap::new(), BTreeSet::new());
        Self { view, faults, jobs, faults_ms: (0, 0), quarantines: 0, quarantine: None }
    }

    /// What it says of a task is believed: few jobs have failed here lately.
    fn is_sound(&self) -> bool {
        self.jobs.len() < MOST_FAULTY_JOBS
    }

    /// Nothing of what has failed here counts any more.
    fn clear(&mut self) {
        self.faults.clear();
        self.jobs.clear();
    }

    fn pause_ms(&self) -> u64 {
        (FIRST_QUARANTINE_MS << self.quarantines.saturating_sub(1).min(16)).min(LONGEST_QUARANTINE_MS)
    }

    /// What a worker under quarantine is told, and whether it is let out: it has proven since that it works. One that can't
    /// say so stays, and its abilities say why.
    fn on_probation(&mut self, now_ms: u64) -> Option<Directive> {
        let Heartbeat { worker, standing, proofs, classes, .. } = &self.view.heartbeat;
        let begin = Quarantine { proofs: *proofs, until_ms: now_ms + self.pause_ms() };
        let quarantine = self.quarantine.get_or_insert(begin);
        quarantine.proofs = quarantine.proofs.min(*proofs); // a process that began anew counts from 0
        if *standing == Standing::Working {
            return Some(Directive::Hold(worker.clone()));
        }
        if *proofs == quarantine.proofs {
            return Some(Directive::Prove(worker.clone()));
        }
        if classes.is_empty() || now_ms < quarantine.until_ms {
            return None;
        }
        let released = Directive::Release(worker.clone());
        (self.quarantine, self.view.hold) = (None, None);
        self.clear();
        Some(released)
    }
}

impl Workers {
    /// A worker has spoken. Returns what it must be told again: a directive may have been lost.
    pub fn beat(&mut self, heartbeat: Heartbeat, now_ms: u64) -> Option<Directive> {
        let id = heartbeat.worker.clone();
        let known =
            self.known.entry(id.clone()).or_insert_with(|| Known::new(WorkerView::new(heartbeat.clone(), now_ms)));
        let view = &mut known.view;
        (view.heard_ms, view.lost, view.heartbeat) = (now_ms, false, heartbeat);
        for class in Class::ALL.into_iter().filter(|class| view.takes(*class)) {
            let lately = self.lately.entry(class).or_default();
            lately.seen_ms = now_ms;
            lately.speed_ms_per_s =
                Some(view.heartbeat.speed_of(class)).filter(|speed| *speed > 0).unwrap_or(lately.speed_ms_per_s);
        }
        match (view.heartbeat.standing, &view.hold) {
            (_, Some(Hold::Quarantined(_))) => known.on_probation(now_ms),
            (Standing::Working, Some(_)) => Some(Directive::Hold(id)),
            (Standing::Holding, None) => Some(Directive::Release(id)),
            _ => None,
        }
    }

    /// Whether a process that started later has the same name and lives; `true`: that is news.
    pub fn is_twin(&mut self, heartbeat: &Heartbeat, now_ms: u64) -> Option<bool> {
        let view = &mut self.known.get_mut(&heartbeat.worker)?.view;
        let lives = !view.lost && now_ms < view.heard_ms + LOST_AFTER_MS;
        if !lives || heartbeat.started_ms >= view.heartbeat.started_ms {
            return None;
        }
        let Heartbeat { host, started_ms, .. } = heartbeat;
        let twin = Twin { host: host.clone(), started_ms: *started_ms, heard_ms: now_ms };
        let before = view.twin.replace(twin);
        Some(before.is_none_or(|before| before.started_ms != *started_ms))
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
            view.twin.take_if(|twin| twin.heard_ms + LOST_AFTER_MS <= now_ms);
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
        self.views().filter(|view| view.takes(class)).map(|view| view.heartbeat.slots_of(class) as usize).sum()
    }

    /// When somebody last took tasks of this class; 0: never.
    pub fn last_seen_ms(&self, class: Class) -> u64 {
        self.lately.get(&class).map_or(0, |lately| lately.seen_ms)
    }

    /// Milliseconds of presentation that a slot of this class was last heard to encode in a second; 0: never.
    pub fn last_speed(&self, class: Class) -> u32 {
        self.lately.get(&class).map_or(0, |lately| lately.speed_ms_per_s)
    }

    /// An attempt has ended well; `confirmed`: it claims what an attempt elsewhere had claimed before. Returns what must be
    /// said to those who are not trusted any more.
    pub fn succeeded(&mut self, worker: &WorkerId, task: &TaskId, confirmed: bool, now_ms: u64) -> Vec<Directive> {
        if let Some(known) = self.known.get_mut(worker) {
            known.view.done += 1;
            known.quarantines = 0;
            known.clear();
        }
        let mut blamed = Vec::new();
        for (id, known) in &mut self.known {
            match known.faults.get_mut(task) {
                Some(_) if confirmed => drop(known.faults.remove(task)),
                Some(made_elsewhere) => {
                    *made_elsewhere = true;
                    blamed.push(id.clone());
                }
                None => {}
            }
        }
        let judge = |id: WorkerId| self.judge(&id, "what others could do", now_ms);
        blamed.into_iter().filter_map(judge).collect()
    }

    /// An attempt has failed, or its receipt was refused. Returns a directive if the worker is not trusted any more: it
    /// would empty the queue by failing fast (a black hole).
    pub fn failed(
        &mut self,
        worker: &WorkerId,
        task: &TaskId,
        kind: ErrorKind,
        code: &str,
        now_ms: u64,
    ) -> Option<Directive> {
        let known = self.known.get_mut(worker).filter(|_| kind != ErrorKind::Cancelled)?;
        known.view.failed += 1;
        // A worker that ran out of something rests by itself until there is more of it; what it can't do at all goes to one
        // that can.
        if kind != ErrorKind::Bug {
            return None;
        }
        known.jobs.insert(task.job.clone());
        let sound = known.is_sound();
        if self.fails_alike(worker, task, sound) {
            return None;
        }
        let known = self.known.get_mut(worker)?;
        let first_ms = if known.faults.is_empty() { now_ms } else { known.faults_ms.0 };
        known.faults_ms = (first_ms, now_ms);
        known.faults.entry(task.clone()).or_insert(false);
        self.judge(worker, code, now_ms)
    }

    /// A task that fails on two workers is itself to blame: what a sound worker finds as well is no fault of the other.
    /// Says whether that is so for `worker`.
    fn fails_alike(&mut self, worker: &WorkerId, task: &TaskId, sound: bool) -> bool {
        let mut alike = false;
        for (_, other) in self.known.iter_mut().filter(|(id, other)| *id != worker && other.faults.contains_key(task)) {
            alike |= other.is_sound();
            if sound {
                other.faults.remove(task);
            }
        }
        alike
    }

    /// Whether a worker is to blame for its faults: not if they are of few jobs and nobody has made any of them elsewhere
    /// (the jobs may be what crashes workers), and not if there is nobody else to do the work.
    fn judge(&mut self, worker: &WorkerId, code: &str, now_ms: u64) -> Option<Directive> {
        let classes = &self.get(worker)?.heartbeat.classes;
        let alike = |view: &WorkerView| classes.iter().any(|class| view.takes(*class));
        let others = self.views().any(|view| alike(view) && view.heartbeat.worker != *worker);
        let known = self.known.get_mut(worker)?;
        let jobs: BTreeSet<&JobId> = known.faults.keys().map(|task| &task.job).collect();
        let own = jobs.len() >= MOST_FAULTY_JOBS || known.faults.values().any(|made_elsewhere| *made_elsewhere);
        if known.faults.len() < MOST_FAULTS || !own || !others || known.view.hold.is_some() {
            return None;
        }
        let reason = format!("{} tasks failed here one after another, the last with {code}", known.faults.len());
        known.view.hold = Some(Hold::Quarantined(reason));
        known.quarantines += 1;
        let (proofs, until_ms) = (known.view.heartbeat.proofs, now_ms + known.pause_ms());
        known.quarantine = Some(Quarantine { proofs, until_ms });
        Some(Directive::Hold(worker.clone()))
    }

    /// How the faults of a worker came that was just put under quarantine; `None`: it was not.
    pub fn quarantined(&self, worker: &WorkerId) -> Option<Quarantined> {
        let known = self.known.get(worker).filter(|known| known.quarantine.is_some())?;
        let (first_ms, last_ms) = known.faults_ms;
        let quick = last_ms.saturating_sub(first_ms) <= BLACK_HOLE_MS;
        Some(if quick { Quarantined::BlackHole } else { Quarantined::Failures })
    }

    /// Who should leave a task to others: on whom it failed for reasons that may be theirs, last of all those who lack what
    /// it needs. Nobody, if there is nobody else.
    pub fn to_avoid(&self, class: Class, task: &TaskRecord) -> Vec<WorkerId> {
        let blamed = task.failures.iter().rev().filter(|failure| blames_worker(failure));
        let failed = blamed.filter_map(|failure| failure.worker.as_ref());
        let lacking = self.views().filter(|view| lacks(view, class, &task.work)).map(|view| &view.heartbeat.worker);
        let mut avoid: Vec<WorkerId> = Vec::new();
        for worker in failed.chain(lacking) {
            if !avoid.contains(worker) {
                avoid.push(worker.clone());
            }
        }
        let others = || self.views().any(|view| view.takes(class) && !avoid.contains(&view.heartbeat.worker));
        if avoid.is_empty() || !others() {
            return Vec::new();
        }
        avoid.truncate(Task::MOST_AVOIDED);
        avoid
    }

    /// Whether somebody may be able to do what these could not: has proven other abilities than each of them.
    pub fn others_differ(&self, unable: &[&WorkerId]) -> bool {
        let abilities = |worker: &WorkerId| self.get(worker).map(|view| &view.heartbeat.abilities);
        let differs = |view: &WorkerView| unable.iter().all(|one| abilities(one) != Some(&view.heartbeat.abilities));
        self.views().any(|view| Class::ALL.into_iter().any(|class| view.takes(class)) && differs(view))
    }

    /// Whether somebody takes tasks of this class, and lacks nothing for this one.
    pub fn can(&self, class: Class, work: &Work) -> bool {
        self.views().any(|view| view.takes(class) && view.heartbeat.slots_of(class) > 0 && !lacks(view, class, work))
    }

    /// Whether somebody tries GPUs for the first time.
    pub fn try_gpus(&self) -> bool {
        self.views().any(|view| view.works() && view.heartbeat.gpu.on_trial)
    }

    /// A person wants a worker to hold, or to work again. `None`: no such worker.
    pub fn hold(&mut self, worker: &WorkerId, hold: bool) -> Option<Directive> {
        let known = self.known.get_mut(worker)?;
        known.view.hold = hold.then_some(Hold::Cordoned);
        known.clear();
        known.quarantine = None;
        Some(if hold { Directive::Hold(worker.clone()) } else { Directive::Release(worker.clone()) })
    }

    /// Remembers what the store knows of a worker that may not have spoken yet.
    pub fn restore(&mut self, worker: WorkerId, hold: Hold, now_ms: u64) {
        let heartbeat = Heartbeat {
            worker: worker.clone(),
            build: String::new(),
            host: String::new(),
            classes: Vec::new(),
            abilities: Vec::new(),
            proofs: 0,
            slots: 0,
            gpu: GpuShare::default(),
            running: Vec::new(),
            standing: Standing::Holding,
            speed_ms_per_s: 0,
            started_ms: 0,
        };
        let view = WorkerView { lost: true, hold: Some(hold), ..WorkerView::new(heartbeat, now_ms) };
        self.known.insert(worker, Known::new(view));
    }

    /// For how long nobody has been heard; `None`: there is nobody.
    pub fn silent_ms(&self, now_ms: u64) -> Option<u64> {
        let newest_ms = self.views().map(|view| view.heard_ms).max()?;
        Some(now_ms.saturating_sub(newest_ms.max(self.listening_ms)))
    }

    /// Whether it is told to hold.
    pub fn is_held(&self, worker: &WorkerId) -> bool {
        self.get(worker).is_some_and(|view| view.hold.is_some())
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

/// Whether a worker has found out that something is missing there for such a task.
fn lacks(view: &WorkerView, class: Class, work: &Work) -> bool {
    let needs = needs(work);
    let missing = |one: &Ability| one.class == class && one.lack.is_some() && needs.contains(&one.name.as_str());
    view.heartbeat.abilities.iter().any(missing)
}

/// Names of abilities that a task asks for.
fn needs(work: &Work) -> Vec<&'static str> {
    match work {
        Work::Video(task) => task.renditions.iter().map(|rendition| rendition.codec.as_str()).collect(),
        Work::Audio(task) => vec![task.rendition.codec.as_str()],
        Work::Index(_) | Work::Storyboard(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
