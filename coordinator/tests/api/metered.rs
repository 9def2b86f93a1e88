//! Calls are counted by method and code, whatever callers make up.

use std::sync::Arc;
use std::time::Duration;

use coordinator::api::Leader;
use coordinator::metrics::api::ApiMetrics;
use prometheus::{Registry, TextEncoder};
use proto::v1;
use shared::telemetry::Declare;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::stand::{Stand, channel, config, create, jobs};

/// Calls a method that may not be there.
async fn call(address: &str, path: &'static str) -> Status {
    let mut client = Grpc::new(channel(address).await);
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<v1::GetJobRequest, v1::Job>::default();
    let request = Request::new(v1::GetJobRequest::default());
    client.unary(request, PathAndQuery::from_static(path), codec).await.unwrap_err()
}

/// The lines of these metrics, once `line` is among them.
async fn told(registry: &Registry, line: &str) -> Vec<String> {
    let look = async {
        loop {
            let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
            let lines: Vec<String> = text.lines().map(str::to_owned).collect();
            if lines.iter().any(|found| found == line) {
                return lines;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), look).await.unwrap_or_else(|_| panic!("{line} does not come"))
}

#[tokio::test]
async fn calls_are_counted_by_what_became_of_them() {
    let registry = Registry::new();
    let mut stand = Stand::new().await;
    stand.meter = Some(Arc::new(ApiMetrics::new(Declare::new(&registry, "farm_test"))));
    let leader = stand.serve_here(vec![]).await;
    let requests = |method: &str, code: &str, count: u32| {
        format!("farm_test_api_requests_total{{code=\"{code}\",method=\"{method}\"}} {count}")
    };
    let mut client = jobs(&leader).await;
    let id = client.create_job(create("r", "/in/a.mov")).await.unwrap().into_inner().id;
    let watch = || v1::WatchJobRequest { job_id: id.clone(), ..Default::default() };
    let mut watching = client.watch_job(watch()).await.unwrap().into_inner();
    watching.message().await.unwrap();
    told(&registry, "farm_test_api_streams 1").await;
    drop(watching); // its caller goes
    told(&registry, "farm_test_api_streams 0").await;
    let mut watching = client.watch_job(watch()).await.unwrap().into_inner();
    client.cancel_job(v1::CancelJobRequest { job_id: id.clone() }).await.unwrap();
    while watching.message().await.unwrap().is_some() {} // it ends with its job

    let get = v1::GetJobRequest { job_id: "none".into(), ..Default::default() };
    assert_eq!(client.get_job(get).await.unwrap_err().code(), Code::NotFound);
    for path in ["/farm.v1.JobService/EatJob", "/farm.v1.JobService/", "/anything/at-all"] {
        assert_eq!(call(&leader, path).await.code(), Code::Unimplemented, "{path}");
    }
    let check = HealthCheckRequest { service: "farm.v1.JobService".into() };
    HealthClient::new(channel(&leader).await).check(check).await.unwrap();

    told(&registry, &requests("WatchJob", "OK", 1)).await;
    told(&registry, &requests("unknown", "UNIMPLEMENTED", 3)).await;
    let lines = told(&registry, &requests("CancelJob", "OK", 1)).await;
    for line in [
        requests("CreateJob", "OK", 1),
        requests("WatchJob", "CANCELLED", 1),
        requests("GetJob", "NOT_FOUND", 1),
        requests("GetJob", "OK", 0),
        "farm_test_api_seconds_count{method=\"CreateJob\"} 1".to_owned(),
        "farm_test_api_seconds_count{method=\"WatchJob\"} 2".to_owned(),
    ] {
        assert!(lines.contains(&line), "{line}\n{}", lines.join("\n"));
    }
    let counted = lines.iter().filter(|line| line.starts_with("farm_test_api_requests_total") && !line.ends_with(" 0"));
    assert_eq!(counted.count(), 6, "neither health nor paths that callers make up");
}

#[tokio::test]
async fn a_follower_counts_what_it_forwards() {
    let registry = Registry::new();
    let mut stand = Stand::new().await;
    let leader = stand.serve_here(vec![]).await;
    stand.meter = Some(Arc::new(ApiMetrics::new(Declare::new(&registry, "farm_test"))));
    let follower = stand.serve(config(stand.folder.path(), vec![]), Some(Leader::At(leader))).await;
    let mut client = jobs(&follower).await;
    client.create_job(create("r", "/in/a.mov")).await.unwrap();
    let get = v1::GetJobRequest { job_id: "none".into(), ..Default::default() };
    client.get_job(get).await.unwrap_err();
    told(&registry, "farm_test_api_requests_total{code=\"OK\",method=\"CreateJob\"} 1").await;
    told(&registry, "farm_test_api_requests_total{code=\"NOT_FOUND\",method=\"GetJob\"} 1").await;
}
