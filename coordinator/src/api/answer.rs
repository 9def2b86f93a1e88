//! What the core shows of a job, as the API tells it. Nothing is decided here but how to say it.

use proto::v1;
use shared::rendition::{AudioCodec, AudioRendition, RateControl, VideoCodec, VideoRendition};
use shared::source::Verdict;
use shared::trace::TraceId;

use super::error::Violations;
use super::sources;
use crate::farm::Line;
use crate::job::{JobState, JobView, Milestone, Problem, ProblemClass, RenditionView};
use crate::ladder::{Ladder, Rungs};
use crate::profile::Profile;

/// Most entries of a timeline.
const MOST_LINES: usize = 10_000;
/// Longest `rungs`, in bytes.
const LONGEST_RUNGS: usize = 64;

/// A job, in the view that was asked for (`fallback` if none was).
pub(super) fn job(view: &JobView, wanted: v1::JobView, fallback: v1::JobView) -> v1::Job {
    let wanted = if wanted == v1::JobView::Unspecified { fallback } else { wanted };
    let full = wanted == v1::JobView::Full;
    let verdict = view.verdict.unwrap_or(Verdict::Standard);
    let source = || view.source.as_ref().map(|source| sources::result(source, verdict, &view.findings));
    let renditions = || view.renditions.iter().map(|shown| rendition(shown, &view.ladder)).collect();
    v1::Job {
        id: view.id.to_string(),
        tenant: view.tenant.to_string(),
        spec: Some(spec(view)),
        state: state(view).into(),
        sequence: view.sequence,
        create_time: view.history.first().map(|moment| time(moment.at_ms)),
        end_time: ended_ms(view).map(time),
        playable_time: playable_ms(view).map(time),
        progress: Some(progress(view)),
        output: Some(output(&view.places.target)),
        problems: view.problems.iter().filter(|problem| full || problem.fatal).map(problem).collect(),
        verdict: view.verdict.map_or(v1::Verdict::Unspecified, sources::verdict).into(),
        source: full.then(source).flatten(),
        renditions: if full { renditions() } else { Vec::new() },
        dropped: if full { dropped(&view.ladder) } else { Vec::new() },
    }
}

fn spec(view: &JobView) -> v1::JobSpec {
    v1::JobSpec {
        source: view.places.source.clone(),
        target: view.places.target.clone(),
        profile: Some(v1::job_spec::Profile::ProfileName(view.profile.clone())),
        priority: view.terms.priority,
        deadline: view.terms.deadline_ms.map(time),
        labels: view.terms.labels.clone().into_iter().collect(),
        segment: Some(duration(view.segment_ms)),
        rungs: view.rungs.to_string(),
        preset: view.preset.clone().unwrap_or_default(),
        mp4: view.movies,
    }
}

/// Where a job stands, in the words of the API.
pub(super) fn state(view: &JobView) -> v1::JobState {
    let chunks = view.chunks;
    let playable = playable_ms(view).is_some();
    match view.state {
        JobState::Completed => v1::JobState::Succeeded,
        JobState::Failed(_) => v1::JobState::Failed,
        JobState::Cancelled if view.settled => v1::JobState::Cancelled,
        JobState::Cancelled => v1::JobState::Cancelling,
        JobState::Publishing if playable => v1::JobState::Finishing,
        JobState::Encoding if playable => v1::JobState::Playable,
        JobState::Publishing => v1::JobState::Running,
        JobState::Encoding if chunks.running + chunks.done + chunks.retried > 0 => v1::JobState::Running,
        JobState::Encoding if chunks.planned > 0 => v1::JobState::Queued,
        JobState::Encoding => v1::JobState::Planned,
        JobState::Probing if view.verdict.is_some() => v1::JobState::Probing,
        JobState::Probing => v1::JobState::Accepted,
    }
}

/// When the multivariant playlist appeared, in the job's present life.
fn playable_ms(view: &JobView) -> Option<u64> {
    let begun = view.history.iter().rposition(|moment| matches!(moment.what, Milestone::Accepted | Milestone::Retried));
    let life = view.history.get(begun.unwrap_or(0)..).unwrap_or_default();
    life.iter().find(|moment| moment.what == Milestone::Playable).map(|moment| moment.at_ms)
}

