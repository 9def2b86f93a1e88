//! What a task's end means: its receipt is accepted or refused, its failure is made good or ends the job.

use shared::error::{ErrorKind, TaskError};
use shared::fleet::{AttemptRef, Directive};
use shared::source::Verdict;
use shared::task::{
    AttemptId, IndexReceipt, Receipt, StoryboardReceipt, StoryboardTask, TaskName, VideoReceipt, VideoTask, Work,
    WorkerId,
};
use shared::time::Timescale;

use super::active::{ActiveJob, ActiveTask};
use super::indexing::{SOURCE_CHANGED_ADVICE, take_lists};
use super::{Command, Count, Hedge};
use crate::job::{Accepted, Failure, Problem, ProblemClass, TaskState};
use crate::retry::{self, Decision};
use crate::stitch::{self, Refusal};
use crate::workers::Workers;

/// Code of a receipt that is not what its task asked for.
const WRONG_RECEIPT: &str = "wrong_receipt";

/// What became of a claim to have made something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// It counts.
    Accepted,
    /// It counts, and is what another attempt claimed before and was not believed.
    Confirmed,
    /// It is not what the task asked for, or not believed yet; the code of that.
    Refused(&'static str),
    /// It is right, and can't be put together with what is made of the tracks.
    Misfit,
    /// It does not matter any more.
    Late,
}

impl ActiveJob {
    /// An attempt claims to have made something. The first claim that passes counts, whichever attempt it is of.
    pub(super) fn done(
        &mut self,
        name: TaskName,
        attempt: AttemptId,
        worker: &WorkerId,
        receipt: Receipt,
        now_ms: u64,
        out: &mut Vec<Command>,
    ) -> Claim {
        let open = |task: &&ActiveTask| !task.is_done() && !task.is_gone(attempt);
        let Some(task) = self.tasks.get(&name).filter(open) else { return Claim::Late };
        if self.record.state.is_final() {
            self.attempt_over(name, attempt);
            return Claim::Late;
        }
        let confirmed = same_claim(task.record.refused.as_deref(), &receipt);
        match check(&task.record.work, &receipt) {
            Ok(()) if confirmed => {}
            Err(Refusal::Frames { .. }) if confirmed => {}
            Ok(()) => {
                if let Some(doubt) = self.doubt(name, attempt, worker, &receipt, now_ms) {
                    self.refuse(name, attempt, worker, receipt, doubt, now_ms, out);
                    return Claim::Refused(retry::IMPLAUSIBLE);
                }
            }
            Err(refusal) => {
                let error = TaskError::new(ErrorKind::Bug, WRONG_RECEIPT, refusal.to_string());
                self.refuse(name, attempt, worker, receipt, error, now_ms, out);
                return Claim::Refused(WRONG_RECEIPT);
            }
        }
        if let Receipt::Video(video) = &receipt
            && !self.fits((name, attempt), worker, video, now_ms, out)
        {
            return Claim::Misfit;
        }
        if let Receipt::Index(index) = &receipt {
            let index: IndexReceipt = index.clone();
            if !self.index_ended(attempt, worker, &index, now_ms, out) {
                if self.record.state.is_final() {
                    self.attempt_over(name, attempt);
                }
                return Claim::Late; // otherwise another worker makes the same attempt, and is listened to
            }
            if self.is_index_awaited() {
                self.doubt_stock(out); // lists that it had told got lost while it went on
            }
        }
        let Some(task) = self.tasks.get_mut(&name) else { return Claim::Late };
        let accepted = Accepted { attempt, worker: worker.clone(), at_ms: now_ms, receipt };
        task.record.state = TaskState::Done(Box::new(accepted));
        task.record.refused = None;
        task.progress = None;
        if let Some(rival) = task.rival {
            out.push(Command::Count(Count::Hedge(if rival == attempt { Hedge::Lost } else { Hedge::Won })));
        }
        // Whoever is slower writes in vain.
        task.rival = task.rival.map(|rival| if rival == attempt { task.record.attempt } else { rival });
        if let Some(attempt) = task.rival {
            out.push(Command::Direct(Directive::Stop(AttemptRef { task: task.record.id.clone(), attempt })));
        }
        take_lists(&mut task.record.work);
        out.push(Command::SaveTask(Box::new(task.record.clone())));
        self.unseen.tasks = true;
        self.note_fallbacks(name, out);
        if confirmed { Claim::Confirmed } else { Claim::Accepted }
    }

    /// A final job only waits for its attempts to be over.
    fn attempt_over(&mut self, name: TaskName, attempt: AttemptId) {
        if let Some(task) = self.tasks.get_mut(&name)
            && task.record.attempt == attempt
            && task.record.state == TaskState::Out
        {
            task.wait_until(0);
        }
    }

