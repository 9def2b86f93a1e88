//! What a collector is told of jobs: by several processes, over a leader's death, and by nobody if nobody asked.

use std::collections::{BTreeMap, BTreeSet};

use proto::v1;
use proto::v1::job_service_client::JobServiceClient;
use shared::task::JobId;
use shared::trace::{SpanId, TraceId};
use tonic::Request;

#[path = "support/collector.rs"]
#[expect(dead_code, reason = "each test binary uses a part of it")]
mod collector;
#[allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]
mod support;

use collector::{Collector, Received};
use support::clip;
use support::cluster::{Parts, Settings};

/// A span of whoever asks for a job.
const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const STAGES: [&str; 5] = ["fetch", "decode", "scale", "encode", "upload"];

fn told(endpoint: String) -> Settings {
    Settings::from([("telemetry.otlp_endpoint", endpoint)])
}

fn job_has_ended(spans: &[Received]) -> bool {
    spans.iter().any(|received| received.span.name == "job")
}

/// The spans of one trace, by id.
fn by_id(spans: &[Received], trace: &str) -> BTreeMap<String, Received> {
    let of_trace = spans.iter().filter(|received| received.trace() == trace);
    let mut known = BTreeMap::new();
    for received in of_trace {
        let span = &received.span;
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano && span.start_time_unix_nano > 0, "{received:?}");
        // A request that a program gave up when it was asked to end may have come all the same, and is made again.
        let twice = known.insert(received.id(), received.clone());
        assert!(
            twice.as_ref().is_none_or(|twice| twice.span == *span),
            "two spans of one id: {twice:?} and {received:?}"
        );
    }
    known
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_one_trace_over_all_processes() {
    let collector = Collector::start().await;
    let settings = told(collector.endpoint());
    let (coordinator_settings, worker_settings) = (settings.clone(), settings);
    let parts = Parts { coordinator_settings, worker_settings, ..Parts::default() };
    let Some(mut cluster) = parts.start() else { return };
    cluster.put("source.mp4", &clip("three_languages.mkv")).await;
    // The one that does not lead hands the call on, and the context with it.
    let leader = cluster.leader();
    let follower = format!("http://127.0.0.1:{}", cluster.coordinators[1 - leader].api);
    let mut jobs = JobServiceClient::connect(follower).await.unwrap();
    let spec = Some(cluster.spec("source.mp4", "made", "web-3"));
    let mut request = Request::new(v1::CreateJobRequest { request_id: "once".into(), spec });
    request.metadata_mut().insert("traceparent", CALLER.parse().unwrap());
    let job = jobs.create_job(request).await.unwrap().into_inner().id;
    cluster.client().succeeded(&job).await;
    let explained = jobs.explain_job(v1::ExplainJobRequest { job_id: job.clone() }).await.unwrap().into_inner();
    let trace = TraceId::of_job(&JobId::new(job.as_str()).unwrap()).to_string();
    assert_eq!(explained.trace_id, trace);
    collector.wait("the job's span", job_has_ended).await;
    // What is left is sent at the end.
    let programs = cluster.coordinators.iter_mut().chain(&mut cluster.workers);
    programs.for_each(|program| assert!(program.terminate().0.success(), "{}", program.said()));
    let spans = collector.spans();
    whole(&by_id(&spans, &trace));
    asked_for(&spans, &trace);

    let line = |said: String, words: &str| said.lines().any(|line| line.contains(words) && line.contains(&trace));
    assert!(line(cluster.coordinators[leader].said(), "job settled"), "{}", cluster.coordinators[leader].said());
    assert!(cluster.workers.iter().any(|worker| line(worker.said(), "attempt done")), "{}", cluster.workers[0].said());
}

/// Nothing is missing and everything hangs where it belongs.
fn whole(spans: &BTreeMap<String, Received>) {
    let named = |name: &str| spans.values().filter(|one| one.span.name == name).collect::<Vec<_>>();
    let [job] = named("job")[..] else { panic!("one job should have one span: {spans:#?}") };
    assert_eq!(
        (job.parent(), job.service.as_str(), job.attribute("farm.state").as_str()),
        (String::new(), "farm-coordinator", "completed")
    );
    let (mut kinds, mut workers) = (BTreeSet::new(), BTreeSet::new());
    for one in spans.values().filter(|one| one.id() != job.id()) {
        let parent = spans.get(&one.parent()).unwrap_or_else(|| panic!("no parent: {one:?}"));
        let expected = match one.span.name.as_str() {
            name @ ("task index" | "task video" | "task audio" | "task storyboard") => {
                kinds.insert(name.to_owned());
                ("job", "farm-coordinator")
            }
            "create_job" | "publish" => ("job", "farm-coordinator"),
            "attempt" => {
                workers.insert(one.instance.clone());
                assert_eq!(one.attribute("farm.outcome"), "done", "{one:?}");
                assert_eq!(one.attribute("farm.task"), parent.attribute("farm.task"));
                (parent.span.name.as_str(), "farm-worker")
            }
            stage => {
                assert!(STAGES.contains(&stage), "{one:?}");
                ("attempt", "farm-worker")
            }
        };
        assert_eq!((parent.span.name.as_str(), one.service.as_str()), expected, "{one:?} below {parent:?}");
        // The call that asks for a job begins before there is one. Records count milliseconds.
        let [outer, inner] = [parent, one].map(|one| one.span.start_time_unix_nano / 1_000_000);
        assert!(outer <= inner || one.span.name == "create_job", "{one:?}");
    }
    assert_eq!(kinds.len(), 4, "{kinds:?}");
    assert_eq!(workers.len(), 2, "both workers should have made something: {workers:?}");
    for task in named("task video") {
        let attempts: Vec<_> = named("attempt").into_iter().filter(|attempt| attempt.parent() == task.id()).collect();
        assert_eq!(attempts.len(), 1, "{task:?}");
        let stages = spans.values().filter(|one| one.parent() == attempts[0].id()).map(|one| one.span.name.as_str());
        assert_eq!(stages.collect::<BTreeSet<_>>(), BTreeSet::from(STAGES));
        assert_eq!((task.events(), task.attribute("farm.attempts").as_str()), (vec!["handed_out"], "1"));
    }
    assert_eq!(job.events(), ["probed", "playable"]);
}

