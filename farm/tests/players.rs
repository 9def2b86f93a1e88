//! The presentation plays from start to end, with switches and seeks, in the players people use.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

#[allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]
mod support;

use support::{Presentation, clip};

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

#[test]
fn three_players_play_switch_and_seek() {
    if let Some(what) = missing() {
        assert!(std::env::var_os("CI").is_none(), "{what} is missing; `make players` installs it");
        eprintln!("SKIPPED three_players_play_switch_and_seek: {what} is missing; `make players` installs it");
        return;
    }
    let presentation = Presentation::of(&clip("bunny_720p25.mp4"), &["--segment", "2s"]);
    assert!(presentation.video.len() >= 2, "there should be something to switch between");
    let origin = Origin::start(&presentation.out);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/players");
    let output = Command::new("node").arg("play.mjs").arg(&origin.url).current_dir(folder).output().expect("node");
    let (told, complaints) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{told}");
    assert!(output.status.success(), "{told}{complaints}");
    assert_eq!(told.lines().filter(|line| line.starts_with("ok ")).count(), 4, "{told}");
}
