//! When to publish, and what.
//!
//! A round goes out when the playable beginning has grown, one at a time and no more often than once per segment
//! duration; the last one, with everything, goes out at once. A job has a playable beginning when all of its audio and
//! its first chunk are made.

use shared::error::ErrorKind;
use shared::placement::Hardware;
use shared::source::Finding;
use shared::task::{
    AudioReceipt, AudioTask, IndexReceipt, Receipt, StoryboardReceipt, StoryboardTask, TaskName, VideoReceipt,
    VideoTask, Work,
};
use shared::time::{MediaTime, Timescale};

use super::active::{ActiveJob, Joined};
use super::ending::is_chunk;
use super::{Command, Count, LastWords, Round};
use crate::job::{JobState, Milestone, Problem, ProblemClass, TaskState};
use crate::plan::tasks::storyboard_task;
use crate::publish::{Certificate, PublishError, RunReport, TaskRun};
use crate::retry::{self, Decision, advice};
use crate::stitch::{self, Presentation, Storyboard};

/// What has been published of a job, and what is being.
#[derive(Debug, Default)]
pub(super) struct Publishing {
    under_way: Option<Extent>,
    /// What a player can play.
    pub(super) playable: Extent,
    not_before_ms: u64,
    failures: usize,
}

/// How much is in a round.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// Per rendition.
    pub(super) segments: u64,
    pub(super) ms: u64,
    complete: bool,
}

impl Publishing {
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Nothing is published any more.
    pub(super) fn begin_again(&mut self) {
        *self = Self { under_way: self.under_way, ..Self::default() };
    }
}

impl ActiveJob {
    /// Joins chunks that are done, in order, to the playable beginning.
    pub(super) fn join(&mut self, now_ms: u64, out: &mut Vec<Command>) {
        while !self.record.state.is_final() {
            let Joined { tracks, chunks, damaged } = &mut self.joined;
            let Some(task) = self.tasks.get(&TaskName::Video(*chunks)) else { return };
            let (Work::Video(work), Some(Receipt::Video(receipt))) = (&task.record.work, task.record.receipt()) else {
                return;
            };
            let short = receipt.decode_errors > 0 || receipt.frames != receipt.frames_expected;
            let result = stitch::append_chunk(tracks, work, receipt, *damaged || short);
            *damaged = short;
            *chunks += 1;
            if let Err(refusal) = result {
                let message = refusal.to_string();
                return self.fail(ErrorKind::Bug, "chunks_do_not_join", &message, advice(ErrorKind::Bug), now_ms, out);
            }
        }
    }

    /// The chunks that are done, in order.
    fn chunks(&self) -> impl Iterator<Item = (&VideoTask, &VideoReceipt)> {
        self.tasks.values().filter_map(|task| match (&task.record.work, task.record.receipt()) {
            (Work::Video(task), Some(Receipt::Video(receipt))) => Some((task, receipt)),
            _ => None,
        })
    }

    /// The audio tracks that are done, in order.
    fn audio(&self) -> impl Iterator<Item = (&AudioTask, &AudioReceipt)> {
        self.tasks.values().filter_map(|task| match (&task.record.work, task.record.receipt()) {
            (Work::Audio(task), Some(Receipt::Audio(receipt))) => Some((task, receipt)),
            _ => None,
        })
    }

    fn index_receipt(&self) -> Option<&IndexReceipt> {
        match self.tasks.get(&TaskName::Index)?.record.receipt()? {
            Receipt::Index(receipt) => Some(receipt),
            _ => None,
        }
    }

    pub(super) fn all_done(&self, of: impl Fn(&TaskName) -> bool) -> bool {
        self.index_done() && self.tasks.iter().filter(|(name, _)| of(name)).all(|(_, task)| task.is_done())
    }

    /// Once all chunks are done, their tiles can be put together.
    pub(super) fn add_storyboard(&mut self, out: &mut Vec<Command>) {
        let known = self.tasks.get(&TaskName::Storyboard);
        let open = known.is_none_or(|task| task.record.state == TaskState::Waiting);
        if self.record.state != JobState::Encoding || !open || !self.all_done(is_chunk) {
            return;
        }
        let Some((task, _)) = self.storyboard_task() else { return };
        let work = Work::Storyboard(task);
        match self.tasks.get_mut(&TaskName::Storyboard) {
            None => self.add_task(TaskName::Storyboard, work, out),
            // Tiles that were gone may have come back under other names.
            Some(known) if known.record.work != work => {
                known.record.work = work;
                out.push(Command::SaveTask(Box::new(known.record.clone())));
            }
            Some(_) => {}
        }
    }

