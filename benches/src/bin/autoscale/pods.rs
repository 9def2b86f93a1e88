//! Workers of one class of the chart: pods that are started and drained as the scaler wants, and what they run.

use std::collections::{BTreeMap, VecDeque};

use benches::chance::Chance;
use shared::fleet::{AttemptRef, Class, GpuShare, Heartbeat, Lane, Standing, Urgency};
use shared::task::{Outcome, Progress, Receipt, Spent, Task, TaskReport, Work, WorkerId};

use crate::keda::Scaler;
use crate::policy::Policy;

/// Between two words of progress.
const PROGRESS_MS: u64 = 4_000;
/// Indexing and sound, in seconds of presentation a second.
const INDEX_SPEED: f64 = 300.0;
const AUDIO_SPEED: f64 = 60.0;
/// What a storyboard takes.
const STORYBOARD_MS: u64 = 1_000;
/// Deviation of the logarithm of how long a chunk takes.
const SIGMA: f64 = 0.3;

/// What pods of a class have and how fast they are.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    pub name: &'static str,
    /// The class that counts for it, and whose work starts it.
    pub class: Class,
    /// Slots of the class GPU.
    pub gpu_slots: u32,
    /// Slots of the class CPU.
    pub cpu_slots: u32,
    /// Seconds of presentation that a slot of `class` encodes in a second.
    pub speed: f64,
    /// From wanting a pod to its first task: node, image, start, proof.
    pub start_ms: u64,
    /// For which one that is to go finishes what runs.
    pub drain_ms: u64,
}

impl Kind {
    fn slots(&self, class: Class) -> u32 {
        match class {
            Class::Cpu => self.cpu_slots,
            Class::Gpu => self.gpu_slots,
        }
    }
}

/// An attempt.
#[derive(Debug)]
struct Running {
    task: Task,
    class: Class,
    begun_ms: u64,
    ends_ms: u64,
    said_ms: u64,
}

/// A worker on a node of its own.
#[derive(Debug)]
struct Pod {
    id: WorkerId,
    wanted_ms: u64,
    ready_ms: u64,
    /// Told to end: when what still runs is given back.
    until_ms: Option<u64>,
    running: Vec<Running>,
    /// Presentation encoded by slots of the kind's class, and the time it took.
    made: (u64, u64),
}

/// What it has cost and brought, in milliseconds of slots of the kind's class.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ledger {
    /// Slots were there.
    pub there_ms: u64,
    /// Of which attempts that counted ran.
    pub useful_ms: u64,
    /// Nodes were on their way.
    pub starting_ms: u64,
    pub starts: u32,
    pub most: u32,
    /// Attempts that a pod gave back when it had to end.
    pub given_back: u32,
    /// From work to the first worker that can take it, less the start of a node, where there was none: the longest.
    pub wake_ms: u64,
    pub wakes: u32,
}

/// All pods of a class.
#[derive(Debug)]
pub struct Pool {
    pub kind: Kind,
    pub ledger: Ledger,
    scaler: Scaler,
    pods: Vec<Pod>,
    started: u32,
    chance: Chance,
    /// There is work and nobody, since then.
    lacking_ms: Option<u64>,
}

/// Tasks that wait, by lane.
pub type Queue = BTreeMap<Lane, VecDeque<Task>>;

impl Pool {
    pub fn new(kind: Kind, policy: Policy, seed: u64) -> Self {
        let chance = Chance::of(kind.name, seed);
        let (pods, scaler) = (Vec::new(), Scaler::new(policy));
        Self { kind, ledger: Ledger::default(), scaler, pods, started: 0, chance, lacking_ms: None }
    }

