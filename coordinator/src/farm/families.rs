//! Encoders of several families make one job, as long as their parameter sets go into one init segment.
//!
//! A chunk whose sets don't is made again, and its rendition is pinned for the rest of the job: to the family that the
//! track began with, or to software if that is not here any more, or is not alike everywhere (another driver). Where what
//! software makes does not fit either, software is all that is left: what others have made of the track is made again.
//!
//! A pin only ever moves from nobody to a GPU's family and from there to software, so this comes to an end.

use std::collections::BTreeMap;

use shared::cmaf::{CmafError, DecoderConfig};
use shared::error::TaskError;
use shared::family::Family;
use shared::task::{AttemptId, Receipt, TaskName, TrackPart, VideoReceipt, Work, WorkerId};

use super::active::{ActiveJob, Joined};
use super::{Command, Count};
use crate::job::{Problem, ProblemClass};
use crate::retry;

/// Code of the problem that chunks are made a second time.
const MADE_AGAIN: &str = "encoders_changed";

/// A rendition of a chunk that does not go together with what is made of the track.
#[derive(Debug)]
struct Misfit {
    rendition: String,
    /// Who made it.
    family: Family,
    /// Who made the first chunk that is done.
    began: Family,
    why: CmafError,
}

impl Misfit {
    /// Software is asked to make it, has, and its sets are sound: nobody is left whom to ask.
    fn is_last(&self, pins: &BTreeMap<String, Family>) -> bool {
        let pinned = pins.get(&self.rendition).is_some_and(Family::is_software);
        pinned && self.family.is_software() && matches!(self.why, CmafError::Clash { .. })
    }
}

impl ActiveJob {
    /// Whether a chunk goes into the same init segments as all chunks that are done, or these give way to it. If not, it is
    /// made again.
    pub(super) fn fits(
        &mut self,
        (name, attempt): (TaskName, AttemptId),
        worker: &WorkerId,
        receipt: &VideoReceipt,
        now_ms: u64,
        out: &mut Vec<Command>,
    ) -> bool {
        let misfits = self.misfits(receipt);
        if misfits.is_empty() {
            return true;
        }
        let current = self.is_current(name, attempt);
        if current && self.give_way(receipt, &misfits, now_ms, out) {
            return true;
        }
        if current {
            self.pin(name, worker, misfits, now_ms, out);
        }
        false
    }

    /// What of a chunk does not go into the same init segments as all chunks that are done.
    fn misfits(&self, receipt: &VideoReceipt) -> Vec<Misfit> {
        let Some((_, first)) = self.video_receipts(0).next() else { return Vec::new() };
        let misfit = |(rung, part): (usize, &TrackPart)| {
            let began = first.parts.get(rung)?;
            if part.config == began.config {
                return None; // goes together with whatever that one does
            }
            let why = self.united(rung)?.and_then(|union| union.union(&part.config)).err()?;
            Some(Misfit { rendition: part.rendition.clone(), family: part.family, began: began.family, why })
        };
        receipt.parts.iter().enumerate().filter_map(misfit).collect()
    }

    /// The sets of all that is done of a rung; `None`: nothing is.
    fn united(&self, rung: usize) -> Option<Result<DecoderConfig, CmafError>> {
        // The tracks have the union of what is joined.
        let joined = self.joined.tracks.get(rung).map(|track| &track.config);
        let waiting = self.video_receipts(self.joined.chunks);
        let mut configs = joined.into_iter().chain(waiting.filter_map(|(_, done)| Some(&done.parts.get(rung)?.config)));
        let first = configs.next()?.clone();
        Some(configs.try_fold(first, |union, config| union.union(config)))
    }

    /// Receipts of the chunks that are done, from the one with this number on, in order.
    fn video_receipts(&self, from: u32) -> impl Iterator<Item = (TaskName, &VideoReceipt)> {
        let chunks = self.tasks.range(TaskName::Video(from)..=TaskName::Video(u32::MAX));
        chunks.filter_map(|(name, task)| match task.record.receipt() {
            Some(Receipt::Video(receipt)) => Some((*name, receipt)),
            _ => None,
        })
    }

