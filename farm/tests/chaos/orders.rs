//! Jobs are called off, and workers and coordinators are told to go.

use std::process::Command;
use std::time::{Duration, Instant};

use proto::v1;

use super::support::cluster::{Cluster, Parts};
use super::support::load::{Load, tiny_clips};
use super::support::{clip, run};

/// Of a cancelled job.
const CHILDREN_GONE: Duration = Duration::from_secs(5);
/// Of a worker that drains and whose attempts take no time.
const DRAINED: Duration = Duration::from_secs(5);
const FLOW: Duration = Duration::from_secs(40);

/// `farm ARGS` against the cluster; it must succeed.
fn farm(cluster: &Cluster, args: &[&str]) {
    let server = format!("http://127.0.0.1:{}", cluster.coordinators[0].api);
    run(Command::new(env!("CARGO_BIN_EXE_farm")).args(args).args(["--server", &server]).env_remove("RUST_LOG"));
}

#[tokio::test]
async fn a_job_that_is_called_off_leaves_no_child_and_publishes_nothing_more() {
    let Some(cluster) = Parts::default().start() else { return };
    let source = cluster.folder.path().join("source.mp4");
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-v", "error", "-stream_loop", "2", "-i"]).arg(clip("bunny_720p25.mp4"));
    run(ffmpeg.args(["-c", "copy", "-map", "0"]).arg(&source));
    let client = cluster.client();
    let job = client.submit("once", cluster.spec("source.mp4", "made", "web-3")).await;
    client.wait_for(&job, v1::JobState::Playable).await;
    let children = || cluster.workers.iter().flat_map(|worker| worker.children()).collect::<Vec<_>>();
    let busy = children();
    assert_eq!(busy.len(), 2);
    let began = Instant::now();
    farm(&cluster, &["job", "cancel", &job]);
    while children().iter().any(|child| busy.contains(child)) {
        assert!(began.elapsed() < CHILDREN_GONE, "{busy:?}, now {:?}", children());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    eprintln!("children gone after {:.1?}", began.elapsed());
    while !cluster.list("made").await.is_empty() || !cluster.list("work").await.is_empty() {
        assert!(began.elapsed() < CHILDREN_GONE + Duration::from_secs(5), "{:?}", cluster.list("made").await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let ended = client.wait_for(&job, v1::JobState::Cancelled).await;
    assert_eq!(ended.state(), v1::JobState::Cancelled, "{ended:?}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(cluster.list("made").await, [""; 0], "published after it was called off");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_and_restarting_everybody_fails_no_job() {
    let Some(mut cluster) = Parts { workers: 3, ..Parts::default() }.start() else { return };
    let mut load = Load::start(&cluster, tiny_clips(cluster.folder.path()), 3);
    load.flows(1, FLOW).await;
    for number in 0..cluster.workers.len() {
        // The first by a person, the others by whoever installs a new version.
        if number == 0 {
            farm(&cluster, &["worker", "drain", "w0"]);
        } else {
            cluster.workers[number].ask_to_end();
        }
        let (status, took) = cluster.workers[number].ended();
        assert!(status.success() && took < DRAINED, "{status} after {took:?}");
        cluster.workers[number].restart();
        cluster.workers[number].wait_until_ready();
        load.flows(1, FLOW).await;
    }
    for number in 0..cluster.coordinators.len() {
        let (status, _) = cluster.coordinators[number].terminate();
        assert!(status.success(), "{status}");
        cluster.coordinators[number].restart();
        cluster.coordinators[number].wait_until_ready();
        load.flows(1, FLOW).await;
    }
    load.finish().await;
}