    /// As the ScaledObject has it.
    pub fn scale(&mut self, now_ms: u64, signal: f64) {
        let staying = self.pods.iter().filter(|pod| pod.until_ms.is_none()).count() as u32;
        let wanted = self.scaler.look(now_ms / 1000, signal, staying);
        for _ in staying..wanted {
            self.started += 1;
            self.ledger.starts += 1;
            let id = WorkerId::new(format!("{}-{}", self.kind.name, self.started)).expect("it should be a name");
            let ready_ms = now_ms + self.kind.start_ms;
            let made = (0, 0);
            self.pods.push(Pod { id, wanted_ms: now_ms, ready_ms, until_ms: None, running: Vec::new(), made });
        }
        for _ in wanted..staying {
            // As a ReplicaSet chooses: who is not ready yet, then the youngest.
            let youngest = self.pods.iter().rposition(|pod| pod.until_ms.is_none());
            let Some(at) = youngest else { break };
            if self.pods[at].ready_ms > now_ms {
                let pod = self.pods.remove(at);
                self.ledger.starting_ms += (now_ms - pod.wanted_ms) * u64::from(self.kind.slots(self.kind.class));
            } else {
                self.pods[at].until_ms = Some(now_ms + self.kind.drain_ms);
            }
        }
        self.ledger.most = self.ledger.most.max(wanted);
    }

    /// Free slots take what waits, the urgent first.
    pub fn take(
        &mut self,
        now_ms: u64,
        queue: &mut Queue,
        reports: &mut Vec<TaskReport>,
        length_ms: impl Fn(&Task) -> u64,
    ) {
        for pod in &mut self.pods {
            if pod.ready_ms > now_ms || pod.until_ms.is_some() {
                continue;
            }
            for class in Class::ALL {
                let busy = pod.running.iter().filter(|one| one.class == class).count() as u32;
                for _ in busy..self.kind.slots(class) {
                    let next = |urgency| queue.get_mut(&Lane { class, urgency })?.pop_front();
                    let Some(task) = Urgency::ALL.into_iter().find_map(next) else { break };
                    let took_ms = duration_ms(&self.kind, &mut self.chance, &task, length_ms(&task));
                    reports.push(report(&task, &pod.id, Outcome::Started));
                    let (begun_ms, ends_ms) = (now_ms, now_ms + took_ms);
                    pod.running.push(Running { task, class, begun_ms, ends_ms, said_ms: now_ms });
                }
            }
        }
    }

    /// What has ended, what goes on, and what is given back. `work` is what an attempt at a task claims in the end, `first`
    /// whether no other has ended well before it.
    pub fn work(
        &mut self,
        now_ms: u64,
        queue: &mut Queue,
        reports: &mut Vec<TaskReport>,
        work: impl Fn(&Task) -> Vec<Outcome>,
        mut first: impl FnMut(&Task) -> bool,
    ) {
        for pod in &mut self.pods {
            for one in pod.running.extract_if(.., |one| one.ends_ms <= now_ms) {
                let took_ms = one.ends_ms - one.begun_ms;
                if one.class == self.kind.class {
                    if matches!(one.task.work, Work::Video(_)) {
                        pod.made = (pod.made.0 + presentation_ms(&one.task.work), pod.made.1 + took_ms);
                    }
                    if first(&one.task) {
                        self.ledger.useful_ms += took_ms;
                    }
                }
                let said = work(&one.task).into_iter().filter(|outcome| !matches!(outcome, Outcome::Started));
                reports.extend(said.map(|outcome| report(&one.task, &pod.id, spent(outcome, took_ms))));
            }
            for one in &mut pod.running {
                if one.said_ms + PROGRESS_MS <= now_ms {
                    one.said_ms = now_ms;
                    let length_ms = presentation_ms(&one.task.work);
                    let done_ms = length_ms * (now_ms - one.begun_ms) / (one.ends_ms - one.begun_ms).max(1);
                    reports.push(report(
                        &one.task,
                        &pod.id,
                        Outcome::Progress(Progress { done_ms, frames: done_ms / 40 }),
                    ));
                }
            }
            if pod.until_ms.is_some_and(|until_ms| until_ms <= now_ms) {
                for one in pod.running.drain(..) {
                    self.ledger.given_back += 1;
                    let lane = Lane { class: one.class, urgency: Urgency::Normal };
                    queue.entry(lane).or_default().push_front(one.task);
                }
            }
        }
    }

    /// An attempt is not wanted.
    pub fn stop(&mut self, unwanted: impl Fn(&Task) -> bool) {
        self.pods.iter_mut().for_each(|pod| pod.running.retain(|one| !unwanted(&one.task)));
    }

