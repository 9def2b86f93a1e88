//! Asking a cluster for jobs, whoever of its coordinators is alive.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use proto::v1;
use proto::v1::fleet_service_client::FleetServiceClient;
use proto::v1::job_service_client::JobServiceClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

/// No job of a test takes longer.
const RUN_LIMIT: Duration = Duration::from_secs(300);
/// Of one question: a coordinator that stands still answers none.
const ASK_LIMIT: Duration = Duration::from_secs(5);
/// Between two rounds in which nobody answered.
const PAUSE: Duration = Duration::from_millis(50);

/// Asks one coordinator after the other until one answers.
#[derive(Clone)]
pub struct Client {
    apis: Vec<u16>,
    /// The place among them of the one that answered last.
    good: Arc<AtomicUsize>,
}

impl Client {
    /// Of coordinators whose APIs are on these ports.
    pub fn new(apis: Vec<u16>) -> Self {
        Self { apis, good: Arc::default() }
    }

    /// Asks for a job; the `name` makes sure that it is one job, however often it is asked for.
    pub async fn submit(&self, name: &str, spec: v1::JobSpec) -> String {
        let request = v1::CreateJobRequest { request_id: name.into(), spec: Some(spec) };
        self.ask(request, async |channel, request| JobServiceClient::new(channel).create_job(request).await).await.id
    }

    /// How a job stands now.
    pub async fn get(&self, job: &str) -> v1::Job {
        let request = v1::GetJobRequest { job_id: job.into(), ..Default::default() };
        self.ask(request, async |channel, request| JobServiceClient::new(channel).get_job(request).await).await
    }

    /// A page of jobs.
    pub async fn list(&self, request: v1::ListJobsRequest) -> v1::ListJobsResponse {
        self.ask(request, async |channel, request| JobServiceClient::new(channel).list_jobs(request).await).await
    }

    /// Waits until the job has come as far as `state`.
    pub async fn wait_for(&self, job: &str, state: v1::JobState) -> v1::Job {
        let began = Instant::now();
        loop {
            let request = v1::GetJobRequest { job_id: job.into(), wait_for: state.into(), ..Default::default() };
            let job =
                self.ask(request, async |channel, request| JobServiceClient::new(channel).get_job(request).await).await;
            if job.state() as i32 >= state as i32 {
                return job;
            }
            assert!(began.elapsed() < RUN_LIMIT, "it does not become {state:?}: {job:?}");
        }
    }

    /// Waits until the job has ended, which must be well.
    pub async fn succeeded(&self, job: &str) -> v1::Job {
        let job = self.wait_for(job, v1::JobState::Succeeded).await;
        assert_eq!(job.state(), v1::JobState::Succeeded, "{job:?}");
        job
    }

    /// Lets workers work again that failed so often that they were told to hold. Returns how many.
    pub async fn release_quarantined(&self) -> usize {
        let request = v1::ListWorkersRequest::default();
        let listed =
            self.ask(request, async |channel, request| FleetServiceClient::new(channel).list_workers(request).await);
        let mut released = 0;
        for worker in listed.await.workers.into_iter().filter(|one| one.state() == v1::WorkerState::Quarantined) {
            let request = v1::UncordonWorkerRequest { worker_id: worker.id };
            self.ask(request, async |channel, request| FleetServiceClient::new(channel).uncordon_worker(request).await)
                .await;
            released += 1;
        }
        released
    }

    /// Asks until somebody answers, which no refusal is.
    ///
    /// A wait that is over without the job having come so far is an answer for nobody: it is asked again.
    pub async fn ask<Q: Clone, A>(
        &self,
        question: Q,
        call: impl AsyncFn(Channel, Request<Q>) -> Result<tonic::Response<A>, Status>,
    ) -> A {
        let began = Instant::now();
        loop {
            let good = self.good.load(Ordering::Relaxed);
            for place in (good..good + self.apis.len()).map(|place| place % self.apis.len()) {
                let api = self.apis[place];
                let Ok(endpoint) = Endpoint::from_shared(format!("http://127.0.0.1:{api}")) else { continue };
                let Ok(channel) = endpoint.connect_timeout(ASK_LIMIT).connect().await else { continue };
                let mut request = Request::new(question.clone());
                request.set_timeout(ASK_LIMIT);
                match call(channel, request).await {
                    Ok(answer) => {
                        self.good.store(place, Ordering::Relaxed);
                        return answer.into_inner();
                    }
                    Err(status) => {
                        let passes = [Code::Unavailable, Code::DeadlineExceeded, Code::Cancelled, Code::Unknown];
                        assert!(passes.contains(&status.code()), "{status}");
                    }
                }
            }
            assert!(began.elapsed() < RUN_LIMIT, "nobody answers");
            tokio::time::sleep(PAUSE).await;
        }
    }
}
