//! Whose a target is, and which jobs are not taken.

use shared::task::JobId;

use super::active::ActiveJob;
use super::{Farm, Refusal};
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

    /// A job has been given its target: those that had it before leave alone what is there, whatever they still have to
    /// remove.
    pub(super) fn give_target(&mut self, id: &JobId) {
        let Some(target) = self.jobs.get(id).map(|job| job.record.spec.places.target.clone()) else { return };
        let others =
            self.jobs.iter_mut().filter(|(other, job)| *other != id && job.record.spec.places.target == target);
        others.for_each(|(_, job)| job.target_is_anothers = true);
        self.jobs.entry(id.clone()).and_modify(|job| job.target_is_anothers = false);
    }

    /// Another job's target is its own until it is deleted or put away, or has failed and left nothing.
    fn holder(&self, spec: &JobSpec) -> Option<Refusal> {
        let mut others = self.jobs.values().filter(|job| job.record.spec.id != spec.id);
        let holder = others.find(|job| job.record.spec.places.target == spec.places.target && job.holds_target())?;
        let JobSpec { id, tenant, .. } = &holder.record.spec;
        Some(Refusal::TargetHeld((*tenant == spec.tenant).then(|| id.clone())))
    }
}
