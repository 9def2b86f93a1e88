//! Encoders of two families, other ids and other reordering, work on one presentation turn and turn about: for everybody who
//! reads or plays it, it is one.

mod alternation;
#[allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mp4_atom::{Avcc, Codec};
use serde_json::{Value, json};
use tempfile::TempDir;

use support::boxes::read_init;
use support::probe::{self, Frames};
use support::{Presentation, Track, clip, folder, players, run};

/// Made of a clip by FFmpeg.
fn made_of(clip: &Path, before: &[&str], after: &[&str], to: PathBuf) -> PathBuf {
    run(Command::new("ffmpeg").args(["-v", "error"]).args(before).arg("-i").arg(clip).args(after).arg(&to));
    to
}

/// 28 s in 480p: enough for a chunk of one family, one of the other, and one of the first again.
fn source(folder: &TempDir) -> PathBuf {
    let small = ["-vf", "scale=854:480", "-c:v", "libx264", "-preset", "ultrafast", "-crf", "18", "-c:a", "copy"];
    made_of(&clip("bunny_720p25.mp4"), &["-stream_loop", "1"], &small, folder.path().join("twice.mp4"))
}

/// The decoder configuration of an init segment, as a foreign reader finds it.
fn avcc(init: &Path) -> Avcc {
    let (_, moov) = read_init(init);
    let [Codec::Avc1(entry)] = &moov.trak[0].mdia.minf.stbl.stsd.codecs[..] else { panic!("not one avc1") };
    entry.avcc.clone()
}

/// How many parameter sets an init segment has: SPS and PPS.
fn sets(init: &Path) -> (usize, usize) {
    let avcc = avcc(init);
    (avcc.sequence_parameter_sets.len(), avcc.picture_parameter_sets.len())
}

fn certificate(presentation: &Presentation) -> Value {
    serde_json::from_slice(&fs::read(presentation.out.join("presentation.json")).unwrap()).unwrap()
}

/// Every frame of the source, at its time, and it is the right picture.
fn assert_whole(track: &Track, source: &Path, wanted: &Frames) {
    probe::assert_decodes(track.joined());
    let made = Frames::of(track.joined(), "v:0");
    assert_eq!(made.times.len(), wanted.times.len(), "{}", track.uri);
    for index in 0..wanted.times.len() {
        assert_eq!(made.since_first(index, wanted), wanted.since_first(index, &made), "{}: frame {index}", track.uri);
    }
    let worst = probe::psnr(source, track.joined(), track.size).into_iter().fold(f64::INFINITY, f64::min);
    assert!(worst > 30.0, "{}: a picture of {worst:.1} dB", track.uri);
}

#[test]
fn chunks_of_two_families_are_one_presentation() {
    let folder = folder();
    let source = source(&folder);
    let presentation = alternation::presentation(&source);
    let wanted = Frames::of(&source, "V:0");
    for track in &presentation.video {
        assert_eq!(sets(&track.init), (2, 2), "{}", track.uri);
        assert_whole(track, &source, &wanted);
        let (name, _) = track.uri.split_once('/').unwrap();
        probe::assert_decodes(&presentation.out.join(format!("{name}/{name}.mp4")));
    }
    for manifest in ["master.m3u8", "manifest.mpd"] {
        let packets = probe::packets_by_stream(&presentation.out.join(manifest), "v");
        assert_eq!(packets, vec![wanted.times.len() as u64; presentation.video.len()], "{manifest}");
    }
    let certificate = certificate(&presentation);
    assert_eq!(certificate["video"][0]["track"]["families"], json!(["software", "stand-in"]));
    let chunks = certificate["chunks"].as_array().unwrap();
    assert!(chunks.len() > 2, "there should be a change of either kind");
    for (number, chunk) in chunks.iter().enumerate() {
        let family = chunk["renditions"][0].get("family").map(|family| family.as_str().unwrap());
        assert_eq!(family, (number % 2 == 1).then_some("stand-in"), "chunk {number}");
    }
    let findings = certificate["source"]["findings"].as_array().unwrap();
    assert_eq!(findings.iter().filter(|finding| finding["code"] == "mixed_encoders").count(), presentation.video.len());
}

#[test]
fn three_players_play_switch_and_seek_between_families() {
    if !players::are_here("three_players_play_switch_and_seek_between_families") {
        return;
    }
    let folder = folder();
    let source = source(&folder);
    let presentation = alternation::presentation(&source);
    assert!(presentation.video.len() >= 2, "there should be something to switch between");
    assert_eq!(players::count(&players::play(&presentation.out, &[]), "ok "), 4);
    let begun = made_of(&source, &["-t", "2"], &["-c", "copy"], folder.path().join("begun.mp4"));
    outgrow(&presentation, &Presentation::of(&begun, &["--segment", "2s", "--rungs", "all"]));
    assert_eq!(players::count(&players::play(&presentation.out, &["hls-hlsjs", "hls-shaka"]), "ok "), 2);
}

/// Playlists as they were while the presentation grew: the first segment has an init segment without the sets of the family
/// that came later.
fn outgrow(presentation: &Presentation, begun: &Presentation) {
    for (track, begun) in presentation.video.iter().zip(&begun.video) {
        assert_eq!((sets(&begun.init), sets(&track.init)), ((1, 1), (2, 2)));
        let name = |init: &Path| init.file_name().unwrap().to_str().unwrap().to_owned();
        fs::copy(&begun.init, track.init.with_file_name(name(&begun.init))).unwrap();
        let map = |init: &Path| format!("#EXT-X-MAP:URI=\"{}\"\n", name(init));
        let playlist = presentation.out.join(&track.uri);
        let text = fs::read_to_string(&playlist).unwrap();
        let (head, segments) = text.split_once(&map(&track.init)).unwrap();
        let (first, rest) = segments.split_at(segments.match_indices("#EXTINF").nth(1).unwrap().0);
        fs::write(&playlist, [head, &map(&begun.init), first, &map(&track.init), rest].concat()).unwrap();
    }
}
