//! What the tasks of a job need of a machine.
//!
//! The chunks of a job all go where the first one went, so that one family of encoders makes a rendition: to GPUs, if some
//! worker has proven that it encodes there what the job asks for. While workers that have just started try their GPUs, which
//! takes seconds, a job waits for them. Its chunks go on to CPUs when there has been no such worker for a minute; people are
//! told.
//!
//! Where workers with GPUs are started when there is work for them, somebody has to have work for workers that are not there:
//! then chunks wait for a while, and that they do starts one.

use std::collections::BTreeMap;

use shared::error::ErrorKind;
use shared::fleet::{Class, Lane, Urgency};
use shared::task::{Receipt, TaskName};

use super::active::ActiveJob;
use super::{Command, Farm, explain};
use crate::job::{Problem, ProblemClass, TaskState};
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

/// Whether GPUs can be counted on.
#[derive(Debug, Clone, Copy)]
struct Gpus {
    /// Some take tasks now.
    here: bool,
    /// None has for so long that none is expected any more.
    gone: bool,
    /// For so long chunks wait where there are none.
    await_ms: u64,
    patience_ms: u64,
}

impl Farm {
    /// Before anything is handed out.
    pub(super) fn place(&mut self, now_ms: u64, out: &mut Vec<Command>) {
        let here = self.workers.slots(Class::Gpu) > 0;
        if here {
            self.gpu_seen_ms = now_ms;
        }
        let patience_ms = self.gpu_patience_ms();
        let gone = self.gpu_seen_ms + patience_ms <= now_ms;
        let gpus = Gpus { here, gone, await_ms: self.await_gpu_ms, patience_ms };
        let mut moved = false;
        for job in self.jobs.values_mut().filter(|job| !job.record.state.is_final()) {
            moved |= job.place(&self.workers, gpus, now_ms, out);
        }
        if moved {
            out.push(Command::Clear(Class::Gpu)); // all jobs have moved: nothing that waits there is wanted
        }
    }

    /// For so long a job's chunks wait for GPUs that have gone.
    pub(super) fn gpu_patience_ms(&self) -> u64 {
        self.await_gpu_ms.max(ALL_LOST_AFTER_MS)
    }
}

impl ActiveJob {
    /// Whether its chunks wait for GPUs that are being tried.
    pub(super) fn awaits_gpus(&self) -> bool {
        self.awaits_trial_since_ms.is_some() && self.record.video_class.is_none() && !self.record.state.is_final()
    }

    /// Where a task of this job waits on the queue.
    pub(super) fn lane(&self, name: TaskName) -> Lane {
        lane(name, self.video_class())
    }

    /// Where its chunks go, or will if what they wait for comes.
    pub(super) fn video_class(&self) -> Option<Class> {
        self.record.video_class.or(self.awaits_gpu_since_ms.map(|_| Class::Gpu))
    }

    /// A chunk is made, and of what a GPU was to do something was not done there: people are told, once for each stage.
    pub(super) fn note_fallbacks(&mut self, name: TaskName, out: &mut Vec<Command>) {
        let Some(TaskState::Done(accepted)) = self.tasks.get(&name).map(|task| &task.record.state) else { return };
        let (worker, at_ms) = (accepted.worker.clone(), Some(accepted.at_ms));
        let Receipt::Video(video) = &accepted.receipt else { return };
        let known = |code: &String| self.record.problems.iter().any(|problem| problem.code == *code);
        let mut new: BTreeMap<String, String> = BTreeMap::new();
        for fallback in &video.hardware.fallbacks {
            let code = format!("gpu_{}_fallback", fallback.stage.as_str());
            if !known(&code) {
                new.entry(code).or_insert_with(|| explain::fallback(fallback, &worker));
            }
        }
        if new.is_empty() {
            return;
        }
        for (code, text) in new {
            let advice = format!(
                "It is made all the same, and slower. If it goes on: `worker gpu-selftest` on the host of {worker}."
            );
            let (class, scope) = (ProblemClass::Worker, self.scope(name));
            self.note(Problem { code, class, text, scope, advice, fatal: false, at_ms });
        }
        out.push(Command::SaveJob(Box::new(self.record.clone())));
    }

    /// Whether it is known where this task goes.
    pub(super) fn is_placed(&self, name: TaskName) -> bool {
        self.record.video_class.is_some() || !matches!(name, TaskName::Video(_))
    }

    /// Says whether it has moved from GPUs to CPUs.
    fn place(&mut self, workers: &Workers, gpus: Gpus, now_ms: u64, out: &mut Vec<Command>) -> bool {
        let class = match (self.record.video_class, self.tasks.get(&TaskName::Video(0))) {
            (None, Some(first)) if workers.can(Class::Gpu, &first.record.work) => Class::Gpu,
            (None, Some(first)) if self.ordinal(first.record.attempt) == 0 && workers.try_gpus() => {
                self.unseen.job |= self.awaits_trial_since_ms.is_none();
                let since_ms = *self.awaits_trial_since_ms.get_or_insert(now_ms);
                if now_ms < since_ms + TRIAL_PATIENCE_MS {
                    return false;
                }
                Class::Cpu
            }
            (None, Some(_)) if !gpus.here && gpus.await_ms > 0 => {
                let since_ms = *self.awaits_gpu_since_ms.get_or_insert(now_ms);
                if now_ms < since_ms + gpus.await_ms || workers.slots(Class::Cpu) == 0 {
                    return false; // not remembered: a restart waits again
                }
                self.note_gpu_gone(gpus.await_ms, now_ms);
                Class::Cpu
            }
            (None, Some(_)) if workers.slots(Class::Cpu) > 0 => Class::Cpu,
            (Some(Class::Gpu), _) if gpus.gone => {
                self.note_gpu_gone(gpus.patience_ms, now_ms);
                self.hand_out_again(|name| matches!(name, TaskName::Video(_)));
                Class::Cpu
            }
            _ => return false,
        };
        self.awaits_gpu_since_ms = None;
        let before = self.record.video_class.replace(class);
        if (before, class) != (None, Class::Cpu) {
            // Left out is what a restart would decide alike, or better.
            self.unseen.job = true;
            out.push(Command::SaveJob(Box::new(self.record.clone())));
        }
        before == Some(Class::Gpu)
    }

    fn note_gpu_gone(&mut self, waited_ms: u64, now_ms: u64) {
        let waited_s = waited_ms / 1000;
        self.note(Problem {
            code: "gpu_gone".to_owned(),
            class: ProblemClass::from(ErrorKind::Exhausted),
            text: format!("no worker with a GPU has taken tasks for {waited_s} s: what is left is encoded on CPUs"),
            scope: "the job".to_owned(),
            advice: "look at the workers with GPUs: `farm worker list`".to_owned(),
            fatal: false,
            at_ms: Some(now_ms),
        });
    }
}
