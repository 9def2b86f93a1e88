//! What happens in a run, worked out from one view to the next. Pure: the clock is passed in.

use std::collections::VecDeque;
use std::time::Duration;

use coordinator::job::{JobState, JobView, Problem, RenditionView};
use serde::Serialize;
use shared::source::{Finding, Verdict};

/// Speed is measured over this much of the recent past.
const RATE_WINDOW: Duration = Duration::from_secs(15);

/// One thing that happened. `farm transcode --json` prints each as an object; the names are stable.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The run begins, or goes on where an earlier one stopped.
    Started {
        /// As given.
        source: String,
        /// As given.
        out: String,
        /// An earlier run left something to go on with.
        continued: bool,
    },
    /// The source is being read.
    Indexing {
        /// Read so far.
        bytes: u64,
        /// Lately.
        bytes_per_second: u64,
    },
    /// The source has been judged.
    Source {
        /// The judgement so far; findings may still follow.
        verdict: Verdict,
        /// FFmpeg's name of the container format.
        container: String,
    },
    /// Something unusual about the source.
    Finding(Finding),
    /// This will be made. Audio renditions follow when the source has been read to its end.
    Rendition {
        /// Its folder.
        name: String,
        /// Size, codec and ceiling, for people.
        text: String,
    },
    /// This rung of the profile will not be made.
    Dropped {
        /// Its name.
        rung: String,
        /// A sentence.
        reason: String,
    },
    /// This machine has a GPU, and encoding begins when it is known what that can do.
    AwaitsGpus,
    /// The first segments of every rendition can be played.
    Playable {
        /// Since the start of this run.
        after_seconds: f64,
    },
    /// Encoding goes on.
    Progress {
        /// All in all.
        #[serde(flatten)]
        advance: Advance,
        /// One by one.
        renditions: Vec<RenditionView>,
    },
    /// Somebody asked to stop: attempts that have begun are finished.
    Draining,
    /// Something went wrong, and was overcome unless the job fails.
    Problem(Problem),
    /// Everything is made; the last playlists are being written.
    Publishing,
}

/// How far the renditions have come.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Advance {
    /// Average over the video renditions, or over the audio ones if there is no video.
    pub done_ms: u64,
    /// `None` while the length is not known.
    pub total_ms: Option<u64>,
    /// Presentation time per elapsed time, lately.
    pub speed: f64,
    /// Elapsed time until the end, at that speed.
    pub eta_seconds: Option<u64>,
}

impl Advance {
    /// 0 to 100; `None` while the length is not known.
    pub fn percent(&self) -> Option<u64> {
        let total = self.total_ms.filter(|total| *total > 0)?;
        Some((self.done_ms * 100 / total).min(100))
    }
}

/// Counts that grow, and how fast they lately did.
#[derive(Debug, Default)]
pub struct Rate {
    samples: VecDeque<(Duration, u64)>,
}

impl Rate {
    /// Notes the count at a time.
    pub fn note(&mut self, now: Duration, count: u64) {
        self.samples.push_back((now, count));
        while self.samples.len() > 2 && self.samples[1].0 + RATE_WINDOW <= now {
            self.samples.pop_front();
        }
    }

    /// Per second; 0 before two counts have been noted.
    pub fn per_second(&self) -> f64 {
        match (self.samples.front(), self.samples.back()) {
            (Some((start, first)), Some((end, last))) if end > start => {
                last.saturating_sub(*first) as f64 / (*end - *start).as_secs_f64()
            }
            _ => 0.0,
        }
    }
}

/// How often [`Event::Progress`] and [`Event::Indexing`] come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// At each tenth of the presentation, and each ten seconds while its length is not known.
    Tenths,
    /// Every second.
    Seconds,
}

/// Turns a row of views into events.
#[derive(Debug)]
pub struct Watcher {
    pace: Pace,
    verdict: Option<Verdict>,
    awaits_gpus: bool,
    playable: bool,
    publishing: bool,
    renditions: usize,
    dropped: usize,
    findings: usize,
    problems: usize,
    encoded: Rate,
    read: Rate,
    tenths: u64,
    spoke: Duration,
}

impl Watcher {
    /// Nothing has been seen yet.
    pub fn new(pace: Pace) -> Self {
        Self {
            pace,
            verdict: None,
            awaits_gpus: false,
            playable: false,
            publishing: false,
            renditions: 0,
            dropped: 0,
            findings: 0,
            problems: 0,
            encoded: Rate::default(),
            read: Rate::default(),
            tenths: 0,
            spoke: Duration::ZERO,
        }
    }

