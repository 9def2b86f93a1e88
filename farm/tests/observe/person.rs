//! A fault of `deploy/DRILL.md` that a person is to find, who is told what whoever is on call knows, and not which it is.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::io::stdin;
use std::path::Path;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::files;
use crate::prometheus::Since;
use crate::report::Row;
use crate::scenes::{self, Part};
use crate::stage::Stage;
use crate::support::chance::number;

/// For how many seconds the fault lasts at most; it ends with a line from the person before.
const HOLD: &str = "FARM_DRILL_HOLD_S";
/// Twice what a person should need; jobs of the load may not take longer than a little more.
const HOLD_S: u64 = 240;
/// What the person is told, as a file.
const TOLD: &str = "drill.txt";
/// Jobs of the load that have ended before the fault, so that curves have a beginning.
const BEFORE: usize = 4;

/// Causes a fault with these words in its name, one of all that have them, until the person has found it. Returns what went
/// otherwise than it should.
pub async fn drill(stage: &Stage, words: &str) -> Vec<String> {
    let fault = any_of(scenes::faults(words));
    let limit = Duration::from_secs(number(HOLD, HOLD_S));
    stage.load.flows(BEFORE).await;
    let told = told(stage, limit);
    files::leave(TOLD, &told);
    eprintln!("{told}");
    let (began, enough) = (Since::now(), CancellationToken::new());
    let answered = async {
        let answer = tokio::time::timeout(limit, line()).await;
        enough.cancel();
        eprintln!("It ends when its alert has fired too.");
        (answer.unwrap_or_default(), began.elapsed_s())
    };
    let (row, answer) = tokio::join!(scenes::perform_one(fault, stage, enough.clone()), answered);
    eprintln!("{}", solution(&row, stage, began, answer));
    row.complaints
}

/// One by chance. There must be some.
fn any_of(mut faults: Vec<Part>) -> Part {
    assert!(!faults.is_empty(), "no fault of deploy/DRILL.md is called so");
    let chance = Since::now().unix_s().fract() * faults.len() as f64;
    faults.swap_remove(chance as usize)
}

/// The next line that is typed; never, where nobody types.
async fn line() -> String {
    let (send, typed) = oneshot::channel();
    // A thread of its own, as nothing ends it but a line, or the end of this process.
    std::thread::spawn(move || {
        let mut line = String::new();
        if stdin().read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
            let _ = send.send(line.trim().to_owned());
        }
    });
    match typed.await {
        Ok(line) => line,
        Err(_) => std::future::pending().await,
    }
}

/// What whoever is on call knows.
fn told(stage: &Stage, limit: Duration) -> String {
    let (prometheus, cluster) = (stage.prometheus.url(), stage.cluster());
    let programs = Path::new(env!("CARGO_BIN_EXE_farm")).parent().expect("programs lie in a folder");
    let api = cluster.coordinators[0].api;
    // Others don't see what is mounted for this test alone.
    let logs = format!("/proc/{}/root{}", std::process::id(), cluster.folder.path().display());
    let mut told = format!(
        "Something goes wrong in this farm from now on. What is it? Two minutes should do.\n\n\
        Two coordinators, three workers of which one has a GPU (a played one), NATS, etcd, an object store, and jobs. All that\n\
        alerts wait for takes a twentieth of its time here, so that what texts call a minute is three seconds.\n\n\
        alerts    {prometheus}/alerts   (curl -s {prometheus}/api/v1/alerts)\n\
        panels    node dashboards/build/show.js --prometheus {prometheus} --window 15s farm   (or workers, control-plane)\n\
        farm      export FARM_SERVER=http://127.0.0.1:{api} PATH={}:$PATH   (no key is needed; farm job list)\n\
        runbook   deploy/RUNBOOK.md, from \"The first two minutes\" on\n\
        logs      {logs}/*.log\n",
        programs.display()
    );
    for (number, program) in cluster.coordinators.iter().enumerate() {
        let _ = writeln!(told, "          127.0.0.1:{} is coordinator {number}", program.pages);
    }
    for (number, program) in cluster.workers.iter().enumerate() {
        let _ = writeln!(told, "          127.0.0.1:{} is worker w{number}", program.pages);
    }
    let _ = write!(told, "\nPress Enter, or write what it is and press Enter. It ends by itself after {limit:?}.\n");
    told
}

/// What it was, and what has shown it.
fn solution(row: &Row, stage: &Stage, began: Since, (answer, after_s): (String, f64)) -> String {
    let mut told = format!("\nIt was: {}. deploy/DRILL.md says more of it.\n", row.name);
    if !row.skipped.is_empty() {
        let _ = writeln!(told, "It can't be played here: {}", row.skipped);
    }
    let _ = writeln!(told, "The answer came after {after_s:.0} s: {answer:?}");
    let mut fired = BTreeSet::new();
    for spell in stage.prometheus.spells(began) {
        if fired.insert(spell.alert.clone()) {
            let _ = writeln!(told, "{} fired after {:.0} s", spell.alert, spell.from - began.unix_s());
        }
    }
    for (panel, value) in &row.panels {
        let _ = writeln!(told, "The panel {panel:?} showed {value:.2}");
    }
    let _ = writeln!(told, "`farm job explain` said: {}", row.explained);
    told
}
