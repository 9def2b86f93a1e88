//! What one version leaves for another: jobs that have ended, have failed or are under way, workers that hold, and what
//! clients keep to go on from.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use proto::v1;
use proto::v1::event_service_client::EventServiceClient;
use proto::v1::fleet_service_client::FleetServiceClient;
use proto::v1::job_service_client::JobServiceClient;
use tokio::time::timeout;
use tonic::{Code, Response};

use crate::support::cluster::Cluster;
use crate::support::cluster::client::Client;
use crate::support::load::{Clip, PROFILE};

/// Jobs of a real clip that are under way: the last should not end before all programs have changed.
const UNDER_WAY: usize = 2;
/// Before all others.
const NOW: i32 = 10;
/// After all others, so that what has begun does not end soon.
const LATER: i32 = -10;
/// Until what has happened is told.
const TOLD: Duration = Duration::from_secs(20);
const HELD: &str = "w1";

/// Jobs of one version that another finds.
pub struct Records {
    ended: v1::Job,
    /// What happened to the job that has ended.
    history: Vec<v1::TimelineEntry>,
    failed: Made,
    under_way: Vec<Made>,
}

/// A job, and where its presentation is.
struct Made {
    job: String,
    out: PathBuf,
}

impl Records {
    /// Leaves jobs under way and one that has failed, beside one that has ended well.
    pub async fn begin(cluster: &Cluster, clip: &Clip, name: &str, ended: &str) -> Self {
        let client = cluster.client();
        let failed = fails(cluster, clip, &format!("failed-{name}")).await;
        let mut under_way = Vec::new();
        for number in 0..UNDER_WAY {
            under_way.push(submit(cluster, clip.uri(), &format!("under-way-{name}-{number}")).await);
        }
        for made in &under_way {
            client.wait_for(&made.job, v1::JobState::Running).await;
            prefer(&client, &made.job, LATER).await;
        }
        Self { ended: client.get(ended).await, history: history(&client, ended).await, failed, under_way }
    }

    /// Finds them, and brings them to a good end.
    pub async fn end(self, cluster: &Cluster, clip: &Clip) {
        let client = cluster.client();
        let known = |job: v1::Job| (job.state, job.create_time, job.playable_time, job.end_time, job.output);
        assert_eq!(known(client.get(&self.ended.id).await), known(self.ended.clone()));
        assert_eq!(history(&client, &self.ended.id).await, self.history);

        let mut states = Vec::new();
        for made in &self.under_way {
            states.push(client.get(&made.job).await.state());
        }
        assert!(
            states.iter().any(|state| *state < v1::JobState::Succeeded),
            "all jobs have ended too early: {states:?}"
        );

        assert_eq!(client.get(&self.failed.job).await.state(), v1::JobState::Failed);
        let request = v1::RetryJobRequest { job_id: self.failed.job.clone() };
        client.ask(request, async |channel, request| JobServiceClient::new(channel).retry_job(request).await).await;
        for made in &self.under_way {
            prefer(&client, &made.job, NOW).await;
        }
        for made in self.under_way.iter().chain([&self.failed]) {
            client.succeeded(&made.job).await;
            clip.assert_right(&made.out);
        }
    }
}

async fn submit(cluster: &Cluster, source: String, name: &str) -> Made {
    let spec = v1::JobSpec { source, priority: NOW, ..cluster.spec("", name, PROFILE) };
    let job = cluster.client().submit(name, spec).await;
    Made { job, out: cluster.folder.path().join(name) }
}

/// A job that has ended meanwhile has its priority for good.
async fn prefer(client: &Client, job: &str, priority: i32) {
    let spec = Some(v1::JobSpec { priority, ..Default::default() });
    let update_mask = Some(prost_types::FieldMask { paths: vec!["priority".into()] });
    let request = v1::UpdateJobRequest { job_id: job.into(), spec, update_mask };
    let update = async |channel, request| match JobServiceClient::new(channel).update_job(request).await {
        Err(status) if status.code() == Code::FailedPrecondition => Ok(Response::new(v1::Job::default())),
        answer => answer,
    };
    client.ask(request, update).await;
}

