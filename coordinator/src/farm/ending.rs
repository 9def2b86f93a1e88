//! How a job ends, and what is removed then.
//!
//! A final state is saved first. Then its attempts are called back; when they are over (or [`PATIENCE_MS`] have passed)
//! the playlists of a job that did not complete are taken away. Its parts are kept for as long as it was asked for, so that
//! it can be tried again; then what the job leaves behind is removed, and when that is done the job is settled.

use shared::error::ErrorKind;
use shared::fleet::Directive;
use shared::task::{Cancellation, JobId, Receipt, TaskName};

use super::active::ActiveJob;
use super::{CleanUp, Command, TakeAway};
use crate::job::{JobState, MOST_PROBLEMS, Milestone, Problem, ProblemClass, Submission, TaskState};
use crate::retry::pause_ms;

/// How long attempts that were called back may take to say that they are over.
const PATIENCE_MS: u64 = 5_000;
/// Tries to remove what a job leaves behind.
const MOST_CLEAN_UPS: usize = 8;
const FIRST_PAUSE_MS: u64 = 500;

/// The way from a final state to a settled job.
#[derive(Debug)]
pub(super) struct Ending {
    /// Don't wait for attempts any longer.
    deadline_ms: u64,
    /// A clean-up is under way.
    cleaning: bool,
    not_before_ms: u64,
    failures: usize,
    /// The parts of a job that did not complete stay until then.
    parts_until_ms: u64,
    /// Its playlists are gone.
    unpublished: bool,
}

impl Ending {
    pub(super) fn new(now_ms: u64, keep_parts_ms: u64) -> Self {
        Self {
            deadline_ms: now_ms + PATIENCE_MS,
            cleaning: false,
            not_before_ms: 0,
            failures: 0,
            parts_until_ms: now_ms.saturating_add(keep_parts_ms),
            unpublished: false,
        }
    }

    /// Whether everything that was made is still there.
    pub(super) fn keeps_parts(&self) -> bool {
        !self.cleaning && self.parts_until_ms > 0
    }

    /// Nothing is kept any longer.
    pub(super) fn hurry(&mut self) {
        self.parts_until_ms = 0;
    }
}

impl ActiveJob {
    /// Makes a legal move and saves it.
    pub(super) fn become_state(&mut self, state: JobState, out: &mut Vec<Command>) {
        debug_assert!(self.record.state.may_become(state), "{} to {state}", self.record.state);
        self.record.state = state;
        self.changed = true;
        out.push(Command::SaveJob(Box::new(self.record.clone())));
    }

    /// Remembers a problem that does not end the job.
    pub(super) fn note(&mut self, problem: Problem) {
        if self.record.problems.len() < MOST_PROBLEMS {
            self.record.problems.push(problem);
        }
        self.changed = true;
    }

    /// The job as a whole can't be made.
    pub(super) fn fail(
        &mut self,
        kind: ErrorKind,
        code: &str,
        message: &str,
        advice: &str,
        now_ms: u64,
        out: &mut Vec<Command>,
    ) {
        let problem = Problem {
            code: code.to_owned(),
            class: ProblemClass::from(kind),
            text: message.to_owned(),
            scope: "the source".to_owned(),
            advice: advice.to_owned(),
            fatal: true,
        };
        self.fail_with(kind, problem, now_ms, out);
    }

    /// The job can't be made because of `problem`.
    pub(super) fn fail_with(&mut self, kind: ErrorKind, problem: Problem, now_ms: u64, out: &mut Vec<Command>) {
        if self.record.state.is_final() {
            return;
        }
        // The one that decides is kept, however many there were.
        self.record.problems.truncate(MOST_PROBLEMS - 1);
        self.record.problems.push(Problem { fatal: true, ..problem });
        self.end(JobState::Failed(kind), now_ms, out);
    }

    /// A person called it off.
    pub(super) fn cancel(&mut self, now_ms: u64, out: &mut Vec<Command>) {
        if !self.record.state.is_final() {
            self.end(JobState::Cancelled, now_ms, out);
        }
    }

