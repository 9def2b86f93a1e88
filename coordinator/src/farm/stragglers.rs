//! Attempts that take far longer than others of their kind get a rival: the first of the two to finish counts.
//!
//! Only where slots would be idle otherwise, and seldom: the extra work stays below [`MOST_RIVALS_PERCENT`] of a job's
//! chunks, but for one.

use shared::task::{Receipt, TaskId, Work};
use shared::time::Timescale;

use super::active::{ActiveJob, ActiveTask};
use super::ending::is_chunk;
use crate::job::TaskState;

/// Chunks that tell how long a chunk takes.
const ENOUGH_CHUNKS: usize = 3;
/// How much slower than nearly all others an attempt is that gets a rival, in percent.
const SLOW_PERCENT: u64 = 150;
/// An attempt younger than this is no straggler.
const PATIENCE_MS: u64 = 5_000;
/// Rivals in a hundred chunks.
const MOST_RIVALS_PERCENT: usize = 3;

impl ActiveJob {
    /// The chunk that most needs a rival.
    pub(super) fn straggler(&self, now_ms: u64) -> Option<TaskId> {
        if self.record.state.is_final() || !self.index_done() {
            return None;
        }
        let chunks: Vec<&ActiveTask> =
            self.tasks.iter().filter(|(name, _)| is_chunk(name)).map(|(_, task)| task).collect();
        let rivals = chunks.iter().filter(|task| task.had_rival).count();
        if rivals >= (chunks.len() * MOST_RIVALS_PERCENT / 100).max(1) {
            return None;
        }
        let mut paces: Vec<u64> = chunks.iter().filter_map(|task| pace(task)).collect();
        if paces.len() < ENOUGH_CHUNKS {
            return None;
        }
        paces.sort_unstable();
        let slow = paces[(paces.len() * 95 / 100).min(paces.len() - 1)] * SLOW_PERCENT / 100;
        let late = |task: &&ActiveTask| {
            let elapsed = task.begun_ms.map_or(0, |begun| now_ms.saturating_sub(begun));
            let expected = length_ms(&task.record.work).saturating_mul(slow) / 1000;
            (elapsed > expected.max(PATIENCE_MS)).then(|| elapsed - expected)
        };
        let running = chunks.into_iter().filter(|task| task.record.state == TaskState::Out && !task.had_rival);
        let worst = running.filter_map(|task| Some((late(&task)?, task))).max_by_key(|(by, _)| *by);
        worst.map(|(_, task)| task.record.id.clone())
    }

    /// Whether its deadline is near: less time is left than twice what it would take at the speed of playing it.
    pub(super) fn is_pressed(&self, now_ms: u64) -> bool {
        let Some(deadline) = self.record.terms.deadline_ms else { return false };
        let done: u64 =
            self.tasks.values().filter(|task| task.is_done()).map(|task| length_ms(&task.record.work)).sum();
        let left = self.record.duration_ms.unwrap_or(0).saturating_sub(done);
        deadline.saturating_sub(now_ms) < 2 * left
    }
}

/// Milliseconds of wall time per second of presentation that the accepted attempt at a chunk took.
fn pace(task: &ActiveTask) -> Option<u64> {
    let Some(Receipt::Video(receipt)) = task.record.receipt() else { return None };
    (receipt.spent.wall_ms * 1000).checked_div(length_ms(&task.record.work))
}

/// Of a chunk; 0 if its end is not known.
pub(super) fn length_ms(work: &Work) -> u64 {
    let Work::Video(work) = work else { return 0 };
    let ticks = work.end.map_or(0, |end| end - work.start);
    u64::try_from(Timescale::MILLIS.rescale_floor(ticks, work.stream.timescale)).unwrap_or(0)
}
