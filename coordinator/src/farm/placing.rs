//! What the tasks of a job need of a machine.
//!
//! The chunks of a job all go where the first one went, so that one family of encoders makes a rendition: to GPUs, if some
//! worker has proven that it encodes there what the job asks for. They go on to CPUs when there has been no such worker for a
//! minute; people are told.

use shared::error::ErrorKind;
use shared::fleet::{Class, Lane, Urgency};
use shared::task::TaskName;

use super::active::ActiveJob;
use super::{Command, Farm};
use crate::job::{Problem, ProblemClass};
use crate::workers::{ALL_LOST_AFTER_MS, Workers};

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
        for job in self.jobs.values_mut().filter(|job| !job.record.state.is_final()) {
            job.place(&self.workers, gone, out);
        }
    }
}

impl ActiveJob {
    /// Where a task of this job waits on the queue.
    pub(super) fn lane(&self, name: TaskName) -> Lane {
        lane(name, self.record.video_class)
    }

    fn place(&mut self, workers: &Workers, gone: bool, out: &mut Vec<Command>) {
        let class = match (self.record.video_class, self.tasks.get(&TaskName::Video(0))) {
            (None, Some(first)) if workers.can(Class::Gpu, &first.record.work) => Class::Gpu,
            (None, Some(_)) => Class::Cpu,
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
            _ => return,
        };
        let unsaved = (self.record.video_class, class) == (None, Class::Cpu); // a restart would decide the same, or better
        self.record.video_class = Some(class);
        if !unsaved {
            self.unseen.job = true;
            out.push(Command::SaveJob(Box::new(self.record.clone())));
        }
    }
}
