//! Everything around the core, and how it fails.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use coordinator::archive::Archived;
use coordinator::farm::{Command, Event, Farm, FarmConfig, Objects, Restored, Round};
use coordinator::job::{JobRecord, JobSpec, JobState, TaskRecord, TaskState};
use coordinator::ladder::Rungs;
use coordinator::profile::Profile;
use coordinator::workers::Hold;
use shared::error::{ErrorKind, TaskError};
use shared::fleet::{AttemptRef, Directive, Heartbeat, Standing};
use shared::task::*;
use shared::testing::synthetic::{Source, report};

const JOBS: usize = 3;
const WORKERS: usize = 3;
const SLOTS: usize = 2;
/// Reports that are handled at once.
const MOST_TOGETHER: usize = 4;
/// After which an unacknowledged message is delivered again.
const ACK_WAIT_MS: u64 = 30_000;
const HEARTBEAT_MS: u64 = 2_000;
/// After which a job that has ended is put away.
const KEEP_FINISHED_MS: u64 = 20_000;
/// Turns after which a quiet farm that has not ended is stuck.
const PATIENCE: usize = 100_000;

/// What goes wrong, and how often.
pub struct Luck {
    state: u64,
    stormy: bool,
    /// Attempts fail by themselves, so jobs may.
    pub attempts_fail: bool,
    people: bool,
}

impl Luck {
    pub fn of(seed: u64) -> Self {
        let (attempts_fail, people) = (seed % 4 == 1, seed % 4 == 2);
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), stormy: true, attempts_fail, people }
    }

    /// Nothing goes wrong.
    pub fn none(seed: u64) -> Self {
        Self { stormy: false, attempts_fail: false, people: false, ..Self::of(seed) }
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// Bad luck, in so many of a thousand cases; never when it is quiet.
    fn strikes(&mut self, per_mille: usize) -> bool {
        self.stormy && self.below(1000) < per_mille
    }
}

struct Message {
    task: Task,
    /// In somebody's hands until then.
    taken_until_ms: Option<u64>,
}

struct Running {
    task: Task,
    left: VecDeque<TaskReport>,
}

struct Worker {
    id: WorkerId,
    alive: bool,
    hold: bool,
    running: Vec<Running>,
    unwanted: Vec<Directive>,
    beat_ms: u64,
}

pub struct World {
    pub luck: Luck,
    farm: Option<Farm>,
    pub jobs: BTreeMap<JobId, JobRecord>,
    pub tasks: BTreeMap<TaskId, TaskRecord>,
    archive: BTreeMap<JobId, Archived>,
    holds: BTreeMap<WorkerId, Hold>,
    queue: Vec<Message>,
    queue_kept: bool,
    inbox: VecDeque<TaskReport>,
    answers: VecDeque<Event>,
    workers: Vec<Worker>,
    /// Complete presentations.
    pub whole: BTreeMap<JobId, Round>,
    pub cancelled: BTreeSet<JobId>,
    settled: BTreeSet<JobId>,
    now_ms: u64,
}

fn spec(number: usize) -> JobSpec {
    let id = format!("job-{number}");
    let place = |name: &str| format!("{id}/{name}");
    JobSpec {
        tenant: TenantId::new(["a", "b"][number % 2]).unwrap(),
        places: Places { source: place("source"), target: place("target"), work: place("work") },
        id: JobId::new(id.clone()).unwrap(),
        profile: Profile::named("web").unwrap(),
        segment_ms: 6_000,
        rungs: Rungs::All,
        preset: None,
        movies: false,
        growing_ms: None,
        keep_parts_ms: if number == 1 { 60_000 } else { 0 },
    }
}

fn source(job: &JobId) -> Source {
    let number: i64 = job.as_str()[4..].parse().unwrap();
    Source { length_ms: 30_000 + 20_000 * number, ..Source::default() }
}

impl World {
    pub fn new(luck: Luck) -> Self {
        let worker = |n| Worker {
            id: WorkerId::new(format!("worker-{n}")).unwrap(),
            alive: true,
            hold: false,
            running: Vec::new(),
            unwanted: Vec::new(),
            beat_ms: 0,
        };
        let mut world = Self {
            luck,
            farm: None,
            jobs: BTreeMap::new(),
            tasks: BTreeMap::new(),
            archive: BTreeMap::new(),
            holds: BTreeMap::new(),
            queue: Vec::new(),
            queue_kept: false,
            inbox: VecDeque::new(),
            answers: VecDeque::new(),
            workers: (0..WORKERS).map(worker).collect(),
            whole: BTreeMap::new(),
            cancelled: BTreeSet::new(),
            settled: BTreeSet::new(),
            now_ms: 1_000_000,
        };
        world.start_coordinator();
        (0..JOBS).for_each(|number| world.submit(number));
        world
    }

