//! The players people use, in headless Chromium.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

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
pub fn are_here(test: &str) -> bool {
    let Some(what) = missing() else { return true };
    assert!(std::env::var_os("CI").is_none(), "{what} is missing; `make players` installs it");
    eprintln!("SKIPPED {test}: {what} is missing; `make players` installs it");
    false
}

/// Plays the presentation in a folder in these cases, or in all; what was told of each.
pub fn play(out: &Path, cases: &[&str]) -> String {
    let origin = Origin::start(out);
    let mut command = Command::new("node");
    command.arg("play.mjs").arg(&origin.url).args(cases.iter().flat_map(|case| ["--only", case]));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/players");
    let output = command.current_dir(folder).output().expect("node");
    let (told, complaints) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{told}");
    assert!(output.status.success(), "{told}{complaints}");
    told.into_owned()
}

/// Lines of `told` that begin with `word`.
pub fn count(told: &str, word: &str) -> usize {
    told.lines().filter(|line| line.starts_with(word)).count()
}
