//! The whole path, on real clips, judged by other people's readers.

use std::fs;
use std::path::Path;
use std::process::Output;

#[allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]
mod support;

use support::probe::{self, Frames};
use support::right::{assert_right, assert_timeline};
use support::{Presentation, clip, folder, transcode, with_opus};

fn assert_clip_right(name: &str, options: &[&str]) -> Presentation {
    let source = clip(name);
    let presentation = Presentation::of(&source, options);
    assert_right(&source, &presentation);
    presentation
}

#[test]
fn an_ordinary_file_becomes_a_ladder() {
    let presentation = assert_clip_right("bunny_720p25.mp4", &[]);
    let sizes: Vec<_> = presentation.video.iter().map(|track| track.size).collect();
    assert_eq!(sizes, [(1280, 720), (640, 360)], "short clips get 720p and 360p");
    assert_eq!(presentation.video[0].durations(), ["6.000000", "6.000000", "2.000000"]);
    assert_eq!(presentation.audio.len(), 1);
}

#[test]
fn all_rungs_means_all_but_enlarged_ones() {
    let presentation = assert_clip_right("bunny_720p25.mp4", &["--rungs", "all", "--segment", "2s"]);
    let heights: Vec<_> = presentation.video.iter().map(|track| track.size.1).collect();
    assert_eq!(heights, [720, 480, 360]);
    assert_eq!(presentation.video[0].segments.len(), 7);
}

#[test]
fn open_gops_at_29_97_lose_and_double_nothing() {
    let presentation = assert_clip_right("open_gop_2997.mp4", &["--segment", "2s"]);
    assert_eq!(presentation.video[0].segments.len(), 6);
}

#[test]
fn rotated_video_stands_upright_and_keeps_its_uneven_times() {
    let presentation = assert_clip_right("rotated_90_vfr.mp4", &[]);
    let (width, height) = presentation.video[0].size;
    assert!(width < height, "{width}x{height} should be portrait");
}

#[test]
fn gaps_of_a_variable_rate_are_kept() {
    assert_clip_right("vfr_slow_motion.mp4", &[]);
}

#[test]
fn audio_that_starts_late_starts_late() {
    assert_clip_right("late_audio.mp4", &[]);
}

#[test]
fn audio_that_ends_early_ends_early() {
    assert_clip_right("short_audio.mp4", &[]);
}

#[test]
fn a_transport_stream_from_the_middle_starts_at_zero() {
    assert_clip_right("start_131s.ts", &["--segment", "2s"]);
}

#[test]
fn vp9_and_opus_are_read() {
    assert_clip_right("vp9_opus.webm", &[]);
}

#[test]
fn hevc_shorter_than_a_segment_is_one_segment() {
    let presentation = assert_clip_right("hevc_bframes.mp4", &[]);
    assert_eq!(presentation.video[0].segments.len(), 1);
    assert!(presentation.audio.is_empty());
}

#[test]
fn odd_sizes_become_even() {
    let presentation = assert_clip_right("odd_size_321x241.mp4", &[]);
    let (width, height) = presentation.video[0].size;
    assert!(width % 2 == 0 && height % 2 == 0 && width <= 322 && height <= 242, "{width}x{height}");
}

#[test]
fn pixels_become_square() {
    // 800x640 at 64:45 is 1137.8x640.
    let presentation = assert_clip_right("pyramid_sar_no_audio.mp4", &["--rungs", "all"]);
    for (width, height) in presentation.video.iter().map(|track| track.size) {
        let shape = f64::from(width) / f64::from(height);
        assert!((shape - 16.0 / 9.0).abs() < 0.02, "{width}x{height}");
    }
}

#[test]
fn edit_lists_are_obeyed() {
    assert_clip_right("edit_list.mp4", &[]);
}

#[test]
fn every_language_becomes_a_rendition() {
    let presentation = assert_clip_right("three_languages.mkv", &[]);
    let mut languages: Vec<_> = presentation.audio.iter().map(|track| track.language.as_str()).collect();
    languages.sort_unstable();
    assert_eq!(languages, ["de", "en", "fr"]);
}

#[test]
fn sound_without_pictures_is_a_presentation_too() {
    let presentation = assert_clip_right("audio_only_opus51.mka", &[]);
    assert_eq!(presentation.audio.len(), 1);
}

