//! Every method × {no key, wrong tenant, wrong scope}.

use std::collections::BTreeSet;

use coordinator::api::auth::Scope;
use coordinator::api::door::{MOST_STREAMS, RPCS};
use coordinator::api::{ApiConfig, CALLS_PER_CONNECTION, Leader, SERVICES};
use prost::Message;
use prost_types::FileDescriptorSet;
use proto::v1;
use proto::v1::event_service_client::EventServiceClient;
use tonic::Code;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::transport::Channel;
use tonic_types::StatusExt;
use tower::ServiceExt;

use super::stand::{Stand, channel, create, jobs, key, with_key};

/// What another tenant's key gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Foreign {
    /// The request names a job.
    NotFound,
    /// Only the tenant's own things can come of it.
    OwnOnly,
    /// Profiles and workers are the farm's.
    Everybodys,
}

/// A request that would do if the key did.
fn table(job: &str) -> Vec<(&'static str, Vec<u8>, Foreign)> {
    use Foreign::*;
    let (id, worker_id) = (job.to_owned(), "w1".to_owned());
    let paths = vec!["priority".to_owned()];
    let update_mask = Some(prost_types::FieldMask { paths });
    let update = v1::UpdateJobRequest { job_id: id.clone(), spec: None, update_mask };
    let watch = v1::WatchJobRequest { job_id: id.clone(), ..Default::default() };
    let get = v1::GetJobRequest { job_id: id.clone(), ..Default::default() };
    let probe = v1::ProbeRequest { source: "/in/a.mov".into() };
    vec![
        ("JobService/CreateJob", create("other", "/in/a.mov").encode_to_vec(), OwnOnly),
        ("JobService/GetJob", get.encode_to_vec(), NotFound),
        ("JobService/ListJobs", v1::ListJobsRequest::default().encode_to_vec(), OwnOnly),
        ("JobService/WatchJob", watch.encode_to_vec(), NotFound),
        ("JobService/UpdateJob", update.encode_to_vec(), NotFound),
        ("JobService/ExplainJob", v1::ExplainJobRequest { job_id: id.clone() }.encode_to_vec(), NotFound),
        ("JobService/RetryJob", v1::RetryJobRequest { job_id: id.clone() }.encode_to_vec(), NotFound),
        ("JobService/CancelJob", v1::CancelJobRequest { job_id: id.clone() }.encode_to_vec(), NotFound),
        ("JobService/DeleteJob", v1::DeleteJobRequest { job_id: id, erase: true }.encode_to_vec(), NotFound),
        ("ProbeService/Probe", probe.encode_to_vec(), OwnOnly),
        ("ProfileService/ListProfiles", vec![], Everybodys),
        ("ProfileService/GetProfile", v1::GetProfileRequest { name: "web".into() }.encode_to_vec(), Everybodys),
        ("ProfileService/ValidateProfile", vec![], Everybodys),
        ("ProfileService/ResolveLadder", vec![], Everybodys),
        ("FleetService/ListWorkers", vec![], Everybodys),
        ("FleetService/GetWorker", v1::GetWorkerRequest { worker_id: worker_id.clone() }.encode_to_vec(), Everybodys),
        (
            "FleetService/CordonWorker",
            v1::CordonWorkerRequest { worker_id: worker_id.clone() }.encode_to_vec(),
            Everybodys,
        ),
        (
            "FleetService/UncordonWorker",
            v1::UncordonWorkerRequest { worker_id: worker_id.clone() }.encode_to_vec(),
            Everybodys,
        ),
        ("FleetService/DrainWorker", v1::DrainWorkerRequest { worker_id }.encode_to_vec(), Everybodys),
        ("FleetService/GetScaleSignal", vec![], Everybodys),
        ("EventService/Subscribe", vec![], OwnOnly),
    ]
}

/// Every method that the descriptors have.
fn described() -> BTreeSet<String> {
    let files = FileDescriptorSet::decode(v1::CONTROL_DESCRIPTORS).unwrap();
    let services = files.file.iter().flat_map(|file| file.service.iter().map(move |service| (file.package(), service)));
    let methods = services.flat_map(|(package, service)| {
        service.method.iter().map(move |method| format!("{package}.{}/{}", service.name(), method.name()))
    });
    methods.collect()
}

