//! The presentation plays from start to end, with switches and seeks, in the players people use.

#[allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]
mod support;

use support::players::{are_here, count, play};
use support::{Presentation, clip, folder, with_opus};

#[test]
fn three_players_play_switch_and_seek() {
    if !are_here("three_players_play_switch_and_seek") {
        return;
    }
    let presentation = Presentation::of(&clip("bunny_720p25.mp4"), &["--segment", "2s"]);
    assert!(presentation.video.len() >= 2, "there should be something to switch between");
    assert_eq!(count(&play(&presentation.out, &[]), "ok "), 4);
}

#[test]
fn av1_and_opus_play_switch_and_seek() {
    if !are_here("av1_and_opus_play_switch_and_seek") {
        return;
    }
    let folder = folder();
    let profile = with_opus("av1", folder.path());
    let options = ["--profile", profile.to_str().expect("UTF-8"), "--preset", "12", "--segment", "2s"];
    let presentation = Presentation::of(&clip("bunny_720p25.mp4"), &options);
    assert!(presentation.video.len() >= 2, "there should be something to switch between");
    assert_eq!(count(&play(&presentation.out, &["hls-hlsjs", "dash-shaka"]), "ok "), 2);
}

/// Debian's Chromium says that it doesn't; one that does must.
#[test]
fn hevc_plays_where_the_browser_says_that_it_does() {
    if !are_here("hevc_plays_where_the_browser_says_that_it_does") {
        return;
    }
    let options = ["--profile", "hevc", "--preset", "ultrafast", "--rungs", "360"];
    let presentation = Presentation::of(&clip("bunny_720p25.mp4"), &options);
    let told = play(&presentation.out, &["hls-hlsjs"]);
    if count(&told, "skipped hls-hlsjs: this browser does not play hvc1.") == 1 {
        eprintln!("SKIPPED hevc_plays_where_the_browser_says_that_it_does: {told}");
        return;
    }
    assert_eq!(count(&told, "ok "), 1, "{told}");
}
