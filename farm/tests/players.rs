//! The presentation plays from start to end, with switches and seeks, in the players people use.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

#[allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]
mod support;

use support::{Presentation, clip, folder, with_opus};

/// `farm play`, ended with its owner. Its output stays open as long, as a terminal's would.
struct Origin {
    child: Child,
    url: String,
    _output: BufReader<ChildStdout>,
}

impl Origin {
    fn start(out: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_farm"));
        let mut child =
            command.arg("play").arg(out).args(["--port", "0"]).stdout(Stdio::piped()).spawn().expect("farm play");
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        while !line.contains("http://") {
            line.clear();
            assert_ne!(output.read_line(&mut line).expect("a line"), 0, "farm play should say where it listens");
        }
        let url = line.split_whitespace().next_back().expect("a word").to_owned();
        Self { child, url, _output: output }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        // It has been waited for if it is gone already; there is nobody to tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is missing for this test, if anything.
fn missing() -> Option<&'static str> {
    let runs = |command: &str| Command::new(command).arg("--version").output().is_ok_and(|o| o.status.success());
    let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/players/node_modules/playwright-core");
    match (runs("node"), runs("chromium"), modules.is_dir()) {
        (false, ..) => Some("node"),
        (_, false, _) => Some("chromium"),
        (.., false) => Some("farm/tests/players/node_modules"),
        _ => None,
    }
}

/// Whether `test` can run here; on a build machine it must.
fn players_are_here(test: &str) -> bool {
    let Some(what) = missing() else { return true };
    assert!(std::env::var_os("CI").is_none(), "{what} is missing; `make players` installs it");
    eprintln!("SKIPPED {test}: {what} is missing; `make players` installs it");
    false
}

/// Plays it in these cases, or in all; what was told of each.
fn play(presentation: &Presentation, cases: &[&str]) -> String {
    let origin = Origin::start(&presentation.out);
    let mut command = Command::new("node");
    command.arg("play.mjs").arg(&origin.url).args(cases.iter().flat_map(|case| ["--only", case]));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/players");
    let output = command.current_dir(folder).output().expect("node");
    let (told, complaints) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{told}");
    assert!(output.status.success(), "{told}{complaints}");
    told.into_owned()
}

fn count(told: &str, word: &str) -> usize {
    told.lines().filter(|line| line.starts_with(word)).count()
}

#[test]
fn three_players_play_switch_and_seek() {
    if !players_are_here("three_players_play_switch_and_seek") {
        return;
    }
    let presentation = Presentation::of(&clip("bunny_720p25.mp4"), &["--segment", "2s"]);
    assert!(presentation.video.len() >= 2, "there should be something to switch between");
    assert_eq!(count(&play(&presentation, &[]), "ok "), 4);
}

#[test]
fn av1_and_opus_play_switch_and_seek() {
    if !players_are_here("av1_and_opus_play_switch_and_seek") {
        return;
    }
    let folder = folder();
    let profile = with_opus("av1", folder.path());
    let options = ["--profile", profile.to_str().expect("UTF-8"), "--preset", "12", "--segment", "2s"];
    let presentation = Presentation::of(&clip("bunny_720p25.mp4"), &options);
    assert!(presentation.video.len() >= 2, "there should be something to switch between");
    assert_eq!(count(&play(&presentation, &["hls-hlsjs", "dash-shaka"]), "ok "), 2);
}

/// Debian's Chromium says that it doesn't; one that does must.
#[test]
fn hevc_plays_where_the_browser_says_that_it_does() {
    if !players_are_here("hevc_plays_where_the_browser_says_that_it_does") {
        return;
    }
    let options = ["--profile", "hevc", "--preset", "ultrafast", "--rungs", "360"];
    let presentation = Presentation::of(&clip("bunny_720p25.mp4"), &options);
    let told = play(&presentation, &["hls-hlsjs"]);
    if count(&told, "skipped hls-hlsjs: this browser does not play hvc1.") == 1 {
        eprintln!("SKIPPED hevc_plays_where_the_browser_says_that_it_does: {told}");
        return;
    }
    assert_eq!(count(&told, "ok "), 1, "{told}");
}
