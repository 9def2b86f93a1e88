//! What is handed out next. Pure.
//!
//! The backlog stays in the coordinator and the queue short, so that order, fairness and cancelling are decisions about a
//! list in memory.
//!
//! - Between tenants: whoever has least in hand for its weight, so nobody's backlog delays another's first chunk.
//! - Between the jobs of a tenant: the higher priority, then those whose deadline presses, then whoever has least in hand,
//!   then the older one.
//! - Within a job: the index; the first chunk and the audio, which make it playable; the other chunks in waves, as many in
//!   each as the farm can hold, in order of time; the storyboard, which needs them all. Within a wave the longest chunk goes
//!   first, so that a job does not end with most slots waiting for one of them.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use shared::task::{JobId, TaskId, TaskName, TenantId};

/// Tasks in hand per slot: one that runs and one that waits beside it.
const IN_HAND_PER_SLOT: usize = 2;
/// So that shares of small numbers of tasks can be compared as integers.
const SHARE: usize = 1_000_000;

/// How much of the farm tenants get, relative to each other; who is not listed has a weight of 1.
pub type Weights = BTreeMap<TenantId, u32>;

/// What one job could have handed out.
#[derive(Debug)]
pub struct Backlog<'a> {
    /// Which job.
    pub job: &'a JobId,
    /// Whose it is.
    pub tenant: &'a TenantId,
    /// Higher is sooner.
    pub priority: i32,
    /// Its deadline is near for what is left to do.
    pub pressed: bool,
    /// When it was submitted, in milliseconds of UNIX time.
    pub submitted_ms: u64,
    /// Its tasks that are queued or running.
    pub in_hand: usize,
    /// Its tasks that may be handed out, in any order.
    pub waiting: Vec<Waiting>,
}

/// A task that may be handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Which task of the job.
    pub name: TaskName,
    /// Milliseconds of presentation of a chunk; 0 where that is not known, and for other tasks.
    pub length_ms: u64,
}

/// The tasks to hand out now to a farm of so many slots, in order.
pub fn pick(slots: usize, weights: &Weights, mut backlogs: Vec<Backlog<'_>>) -> Vec<TaskId> {
    let in_hand: usize = backlogs.iter().map(|backlog| backlog.in_hand).sum();
    let wave = slots * IN_HAND_PER_SLOT;
    let free = wave.saturating_sub(in_hand);
    let mut held: BTreeMap<&TenantId, usize> = BTreeMap::new();
    for backlog in &mut backlogs {
        *held.entry(backlog.tenant).or_default() += backlog.in_hand;
        backlog.waiting.sort_by_key(|task| Reverse(rank(*task, wave)));
    }
    let share = |tenant: &TenantId, held: &BTreeMap<&TenantId, usize>| {
        let weight = weights.get(tenant).copied().unwrap_or(1).max(1) as usize;
        held.get(tenant).copied().unwrap_or(0) * SHARE / weight
    };
    let mut picked = Vec::new();
    while picked.len() < free {
        let next = backlogs.iter_mut().filter(|backlog| !backlog.waiting.is_empty()).min_by_key(|one| {
            let urgency = (Reverse(one.priority), !one.pressed);
            (share(one.tenant, &held), one.tenant, urgency, one.in_hand, one.submitted_ms, one.job)
        });
        let Some(next) = next else { break };
        picked.extend(next.waiting.pop().map(|task| TaskId { job: next.job.clone(), name: task.name }));
        next.in_hand += 1;
        *held.entry(next.tenant).or_default() += 1;
    }
    picked
}