    /// One thing happens.
    pub fn turn(&mut self) {
        self.faults();
        match self.luck.below(8) {
            0 => self.pass_time(),
            1 => self.beat(),
            2 | 3 => self.take(),
            4 | 5 => self.work(),
            6 => self.hear(),
            _ => {
                if let Some(event) = self.answers.pop_front() {
                    self.apply(event);
                }
            }
        }
    }

    /// It becomes quiet; everybody comes back and works until all jobs have ended.
    pub fn finish(mut self) -> Self {
        self.luck.stormy = false;
        self.workers.iter_mut().for_each(|worker| worker.alive = true);
        (0..JOBS).for_each(|number| self.submit(number));
        for _ in 0..PATIENCE {
            self.turn();
            let held: Vec<WorkerId> = self.holds.keys().cloned().collect();
            held.into_iter().for_each(|worker| self.apply(Event::Hold(worker, false)));
            if self.settled.len() == JOBS {
                return self;
            }
        }
        let states: Vec<_> = self.jobs.values().map(|job| (&job.spec.id, job.state, job.settled)).collect();
        let open: Vec<_> = self.tasks.values().filter(|t| t.receipt().is_none()).map(|t| (&t.id, &t.state)).collect();
        panic!("the farm is stuck: {states:?}, {open:?}, {} messages", self.queue.len());
    }

    /// What is remembered of every job, wherever it is.
    pub fn records(&self) -> BTreeMap<JobId, JobRecord> {
        let archived = self.archive.iter().map(|(job, archived)| (job.clone(), archived.record.clone()));
        archived.chain(self.jobs.clone()).collect()
    }

    /// As the API does: a job that was put away is brought back, unless it stays as it is.
    fn submit(&mut self, number: usize) {
        let spec = spec(number);
        let archived = self.archive.get(&spec.id).filter(|_| !self.jobs.contains_key(&spec.id));
        match archived.map(|archived| archived.record.state) {
            Some(JobState::Completed) => {}
            Some(_) => {
                self.recall(&spec.id);
                self.apply(Event::Submitted(Box::new(spec.into())));
            }
            None => self.apply(Event::Submitted(Box::new(spec.into()))),
        }
    }

    /// A coordinator that dies meanwhile is asked again.
    fn recall(&mut self, job: &JobId) {
        while !self.jobs.contains_key(job)
            && let Some(archived) = self.archive.get(job)
        {
            self.apply(Event::Recalled(Box::new(archived.record.clone())));
        }
    }

    fn faults(&mut self) {
        if self.luck.strikes(8) {
            let worker = self.luck.below(WORKERS);
            let worker = &mut self.workers[worker];
            worker.alive = !worker.alive;
            worker.running.clear();
            worker.unwanted.clear();
        }
        if self.luck.strikes(8) {
            self.crash();
        }
        if self.luck.strikes(4) {
            self.queue.clear();
            self.queue_kept = false;
            self.apply(Event::QueueLost);
        }
        if self.luck.strikes(10) {
            let at = self.luck.below(self.queue.len());
            if let Some(message) = self.queue.get_mut(at) {
                message.taken_until_ms = None; // delivered once more, whoever has it
            }
        }
        if self.luck.people && self.luck.strikes(6) {
            let job = spec(self.luck.below(JOBS)).id;
            let event = match self.luck.below(2) {
                0 => {
                    self.cancelled.insert(job.clone());
                    Event::Cancelled(job)
                }
                _ => {
                    self.recall(&job);
                    Event::Retried(job)
                }
            };
            self.apply(event);
        }
    }

    /// Kill -9. What was reported and not handled is told again; what ran beside the loop is gone.
    fn crash(&mut self) {
        self.farm = None;
        self.answers.clear();
        self.start_coordinator();
    }

    fn start_coordinator(&mut self) {
        let farm = Farm::new(FarmConfig { silence_ms: 60_000, weights: Default::default() });
        self.farm = Some(farm.keeping(Some(KEEP_FINISHED_MS)));
        let restored = Restored {
            jobs: self.jobs.values().cloned().collect(),
            tasks: self.tasks.values().cloned().collect(),
            holds: self.holds.clone().into_iter().collect(),
            queue_kept: self.queue_kept,
        };
        self.queue_kept = true;
        self.apply(Event::Restored(Box::new(restored)));
    }

    /// One turn of the loop, which may be its last: saves first, then the rest. Says whether it was carried out.
    fn apply_whole(&mut self, events: Vec<Event>) -> bool {
        let Some(farm) = &mut self.farm else { return false };
        let mut commands = farm.apply_all(events, self.now_ms);
        commands.sort_by_key(|command| !is_save(command)); // keeps their order otherwise
        for command in commands {
            if self.luck.strikes(2) {
                self.crash();
                return false;
            }
            self.execute(command);
        }
        true
    }

