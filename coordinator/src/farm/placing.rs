//! What the tasks of a job need of a machine.
//!
//! The chunks of a job all go where the first one went, so that one family of encoders makes a rendition: to GPUs, if some
//! worker has proven that it encodes there what the job asks for. While workers that have just started try their GPUs, which
//! takes seconds, a job waits for them. Its chunks go on to CPUs when there has been no such worker for a minute; people are
//! told.

use std::collections::BTreeMap;

use shared::error::ErrorKind;
use shared::fleet::{Class, Lane, Urgency};
use shared::task::{Receipt, TaskName};

use super::active::ActiveJob;
use super::{Command, Farm, explain};
use crate::job::{Problem, ProblemClass};
use crate::workers::{ALL_LOST_AFTER_MS, Workers};

/// For so long the chunks of a job wait for GPUs that are being tried. A trial takes some five seconds a GPU, and hosts have up
/// to eight; one that hangs is not waited for to its end.
const TRIAL_PATIENCE_MS: u64 = 60_000;

/// Where a task waits on the queue, in a job whose chunks are of this class.
pub(super) fn lane(name: TaskName, video_class: Option<Class>) -> Lane {
    let class = match name {
        TaskName::Video(_) => video_class.unwrap_or(Class::Cpu),
        TaskName::Index | TaskName::Audio(_) | TaskName::Storyboard => Class::Cpu,
    };
    // What makes a job playable does not wait behind other jobs' later chunks.
    let urgency = match name {
        TaskName::Index | TaskName::Video(0) | TaskName::Audio(_) => Urgency::Urgent,
        TaskName::Video(_) | TaskName::Storyboard => Urgency::Normal,
    };
    Lane { class, urgency }
}

impl Farm {
    /// Before anything is handed out.
    pub(super) fn place(&mut self, now_ms: u64, out: &mut Vec<Command>) {
        if self.workers.slots(Class::Gpu) > 0 {
            self.gpu_seen_ms = now_ms;
        }
        let gone = self.gpu_seen_ms + ALL_LOST_AFTER_MS <= now_ms;
        let mut moved = false;
        for job in self.jobs.values_mut().filter(|job| !job.record.state.is_final()) {
            moved |= job.place(&self.workers, gone, now_ms, out);
        }
        if moved {
            out.push(Command::Clear(Class::Gpu)); // all jobs have moved: nothing that waits there is wanted
        }
    }
}

impl ActiveJob {
    /// Whether its chunks wait for GPUs that are being tried.
    pub(super) fn awaits_gpus(&self) -> bool {
        self.awaits_gpus_since_ms.is_some() && self.record.video_class.is_none() && !self.record.state.is_final()
    }

    /// Where a task of this job waits on the queue.
    pub(super) fn lane(&self, name: TaskName) -> Lane {
        lane(name, self.record.video_class)
    }

    /// A chunk is made, and of what a GPU was to do something was not done there: people are told, once for each stage.
    pub(super) fn note_fallbacks(&mut self, name: TaskName, out: &mut Vec<Command>) {
        let Some(Receipt::Video(video)) = self.tasks.get(&name).and_then(|task| task.record.receipt()) else { return };
        let known = |code: &String| self.record.problems.iter().any(|problem| problem.code == *code);
        let mut new: BTreeMap<String, String> = BTreeMap::new();
        for fallback in &video.hardware.fallbacks {
            let code = format!("gpu_{}_fallback", fallback.stage.as_str());
            if !known(&code) {
                new.entry(code).or_insert_with(|| explain::fallback(fallback));
            }
        }
        if new.is_empty() {
            return;
        }
        for (code, text) in new {
            let advice =
                "It is made all the same, and slower. If it goes on: `worker gpu-selftest` on that host.".to_owned();
            let (class, scope) = (ProblemClass::Worker, self.scope(name));
            self.note(Problem { code, class, text, scope, advice, fatal: false });
        }
        out.push(Command::SaveJob(Box::new(self.record.clone())));
    }

    /// Whether it is known where this task goes.
    pub(super) fn is_placed(&self, name: TaskName) -> bool {
        self.record.video_class.is_some() || !matches!(name, TaskName::Video(_))
    }

    /// Says whether it has moved from GPUs to CPUs.
    fn place(&mut self, workers: &Workers, gone: bool, now_ms: u64, out: &mut Vec<Command>) -> bool {
        let class = match (self.record.video_class, self.tasks.get(&TaskName::Video(0))) {
            (None, Some(first)) if workers.can(Class::Gpu, &first.record.work) => Class::Gpu,
            (None, Some(first)) if self.ordinal(first.record.attempt) == 0 && workers.try_gpus() => {
                self.unseen.job |= self.awaits_gpus_since_ms.is_none();
                let since_ms = *self.awaits_gpus_since_ms.get_or_insert(now_ms);
                if now_ms < since_ms + TRIAL_PATIENCE_MS {
                    return false;
                }
                Class::Cpu
            }
            (None, Some(_)) if workers.slots(Class::Cpu) > 0 => Class::Cpu,
            (Some(Class::Gpu), _) if gone => {
                self.note(Problem {
                    code: "gpu_gone".to_owned(),
                    class: ProblemClass::from(ErrorKind::Exhausted),
                    text: "no worker with a GPU has taken tasks for a minute: what is left is encoded on CPUs"
                        .to_owned(),
                    scope: "the job".to_owned(),
                    advice: "look at the workers with GPUs: `farm worker list`".to_owned(),
                    fatal: false,
                });
                self.hand_out_again(|name| matches!(name, TaskName::Video(_)));
                Class::Cpu
            }
            _ => return false,
        };
        let before = self.record.video_class.replace(class);
        if (before, class) != (None, Class::Cpu) {
            // Left out is what a restart would decide alike, or better.
            self.unseen.job = true;
            out.push(Command::SaveJob(Box::new(self.record.clone())));
        }
        before == Some(Class::Gpu)
    }
}