    /// What the chunks' tiles make, and their numbers.
    fn storyboard_task(&self) -> Option<(StoryboardTask, Vec<u64>)> {
        let profile = self.record.spec.profile.storyboard.as_ref()?;
        let images = self.chunks().next()?.0.images?;
        storyboard_task(profile, images, self.chunks().map(|(_, receipt)| receipt))
    }

    /// Starts a round if there is something new.
    pub(super) fn publish(&mut self, now_ms: u64, out: &mut Vec<Command>) {
        if self.record.state.is_final() || self.record.unsure || self.publishing.is_under_way() {
            return;
        }
        let complete = self.all_done(|_| true);
        if complete && self.record.state == JobState::Encoding {
            self.become_state(JobState::Publishing, out);
        }
        if now_ms < self.publishing.not_before_ms && !(complete && self.publishing.failures == 0) {
            return;
        }
        let extent = self.extent(complete);
        let first_chunk = self.joined.chunks > 0 || self.record.ladder.video.is_empty();
        let playable = first_chunk && self.all_done(|name| matches!(name, TaskName::Audio(_)));
        // A playlist that people follow does not become shorter while what is gone is made again.
        let shorter = !complete && extent.segments < self.publishing.playable.segments;
        if !playable || shorter || extent == self.publishing.playable {
            return;
        }
        match self.round(complete, now_ms) {
            Ok(round) => {
                self.publishing.under_way = Some(extent);
                self.publishing.not_before_ms = now_ms + u64::from(self.record.spec.segment_ms);
                out.push(Command::Publish(Box::new(round)));
            }
            Err(error) => {
                let message = error.to_string();
                self.fail(ErrorKind::Bug, "publish_failed", &message, advice(ErrorKind::Bug), now_ms, out);
            }
        }
    }

    fn extent(&self, complete: bool) -> Extent {
        let ends = self.joined.tracks.iter().filter_map(|track| {
            let last = track.segments.last()?;
            let end = last.start.saturating_add_unsigned(last.duration);
            Some((last.number + 1, Timescale::MILLIS.rescale_floor(end, track.timescale)))
        });
        let audio = self.audio().filter(|_| self.record.ladder.video.is_empty()).filter_map(|(_, receipt)| {
            let last = receipt.part.segments.last()?;
            let end = last.start.saturating_add_unsigned(last.duration);
            Some((last.number + 1, Timescale::MILLIS.rescale_floor(end, receipt.part.timescale)))
        });
        let (segments, ms) = ends.chain(audio).min().unwrap_or((0, 0));
        Extent { segments, ms: u64::try_from(ms).unwrap_or(0), complete }
    }

    fn round(&self, complete: bool, now_ms: u64) -> Result<Round, PublishError> {
        let presentation = self.presentation(complete);
        let last = match (complete, self.index_receipt(), &self.record.source) {
            (true, Some(index), Some(source)) => {
                let index = IndexReceipt { findings: self.findings(), ..index.clone() };
                let chunks: Vec<_> = self.chunks().collect();
                let audio: Vec<_> = self.audio().collect();
                let certificate = Certificate::new(source, &index, &presentation, &chunks, &audio)?;
                let report = self.run_report(certificate.duration_ms, now_ms);
                Some(LastWords { certificate, movies: self.record.spec.movies, report })
            }
            _ => None,
        };
        let (job, places) = (self.record.spec.id.clone(), self.record.spec.places.clone());
        Ok(Round { job, places, presentation, last })
    }

    fn presentation(&self, complete: bool) -> Presentation {
        Presentation {
            grid: self.grid(),
            video: self.joined.tracks.clone(),
            audio: self.audio().map(|(task, receipt)| stitch::stitch_audio(task, receipt)).collect(),
            poster: self.chunks().find_map(|(_, receipt)| receipt.poster.clone()),
            storyboard: if complete { self.storyboard() } else { None },
            complete,
        }
    }

    fn storyboard(&self) -> Option<Storyboard> {
        let Receipt::Storyboard(StoryboardReceipt { sheets, .. }) =
            self.tasks.get(&TaskName::Storyboard)?.record.receipt()?
        else {
            return None;
        };
        let (task, tiles) = self.storyboard_task()?;
        let images = self.chunks().next()?.0.images?;
        Some(Storyboard {
            sheets: sheets.clone(),
            tile_width_px: task.tile_width_px,
            tile_height_px: task.tile_height_px,
            columns: task.columns,
            rows: task.rows,
            tile_interval_ms: images.tile_interval_ms,
            tiles,
            duration_ms: self.record.duration_ms.unwrap_or(0),
        })
    }