    /// The claim is not what the task asked for: it is remembered, and the chunk made again.
    #[expect(clippy::too_many_arguments, reason = "the claim, taken apart once")]
    fn refuse(
        &mut self,
        name: TaskName,
        attempt: AttemptId,
        worker: &WorkerId,
        receipt: Receipt,
        error: TaskError,
        now_ms: u64,
        out: &mut Vec<Command>,
    ) {
        if !self.is_current(name, attempt) {
            return; // the current attempt will do better, or the next one
        }
        let Some(task) = self.tasks.get_mut(&name) else { return };
        task.record.refused = Some(Box::new(receipt));
        self.count_failure(name, error, Some(worker), now_ms, out);
    }

    /// Whether it is the attempt that the task waits for.
    pub(super) fn is_current(&self, name: TaskName, attempt: AttemptId) -> bool {
        let waits = |task: &ActiveTask| task.record.attempt == attempt && task.record.state == TaskState::Out;
        self.tasks.get(&name).is_some_and(waits)
    }

    /// The last attempt failed because its worker can't do it: finds out whether another may, or other encoders.
    pub(super) fn look_elsewhere(&mut self, name: TaskName, worker: &WorkerId, code: &str, workers: &Workers) {
        if let Some(task) = self.tasks.get(&name) {
            let failures = task.record.failures.iter().filter(|failure| failure.kind == ErrorKind::Unsupported);
            let unable: Vec<&WorkerId> =
                failures.filter_map(|failure| failure.worker.as_ref()).chain([worker]).collect();
            let others = workers.others_differ(&unable);
            let unavailable = code == retry::FAMILY_UNAVAILABLE;
            // One other is asked for a family; then software makes it.
            let asked = task.record.failures.iter().any(|failure| failure.code == code);
            let elsewhere = if unavailable && (asked || !others) { self.pin_to_software(name) } else { others };
            self.tasks.entry(name).and_modify(|task| task.elsewhere = elsewhere);
        }
    }

    /// An attempt ended without a result. Only the current one matters.
    pub(super) fn attempt_failed(
        &mut self,
        name: TaskName,
        attempt: AttemptId,
        worker: Option<&WorkerId>,
        error: TaskError,
        now_ms: u64,
        out: &mut Vec<Command>,
    ) {
        if !self.is_current(name, attempt) {
            self.rival_over(name, attempt);
            return;
        }
        if self.record.state.is_final() {
            return self.attempt_over(name, attempt);
        }
        self.look_for_inputs(name, &error.code, out);
        self.count_failure(name, error, worker, now_ms, out);
    }

    /// The current attempt of a task is over without a result: again, or never.
    pub(super) fn count_failure(
        &mut self,
        name: TaskName,
        error: TaskError,
        worker: Option<&WorkerId>,
        now_ms: u64,
        out: &mut Vec<Command>,
    ) {
        let TaskError { kind, code, message } = error;
        let (id, scope) = (self.id(name), self.scope(name));
        let Some(task) = self.tasks.get_mut(&name) else { return };
        let failure = Failure {
            attempt: task.record.attempt,
            worker: worker.cloned(),
            at_ms: now_ms,
            kind,
            code: code.clone(),
            message: message.clone(),
        };
        task.record.failures.push(failure);
        let decision = retry::decide(&id, &task.record.failures, task.elsewhere);
        let times = task.record.failures.len();
        match decision {
            Decision::AgainAfter(pause_ms) => task.wait_until(now_ms + pause_ms),
            Decision::GiveUp => task.wait_until(0),
        }
        out.push(Command::SaveTask(Box::new(task.record.clone())));
        let mut problem = Problem {
            code,
            // A source that the index refuses is the source's problem, whatever the machine lacks.
            class: if name == TaskName::Index && kind == ErrorKind::Unsupported {
                ProblemClass::Input
            } else {
                ProblemClass::from(kind)
            },
            text: message,
            scope,
            advice: "The farm tried again by itself.".to_owned(),
            fatal: false,
            at_ms: Some(now_ms),
        };
        if decision == Decision::GiveUp {
            self.record.verdict = verdict(name, kind, &problem.code).or(self.record.verdict);
            let poison = self.tasks.get(&name).and_then(|task| retry::poison_advice(&task.record.failures));
            problem.advice = poison.unwrap_or_else(|| advice(kind, &problem.code).to_owned());
            if times > 1 {
                problem.text = format!("{}, after {times} attempts", problem.text);
            }
            return self.fail_with(kind, problem, now_ms, out);
        }
        self.note(problem);
        out.push(Command::SaveJob(Box::new(self.record.clone())));
        out.push(Command::Count(Count::Retry(name)));
    }

