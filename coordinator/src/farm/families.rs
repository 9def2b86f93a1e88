//! Encoders of several families make one job, as long as their parameter sets go into one init segment.
//!
//! A chunk whose sets don't is made again, and its rendition is pinned for the rest of the job: to the family that the
//! track began with, or to software if that is not here any more, or is not alike everywhere (another driver).

use std::collections::BTreeMap;

use shared::error::TaskError;
use shared::family::Family;
use shared::task::{Receipt, TaskName, VideoReceipt, WorkerId};

use super::Command;
use super::active::ActiveJob;
use crate::retry;

/// A rendition of a chunk that does not go together with what is made of the track.
#[derive(Debug)]
pub(super) struct Misfit {
    rendition: String,
    /// Who made it.
    family: Family,
    /// Who made the first chunk that is done.
    began: Family,
    why: String,
}

impl ActiveJob {
    /// What of a chunk does not go into the same init segment as all chunks that are done.
    pub(super) fn misfit(&self, receipt: &VideoReceipt) -> Option<Misfit> {
        receipt.parts.iter().enumerate().find_map(|(rung, part)| {
            // The tracks have the union of what is joined.
            let joined = self.joined.tracks.get(rung).map(|track| &track.config);
            let waiting =
                self.video_receipts(self.joined.chunks).filter_map(|done| Some(&done.parts.get(rung)?.config));
            let mut configs = joined.into_iter().chain(waiting).cloned();
            let first = configs.next()?;
            let union = configs.try_fold(first, |union, config| union.union(&config));
            let why = union.and_then(|union| union.union(&part.config)).err()?.to_string();
            let began = self.video_receipts(0).next().and_then(|first| first.parts.get(rung)).map(|part| part.family);
            let (rendition, family) = (part.rendition.clone(), part.family);
            Some(Misfit { rendition, family, began: began.unwrap_or_default(), why })
        })
    }

    /// Receipts of the chunks that are done, from the one with this number on, in order.
    fn video_receipts(&self, from: u32) -> impl Iterator<Item = &VideoReceipt> {
        let chunks = self.tasks.range(TaskName::Video(from)..=TaskName::Video(u32::MAX));
        chunks.filter_map(|(_, task)| match task.record.receipt() {
            Some(Receipt::Video(receipt)) => Some(receipt),
            _ => None,
        })
    }

    /// Who made the chunks of each rendition that are done, and how many.
    pub(super) fn families(&self) -> impl Iterator<Item = (&str, BTreeMap<Family, usize>)> {
        self.record.ladder.video.iter().enumerate().map(|(rung, rendition)| {
            let mut families = BTreeMap::new();
            for part in self.video_receipts(0).filter_map(|receipt| receipt.parts.get(rung)) {
                *families.entry(part.family).or_default() += 1;
            }
            (rendition.name.as_str(), families)
        })
    }

    /// The chunk is made again, and so that it fits.
    pub(super) fn pin(
        &mut self,
        name: TaskName,
        worker: &WorkerId,
        misfit: Misfit,
        now_ms: u64,
        out: &mut Vec<Command>,
    ) {
        let Misfit { rendition, family, began, why } = misfit;
        let pin = if family == began { Family::Software } else { began };
        let text =
            format!("{rendition} by {family} does not fit what {began} began: {why}; from now on {pin} makes it");
        self.record.pins.insert(rendition, pin);
        self.count_failure(name, TaskError::unsupported(retry::FAMILY_MISFIT, text), Some(worker), now_ms, out);
    }

    /// Nobody has the encoders that renditions are pinned to: says whether software may try in their place.
    pub(super) fn pin_to_software(&mut self) -> bool {
        let pins = self.record.pins.values_mut().filter(|family| !family.is_software());
        pins.map(|family| *family = Family::Software).count() > 0
    }
}
