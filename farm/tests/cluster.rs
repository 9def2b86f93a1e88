//! Coordinators and workers as processes of their own, with a real NATS and a real etcd: the bytes are those of
//! `farm transcode`, whoever dies meanwhile.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use proto::v1;

#[allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]
mod support;

use support::cluster::{Cluster, Host, LEASE_S, Parts, Program, Settings};
use support::right::assert_judged_right;
use support::{Presentation, clip, run, transcode};

/// What fail-over may take beyond the lease.
const GRACE: Duration = Duration::from_secs(2);

/// A source of several chunks, below `folder`.
fn long_clip(folder: &Path) -> PathBuf {
    let source = folder.join("source.mp4");
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-v", "error", "-stream_loop", "1", "-i"]).arg(clip("bunny_720p25.mp4"));
    run(ffmpeg.args(["-c", "copy", "-map", "0"]).arg(&source));
    source
}

/// The same as `farm transcode` makes.
fn assert_same(source: &Path, made: &Path) {
    let alone = made.with_extension("alone");
    let output = transcode(source, &alone, &["--profile", "web-3"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (wanted, made) = (Presentation::bytes(&alone), Presentation::bytes(made));
    assert!(wanted.keys().eq(made.keys()), "{:?}\nfarm transcode: {:?}", made.keys(), wanted.keys());
    for (name, bytes) in wanted {
        assert!(made[&name] == bytes, "{name} differs");
    }
}

#[tokio::test]
async fn a_cluster_makes_the_bytes_of_one_machine_and_ends_in_order() {
    let Some(mut cluster) = Parts::default().start() else { return };
    let source = clip("open_gop_2997.mp4");
    cluster.put("source.mp4", &source).await;
    let client = cluster.client();
    let leader = cluster.leader();
    let job = client.submit("once", cluster.spec("source.mp4", "made", "web-3")).await;
    client.succeeded(&job).await;
    assert_same(&source, &cluster.fetch("made").await);

    let (status, took) = cluster.coordinators[leader].terminate();
    assert!(status.success() && took < Duration::from_secs(2), "{status} after {took:?}");
    let began = Instant::now();
    assert_eq!(cluster.leader(), 1 - leader);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    for worker in &mut cluster.workers {
        let (status, took) = worker.terminate();
        assert!(status.success() && took < Duration::from_secs(3), "{status} after {took:?}");
    }
}

#[tokio::test]
async fn whoever_is_killed_the_job_ends_with_the_same_bytes() {
    let Some(mut cluster) = Parts::default().start() else { return };
    let source = long_clip(cluster.folder.path());
    let client = cluster.client();
    let leader = cluster.leader();
    let job = client.submit("once", cluster.spec("source.mp4", "made", "web-3")).await;
    client.wait_for(&job, v1::JobState::Playable).await;
    cluster.coordinators[leader].kill();
    cluster.workers[0].kill();
    let began = Instant::now();
    assert_eq!(cluster.leader(), 1 - leader);
    let limit = Duration::from_secs(LEASE_S) + GRACE;
    assert!(began.elapsed() <= limit, "{:?}", began.elapsed());
    client.succeeded(&job).await;
    assert_same(&source, &cluster.fetch("made").await);
}

#[tokio::test]
async fn of_two_workers_of_one_name_the_older_waits_until_it_is_alone_and_a_restarted_one_does_not_wait() {
    let host = Host { settings: Settings::from([("name", "\"w0\"".into())]), ..Host::default() };
    let parts = Parts { coordinators: 1, hosts: [(1, host)].into(), ..Parts::default() };
    let Some(mut cluster) = parts.start() else { return };
    let takes_tasks = |worker: &Program| worker.metric("farm_worker_taking_tasks") == Some(1.0);
    let given_way =
        |worker: &Program| worker.said().matches("takes nothing while a younger process of this name lives").count();
    cluster.workers[1].kill(); // both began within the same millisecond, perhaps
    let before = given_way(&cluster.workers[1]);
    cluster.workers[1].restart();
    wait_until(|| given_way(&cluster.workers[0]) == 1).await;
    let listed = farm(&cluster, 0, &["worker", "list", "--json"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains("and takes nothing"), "{listed}");

    // The one with the name is killed and comes back, and the other still waits.
    cluster.workers[1].kill();
    cluster.workers[1].restart();
    cluster.workers[1].wait_until_ready();
    cluster.put("source.mp4", &clip("open_gop_2997.mp4")).await;
    let client = cluster.client();
    let job = client.submit("younger", cluster.spec("source.mp4", "made", "web-3")).await;
    client.succeeded(&job).await;
    wait_until(|| takes_tasks(&cluster.workers[1])).await; // its metrics are as old as its last heartbeat
    assert!(!takes_tasks(&cluster.workers[0]));
    assert_eq!(given_way(&cluster.workers[1]), before, "{}", cluster.workers[1].said());

    cluster.workers[1].kill();
    let job = client.submit("older", cluster.spec("source.mp4", "again", "web-3")).await;
    client.succeeded(&job).await;
    wait_until(|| takes_tasks(&cluster.workers[0])).await;
}

async fn wait_until(it_is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !it_is_so() {
        assert!(began.elapsed() < Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// `farm ARGS` against a coordinator; it must succeed.
fn farm(cluster: &Cluster, coordinator: usize, args: &[&str]) -> Output {
    let server = format!("http://127.0.0.1:{}", cluster.coordinators[coordinator].api);
    let mut command = Command::new(env!("CARGO_BIN_EXE_farm"));
    let output = command.args(args).args(["--server", &server]).env_remove("RUST_LOG").output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

#[tokio::test]
async fn three_of_everything_make_the_bytes_of_one_machine_by_the_command_line() {
    let parts = Parts { coordinators: 3, workers: 3, nats: 3, s3: true, ..Parts::default() };
    let Some(cluster) = parts.start() else { return };
    let source = clip("bunny_720p25.mp4");
    cluster.put("source.mp4", &source).await;
    let target = cluster.uri("made");
    let follower = (cluster.leader() + 1) % 3;
    let submit = ["job", "submit", &cluster.uri("source.mp4"), "--target", &target, "--profile", "web-3", "--json"];
    let submitted = farm(&cluster, follower, &submit);
    let job: serde_json::Value = serde_json::from_slice(&submitted.stdout).unwrap();
    let id = job["id"].as_str().unwrap();
    farm(&cluster, follower, &["job", "watch", id]);
    let got = farm(&cluster, (follower + 1) % 3, &["job", "get", id, "--json"]);
    let got: serde_json::Value = serde_json::from_slice(&got.stdout).unwrap();
    assert_eq!(got["state"], "JOB_STATE_SUCCEEDED", "{got}");
    let made = cluster.fetch("made").await;
    assert_same(&source, &made);
    assert_judged_right(&source, &made);
    assert_eq!(cluster.list("work").await, [""; 0], "what lay there is gone with the job");
}
