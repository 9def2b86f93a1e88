//! Every clip of a folder of real files, judged by the checker that comes with it. `make corpus` runs it.
//!
//! `FARM_CORPUS` names the folder (`../shared/media` beside the workspace if it is not set): clips, and a
//! `MANIFEST.tsv` with the columns `file` and `classes`. Clips of the class `must-reject` must be refused. Where the
//! source's own timeline is broken, findings are listed to be judged by hand and do not fail the test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

#[allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]
mod support;

use support::{folder, transcode};

const REFUSAL_LIMIT: Duration = Duration::from_secs(5);
/// Classes of sources whose own timeline is broken or changes on the way.
const BY_HAND: [&str; 9] = [
    "discontinuity",
    "dup-pts",
    "dup-dts",
    "mid-gop-start",
    "corrupt",
    "truncated",
    "resolution-change",
    "pts-wrap",
    "pmt-change",
];

struct Clip {
    path: PathBuf,
    classes: Vec<String>,
}

/// Name and verdict of a clip, and whether the test fails for it.
struct Row {
    verdict: String,
    failed: bool,
}

fn clips(corpus: &Path) -> Vec<Clip> {
    let manifest = fs::read_to_string(corpus.join("MANIFEST.tsv")).unwrap();
    let mut lines = manifest.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let header = lines.next().expect("a header");
    let column = |name| header.iter().position(|title| *title == name).expect("a column of that name");
    let (file, classes) = (column("file"), column("classes"));
    let clip = |row: Vec<&str>| Clip {
        path: corpus.join(row[file]),
        classes: row[classes].split(',').map(str::to_owned).collect(),
    };
    lines.map(clip).collect()
}

fn judge(clip: &Clip, checker: &Path) -> Row {
    let folder = folder();
    let out = folder.path().join("out");
    let begin = Instant::now();
    let output = transcode(&clip.path, &out, &[]);
    let (spent, said) = (begin.elapsed(), String::from_utf8_lossy(&output.stderr));
    let is = |class: &str| clip.classes.iter().any(|found| found == class);
    let first = said.lines().find(|line| line.starts_with("error")).unwrap_or_default();
    if is("must-reject") {
        let refused = matches!(output.status.code(), Some(3 | 4)) && spent <= REFUSAL_LIMIT;
        let left = out.try_exists().unwrap();
        let verdict = format!("refused in {spent:.1?}{}: {first}", if left { ", leaving something" } else { "" });
        return Row { verdict, failed: !refused || left };
    }
    if !output.status.success() {
        return Row { verdict: format!("{}: {first}", output.status), failed: true };
    }
    let checked = Command::new(checker).arg(&clip.path).arg(&out).output().expect("the checker should start");
    let told = String::from_utf8_lossy(&checked.stdout);
    let findings: Vec<&str> = told.lines().filter(|line| line.starts_with("WRONG")).collect();
    let by_hand = BY_HAND.iter().any(|class| is(class));
    let mark = if by_hand && !findings.is_empty() { "to be judged by hand: " } else { "" };
    let last = told.lines().last().unwrap_or("the checker says nothing");
    let verdict = format!("{mark}{last} in {spent:.1?} {}", findings.join("; "));
    Row { verdict, failed: !checked.status.success() && !by_hand }
}

#[test]
#[ignore = "takes minutes; `make corpus` runs it"]
fn every_clip_becomes_a_right_presentation_or_is_refused() {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/media");
    let corpus = std::env::var_os("FARM_CORPUS").map_or(beside, PathBuf::from);
    let checker = corpus.join("../tools/check_presentation.py");
    for needed in [corpus.join("MANIFEST.tsv"), checker.clone()] {
        if !needed.is_file() {
            println!("SKIPPED every_clip_becomes_a_right_presentation_or_is_refused: no {}", needed.display());
            return;
        }
    }
    let only = std::env::var_os("FARM_CLIP").and_then(|name| name.into_string().ok()).unwrap_or_default();
    let mut failed = Vec::new();
    for clip in clips(&corpus).iter().filter(|clip| clip.path.to_string_lossy().contains(&only)) {
        let row = judge(clip, &checker);
        let name = clip.path.file_name().unwrap_or_default().to_string_lossy();
        println!("{} {name:<48} {}", if row.failed { "FAILED" } else { "ok    " }, row.verdict);
        if row.failed {
            failed.push(name.into_owned());
        }
    }
    assert!(failed.is_empty(), "{} clips: {}", failed.len(), failed.join(", "));
}