    /// What the pods say of themselves; those that are done with ending go.
    pub fn beat(&mut self, now_ms: u64) -> Vec<Heartbeat> {
        let kind = self.kind;
        let there = self.pods.iter().filter(|pod| pod.ready_ms <= now_ms);
        let beats = there.map(|pod| heartbeat(&kind, pod)).collect();
        self.pods.retain(|pod| pod.until_ms.is_none() || !pod.running.is_empty());
        beats
    }

    /// A step has passed; `work`: there is something to do.
    pub fn account(&mut self, now_ms: u64, step_ms: u64, work: bool) {
        let slots = u64::from(self.kind.slots(self.kind.class));
        let ready = self.pods.iter().filter(|pod| pod.ready_ms <= now_ms).count() as u64;
        self.ledger.there_ms += ready * slots * step_ms;
        self.ledger.starting_ms += (self.pods.len() as u64 - ready) * slots * step_ms;
        let staying = self.pods.iter().any(|pod| pod.until_ms.is_none() && pod.ready_ms <= now_ms);
        if !work || staying {
            if let Some(since_ms) = self.lacking_ms.take_if(|_| staying) {
                self.ledger.wakes += 1;
                self.ledger.wake_ms = self.ledger.wake_ms.max((now_ms - since_ms).saturating_sub(self.kind.start_ms));
            }
            self.lacking_ms = None;
        } else {
            self.lacking_ms.get_or_insert(now_ms);
        }
    }

    /// No pod is left that would go.
    pub fn is_at_rest(&self) -> bool {
        self.pods.len() as u32 <= self.scaler.least()
    }
}

/// How long an attempt takes; `length_ms` is the source's.
fn duration_ms(kind: &Kind, chance: &mut Chance, task: &Task, length_ms: u64) -> u64 {
    let seconds = |speed: f64| std::time::Duration::from_millis((length_ms as f64 / speed) as u64);
    let took = match &task.work {
        Work::Index(_) => seconds(INDEX_SPEED),
        Work::Audio(_) => seconds(AUDIO_SPEED),
        Work::Storyboard(_) => return STORYBOARD_MS,
        work @ Work::Video(_) => {
            let median = std::time::Duration::from_millis((presentation_ms(work) as f64 / kind.speed) as u64);
            chance.log_normal(median, SIGMA)
        }
    };
    1_000 + took.as_millis() as u64
}

/// Of a chunk.
fn presentation_ms(work: &Work) -> u64 {
    let Work::Video(work) = work else { return 0 };
    work.end.map_or(0, |end| u64::try_from(end - work.start).unwrap_or(0)) // the synthetic source counts milliseconds
}

fn report(task: &Task, worker: &WorkerId, outcome: Outcome) -> TaskReport {
    TaskReport { task: task.id.clone(), attempt: task.attempt, worker: worker.clone(), outcome }
}

/// With the time that it took, by which others are judged.
fn spent(mut outcome: Outcome, took_ms: u64) -> Outcome {
    if let Outcome::Done(Receipt::Video(receipt)) = &mut outcome {
        receipt.spent = Spent::new(took_ms, took_ms);
    }
    outcome
}

fn heartbeat(kind: &Kind, pod: &Pod) -> Heartbeat {
    let busy = pod.running.iter().filter(|one| one.class == Class::Gpu).count() as u32;
    let speed = (pod.made.0 * 1000).checked_div(pod.made.1).unwrap_or(0) as u32;
    let of = |class| if kind.class == class { speed } else { 0 };
    let running = |one: &Running| AttemptRef { task: one.task.id.clone(), attempt: one.task.attempt };
    Heartbeat {
        worker: pod.id.clone(),
        classes: if kind.gpu_slots > 0 { Class::ALL.to_vec() } else { vec![Class::Cpu] },
        slots: kind.cpu_slots,
        gpu: GpuShare { slots: kind.gpu_slots, busy, speed_ms_per_s: of(Class::Gpu), ..GpuShare::default() },
        speed_ms_per_s: of(Class::Cpu),
        running: pod.running.iter().map(running).collect(),
        standing: if pod.until_ms.is_some() { Standing::Draining } else { Standing::Working },
        started_ms: pod.ready_ms,
        ..shared::testing::heartbeat(pod.id.as_str())
    }
}
