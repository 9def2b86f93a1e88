//! How a job leaves that ended long ago: it is put into the archive, and when it is there the farm forgets it.
//!
//! A coordinator that dies in between finds the job's record and puts it away again, which changes nothing. Who wants
//! something of a job that was put away has it brought back first.

use shared::task::JobId;

use super::active::ActiveJob;
use super::{Command, Farm};
use crate::archive::Archived;
use crate::job::JobRecord;
use crate::retry::pause_ms;

/// How often it is looked for jobs to put away.
const LOOK_INTERVAL_MS: u64 = 1_000;
/// Jobs on their way into the archive at once.
const MOST_AT_ONCE: usize = 16;
/// How long a job that was brought back stays, whatever is done to it.
const RECALLED_MS: u64 = 60_000;
const FIRST_PAUSE_MS: u64 = 5_000;

/// A job on its way into the archive.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    /// It is being put there.
    pub(super) under_way: bool,
    not_before_ms: u64,
    failures: usize,
}

impl Farm {
    /// Puts away what ended long enough ago, a few jobs at a time.
    pub(super) fn put_away(&mut self, now_ms: u64, out: &mut Vec<Command>) {
        let Some(keep_ms) = self.keep_finished_ms.filter(|_| self.look_ms <= now_ms) else { return };
        self.look_ms = now_ms + LOOK_INTERVAL_MS;
        let mut room = MOST_AT_ONCE;
        for job in self.jobs.values_mut() {
            if room == 0 {
                break;
            }
            if job.leaving.under_way {
                room -= 1;
            } else if job.may_leave(keep_ms, now_ms) {
                room -= 1;
                job.leaving.under_way = true;
                self.sequence += 1;
                let (record, view, timeline) = (job.record.clone(), job.view(self.sequence), job.timeline(now_ms));
                out.push(Command::Archive(Box::new(Archived { record, view, timeline })));
            }
        }
    }

    /// A job is in the archive, or not.
    pub(super) fn put_away_ended(&mut self, id: &JobId, stored: bool, now_ms: u64, out: &mut Vec<Command>) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        // Not under way: it has started over meanwhile.
        if !std::mem::take(&mut job.leaving.under_way) {
            return;
        }
        if !stored {
            job.leaving.failures += 1;
            job.leaving.not_before_ms = now_ms + pause_ms(FIRST_PAUSE_MS, job.leaving.failures, id.as_str());
        } else if job.has_only_its_record() {
            self.jobs.remove(id);
            out.push(Command::ForgetJob(id.clone()));
        }
    }

    /// Brings a job back that was put away. One that is known stays as it is.
    pub(super) fn recall(&mut self, record: JobRecord, now_ms: u64, out: &mut Vec<Command>) {
        let id = record.spec.id.clone();
        if self.jobs.contains_key(&id) {
            return;
        }
        out.push(Command::SaveJob(Box::new(record.clone())));
        let mut job = ActiveJob::new(record, Vec::new());
        job.leaving.not_before_ms = now_ms + RECALLED_MS;
        self.jobs.insert(id, job);
    }
}

impl ActiveJob {
    /// It has ended, and nobody wants anything of it.
    fn has_only_its_record(&self) -> bool {
        self.record.settled && self.ending.is_none() && self.record.erase.is_none()
    }

    fn may_leave(&self, keep_ms: u64, now_ms: u64) -> bool {
        let over = |ended: u64| ended.saturating_add(keep_ms) <= now_ms;
        self.has_only_its_record() && self.leaving.not_before_ms <= now_ms && self.record.ended_ms.is_some_and(over)
    }
}
