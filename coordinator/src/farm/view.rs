//! What people see of a job.

use shared::task::{TaskName, Work};
use shared::time::Timescale;

use super::active::{ActiveJob, ActiveTask, Joined};
use super::ending::is_chunk;
use crate::job::{ChunkCounts, JobState, JobView, RenditionView, TaskState, Totals};
use crate::plan::audio::audio_renditions;

/// A view looks at every task, and a job of thousands changes hundreds of times a second: so many tasks make it wait for a
/// millisecond, as long as nothing else has changed.
const TASKS_A_MS: u64 = 16;

/// What of a job people have not been shown yet.
#[derive(Debug)]
pub(super) struct Unseen {
    /// More than that tasks went on: shown at once.
    pub(super) job: bool,
    /// Tasks went on.
    pub(super) tasks: bool,
    shown_ms: u64,
}

impl Unseen {
    /// Nothing was shown yet.
    pub(super) fn whole() -> Self {
        Self { job: true, tasks: true, shown_ms: 0 }
    }

    /// Whether it is time to show it; then it counts as seen.
    fn take(&mut self, tasks: usize, now_ms: u64) -> bool {
        let rested = now_ms.saturating_sub(self.shown_ms) >= tasks as u64 / TASKS_A_MS;
        let show = self.job || (self.tasks && rested);
        if show {
            *self = Self { job: false, tasks: false, shown_ms: now_ms };
        }
        show
    }
}

impl ActiveJob {
    /// The view, if there is something in it that should be shown now.
    pub(super) fn changed_view(&mut self, sequence: &mut u64, now_ms: u64) -> Option<JobView> {
        if !self.unseen.take(self.tasks.len(), now_ms) {
            return None;
        }
        *sequence += 1;
        Some(self.view(*sequence))
    }

    /// Frees what only an unsettled job needs.
    pub(super) fn forget_tasks(&mut self) {
        self.tasks.clear();
        self.joined = Joined::default();
    }

    pub(super) fn view(&self, sequence: u64) -> JobView {
        let record = &self.record;
        let restarted = self.record.resubmitted.is_some();
        let Totals { chunks, cpu_ms } = if record.settled { record.totals } else { self.totals() };
        let completed = record.state == JobState::Completed;
        JobView {
            id: record.spec.id.clone(),
            sequence,
            tenant: record.spec.tenant.clone(),
            places: record.spec.places.clone(),
            profile: record.spec.profile.name.clone(),
            segment_ms: record.spec.segment_ms,
            rungs: record.spec.rungs.clone(),
            preset: record.spec.preset.clone(),
            movies: record.spec.movies,
            terms: record.terms.clone(),
            history: record.history.clone(),
            state: if restarted { JobState::Probing } else { record.state },
            settled: record.settled,
            verdict: record.verdict,
            findings: if record.settled { record.findings.clone() } else { self.findings() },
            source: record.source.clone(),
            ladder: record.ladder.clone(),
            renditions: self.renditions(),
            chunks,
            awaits_gpus: self.awaits_gpus(),
            playable_segments: self.publishing.playable.segments,
            playable_ms: if completed { record.duration_ms.unwrap_or(0) } else { self.publishing.playable.ms },
            cpu_ms,
            problems: if restarted { Vec::new() } else { record.problems.clone() },
        }
    }

    /// Of the tasks as they stand.
    pub(super) fn totals(&self) -> Totals {
        let chunks = || self.tasks.iter().filter(|(name, _)| is_chunk(name)).map(|(_, task)| task);
        let count = |of: &dyn Fn(&ActiveTask) -> bool| chunks().filter(|task| of(task)).count() as u32;
        let receipts = self.tasks.values().filter_map(|task| task.record.receipt());
        Totals {
            chunks: ChunkCounts {
                planned: count(&|_| true),
                complete: self.index_done(),
                done: count(&ActiveTask::is_done),
                running: count(&|task| task.record.state == TaskState::Out),
                retried: chunks().map(|task| task.record.failures.len() as u32).sum(),
            },
            cpu_ms: receipts.map(|receipt| receipt.spent().cpu_ms).sum(),
        }
    }

    fn renditions(&self) -> Vec<RenditionView> {
        let record = &self.record;
        let total_ms = record.duration_ms.or(record.source.as_ref().and_then(|source| source.declared_ms));
        let whole = record.state == JobState::Completed;
        let video_ms: u64 = self.tasks.values().map(|task| self.chunk_ms(task)).sum();
        let capped = |done: u64| total_ms.map_or(done, |total| if whole { total } else { done.min(total) });
        let video = record.ladder.video.iter().map(|rendition| (rendition.name.clone(), video_ms));
        let audio = (0..).zip(self.audio_names()).map(|(number, name)| {
            let task = self.tasks.get(&TaskName::Audio(number));
            let progress = task.and_then(|task| task.progress).map_or(0, |progress| progress.done_ms);
            (name, if task.is_some_and(ActiveTask::is_done) { total_ms.unwrap_or(0) } else { progress })
        });
        let named = video.chain(audio);
        named.map(|(name, done_ms)| RenditionView { name, done_ms: capped(done_ms), total_ms }).collect()
    }

    /// The audio renditions; those expected before the index has ended.
    fn audio_names(&self) -> Vec<String> {
        let record = &self.record;
        let names = |renditions: &[shared::rendition::AudioRendition]| {
            renditions.iter().map(|rendition| rendition.name.clone()).collect()
        };
        match (&record.spec.profile.audio, &record.source) {
            (Some(profile), Some(source)) if record.duration_ms.is_none() => {
                names(&audio_renditions(profile, &source.audio))
            }
            _ => names(&record.audio),
        }
    }

    /// Milliseconds of a chunk that are encoded; 0 for other tasks.
    fn chunk_ms(&self, task: &ActiveTask) -> u64 {
        let Work::Video(work) = &task.record.work else { return 0 };
        let ms = |ticks: i64| u64::try_from(Timescale::MILLIS.rescale_floor(ticks, work.stream.timescale)).unwrap_or(0);
        let start = ms(work.start);
        let end = work.end.map(ms).or(self.record.duration_ms).unwrap_or(start);
        let length = end.saturating_sub(start);
        if task.is_done() { length } else { task.progress.map_or(0, |progress| progress.done_ms.min(length)) }
    }
}
