//! What is handed out next. Pure.
//!
//! The backlog stays in the coordinator and the queue short, so that order, fairness and cancelling are decisions about a
//! list in memory. Between jobs: whoever has least in hand, the older one first. Within a job: the index; the first
//! chunk and the audio, which make it playable; the other chunks in order of time; the storyboard, which needs them all.

use shared::task::{JobId, TaskId, TaskName};

/// Tasks in hand per slot: one that runs and one that waits beside it.
const IN_HAND_PER_SLOT: usize = 2;

/// What one job could have handed out.
#[derive(Debug)]
pub struct Backlog<'a> {
    /// Which job.
    pub job: &'a JobId,
    /// When it was submitted, in milliseconds of UNIX time.
    pub submitted_ms: u64,
    /// Its tasks that are queued or running.
    pub in_hand: usize,
    /// Its tasks that may be handed out, in any order.
    pub waiting: Vec<TaskName>,
}

/// The tasks to hand out now to a farm of so many slots, in order.
pub fn pick(slots: usize, backlogs: Vec<Backlog<'_>>) -> Vec<TaskId> {
    let in_hand: usize = backlogs.iter().map(|backlog| backlog.in_hand).sum();
    let free = (slots * IN_HAND_PER_SLOT).saturating_sub(in_hand);
    let mut queues: Vec<_> = backlogs
        .into_iter()
        .map(|Backlog { job, submitted_ms, in_hand, mut waiting }| {
            waiting.sort_by_key(|name| std::cmp::Reverse(rank(*name)));
            (in_hand, submitted_ms, job, waiting)
        })
        .filter(|(.., waiting)| !waiting.is_empty())
        .collect();
    let mut picked = Vec::new();
    while picked.len() < free {
        let poorest = queues.iter_mut().filter(|(.., waiting)| !waiting.is_empty()).min_by_key(|q| (q.0, q.1, q.2));
        let Some((in_hand, _, job, waiting)) = poorest else { break };
        picked.extend(waiting.pop().map(|name| TaskId { job: job.clone(), name }));
        *in_hand += 1;
    }
    picked
}

/// Lower is sooner.
fn rank(name: TaskName) -> (u8, u32) {
    match name {
        TaskName::Index => (0, 0),
        TaskName::Video(0) => (1, 0),
        TaskName::Audio(track) => (2, track),
        TaskName::Video(chunk) => (3, chunk),
        TaskName::Storyboard => (4, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(picked: &[TaskId]) -> Vec<String> {
        picked.iter().map(TaskId::to_string).collect()
    }

    #[test]
    fn what_makes_a_job_playable_comes_first() {
        let job = JobId::new("a").unwrap();
        let waiting = vec![
            TaskName::Storyboard,
            TaskName::Video(2),
            TaskName::Video(1),
            TaskName::Audio(1),
            TaskName::Video(0),
            TaskName::Audio(0),
            TaskName::Index,
        ];
        let picked = pick(10, vec![Backlog { job: &job, submitted_ms: 0, in_hand: 0, waiting }]);
        let expected = ["index", "video-000000", "audio-000000", "audio-000001", "video-000001", "video-000002"];
        assert_eq!(names(&picked)[..6], expected.map(|name| format!("a/{name}")));
        assert_eq!(names(&picked)[6], "a/storyboard");
    }

    #[test]
    fn the_queue_is_kept_short() {
        let job = JobId::new("a").unwrap();
        let backlog =
            |in_hand| Backlog { job: &job, submitted_ms: 0, in_hand, waiting: (0..50).map(TaskName::Video).collect() };
        assert_eq!(pick(2, vec![backlog(0)]).len(), 4);
        assert_eq!(pick(2, vec![backlog(3)]).len(), 1);
        assert_eq!(pick(2, vec![backlog(9)]).len(), 0);
    }

    #[test]
    fn jobs_share_the_slots() {
        let (old, new) = (JobId::new("old").unwrap(), JobId::new("new").unwrap());
        let waiting = || (1..50).map(TaskName::Video).collect();
        let picked = pick(
            2,
            vec![
                Backlog { job: &new, submitted_ms: 2, in_hand: 0, waiting: waiting() },
                Backlog { job: &old, submitted_ms: 1, in_hand: 0, waiting: waiting() },
            ],
        );
        assert_eq!(names(&picked), ["old/video-000001", "new/video-000001", "old/video-000002", "new/video-000002"]);
    }
}
