//! `farm serve` and the commands that ask it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use proto::v1;
use serde_json::Value;
use tonic::transport::Channel;

#[allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]
mod support;

use support::served::Served;
use support::{Presentation, clip};

/// Far beyond the slowest job of these tests.
const LIMIT: Duration = Duration::from_secs(120);

/// Looks until it is so.
async fn until(what: &str, limit: Duration, so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !so() {
        assert!(begin.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Files below a folder, if it is there.
fn files(folder: &Path) -> usize {
    let count = Command::new("find").arg(folder).args(["-type", "f"]).output().unwrap().stdout;
    count.iter().filter(|byte| **byte == b'\n').count()
}

fn states(changes: &[Value]) -> Vec<&str> {
    let mut states: Vec<_> = changes.iter().map(|job| job["state"].as_str().unwrap()).collect();
    states.dedup();
    states
}

#[test]
fn a_job_is_submitted_watched_and_playable_before_it_has_succeeded() {
    let farm = Served::start();
    let source = clip("pyramid_sar_no_audio.mp4");
    let watched = farm.json(&["job", "submit", source.to_str().unwrap(), "--segment", "2s", "--watch"]);
    let states = states(&watched);
    let position = |state: &str| states.iter().position(|seen| *seen == state);
    assert_eq!(states.last(), Some(&"JOB_STATE_SUCCEEDED"), "{states:?}");
    assert!(position("JOB_STATE_PLAYABLE").is_some_and(|at| at < states.len() - 1), "{states:?}");
    let order = v1::JobState::from_str_name;
    assert!(states.is_sorted_by_key(|state| order(state).unwrap()), "no state goes back: {states:?}");
    let percents: Vec<_> = watched.iter().map(|job| job["progress"]["percent"].as_u64().unwrap()).collect();
    assert!(percents.is_sorted() && percents.last() == Some(&100), "{percents:?}");
    let sequences: Vec<_> = watched.iter().map(|job| job["sequence"].as_u64().unwrap()).collect();
    assert!(sequences.is_sorted_by(|one, next| one < next), "{sequences:?}");

    // It is what `farm transcode` makes, byte by byte.
    let job = watched[0]["id"].as_str().unwrap();
    let alone = farm.folder.path().join("alone");
    assert!(support::transcode(&source, &alone, &["--segment", "2s"]).status.success());
    assert!(Presentation::bytes(&farm.out(job)) == Presentation::bytes(&alone), "another presentation");

    // Resumed after the last change, it is told once more that it is over.
    let resumed = farm.json(&["job", "watch", job]);
    assert_eq!(resumed.len(), 1);
    let shown = String::from_utf8(farm.farm(&["job", "get", job]).stdout).unwrap();
    assert!(shown.contains("succeeded, 100 %") && shown.contains("master.m3u8"), "{shown}");
    let told = &farm.json(&["job", "explain", job])[0];
    assert_eq!(told["summary"], "The presentation is whole.");

    // Erased, nothing of it is left.
    assert!(farm.farm(&["job", "delete", job, "--erase"]).status.success());
    assert!(!farm.out(job).join("master.m3u8").try_exists().unwrap());
    assert_eq!(farm.farm(&["job", "get", job]).status.code(), Some(8));
}

#[test]
fn killed_in_the_middle_it_goes_on_and_so_does_the_watcher() {
    let mut farm = Served::start();
    let source = clip("bunny_720p25.mp4");
    let options = ["--segment", "2s", "--rungs", "360", "--preset", "ultrafast"];
    let job = farm.submit(&source, &options);
    let begin = Instant::now();
    let done = |farm: &Served| farm.json(&["job", "get", &job])[0]["progress"]["chunks_done"].as_u64().unwrap();
    while done(&farm) == 0 {
        assert!(begin.elapsed() < LIMIT, "no chunk is done");
    }
    let mut watcher = farm.command(&["job", "watch", &job]).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watcher.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.next().is_some(), "it watches");
    farm.kill();
    assert!(lines.any(|line| line.contains("can't be reached")), "and says that nobody is there");
    farm.start_again();
    let rest: Vec<_> = lines.collect();
    assert!(watcher.wait().unwrap().success() && rest.last().unwrap().starts_with("succeeded"), "{rest:?}");
    let alone = farm.folder.path().join("alone");
    assert!(support::transcode(&source, &alone, &options).status.success());
    assert!(Presentation::bytes(&farm.out(&job)) == Presentation::bytes(&alone), "another presentation");
}

#[tokio::test]
async fn called_off_it_leaves_nothing_within_five_seconds() {
    let farm = Served::start();
    let job = farm.submit(&clip("bunny_720p25.mp4"), &["--segment", "2s"]);
    let playable = farm.json(&["job", "get", &job, "--wait-for", "running"]);
    assert_ne!(playable[0]["state"], "JOB_STATE_FAILED");
    assert!(farm.farm(&["job", "cancel", &job]).status.success());
    let out = farm.out(&job);
    let work = farm.folder.path().join("data/work");
    until("nothing is left", Duration::from_secs(5), || files(&out) + files(&work) == 0).await;
    let ended = farm.json(&["job", "get", &job, "--wait-for", "cancelled"]);
    assert_eq!(ended[0]["state"], "JOB_STATE_CANCELLED");
    // It may be asked for again.
    let retried = farm.json(&["job", "retry", &job]);
    assert!(!["JOB_STATE_CANCELLED", "JOB_STATE_CANCELLING"].contains(&retried[0]["state"].as_str().unwrap()));
    let again = farm.json(&["job", "get", &job, "--wait-for", "running"]);
    assert_eq!(again[0]["state"], "JOB_STATE_RUNNING", "{again:?}");
}

#[test]
fn commands_end_as_jobs_and_refusals_do() {
    let farm = Served::start();
    let submit = |source: &str, more: &[&str]| {
        let source = clip(source);
        farm.farm(&[&["job", "submit", source.to_str().unwrap()], more].concat())
    };
    assert_eq!(submit("refused_text.mp4", &["--watch"]).status.code(), Some(3));
    assert_eq!(submit("refused_vvc.mp4", &["--watch"]).status.code(), Some(4));
    let first = submit("odd_size_321x241.mp4", &["--request-id", "r1"]);
    let again = submit("odd_size_321x241.mp4", &["--request-id", "r1"]);
    assert_eq!(first.stdout, again.stdout, "the same request makes one job");
    let other = submit("edit_list.mp4", &["--request-id", "r1"]);
    assert_eq!(other.status.code(), Some(8));
    let said = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(said.contains("error[request_id_reused]"), "{said}");
    let wrong = submit("edit_list.mp4", &["--rungs", "huge", "--preset", "warp", "--priority", "101"]);
    assert_eq!(wrong.status.code(), Some(2));
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(["spec.rungs", "spec.preset", "spec.priority"].iter().all(|field| said.contains(field)), "{said}");
    assert_eq!(farm.farm(&["job", "get", "nope"]).status.code(), Some(8));
    assert_eq!(farm.farm(&["job", "list", "--server", "127.0.0.1:9"]).status.code(), Some(9));

    let labelled = submit("odd_size_321x241.mp4", &["--label", "team=red"]);
    assert!(labelled.status.success());
    let red = farm.json(&["job", "list", "--filter", "labels.team = red"]);
    assert_eq!(red.len(), 1);
    assert_eq!(farm.json(&["job", "list", "--limit", "2"]).len(), 2);
    let profiles = farm.json(&["profile", "list"]);
    assert!(profiles.iter().any(|profile| profile["name"] == "web"), "{profiles:?}");
    let workers = farm.json(&["worker", "list"]);
    assert_eq!((workers.len(), &workers[0]["slots"]), (1, &Value::from(2)));
    let id = workers[0]["id"].as_str().unwrap();
    assert_eq!(farm.json(&["worker", "cordon", id])[0]["state"], "WORKER_STATE_CORDONED");
    assert_eq!(farm.json(&["worker", "uncordon", id])[0]["state"], "WORKER_STATE_WORKING");
    assert!(farm.json(&["worker", "load"])[0]["classes"][0]["slots"].as_u64() == Some(2));
}

#[tokio::test]
async fn reflection_and_health_say_what_is_served() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    let farm = Served::start();
    let channel = Channel::from_shared(farm.address.clone()).unwrap().connect().await.unwrap();
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(channel);
    let asked = tokio_stream::iter([ask]);
    let answer = reflection.server_reflection_info(asked).await.unwrap().into_inner().message().await.unwrap();
    let Some(MessageResponse::ListServicesResponse(services)) = answer.unwrap().message_response else {
        panic!("no list of services");
    };
    let mut names: Vec<_> = services.service.into_iter().map(|service| service.name).collect();
    names.retain(|name| name.starts_with("farm."));
    let mut served: Vec<_> = coordinator::api::SERVICES.map(String::from).to_vec();
    names.sort();
    served.sort();
    assert_eq!(names, served);
}

#[tokio::test]
async fn a_probe_says_what_a_source_is_and_leaves_nothing() {
    let farm = Served::start();
    let channel = Channel::from_shared(farm.address.clone()).unwrap().connect().await.unwrap();
    let mut probes = v1::probe_service_client::ProbeServiceClient::new(channel);
    let source = |name: &str| v1::ProbeRequest { source: clip(name).display().to_string() };
    let found = probes.probe(source("three_languages.mkv")).await.unwrap().into_inner();
    assert_eq!((found.audio.len(), found.video.is_some()), (3, true), "{found:?}");
    let text = probes.probe(source("refused_text.mp4")).await.unwrap().into_inner();
    assert_eq!(text.verdict(), v1::Verdict::Corrupt);
    let listed = farm.jobs().await.list_jobs(v1::ListJobsRequest::default()).await.unwrap().into_inner();
    assert_eq!(listed.jobs, []);
    let work = farm.folder.path().join("data/work");
    until("the probes' work is gone", Duration::from_secs(10), || files(&work) == 0).await;
    let gone = v1::ProbeRequest { source: "/nowhere/a.mp4".into() };
    assert_eq!(probes.probe(gone).await.unwrap_err().code(), tonic::Code::FailedPrecondition);
}

#[tokio::test]
async fn capacity_is_told_by_what_the_workers_of_a_farm_have_made() {
    let farm = Served::start();
    let ask = ["capacity", "1000", "--server", &farm.address];
    let refused = farm.farm(&ask);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("error[speed_unknown]") && said.contains("no worker at"), "{said}");
    farm.submit(&clip("odd_size_321x241.mp4"), &[]);
    let speed = || farm.json(&["worker", "list"])[0]["speed_ms_per_s"].as_f64().unwrap_or(0.0) / 1000.0;
    until("the worker says how fast it is", LIMIT, || speed() > 0.0).await;
    let answer = &farm.json(&ask)[0];
    assert_eq!(answer["speed"]["origin"], serde_json::json!({ "kind": "farm", "source": farm.address }), "{answer}");
    assert_eq!(answer["speed"]["times_real_time"].as_f64(), Some(speed()), "{answer}");
    let gpus = farm.farm(&[&ask[..], &["--gpu", "l4"]].concat());
    assert_eq!(gpus.status.code(), Some(2), "none of them has made anything on a GPU");
}
