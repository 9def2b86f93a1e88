//! Any coordinator answers; one decides.

use std::time::{Duration, Instant};

use bytes::Bytes;
use coordinator::api::auth::Scope;
use coordinator::api::{CALLS_PER_CONNECTION, Leader};
use http_body::Body as _;
use http_body_util::{BodyExt, Full};
use prost::Message;
use proto::v1;
use proto::v1::event_service_client::EventServiceClient;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tonic::Code;
use tonic::body::Body;
use tonic::codegen::http::{self, HeaderMap};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;
use tower::ServiceExt;

use super::stand::{Stand, channel, config, create, jobs, key, with_key};

#[tokio::test]
async fn a_follower_answers_as_the_leader_does() {
    let mut stand = Stand::new().await;
    let keys = || vec![key("red", "red", &Scope::ALL), key("blue", "blue", &[Scope::Read])];
    let leader = stand.serve_here(keys()).await;
    let elsewhere = config(stand.folder.path(), keys());
    let follower = stand.serve(elsewhere, Some(Leader::At(leader.clone()))).await;
    let mut client = jobs(&follower).await;
    let made = client.create_job(with_key("red", create("r", "/in/a.mov"))).await.unwrap().into_inner();
    let get = || v1::GetJobRequest { job_id: made.id.clone(), ..Default::default() };
    for mut client in [jobs(&leader).await, client.clone()] {
        let job = client.get_job(with_key("red", get())).await.unwrap().into_inner();
        assert_eq!((job.id, job.spec), (made.id.clone(), made.spec.clone()));
    }
    // Errors keep their details, and rights hold on both sides.
    let refused = client.get_job(with_key("blue", get())).await.unwrap_err();
    assert_eq!(refused.get_details_resource_info().unwrap().resource_type, "job");
    let refused = client.create_job(with_key("blue", create("r", "/in/a.mov"))).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    // Streams flow through, and end as they do.
    let watch = v1::WatchJobRequest { job_id: made.id.clone(), ..Default::default() };
    let mut changes = client.watch_job(with_key("red", watch)).await.unwrap().into_inner();
    assert_eq!(changes.message().await.unwrap().unwrap().job.unwrap().id, made.id);
    client.cancel_job(with_key("red", v1::CancelJobRequest { job_id: made.id.clone() })).await.unwrap();
    while let Some(update) = changes.message().await.unwrap() {
        assert_eq!(update.job.unwrap().id, made.id);
    }
}

