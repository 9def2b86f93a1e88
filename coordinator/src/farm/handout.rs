//! What goes out to the workers next.

use shared::fleet::Class;
use shared::task::TaskName;

use super::active::{ActiveJob, ActiveTask};
use super::ending::is_chunk;
use super::{Command, Count, Farm, Hedge, stragglers};
use crate::job::TaskState;
use crate::schedule::{self, Waiting};

/// A round looks at every task: so many make the next round wait for a millisecond. Slots go on with what is queued.
const TASKS_A_MS: usize = 512;

impl Farm {
    /// Hands out what fits into the queue: all saves first, so that they are one transaction.
    pub(super) fn hand_out(&mut self, now_ms: u64, out: &mut Vec<Command>) {
        let tasks: usize = self.jobs.values().map(|job| job.tasks.len()).sum();
        if now_ms.saturating_sub(self.handed_out_ms) < (tasks / TASKS_A_MS) as u64 {
            return; // the next tick will do
        }
        self.handed_out_ms = now_ms;
        self.place(now_ms, out);
        let mut tasks = Vec::new();
        for class in Class::ALL {
            self.hand_out_to(class, now_ms, out, &mut tasks);
        }
        out.extend(tasks);
    }

    fn hand_out_to(&mut self, class: Class, now_ms: u64, saves: &mut Vec<Command>, tasks: &mut Vec<Command>) {
        let slots = self.workers.slots(class);
        if slots == 0 {
            return; // most farms have no GPU, and need not look at every task twice
        }
        let backlogs: Vec<_> = self.jobs.values().filter_map(|job| backlog(job, class, now_ms)).collect();
        let idle = slots.saturating_sub(backlogs.iter().map(|backlog| backlog.in_hand).sum());
        let mut picked = schedule::pick(slots, &self.config.weights, backlogs);
        if picked.is_empty() && idle > 0 {
            let stragglers = self
                .jobs
                .values()
                .filter_map(|job| job.straggler(now_ms).filter(|task| job.lane(task.name).class == class));
            picked.extend(stragglers.take(idle));
            saves.extend(picked.iter().map(|_| Command::Count(Count::Hedge(Hedge::Started))));
        }
        for id in picked {
            let Some(job) = self.jobs.get_mut(&id.job) else { continue };
            if let Some((record, mut task)) = job.hand_out(id.name, now_ms) {
                task.avoid = self.workers.to_avoid(class, &record);
                saves.push(Command::SaveTask(Box::new(record)));
                tasks.push(Command::Enqueue(Box::new(task), job.lane(id.name)));
            }
        }
    }
}

fn backlog(job: &ActiveJob, class: Class, now_ms: u64) -> Option<schedule::Backlog<'_>> {
    let in_hand = job.in_hand(class);
    let waiting =
        |task: &ActiveTask| Waiting { name: task.record.id.name, length_ms: stragglers::length_ms(&task.record.work) };
    let ready = |task: &&ActiveTask| task.record.state == TaskState::Waiting && task.not_before_ms <= now_ms;
    let here = |task: &&ActiveTask| job.is_placed(task.record.id.name) && job.lane(task.record.id.name).class == class;
    let tiles = job.all_done(is_chunk);
    let fed = |task: &&ActiveTask| !task.awaits_index() && (tiles || task.record.id.name != TaskName::Storyboard);
    // The last attempts of a job that has ended still hold slots.
    let waiting = match job.record.state.is_final() || job.record.unsure {
        true => Vec::new(),
        false => job.tasks.values().filter(ready).filter(here).filter(fed).map(waiting).collect(),
    };
    (in_hand > 0 || !waiting.is_empty()).then_some(schedule::Backlog {
        job: &job.record.spec.id,
        tenant: &job.record.spec.tenant,
        priority: job.record.terms.priority,
        pressed: job.is_pressed(now_ms),
        submitted_ms: job.record.submitted_ms,
        in_hand,
        waiting,
    })
}
