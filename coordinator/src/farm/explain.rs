//! What has become of a job and of each of its tasks, in sentences for people.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use shared::fleet::Class;
use shared::placement::{Fallback, Stage};
use shared::task::{JobId, Receipt, Spent, VideoReceipt, WorkerId};

use super::Farm;
use super::active::{ActiveJob, ActiveTask};
use crate::job::{Accepted, Milestone, Problem, TaskState};
use crate::workers::LOST_AFTER_MS;

/// Milliseconds of waiting for storage that are worth a word, if they were most of an attempt's time.
const LONG_WAIT_MS: u64 = 1_000;

/// Something that happened, or stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// In milliseconds of UNIX time; `None`: now.
    pub at_ms: Option<u64>,
    /// What it is about: `job`, or a task's name.
    pub about: String,
    /// A sentence.
    pub text: String,
}

impl Farm {
    /// The timeline of a job, in order; what stands now comes last. The tasks of a settled job are forgotten: its run
    /// report has them.
    pub fn explain(&self, job: &JobId, now_ms: u64) -> Option<Vec<Line>> {
        let job = self.jobs.get(job)?;
        let mut lines = job.timeline(now_ms);
        let mut say = |text: String| lines.push(Line { at_ms: None, about: "job".to_owned(), text });
        if job.awaits_gpus() {
            say("Its chunks wait until a worker that has just started has tried its GPUs, a minute at most.".to_owned());
        }
        if job.record.unsure && !job.record.state.is_final() {
            say("What was made is looked for; nothing is handed out until it is known what is there.".to_owned());
        }
        let live = |task: &&ActiveTask| !task.is_done() && !job.record.state.is_final();
        let silent_ms = self.workers.silent_ms(now_ms).filter(|silent_ms| *silent_ms >= LOST_AFTER_MS);
        if let Some(silent_ms) = silent_ms.filter(|_| job.tasks.values().any(|task| live(&task))) {
            say(format!(
                "No worker has been heard for {} s: NATS is out of reach for them or for this coordinator, or all are gone.",
                silent_ms / 1000
            ));
        }
        let waiting = job.tasks.values().filter(live).filter(|task| task.begun_ms.is_none());
        let waits: BTreeSet<Class> = waiting.map(|task| job.lane(task.record.id.name).class).collect();
        for class in waits.into_iter().filter(|class| self.workers.slots(*class) == 0) {
            let text = match class {
                Class::Cpu => "No worker takes tasks: none is connected, or all of them hold.".to_owned(),
                Class::Gpu => {
                    let patience_s = self.gpu_patience_ms() / 1000;
                    format!(
                        "No worker with a GPU takes tasks; after {patience_s} s without one its chunks go on to CPUs."
                    )
                }
            };
            say(text);
        }
        Some(lines)
    }
}

impl ActiveJob {
    /// What has happened, in order, and last what stands now.
    pub(super) fn timeline(&self, now_ms: u64) -> Vec<Line> {
        // Of one moment what a task came to is told before what the job did of it.
        let mut lines: Vec<Line> = self.tasks.values().flat_map(|task| self.task_lines(task, now_ms)).collect();
        lines.extend(self.told());
        lines.sort_by_key(|line| line.at_ms.unwrap_or(u64::MAX));
        lines
    }

    fn told(&self) -> Vec<Line> {
        let about = || "job".to_owned();
        let moments = self.record.history.iter().map(|moment| {
            let text = match moment.what {
                Milestone::Accepted => "It was submitted.",
                Milestone::Probed => "The source was recognised and the ladder chosen.",
                Milestone::Playable => "It can be played while the rest is being made.",
                Milestone::Completed => "The presentation is whole.",
                Milestone::Failed => "It failed.",
                Milestone::Cancelled => "It was called off.",
                Milestone::Retried => "What had failed is tried again.",
                Milestone::Deleted => "It was deleted.",
            };
            Line { at_ms: Some(moment.at_ms), about: about(), text: text.to_owned() }
        });
        // A problem that was overcome is told as the failed attempt that it is.
        let failures = self.tasks.values().flat_map(|task| &task.record.failures);
        let told: BTreeSet<_> = failures.map(|one| (&one.code, &one.message)).collect();
        let untold = |problem: &&Problem| problem.fatal || !told.contains(&(&problem.code, &problem.text));
        let problems = self.record.problems.iter().filter(untold).map(|problem| {
            let text = format!("{}: {} ({}) {}", problem.scope, problem.text, problem.code, problem.advice);
            Line { at_ms: problem.at_ms.or(self.record.ended_ms), about: about(), text }
        });
        problems.chain(moments).collect()
    }

    fn task_lines(&self, task: &ActiveTask, now_ms: u64) -> Vec<Line> {
        let about = task.record.id.name.to_string();
        let mut lines: Vec<Line> = Vec::new();
        let mut say = |at_ms, text| lines.push(Line { at_ms, about: about.clone(), text });
        for failure in &task.record.failures {
            let by = failure.worker.as_ref().map_or_else(|| "nobody".to_owned(), ToString::to_string);
            let attempt = self.ordinal(failure.attempt);
            let text = format!("Attempt {attempt} by {by} failed: {} ({}).", failure.message, failure.code);
            say(Some(failure.at_ms), text);
        }
        match &task.record.state {
            TaskState::Done(accepted) => {
                fallbacks(accepted).into_iter().for_each(|text| say(Some(accepted.at_ms), text));
                say(Some(accepted.at_ms), done(accepted, self.ordinal(accepted.attempt)));
            }
            TaskState::Out => say(None, self.under_way(task, now_ms)),
            TaskState::Waiting if self.record.state.is_final() => {}
            TaskState::Waiting => say(None, "It waits to be handed out.".to_owned()),
        }
        lines
    }

