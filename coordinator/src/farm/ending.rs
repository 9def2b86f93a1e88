//! How a job ends, and what is removed then.
//!
//! A final state is saved first. Then its attempts are called back; when they are over (or [`PATIENCE_MS`] have passed)
//! the playlists of a job that did not complete are taken away. Its parts are kept for as long as it was asked for, so that
//! it can be tried again; then what the job leaves behind is removed, and when that is done the job is settled.

use shared::error::ErrorKind;
use shared::fleet::Directive;
use shared::source::Verdict;
use shared::task::{Cancellation, JobId, Receipt, TaskName};

use super::active::ActiveJob;
use super::{CleanUp, Command, Count, HowEnded, TakeAway};
use crate::job::{JobRecord, JobState, MOST_PROBLEMS, Milestone, Problem, ProblemClass, Submission, TaskState};
use crate::retry::pause_ms;

/// How long attempts that were called back may take to say that they are over.
const PATIENCE_MS: u64 = 5_000;
/// Tries to remove what a job leaves behind.
const MOST_CLEAN_UPS: usize = 8;
const FIRST_PAUSE_MS: u64 = 500;
/// After the last word of an attempt that outlived its job, nothing of it is written any more.
const LITTER_MS: u64 = 10_000;

/// The way from a final state to a settled job.
#[derive(Debug)]
pub(super) struct Ending {
    /// Don't wait for attempts any longer.
    deadline_ms: u64,
    /// The clean-up that is under way.
    cleaning: Option<Removal>,
    not_before_ms: u64,
    failures: usize,
    /// The parts of a job that did not complete stay until then.
    parts_until_ms: u64,
    /// Its playlists are gone.
    unpublished: bool,
}

/// What a clean-up removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Removal {
    /// The presentation as well.
    presentation: bool,
    /// Of that the playlists alone.
    keep_parts: bool,
    /// What is in the archive as well.
    archived: bool,
}

impl Ending {
    pub(super) fn new(now_ms: u64, keep_parts_ms: u64) -> Self {
        Self {
            deadline_ms: now_ms + PATIENCE_MS,
            cleaning: None,
            not_before_ms: 0,
            failures: 0,
            parts_until_ms: if keep_parts_ms > 0 { now_ms.saturating_add(keep_parts_ms) } else { 0 },
            unpublished: false,
        }
    }

    /// Whether everything that was made is still there.
    pub(super) fn keeps_parts(&self) -> bool {
        self.parts_until_ms > 0
    }

    /// Playlists are being taken away.
    pub(super) fn is_cleaning(&self) -> bool {
        self.cleaning.is_some()
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
        self.unseen.job = true;
        out.push(Command::SaveJob(Box::new(self.record.clone())));
    }

