//! What is asked for and what is answered.

use std::time::{Duration, Instant};

use coordinator::api::auth::Scope;
use coordinator::api::{ApiConfig, Leader};
use proto::v1;
use proto::v1::event_service_client::EventServiceClient;
use proto::v1::fleet_service_client::FleetServiceClient;
use proto::v1::probe_service_client::ProbeServiceClient;
use proto::v1::profile_service_client::ProfileServiceClient;
use tonic::Code;
use tonic_types::StatusExt;

use super::stand::{Stand, channel, config, create, jobs, key, with_key};

fn get(id: &str) -> v1::GetJobRequest {
    v1::GetJobRequest { job_id: id.into(), ..Default::default() }
}

#[tokio::test]
async fn the_same_request_makes_one_job_and_other_words_none() {
    let mut stand = Stand::new().await;
    let mut client = jobs(&stand.serve_here(vec![]).await).await;
    let first = client.create_job(create("r1", "/in/a.mov")).await.unwrap().into_inner();
    assert_eq!(first.tenant, "local");
    assert_eq!(first.state(), v1::JobState::Accepted);
    let again = client.create_job(create("r1", "/in/a.mov")).await.unwrap().into_inner();
    assert_eq!(again.id, first.id);
    let mut other = create("r1", "/in/a.mov");
    other.spec.as_mut().unwrap().labels.insert("team".into(), "red".into());
    let refused = client.create_job(other).await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists);
    assert_eq!(refused.get_details_error_info().unwrap().reason, "REQUEST_ID_REUSED");
    assert_eq!(refused.get_details_resource_info().unwrap().resource_name, first.id);
    let free = client.create_job(create("", "/in/a.mov")).await.unwrap().into_inner();
    assert_ne!(free.id, first.id);
}

#[tokio::test]
async fn all_violations_are_told_at_once() {
    let mut stand = Stand::new().await;
    let mut client = jobs(&stand.serve_here(vec![]).await).await;
    let mut request = create("r 1", "/etc/passwd");
    let spec = request.spec.as_mut().unwrap();
    spec.rungs = "huge".into();
    spec.priority = 1_000;
    let refused = client.create_job(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let fields = refused.get_details_bad_request().unwrap().field_violations;
    let fields: Vec<_> = fields.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["request_id", "spec.rungs", "spec.source", "spec.priority"]);
    assert_eq!(client.get_job(get("")).await.unwrap_err().code(), Code::InvalidArgument);
    for unknown in ["nope", "../x", "A"] {
        let refused = client.get_job(get(unknown)).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound, "{unknown}");
        assert_eq!(refused.get_details_resource_info().unwrap().resource_name, unknown);
    }
    let retry = v1::RetryJobRequest { job_id: client.create_job(create("", "/in/a")).await.unwrap().into_inner().id };
    let refused = client.retry_job(retry).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let huge = v1::JobSpec { source: "x".repeat(2 << 20), ..Default::default() };
    let huge = v1::CreateJobRequest { request_id: String::new(), spec: Some(huge) };
    assert_eq!(client.create_job(huge).await.unwrap_err().code(), Code::OutOfRange, "longer than a request may be");
}