    /// How an attempt stands that was handed out.
    fn under_way(&self, task: &ActiveTask, now_ms: u64) -> String {
        let attempt = self.ordinal(task.record.attempt);
        let Some(begun_ms) = task.begun_ms else {
            return format!("Attempt {attempt} waits on the queue for a free slot.");
        };
        let by = task.holder.as_ref().map(|worker| format!(" by {worker}")).unwrap_or_default();
        let since = now_ms.saturating_sub(begun_ms) as f64 / 1000.0;
        let so_far = task.progress.map_or(0, |progress| progress.done_ms) as f64 / 1000.0;
        format!("Attempt {attempt}{by} has run for {since:.1} s; {so_far:.1} s of presentation are made.")
    }
}

fn done(accepted: &Accepted, attempt: u32) -> String {
    let Accepted { worker, receipt, .. } = accepted;
    let (seconds, waited) = (receipt.spent().wall_ms as f64 / 1000.0, waited(receipt));
    let made = match receipt {
        Receipt::Index(index) => format!("read {} bytes", index.bytes),
        Receipt::Video(video) => format!("encoded {} frames{}", video.frames, by_families(video)),
        Receipt::Audio(audio) => format!("encoded {} samples", audio.samples),
        Receipt::Storyboard(storyboard) => format!("made {} storyboard sheets", storyboard.sheets.len()),
    };
    format!("Attempt {attempt} by {worker} {made} in {seconds:.1} s{waited}.")
}

/// How long an attempt waited for storage, if that was most of its time. Requests at once count each, so it may be more.
fn waited(receipt: &Receipt) -> String {
    let Spent { wall_ms, stages, .. } = receipt.spent();
    let waited_ms = stages.fetch_ms + stages.upload_ms;
    if waited_ms < LONG_WAIT_MS || 2 * waited_ms <= wall_ms {
        return String::new();
    }
    format!(", and spent {:.1} s waiting for storage", waited_ms as f64 / 1000.0)
}

/// What was to be done on a GPU and was not.
fn fallbacks(Accepted { worker, receipt, .. }: &Accepted) -> Vec<String> {
    let Receipt::Video(video) = receipt else { return Vec::new() };
    video.hardware.fallbacks.iter().map(|one| fallback(one, worker)).collect()
}

/// What of a chunk was to be done on a GPU and was not, for people.
pub(super) fn fallback(Fallback { stage, reason }: &Fallback, worker: &WorkerId) -> String {
    match stage {
        Stage::Slot => format!("Its slot died on a GPU of {worker}, and it began again with less of it: {reason}."),
        stage => format!("A GPU did not {} on {worker}, and something else did: {reason}.", stage.as_str()),
    }
}

/// Who else than software has encoded.
fn by_families(video: &VideoReceipt) -> String {
    let others = video.parts.iter().filter(|part| !part.family.is_software());
    let told: Vec<String> = others.map(|part| format!("{} by {}", part.rendition, part.family)).collect();
    if told.is_empty() { String::new() } else { format!(" ({})", told.join(", ")) }
}

#[cfg(test)]
mod tests {
    use shared::task::AttemptId;

    use super::*;
    use crate::stitch::fixture;

    #[test]
    fn an_attempt_that_mostly_waited_for_storage_says_so() {
        let (_, mut receipt) = fixture::Job::new(2, 2).video.remove(0);
        let mut told = |wall_ms: u64, fetch_ms: u64, upload_ms: u64| {
            receipt.spent.wall_ms = wall_ms;
            (receipt.spent.stages.fetch_ms, receipt.spent.stages.upload_ms) = (fetch_ms, upload_ms);
            waited(&Receipt::Video(receipt.clone()))
        };
        assert_eq!(told(9_000, 3_000, 4_100), ", and spent 7.1 s waiting for storage");
        assert_eq!(told(20_000, 3_000, 4_100), "");
        assert_eq!(told(900, 300, 400), "");
    }

    #[test]
    fn what_a_gpu_did_not_do_is_told() {
        let (_, mut receipt) = fixture::Job::new(2, 2).video.remove(0);
        let told = |receipt: &VideoReceipt| {
            let worker = WorkerId::new("w7").unwrap();
            fallbacks(&Accepted { attempt: AttemptId(1), worker, at_ms: 0, receipt: Receipt::Video(receipt.clone()) })
        };
        assert_eq!(told(&receipt), [""; 0]);
        receipt.hardware.fallbacks =
            vec![Fallback::new(Stage::Encode, "no session is free"), Fallback::new(Stage::Slot, "no frame in 20 s")];
        assert_eq!(
            told(&receipt),
            [
                "A GPU did not encode on w7, and something else did: no session is free.",
                "Its slot died on a GPU of w7, and it began again with less of it: no frame in 20 s."
            ]
        );
    }
}