    /// What is new in `view`. `read_bytes` is how much of the source has been indexed, `now` the time since the start.
    pub fn see(&mut self, view: &JobView, read_bytes: u64, now: Duration) -> Vec<Event> {
        let mut events = Vec::new();
        if let (Some(source), Some(verdict)) = (&view.source, view.verdict)
            && self.verdict.replace(verdict) != Some(verdict)
        {
            events.push(Event::Source { verdict, container: source.container.clone() });
        }
        events.extend(view.findings.iter().skip(self.findings).cloned().map(Event::Finding));
        self.findings = self.findings.max(view.findings.len());
        events.extend(
            view.renditions.iter().skip(self.renditions).map(|rendition| Event::Rendition {
                name: rendition.name.clone(),
                text: describe(view, &rendition.name),
            }),
        );
        self.renditions = self.renditions.max(view.renditions.len());
        events.extend(
            view.ladder
                .dropped
                .iter()
                .skip(self.dropped)
                .map(|dropped| Event::Dropped { rung: dropped.rung.clone(), reason: dropped.reason.clone() }),
        );
        self.dropped = self.dropped.max(view.ladder.dropped.len());
        events.extend(view.problems.iter().skip(self.problems).filter(|p| !p.fatal).cloned().map(Event::Problem));
        self.problems = self.problems.max(view.problems.len());
        if !std::mem::replace(&mut self.awaits_gpus, view.awaits_gpus) && view.awaits_gpus {
            events.push(Event::AwaitsGpus);
        }
        if !self.playable && view.playable_segments > 0 && !view.state.is_final() {
            self.playable = true;
            events.push(Event::Playable { after_seconds: now.as_secs_f64() });
        }
        events.extend(self.progress(view, read_bytes, now));
        if !self.publishing && view.state == JobState::Publishing {
            self.publishing = true;
            events.push(Event::Publishing);
        }
        events
    }

    fn progress(&mut self, view: &JobView, read_bytes: u64, now: Duration) -> Option<Event> {
        self.read.note(now, read_bytes);
        let Some((done_ms, total_ms)) = average(view) else {
            let due = view.state == JobState::Probing && now >= self.spoke + self.silence();
            return due.then(|| {
                self.spoke = now;
                Event::Indexing { bytes: read_bytes, bytes_per_second: self.read.per_second() as u64 }
            });
        };
        self.encoded.note(now, done_ms);
        let advance = advance(done_ms, total_ms, &self.encoded);
        let tenths = advance.percent().unwrap_or(0) / 10;
        let due = match (self.pace, total_ms) {
            (Pace::Tenths, Some(_)) => tenths > self.tenths,
            _ => now >= self.spoke + self.silence() && view.state == JobState::Encoding,
        };
        self.tenths = self.tenths.max(tenths);
        due.then(|| {
            self.spoke = now;
            Event::Progress { advance, renditions: view.renditions.clone() }
        })
    }

    fn silence(&self) -> Duration {
        Duration::from_secs(if self.pace == Pace::Seconds { 1 } else { 10 })
    }
}

/// What the counts say about speed and end.
pub fn advance(done_ms: u64, total_ms: Option<u64>, rate: &Rate) -> Advance {
    let speed = rate.per_second() / 1000.0;
    let left_ms = total_ms.map(|total| total.saturating_sub(done_ms));
    let eta = |left: u64| (left as f64 / 1000.0 / speed).ceil() as u64;
    Advance { done_ms, total_ms, speed, eta_seconds: left_ms.filter(|_| speed > 0.0).map(eta) }
}

/// Done and total of the renditions that take the time; `None` before there are any.
fn average(view: &JobView) -> Option<(u64, Option<u64>)> {
    let video = view.ladder.video.len();
    let counted = if video > 0 { view.renditions.get(..video)? } else { &view.renditions[..] };
    let count = u64::try_from(counted.len()).ok().filter(|count| *count > 0)?;
    let done = counted.iter().map(|rendition| rendition.done_ms).sum::<u64>() / count;
    let total = counted.iter().map(|rendition| rendition.total_ms).sum::<Option<u64>>().map(|sum| sum / count);
    Some((done, total))
}

