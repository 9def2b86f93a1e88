//! Jobs, asked for as anybody would.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use proto::v1;
use proto::v1::job_service_client::JobServiceClient;
use tokio::task::JoinSet;
use tonic::Request;
use tonic::transport::Channel;

use crate::farm::Farm;
use crate::fleet::Fleet;

/// Of one call that waits for a job.
const CALL: Duration = Duration::from_secs(10);
/// Calls under way at once.
const TOGETHER: usize = 32;

/// A client of the farm's API.
#[derive(Clone)]
pub struct Jobs {
    client: JobServiceClient<Channel>,
}

impl Jobs {
    pub async fn connect(farm: &Farm) -> Result<Self> {
        let client = JobServiceClient::connect(format!("http://127.0.0.1:{}", farm.api)).await?;
        Ok(Self { client })
    }

    /// Asks for `count` jobs, many at a time; their ids, the same in every run.
    pub async fn submit(&self, farm: &Farm, count: usize) -> Result<Vec<String>> {
        let (mut calls, mut ids) = (JoinSet::new(), Vec::new());
        for number in 0..count {
            if calls.len() >= TOGETHER {
                ids.extend(calls.join_next().await.transpose()?.transpose()?);
            }
            let (mut client, name) = (self.client.clone(), format!("bench-{number}"));
            let (source, target) = (farm.uri("source.mp4"), farm.uri(&format!("out/{number}")));
            let spec = v1::JobSpec { source, target, ..Default::default() };
            let request = v1::CreateJobRequest { request_id: name, spec: Some(spec) };
            calls.spawn(async move { client.create_job(request).await.map(|job| job.into_inner().id) });
        }
        while let Some(id) = calls.join_next().await {
            ids.push(id??);
        }
        Ok(ids)
    }

    /// Waits until all jobs have succeeded; the latest views of them.
    pub async fn succeeded(
        &self,
        farm: &mut Farm,
        fleet: &Fleet,
        ids: &[String],
        patience: Duration,
    ) -> Result<Vec<v1::Job>> {
        let began = Instant::now();
        let mut jobs = Vec::new();
        for id in ids {
            loop {
                let job = self.wait(id).await.with_context(|| farm.said())?;
                match job.state() {
                    v1::JobState::Succeeded => break jobs.push(job),
                    v1::JobState::Failed | v1::JobState::Cancelled => bail!("{id}: {:?}", job.problems),
                    _ => {}
                }
                farm.check()?;
                fleet.check()?;
                let said = || format!("after {patience:?} {id} has not ended: {:?}", job.progress);
                ensure!(began.elapsed() < patience, said());
            }
        }
        Ok(jobs)
    }

    /// The job once it has succeeded, or as it is after a while.
    async fn wait(&self, id: &str) -> Result<v1::Job> {
        let wait_for = v1::JobState::Succeeded.into();
        let view = v1::JobView::Basic.into();
        let mut request = Request::new(v1::GetJobRequest { job_id: id.into(), wait_for, view });
        request.set_timeout(CALL);
        Ok(self.client.clone().get_job(request).await?.into_inner())
    }
}

/// Chunks that jobs were cut into.
pub fn chunks(jobs: &[v1::Job]) -> usize {
    jobs.iter().filter_map(|job| job.progress.as_ref()).map(|progress| progress.chunks as usize).sum()
}
