//! A farm whose programs become those of another version, one after the other and under load, and the old ones again, as
//! `deploy/UPGRADE.md` says. `make upgrade-check OLD=COMMIT` runs it; without programs of another version it is skipped.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use proto::v1;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::records::{Bookmarks, Records};
use crate::support::cluster::client::Client;
use crate::support::cluster::{Cluster, Parts, Program, build};
use crate::support::load::{Clip, Load, PROFILE, tiny_clips};
use crate::support::{self, Presentation, folder, run, run_with_complaints};

/// Names the folder of the `coordinator`, `worker` and `farm` of another version.
const OLD: &str = "FARM_OLD_PROGRAMS";
/// Whatever happens, another job ends within this time.
const FLOW: Duration = Duration::from_secs(60);
/// Longest time in which no coordinator answers.
const LONGEST_SILENCE: Duration = Duration::from_secs(3);
/// Between two questions of somebody who always wants to know.
const ASKED_EVERY: Duration = Duration::from_millis(50);

/// A farm, and what runs through it while it changes.
struct Farm {
    cluster: Cluster,
    load: Load,
    /// From where its programs are started.
    installed: PathBuf,
    old: PathBuf,
    real: Clip,
    /// Of tasks, by coordinators that have ended.
    retries: f64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_farm_under_load_becomes_another_version_and_the_old_one_again_and_no_job_notices() {
    let Some(old) = old_programs() else { return };
    let installed = folder();
    let Some(mut farm) = Farm::start(old, installed.path()) else { return };
    let (ended, mut witness) = (CancellationToken::new(), JoinSet::new());
    witness.spawn(longest_silence(farm.cluster.client(), ended.clone()));
    let (old, new) = (farm.old.clone(), build::programs());

    let records = farm.leave("before").await;
    farm.change_workers(&new).await;
    farm.change_coordinators(&new).await;
    records.end(&farm.cluster, &farm.real).await;

    let records = farm.leave("after").await;
    farm.change_coordinators(&old).await;
    farm.change_workers(&old).await;
    records.end(&farm.cluster, &farm.real).await;

    let jobs = farm.load.finish().await;
    assert_eq!(troubled(&farm.cluster.client()).await, [""; 0]);
    farm.retries += farm.cluster.coordinators.iter().map(retries).sum::<f64>();
    let complaints =
        || farm.cluster.coordinators.iter().chain(&farm.cluster.workers).map(complaints).collect::<String>();
    assert!(farm.retries == 0.0, "{} attempts count against a job:\n{}", farm.retries, complaints());
    ended.cancel();
    let (silence, answers) = witness.join_all().await.remove(0);
    let given_back = farm.cluster.workers.iter().map(|worker| worker.said().matches("attempt given back").count());
    let given_back: usize = given_back.sum();
    eprintln!(
        "{jobs} jobs of the load; {given_back} attempts given back; {answers} answers, {silence:.1?} apart at most"
    );
    assert!(silence <= LONGEST_SILENCE, "nobody answered for {silence:?}");
}

/// `None`, said on standard error, where there are none.
fn old_programs() -> Option<PathBuf> {
    let Some(old) = std::env::var_os(OLD).map(PathBuf::from) else {
        eprintln!("SKIPPED upgrade: {OLD} names no programs of another version; `make upgrade-check OLD=COMMIT` does");
        return None;
    };
    build::build();
    for name in ["coordinator", "worker"] {
        let [there, here] = [&old.join(name), &build::program(name)].map(|program| std::fs::read(program).unwrap());
        assert!(there != here, "{name} of {} is the one of this build", old.display());
    }
    Some(old)
}

impl Farm {
    fn start(old: PathBuf, installed: &Path) -> Option<Self> {
        ["coordinator", "worker"].iter().for_each(|name| install(&old, name, installed));
        let programs = installed.to_owned();
        let cluster = Parts { coordinators: 3, workers: 3, programs, ..Parts::default() }.start()?;
        let sources = tiny_clips(cluster.folder.path());
        let clip = if same_bytes(&old, &sources[0]) { Clip::of } else { Clip::of_many_bytes };
        let real = clip(real_clip(cluster.folder.path()));
        let load = Load::of(&cluster, sources.into_iter().map(clip).collect(), 3);
        Some(Self { cluster, load, installed: installed.to_owned(), old, real, retries: 0.0 })
    }

    /// Jobs for the other version.
    async fn leave(&mut self, name: &str) -> Records {
        self.load.flows(1, FLOW).await;
        Records::begin(&self.cluster, &self.real, name, &self.load.last_job()).await
    }

    /// One after the other; the first is drained by a person, the others are told to end by whoever installs programs.
    async fn change_workers(&mut self, programs: &Path) {
        // As a package does it: all programs that run go on with the old file, which has no name any more.
        install(programs, "worker", &self.installed);
        for number in 0..self.cluster.workers.len() {
            if number == 0 {
                let server = format!("http://127.0.0.1:{}", self.cluster.coordinators[self.cluster.leader()].api);
                farm(programs, &["worker", "drain", "w0", "--server", &server]);
            } else {
                self.cluster.workers[number].ask_to_end();
            }
            began_anew(&mut self.cluster.workers[number]);
            self.goes_on().await;
        }
        self.is_well().await;
    }

