//! What an index report means: the ladder, the plan, or that nothing can be made of the source.
//!
//! Each attempt at the index begins from nothing, and an attempt that a queue has given to two workers is told by each from
//! its beginning: the one that began last is listened to. Tasks that an earlier attempt led to are kept if the new one leads to
//! the same, so a farm that was killed goes on where it was.

use std::collections::BTreeMap;

use shared::error::{ErrorKind, TaskError};
use shared::index::ListRef;
use shared::source::{Finding, SourceInfo, Verdict};
use shared::task::{AttemptId, IndexReceipt, IndexReport, TaskName, Work, WorkerId};
use shared::time::Timescale;

use super::Command;
use super::active::{ActiveJob, Indexing};
use crate::job::{JobState, Milestone};
use crate::ladder::ladder;
use crate::plan::audio::audio_renditions;
use crate::plan::tasks::{VideoPlan, audio_task};
use crate::plan::{Chunk, Planner};

/// What to do when the source is not what it was.
pub(super) const SOURCE_CHANGED_ADVICE: &str =
    "Submit it again as a new job, and leave the source alone until that has ended.";

/// Most packet lists a task may have: its record stays below [`crate::store::LONGEST_RECORD`].
const MOST_LISTS: usize = 100_000;

impl ActiveJob {
    /// A piece of the index; pieces of one attempt come in order.
    pub(super) fn index_piece(
        &mut self,
        attempt: AttemptId,
        worker: &WorkerId,
        piece: IndexReport,
        now_ms: u64,
        out: &mut Vec<Command>,
    ) {
        self.heard(TaskName::Index, attempt, worker, None, now_ms);
        if !self.wants(TaskName::Index, attempt) {
            return;
        }
        match piece {
            IndexReport::Source(source) => self.source_found((attempt, worker.clone()), source, now_ms, out),
            IndexReport::Gops(gops) => {
                let indexing = self.indexing.as_mut().filter(|indexing| indexing.is_told_by(attempt, worker));
                let Some((_, planner)) = indexing.and_then(|indexing| indexing.video.as_mut()) else { return };
                let chunks = planner.push(gops);
                self.add_chunks(chunks, now_ms, out);
            }
            IndexReport::Audio { stream, runs } => {
                let indexing = self.indexing.as_mut().filter(|indexing| indexing.is_told_by(attempt, worker));
                if let Some(indexing) = indexing {
                    indexing.audio.entry(stream).or_default().extend(runs);
                }
            }
        }
    }

    fn source_found(&mut self, teller: (AttemptId, WorkerId), source: SourceInfo, now_ms: u64, out: &mut Vec<Command>) {
        if self.refuse_by_verdict(source.verdict, &source.findings, now_ms, out) {
            return;
        }
        if self.record.source.as_ref().is_some_and(|known| !known.is_same(&source)) {
            let message = "the source is not the one this job began with";
            let advice = SOURCE_CHANGED_ADVICE;
            return self.fail(ErrorKind::Input, "source_changed", message, advice, now_ms, out);
        }
        if self.record.terms.is_probe() {
            (self.record.verdict, self.record.findings) = (Some(source.verdict), source.findings.clone());
            self.record.source = Some(source);
            return self.cancel(now_ms, out); // this is all that was wanted
        }
        if self.record.source.is_none() {
            let profile = &self.record.spec.profile;
            if let Some(stream) = &source.video {
                self.record.ladder = ladder(profile, stream, source.declared_ms, &self.record.spec.rungs);
            }
            if let Some(preset) = &self.record.spec.preset {
                self.record.ladder.video.iter_mut().for_each(|rung| rung.preset.clone_from(preset));
            }
            let any_audio = profile.audio.is_some() && !source.audio.is_empty();
            if self.record.ladder.video.is_empty() && !any_audio {
                let message = format!("the source has nothing that profile {} makes anything of", profile.name);
                return self.fail(ErrorKind::Input, "nothing_to_make", &message, "Use another profile.", now_ms, out);
            }
            self.record.verdict = Some(source.verdict);
            self.record.findings.clone_from(&source.findings);
            self.record.source = Some(source.clone());
            self.reached(Milestone::Probed, now_ms);
            self.become_state(JobState::Encoding, out);
        }
        let plan = VideoPlan::new(&source, &self.record.spec.profile, &self.record.ladder.video, self.grid());
        let planner = source
            .video
            .as_ref()
            .map(|stream| Planner::new(self.grid(), stream.timescale, stream.timing, source.declared_ms));
        self.indexing = Some(Indexing { teller, video: plan.zip(planner), audio: BTreeMap::new(), chunks: 0 });
    }