    fn apply(&mut self, event: Event) {
        let _ = self.apply_whole(vec![event]);
    }

    fn execute(&mut self, command: Command) {
        match command {
            Command::SaveJob(record) => drop(self.jobs.insert(record.spec.id.clone(), *record)),
            Command::SaveTask(record) => drop(self.tasks.insert(record.id.clone(), *record)),
            Command::SaveHold(worker, Some(hold)) => drop(self.holds.insert(worker, hold)),
            Command::SaveHold(worker, None) => drop(self.holds.remove(&worker)),
            Command::ForgetTasks(job) => self.tasks.retain(|id, _| id.job != job),
            Command::ForgetJob(job) => {
                let record = self.jobs.remove(&job).expect("known");
                let archived = &self.archive.get(&job).expect("put away before it is forgotten").record;
                assert!(*archived == record, "{job} is not what was put away");
            }
            Command::Archive(archived) => {
                let job = archived.record.spec.id.clone();
                let stored = !self.luck.strikes(100);
                if stored {
                    self.archive.insert(job.clone(), *archived);
                }
                self.answers.push_back(Event::Archived(job, stored));
            }
            Command::Enqueue(task, _) if self.luck.strikes(10) => {
                self.answers.push_back(Event::NotEnqueued(AttemptRef { task: task.id, attempt: task.attempt }));
            }
            Command::Enqueue(task, _) => {
                let record = self.tasks.get(&task.id).expect("saved before it is enqueued");
                assert_eq!((record.attempt, &record.state), (task.attempt, &TaskState::Out), "{}", task.id);
                self.queue.push(Message { task: *task, taken_until_ms: None });
            }
            Command::Publish(round) => self.publish(*round),
            Command::Direct(directive) => self.direct(&directive),
            Command::Clear(class) => unreachable!("nobody here has a GPU, and {class} was cleared"),
            Command::TakeStock(job, _, wanted) => {
                let failed = self.luck.strikes(100);
                let gone = Objects { target: self.some_gone(&wanted.target), work: self.some_gone(&wanted.work) };
                let result = if failed { Err("the store is away".to_owned()) } else { Ok(gone) };
                self.answers.push_back(Event::StockTaken(job, result));
            }
            Command::CleanUp(order) => {
                let failed = self.luck.strikes(50);
                let result = if failed { Err("the disk is gone".to_owned()) } else { Ok(()) };
                if order.take_away.is_some() {
                    self.whole.remove(&order.job);
                }
                self.answers.push_back(Event::CleanedUp(order.job, result));
            }
            Command::Count(_) | Command::WarnOfTwin(..) => {}
            Command::Notify(view) => {
                if view.settled {
                    self.settled.insert(view.id)
                } else {
                    self.settled.remove(&view.id)
                };
            }
        }
    }

    /// One of these, now and then.
    fn some_gone(&mut self, wanted: &BTreeSet<String>) -> BTreeSet<String> {
        let at = if self.luck.strikes(200) { self.luck.below(wanted.len()) } else { wanted.len() };
        wanted.iter().skip(at).take(1).cloned().collect()
    }

