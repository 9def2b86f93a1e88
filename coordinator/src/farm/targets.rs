//! Whose a target is, and which jobs are not taken.

use shared::task::JobId;

use super::active::ActiveJob;
use super::{Command, Farm, Refusal};
use crate::job::{JobSpec, Submission};

impl Farm {
    /// Whether a job can't be taken: its id is used by one that was asked for in other words and would not start over, or
    /// its target is another's.
    pub fn refuses(&self, submission: &Submission) -> Option<Refusal> {
        let Submission { spec, again, .. } = submission;
        let starts_over = |known: &ActiveJob| *again && known.starts_over();
        match self.jobs.get(&spec.id) {
            Some(known) if starts_over(known) => self.holder(spec),
            Some(known) => (!known.record.is_asked_for_by(submission)).then_some(Refusal::Taken),
            None => self.holder(spec),
        }
    }

    /// Whether a job can't be tried again: its target has become another's.
    pub fn refuses_retry(&self, id: &JobId) -> Option<Refusal> {
        self.jobs.get(id).filter(|job| job.starts_over()).and_then(|job| self.holder(&job.record.spec))
    }

    /// A settled job is tidied up once more if attempts have outlived it; by then its target may be another's.
    pub(super) fn spare_others(&self, out: &mut [Command]) {
        let others = |id: &JobId| {
            self.jobs.get(id).is_some_and(|job| job.record.settled && self.holder(&job.record.spec).is_some())
        };
        for command in out {
            if let Command::CleanUp(order) = command
                && others(&order.job)
            {
                order.take_away = None;
            }
        }
    }

    /// Another job's target is its own until it is deleted or put away, or has failed and left nothing.
    fn holder(&self, spec: &JobSpec) -> Option<Refusal> {
        let mut others = self.jobs.values().filter(|job| job.record.spec.id != spec.id);
        let holder = others.find(|job| job.record.spec.places.target == spec.places.target && job.holds_target())?;
        let JobSpec { id, tenant, .. } = &holder.record.spec;
        Some(Refusal::TargetHeld((*tenant == spec.tenant).then(|| id.clone())))
    }
}