    /// Remembers a problem that does not end the job.
    pub(super) fn note(&mut self, problem: Problem) {
        if self.record.problems.len() < MOST_PROBLEMS {
            self.record.problems.push(problem);
        }
        self.unseen.job = true;
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
            at_ms: Some(now_ms),
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

    /// A person called it off, or what was to follow its end.
    pub(super) fn cancel(&mut self, now_ms: u64, out: &mut Vec<Command>) {
        if !self.record.state.is_final() {
            self.end(JobState::Cancelled, now_ms, out);
        } else if self.record.resubmitted.take().is_some() {
            self.unseen.job = true;
            out.push(Command::SaveJob(Box::new(self.record.clone())));
        }
    }

    /// Enters a final state.
    pub(super) fn end(&mut self, state: JobState, now_ms: u64, out: &mut Vec<Command>) {
        let runs = self.tasks.values().any(|task| task.record.state == TaskState::Out || task.rival.is_some());
        let called_off = runs.then(|| self.last_attempt());
        self.record.called_off = called_off.or(self.record.called_off);
        self.record.ended_ms = Some(now_ms);
        self.reached(milestone(state), now_ms);
        self.become_state(state, out);
        if let Some(last) = called_off {
            let job = self.record.spec.id.clone();
            out.push(Command::Direct(Directive::Cancel(Cancellation { job, last })));
        }
        if !self.record.terms.is_probe() {
            out.push(Command::Count(Count::Ended(self.how_ended(), self.age_ms())));
        }
        self.indexing = None;
        let keep_parts_ms = if matches!(state, JobState::Failed(_)) { self.record.spec.keep_parts_ms } else { 0 };
        self.ending = Some(Ending::new(now_ms, keep_parts_ms));
    }

    /// By whose doing it came to its final state.
    fn how_ended(&self) -> HowEnded {
        let JobRecord { state, verdict, problems, .. } = &self.record;
        let fatal = problems.iter().rfind(|problem| problem.fatal);
        let unfit = matches!(verdict, Some(Verdict::Unsupported | Verdict::Corrupt));
        match state {
            JobState::Completed => HowEnded::Succeeded,
            JobState::Cancelled => HowEnded::Cancelled,
            _ if unfit || fatal.is_some_and(|problem| problem.class == ProblemClass::Input) => HowEnded::Refused,
            _ => HowEnded::Failed,
        }
    }

    /// Removes what is left behind, once nobody writes any more.
    pub(super) fn clean_up(&mut self, now_ms: u64, out: &mut Vec<Command>) {
        if self.litter_until_ms.take_if(|until| *until <= now_ms).is_some() && self.record.settled {
            self.ending = Some(Ending::new(now_ms, 0));
        }
        let running = self.tasks.values().any(|task| task.record.state == TaskState::Out || task.rival.is_some());
        // What is on its way into the archive is removed once it is there.
        let writing = self.publishing.is_under_way() || self.leaving.under_way;
        let Some(removal) = self.removal(now_ms) else { return };
        let Some(ending) = &mut self.ending else { return };
        let attempts_over = !running || now_ms >= ending.deadline_ms;
        if ending.cleaning.is_some() || writing || !attempts_over || now_ms < ending.not_before_ms {
            return;
        }
        if removal.keep_parts && ending.unpublished {
            return;
        }
        ending.cleaning = Some(removal);
        let Removal { presentation, keep_parts, .. } = removal;
        if presentation && !keep_parts {
            ending.parts_until_ms = 0;
            self.record.parts_gone = true; // whatever happens from now on
            out.push(Command::SaveJob(Box::new(self.record.clone())));
        }
        let take_away = presentation.then(|| self.take_away());
        out.push(Command::CleanUp(Box::new(CleanUp {
            job: self.record.spec.id.clone(),
            places: self.record.spec.places.clone(),
            keep_parts,
            take_away,
            forget: self.record.erase.map(|_| self.record.spec.tenant.clone()),
        })));
    }

    /// What is to be removed of a job that has ended, as things stand.
    fn removal(&self, now_ms: u64) -> Option<Removal> {
        let ending = self.ending.as_ref()?;
        let unwanted = self.record.state != JobState::Completed || self.record.erase == Some(true);
        let presentation = unwanted && !self.target_is_anothers;
        let keep_parts = presentation && now_ms < ending.parts_until_ms;
        Some(Removal { presentation, keep_parts, archived: self.record.erase.is_some() })
    }

    /// An attempt of a settled job has spoken: what it writes until it is stopped is removed later.
    pub(super) fn outlived(&mut self, now_ms: u64) {
        if self.record.settled {
            self.litter_until_ms = Some(now_ms + LITTER_MS);
        }
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

    /// A clean-up has ended; more may have to be removed by now. Returns what was asked for in the meantime.
    pub(super) fn cleaned_up(
        &mut self,
        result: Result<(), String>,
        now_ms: u64,
        out: &mut Vec<Command>,
    ) -> Option<Submission> {
        let wanted = self.removal(now_ms)?;
        let ending = self.ending.as_mut()?;
        let removed = ending.cleaning.take()?;
        if result.is_ok() && removed.keep_parts {
            ending.unpublished = true;
            let again = self.record.resubmitted.as_ref().is_some_and(|submission| submission.spec == self.record.spec);
            if again && ending.keeps_parts() {
                self.retry(now_ms, out);
            }
            return None;
        }
        if result.is_ok() && removed != wanted {
            return None; // more is asked for by now
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
                at_ms: Some(now_ms),
            });
        }
        self.settle(out);
        self.record.resubmitted.take().map(|submission| *submission)
    }

    /// Nothing is left to do: only the job's record stays.
    fn settle(&mut self, out: &mut Vec<Command>) {
        let id: JobId = self.record.spec.id.clone();
        self.ending = None;
        self.record.settled = true;
        self.record.totals = self.totals();
        self.record.attempts_before = self.last_attempt();
        self.unseen.job = true;
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
