//! Coordinators and workers as processes of their own, with a real NATS and a real etcd: the bytes are those of
//! `farm transcode`, whoever dies meanwhile.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use proto::v1;
use proto::v1::job_service_client::JobServiceClient;
use tonic::{Code, Request};

#[allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]
mod support;

use support::cluster::{Cluster, LEASE_S, Program};
use support::{Presentation, clip, run, transcode};

/// Far beyond the slowest run.
const RUN_LIMIT: Duration = Duration::from_secs(240);
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

fn create(source: &Path, target: &Path) -> v1::CreateJobRequest {
    let uri = |path: &Path| format!("file:{}", path.display());
    let profile = Some(v1::job_spec::Profile::ProfileName("web-3".into()));
    let spec = v1::JobSpec { source: uri(source), target: uri(target), profile, ..Default::default() };
    v1::CreateJobRequest { request_id: "once".into(), spec: Some(spec) }
}

/// Asks one coordinator after the other until the job has come as far as `state`.
async fn wait_for(coordinators: &[&Program], job: &str, state: v1::JobState) -> v1::Job {
    let began = Instant::now();
    for coordinator in coordinators.iter().cycle() {
        assert!(began.elapsed() < RUN_LIMIT, "{job} does not become {state:?}");
        let get = v1::GetJobRequest { job_id: job.into(), wait_for: state.into(), ..Default::default() };
        let mut request = Request::new(get);
        request.set_timeout(Duration::from_secs(10));
        let answer = match JobServiceClient::connect(format!("http://127.0.0.1:{}", coordinator.api)).await {
            Ok(mut client) => client.get_job(request).await,
            Err(_) => continue,
        };
        match answer {
            Ok(job) if job.get_ref().state() as i32 >= state as i32 => return job.into_inner(),
            Ok(_) => {}
            Err(status) => assert!(matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded), "{status}"),
        }
    }
    unreachable!("the cycle has no end")
}

/// Asks until there is a leader: the request makes one job, however often it is sent.
async fn submit(to: &Program, source: &Path, target: &Path) -> String {
    let mut client = JobServiceClient::connect(format!("http://127.0.0.1:{}", to.api)).await.unwrap();
    let began = Instant::now();
    loop {
        match client.create_job(create(source, target)).await {
            Ok(job) => return job.into_inner().id,
            Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status}"),
        }
        assert!(began.elapsed() < RUN_LIMIT, "nobody takes the job");
    }
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
    let Some(mut cluster) = Cluster::start() else { return };
    let source = cluster.folder.path().join("source.mp4");
    std::fs::copy(clip("open_gop_2997.mp4"), &source).unwrap();
    let target = cluster.folder.path().join("made");
    let leader = cluster.leader();
    let job = submit(&cluster.coordinators[1 - leader], &source, &target).await;
    let all: Vec<&Program> = cluster.coordinators.iter().collect();
    let ended = wait_for(&all, &job, v1::JobState::Succeeded).await;
    assert_eq!(ended.state(), v1::JobState::Succeeded, "{ended:?}");
    assert_same(&source, &target);

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
    let Some(mut cluster) = Cluster::start() else { return };
    let source = long_clip(cluster.folder.path());
    let target = cluster.folder.path().join("made");
    let leader = cluster.leader();
    let job = submit(&cluster.coordinators[leader], &source, &target).await;
    wait_for(&[&cluster.coordinators[leader]], &job, v1::JobState::Playable).await;
    cluster.coordinators[leader].kill();
    cluster.workers[0].kill();
    let began = Instant::now();
    assert_eq!(cluster.leader(), 1 - leader);
    let limit = Duration::from_secs(LEASE_S) + GRACE;
    assert!(began.elapsed() <= limit, "{:?}", began.elapsed());
    let ended = wait_for(&[&cluster.coordinators[1 - leader]], &job, v1::JobState::Succeeded).await;
    assert_eq!(ended.state(), v1::JobState::Succeeded, "{ended:?}");
    assert_same(&source, &target);
}
