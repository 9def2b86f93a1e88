//! Everything around the core, in memory: store, queue, publisher, clock. It can lose power after any command.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use coordinator::archive::Archived;
use coordinator::farm::{CleanUp, Command, Count, Event, Farm, FarmConfig, Objects, Restored, Round};
use coordinator::job::{JobRecord, JobSpec, JobState, JobView, TaskRecord, TaskState};
use coordinator::ladder::Rungs;
use coordinator::profile::Profile;
use coordinator::workers::Hold;
use shared::fleet::{Directive, Heartbeat, Lane};
use shared::task::*;
use shared::testing::synthetic::Source;

/// How long jobs stay after their end.
pub const KEEP_FINISHED_MS: u64 = 3 * 24 * 3_600_000;

/// Silence after which an attempt is lost.
pub const SILENCE_MS: u64 = 60_000;

pub fn spec() -> JobSpec {
    JobSpec {
        id: JobId::new("job").unwrap(),
        places: Places { source: "source".into(), target: "target".into(), work: "work".into() },
        profile: Profile::named("web").unwrap(),
        segment_ms: 6_000,
        rungs: Rungs::All,
        preset: None,
        movies: false,
        growing_ms: None,
        tenant: TenantId::default(),
        keep_parts_ms: 0,
    }
}

pub struct World {
    pub farm: Farm,
    pub jobs: BTreeMap<JobId, JobRecord>,
    pub tasks: BTreeMap<TaskId, TaskRecord>,
    pub queue: VecDeque<Task>,
    /// Where each was put last.
    pub lanes: BTreeMap<TaskId, Lane>,
    pub rounds: Vec<Round>,
    pub cleaned: Vec<CleanUp>,
    pub views: Vec<JobView>,
    /// Jobs that were put away.
    pub archive: BTreeMap<JobId, Archived>,
    pub cancelled: Vec<Cancellation>,
    pub directives: Vec<Directive>,
    pub holds: BTreeMap<WorkerId, Option<Hold>>,
    pub counts: Vec<Count>,
    /// Workers of one name, with their hosts.
    pub twins: Vec<(WorkerId, [String; 2])>,
    /// What the only worker says of itself; `None`: it is gone.
    pub worker: Option<Heartbeat>,
    pub now_ms: u64,
    /// Answers of what runs beside the loop.
    pub answers: VecDeque<Event>,
    /// Rounds that fail before one succeeds.
    pub failing_rounds: usize,
    /// They fail because a segment is not there.
    pub round_misses: bool,
    /// Keys of objects that are not there, whoever has written them.
    pub gone: BTreeSet<String>,
    /// Commands until the power goes.
    pub power: Option<usize>,
    /// Commands carried out.
    pub commands: usize,
}

/// Without a job.
pub fn farm() -> Farm {
    Farm::new(FarmConfig { silence_ms: SILENCE_MS, weights: Default::default() }).keeping(Some(KEEP_FINISHED_MS))
}

/// A worker with two slots that runs nothing it would name.
pub fn heartbeat() -> Heartbeat {
    shared::testing::heartbeat("worker")
}

impl World {
    pub fn new() -> Self {
        let mut world = Self {
            farm: farm(),
            jobs: BTreeMap::new(),
            tasks: BTreeMap::new(),
            queue: VecDeque::new(),
            lanes: BTreeMap::new(),
            rounds: Vec::new(),
            cleaned: Vec::new(),
            views: Vec::new(),
            archive: BTreeMap::new(),
            cancelled: Vec::new(),
            directives: Vec::new(),
            holds: BTreeMap::new(),
            counts: Vec::new(),
            twins: Vec::new(),
            worker: Some(heartbeat()),
            now_ms: 900, // before the first second is over, so that attempts count from 1
            answers: VecDeque::new(),
            failing_rounds: 0,
            round_misses: false,
            gone: BTreeSet::new(),
            power: None,
            commands: 0,
        };
        world.beat();
        world
    }

