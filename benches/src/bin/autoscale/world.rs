//! A farm in virtual time: the coordinator's own core and its own signal, workers that make nothing, and the scalers.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use coordinator::farm::{Command, Event, Farm, FarmConfig};
use coordinator::job::{JobSpec, JobState, Milestone};
use coordinator::ladder::Rungs;
use coordinator::profile::Profile;
use coordinator::workers::Load;
use shared::fleet::{Class, Directive, HEARTBEAT_MS, Heartbeat};
use shared::task::{JobId, Places, Task, TaskId, TenantId};
use shared::testing::synthetic::Source;

use crate::day::Upload;
use crate::pods::{Kind, Pool, Queue};
use crate::policy::Policy;

/// Virtual time goes on by so much: from heartbeat to heartbeat, and from one count of the metrics to the next.
const STEP_MS: u64 = HEARTBEAT_MS;
/// Between two scrapes of Prometheus: the chart's 15 s, to the next step.
const SCRAPE_MS: u64 = 16_000;
/// What a round of playlists takes.
const PUBLISH_MS: u64 = 2_000;
/// After which a job that has ended is put away.
const KEEP_MS: u64 = 60_000;
/// After the last upload, for which there may still be work.
const PATIENCE_MS: u64 = 24 * 3_600_000;
/// Some time of day, in milliseconds of UNIX time.
const BEGIN_MS: u64 = 1_700_006_400_000;

/// A job as seen from outside.
#[derive(Debug, Default, Clone, Copy)]
pub struct Seen {
    pub length_ms: i64,
    pub submitted_ms: u64,
    pub playable_ms: Option<u64>,
    pub ended_ms: Option<u64>,
}

pub struct World {
    farm: Farm,
    now_ms: u64,
    queue: Queue,
    pub pools: Vec<Pool>,
    pub jobs: BTreeMap<JobId, Seen>,
    /// Age of the oldest task that waited, every two seconds in which there was work, in milliseconds.
    pub oldest_ms: BTreeMap<Class, Vec<u64>>,
    /// Answers that come later.
    later: Vec<(u64, Event)>,
    /// As Prometheus has it.
    scraped: BTreeMap<Class, f64>,
    work: BTreeMap<Class, f64>,
    done: BTreeSet<TaskId>,
}

impl World {
    pub fn new(classes: &[(Kind, Policy)], await_gpu_s: u64, seed: u64) -> Self {
        let config = FarmConfig { silence_ms: 60_000, weights: Default::default() };
        let mut world = Self {
            farm: Farm::new(config).keeping(Some(KEEP_MS)).awaiting_gpus(await_gpu_s * 1000),
            now_ms: BEGIN_MS,
            queue: Queue::new(),
            pools: classes.iter().map(|(kind, policy)| Pool::new(*kind, *policy, seed)).collect(),
            jobs: BTreeMap::new(),
            oldest_ms: BTreeMap::new(),
            later: Vec::new(),
            scraped: BTreeMap::new(),
            work: BTreeMap::new(),
            done: BTreeSet::new(),
        };
        world.apply(vec![Event::Restored(Box::default())]);
        world
    }

    /// Lets a day pass, and what is left of its work.
    ///
    /// # Errors
    /// A job has not ended, or not well.
    pub fn run(&mut self, uploads: &[Upload]) -> Result<()> {
        let mut uploads = uploads.iter().enumerate().peekable();
        let end_ms = BEGIN_MS + 24 * 3_600_000;
        loop {
            let mut events = self.due();
            while let Some((number, upload)) =
                uploads.next_if(|(_, upload)| BEGIN_MS + upload.at_s * 1000 <= self.now_ms)
            {
                events.push(self.submit(number, upload)?);
            }
            self.step(events);
            let over = uploads.peek().is_none() && self.jobs.values().all(|job| job.ended_ms.is_some());
            if over && self.now_ms >= end_ms && self.pools.iter().all(Pool::is_at_rest) {
                return Ok(());
            }
            if self.now_ms > end_ms + PATIENCE_MS {
                bail!("{} jobs have not ended", self.jobs.values().filter(|job| job.ended_ms.is_none()).count());
            }
        }
    }

    fn submit(&mut self, number: usize, upload: &Upload) -> Result<Event> {
        let id = format!("film-{number:05}");
        let place = |name: &str| format!("{id}/{name}");
        let spec = JobSpec {
            tenant: TenantId::default(),
            places: Places { source: place("source"), target: place("target"), work: place("work") },
            id: JobId::new(id.clone()).with_context(|| format!("{id} is no id"))?,
            profile: Profile::named("web").context("there is no profile `web`")?,
            segment_ms: 6_000,
            rungs: Rungs::All,
            preset: None,
            movies: false,
            growing_ms: None,
            keep_parts_ms: 0,
        };
        let seen = Seen { length_ms: upload.length_ms, submitted_ms: self.now_ms, ..Seen::default() };
        self.jobs.insert(spec.id.clone(), seen);
        Ok(Event::Submitted(Box::new(spec.into())))
    }

