//! What a source is, as the API tells it and as it is told.

use proto::v1;
use shared::source::{AudioStream, Color, DecoderSetup, Finding, SourceInfo, Timing, Verdict, VideoStream};
use shared::time::{FrameRate, Timescale};

use super::error::Violations;

/// Longest side of a picture that a made-up source may have.
const LONGEST_SIDE_PX: u32 = 1 << 16;
/// Most audio streams of a made-up source.
const MOST_AUDIO: usize = 64;
/// A description of colours that says nothing.
const NO_COLOR: Color = Color { primaries: 2, transfer: 2, matrix: 2, full_range: false };

/// What indexing found, with the judgement and the findings as they stand now.
pub(super) fn result(source: &SourceInfo, now: Verdict, findings: &[Finding]) -> v1::ProbeResult {
    v1::ProbeResult {
        verdict: verdict(now).into(),
        findings: findings.iter().map(finding).collect(),
        container: source.container.clone(),
        size_bytes: source.size_bytes,
        declared_ms: source.declared_ms,
        video: source.video.as_ref().map(video),
        audio: source.audio.iter().map(audio).collect(),
        ignored: source.ignored.clone(),
    }
}

pub(super) fn verdict(verdict: Verdict) -> v1::Verdict {
    match verdict {
        Verdict::Standard => v1::Verdict::Standard,
        Verdict::NonStandard => v1::Verdict::NonStandard,
        Verdict::Unsupported => v1::Verdict::Unsupported,
        Verdict::Corrupt => v1::Verdict::Corrupt,
    }
}

fn finding(finding: &Finding) -> v1::Finding {
    v1::Finding { code: finding.code.clone(), text: finding.text.clone(), handling: finding.handling.clone() }
}

fn video(stream: &VideoStream) -> v1::ProbedVideo {
    let ratio = |(numerator, denominator)| Some(v1::Ratio { numerator, denominator });
    let Color { primaries, transfer, matrix, full_range } = stream.color;
    v1::ProbedVideo {
        index: stream.index,
        codec: stream.codec.clone(),
        width_px: stream.width_px,
        height_px: stream.height_px,
        sample_aspect: ratio(stream.sample_aspect),
        rotation: stream.rotation,
        frame_rate: ratio((stream.frame_rate.numerator, stream.frame_rate.denominator)),
        interlaced: stream.interlaced,
        pixel_format: stream.pixel_format.clone(),
        color: Some(v1::Color {
            primaries: primaries.into(),
            transfer: transfer.into(),
            matrix: matrix.into(),
            full_range,
        }),
    }
}

fn audio(stream: &AudioStream) -> v1::ProbedAudio {
    v1::ProbedAudio {
        index: stream.index,
        codec: stream.codec.clone(),
        sample_rate_hz: stream.sample_rate_hz,
        channels: stream.channels,
        language: stream.language.clone(),
        title: stream.title.clone(),
        default: stream.default,
    }
}

/// The streams of a source that a caller describes, as far as a ladder depends on them. Notes what is wrong.
pub(super) fn streams(source: &v1::ProbeResult, wrong: &mut Violations) -> (Option<VideoStream>, Vec<AudioStream>) {
    if source.video.is_none() && source.audio.is_empty() {
        wrong.add("source", "has neither video nor audio");
    }
    if source.audio.len() > MOST_AUDIO {
        wrong.add("source.audio", format!("{} streams, the most is {MOST_AUDIO}", source.audio.len()));
    }
    let video = source.video.as_ref().map(|video| told_video(video, wrong));
    (video, source.audio.iter().take(MOST_AUDIO).map(told_audio).collect())
}

fn told_video(video: &v1::ProbedVideo, wrong: &mut Violations) -> VideoStream {
    let mut ratio = |field: &str, ratio: &Option<v1::Ratio>, absent| match ratio {
        None => absent,
        Some(v1::Ratio { numerator, denominator }) => {
            if *numerator == 0 || *denominator == 0 {
                wrong.add(format!("source.video.{field}"), "has a zero");
            }
            (*numerator, *denominator)
        }
    };
    let sample_aspect = ratio("sample_aspect", &video.sample_aspect, (1, 1));
    let (numerator, denominator) = ratio("frame_rate", &video.frame_rate, (25, 1));
    for (field, side) in [("width_px", video.width_px), ("height_px", video.height_px)] {
        if !(1..=LONGEST_SIDE_PX).contains(&side) {
            wrong.add(format!("source.video.{field}"), format!("{side} is not within 1 to {LONGEST_SIDE_PX}"));
        }
    }
    if ![0, 90, 180, 270].contains(&video.rotation) {
        wrong.add("source.video.rotation", format!("{} is none of 0, 90, 180 and 270", video.rotation));
    }
    VideoStream {
        index: video.index,
        codec: video.codec.clone(),
        setup: DecoderSetup(Vec::new()),
        timescale: Timescale::MILLIS,
        width_px: video.width_px,
        height_px: video.height_px,
        sample_aspect,
        rotation: video.rotation,
        mirrored: false,
        frame_rate: FrameRate { numerator, denominator },
        interlaced: video.interlaced,
        pixel_format: video.pixel_format.clone(),
        color: NO_COLOR,
        timing: Timing::Packets,
    }
}

fn told_audio(audio: &v1::ProbedAudio) -> AudioStream {
    AudioStream {
        index: audio.index,
        codec: audio.codec.clone(),
        setup: DecoderSetup(Vec::new()),
        timescale: Timescale::MILLIS,
        sample_rate_hz: audio.sample_rate_hz,
        channels: audio.channels,
        language: audio.language.clone(),
        title: audio.title.clone(),
        default: audio.default,
    }
}