    fn publish(&mut self, round: Round) {
        let job = round.job.clone();
        if self.luck.strikes(30) {
            let message = "the store is away".into();
            let missing = self.luck.strikes(300);
            return self.answers.push_back(Event::PublishFailed { job, transient: true, missing, message });
        }
        let accepted: BTreeSet<&str> = self.tasks.values().filter_map(TaskRecord::receipt).flat_map(keys).collect();
        for track in &round.presentation.video {
            let numbers: Vec<u64> = track.segments.iter().map(|segment| segment.number).collect();
            assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>(), "{job}: segments are not in a row");
            assert!(track.segments.iter().all(|segment| accepted.contains(segment.object.key.as_str())));
        }
        if round.last.is_some() {
            self.whole.insert(job.clone(), round);
        }
        self.answers.push_back(Event::Published { job, multivariant: true });
    }

    fn direct(&mut self, directive: &Directive) {
        for worker in self.workers.iter_mut().filter(|worker| worker.alive) {
            if self.luck.strikes(100) {
                continue; // not heard
            }
            match directive {
                Directive::Hold(id) if *id == worker.id => worker.hold = true,
                Directive::Release(id) if *id == worker.id => worker.hold = false,
                Directive::Cancel(_) | Directive::Stop(_) => worker.unwanted.push(directive.clone()),
                _ => {}
            }
        }
    }

    fn pass_time(&mut self) {
        self.now_ms += 100 + self.luck.below(2_000) as u64;
        let waiting = self.queue.iter().filter(|message| message.taken_until_ms.is_none()).count();
        self.apply(Event::QueueDepth(waiting as u64));
        self.apply(Event::Tick);
    }

    fn beat(&mut self) {
        for number in 0..WORKERS {
            let worker = &mut self.workers[number];
            if !worker.alive || worker.beat_ms + HEARTBEAT_MS > self.now_ms || self.luck.strikes(50) {
                continue;
            }
            worker.beat_ms = self.now_ms;
            let attempt =
                |running: &Running| AttemptRef { task: running.task.id.clone(), attempt: running.task.attempt };
            let heartbeat = Heartbeat {
                slots: SLOTS as u32,
                running: worker.running.iter().map(attempt).collect(),
                standing: if worker.hold { Standing::Holding } else { Standing::Working },
                ..shared::testing::heartbeat(worker.id.as_str())
            };
            for running in &worker.running {
                let theirs = self.queue.iter_mut().filter(|message| message.task == running.task);
                theirs.for_each(|message| message.taken_until_ms = Some(self.now_ms + ACK_WAIT_MS));
            }
            self.apply(Event::Heartbeat(heartbeat));
        }
        for message in &mut self.queue {
            message.taken_until_ms.take_if(|until| *until <= self.now_ms);
        }
    }

    fn take(&mut self) {
        let number = self.luck.below(WORKERS);
        let worker = &mut self.workers[number];
        if !worker.alive || worker.hold || worker.running.len() >= SLOTS {
            return;
        }
        let Some(message) = self.queue.iter_mut().find(|message| message.taken_until_ms.is_none()) else { return };
        message.taken_until_ms = Some(self.now_ms + ACK_WAIT_MS);
        let task = message.task.clone();
        if worker.running.iter().any(|running| running.task == task) {
            return; // it has it already
        }
        let mut left: VecDeque<TaskReport> = source(&task.id.job).work(&task).into();
        left.iter_mut().for_each(|report| report.worker = worker.id.clone());
        worker.running.push(Running { task, left });
    }

    fn work(&mut self) {
        let number = self.luck.below(WORKERS);
        let worker = &mut self.workers[number];
        let slot = self.luck.below(worker.running.len());
        let Some(running) = worker.running.get_mut(slot).filter(|_| worker.alive) else { return };
        let unwanted = worker.unwanted.iter().any(|directive| match directive {
            Directive::Cancel(cancellation) => cancellation.covers(&running.task),
            Directive::Stop(attempt) => attempt.task == running.task.id && attempt.attempt == running.task.attempt,
            _ => false,
        });
        let fails = self.luck.attempts_fail && self.luck.strikes(30);
        let misses = self.luck.strikes(5) && running.task.id.name != TaskName::Index;
        let mut said = if unwanted {
            report(&running.task, Outcome::Failed(TaskError::cancelled()))
        } else if misses {
            report(&running.task, Outcome::Failed(TaskError::transient("store_missing", "an object is gone")))
        } else if fails {
            let kind = [ErrorKind::Transient, ErrorKind::Exhausted, ErrorKind::Bug][self.luck.below(3)];
            report(&running.task, Outcome::Failed(TaskError::new(kind, "bad_luck", "it is that kind of day")))
        } else {
            running.left.pop_front().expect("an attempt that has said its last is not running")
        };
        said.worker = worker.id.clone();
        let over = matches!(said.outcome, Outcome::Done(_) | Outcome::Failed(_));
        if over {
            let task = worker.running.swap_remove(slot).task;
            if !self.luck.strikes(50) {
                self.queue.retain(|message| message.task != task);
            }
        }
        if said.outcome.is_sign_of_life() && self.luck.strikes(100) {
            return;
        }
        if over && self.luck.strikes(50) {
            self.inbox.push_back(said.clone());
        }
        self.inbox.push_back(said);
    }

    /// Reports are forgotten once they have been handled to the end.
    fn hear(&mut self) {
        let together = (1 + self.luck.below(MOST_TOGETHER)).min(self.inbox.len());
        let reports = self.inbox.iter().take(together).cloned();
        let events = reports.map(|report| Event::Report(Box::new(report))).collect();
        if self.apply_whole(events) {
            self.inbox.drain(..together);
        }
    }
}

fn is_save(command: &Command) -> bool {
    use Command::{ForgetJob, ForgetTasks, SaveHold, SaveJob, SaveTask};
    matches!(command, SaveJob(_) | SaveTask(_) | SaveHold(..) | ForgetTasks(_) | ForgetJob(_))
}

fn keys(receipt: &Receipt) -> Vec<&str> {
    let parts: Vec<&TrackPart> = match receipt {
        Receipt::Video(receipt) => receipt.parts.iter().collect(),
        Receipt::Audio(receipt) => vec![&receipt.part],
        _ => Vec::new(),
    };
    parts.into_iter().flat_map(|part| &part.segments).map(|segment| segment.object.key.as_str()).collect()
}
