//! What workers say: that they live, what they run, what has become of an attempt.

use shared::error::ErrorKind;
use shared::fleet::{AttemptRef, Directive, GiveWay, Heartbeat, Standing};
use shared::task::{Outcome, TaskId, TaskReport, WorkerId};

use super::active::ActiveJob;
use super::results::Claim;
use super::{Command, Count, Farm};
use crate::workers::{WorkerView, Workers};

impl Farm {
    /// A worker is alive, and so is what it runs; what it runs in vain is stopped.
    pub(super) fn heartbeat(&mut self, heartbeat: Heartbeat, now_ms: u64, out: &mut Vec<Command>) {
        if let Some(news) = self.workers.is_twin(&heartbeat, now_ms) {
            return self.twin(heartbeat, news, out);
        }
        if let Some(ran) = self.workers.began_anew(&heartbeat) {
            self.worker_gone(&heartbeat.worker, ran, now_ms, out);
        }
        for attempt in &heartbeat.running {
            let TaskId { job, name } = &attempt.task;
            let mut known = self.jobs.get_mut(job);
            let lives = |job: &mut &mut ActiveJob| {
                job.wants(*name, attempt.attempt) || job.take_back(*name, attempt.attempt, out)
            };
            let wanted = known.as_mut().is_some_and(lives);
            match known.filter(|_| wanted) {
                Some(job) => {
                    let queued_ms = job.heard(*name, attempt.attempt, &heartbeat.worker, None, now_ms);
                    queued_ms.into_iter().for_each(|queued_ms| self.taken.begun(job.lane(*name), queued_ms));
                }
                None => self.stop(attempt.clone(), now_ms, out),
            }
        }
        let (worker, held) = (heartbeat.worker.clone(), self.workers.is_held(&heartbeat.worker));
        out.extend(self.workers.beat(heartbeat, now_ms).map(Command::Direct));
        if held && !self.workers.is_held(&worker) {
            out.push(Command::SaveHold(worker, None));
        }
    }

    /// Two processes have one name: this is the older of them, which takes nothing while the other lives. Once it is alone, it
    /// is heard again, and told so as anybody who holds without a reason.
    fn twin(&self, Heartbeat { worker, host, standing, .. }: Heartbeat, news: bool, out: &mut Vec<Command>) {
        let Some(view) = self.workers.get(&worker) else { return };
        let Heartbeat { host: other, started_ms, .. } = &view.heartbeat;
        if standing == Standing::Working {
            let give_way = GiveWay { worker: worker.clone(), started_ms: *started_ms, host: other.clone() };
            out.push(Command::Direct(Directive::GiveWay(give_way)));
        }
        out.extend(news.then_some(Command::WarnOfTwin(worker, [other.clone(), host])));
    }

    /// Nothing would come of an attempt that runs.
    fn stop(&mut self, attempt: AttemptRef, now_ms: u64, out: &mut Vec<Command>) {
        if let Some(job) = self.jobs.get_mut(&attempt.task.job) {
            job.outlived(now_ms);
        }
        out.push(Command::Direct(Directive::Stop(attempt)));
    }

    pub(super) fn lose_workers(&mut self, now_ms: u64, out: &mut Vec<Command>) {
        for (worker, ran) in self.workers.lose_silent(now_ms) {
            self.worker_gone(&worker, ran, now_ms, out);
        }
    }

    /// What a worker ran by its last heartbeat, and what it has begun since, is handed out again; nothing is counted
    /// against it. Of one that had said that it drains nothing is counted against the task either.
    fn worker_gone(&mut self, worker: &WorkerId, mut ran: Vec<AttemptRef>, now_ms: u64, out: &mut Vec<Command>) {
        ran.extend(self.jobs.values().flat_map(|job| job.held_by(worker)));
        let drained = self.workers.get(worker).is_some_and(|view| view.heartbeat.standing == Standing::Draining);
        for AttemptRef { task: TaskId { job, name }, attempt } in ran {
            self.with(&job, now_ms, out, |job, out| {
                if drained {
                    job.given_back(name, attempt, worker, now_ms);
                } else {
                    job.attempt_lost(name, attempt, worker, now_ms, out);
                }
            });
        }
    }

    /// Everybody who works, or did.
    pub fn workers(&self) -> impl Iterator<Item = &WorkerView> {
        self.workers.views()
    }

    pub(super) fn report(&mut self, report: TaskReport, now_ms: u64, out: &mut Vec<Command>) {
        let TaskReport { task: TaskId { job: id, name }, attempt, worker, outcome } = report;
        let known = self.jobs.get_mut(&id).filter(|job| job.knows(name, attempt));
        if matches!(outcome, Outcome::Started) && !known.as_ref().is_some_and(|job| job.wants(name, attempt)) {
            return self.stop(AttemptRef { task: TaskId { job: id, name }, attempt }, now_ms, out);
        }
        let Some(job) = known else { return };
        // Most reports only say that an attempt goes on: nothing follows from them.
        match outcome {
            Outcome::Started | Outcome::Progress(_) => {
                let progress = if let Outcome::Progress(progress) = outcome { Some(progress) } else { None };
                let queued_ms = job.heard(name, attempt, &worker, progress, now_ms);
                queued_ms.into_iter().for_each(|queued_ms| self.taken.begun(job.lane(name), queued_ms));
                return;
            }
            Outcome::Index(piece) => job.index_piece(attempt, &worker, piece, now_ms, out),
            Outcome::Done(mut receipt) => {
                receipt.forget_making(); // metrics have heard it; what is kept is the claim
                match job.done(name, attempt, &worker, receipt, now_ms, out) {
                    claim @ (Claim::Accepted | Claim::Confirmed) => {
                        let confirmed = claim == Claim::Confirmed;
                        let told = self.workers.succeeded(&worker, &job.id(name), confirmed, now_ms);
                        told.into_iter().for_each(|directive| hold(&self.workers, directive, out));
                    }
                    Claim::Refused(code) => {
                        let told = self.workers.failed(&worker, &job.id(name), ErrorKind::Bug, code, now_ms);
                        told.into_iter().for_each(|directive| hold(&self.workers, directive, out));
                    }
                    Claim::Misfit | Claim::Late => {}
                }
            }
            Outcome::Failed(error) => {
                let told = self.workers.failed(&worker, &job.id(name), error.kind, &error.code, now_ms);
                told.into_iter().for_each(|directive| hold(&self.workers, directive, out));
                if error.kind == ErrorKind::Unsupported {
                    job.look_elsewhere(name, &worker, &error.code, &self.workers);
                }
                job.attempt_failed(name, attempt, Some(&worker), error, now_ms, out);
            }
        }
        job.advance(now_ms, out);
    }
}

/// Tells a worker to hold, and remembers that.
fn hold(workers: &Workers, directive: Directive, out: &mut Vec<Command>) {
    if let Directive::Hold(worker) = &directive {
        let hold = workers.get(worker).and_then(|view| view.hold.clone());
        out.push(Command::SaveHold(worker.clone(), hold));
        out.extend(workers.quarantined(worker).map(|how| Command::Count(Count::Quarantine(how))));
    }
    out.push(Command::Direct(directive));
}