    /// What a task has come to can't be saved, so it has not happened.
    pub(super) fn record_too_long(&mut self, name: TaskName, size: usize, now_ms: u64, out: &mut Vec<Command>) {
        let kind = ErrorKind::Exhausted;
        let problem = Problem {
            code: "record_too_long".to_owned(),
            class: ProblemClass::from(kind),
            text: format!("its record would be {size} bytes long, which no store takes"),
            scope: self.scope(name),
            advice: "Use longer segments or fewer renditions, or split the source.".to_owned(),
            fatal: true,
            at_ms: Some(now_ms),
        };
        if let Some(task) = self.tasks.get_mut(&name) {
            task.wait_until(0);
        }
        self.fail_with(kind, problem, now_ms, out);
    }

    /// Where a task's problem lies, for people.
    pub(super) fn scope(&self, name: TaskName) -> String {
        match (name, self.tasks.get(&name).map(|task| &task.record.work)) {
            (TaskName::Video(number), Some(Work::Video(task))) => format!("chunk {number}, {}", range(task)),
            (_, Some(Work::Audio(task))) => {
                format!("audio track {} of source stream {}", task.rendition.name, task.stream.index)
            }
            (TaskName::Index, _) => "the source".to_owned(),
            (name, _) => name.to_string(),
        }
    }
}

/// What a person can do about a failure that ends the job.
fn advice(kind: ErrorKind, code: &str) -> &'static str {
    match code {
        "source_changed" => SOURCE_CHANGED_ADVICE,
        "source_missing" => "Put it back, or check where it is, and try the job again.",
        retry::FAMILY_MISFIT | retry::FAMILY_UNAVAILABLE => {
            "Encoders that made a part of it are gone or have changed: start it over, on workers of one kind."
        }
        _ => retry::advice(kind),
    }
}

/// What a failure of the index says about the source.
fn verdict(name: TaskName, kind: ErrorKind, code: &str) -> Option<Verdict> {
    match (name, kind) {
        _ if Problem::is_source_away(code) => None,
        (TaskName::Index, ErrorKind::Input) => Some(Verdict::Corrupt),
        (TaskName::Index, ErrorKind::Unsupported) => Some(Verdict::Unsupported),
        _ => None,
    }
}

/// Time and renditions of a chunk.
fn range(task: &VideoTask) -> String {
    let renditions: Vec<&str> = task.renditions.iter().map(|rendition| rendition.name.as_str()).collect();
    let start = clock(task.start, task.stream.timescale);
    let end = task.end.map_or_else(|| "the end".to_owned(), |end| clock(end, task.stream.timescale));
    format!("{start} to {end}, renditions {}", renditions.join(", "))
}

/// Hours, minutes and seconds.
fn clock(ticks: i64, timescale: Timescale) -> String {
    let ms = Timescale::MILLIS.rescale_nearest(ticks, timescale);
    let (s, ms) = (ms / 1000, ms % 1000);
    format!("{}:{:02}:{:02}.{ms:03}", s / 3600, s / 60 % 60, s % 60)
}

/// Whether the receipt is what the task asked for.
fn check(work: &Work, receipt: &Receipt) -> Result<(), Refusal> {
    match (work, receipt) {
        (Work::Index(_), Receipt::Index(_)) => Ok(()),
        (Work::Video(task), Receipt::Video(receipt)) => stitch::check_video(task, receipt),
        (Work::Audio(task), Receipt::Audio(receipt)) => stitch::check_audio(task, receipt),
        (Work::Storyboard(task), Receipt::Storyboard(receipt)) => check_storyboard(task, receipt),
        (_, other) => {
            let found = match other {
                Receipt::Index(_) => "index",
                Receipt::Video(_) => "video",
                Receipt::Audio(_) => "audio",
                Receipt::Storyboard(_) => "storyboard",
            };
            Err(Refusal::Receipt { what: "kind", expected: "the task's".into(), found: found.into() })
        }
    }
}

fn check_storyboard(task: &StoryboardTask, receipt: &StoryboardReceipt) -> Result<(), Refusal> {
    let (tiles, per_sheet) = (task.tiles.len(), (task.columns * task.rows).max(1) as usize);
    let (expected, found) = (tiles.div_ceil(per_sheet), receipt.sheets.len());
    if expected == found {
        return Ok(());
    }
    Err(Refusal::Receipt { what: "number of sheets", expected: expected.to_string(), found: found.to_string() })
}

/// Whether a chunk's second attempt claims exactly what the first did: then the source is like that.
fn same_claim(before: Option<&Receipt>, now: &Receipt) -> bool {
    let claim = |receipt: &VideoReceipt| VideoReceipt {
        spent: Default::default(),
        hardware: Default::default(),
        ..receipt.clone()
    };
    match (before, now) {
        (Some(Receipt::Video(before)), Receipt::Video(now)) => claim(before) == claim(now),
        _ => false,
    }
}
