//! `--mp4`: each rendition as one file that starts to play while it still loads, judged by FFmpeg.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

#[allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]
mod support;

use support::boxes::Timeline;
use support::probe::{self, Frames};
use support::{Presentation, Track, clip, folder, transcode};

/// The types of a file's boxes, in order.
fn boxes(path: &Path) -> Vec<String> {
    let bytes = fs::read(path).unwrap();
    let (mut types, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let size = match u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) {
            1 => u64::from_be_bytes(bytes[at + 8..at + 16].try_into().unwrap()) as usize,
            size => size as usize,
        };
        types.push(String::from_utf8(bytes[at + 4..at + 8].to_vec()).unwrap());
        at += size;
    }
    assert_eq!(at, bytes.len(), "{}: boxes end where the file ends", path.display());
    types
}

fn movie_of(presentation: &Presentation, track: &Track) -> PathBuf {
    let (name, _) = track.uri.split_once('/').unwrap();
    let path = presentation.out.join(format!("{name}/{name}.mp4"));
    assert_eq!(boxes(&path), ["ftyp", "moov", "mdat"], "{}", path.display());
    probe::assert_decodes(&path);
    path
}

/// Every frame of the source at its time, and the sound of the presentation where the presentation has it.
fn assert_movies(name: &str) -> Presentation {
    let source = clip(name);
    let presentation = Presentation::of(&source, &["--mp4", "--segment", "2s"]);
    let wanted = Frames::of(&source, "V:0");
    for track in &presentation.video {
        let movie = movie_of(&presentation, track);
        let pictures = Frames::of(&movie, "v:0");
        assert_eq!((pictures.size, pictures.times.len()), (track.size, wanted.times.len()), "{}", movie.display());
        for index in 0..wanted.times.len() {
            let (here, there) = (pictures.since_first(index, &wanted), wanted.since_first(index, &pictures));
            assert_eq!(here, there, "{}: frame {index} is not where the source has it", movie.display());
        }
        assert_eq!(probe::has(&movie, "a"), !presentation.audio.is_empty());
        if let Some(sound) = presentation.audio.first() {
            assert_sound(&movie, Timeline::of(track).start_seconds(), sound);
        }
    }
    presentation
}

fn assert_sound(movie: &Path, pictures_start: f64, track: &Track) {
    let (made, wanted) = (Frames::of(movie, "a:0"), Timeline::of(track));
    // A signal that starts late has its priming in front of it in the segments, and cut off in the file.
    let frame = 1024.0 / made.sample_rate as f64 + 0.000_5;
    let longer = made.audio_seconds() - wanted.presented_seconds();
    assert!(longer.abs() <= frame, "{}: {longer} s longer than the track", movie.display());
    let apart = made.start_seconds() - Frames::of(movie, "v:0").start_seconds();
    let skew = apart - (wanted.start_seconds() - pictures_start);
    assert!(skew.abs() <= frame, "{}: {:.1} ms off its place beside the pictures", movie.display(), skew * 1000.0);
    let (length, end) = (probe::seconds(movie), made.start_seconds() + made.audio_seconds());
    assert!(length + frame >= end, "{}: declared to last {length} s, its sound ends at {end}", movie.display());
}

#[test]
fn every_rendition_is_a_file_with_pictures_and_sound() {
    let presentation = assert_movies("bunny_720p25.mp4");
    assert_eq!((presentation.video.len(), presentation.audio.len()), (2, 1));
    let certificate: Value =
        serde_json::from_slice(&fs::read(presentation.out.join("presentation.json")).unwrap()).unwrap();
    let keys: Vec<&str> =
        certificate["movies"].as_array().unwrap().iter().map(|m| m["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["720p/720p.mp4", "360p/360p.mp4"]);
}

#[test]
fn sound_that_starts_late_starts_late_in_the_file() {
    assert_movies("late_audio.mp4");
}

#[test]
fn uneven_frame_times_and_a_missing_sound_are_kept() {
    assert_movies("vfr_slow_motion.mp4");
}

#[test]
fn one_language_of_many_is_in_the_file() {
    assert_movies("three_languages.mkv");
}

#[test]
fn sound_without_pictures_is_a_file_too() {
    let presentation = Presentation::of(&clip("audio_only_opus51.mka"), &["--mp4"]);
    let track = &presentation.audio[0];
    let movie = movie_of(&presentation, track);
    let longer = Frames::of(&movie, "a:0").audio_seconds() - Timeline::of(track).presented_seconds();
    assert!(longer.abs() < 0.022, "{longer} s longer than the track");
}

#[test]
fn files_are_part_of_the_order_and_go_with_the_presentation() {
    let (source, parent) = (clip("hevc_bframes.mp4"), folder());
    let out = parent.path().join("out");
    let said = |options: &[&str]| {
        let output = transcode(&source, &out, options);
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.code().unwrap(), text)
    };
    let file = out.join("360p/360p.mp4");
    let (code, text) = said(&["--mp4"]);
    assert!(code == 0 && text.contains(&format!("file:   {}\n", file.display())), "{text}");
    let (code, text) = said(&[]);
    assert!(code == 5 && text.contains("--mp4 was true and is now false"), "{text}");
    let (code, text) = said(&["--fresh"]);
    assert!(code == 0 && !file.try_exists().unwrap(), "{text}");
}
