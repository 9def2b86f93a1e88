//! Jobs that ended long ago: gone from the farm's state, and still there for whoever knows their ids.

use std::path::PathBuf;
use std::time::Duration;

use coordinator::api::auth::Scope;
use proto::v1;
use proto::v1::job_service_client::JobServiceClient;
use shared::task::JobId;
use tonic::Code;
use tonic::transport::Channel;
use tonic_types::StatusExt;

use super::stand::{Stand, create, jobs, key, with_key};

fn get(id: &str) -> tonic::Request<v1::GetJobRequest> {
    with_key("red", v1::GetJobRequest { job_id: id.into(), ..Default::default() })
}

/// A job that was called off and has been put away: a client, its id, and where it lies.
async fn put_away(stand: &mut Stand) -> (JobServiceClient<Channel>, v1::Job, PathBuf) {
    let keys = vec![key("red", "red", &Scope::ALL), key("blue", "blue", &Scope::ALL)];
    let mut client = jobs(&stand.serve_here(keys).await).await;
    let made = client.create_job(with_key("red", create("r", "/in/a.mov"))).await.unwrap().into_inner();
    let cancel = v1::CancelJobRequest { job_id: made.id.clone() };
    client.cancel_job(with_key("red", cancel)).await.unwrap();
    let object = stand.folder.path().join(format!("work/archive/red/{}.json", made.id));
    let id = JobId::new(made.id.as_str()).unwrap();
    let gone = async {
        while stand.handle.watch(&id).is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.unwrap();
    assert!(object.is_file());
    (client, made, object)
}

#[tokio::test]
async fn a_job_that_was_put_away_answers_whoever_knows_its_id() {
    let mut stand = Stand::keeping(1).await;
    let (mut client, made, _) = put_away(&mut stand).await;
    let job = client.get_job(get(&made.id)).await.unwrap().into_inner();
    assert_eq!((job.state(), &job.spec, job.create_time), (v1::JobState::Cancelled, &made.spec, made.create_time));
    let explain = v1::ExplainJobRequest { job_id: made.id.clone() };
    let told = client.explain_job(with_key("red", explain)).await.unwrap().into_inner();
    assert_eq!(told.summary, "It was called off.");
    assert_eq!(told.timeline.len(), 2, "{told:?}");
    let watch = v1::WatchJobRequest { job_id: made.id.clone(), ..Default::default() };
    let mut changes = client.watch_job(with_key("red", watch)).await.unwrap().into_inner();
    assert_eq!(changes.message().await.unwrap().unwrap().job.unwrap().state(), v1::JobState::Cancelled);
    assert_eq!(changes.message().await.unwrap(), None);
    let update_mask = Some(prost_types::FieldMask { paths: vec!["priority".into()] });
    let update = v1::UpdateJobRequest { job_id: made.id.clone(), spec: None, update_mask };
    let refused = client.update_job(with_key("red", update)).await.unwrap_err();
    assert_eq!(refused.get_details_error_info().unwrap().reason, "JOB_ENDED");

    let listed = client.list_jobs(with_key("red", v1::ListJobsRequest::default())).await.unwrap().into_inner();
    assert_eq!(listed.jobs, [], "lists have it no more");
    let blue = v1::GetJobRequest { job_id: made.id.clone(), ..Default::default() };
    assert_eq!(client.get_job(with_key("blue", blue)).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(client.get_job(get("never-was")).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn its_request_id_is_still_taken() {
    let mut stand = Stand::keeping(1).await;
    let (mut client, made, _) = put_away(&mut stand).await;
    let again = client.create_job(with_key("red", create("r", "/in/a.mov"))).await.unwrap().into_inner();
    assert_eq!((&again.id, again.state()), (&made.id, v1::JobState::Cancelled));
    let refused = client.create_job(with_key("red", create("r", "/in/b.mov"))).await.unwrap_err();
    assert_eq!(refused.get_details_error_info().unwrap().reason, "REQUEST_ID_REUSED");
    let blue = client.create_job(with_key("blue", create("r", "/in/b.mov"))).await.unwrap().into_inner();
    assert_ne!(blue.id, made.id);
}

#[tokio::test]
async fn it_can_be_tried_again_and_deleted() {
    let mut stand = Stand::keeping(1).await;
    let (mut client, made, object) = put_away(&mut stand).await;
    let retry = v1::RetryJobRequest { job_id: made.id.clone() };
    let retried = client.retry_job(with_key("red", retry)).await.unwrap().into_inner();
    assert_eq!((retried.state(), retried.spec), (v1::JobState::Accepted, made.spec));
    for _ in 0..2 {
        let delete = v1::DeleteJobRequest { job_id: made.id.clone(), erase: true };
        let deleted = client.delete_job(with_key("red", delete)).await;
        assert!(!object.try_exists().unwrap());
        assert_eq!(client.get_job(get(&made.id)).await.unwrap_err().code(), Code::NotFound);
        if let Err(status) = deleted {
            assert_eq!(status.code(), Code::NotFound);
        }
    }
}

#[tokio::test]
async fn one_that_can_not_be_read_is_not_said_to_be_missing() {
    let mut stand = Stand::keeping(1).await;
    let (mut client, made, object) = put_away(&mut stand).await;
    std::fs::write(&object, b"{").unwrap();
    let refused = client.get_job(get(&made.id)).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.get_details_error_info().unwrap().reason.as_str()),
        (Code::Unavailable, "ARCHIVE_UNREADABLE")
    );
    let refused = client.create_job(with_key("red", create("r", "/in/a.mov"))).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "it may be another job's id");
}