/// Lower is sooner, where so many chunks make a wave.
fn rank(task: Waiting, wave: usize) -> (u8, usize, Reverse<u64>, u32) {
    let alone = |place, number| (place, 0, Reverse(0), number);
    match task.name {
        TaskName::Index => alone(0, 0),
        TaskName::Video(0) => alone(1, 0),
        TaskName::Audio(track) => alone(2, track),
        TaskName::Video(chunk) => (3, chunk as usize / wave.max(1), Reverse(task.length_ms), chunk),
        TaskName::Storyboard => alone(4, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(picked: &[TaskId]) -> Vec<String> {
        picked.iter().map(TaskId::to_string).collect()
    }

    fn backlog<'a>(job: &'a JobId, tenant: &'a TenantId, waiting: Vec<TaskName>) -> Backlog<'a> {
        let waiting = waiting.into_iter().map(|name| Waiting { name, length_ms: 0 }).collect();
        Backlog { job, tenant, priority: 0, pressed: false, submitted_ms: 0, in_hand: 0, waiting }
    }

    fn chunks() -> Vec<TaskName> {
        (1..50).map(TaskName::Video).collect()
    }

    #[test]
    fn what_makes_a_job_playable_comes_first() {
        let (job, tenant) = (JobId::new("a").unwrap(), TenantId::default());
        let waiting = vec![
            TaskName::Storyboard,
            TaskName::Video(2),
            TaskName::Video(1),
            TaskName::Audio(1),
            TaskName::Video(0),
            TaskName::Audio(0),
            TaskName::Index,
        ];
        let picked = pick(10, &Weights::new(), vec![backlog(&job, &tenant, waiting)]);
        let expected = ["index", "video-000000", "audio-000000", "audio-000001", "video-000001", "video-000002"];
        assert_eq!(names(&picked)[..6], expected.map(|name| format!("a/{name}")));
        assert_eq!(names(&picked)[6], "a/storyboard");
    }

    #[test]
    fn chunks_go_out_in_waves_and_the_longest_of_a_wave_first() {
        let (job, tenant) = (JobId::new("a").unwrap(), TenantId::default());
        let lengths = [6, 18, 24, 18, 24, 21, 30];
        let chunk = |(number, length_ms)| Waiting { name: TaskName::Video(number), length_ms };
        let waiting = |in_hand| (0..).zip(lengths).map(chunk).filter(|task| !picked_before(task, in_hand)).collect();
        let pick_with = |in_hand| {
            let backlog = Backlog { waiting: waiting(in_hand), ..backlog(&job, &tenant, vec![]) };
            names(&pick(2, &Weights::new(), vec![backlog]))
        };
        let numbers = |numbers: [u32; 4]| numbers.map(|number| format!("a/video-{number:06}"));
        assert_eq!(pick_with(&[]), numbers([0, 2, 1, 3]));
        assert_eq!(pick_with(&[0, 2, 3]), numbers([1, 6, 4, 5]));
    }

    fn picked_before(task: &Waiting, numbers: &[u32]) -> bool {
        numbers.iter().any(|number| task.name == TaskName::Video(*number))
    }

    #[test]
    fn the_queue_is_kept_short() {
        let (job, tenant) = (JobId::new("a").unwrap(), TenantId::default());
        let pick_with =
            |in_hand| pick(2, &Weights::new(), vec![Backlog { in_hand, ..backlog(&job, &tenant, chunks()) }]).len();
        assert_eq!([0, 3, 9].map(pick_with), [4, 1, 0]);
    }

    #[test]
    fn jobs_share_the_slots() {
        let (old, new, tenant) = (JobId::new("old").unwrap(), JobId::new("new").unwrap(), TenantId::default());
        let backlogs = vec![
            Backlog { submitted_ms: 2, ..backlog(&new, &tenant, chunks()) },
            Backlog { submitted_ms: 1, ..backlog(&old, &tenant, chunks()) },
        ];
        let picked = pick(2, &Weights::new(), backlogs);
        assert_eq!(names(&picked), ["old/video-000001", "new/video-000001", "old/video-000002", "new/video-000002"]);
    }

    #[test]
    fn a_large_backlog_of_one_tenant_does_not_delay_another() {
        let jobs: Vec<JobId> = (0..20).map(|n| JobId::new(format!("bulk-{n}")).unwrap()).collect();
        let (small, bulk, other) = (JobId::new("small").unwrap(), tenant("bulk"), tenant("other"));
        let mut backlogs: Vec<_> = jobs.iter().map(|job| backlog(job, &bulk, chunks())).collect();
        backlogs.push(Backlog { submitted_ms: 9, ..backlog(&small, &other, vec![TaskName::Index]) });
        let picked = pick(1, &Weights::new(), backlogs);
        assert_eq!(names(&picked), ["bulk-0/video-000001", "small/index"]);
    }

    #[test]
    fn weights_share_the_slots_out() {
        let (a, b, light, heavy) =
            (JobId::new("a").unwrap(), JobId::new("b").unwrap(), tenant("light"), tenant("heavy"));
        let weights = Weights::from([(heavy.clone(), 3)]);
        let picked = pick(10, &weights, vec![backlog(&a, &light, chunks()), backlog(&b, &heavy, chunks())]);
        assert_eq!(picked.iter().filter(|task| task.job == b).count(), 15);
    }

    #[test]
    fn priority_goes_before_deadlines_and_deadlines_before_age() {
        let ids = ["old", "pressed", "first"].map(|id| JobId::new(id).unwrap());
        let tenant = TenantId::default();
        let backlogs = vec![
            backlog(&ids[0], &tenant, chunks()),
            Backlog { pressed: true, submitted_ms: 1, ..backlog(&ids[1], &tenant, vec![TaskName::Video(7)]) },
            Backlog { priority: 1, submitted_ms: 2, ..backlog(&ids[2], &tenant, vec![TaskName::Video(8)]) },
        ];
        assert_eq!(
            names(&pick(2, &Weights::new(), backlogs))[..3],
            ["first/video-000008", "pressed/video-000007", "old/video-000001"]
        );
    }

    fn tenant(id: &str) -> TenantId {
        TenantId::new(id).unwrap()
    }
}