/// A job that fails in the middle: its source is away for a while.
async fn fails(cluster: &Cluster, clip: &Clip, name: &str) -> Made {
    let source = cluster.folder.path().join(format!("{name}.mp4"));
    fs::copy(clip.uri().trim_start_matches("file:"), &source).unwrap();
    let made = submit(cluster, format!("file:{}", source.display()), name).await;
    cluster.client().wait_for(&made.job, v1::JobState::Running).await;
    let away = source.with_extension("away");
    fs::rename(&source, &away).unwrap();
    let job = cluster.client().wait_for(&made.job, v1::JobState::Succeeded).await;
    assert_eq!(job.state(), v1::JobState::Failed, "{job:?}");
    fs::rename(&away, &source).unwrap();
    made
}

/// What is told of the job itself; what its tasks were like is forgotten soon after its end.
async fn history(client: &Client, job: &str) -> Vec<v1::TimelineEntry> {
    let request = v1::ExplainJobRequest { job_id: job.into() };
    let explain = async |channel, request| JobServiceClient::new(channel).explain_job(request).await;
    let told = client.ask(request, explain).await.timeline.into_iter().filter(|entry| entry.task.is_empty());
    let told: Vec<v1::TimelineEntry> = told.collect();
    assert!(!told.is_empty());
    told
}

/// What clients and operators keep while coordinators change: a page token, a cursor, and that a worker should hold.
pub struct Bookmarks {
    page: String,
    cursor: String,
}

impl Bookmarks {
    pub async fn put(client: &Client) -> Self {
        let page = client.list(v1::ListJobsRequest { page_size: 1, ..Default::default() }).await.next_page_token;
        let cursor = events(client, "", |event| Some(event.cursor)).await;
        let request = v1::CordonWorkerRequest { worker_id: HELD.into() };
        client
            .ask(request, async |channel, request| FleetServiceClient::new(channel).cordon_worker(request).await)
            .await;
        Self { page, cursor }
    }

    /// `ended`: a job that has ended since.
    pub async fn are_found(self, client: &Client, ended: &str) {
        let request = v1::ListJobsRequest { page_size: 1, page_token: self.page, ..Default::default() };
        assert_eq!(client.list(request).await.jobs.len(), 1);
        let is_end = |event: &v1::Event| {
            event.r#type == "job.succeeded" && event.job.as_ref().is_some_and(|job| job.id == ended)
        };
        events(client, &self.cursor, |event| is_end(&event).then_some(())).await;
        let request = v1::GetWorkerRequest { worker_id: HELD.into() };
        let get = async |channel, request| FleetServiceClient::new(channel).get_worker(request).await;
        assert_eq!(client.ask(request, get).await.state(), v1::WorkerState::Cordoned);
        let request = v1::UncordonWorkerRequest { worker_id: HELD.into() };
        client
            .ask(request, async |channel, request| FleetServiceClient::new(channel).uncordon_worker(request).await)
            .await;
    }
}

/// Hears events after `cursor` until `found` says something.
async fn events<T>(client: &Client, cursor: &str, found: impl Fn(v1::Event) -> Option<T>) -> T {
    let request = v1::SubscribeRequest { cursor: cursor.into() };
    let subscribe = async |channel, request| EventServiceClient::new(channel).subscribe(request).await;
    let heard = async {
        loop {
            let mut told = client.ask(request.clone(), subscribe).await;
            // A stream lasts no longer than a question may.
            while let Ok(Some(event)) = told.message().await {
                if let Some(found) = found(event) {
                    return found;
                }
            }
        }
    };
    timeout(TOLD, heard).await.expect("an event should be told")
}