    /// What was to be answered by now.
    fn due(&mut self) -> Vec<Event> {
        let now_ms = self.now_ms;
        self.later.extract_if(.., |(at_ms, _)| *at_ms <= now_ms).map(|(_, event)| event).collect()
    }

    /// Two seconds pass.
    fn step(&mut self, mut events: Vec<Event>) {
        let (now_ms, jobs, done) = (self.now_ms, &self.jobs, &mut self.done);
        let source =
            |task: &Task| Source { length_ms: jobs[&task.id.job].length_ms, gops_a_piece: 60, ..Source::default() };
        let mut reports = Vec::new();
        for pool in &mut self.pools {
            let first = |task: &Task| done.insert(task.id.clone());
            pool.work(now_ms, &mut self.queue, &mut reports, |task| source(task).outcomes(task), first);
            pool.take(now_ms, &mut self.queue, &mut reports, |task| source(task).length_ms.unsigned_abs());
        }
        events.extend(reports.into_iter().map(|report| Event::Report(Box::new(report))));
        let beats: Vec<Heartbeat> = self.pools.iter_mut().flat_map(|pool| pool.beat(now_ms)).collect();
        events.extend(beats.into_iter().map(Event::Heartbeat));
        events.push(Event::QueueDepth(self.queue.values().map(|lane| lane.len() as u64).sum()));
        events.push(Event::Tick);
        self.apply(events);
        self.observe();
        for pool in &mut self.pools {
            let class = pool.kind.class;
            pool.scale(now_ms, self.scraped.get(&class).copied().unwrap_or(0.0));
            pool.account(now_ms, STEP_MS, self.work[&class] > 0.0);
        }
        self.now_ms += STEP_MS;
    }

    /// What the coordinator's metrics say, as they are counted every two seconds and scraped now and then.
    fn observe(&mut self) {
        let views: Vec<_> = self.farm.workers().cloned().collect();
        for (class, backlog) in self.farm.backlog(self.now_ms) {
            let load = Load::of(class, &backlog, &views);
            self.work.insert(class, load.queued_seconds);
            if load.queued_seconds > 0.0 {
                self.oldest_ms.entry(class).or_default().push(backlog.oldest_ms);
            }
        }
        if self.now_ms.is_multiple_of(SCRAPE_MS) {
            self.scraped.clone_from(&self.work);
        }
    }

    fn apply(&mut self, events: Vec<Event>) {
        for command in self.farm.apply_all(events, self.now_ms) {
            self.carry_out(command);
        }
    }

    /// Everything that is asked for works.
    fn carry_out(&mut self, command: Command) {
        let mut answer = |pause_ms: u64, event: Event| self.later.push((self.now_ms + pause_ms, event));
        match command {
            Command::Enqueue(task, lane) => self.queue.entry(lane).or_default().push_back(*task),
            Command::Publish(round) => answer(PUBLISH_MS, Event::Published { job: round.job, multivariant: true }),
            Command::CleanUp(order) => answer(0, Event::CleanedUp(order.job, Ok(()))),
            Command::Archive(archived) => answer(0, Event::Archived(archived.record.spec.id.clone(), true)),
            Command::Clear(class) => self.queue.retain(|lane, _| lane.class != class),
            Command::Direct(Directive::Cancel(cancellation)) => self.stop(|task| cancellation.covers(task)),
            Command::Direct(Directive::Stop(attempt)) => {
                self.stop(|task| task.id == attempt.task && task.attempt == attempt.attempt);
            }
            Command::Notify(view) => {
                let Some(seen) = self.jobs.get_mut(&view.id) else { return };
                if view.history.iter().any(|moment| moment.what == Milestone::Playable) {
                    seen.playable_ms.get_or_insert(self.now_ms);
                }
                if view.state == JobState::Completed {
                    seen.ended_ms.get_or_insert(self.now_ms);
                }
            }
            // Nothing dies here, so nothing needs to be remembered.
            _ => {}
        }
    }

    fn stop(&mut self, unwanted: impl Fn(&Task) -> bool) {
        self.queue.values_mut().for_each(|lane| lane.retain(|task| !unwanted(task)));
        self.pools.iter_mut().for_each(|pool| pool.stop(&unwanted));
    }
}
