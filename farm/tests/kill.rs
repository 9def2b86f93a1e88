//! Killed at any moment, the farm continues where it was and ends with the bytes of an undisturbed run.
//!
//! `FARM_KILLS` is the number of kills of each kind (5 if it is not set), `FARM_SEED` chooses other moments.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

#[allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]
mod support;

use support::chance::{Chance, number};
use support::{Presentation, clip, folder};

const OPTIONS: [&str; 5] = ["--segment", "2s", "--slots", "2", "--mp4"];
/// What is left of a killed farm must be gone after this.
const ORPHAN_LIMIT: Duration = Duration::from_secs(5);
/// Far beyond the slowest run.
const RUN_LIMIT: Duration = Duration::from_secs(300);

/// A copy of the farm whose processes can be told from all others by their path.
struct Farm {
    program: PathBuf,
    source: PathBuf,
    folder: TempDir,
    moments: Chance,
}

impl Farm {
    fn new(name: &str, source: &str) -> Self {
        let folder = folder();
        let program = folder.path().join(name);
        fs::copy(env!("CARGO_BIN_EXE_farm"), &program).unwrap();
        Self { program, source: clip(source), folder, moments: Chance::new() }
    }

    fn out(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start(&self, out: &Path) -> Child {
        let log = fs::File::create(self.out("stderr")).unwrap();
        let mut command = Command::new(&self.program);
        command.arg("transcode").arg(&self.source).arg(out).args(OPTIONS).stdout(Stdio::null()).stderr(log);
        command.spawn().unwrap()
    }

    fn finish(&self, mut child: Child) {
        let status = wait(&mut child, RUN_LIMIT).unwrap_or_else(|| {
            child.kill().unwrap();
            panic!("not done after {RUN_LIMIT:?}: {}", self.said())
        });
        assert!(status.success(), "{status}: {}", self.said());
    }

    fn said(&self) -> String {
        fs::read_to_string(self.out("stderr")).unwrap()
    }

    /// What an undisturbed run makes, and how long it takes.
    fn undisturbed(&self) -> (BTreeMap<String, Vec<u8>>, Duration) {
        let (out, begin) = (self.out("undisturbed"), Instant::now());
        self.finish(self.start(&out));
        (Presentation::bytes(&out), begin.elapsed())
    }

    /// Processes of this copy of the farm, the farm itself included.
    fn processes(&self) -> Vec<u32> {
        let ids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
        ids.filter(|id| fs::read_link(format!("/proc/{id}/exe")).is_ok_and(|exe| exe == self.program)).collect()
    }

    fn assert_no_orphans(&self, context: &str) {
        let begin = Instant::now();
        while !self.processes().is_empty() {
            assert!(begin.elapsed() < ORPHAN_LIMIT, "{context}: processes {:?} live on", self.processes());
            pause(Duration::from_millis(10));
        }
    }

    fn assert_same(&self, wanted: &BTreeMap<String, Vec<u8>>, out: &Path, context: &str) {
        let made = Presentation::bytes(out);
        assert!(wanted.keys().eq(made.keys()), "{context}: {:?}\nundisturbed: {:?}", made.keys(), wanted.keys());
        for (name, bytes) in wanted {
            assert!(made[name] == *bytes, "{context}: {name} differs");
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "kills come at moments that have nothing to do with the farm")]
fn pause(span: Duration) {
    std::thread::sleep(span);
}

/// `None` if it still runs after `limit`.
fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if begin.elapsed() >= limit {
            return None;
        }
        pause(Duration::from_millis(2).min(limit));
    }
}

#[test]
fn a_killed_farm_continues_and_ends_with_the_same_bytes() {
    let mut farm = Farm::new("farm-killed", "open_gop_2997.mp4");
    let (wanted, span) = farm.undisturbed();
    let kills = number("FARM_KILLS", 5);
    let mut moments = Vec::new();
    for kill in 0..kills {
        let out = farm.out(&format!("out-{}", kill / 2));
        let moment = farm.moments.within(span);
        moments.push(moment);
        let context = format!("killed after {moments:?} of {span:?}");
        let mut child = farm.start(&out);
        // One that was faster than the kill has ended, which is as good.
        if wait(&mut child, moment).is_none() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        farm.assert_no_orphans(&context);
        // Two kills, then it may finish.
        if kill % 2 == 1 || kill + 1 == kills {
            farm.finish(farm.start(&out));
            farm.assert_same(&wanted, &out, &context);
            farm.assert_no_orphans(&context);
            moments.clear();
        }
    }
}

#[test]
fn a_killed_slot_costs_its_attempt_and_nothing_else() {
    let mut farm = Farm::new("farm-of-killed-slots", "open_gop_2997.mp4");
    let (wanted, span) = farm.undisturbed();
    let mut hit = 0;
    let kills = number("FARM_KILLS", 5);
    for kill in 0..kills {
        let out = farm.out(&format!("out-{kill}"));
        let moment = farm.moments.within(span);
        let context = format!("a slot was killed after {moment:?} of {span:?}");
        let mut child = farm.start(&out);
        if wait(&mut child, moment).is_none() {
            let slots: Vec<u32> = farm.processes().into_iter().filter(|id| *id != child.id()).collect();
            if !slots.is_empty() {
                let victim = slots[farm.moments.below(slots.len() as u64) as usize];
                // It may have ended by itself in between.
                hit += u64::from(Command::new("kill").args(["-9", &victim.to_string()]).status().unwrap().success());
            }
        }
        farm.finish(child);
        farm.assert_same(&wanted, &out, &context);
        farm.assert_no_orphans(&context);
    }
    assert!(hit * 3 >= kills, "{hit} of {kills} moments found a slot to kill");
}

#[test]
fn a_farm_killed_between_files_leaves_no_half_one_and_continues() {
    let farm = Farm::new("farm-killed-at-files", "hevc_bframes.mp4");
    let (wanted, _) = farm.undisturbed();
    let (out, begin) = (farm.out("out"), Instant::now());
    let mut child = farm.start(&out);
    while !out.join("720p/720p.mp4").try_exists().unwrap() {
        assert!(begin.elapsed() < RUN_LIMIT && child.try_wait().unwrap().is_none(), "no file: {}", farm.said());
    }
    child.kill().unwrap();
    child.wait().unwrap();
    farm.assert_no_orphans("killed between files");
    let left = Presentation::bytes(&out);
    for (name, bytes) in left.iter().filter(|(name, _)| name.ends_with(".mp4")) {
        assert!(wanted[name] == *bytes, "{name} is not whole");
    }
    farm.finish(farm.start(&out));
    farm.assert_same(&wanted, &out, "killed between files");
}
