//! `JobService`: parse, ask, answer.

use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use proto::v1;
use proto::v1::job_service_server::JobService;
use shared::task::JobId;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::door::Call;
use super::page::Query;
use super::request::{Rules, known_id, updated};
use super::watch::Watching;
use super::{Shared, answer, error};
use crate::job::{JobState, JobView};
use crate::run::SubmitError;

/// How long before the deadline a waiting call answers with what there is.
const MARGIN: Duration = Duration::from_millis(200);

/// The service.
pub(super) struct Jobs {
    shared: Arc<Shared>,
    /// Updates come one after another: each is made from what the one before has left.
    updates: Mutex<()>,
}

impl Jobs {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, updates: Mutex::default() }
    }
}

/// A job of the caller's tenant.
fn find(call: &Call, id: &str) -> Result<(JobId, watch::Receiver<JobView>), Status> {
    let job = known_id("job", id, JobId::new)?;
    let views = call.handle.watch(&job).filter(|views| views.borrow().tenant == call.identity.tenant);
    views.map(|views| (job, views)).ok_or_else(|| error::not_found("job", id))
}

/// Waits for a view of which `right` is true, until the call's time is nearly over; the latest then.
async fn wait(
    call: &Call,
    mut views: watch::Receiver<JobView>,
    right: impl FnMut(&JobView) -> bool,
) -> Result<JobView, Status> {
    let until = call.until.unwrap_or_else(Instant::now) - MARGIN;
    let found = tokio::time::timeout_at(until, async { views.wait_for(right).await.map(|view| view.clone()) }).await;
    match found {
        Ok(view) => view.map_err(|_| gone()),
        Err(_) => Ok(views.borrow().clone()),
    }
}

/// The job was deleted, or this coordinator has ended.
fn gone() -> Status {
    error::unavailable("JOB_GONE", "the job, or the coordinator that answered for it, has gone: ask again")
}

fn full(view: &JobView) -> Response<v1::Job> {
    Response::new(answer::job(view, v1::JobView::Full, v1::JobView::Full))
}

#[tonic::async_trait]
impl JobService for Jobs {
    async fn create_job(&self, request: Request<v1::CreateJobRequest>) -> Result<Response<v1::Job>, Status> {
        let call = Call::of(&request)?;
        let Shared { places, shelf, keep_parts_ms, .. } = &*self.shared;
        let rules = Rules { places, shelf, keep_parts_ms: *keep_parts_ms };
        let submission = rules.submission(request.into_inner(), &call.identity.tenant)?;
        let views = call.handle.submit(submission).await.map_err(|refused| match refused {
            SubmitError::Taken(job) => error::taken(job.as_str()),
            SubmitError::Wrong(complaints) => error::invalid("spec", complaints.join("; ")),
            SubmitError::Closed => error::unavailable("NO_LEADER", "the coordinator has ended"),
        })?;
        let view = views.borrow().clone();
        Ok(full(&view))
    }

    async fn get_job(&self, request: Request<v1::GetJobRequest>) -> Result<Response<v1::Job>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let (_, views) = find(&call, &request.job_id)?;
        let wanted = request.wait_for();
        let view = if wanted == v1::JobState::Unspecified {
            views.borrow().clone()
        } else {
            let come = |view: &JobView| {
                let state = answer::state(view);
                state == wanted || answer::is_over(state) || (state > wanted && !answer::is_over(wanted))
            };
            wait(&call, views, come).await?
        };
        Ok(Response::new(answer::job(&view, request.view(), v1::JobView::Full)))
    }

    async fn list_jobs(&self, request: Request<v1::ListJobsRequest>) -> Result<Response<v1::ListJobsResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let query = Query::new(&request)?;
        let wanted = request.view();
        let views = call.handle.list(|view| view.tenant == call.identity.tenant && !view.is_probe());
        let jobs = views.iter().map(|view| answer::job(view, wanted, v1::JobView::Basic));
        let (jobs, next_page_token) = query.page(jobs.filter(|job| query.wants(job)).collect());
        Ok(Response::new(v1::ListJobsResponse { jobs, next_page_token }))
    }

    type WatchJobStream = std::pin::Pin<Box<dyn Stream<Item = Result<v1::WatchJobResponse, Status>> + Send>>;

    async fn watch_job(&self, request: Request<v1::WatchJobRequest>) -> Result<Response<Self::WatchJobStream>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let (_, views) = find(&call, &request.job_id)?;
        let watching = Watching::new(call, self.shared.shutdown.clone(), views, &request);
        Ok(Response::new(Box::pin(watching.stream())))
    }

    async fn update_job(&self, request: Request<v1::UpdateJobRequest>) -> Result<Response<v1::Job>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let (job, views) = find(&call, &request.job_id)?;
        let _turn = self.updates.lock().await;
        let view = views.borrow().clone();
        let terms = updated(&request, view.terms)?;
        if view.state.is_final() {
            return Err(error::precondition("JOB_ENDED", "the job has ended"));
        }
        call.handle.update(job, terms.clone()).await;
        let view = wait(&call, views, |view| view.terms == terms || view.state.is_final()).await?;
        Ok(full(&view))
    }

    async fn cancel_job(&self, request: Request<v1::CancelJobRequest>) -> Result<Response<v1::Job>, Status> {
        let call = Call::of(&request)?;
        let (job, views) = find(&call, &request.get_ref().job_id)?;
        call.handle.cancel(job).await;
        let view = wait(&call, views, |view| view.state.is_final()).await?;
        Ok(full(&view))
    }

    async fn retry_job(&self, request: Request<v1::RetryJobRequest>) -> Result<Response<v1::Job>, Status> {
        let call = Call::of(&request)?;
        let (job, views) = find(&call, &request.get_ref().job_id)?;
        if !matches!(views.borrow().state, JobState::Failed(_) | JobState::Cancelled) {
            return Err(error::precondition("JOB_NOT_FAILED", "the job has neither failed nor been cancelled"));
        }
        call.handle.retry(job).await;
        let view = wait(&call, views, |view| !view.state.is_final()).await?;
        Ok(full(&view))
    }

    async fn delete_job(
        &self,
        request: Request<v1::DeleteJobRequest>,
    ) -> Result<Response<v1::DeleteJobResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let (job, mut views) = find(&call, &request.job_id)?;
        call.handle.delete(job, request.erase).await;
        // Nobody shows the job any more once it is forgotten.
        while views.changed().await.is_ok() {}
        Ok(Response::new(v1::DeleteJobResponse {}))
    }

    async fn explain_job(
        &self,
        request: Request<v1::ExplainJobRequest>,
    ) -> Result<Response<v1::ExplainJobResponse>, Status> {
        let call = Call::of(&request)?;
        let (job, views) = find(&call, &request.get_ref().job_id)?;
        let lines = call.handle.explain(job).await.ok_or_else(gone)?;
        let view = views.borrow().clone();
        Ok(Response::new(answer::explanation(&view, lines)))
    }
}
