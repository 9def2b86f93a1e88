//! What people ask of a job that is there: to try again, to change its terms, to be gone.

use super::Command;
use super::active::ActiveJob;
use super::ending::Ending;
use super::stock::Stocktaking;
use crate::job::{JobRecord, JobState, Milestone, Moment, Submission, TermsChange, begun_ms};

impl ActiveJob {
    /// Adds a step to the job's history; whoever saves the record next saves it too.
    pub(super) fn reached(&mut self, what: Milestone, now_ms: u64) {
        let at_ms = self.record.history.last().map_or(now_ms, |last| now_ms.max(last.at_ms));
        self.record.history.push(Moment { at_ms, what });
        self.unseen.job = true;
    }

    /// From when it was asked for, or tried again last, to its latest step, in milliseconds.
    pub(super) fn age_ms(&self) -> u64 {
        let history = &self.record.history;
        history.last().map_or(0, |last| last.at_ms.saturating_sub(begun_ms(history)))
    }

    /// Tries again what failed and keeps what was made, at once or when its playlists are gone; what was made and is not
    /// there any more has failed too. `false`: nothing of the job is left to go on with, or it has not failed.
    pub(super) fn retry(&mut self, now_ms: u64, out: &mut Vec<Command>) -> bool {
        let Some(ending) = self.ending.as_ref().filter(|ending| ending.keeps_parts()) else { return false };
        if !self.starts_over() {
            return false;
        }
        if ending.is_cleaning() {
            let JobRecord { spec, terms, words, .. } = self.record.clone();
            self.follow_with(Submission { spec, terms, words, again: true }, out);
            return true;
        }
        self.ending = None;
        self.record.resubmitted = None;
        self.record.ended_ms = None;
        self.record.problems.clear();
        for task in self.tasks.values_mut().filter(|task| !task.is_done()) {
            task.wait_until(0);
            task.record.failures.clear();
            task.record.refused = None;
            out.push(Command::SaveTask(Box::new(task.record.clone())));
        }
        self.publishing.begin_again();
        self.stocktaking = Stocktaking::default();
        self.record.unsure = true;
        self.reached(Milestone::Retried, now_ms);
        let state = if self.record.source.is_some() { JobState::Encoding } else { JobState::Probing };
        self.become_state(state, out);
        true
    }

    /// Other terms; they hold for what is handed out from now on.
    pub(super) fn update(&mut self, change: TermsChange, out: &mut Vec<Command>) {
        if !self.record.state.is_final() && self.record.terms.change(change) {
            self.unseen.job = true;
            out.push(Command::SaveJob(Box::new(self.record.clone())));
        }
    }

    /// The job's record goes once it is settled, and with `erase` the presentation too. One that is under way is called
    /// off first.
    pub(super) fn delete(&mut self, erase: bool, now_ms: u64, out: &mut Vec<Command>) {
        self.cancel(now_ms, out);
        self.record.erase = Some(erase);
        self.record.resubmitted = None;
        self.unseen.job = true;
        out.push(Command::SaveJob(Box::new(self.record.clone())));
        match &mut self.ending {
            Some(ending) => ending.hurry(),
            None => self.ending = Some(Ending::new(now_ms, 0)),
        }
        self.record.settled = false;
    }
}