#[tokio::test]
async fn a_job_is_changed_explained_called_off_and_forgotten() {
    let mut stand = Stand::new().await;
    let address = stand.serve_here(vec![]).await;
    let mut client = jobs(&address).await;
    let id = client.create_job(create("r", "/in/a.mov")).await.unwrap().into_inner().id;

    let watch = v1::WatchJobRequest { job_id: id.clone(), ..Default::default() };
    let mut changes = client.watch_job(watch).await.unwrap().into_inner();
    let first = changes.message().await.unwrap().unwrap().job.unwrap();

    let spec = v1::JobSpec { priority: 9, labels: [("team".into(), "red".into())].into(), ..Default::default() };
    let update_mask = Some(prost_types::FieldMask { paths: vec!["priority".into(), "labels".into()] });
    let update = v1::UpdateJobRequest { job_id: id.clone(), spec: Some(spec), update_mask };
    let updated = client.update_job(update).await.unwrap().into_inner().spec.unwrap();
    assert_eq!((updated.priority, updated.labels.len()), (9, 1));
    let second = changes.message().await.unwrap().unwrap().job.unwrap();
    assert!(second.sequence > first.sequence);

    let explain = v1::ExplainJobRequest { job_id: id.clone() };
    let explained = client.explain_job(explain).await.unwrap().into_inner();
    assert!(explained.summary.contains("waits for a worker"), "{explained:?}");
    assert!(explained.timeline.iter().any(|entry| entry.task == "index"), "{explained:?}");

    let cancelled = client.cancel_job(v1::CancelJobRequest { job_id: id.clone() }).await.unwrap().into_inner();
    assert!(matches!(cancelled.state(), v1::JobState::Cancelling | v1::JobState::Cancelled), "{cancelled:?}");
    let wait = v1::GetJobRequest { wait_for: v1::JobState::Cancelled.into(), ..get(&id) };
    assert_eq!(client.get_job(wait).await.unwrap().into_inner().state(), v1::JobState::Cancelled);
    let mut last = None;
    while let Some(update) = changes.message().await.unwrap() {
        last = update.job;
    }
    assert_eq!(last.unwrap().state(), v1::JobState::Cancelled, "the stream ends when nothing can change");

    // Resumed after the last: what is over is told once more, then the stream ends.
    let resume = v1::WatchJobRequest { job_id: id.clone(), after_sequence: u64::MAX, ..Default::default() };
    let mut resumed = client.watch_job(resume).await.unwrap().into_inner();
    assert_eq!(resumed.message().await.unwrap().unwrap().job.unwrap().state(), v1::JobState::Cancelled);
    assert_eq!(resumed.message().await.unwrap(), None);

    client.delete_job(v1::DeleteJobRequest { job_id: id.clone(), erase: true }).await.unwrap();
    assert_eq!(client.get_job(get(&id)).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn who_watches_a_job_that_is_deleted_sees_it_called_off() {
    let mut stand = Stand::new().await;
    let address = stand.serve_here(vec![]).await;
    let mut client = jobs(&address).await;
    let id = client.create_job(create("r", "/in/a.mov")).await.unwrap().into_inner().id;
    let watch = v1::WatchJobRequest { job_id: id.clone(), ..Default::default() };
    let mut changes = client.watch_job(watch).await.unwrap().into_inner();
    client.delete_job(v1::DeleteJobRequest { job_id: id, erase: true }).await.unwrap();
    let mut last = v1::Job::default();
    while let Some(update) = changes.message().await.unwrap() {
        last = update.job.unwrap();
    }
    assert_eq!(last.state(), v1::JobState::Cancelled);
}

#[tokio::test]
async fn a_job_says_what_was_asked_for() {
    let mut stand = Stand::new().await;
    let mut client = jobs(&stand.serve_here(vec![]).await).await;
    let spec = v1::JobSpec {
        source: "file:/in/a.mov".into(),
        target: format!("file:{}/x", stand.folder.path().display()),
        profile: Some(v1::job_spec::Profile::ProfileName("web-3".into())),
        segment: Some(prost_types::Duration { seconds: 2, nanos: 500_000_000 }),
        rungs: "1080,480".into(),
        preset: "fast".into(),
        mp4: true,
        priority: -7,
        deadline: Some(prost_types::Timestamp { seconds: 2_000_000_000, nanos: 0 }),
        labels: [("team".into(), "red".into())].into(),
    };
    let request = v1::CreateJobRequest { request_id: String::new(), spec: Some(spec.clone()) };
    let made = client.create_job(request).await.unwrap().into_inner();
    assert_eq!(made.spec, Some(spec));
    let plain = client.create_job(create("", "/in/a.mov")).await.unwrap().into_inner().spec.unwrap();
    assert_eq!((plain.rungs.as_str(), plain.segment.unwrap().seconds), ("auto", 6), "what was left open is filled in");
}

#[tokio::test]
async fn updates_at_once_change_what_each_names() {
    let mut stand = Stand::new().await;
    let mut client = jobs(&stand.serve_here(vec![]).await).await;
    let id = client.create_job(create("r", "/in/a.mov")).await.unwrap().into_inner().id;
    let ask = |path: &str, spec: v1::JobSpec| {
        let update_mask = Some(prost_types::FieldMask { paths: vec![path.into()] });
        v1::UpdateJobRequest { job_id: id.clone(), spec: Some(spec), update_mask }
    };
    let labels = ask("labels", v1::JobSpec { labels: [("a".into(), "b".into())].into(), ..Default::default() });
    let priority = ask("priority", v1::JobSpec { priority: 5, ..Default::default() });
    let (mut one, mut other) = (client.clone(), client.clone());
    let (one, other) = tokio::join!(one.update_job(labels), other.update_job(priority));
    assert!(one.is_ok() && other.is_ok());
    let spec = client.get_job(get(&id)).await.unwrap().into_inner().spec.unwrap();
    assert_eq!((spec.priority, spec.labels.len()), (5, 1));
}

#[tokio::test]
async fn a_tenant_has_so_many_jobs_under_way_and_no_more() {
    let mut stand = Stand::new().await;
    let config = ApiConfig { max_unfinished_jobs: 1, ..config(stand.folder.path(), vec![]) };
    let leader = Leader::Here(stand.handle.clone());
    let mut client = jobs(&stand.serve(config, Some(leader)).await).await;
    client.create_job(create("r1", "/in/a.mov")).await.unwrap();
    let refused = client.create_job(create("r2", "/in/a.mov")).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(refused.get_details_error_info().unwrap().reason, "TOO_MANY_JOBS");
    assert!(client.create_job(create("r1", "/in/a.mov")).await.is_ok(), "that one is no other");
}

#[tokio::test]
async fn a_probe_is_never_seen_and_ends_with_its_call() {
    let mut stand = Stand::new().await;
    let address = stand.serve_here(vec![]).await;
    let mut events = EventServiceClient::new(channel(&address).await);
    let mut live = events.subscribe(v1::SubscribeRequest::default()).await.unwrap().into_inner();
    let mut request = tonic::Request::new(v1::ProbeRequest { source: "/in/a.mov".into() });
    request.set_timeout(Duration::from_millis(900));
    let refused = ProbeServiceClient::new(channel(&address).await).probe(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::DeadlineExceeded, "no worker here reads anything");
    let mut client = jobs(&address).await;
    let id = client.create_job(create("", "/in/a.mov")).await.unwrap().into_inner().id;
    let first = live.message().await.unwrap().unwrap();
    assert_eq!(first.job.unwrap().id, id, "nobody is told of a probe");
    assert_eq!(client.list_jobs(v1::ListJobsRequest::default()).await.unwrap().into_inner().jobs.len(), 1);
    let gone = async {
        while !stand.handle.list(|view| view.terms.is_probe()).is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("it is taken away");
}

#[tokio::test]
async fn answers_do_not_wait_to_be_acknowledged() {
    let mut stand = Stand::new().await;
    let mut client = jobs(&stand.serve_here(vec![]).await).await;
    let job = client.create_job(create("r1", "/in/a.mov")).await.unwrap().into_inner();
    let mut times = Vec::new();
    for _ in 0..31 {
        let asked = Instant::now();
        client.get_job(get(&job.id)).await.unwrap();
        times.push(asked.elapsed());
    }
    times.sort();
    // A host acknowledges after 40 ms what it has nothing to say to.
    assert!(times[15] < Duration::from_millis(30), "half of the calls take {:?} and more", times[15]);
}

#[tokio::test]
async fn jobs_are_listed_filtered_and_paged() {
    let mut stand = Stand::new().await;
    let mut client = jobs(&stand.serve_here(vec![]).await).await;
    for number in 0..5 {
        let mut request = create(&format!("r{number}"), "/in/a.mov");
        let spec = request.spec.as_mut().unwrap();
        spec.priority = number;
        spec.labels.insert("odd".into(), (number % 2).to_string());
        client.create_job(request).await.unwrap();
    }
    let ask = |filter: &str, order_by: &str, page_size: u32, page_token: &str| v1::ListJobsRequest {
        filter: filter.into(),
        order_by: order_by.into(),
        page_size,
        page_token: page_token.into(),
        view: 0,
    };
    let priorities = |page: &v1::ListJobsResponse| -> Vec<i32> {
        page.jobs.iter().map(|job| job.spec.as_ref().unwrap().priority).collect()
    };
    let first = client.list_jobs(ask("", "priority desc", 3, "")).await.unwrap().into_inner();
    assert_eq!(priorities(&first), [4, 3, 2]);
    let second = client.list_jobs(ask("", "priority desc", 3, &first.next_page_token)).await.unwrap().into_inner();
    assert_eq!((priorities(&second), second.next_page_token), (vec![1, 0], String::new()));
    let odd = client.list_jobs(ask("labels.odd = 1 AND state = ACCEPTED", "priority", 0, "")).await.unwrap();
    assert_eq!(priorities(odd.get_ref()), [1, 3]);
    let refused = client.list_jobs(ask("speed = 1", "odd", 9_999, "")).await.unwrap_err();
    assert_eq!(refused.get_details_bad_request().unwrap().field_violations.len(), 3);
}

#[tokio::test]
async fn events_come_once_live_and_again_from_a_cursor() {
    let mut stand = Stand::new().await;
    let address = stand.serve_here(vec![]).await;
    let mut client = jobs(&address).await;
    client.create_job(create("before", "/in/a.mov")).await.unwrap();
    let mut events = EventServiceClient::new(channel(&address).await);
    let mut live = events.subscribe(v1::SubscribeRequest::default()).await.unwrap().into_inner();
    let id = client.create_job(create("after", "/in/a.mov")).await.unwrap().into_inner().id;
    let accepted = live.message().await.unwrap().unwrap();
    assert_eq!((accepted.r#type.as_str(), &accepted.job.unwrap().id), ("job.accepted", &id));
    client.cancel_job(v1::CancelJobRequest { job_id: id.clone() }).await.unwrap();
    let cancelled = live.message().await.unwrap().unwrap();
    assert_eq!(cancelled.r#type, "job.cancelled");
    let mut resumed = events.subscribe(v1::SubscribeRequest { cursor: accepted.cursor }).await.unwrap().into_inner();
    loop {
        let event = resumed.message().await.unwrap().unwrap();
        assert_eq!(event.job.as_ref().unwrap().id, id, "nothing of what lay before the cursor");
        if event.r#type == "job.cancelled" {
            break;
        }
    }
    client.delete_job(v1::DeleteJobRequest { job_id: id.clone(), erase: false }).await.unwrap();
    let deleted = live.message().await.unwrap().unwrap();
    assert_eq!((deleted.r#type.as_str(), &deleted.job.unwrap().id), ("job.deleted", &id));
    let mut late = events.subscribe(v1::SubscribeRequest { cursor: cancelled.cursor }).await.unwrap().into_inner();
    while late.message().await.unwrap().unwrap().r#type != "job.deleted" {}
    let refused = events.subscribe(v1::SubscribeRequest { cursor: "x".into() }).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn workers_are_held_and_their_load_is_told() {
    let mut stand = Stand::new().await;
    let mut fleet = FleetServiceClient::new(channel(&stand.serve_here(vec![]).await).await);
    let workers = fleet.list_workers(v1::ListWorkersRequest {}).await.unwrap().into_inner().workers;
    assert_eq!((workers.len(), workers[0].id.as_str(), workers[0].state()), (1, "w1", v1::WorkerState::Working));
    let worker_id = "w1".to_owned();
    let held = fleet.cordon_worker(v1::CordonWorkerRequest { worker_id: worker_id.clone() }).await.unwrap();
    assert_eq!(held.into_inner().state(), v1::WorkerState::Cordoned);
    let load = fleet.get_scale_signal(v1::GetScaleSignalRequest {}).await.unwrap().into_inner().classes[0];
    assert_eq!(load.slots, 0, "{load:?}");
    let free = fleet.uncordon_worker(v1::UncordonWorkerRequest { worker_id }).await.unwrap();
    assert_eq!(free.into_inner().state(), v1::WorkerState::Working);
    let load = fleet.get_scale_signal(v1::GetScaleSignalRequest {}).await.unwrap().into_inner().classes[0];
    assert_eq!((load.slots, load.speed_ms_per_s, load.queued_ms), (2, 2_000, 0));
    let unknown = v1::GetWorkerRequest { worker_id: "w2".into() };
    assert_eq!(fleet.get_worker(unknown).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn profiles_are_listed_checked_and_resolved() {
    let mut stand = Stand::new().await;
    let address = stand.serve_here(vec![key("k", "red", &[Scope::Read])]).await;
    let mut profiles = ProfileServiceClient::new(channel(&address).await);
    let listed = profiles.list_profiles(with_key("k", v1::ListProfilesRequest {})).await.unwrap().into_inner().profiles;
    assert!(listed.iter().any(|profile| profile.name == "web" && profile.built_in), "{listed:?}");
    let get = with_key("k", v1::GetProfileRequest { name: "web".into() });
    let toml = profiles.get_profile(get).await.unwrap().into_inner().toml;
    let check = |toml: &str| with_key("k", v1::ValidateProfileRequest { toml: toml.into() });
    assert_eq!(profiles.validate_profile(check(&toml)).await.unwrap().into_inner().complaints, Vec::<String>::new());
    let wrong = profiles.validate_profile(check("name = \"X Y\"\ncolour = 1")).await.unwrap().into_inner();
    assert!(wrong.complaints.len() > 1 && wrong.summary.is_empty(), "{wrong:?}");

    let video = v1::ProbedVideo { width_px: 1280, height_px: 720, ..Default::default() };
    let source = v1::ProbeResult { video: Some(video), declared_ms: Some(600_000), ..Default::default() };
    let ask = v1::ResolveLadderRequest { source: Some(source), ..Default::default() };
    let made = profiles.resolve_ladder(with_key("k", ask)).await.unwrap().into_inner();
    assert_eq!(made.video.iter().map(|rung| rung.height_px).collect::<Vec<_>>(), [720, 480, 360]);
    assert_eq!(made.dropped.len(), 1);
    let nothing = profiles.resolve_ladder(with_key("k", v1::ResolveLadderRequest::default())).await.unwrap_err();
    assert_eq!(nothing.code(), Code::InvalidArgument);
}