    /// Those that follow first and the leader last, so that the lead changes once.
    async fn change_coordinators(&mut self, programs: &Path) {
        install(programs, "coordinator", &self.installed);
        let marks = Bookmarks::put(&self.cluster.client()).await;
        let leader = self.cluster.leader();
        let count = self.cluster.coordinators.len();
        for number in (leader + 1..leader + count).map(|number| number % count).chain([leader]) {
            assert_eq!(self.cluster.leader(), leader, "the lead changes once");
            self.retries += retries(&self.cluster.coordinators[number]);
            self.cluster.coordinators[number].ask_to_end();
            began_anew(&mut self.cluster.coordinators[number]);
            self.goes_on().await;
        }
        assert_ne!(self.cluster.leader(), leader);
        self.is_well().await;
        marks.are_found(&self.cluster.client(), &self.load.last_job()).await;
    }

    /// Jobs end, and every coordinator answers people who have either version.
    async fn goes_on(&mut self) {
        self.load.flows(1, FLOW).await;
        let job = self.load.last_job();
        for coordinator in &self.cluster.coordinators {
            coordinator.wait_until_ready();
            let server = format!("http://127.0.0.1:{}", coordinator.api);
            for programs in [&self.old, &build::programs()] {
                let stands = farm(programs, &["job", "get", &job, "--json", "--server", &server]);
                assert!(stands.contains("JOB_STATE_SUCCEEDED"), "{stands}");
            }
        }
    }

    /// The same, and to every question.
    async fn is_well(&mut self) {
        self.goes_on().await;
        let job = self.load.last_job();
        let server = format!("http://127.0.0.1:{}", self.cluster.coordinators[self.cluster.leader()].api);
        for programs in [&self.old, &build::programs()] {
            let ask = |args: &[&str]| farm(programs, &[args, &["--server", &server]].concat());
            assert!(ask(&["job", "explain", &job]).contains("whole"));
            assert!(ask(&["job", "list"]).contains(&job));
            assert!(ask(&["worker", "list"]).contains("w2"));
        }
    }
}

/// 84 seconds of pictures, in as many chunks as one job needs to outlast a change of coordinators.
fn real_clip(folder: &Path) -> PathBuf {
    let source = folder.join("real.mp4");
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-v", "error", "-stream_loop", "5", "-i"]).arg(support::clip("bunny_720p25.mp4"));
    run(ffmpeg.args(["-vf", "scale=640:360", "-preset", "ultrafast", "-g", "50", "-c:a", "copy"]).arg(&source));
    source
}

/// Puts the program `name` of the folder `from` in the place of the one in `to`, at once.
fn install(from: &Path, name: &str, to: &Path) {
    let new = to.join(format!("{name}.new"));
    std::fs::copy(from.join(name), &new).unwrap();
    std::fs::rename(new, to.join(name)).unwrap();
}

/// How often a coordinator had a task tried again after a failure.
fn retries(coordinator: &Program) -> f64 {
    coordinator.metric("farm_coordinator_retries_total").unwrap()
}

/// What a program has logged that is not as it should be, a line each.
fn complaints(program: &Program) -> String {
    program.said().lines().filter(|line| !line.contains(" INFO ")).map(|line| format!("{line}\n")).collect()
}

/// It ends well and is started from the file that is there now.
fn began_anew(program: &mut Program) {
    let (status, _) = program.ended();
    assert!(status.success(), "{status}: {}", program.said());
    program.restart();
    program.wait_until_ready();
}

/// What `farm ARGS` of these programs says; it must succeed.
fn farm(programs: &Path, args: &[&str]) -> String {
    run(Command::new(programs.join("farm")).args(args).env_remove("RUST_LOG"))
}

/// Whether the old programs make the same bytes as those of this build.
fn same_bytes(old: &Path, source: &Path) -> bool {
    let outs = [old, &build::programs()].map(|programs| {
        let out = folder();
        let mut command = Command::new(programs.join("farm"));
        run_with_complaints(command.arg("transcode").arg(source).arg(out.path()).args(["--profile", PROFILE]));
        Presentation::bytes(out.path())
    });
    let same = outs[0] == outs[1];
    eprintln!("both versions make {} bytes", if same { "the same" } else { "different" });
    same
}

/// The longest time between two answers, and how many there were.
async fn longest_silence(client: Client, ended: CancellationToken) -> (Duration, u64) {
    let (mut longest, mut answers, mut last) = (Duration::ZERO, 0, Instant::now());
    while !ended.is_cancelled() {
        client.list(v1::ListJobsRequest { page_size: 1, ..Default::default() }).await;
        longest = longest.max(last.elapsed());
        (answers, last) = (answers + 1, Instant::now());
        tokio::time::sleep(ASKED_EVERY).await;
    }
    (longest, answers)
}

/// Jobs that have not ended well.
async fn troubled(client: &Client) -> Vec<String> {
    let request = v1::ListJobsRequest { page_size: 500, ..Default::default() };
    let answer = client.list(request).await;
    assert_eq!(answer.next_page_token, "", "more jobs than were looked at");
    let troubled = answer.jobs.iter().filter(|job| job.state() != v1::JobState::Succeeded);
    troubled.map(|job| format!("{job:?}")).collect()
}