/// The call is in both traces.
fn asked_for(spans: &[Received], trace: &str) {
    let caller = &CALLER[3..35];
    let call = spans.iter().find(|one| one.trace() == caller).expect("the caller's trace should have the call");
    assert_eq!((call.parent().as_str(), call.span.name.as_str()), (&CALLER[36..52], "farm.v1.JobService/CreateJob"));
    let links = |one: &Received| shared::hex::encode(&one.span.links[0].trace_id);
    assert_eq!(links(call), trace);
    let created = spans.iter().find(|one| one.trace() == trace && one.span.name == "create_job").unwrap();
    assert_eq!(links(created), caller);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_leader_goes_on_in_the_same_trace() {
    let collector = Collector::start().await;
    let settings = told(collector.endpoint());
    let (coordinator_settings, worker_settings) = (settings.clone(), settings);
    let parts = Parts { coordinator_settings, worker_settings, ..Parts::default() };
    let Some(mut cluster) = parts.start() else { return };
    cluster.put("source.mp4", &clip("bunny_720p25.mp4")).await;
    let client = cluster.client();
    let leader = cluster.leader();
    let job = client.submit("once", cluster.spec("source.mp4", "made", "web-3")).await;
    client.wait_for(&job, v1::JobState::Playable).await;
    cluster.coordinators[leader].kill();
    client.succeeded(&job).await;
    collector.wait("the job's span", job_has_ended).await;
    let programs = cluster.coordinators.iter_mut().chain(&mut cluster.workers);
    let alive = programs.enumerate().filter(|(place, _)| *place != leader);
    alive.for_each(|(_, program)| assert!(program.terminate().0.success(), "{}", program.said()));

    let job = JobId::new(job).unwrap();
    let spans = by_id(&collector.spans(), &TraceId::of_job(&job).to_string());
    let ended = spans.values().find(|one| one.span.name == "job").unwrap();
    assert!(ended.events().contains(&"leader_changed"), "{ended:?}");
    // What the dead leader had not sent yet is missing, but both leaders call the job and its tasks by the same ids.
    let begun_ms = ended.span.start_time_unix_nano / 1_000_000;
    assert_eq!(ended.id(), SpanId::of_job(&job, begun_ms).to_string());
    let below_job = spans.values().filter(|one| one.parent() == ended.id()).map(|one| one.instance.clone());
    let leaders: BTreeSet<String> = below_job.collect();
    assert_eq!(leaders.len(), 2, "both have told of tasks: {leaders:?}");
    for attempt in spans.values().filter(|one| one.span.name == "attempt") {
        let name = attempt.attribute("farm.task").parse().unwrap();
        let task = shared::task::TaskId { job: job.clone(), name };
        assert_eq!(attempt.parent(), SpanId::of_task(&task, begun_ms).to_string());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_goes_on_without_a_collector_and_the_log_says_so_once() {
    let nobody = format!("\"http://127.0.0.1:{}\"", shared::testing::free_port());
    let worker_settings = told(nobody);
    let coordinator_settings = worker_settings.clone();
    let parts = Parts { coordinators: 1, workers: 1, coordinator_settings, worker_settings, ..Parts::default() };
    let Some(mut cluster) = parts.start() else { return };
    cluster.put("source.mp4", &clip("odd_size_321x241.mp4")).await;
    let client = cluster.client();
    for name in ["one", "two"] {
        let job = client.submit(name, cluster.spec("source.mp4", name, "web-3")).await;
        client.succeeded(&job).await;
    }
    let worker = &mut cluster.workers[0];
    assert!(worker.terminate().0.success());
    let said = worker.said();
    assert_eq!(said.matches("the collector does not take spans").count(), 1, "{said}");
    assert_eq!(said.matches("the collector has not taken the last spans").count(), 1, "{said}");
}