/// The status that the call's head carries; `None`: it was let in.
async fn call(channel: &Channel, method: &str, body: &[u8], key: Option<&str>) -> Option<Code> {
    let frame = [&[0][..], &(body.len() as u32).to_be_bytes(), body].concat();
    let mut request = http::Request::post(format!("/farm.v1.{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", "2S");
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    let body = Body::new(http_body_util::Full::new(bytes::Bytes::from(frame)));
    let response = channel.clone().oneshot(request.body(body).unwrap()).await.unwrap();
    let status = response.headers().get("grpc-status")?;
    Some(Code::from_bytes(status.as_bytes()))
}

#[test]
fn every_method_has_its_rows() {
    let rows: BTreeSet<String> = table("j").iter().map(|(method, ..)| format!("farm.v1.{method}")).collect();
    assert_eq!(rows, described(), "the table of this test");
    let scoped: BTreeSet<String> = RPCS.iter().map(|rpc| rpc.path.to_owned()).collect();
    assert_eq!(scoped, described(), "the table of scopes");
    let services: BTreeSet<_> = described().iter().map(|path| path.split_once('/').unwrap().0.to_owned()).collect();
    assert_eq!(services, SERVICES.iter().map(ToString::to_string).collect());
}

#[tokio::test]
async fn nobody_gets_at_what_is_not_theirs() {
    let mut stand = Stand::new().await;
    let mut keys = vec![key("red", "red", &Scope::ALL), key("blue", "blue", &Scope::ALL)];
    for lacking in Scope::ALL {
        let others: Vec<_> = Scope::ALL.into_iter().filter(|scope| *scope != lacking).collect();
        keys.push(key(&format!("red-without-{lacking}"), "red", &others));
    }
    let address = stand.serve_here(keys).await;
    let job = jobs(&address).await.create_job(with_key("red", create("r", "/in/a.mov"))).await.unwrap().into_inner();
    let channel = channel(&address).await;
    for (method, body, foreign) in table(&job.id) {
        let scope = RPCS.iter().find(|rpc| rpc.path.ends_with(method)).unwrap().scope;
        assert_eq!(call(&channel, method, &body, None).await, Some(Code::Unauthenticated), "{method} without a key");
        assert_eq!(call(&channel, method, &body, Some("nobody's")).await, Some(Code::Unauthenticated), "{method}");
        let without = format!("red-without-{scope}");
        let refused = call(&channel, method, &body, Some(&without)).await;
        assert_eq!(refused, Some(Code::PermissionDenied), "{method} without {scope}");
        if foreign == Foreign::NotFound {
            assert_eq!(call(&channel, method, &body, Some("blue")).await, Some(Code::NotFound), "{method} by blue");
        }
    }
    let mut client = jobs(&address).await;
    let listed = client.list_jobs(with_key("blue", v1::ListJobsRequest::default())).await.unwrap().into_inner();
    assert_eq!(listed.jobs, [], "blue sees nothing of red's");
    // The same request id is another job for another tenant.
    let blue = client.create_job(with_key("blue", create("r", "/in/a.mov"))).await.unwrap().into_inner();
    assert_ne!(blue.id, job.id);
    let get = v1::GetJobRequest { job_id: job.id, ..Default::default() };
    let kept = client.get_job(with_key("red", get)).await.unwrap().into_inner();
    assert_eq!(kept.state(), v1::JobState::Accepted, "nobody else has changed it");
}

#[tokio::test]
async fn beyond_this_host_it_listens_only_with_keys() {
    let stand = Stand::new().await;
    let mut config = super::stand::config(stand.folder.path(), vec![]);
    config.listen = "0.0.0.0:0".parse().unwrap();
    assert!(config.callers().unwrap_err()[0].contains("open to others"));
    config.keys.push(key("red", "red", &[Scope::Read]));
    assert!(config.callers().is_ok());
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused_until_others_end() {
    let mut stand = Stand::new().await;
    let config = ApiConfig { max_streams: MOST_STREAMS, ..super::stand::config(stand.folder.path(), vec![]) };
    let address = stand.serve(config, Some(Leader::Here(stand.handle.clone()))).await;
    let mut open = Vec::new();
    let mut last = None;
    while open.len() < MOST_STREAMS {
        let client = EventServiceClient::new(channel(&address).await);
        let count = (CALLS_PER_CONNECTION as usize).min(MOST_STREAMS - open.len());
        let calls = (0..count).map(|_| {
            let mut client = client.clone();
            async move { client.subscribe(v1::SubscribeRequest::default()).await.unwrap().into_inner() }
        });
        open.extend(futures::future::join_all(calls).await);
        last = Some(client);
    }
    let mut more = EventServiceClient::new(channel(&address).await);
    let refused = more.subscribe(v1::SubscribeRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(refused.get_details_error_info().unwrap().reason, "TOO_MANY_STREAMS");
    assert!(refused.get_details_retry_info().is_some());
    let unary = jobs(&address).await.list_jobs(v1::ListJobsRequest::default()).await;
    assert!(unary.is_ok(), "other calls go on");
    drop((open, last));
    let free = async {
        while more.subscribe(v1::SubscribeRequest::default()).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), free).await.unwrap();
}

#[tokio::test]
async fn one_tenant_leaves_streams_to_others() {
    let mut stand = Stand::new().await;
    let keys = vec![key("red", "red", &[Scope::Read]), key("blue", "blue", &[Scope::Read])];
    let config = ApiConfig { max_streams: 2, ..super::stand::config(stand.folder.path(), keys) };
    let address = stand.serve(config, Some(Leader::Here(stand.handle.clone()))).await;
    let mut client = EventServiceClient::new(channel(&address).await);
    let mut open = Vec::new();
    for _ in 0..2 {
        open.push(client.subscribe(with_key("red", v1::SubscribeRequest::default())).await.unwrap());
    }
    let refused = client.subscribe(with_key("red", v1::SubscribeRequest::default())).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(refused.get_details_error_info().unwrap().reason, "TOO_MANY_STREAMS_OF_TENANT");
    assert!(refused.get_details_retry_info().is_some());
    assert!(client.subscribe(with_key("blue", v1::SubscribeRequest::default())).await.is_ok());
    open.pop();
    let free = async {
        while client.subscribe(with_key("red", v1::SubscribeRequest::default())).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), free).await.unwrap();
}