    /// Fails the job if the verdict says so.
    fn refuse_by_verdict(
        &mut self,
        verdict: Verdict,
        findings: &[Finding],
        now_ms: u64,
        out: &mut Vec<Command>,
    ) -> bool {
        let (kind, code) = match verdict {
            Verdict::Standard | Verdict::NonStandard => return false,
            Verdict::Unsupported => (ErrorKind::Unsupported, "unsupported"),
            Verdict::Corrupt => (ErrorKind::Input, "corrupt"),
        };
        self.record.verdict = Some(verdict);
        self.record.findings = findings.to_vec();
        let reasons: Vec<String> =
            findings.iter().map(|finding| format!("{} ({})", finding.text, finding.code)).collect();
        let message = if reasons.is_empty() { format!("the source is {code}") } else { reasons.join("; ") };
        self.fail(kind, code, &message, crate::retry::advice(kind), now_ms, out);
        true
    }

    fn add_chunks(&mut self, chunks: Vec<Chunk>, now_ms: u64, out: &mut Vec<Command>) {
        for chunk in chunks {
            let Some(indexing) = &mut self.indexing else { return };
            let Some((plan, planner)) = &indexing.video else { return };
            let number = chunk.number;
            indexing.chunks = number + 1;
            let task = plan.task(chunk, planner.seen());
            if task.lists.len() > MOST_LISTS {
                let message = format!("chunk {number} has {} packet lists, the most is {MOST_LISTS}", task.lists.len());
                let advice = "Remux the source into a container with timestamps.";
                return self.fail(ErrorKind::Input, "too_many_lists", &message, advice, now_ms, out);
            }
            if let Err(message) = self.add_planned(TaskName::Video(number), Work::Video(task), out) {
                return self.plan_changed(&message, now_ms, out);
            }
        }
    }

    /// Adds a task of the plan, or finds it the same as it was planned by an earlier attempt. The error says what differs.
    fn add_planned(&mut self, name: TaskName, mut work: Work, out: &mut Vec<Command>) -> Result<(), String> {
        let Some(known) = self.tasks.get_mut(&name) else {
            self.add_task(name, work, out);
            return Ok(());
        };
        // Lists are emptied once a task is done, and may have moved to other objects.
        let done = known.is_done();
        if let (Work::Video(old), Work::Video(new)) = (&known.record.work, &mut work) {
            new.pins.clone_from(&old.pins); // they came with an attempt, and are no part of the plan
        }
        let old = take_lists(&mut known.record.work);
        let new = take_lists(&mut work);
        if known.record.work != work {
            return Err(format!("{name} is not what it was planned to be"));
        }
        let moved = !done && old != new;
        if !done {
            put_lists(&mut known.record.work, new);
        }
        if moved {
            out.push(Command::SaveTask(Box::new(known.record.clone())));
        }
        Ok(())
    }

    fn plan_changed(&mut self, message: &str, now_ms: u64, out: &mut Vec<Command>) {
        self.fail(
            ErrorKind::Bug,
            "plan_changed",
            message,
            "Submit it again as a new job, or start again with --fresh.",
            now_ms,
            out,
        );
    }

