//! What was made, is gone, and is made again.
//!
//! Objects expire, or are removed, while a job waits to be tried again and while it runs. So they are looked for when a job is
//! tried again, when an attempt does not find what an earlier task has made, and when a round does not find a segment. Until
//! it is known what is there, nothing is handed out and nothing published. A task whose objects are gone has failed; one whose
//! packet lists are gone waits until the index has told them once more. Where something is gone it is looked once more, until
//! all that the records say is there: so it does not matter where a coordinator dies.

use std::collections::BTreeSet;

use shared::error::{ErrorKind, TaskError};
use shared::index::ListRef;
use shared::task::{AttemptId, Receipt, StoredObject, TaskName, Work};

use super::active::{ActiveJob, ActiveTask, Joined};
use super::indexing::take_lists;
use super::{Command, Objects};
use crate::job::{Failure, JobState, Problem, ProblemClass, TaskState};
use crate::retry::{self, Decision};

/// How the look for what is there stands.
#[derive(Debug, Default)]
pub(super) struct Stocktaking {
    under_way: bool,
    not_before_ms: u64,
    /// In a row.
    failures: usize,
}

impl ActiveTask {
    /// What this attempt claims to have made was looked for and is gone.
    pub(super) fn is_gone(&self, attempt: AttemptId) -> bool {
        let gone = |failure: &Failure| failure.code == retry::PARTS_MISSING && attempt <= failure.attempt;
        self.record.failures.iter().any(gone)
    }

    /// Nothing is known of the packets that it reads: they are gone, or were forgotten when it was done.
    pub(super) fn awaits_index(&self) -> bool {
        !self.is_done() && lists(&self.record.work).is_some_and(<[ListRef]>::is_empty)
    }
}

impl ActiveJob {
    /// Something that was made may be gone.
    pub(super) fn doubt_stock(&mut self, out: &mut Vec<Command>) {
        self.record.unsure = true;
        out.push(Command::SaveJob(Box::new(self.record.clone())));
    }

    /// The attempt that the task waits for has failed: whether of something that an earlier task has made.
    pub(super) fn look_for_inputs(&mut self, name: TaskName, code: &str, out: &mut Vec<Command>) {
        if name != TaskName::Index && retry::is_missing(code) {
            self.tasks.entry(name).and_modify(|task| drop(take_lists(&mut task.record.work)));
            self.doubt_stock(out);
        }
    }

    /// Has it looked for what was made, if that is in doubt.
    pub(super) fn take_stock(&mut self, now_ms: u64, out: &mut Vec<Command>) {
        let Stocktaking { under_way, not_before_ms, .. } = self.stocktaking;
        if self.record.unsure && !self.record.state.is_final() && !under_way && not_before_ms <= now_ms {
            self.stocktaking.under_way = true;
            let mut wanted = Objects::default();
            self.tasks.values().for_each(|task| add_objects(task, &mut wanted));
            let (job, places) = (self.record.spec.id.clone(), self.record.spec.places.clone());
            out.push(Command::TakeStock(job, places, Box::new(wanted)));
        }
    }

    /// It is known what of what was made is gone, or why nobody could look.
    pub(super) fn stock_taken(&mut self, gone: Result<Objects, String>, now_ms: u64, out: &mut Vec<Command>) {
        self.stocktaking.under_way = false;
        if !self.record.unsure || self.record.state.is_final() {
            return;
        }
        let gone = match gone {
            Ok(gone) => gone,
            Err(message) => return self.stock_unknown(&message, now_ms, out),
        };
        self.stocktaking = Stocktaking::default();
        // Tiles are read for the storyboard alone, so it is looked at first.
        let mut names: Vec<TaskName> = self.tasks.keys().rev().copied().collect();
        names.retain(|name| self.look_for_parts(*name, &gone, now_ms, out));
        let again = self.index_again(now_ms, out);
        if names.is_empty() && !again {
            self.record.unsure = false;
            out.push(Command::SaveJob(Box::new(self.record.clone())));
        }
    }