/// Size, codec and ceiling of a video rendition; empty for others, of which a view knows the name alone.
pub fn describe(view: &JobView, name: &str) -> String {
    let video = view.ladder.video.iter().find(|rendition| rendition.name == name);
    video.map_or_else(String::new, |rendition| {
        let (width, height, codec) = (rendition.width_px, rendition.height_px, rendition.codec);
        let ceiling = f64::from(rendition.rate.maxrate_bps) / 1e6;
        format!("{width}x{height} {}, at most {ceiling:.1} Mb/s", format!("{codec:?}").to_lowercase())
    })
}

#[cfg(test)]
mod tests {
    use coordinator::job::{ChunkCounts, Terms};
    use coordinator::ladder::{Ladder, Rungs};
    use shared::task::{JobId, Places, TenantId};

    use super::*;

    fn view(done_ms: u64, total_ms: Option<u64>) -> JobView {
        let rendition = |name: &str| RenditionView { name: name.into(), done_ms, total_ms };
        JobView {
            id: JobId::new("j").unwrap(),
            sequence: 1,
            tenant: TenantId::default(),
            places: Places { source: "s".into(), target: "t".into(), work: "w".into() },
            profile: "web".into(),
            segment_ms: 6_000,
            rungs: Rungs::Auto,
            preset: None,
            movies: false,
            terms: Terms::default(),
            history: vec![],
            state: JobState::Encoding,
            settled: false,
            verdict: Some(Verdict::Standard),
            findings: vec![],
            source: None,
            ladder: Ladder::default(),
            renditions: vec![rendition("a"), rendition("b")],
            chunks: ChunkCounts::default(),
            awaits_gpus: false,
            playable_segments: 0,
            playable_ms: 0,
            cpu_ms: 0,
            problems: vec![],
        }
    }

    fn progress(events: Vec<Event>) -> Vec<Advance> {
        events
            .into_iter()
            .filter_map(|event| if let Event::Progress { advance, .. } = event { Some(advance) } else { None })
            .collect()
    }

    #[test]
    fn each_tenth_is_told_once_with_speed_and_end() {
        let mut watcher = Watcher::new(Pace::Tenths);
        let told: Vec<_> = (0..=100)
            .flat_map(|step| progress(watcher.see(&view(step * 600, Some(60_000)), 0, Duration::from_secs(step))))
            .collect();
        assert_eq!(
            told.iter().map(|a| a.percent().unwrap()).collect::<Vec<_>>(),
            (1..=10).map(|n| n * 10).collect::<Vec<_>>()
        );
        assert!((told[4].speed - 0.6).abs() < 1e-9, "{:?}", told[4]);
        assert_eq!(told[4].eta_seconds, Some(50));
    }

    #[test]
    fn a_continued_run_is_not_credited_with_what_was_there() {
        let mut watcher = Watcher::new(Pace::Tenths);
        assert_eq!(progress(watcher.see(&view(54_000, Some(60_000)), 0, Duration::ZERO))[0].speed, 0.0);
        let told = progress(watcher.see(&view(60_000, Some(60_000)), 0, Duration::from_secs(6)));
        assert!((told[0].speed - 1.0).abs() < 1e-9, "{told:?}");
    }

    #[test]
    fn without_a_known_length_it_speaks_every_ten_seconds() {
        let mut watcher = Watcher::new(Pace::Tenths);
        let told: Vec<_> = (0..=40)
            .flat_map(|second| progress(watcher.see(&view(second * 1000, None), 0, Duration::from_secs(second))))
            .collect();
        assert_eq!(told.iter().map(|a| a.done_ms / 1000).collect::<Vec<_>>(), [10, 20, 30, 40]);
    }

    #[test]
    fn reading_is_told_before_anything_is_known() {
        let mut watcher = Watcher::new(Pace::Seconds);
        let early = |view: JobView| JobView { state: JobState::Probing, renditions: vec![], verdict: None, ..view };
        watcher.see(&early(view(0, None)), 0, Duration::ZERO);
        let events = watcher.see(&early(view(0, None)), 8_000_000, Duration::from_secs(2));
        assert_eq!(events, [Event::Indexing { bytes: 8_000_000, bytes_per_second: 4_000_000 }]);
    }

    #[test]
    fn what_is_known_is_told_once() {
        let mut watcher = Watcher::new(Pace::Tenths);
        let playable = JobView { playable_segments: 1, ..view(0, Some(60_000)) };
        let first = watcher.see(&playable, 0, Duration::from_secs(1));
        assert!(first.contains(&Event::Playable { after_seconds: 1.0 }));
        assert_eq!(first.iter().filter(|event| matches!(event, Event::Rendition { .. })).count(), 2);
        assert_eq!(watcher.see(&playable, 0, Duration::from_secs(2)), []);
    }
}
