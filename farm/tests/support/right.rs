//! What "right" means of a presentation, whatever the source is and whoever made it.

use std::path::Path;
use std::process::Command;

use super::boxes::Timeline;
use super::probe::{self, Frames};
use super::{Presentation, Track, run};

/// Mean and lowest luma PSNR of a rendition's frames. A frame that is swapped, shifted, torn or upside down falls far
/// below on any clip here.
const MEAN_PSNR_DB: f64 = 30.0;
const LOWEST_PSNR_DB: f64 = 24.0;

/// Everything that must be true of every presentation, whatever the source is.
pub fn assert_right(source: &Path, presentation: &Presentation) {
    let wanted = probe::has(source, "V").then(|| Frames::of(source, "V:0"));
    assert_eq!(wanted.is_some(), !presentation.video.is_empty(), "video is there iff the source has some");
    for track in &presentation.video {
        let wanted = wanted.as_ref().expect("the source has video");
        assert_eq!(track.durations(), presentation.video[0].durations(), "{}: cut elsewhere", track.uri);
        assert_video(source, wanted, track);
    }
    for (index, track) in presentation.audio.iter().enumerate() {
        probe::assert_decodes(track.joined());
        assert_audio(source, &format!("a:{index}"), track, presentation, wanted.as_ref());
    }
    assert_read_by_ffmpeg(presentation);
}

fn assert_video(source: &Path, wanted: &Frames, track: &Track) {
    let uri = &track.uri;
    probe::assert_decodes(track.joined());
    let frames = Frames::of(track.joined(), "v:0");
    assert_eq!(frames.size, track.size, "{uri}: RESOLUTION");
    assert_eq!(frames.times.len(), wanted.times.len(), "{uri}: frames");
    for index in 0..frames.times.len() {
        let (here, there) = (frames.since_first(index, wanted), wanted.since_first(index, &frames));
        assert_eq!(here, there, "{uri}: frame {index} is not where the source has it");
    }
    assert_timeline(track, &probe::key_packets(track.joined()));
    let psnr = probe::psnr(source, track.joined(), track.size);
    assert_eq!(psnr.len(), wanted.times.len(), "{uri}: compared frames");
    let mean = psnr.iter().sum::<f64>() / psnr.len() as f64;
    assert!(mean >= MEAN_PSNR_DB, "{uri}: mean PSNR {mean:.1} dB");
    let (worst, lowest) = psnr.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1)).unwrap();
    assert!(*lowest >= LOWEST_PSNR_DB, "{uri}: frame {worst} has {lowest:.1} dB");
}

/// Boxes of a video track: no gap, a key frame first in every segment and shown first, closed at both ends. The edit
/// list takes back by how much media time runs behind.
pub fn assert_timeline(track: &Track, keys: &[bool]) {
    let uri = &track.uri;
    let timeline = Timeline::of(track);
    assert_eq!(timeline.delay, 0, "{uri}: nothing is shown first");
    let (mut packet, mut end) = (0, timeline.fragments[0].decode_time);
    for (number, fragment) in timeline.fragments.iter().enumerate() {
        assert_eq!(fragment.decode_time, end, "{uri}: segment {number} does not start where the one before ends");
        end += fragment.duration;
        assert!(keys[packet], "{uri}: segment {number} does not start with a key frame");
        packet += fragment.times.len();
        let first = *fragment.times.iter().min().expect("a segment has frames");
        assert_eq!(first, fragment.times[0], "{uri}: segment {number} shows a frame before its key frame");
        assert_eq!(
            first - timeline.skipped,
            fragment.decode_time,
            "{uri}: segment {number}: tfdt is the time of the first frame"
        );
        let last = *fragment.times.iter().max().expect("a segment has frames");
        assert!(last - timeline.skipped < end, "{uri}: segment {number} reaches into the next");
        let declared = declared_seconds(&track.segments[number].1);
        let from = if number == 0 { 0 } else { fragment.decode_time }; // durations add up to presentation times
        let real = (end - from) as f64 / f64::from(timeline.timescale);
        assert!((declared - real).abs() < 0.000_002, "{uri}: segment {number}: EXTINF {declared}, boxes {real}");
    }
    assert_eq!(packet, keys.len(), "{uri}: frames in boxes and packets");
}

fn declared_seconds(duration: &str) -> f64 {
    duration.parse().expect("EXTINF should be a number")
}

/// Length and place beside the video, both to within one audio frame.
fn assert_audio(source: &Path, selector: &str, track: &Track, whole: &Presentation, video: Option<&Frames>) {
    let uri = &track.uri;
    let wanted = Frames::of(source, selector);
    let made = Frames::of(track.joined(), "a:0");
    let frame = 1024.0 / made.sample_rate as f64;
    let timeline = Timeline::of(track);
    let mut end = timeline.fragments[0].decode_time;
    for (number, fragment) in timeline.fragments.iter().enumerate() {
        assert_eq!(fragment.decode_time, end, "{uri}: segment {number} does not start where the one before ends");
        end += fragment.duration;
    }
    let presented = timeline.presented_seconds();
    let off = presented - wanted.audio_seconds();
    assert!((-0.001..frame + 0.001).contains(&off), "{uri}: {presented:.4} s, {:.4} wanted", wanted.audio_seconds());
    if let (Some(video), Some(pictures)) = (video, whole.video.first()) {
        let apart = timeline.start_seconds() - Timeline::of(pictures).start_seconds();
        let skew = apart - (wanted.start_seconds() - video.start_seconds());
        assert!(skew.abs() <= frame + 0.000_5, "{uri}: {:.1} ms off its place beside the video", skew * 1000.0);
    }
}

/// FFmpeg's HLS and DASH readers find the same streams with the same packets.
fn assert_read_by_ffmpeg(presentation: &Presentation) {
    for (kind, tracks) in [("v", &presentation.video), ("a", &presentation.audio)] {
        let samples = |track| Timeline::of(track).fragments.iter().map(|f| f.times.len() as u64).sum::<u64>();
        let mut wanted: Vec<u64> = tracks.iter().map(samples).collect();
        wanted.sort_unstable();
        for list in ["master.m3u8", "manifest.mpd"] {
            let mut found = probe::packets_by_stream(&presentation.out.join(list), kind);
            found.sort_unstable();
            assert_eq!(found, wanted, "{list}: packets of streams of kind {kind}");
        }
    }
}

/// Says what the judge of the project says, where it is at hand.
pub fn assert_judged_right(source: &Path, made: &Path) {
    let judge = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/tools/check_presentation.py");
    if !judge.is_file() {
        eprintln!("SKIPPED: {} is not here", judge.display());
        return;
    }
    let said = run(Command::new("python3").arg(judge).args([source, made]));
    assert!(said.contains("right"), "{said}");
}