    /// A world in which the job has been submitted.
    pub fn with_job() -> Self {
        let mut world = Self::new();
        world.apply(Event::Submitted(Box::new(spec().into())));
        world
    }

    /// One turn of the loop; says whether there was power for all of it.
    pub fn apply(&mut self, event: Event) -> bool {
        for command in self.farm.apply(event, self.now_ms) {
            if self.power == Some(0) {
                return false;
            }
            self.power = self.power.map(|left| left - 1);
            self.commands += 1;
            self.execute(command);
        }
        true
    }

    fn execute(&mut self, command: Command) {
        match command {
            Command::SaveJob(record) => drop(self.jobs.insert(record.spec.id.clone(), *record)),
            Command::SaveTask(record) => drop(self.tasks.insert(record.id.clone(), *record)),
            Command::ForgetTasks(job) => self.tasks.retain(|id, _| id.job != job),
            Command::SaveHold(worker, hold) => drop(self.holds.insert(worker, hold)),
            Command::Enqueue(task, lane) => {
                self.check_saved(&task);
                self.lanes.insert(task.id.clone(), lane);
                self.queue.push_back(*task);
            }
            Command::Publish(round) => {
                self.check_accepted(&round);
                let job = round.job.clone();
                self.answers.push_back(if self.failing_rounds > 0 {
                    self.failing_rounds -= 1;
                    let (missing, message) = (self.round_misses, "the disk is full".into());
                    Event::PublishFailed { job, transient: true, missing, message }
                } else {
                    self.rounds.push(*round);
                    Event::Published { job, multivariant: true }
                });
            }
            Command::Clear(class) => self.queue.retain(|task| self.lanes[&task.id].class != class),
            Command::Direct(Directive::Cancel(cancellation)) => self.cancelled.push(cancellation),
            Command::Direct(directive) => self.directives.push(directive),
            Command::ForgetJob(job) => drop(self.jobs.remove(&job)),
            Command::CleanUp(order) => {
                order.forget.iter().for_each(|_| drop(self.archive.remove(&order.job)));
                self.answers.push_back(Event::CleanedUp(order.job.clone(), Ok(())));
                self.cleaned.push(*order);
            }
            Command::TakeStock(job, _, wanted) => {
                let among = |keys: &BTreeSet<String>| keys.intersection(&self.gone).cloned().collect();
                let gone = Objects { target: among(&wanted.target), work: among(&wanted.work) };
                self.answers.push_back(Event::StockTaken(job, Ok(gone)));
            }
            Command::Archive(archived) => {
                let job = archived.record.spec.id.clone();
                self.archive.insert(job.clone(), *archived);
                self.answers.push_back(Event::Archived(job, true));
            }
            Command::Notify(view) => self.views.push(*view),
            Command::WarnOfTwin(worker, hosts) => self.twins.push((worker, hosts)),
            Command::Count(count) => self.counts.push(count),
        }
    }

    /// A restarted coordinator would know of the attempt.
    fn check_saved(&self, task: &Task) {
        assert!(self.jobs.contains_key(&task.id.job), "{}: enqueued before its job was saved", task.id);
        let record = self.tasks.get(&task.id).unwrap_or_else(|| panic!("{}: enqueued before it was saved", task.id));
        assert_eq!((record.attempt, &record.state, &record.work), (task.attempt, &TaskState::Out, &task.work));
    }

    /// All that is published was accepted and saved.
    fn check_accepted(&self, round: &Round) {
        let accepted: Vec<&StoredObject> = self
            .tasks
            .values()
            .filter_map(|task| task.receipt())
            .flat_map(|receipt| match receipt {
                Receipt::Video(receipt) => receipt.parts.iter().collect(),
                Receipt::Audio(receipt) => vec![&receipt.part],
                _ => Vec::new(),
            })
            .flat_map(|part| &part.segments)
            .map(|segment| &segment.object)
            .collect();
        let video = round.presentation.video.iter().map(|track| &track.segments);
        let audio = round.presentation.audio.iter().map(|track| &track.segments);
        for segments in video.chain(audio) {
            assert!(!segments.is_empty(), "a rendition without a segment is published");
            assert!(segments.iter().all(|segment| accepted.contains(&&segment.object)));
        }
        assert_eq!(round.presentation.complete, round.last.is_some());
    }