    /// Enters a final state.
    pub(super) fn end(&mut self, state: JobState, now_ms: u64, out: &mut Vec<Command>) {
        self.record.ended_ms = Some(now_ms);
        self.reached(milestone(state), now_ms);
        self.become_state(state, out);
        if self.tasks.values().any(|task| task.record.state == TaskState::Out) {
            let (job, last) = (self.record.spec.id.clone(), self.last_attempt());
            out.push(Command::Direct(Directive::Cancel(Cancellation { job, last })));
        }
        self.indexing = None;
        let keep_parts_ms = if matches!(state, JobState::Failed(_)) { self.record.spec.keep_parts_ms } else { 0 };
        self.ending = Some(Ending::new(now_ms, keep_parts_ms));
    }

    /// Removes what is left behind, once nobody writes any more.
    pub(super) fn clean_up(&mut self, now_ms: u64, out: &mut Vec<Command>) {
        let running = self.tasks.values().any(|task| task.record.state == TaskState::Out);
        // What is on its way into the archive is removed once it is there.
        let writing = self.publishing.is_under_way() || self.leaving.under_way;
        let unwanted = self.record.state != JobState::Completed || self.record.erase == Some(true);
        let Some(ending) = &self.ending else { return };
        let attempts_over = !running || now_ms >= ending.deadline_ms;
        if ending.cleaning || writing || !attempts_over || now_ms < ending.not_before_ms {
            return;
        }
        let keep_parts = unwanted && now_ms < ending.parts_until_ms;
        if keep_parts && ending.unpublished {
            return;
        }
        let take_away = unwanted.then(|| self.take_away());
        if let Some(ending) = &mut self.ending {
            ending.cleaning = true;
        }
        out.push(Command::CleanUp(Box::new(CleanUp {
            job: self.record.spec.id.clone(),
            places: self.record.spec.places.clone(),
            keep_parts,
            take_away,
            forget: self.record.erase.map(|_| self.record.spec.tenant.clone()),
        })));
    }

    fn take_away(&self) -> TakeAway {
        let video = self.record.ladder.video.iter().map(|rendition| rendition.name.clone());
        let audio = self.record.audio.iter().map(|rendition| rendition.name.clone());
        let images = self.tasks.values().flat_map(|task| match task.record.receipt() {
            Some(Receipt::Video(receipt)) => receipt.poster.iter().collect(),
            Some(Receipt::Storyboard(receipt)) => receipt.sheets.iter().collect(),
            _ => Vec::new(),
        });
        TakeAway {
            renditions: video.chain(audio).collect(),
            images: images.map(|image| image.key.clone()).collect(),
            whole: self.record.state == JobState::Completed,
        }
    }

    /// A clean-up has ended. Returns what was asked for in the meantime.
    pub(super) fn cleaned_up(
        &mut self,
        result: Result<(), String>,
        now_ms: u64,
        out: &mut Vec<Command>,
    ) -> Option<Submission> {
        let ending = self.ending.as_mut()?;
        ending.cleaning = false;
        if result.is_ok() && !ending.unpublished && now_ms < ending.parts_until_ms {
            ending.unpublished = true;
            return None;
        }
        if let Err(message) = result {
            ending.failures += 1;
            if ending.failures < MOST_CLEAN_UPS {
                let seed = self.record.spec.id.as_str();
                ending.not_before_ms = now_ms + pause_ms(FIRST_PAUSE_MS, ending.failures, seed);
                return None;
            }
            self.note(Problem {
                code: "clean_up_failed".to_owned(),
                class: ProblemClass::Storage,
                text: message,
                scope: format!("{} and {}", self.record.spec.places.work, self.record.spec.places.target),
                advice: "Remove what is left there by hand.".to_owned(),
                fatal: false,
            });
        }
        self.settle(out);
        self.resubmitted.take()
    }

    /// Nothing is left to do: only the job's record stays.
    fn settle(&mut self, out: &mut Vec<Command>) {
        let id: JobId = self.record.spec.id.clone();
        self.ending = None;
        self.record.settled = true;
        self.record.attempts_before = self.last_attempt();
        self.changed = true;
        out.push(Command::SaveJob(Box::new(self.record.clone())));
        out.push(Command::ForgetTasks(id));
        self.forget_tasks();
    }
}

fn milestone(state: JobState) -> Milestone {
    match state {
        JobState::Completed => Milestone::Completed,
        JobState::Cancelled => Milestone::Cancelled,
        _ => Milestone::Failed,
    }
}

/// The task names that are chunks.
pub(super) fn is_chunk(name: &TaskName) -> bool {
    matches!(name, TaskName::Video(_))
}