    /// The index has ended: the last chunks and the audio tracks can be planned. The index itself is saved as done last,
    /// so that a restart either finds the whole plan or makes it again. Says whether the receipt is taken.
    pub(super) fn index_ended(
        &mut self,
        attempt: AttemptId,
        worker: &WorkerId,
        receipt: &IndexReceipt,
        now_ms: u64,
        out: &mut Vec<Command>,
    ) -> bool {
        if self.refuse_by_verdict(receipt.verdict, &receipt.findings, now_ms, out) {
            return false;
        }
        let elsewhere = self.indexing.as_ref().is_some_and(|indexing| indexing.teller.1 != *worker);
        if !self.wants(TaskName::Index, attempt) || elsewhere {
            return false; // pieces have been passed over; the attempt, or the worker, that began last goes on
        }
        let Some(indexing) = self.indexing.as_mut().filter(|indexing| indexing.is_told_by(attempt, worker)) else {
            let message = "the index ended before it said what the source is".to_owned();
            let error = TaskError::new(ErrorKind::Bug, "wrong_receipt", message);
            self.count_failure(TaskName::Index, error, None, now_ms, out);
            return false;
        };
        let chunks = indexing.video.as_mut().map(|(_, planner)| planner.finish()).unwrap_or_default();
        self.add_chunks(chunks, now_ms, out);
        if self.record.state.is_final() {
            return false;
        }
        self.record.verdict = Some(receipt.verdict);
        self.record.findings.clone_from(&receipt.findings);
        if let Err(message) = self.add_audio(out) {
            self.plan_changed(&message, now_ms, out);
            return false;
        }
        let planned = self.indexing.as_ref().map_or(0, |indexing| indexing.chunks);
        if let Some(extra) = self.tasks.keys().find(|name| matches!(name, TaskName::Video(n) if *n >= planned)) {
            let message = format!("{extra} was planned and is not needed now");
            self.plan_changed(&message, now_ms, out);
            return false;
        }
        let no_pictures = planned == 0 && !self.record.ladder.video.is_empty();
        if no_pictures || (planned == 0 && self.record.audio.is_empty()) {
            let message = "the source has streams and not a single packet in them that can be shown";
            let advice = crate::retry::advice(ErrorKind::Input);
            self.fail(ErrorKind::Input, "nothing_to_show", message, advice, now_ms, out);
            return false;
        }
        self.record.duration_ms = Some(self.duration_ms());
        out.push(Command::SaveJob(Box::new(self.record.clone())));
        self.indexing = None;
        true
    }

    fn add_audio(&mut self, out: &mut Vec<Command>) -> Result<(), String> {
        let (Some(profile), Some(source), Some(indexing)) =
            (&self.record.spec.profile.audio, &self.record.source, &self.indexing)
        else {
            return Ok(());
        };
        let heard = |index: u32| indexing.audio.get(&index).is_some_and(|runs| !runs.is_empty());
        let (sounding, silent): (Vec<_>, Vec<_>) = source.audio.iter().cloned().partition(|s| heard(s.index));
        let renditions = audio_renditions(profile, &sounding);
        let runs = |index: u32| indexing.audio.get(&index).map(Vec::as_slice).unwrap_or_default();
        let tasks: Vec<_> = sounding
            .iter()
            .zip(&renditions)
            .filter_map(|(stream, rendition)| audio_task(stream, rendition, runs(stream.index), self.grid()))
            .collect();
        self.record.findings.extend(silent.iter().map(|stream| Finding {
            code: "empty_stream".into(),
            text: format!("audio stream {} has no packets", stream.index),
            handling: "it is left out".into(),
        }));
        self.record.audio = renditions;
        for (number, task) in (0..).zip(tasks) {
            self.add_planned(TaskName::Audio(number), Work::Audio(task), out)?;
        }
        Ok(())
    }

    /// Length of the longest stream that was indexed.
    fn duration_ms(&self) -> u64 {
        let (Some(indexing), Some(source)) = (&self.indexing, &self.record.source) else { return 0 };
        let video =
            indexing.video.iter().zip(&source.video).map(|((_, planner), stream)| (planner.seen(), stream.timescale));
        let audio = source.audio.iter().filter_map(|stream| {
            let end = indexing.audio.get(&stream.index)?.iter().map(|run| run.end).max()?;
            Some((end, stream.timescale))
        });
        let ends = video.chain(audio).map(|(end, timescale)| Timescale::MILLIS.rescale_ceil(end, timescale));
        ends.max().and_then(|end| u64::try_from(end).ok()).unwrap_or(0)
    }
}

/// Takes the packet lists out of a task.
pub(super) fn take_lists(work: &mut Work) -> Vec<ListRef> {
    match work {
        Work::Video(task) => std::mem::take(&mut task.lists),
        Work::Audio(task) => std::mem::take(&mut task.lists),
        Work::Index(_) | Work::Storyboard(_) => Vec::new(),
    }
}

fn put_lists(work: &mut Work, lists: Vec<ListRef>) {
    match work {
        Work::Video(task) => task.lists = lists,
        Work::Audio(task) => task.lists = lists,
        Work::Index(_) | Work::Storyboard(_) => {}
    }
}