/// As [`assert_clip_right`], and made by these codecs.
fn assert_made_by(clip: &str, options: &[&str], (video, audio): (&str, &str), codecs: &str) {
    let presentation = assert_clip_right(clip, options);
    let [track] = &presentation.video[..] else { panic!("{} renditions", presentation.video.len()) };
    assert!(track.codecs.starts_with(codecs), "{}", track.codecs);
    assert_eq!(track.segments.len(), 4);
    let found = (probe::codec(track.joined()), probe::codec(presentation.audio[0].joined()));
    assert_eq!((found.0.as_str(), found.1.as_str()), (video, audio));
    assert!(track.codecs.ends_with(if audio == "opus" { ",opus" } else { ",mp4a.40.2" }), "{}", track.codecs);
}

#[test]
fn hevc_is_as_right_as_h264() {
    let options = ["--profile", "hevc", "--preset", "ultrafast", "--segment", "2s"];
    assert_made_by("short_audio.mp4", &options, ("hevc", "aac"), "hvc1.1.");
}

#[test]
fn av1_and_opus_are_as_right_as_h264_and_aac() {
    let folder = folder();
    let profile = with_opus("av1", folder.path());
    let options = ["--profile", profile.to_str().unwrap(), "--preset", "12", "--segment", "2s"];
    assert_made_by("short_audio.mp4", &options, ("av1", "opus"), "av01.0.");
}

#[test]
fn a_file_that_breaks_off_gives_what_is_there() {
    let source = clip("cut_short_faststart.mp4");
    let presentation = Presentation::of(&source, &[]);
    let there = Frames::of(&source, "V:0").times.len();
    for track in &presentation.video {
        probe::assert_decodes(track.joined());
        let made = Frames::of(track.joined(), "v:0").times.len();
        assert!(made.abs_diff(there) <= 1, "{}: {made} frames, FFmpeg decodes {there}", track.uri);
        assert_timeline(track, &probe::key_packets(track.joined()));
    }
}

/// Refused: exit status, stable code, and not a trace in the folder where the output would have been.
fn assert_refused(source: &Path, status: i32, code: &str) {
    let parent = folder();
    let output = transcode(source, &parent.path().join("deep/out"), &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{}: {said}", source.display());
    assert!(said.contains(&format!("error[{code}]: ")), "{said}");
    let left: Vec<_> = fs::read_dir(parent.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn what_can_not_be_transcoded_is_refused_and_leaves_nothing() {
    let empty = tempfile::Builder::new().suffix(".mov").tempfile().unwrap();
    assert_refused(empty.path(), 3, "empty");
    assert_refused(&clip("refused_text.mp4"), 3, "not_media");
    assert_refused(&clip("refused_no_moov.mp4"), 3, "no_moov");
    assert_refused(&clip("refused_vvc.mp4"), 4, "video_codec");
}

#[test]
fn one_two_and_four_slots_make_the_same_bytes() {
    let source = clip("open_gop_2997.mp4");
    let made: Vec<_> = ["1", "2", "4"]
        .map(|slots| Presentation::of(&source, &["--slots", slots, "--segment", "2s"]))
        .map(|presentation| Presentation::bytes(&presentation.out))
        .into();
    assert!(made[0].len() > 20, "a presentation has more files than {:?}", made[0].keys());
    for other in &made[1..] {
        assert!(made[0].keys().eq(other.keys()), "{:?}\n{:?}", made[0].keys(), other.keys());
        for (name, bytes) in &made[0] {
            assert!(other[name] == *bytes, "{name} differs");
        }
    }
}

#[test]
fn a_second_run_finds_everything_made() {
    let source = clip("hevc_bframes.mp4");
    let presentation = Presentation::of(&source, &[]);
    let made = |output: Output| {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    let segment = &presentation.video[0].segments[0].0;
    let written = || fs::metadata(segment).unwrap().modified().unwrap();
    let before = written();
    let said = made(transcode(&source, &presentation.out, &[]));
    assert!(said.contains("already made"), "{said}");
    assert_eq!(written(), before, "nothing is written again");
    let said = made(transcode(&source, &presentation.out, &["--fresh"]));
    assert!(!said.contains("already made"), "{said}");
    assert!(written() > before, "--fresh makes it again");
}