    /// The power comes back: a new core, the old store, and the same order.
    pub fn restart(&mut self) {
        self.power_cycle();
        self.apply(Event::Submitted(Box::new(spec().into())));
    }

    /// A new core, the old store, and an empty queue.
    pub fn power_cycle(&mut self) {
        self.queue.clear();
        self.begin_anew(false);
    }

    /// A new core, the old store, and the queue as it was.
    pub fn fail_over(&mut self) {
        self.begin_anew(true);
    }

    fn begin_anew(&mut self, queue_kept: bool) {
        self.farm = farm();
        self.answers.clear();
        self.power = None;
        let (jobs, tasks) = (self.jobs.values().cloned().collect(), self.tasks.values().cloned().collect());
        self.beat();
        self.apply(Event::Restored(Box::new(Restored { jobs, tasks, queue_kept, ..Restored::default() })));
    }

    /// Whatever runs beside the loop ends.
    pub fn answer(&mut self) {
        while let Some(event) = self.answers.pop_front() {
            self.apply(event);
        }
    }

    /// Lets everybody work until the job is settled; says whether there was power for all of it.
    pub fn run(&mut self, source: &Source) -> bool {
        for _ in 0..10_000 {
            if self.views.last().is_some_and(|view| view.settled) {
                return true;
            }
            let event = if let Some(event) = self.answers.pop_front() {
                event
            } else if let Some(task) = self.queue.pop_front() {
                for report in source.work(&task) {
                    if !self.report(report) {
                        return false;
                    }
                }
                continue;
            } else {
                self.now_ms += 1_000;
                if !self.beat() {
                    return false;
                }
                Event::Tick
            };
            if !self.apply(event) {
                return false;
            }
        }
        panic!("the job does not end: {:?}", self.views.last());
    }

    /// The worker says that it lives, if it does.
    pub fn beat(&mut self) -> bool {
        self.worker.clone().is_none_or(|heartbeat| self.apply(Event::Heartbeat(heartbeat)))
    }

    pub fn report(&mut self, report: TaskReport) -> bool {
        self.apply(Event::Report(Box::new(report)))
    }

    pub fn reports(&mut self, reports: Vec<TaskReport>) {
        for report in reports {
            self.report(report);
        }
    }

    /// Takes this task's attempt off the queue, where it must be.
    pub fn take(&mut self, name: TaskName) -> Task {
        let at = self.queue.iter().position(|task| task.id.name == name);
        self.queue.remove(at.unwrap_or_else(|| panic!("{name} is not on the queue: {:?}", self.names()))).unwrap()
    }

    /// Waits out a pause and frees a slot, so that the task that paused is handed out next.
    pub fn come_round(&mut self, source: &Source) {
        self.wait(20_000);
        if let Some(other) = self.queue.pop_front() {
            self.reports(source.work(&other));
        }
    }

    /// What is on the queue.
    pub fn names(&self) -> Vec<String> {
        self.queue.iter().map(|task| task.id.name.to_string()).collect()
    }

    /// Lets time pass in steps, with the core told of each.
    pub fn wait(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(500) {
            self.now_ms += 500;
            self.beat();
            self.apply(Event::Tick);
        }
    }

    pub fn view(&self) -> &JobView {
        self.views.last().unwrap()
    }

    pub fn state(&self) -> JobState {
        self.jobs.values().next().unwrap().state
    }

    pub fn task(&self, name: TaskName) -> &TaskRecord {
        self.tasks.values().find(|task| task.id.name == name).unwrap()
    }
}

/// A world whose first chunk's attempt is on the queue and the index done.
pub fn indexed(source: &Source) -> World {
    let mut world = World::with_job();
    let index = world.take(TaskName::Index);
    world.reports(source.work(&index));
    world
}