    /// Who made the chunks of each rendition that are done, and how many.
    pub(super) fn families(&self) -> impl Iterator<Item = (&str, BTreeMap<Family, usize>)> {
        self.record.ladder.video.iter().enumerate().map(|(rung, rendition)| {
            let mut families = BTreeMap::new();
            for part in self.video_receipts(0).filter_map(|(_, receipt)| receipt.parts.get(rung)) {
                *families.entry(part.family).or_default() += 1;
            }
            (rendition.name.as_str(), families)
        })
    }

    /// The chunk is made again, and so that it fits.
    fn pin(&mut self, name: TaskName, worker: &WorkerId, misfits: Vec<Misfit>, now_ms: u64, out: &mut Vec<Command>) {
        let mut told = Vec::new();
        for Misfit { rendition, family, began, why } in misfits {
            let pin = self.record.pins.entry(rendition.clone()).or_insert(began);
            if *pin == family {
                *pin = Family::Software; // it does not even fit itself
            }
            told.push(format!(
                "{rendition} by {family} does not fit what {began} began: {why}; from now on {pin} makes it"
            ));
        }
        let error = TaskError::unsupported(retry::FAMILY_MISFIT, told.join("; "));
        self.count_failure(name, error, Some(worker), now_ms, out);
    }

    /// Nobody has the encoders that renditions are pinned to. Says whether the task is another one if software takes their
    /// place.
    pub(super) fn pin_to_software(&mut self, name: TaskName) -> bool {
        self.record.pins.values_mut().for_each(|family| *family = Family::Software);
        let work = self.tasks.get(&name).map(|task| &task.record.work);
        matches!(work, Some(Work::Video(task)) if task.pins != self.record.pins)
    }

    /// Lets go of the chunks that a chunk by software does not fit, so that they are made again: by software too. `false`:
    /// that is no way out, and nothing has changed.
    fn give_way(&mut self, receipt: &VideoReceipt, misfits: &[Misfit], now_ms: u64, out: &mut Vec<Command>) -> bool {
        if !misfits.iter().all(|misfit| misfit.is_last(&self.record.pins)) {
            return false;
        }
        let Some(old) = self.in_the_way_of(receipt).filter(|old| !old.is_empty()) else { return false };
        self.doubt_stock(out); // then the index is made again, for packet lists that were forgotten
        for name in &old {
            if let Some(task) = self.tasks.get_mut(name) {
                task.wait_until(now_ms);
                task.record.handed_out_ms = None;
                task.rival = None;
                out.push(Command::SaveTask(Box::new(task.record.clone())));
                out.push(Command::Count(Count::Retry(*name)));
            }
        }
        self.joined = Joined::default();
        self.unseen.tasks = true;
        let why = misfits.iter().map(|Misfit { rendition, began, why, .. }| format!("{rendition} by {began}: {why}"));
        let (chunks, why) = (old.len(), why.collect::<Vec<_>>().join("; "));
        self.note(Problem {
            code: MADE_AGAIN.to_owned(),
            class: ProblemClass::Worker,
            text: format!(
                "{chunks} chunks are made again by software: the encoders that began are gone, and what they made does not \
                 go together with what software makes ({why})"
            ),
            scope: "the job".to_owned(),
            advice: "It ends well all the same, and later. See what has become of GPUs: `farm worker list`.".to_owned(),
            fatal: false,
            at_ms: Some(now_ms),
        });
        out.push(Command::SaveJob(Box::new(self.record.clone())));
        true
    }

    /// The chunks that are done and don't go together with this one. `None`: some of them software has made too.
    fn in_the_way_of(&self, receipt: &VideoReceipt) -> Option<Vec<TaskName>> {
        let clashes = |(done, new): &(&TrackPart, &TrackPart)| done.config.union(&new.config).is_err();
        let mut old = Vec::new();
        for (name, done) in self.video_receipts(0) {
            let mut clashing = done.parts.iter().zip(&receipt.parts).filter(clashes).peekable();
            if clashing.peek().is_some() {
                old.push(clashing.all(|(done, _)| !done.family.is_software()).then_some(name)?);
            }
        }
        Some(old)
    }
}
