//! Asking a cluster for jobs, whoever of its coordinators is alive.

use std::time::{Duration, Instant};

use proto::v1;
use proto::v1::job_service_client::JobServiceClient;
use tonic::transport::Channel;
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
    pub apis: Vec<u16>,
}

impl Client {
    /// Asks for a job; the `name` makes sure that it is one job, however often it is asked for.
    pub async fn submit(&self, name: &str, spec: v1::JobSpec) -> String {
        let request = v1::CreateJobRequest { request_id: name.into(), spec: Some(spec) };
        self.ask(request, async |mut client, request| client.create_job(request).await).await.id
    }

    /// How a job stands now.
    pub async fn get(&self, job: &str) -> v1::Job {
        let request = v1::GetJobRequest { job_id: job.into(), ..Default::default() };
        self.ask(request, async |mut client, request| client.get_job(request).await).await
    }

    /// Waits until the job has come as far as `state`.
    pub async fn wait_for(&self, job: &str, state: v1::JobState) -> v1::Job {
        let began = Instant::now();
        loop {
            let request = v1::GetJobRequest { job_id: job.into(), wait_for: state.into(), ..Default::default() };
            let job = self.ask(request, async |mut client, request| client.get_job(request).await).await;
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

    /// A wait that is over without the job having come so far is an answer for nobody: it is asked again.
    async fn ask<Q: Clone, A>(
        &self,
        question: Q,
        call: impl AsyncFn(JobServiceClient<Channel>, Request<Q>) -> Result<tonic::Response<A>, Status>,
    ) -> A {
        let began = Instant::now();
        loop {
            for api in &self.apis {
                let Ok(client) = JobServiceClient::connect(format!("http://127.0.0.1:{api}")).await else { continue };
                let mut request = Request::new(question.clone());
                request.set_timeout(ASK_LIMIT);
                match call(client, request).await {
                    Ok(answer) => return answer.into_inner(),
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