    /// What is unusual about the source, and what became of it: the index's findings, then the tasks' in order.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let finding = |code: &str, text: String, handling: &str| Finding {
            code: code.to_owned(),
            text,
            handling: handling.to_owned(),
        };
        let mut found = self.record.findings.clone();
        for (task, receipt) in self.chunks() {
            let at = MediaTime::new(task.start, task.stream.timescale);
            let (expected, frames, errors) = (receipt.frames_expected, receipt.frames, receipt.decode_errors);
            if errors > 0 {
                let text = format!("chunk at {at}: {errors} decode errors, {frames} of {expected} frames came out");
                found.push(finding(
                    "decode_errors",
                    text,
                    "the pictures that came out are encoded, gaps hold the last one",
                ));
            } else if expected != frames {
                let text = format!("chunk at {at}: {frames} frames came out of {expected}, the same in two attempts");
                found.push(finding(
                    "frame_count",
                    text,
                    "the pictures that came out are encoded, gaps hold the last one",
                ));
            }
        }
        for (rendition, families) in self.families().filter(|(_, families)| families.len() > 1) {
            let by: Vec<String> = families.iter().map(|(family, chunks)| format!("{chunks} by {family}")).collect();
            let text = format!("{rendition}: chunks were made by different encoders, {}", by.join(", "));
            found.push(finding("mixed_encoders", text, "the init segment has the parameter sets of all"));
        }
        for (task, receipt) in self.audio() {
            let name = &task.rendition.name;
            if receipt.decode_errors > 0 {
                let text = format!("{name}: {} decode errors", receipt.decode_errors);
                found.push(finding("audio_decode_errors", text, "silence takes the place of what is missing"));
            }
            if receipt.filled > 0 {
                let text = format!("{name}: {} samples are missing from the source", receipt.filled);
                found.push(finding("audio_gaps", text, "filled with silence"));
            }
            if receipt.dropped > 0 {
                let text = format!("{name}: {} samples overlap others", receipt.dropped);
                found.push(finding("audio_overlaps", text, "dropped"));
            }
        }
        found
    }

    fn run_report(&self, duration_ms: u64, now_ms: u64) -> RunReport {
        let tasks = self.tasks.values().filter_map(|task| match &task.record.state {
            TaskState::Done(accepted) => Some(TaskRun {
                name: task.record.id.name,
                attempts: self.ordinal(task.record.attempt),
                worker: accepted.worker.clone(),
                spent: accepted.receipt.spent(),
                hardware: hardware(&accepted.receipt),
            }),
            TaskState::Waiting | TaskState::Out => None,
        });
        let started_unix_ms = self.record.submitted_ms;
        RunReport {
            job: self.record.spec.id.clone(),
            started_unix_ms,
            wall_ms: now_ms.saturating_sub(started_unix_ms),
            duration_ms,
            tasks: tasks.collect(),
        }
    }

    /// A round has ended well.
    pub(super) fn published(&mut self, multivariant: bool, now_ms: u64, out: &mut Vec<Command>) {
        let Some(extent) = self.publishing.under_way.take() else { return };
        self.publishing.failures = 0;
        self.unseen.job = true;
        if self.record.state.is_final() {
            return;
        }
        // A round without a multivariant playlist would come out the same again.
        self.publishing.playable = extent;
        if !multivariant {
            self.publishing.playable.segments = 0;
            self.publishing.playable.ms = 0;
        }
        if multivariant && !self.record.history.iter().any(|moment| moment.what == Milestone::Playable) {
            self.reached(Milestone::Playable, now_ms);
            out.push(Command::SaveJob(Box::new(self.record.clone())));
            out.push(Command::Count(Count::Playable(self.age_ms())));
        }
        if extent.complete {
            self.end(JobState::Completed, now_ms, out);
        }
    }

    /// A round has failed: it is tried again like a task.
    pub(super) fn publish_failed(
        &mut self,
        transient: bool,
        missing: bool,
        message: &str,
        now_ms: u64,
        out: &mut Vec<Command>,
    ) {
        self.publishing.under_way = None;
        self.publishing.failures += 1;
        let failures = self.publishing.failures;
        let kind = if transient { ErrorKind::Transient } else { ErrorKind::Bug };
        let problem = Problem {
            code: "publish_failed".to_owned(),
            class: ProblemClass::from(kind),
            text: message.to_owned(),
            scope: self.record.spec.places.target.clone(),
            advice: advice(kind).to_owned(),
            fatal: false,
            at_ms: Some(now_ms),
        };
        match retry::during_outage(failures, self.record.spec.id.as_str()) {
            Decision::AgainAfter(pause_ms) if transient => {
                self.publishing.not_before_ms = now_ms + pause_ms;
                self.note(problem);
                if missing {
                    self.doubt_stock(out);
                }
            }
            _ => self.fail_with(kind, problem, now_ms, out),
        }
    }
}

/// `None`: software, as was meant.
fn hardware(receipt: &Receipt) -> Option<Hardware> {
    let Receipt::Video(video) = receipt else { return None };
    (!video.hardware.is_plain()).then(|| video.hardware.clone())
}