    fn stock_unknown(&mut self, message: &str, now_ms: u64, out: &mut Vec<Command>) {
        self.stocktaking.failures += 1;
        let problem = Problem {
            code: "parts_unknown".to_owned(),
            class: ProblemClass::Storage,
            text: format!("what was made can't be looked for: {message}"),
            scope: format!("{} and {}", self.record.spec.places.work, self.record.spec.places.target),
            advice: retry::advice(ErrorKind::Transient).to_owned(),
            fatal: false,
            at_ms: Some(now_ms),
        };
        match retry::during_outage(self.stocktaking.failures, self.record.spec.id.as_str()) {
            Decision::AgainAfter(pause_ms) => {
                self.stocktaking.not_before_ms = now_ms + pause_ms;
                self.note(problem);
            }
            Decision::GiveUp => self.fail_with(ErrorKind::Transient, problem, now_ms, out),
        }
    }

    /// Makes a task again if something is gone that it has made and that is still of use; has its lists told again if those
    /// are. Says whether something was.
    fn look_for_parts(&mut self, name: TaskName, gone: &Objects, now_ms: u64, out: &mut Vec<Command>) -> bool {
        let sheets_made = self.tasks.get(&TaskName::Storyboard).is_some_and(ActiveTask::is_done);
        let Some(task) = self.tasks.get_mut(&name).filter(|_| !self.record.state.is_final()) else { return false };
        let mut made = Objects::default();
        add_objects(task, &mut made);
        if sheets_made && task.is_done() {
            made.work.clear();
        }
        let missing: Vec<&String> =
            made.target.intersection(&gone.target).chain(made.work.intersection(&gone.work)).collect();
        let Some(first) = missing.first() else { return false };
        let TaskState::Done(accepted) = &task.record.state else {
            take_lists(&mut task.record.work);
            out.push(Command::SaveTask(Box::new(task.record.clone())));
            return true;
        };
        let worker = accepted.worker.clone();
        let message = format!("{} objects that it had made are gone, one of them is {first}", missing.len());
        task.wait_until(0);
        task.record.handed_out_ms = None;
        task.rival = None;
        if matches!(name, TaskName::Video(number) if number < self.joined.chunks) {
            self.joined = Joined::default();
        }
        self.unseen.tasks = true;
        if self.record.state == JobState::Publishing {
            self.become_state(JobState::Encoding, out);
        }
        let error = TaskError::transient(retry::PARTS_MISSING, message);
        self.count_failure(name, error, Some(&worker), now_ms, out);
        true
    }

    /// An index that is done is made again if a task awaits it. Says whether it is.
    fn index_again(&mut self, now_ms: u64, out: &mut Vec<Command>) -> bool {
        let again = !self.record.state.is_final() && self.index_done() && self.is_index_awaited();
        if let Some(index) = self.tasks.get_mut(&TaskName::Index).filter(|_| again) {
            index.wait_until(0);
            index.record.handed_out_ms = None;
            let error = TaskError::transient(
                retry::PARTS_MISSING,
                "packet lists or packets that tasks need are not there any more",
            );
            self.count_failure(TaskName::Index, error, None, now_ms, out);
        }
        again
    }

    /// Whether a task waits for the index to tell its packet lists.
    pub(super) fn is_index_awaited(&self) -> bool {
        self.tasks.values().any(ActiveTask::awaits_index)
    }
}

/// The objects that a task that is done has made, or that tell what one that is not is to read.
fn add_objects(task: &ActiveTask, objects: &mut Objects) {
    let keys = |made: &[StoredObject]| made.iter().map(|object| object.key.clone()).collect::<Vec<_>>();
    if let Some(receipt) = task.record.receipt() {
        let segments = receipt.parts().iter().flat_map(|part| &part.segments);
        objects.target.extend(segments.map(|segment| segment.object.key.clone()));
        match receipt {
            Receipt::Video(video) => {
                objects.target.extend(video.poster.iter().map(|poster| poster.key.clone()));
                objects.work.extend(video.tiles.iter().map(|(_, tile)| tile.key.clone()));
            }
            Receipt::Storyboard(storyboard) => objects.target.extend(keys(&storyboard.sheets)),
            Receipt::Index(_) | Receipt::Audio(_) => {}
        }
    } else if let Some(lists) = lists(&task.record.work) {
        let parts: BTreeSet<(u32, u32)> = lists.iter().map(|list| (list.stream, list.part)).collect();
        objects.work.extend(parts.into_iter().map(|(stream, part)| ListRef { stream, part, offset: 0, len: 0 }.key()));
    }
}

/// The packet lists of a task that reads such.
fn lists(work: &Work) -> Option<&[ListRef]> {
    match work {
        Work::Video(task) => Some(&task.lists),
        Work::Audio(task) => Some(&task.lists),
        Work::Index(_) | Work::Storyboard(_) => None,
    }
}