/// What a client gets that knows nothing of gRPC: head and trailers, and whether the head said that nothing follows.
async fn raw(address: &str, method: &str, message: impl Message) -> (HeaderMap, bool, HeaderMap) {
    let message = message.encode_to_vec();
    let frame = [&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat();
    let request = http::Request::post(format!("{address}/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(Full::new(Bytes::from(frame))))
        .unwrap();
    let answer = channel(address).await.oneshot(request).await.unwrap();
    let (head, body) = answer.into_parts();
    let over = body.is_end_stream();
    let trailers = body.collect().await.unwrap().trailers().cloned().unwrap_or_default();
    let mut head = head.headers;
    head.remove("date");
    (head, over, trailers)
}

#[tokio::test]
async fn errors_of_the_leader_arrive_as_they_are() {
    let mut stand = Stand::new().await;
    let leader = stand.serve_here(vec![]).await;
    let elsewhere = config(stand.folder.path(), vec![]);
    let follower = stand.serve(elsewhere, Some(Leader::At(leader.clone()))).await;
    let (job_id, cursor) = ("0".repeat(8), "not a number".to_owned());
    for address in [&leader, &follower] {
        let get = v1::GetJobRequest { job_id: job_id.clone(), ..Default::default() };
        let unary = raw(address, "farm.v1.JobService/GetJob", get).await;
        let watch = v1::WatchJobRequest { job_id: job_id.clone(), ..Default::default() };
        let stream = raw(address, "farm.v1.JobService/WatchJob", watch).await;
        let subscribe = v1::SubscribeRequest { cursor: cursor.clone() };
        let refused = raw(address, "farm.v1.EventService/Subscribe", subscribe).await;
        for (code, (head, over, trailers)) in [("5", &unary), ("5", &stream), ("3", &refused)] {
            assert_eq!(head["grpc-status"], code, "{head:?}");
            assert!(head.contains_key("grpc-message") && head.contains_key("grpc-status-details-bin"), "{head:?}");
            // Trailers-Only (gRPC over HTTP/2): clients read a status in the head only if nothing follows it.
            assert!(*over && trailers.is_empty(), "{address}: more follows: {trailers:?}");
        }
        let good = raw(address, "farm.v1.JobService/ListJobs", v1::ListJobsRequest::default()).await;
        assert!(!good.1 && good.2["grpc-status"] == "0", "{good:?}");
    }
}

#[tokio::test]
async fn open_streams_through_a_follower_leave_room_for_calls() {
    let mut stand = Stand::new().await;
    let leader = stand.serve_here(vec![]).await;
    let elsewhere = config(stand.folder.path(), vec![]);
    let follower = stand.serve(elsewhere, Some(Leader::At(leader))).await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let client = EventServiceClient::new(channel(&follower).await);
        for _ in 0..CALLS_PER_CONNECTION * 3 / 5 {
            open.push(client.clone().subscribe(v1::SubscribeRequest::default()).await.unwrap());
        }
    }
    assert!(open.len() > CALLS_PER_CONNECTION as usize);
    let mut client = jobs(&follower).await;
    let listed = tokio::time::timeout(Duration::from_secs(20), client.list_jobs(v1::ListJobsRequest::default())).await;
    assert!(listed.unwrap().is_ok());
}

#[tokio::test]
async fn an_answer_that_is_cut_off_can_be_asked_for_again() {
    let mut stand = Stand::new().await;
    let leader = stand.serve_here(vec![]).await;
    let way = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let beyond = format!("http://{}", way.local_addr().unwrap());
    let mut connections = JoinSet::new();
    connections.spawn(async move {
        let mut open = JoinSet::new();
        loop {
            let (mut near, _) = way.accept().await.unwrap();
            let mut far = TcpStream::connect(leader.trim_start_matches("http://")).await.unwrap();
            open.spawn(async move { copy_bidirectional(&mut near, &mut far).await });
        }
    });
    let elsewhere = config(stand.folder.path(), vec![]);
    let follower = stand.serve(elsewhere, Some(Leader::At(beyond))).await;
    let mut client = jobs(&follower).await;
    let made = client.create_job(create("r", "/in/a.mov")).await.unwrap().into_inner();
    let watch = v1::WatchJobRequest { job_id: made.id, ..Default::default() };
    let mut changes = client.watch_job(watch).await.unwrap().into_inner();
    assert!(changes.message().await.unwrap().is_some());
    connections.shutdown().await;
    let cut = loop {
        match changes.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the answer ended as if it were whole"),
            Err(status) => break status,
        }
    };
    assert_eq!(cut.code(), Code::Unavailable, "{cut}");
    assert_eq!(cut.get_details_error_info().unwrap().reason, "LEADER_UNREACHABLE");
}

#[tokio::test]
async fn without_a_leader_the_caller_is_told_to_try_again() {
    let mut stand = Stand::new().await;
    let places = config(stand.folder.path(), vec![]);
    let nobody = stand.serve(places.clone(), None).await;
    // Two that take each other for the leader end the matter, too.
    let circle = stand.serve(places.clone(), Some(Leader::At(nobody.clone()))).await;
    let gone = stand.serve(places, Some(Leader::At("http://127.0.0.1:9".into()))).await;
    for address in [&nobody, &circle, &gone] {
        let refused = jobs(address).await.create_job(create("r", "/in/a.mov")).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable, "{refused}");
        assert!(refused.get_details_retry_info().unwrap().retry_delay.is_some());
    }
    let check = HealthCheckRequest { service: "farm.v1.JobService".into() };
    let health = HealthClient::new(channel(&nobody).await).check(check).await.unwrap().into_inner();
    assert_eq!(health.status(), tonic_health::pb::health_check_response::ServingStatus::Serving);
}

#[tokio::test]
async fn a_waiting_call_answers_shortly_before_its_deadline() {
    let mut stand = Stand::new().await;
    let mut client = jobs(&stand.serve_here(vec![]).await).await;
    let id = client.create_job(create("r", "/in/a.mov")).await.unwrap().into_inner().id;
    let wait = v1::GetJobRequest { job_id: id, wait_for: v1::JobState::Playable.into(), ..Default::default() };
    let mut request = tonic::Request::new(wait);
    request.set_timeout(Duration::from_secs(1));
    let asked = Instant::now();
    let job = client.get_job(request).await.unwrap().into_inner();
    assert_eq!(job.state(), v1::JobState::Accepted);
    assert!((500..1_000).contains(&asked.elapsed().as_millis()), "{:?}", asked.elapsed());
}