/// When the job ended, if it has.
pub(super) fn ended_ms(view: &JobView) -> Option<u64> {
    let end = view.history.iter().rfind(|moment| moment.what != Milestone::Deleted)?;
    view.state.is_final().then_some(end.at_ms)
}

/// Nothing changes any more, unless somebody asks for it.
pub(super) fn is_over(state: v1::JobState) -> bool {
    matches!(state, v1::JobState::Succeeded | v1::JobState::Failed | v1::JobState::Cancelled)
}

fn progress(view: &JobView) -> v1::JobProgress {
    let count = (view.renditions.len() as u64).max(1);
    let done_ms = view.renditions.iter().map(|rendition| rendition.done_ms).sum::<u64>() / count;
    let total: Option<u64> = view.renditions.iter().map(|rendition| rendition.total_ms).sum();
    let total_ms = total.filter(|total| *total > 0).map(|total| total / count);
    let share = total_ms.map_or(0, |total| done_ms * 100 / total.max(1));
    let percent = if view.state == JobState::Completed { 100 } else { share.min(99) };
    v1::JobProgress {
        done_ms,
        total_ms,
        percent: percent as u32,
        playable_ms: view.playable_ms,
        chunks: view.chunks.planned,
        chunks_known: view.chunks.complete,
        chunks_done: view.chunks.done,
        chunks_running: view.chunks.running,
        retries: view.chunks.retried,
        cpu_ms: view.cpu_ms,
    }
}

fn output(target: &str) -> v1::JobOutput {
    let below = |key: &str| format!("{}/{key}", target.trim_end_matches('/'));
    v1::JobOutput { hls: below("master.m3u8"), dash: below("manifest.mpd"), certificate: below("presentation.json") }
}

fn problem(problem: &Problem) -> v1::Problem {
    let class = match problem.class {
        ProblemClass::Input => v1::ProblemClass::Input,
        ProblemClass::Worker => v1::ProblemClass::Worker,
        ProblemClass::Storage => v1::ProblemClass::Storage,
        ProblemClass::Capacity => v1::ProblemClass::Capacity,
        ProblemClass::Internal => v1::ProblemClass::Internal,
    };
    v1::Problem {
        code: problem.code.clone(),
        class: class.into(),
        text: problem.text.clone(),
        scope: problem.scope.clone(),
        advice: problem.advice.clone(),
        fatal: problem.fatal,
    }
}

fn rendition(shown: &RenditionView, ladder: &Ladder) -> v1::JobRendition {
    let video = ladder.video.iter().find(|video| video.name == shown.name).map(video_rendition);
    v1::JobRendition { name: shown.name.clone(), done_ms: shown.done_ms, total_ms: shown.total_ms, video }
}

/// Rungs that are not made.
pub(super) fn dropped(ladder: &Ladder) -> Vec<v1::DroppedRung> {
    let message =
        |rung: &crate::ladder::Dropped| v1::DroppedRung { rung: rung.rung.clone(), reason: rung.reason.clone() };
    ladder.dropped.iter().map(message).collect()
}

pub(super) fn video_rendition(rendition: &VideoRendition) -> v1::VideoRendition {
    let codec = match rendition.codec {
        VideoCodec::H264 => v1::VideoCodec::H264,
        VideoCodec::Hevc => v1::VideoCodec::Hevc,
        VideoCodec::Av1 => v1::VideoCodec::Av1,
    };
    let RateControl { crf, maxrate_bps, bufsize_bits } = rendition.rate;
    v1::VideoRendition {
        name: rendition.name.clone(),
        codec: codec.into(),
        width_px: rendition.width_px,
        height_px: rendition.height_px,
        rate: Some(v1::RateControl { crf, maxrate_bps, bufsize_bits }),
        preset: rendition.preset.clone(),
    }
}

