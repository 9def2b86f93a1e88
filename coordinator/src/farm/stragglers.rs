//! Attempts that take far longer than others of their kind get a rival: the first of the two to finish counts.
//!
//! Only where slots would be idle otherwise, and seldom: the extra work stays below [`MOST_RIVALS_PERCENT`] of a job's
//! chunks, but for one.
//!
//! Attempts that take far less are doubted: see [`ActiveJob::doubt`].

use shared::error::TaskError;
use shared::task::{AttemptId, Receipt, TaskId, TaskName, Work, WorkerId};
use shared::time::Timescale;

use super::active::{ActiveJob, ActiveTask};
use super::ending::is_chunk;
use crate::job::TaskState;
use crate::retry;

/// Chunks that tell how long a chunk takes.
const ENOUGH_CHUNKS: usize = 3;
/// Chunks that tell it as well as all of them.
const MOST_CHUNKS: usize = 99;
/// How much slower than nearly all others an attempt is that gets a rival, in percent.
const SLOW_PERCENT: u64 = 150;
/// An attempt younger than this is no straggler.
const PATIENCE_MS: u64 = 5_000;
/// Nobody is so many times as fast as others with the same encoder: black pictures are encoded five times as fast as busy
/// ones.
const IMPLAUSIBLE: u64 = 25;
/// A chunk that takes others less says nothing.
const DOUBTED_FROM_MS: u64 = 2_000;
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

impl ActiveJob {
    /// Why a receipt is not believed yet although everything in it is as it should be: its chunk was made in less than a
    /// [`IMPLAUSIBLE`]th of the time that other workers took with the same encoder. It is made once more, and an attempt
    /// that claims the same confirms it: encoders are deterministic. The time is the coordinator's own, from queueing to
    /// the receipt, so that no clock of a worker counts, and an honest one can only look slower than it is.
    pub(super) fn doubt(
        &self,
        name: TaskName,
        attempt: AttemptId,
        worker: &WorkerId,
        receipt: &Receipt,
        now_ms: u64,
    ) -> Option<TaskError> {
        let task = self.tasks.get(&name).filter(|task| task.record.attempt == attempt && task.queued_ms > 0)?;
        let encoder = encoder(receipt)?;
        let others = self.tasks.values().filter_map(|task| match &task.record.state {
            TaskState::Done(made) if made.worker != *worker && self::encoder(&made.receipt) == Some(encoder) => {
                pace(task)
            }
            _ => None,
        });
        let mut paces: Vec<u64> = others.take(MOST_CHUNKS).collect();
        if paces.len() < ENOUGH_CHUNKS {
            return None;
        }
        paces.sort_unstable();
        let expected_ms = length_ms(&task.record.work).saturating_mul(paces[paces.len() / 2]) / 1000;
        let took_ms = now_ms.saturating_sub(task.queued_ms);
        (expected_ms >= DOUBTED_FROM_MS && took_ms.saturating_mul(IMPLAUSIBLE) < expected_ms).then(|| {
            let text = format!("made in {took_ms} ms, which takes others {expected_ms} ms with {encoder}");
            TaskError::transient(retry::IMPLAUSIBLE, text)
        })
    }
}

/// Of a chunk's first rendition, with its version.
fn encoder(receipt: &Receipt) -> Option<&str> {
    let Receipt::Video(video) = receipt else { return None };
    Some(video.parts.first()?.encoder.as_str())
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