pub(super) fn audio_rendition(rendition: AudioRendition) -> v1::AudioRendition {
    let codec = match rendition.codec {
        AudioCodec::Aac => v1::AudioCodec::Aac,
        AudioCodec::Opus => v1::AudioCodec::Opus,
    };
    v1::AudioRendition {
        name: rendition.name,
        stream: rendition.stream,
        codec: codec.into(),
        bitrate_bps: rendition.bitrate_bps,
        sample_rate_hz: rendition.sample_rate_hz,
        channels: rendition.channels,
        language: rendition.language,
        title: rendition.title,
        default: rendition.default,
    }
}

/// Why a job is where it is.
pub(super) fn explanation(view: &JobView, lines: Vec<Line>, trace: Option<TraceId>) -> v1::ExplainJobResponse {
    let skipped = lines.len().saturating_sub(MOST_LINES);
    let entry = |line: Line| v1::TimelineEntry {
        time: line.at_ms.map(time),
        task: if line.about == "job" { String::new() } else { line.about },
        text: line.text,
    };
    let stands = lines.iter().filter(|line| line.at_ms.is_none() && line.about == "job");
    let summary = stands.fold(sentence(view), |summary, line| format!("{summary} {}", line.text));
    let timeline = lines.into_iter().skip(skipped).map(entry).collect();
    v1::ExplainJobResponse { summary, timeline, trace_id: trace.map(|id| id.to_string()).unwrap_or_default() }
}

fn sentence(view: &JobView) -> String {
    let chunks = view.chunks;
    let fatal = view.problems.iter().rfind(|problem| problem.fatal);
    match (state(view), fatal) {
        (v1::JobState::Failed, Some(problem)) => {
            format!("It failed: {} ({}, {}). {}", problem.text, problem.code, problem.scope, problem.advice)
        }
        (v1::JobState::Failed, None) => "It failed.".to_owned(),
        (v1::JobState::Accepted, _) => "It waits for a worker to read its source.".to_owned(),
        (v1::JobState::Probing, _) => "A worker reads its source.".to_owned(),
        (v1::JobState::Planned, _) => "The ladder is known; no chunk is planned yet.".to_owned(),
        (v1::JobState::Queued, _) => format!("{} chunks wait for free slots.", chunks.planned),
        (v1::JobState::Finishing, _) => "Everything is encoded; the last playlists are being written.".to_owned(),
        (v1::JobState::Succeeded, _) => "The presentation is whole.".to_owned(),
        (v1::JobState::Cancelling, _) => "It was called off; what it leaves is being removed.".to_owned(),
        (v1::JobState::Cancelled, _) => "It was called off.".to_owned(),
        (running, _) => {
            let known = if chunks.complete { "" } else { " so far" };
            let can = if running == v1::JobState::Playable { "It can be played. " } else { "" };
            format!(
                "{can}{} of {} chunks{known} are encoded, {} are in hand.",
                chunks.done, chunks.planned, chunks.running
            )
        }
    }
}

/// Which rungs are wanted, by JobSpec's words. Notes what is wrong.
pub(super) fn rungs(field: &str, text: &str, profile: Option<&Profile>, wrong: &mut Violations) -> Option<Rungs> {
    if text.len() > LONGEST_RUNGS {
        wrong.add(field, format!("{} bytes long, the most is {LONGEST_RUNGS}", text.len()));
        return None;
    }
    let rungs: Rungs = wrong.take(field, if text.is_empty() { "auto" } else { text }.parse())?;
    match profile {
        Some(profile) => wrong.take(field, rungs.check(profile)).map(|()| rungs),
        None => Some(rungs),
    }
}

fn duration(ms: u32) -> prost_types::Duration {
    prost_types::Duration { seconds: i64::from(ms / 1000), nanos: (ms % 1000) as i32 * 1_000_000 }
}

/// UNIX time in milliseconds as a message.
pub(super) fn time(ms: u64) -> prost_types::Timestamp {
    let nanos = (ms % 1000) as i32 * 1_000_000;
    prost_types::Timestamp { seconds: i64::try_from(ms / 1000).unwrap_or(i64::MAX), nanos }
}
