//! `JobService`: parse, ask, answer.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::Stream;
use proto::v1;
use proto::v1::job_service_server::JobService;
use shared::task::JobId;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::door::Call;
use super::page::Query;
use super::request::{Rules, known_id, terms_change};
use super::watch::Watching;
use super::{Shared, answer, error, trace};
use crate::job::{JobState, JobView};
use crate::run::{AgainError, Closed, Found, RecallError, SubmitError};

/// How long before the deadline a waiting call answers with what there is.
const MARGIN: Duration = Duration::from_millis(200);

/// The service.
pub(super) struct Jobs(pub(super) Arc<Shared>);

/// A job of the caller's tenant, wherever it is.
async fn find(call: &Call, id: &str) -> Result<(JobId, Found), Status> {
    let job = known_id("job", id, JobId::new)?;
    let found = call.handle.find(&call.identity.tenant, &job).await.map_err(|error| error::unreadable(&error))?;
    found.map(|found| (job, found)).ok_or_else(|| error::not_found("job", id))
}

/// What is to be seen of a job of the caller's tenant.
async fn views(call: &Call, id: &str) -> Result<(JobId, watch::Receiver<JobView>), Status> {
    let (job, found) = find(call, id).await?;
    Ok((job, found.views()))
}

/// A job of the caller's tenant, brought back if it was put away.
async fn recall(call: &Call, id: &str) -> Result<(JobId, watch::Receiver<JobView>), Status> {
    let job = known_id("job", id, JobId::new)?;
    let found = call.handle.recall(&call.identity.tenant, &job).await.map_err(|refused| match refused {
        RecallError::Archive(error) => error::unreadable(&error),
        RecallError::Closed(Closed) => error::closed(),
    })?;
    found.map(|views| (job, views)).ok_or_else(|| error::not_found("job", id))
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
        Ok(view) => view.map_err(|_| error::closed()),
        Err(_) => Ok(views.borrow().clone()),
    }
}

fn not_taken(why: SubmitError) -> Status {
    match why {
        SubmitError::Taken(job) => error::taken(job.as_str()),
        SubmitError::Wrong(complaints) => error::invalid("spec", complaints.join("; ")),
        SubmitError::TargetHeld(by) => error::target_held(by.as_ref().map(JobId::as_str)),
        SubmitError::Closed => error::closed(),
    }
}

fn full(view: &JobView) -> Response<v1::Job> {
    Response::new(answer::job(view, v1::JobView::Full, v1::JobView::Full))
}

#[tonic::async_trait]
impl JobService for Jobs {
    async fn create_job(&self, request: Request<v1::CreateJobRequest>) -> Result<Response<v1::Job>, Status> {
        let call = Call::of(&request)?;
        let Shared { places, shelf, keep_parts_ms, max_unfinished_jobs, .. } = &*self.0;
        let rules = Rules { places, shelf, keep_parts_ms: *keep_parts_ms };
        let (caller, start) = (trace::caller(request.metadata()), SystemTime::now());
        let request = request.into_inner();
        let named = !request.request_id.is_empty();
        let submission = rules.submission(request, &call.identity.tenant)?;
        let known = call.handle.watch(&submission.spec.id).is_some();
        let unfinished =
            || call.handle.gather_at_once(|view| (call.owns(view) && !view.state.is_final()).then_some(()));
        if !known && unfinished().len() >= *max_unfinished_jobs {
            let text = format!("{max_unfinished_jobs} jobs are under way: let some end first");
            return Err(error::exhausted("TOO_MANY_JOBS", text));
        }
        let submitted = match named {
            true => call.handle.submit_again(submission).await,
            false => call.handle.submit(submission).await.map_err(AgainError::from),
        };
        let views = submitted.map_err(|refused| match refused {
            AgainError::Refused(why) => not_taken(why),
            AgainError::Archive(error) => error::unreadable(&error),
        })?;
        let view = views.borrow().clone();
        trace::created(&self.0.tracer, caller, &view, start);
        Ok(full(&view))
    }

    async fn get_job(&self, request: Request<v1::GetJobRequest>) -> Result<Response<v1::Job>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let (_, views) = views(&call, &request.job_id).await?;
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
        let places = call.handle.gather(|view| call.owns(view).then(|| query.place(view)).flatten());
        let (jobs, next_page_token) = query.page(places, |id| {
            let views = call.handle.watch(id)?;
            let view = views.borrow();
            (call.owns(&view) && query.wants(&view)).then(|| answer::job(&view, wanted, v1::JobView::Basic))
        });
        Ok(Response::new(v1::ListJobsResponse { jobs, next_page_token }))
    }

    type WatchJobStream = std::pin::Pin<Box<dyn Stream<Item = Result<v1::WatchJobResponse, Status>> + Send>>;

    async fn watch_job(&self, request: Request<v1::WatchJobRequest>) -> Result<Response<Self::WatchJobStream>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let (_, views) = views(&call, &request.job_id).await?;
        let watching = Watching::new(call, self.0.shutdown.clone(), views, &request);
        Ok(Response::new(Box::pin(watching.stream())))
    }

    async fn update_job(&self, request: Request<v1::UpdateJobRequest>) -> Result<Response<v1::Job>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let (job, views) = views(&call, &request.job_id).await?;
        let change = terms_change(&request)?;
        let ended = || error::precondition("JOB_ENDED", "the job has ended");
        if views.borrow().state.is_final() {
            return Err(ended());
        }
        call.handle.update(job, change.clone()).await.map_err(|Closed| error::closed())?;
        let view = views.borrow().clone();
        let changed = view.terms.clone().change(change);
        if changed && view.state.is_final() { Err(ended()) } else { Ok(full(&view)) }
    }

    async fn cancel_job(&self, request: Request<v1::CancelJobRequest>) -> Result<Response<v1::Job>, Status> {
        let call = Call::of(&request)?;
        let (job, views) = views(&call, &request.get_ref().job_id).await?;
        call.handle.cancel(job).await.map_err(|Closed| error::closed())?;
        let view = views.borrow().clone();
        Ok(full(&view))
    }

    async fn retry_job(&self, request: Request<v1::RetryJobRequest>) -> Result<Response<v1::Job>, Status> {
        let call = Call::of(&request)?;
        let (job, views) = recall(&call, &request.get_ref().job_id).await?;
        if !matches!(views.borrow().state, JobState::Failed(_) | JobState::Cancelled) {
            return Err(error::precondition("JOB_NOT_FAILED", "the job has neither failed nor been cancelled"));
        }
        call.handle.retry(job).await.map_err(not_taken)?;
        let view = views.borrow().clone();
        Ok(full(&view))
    }

    async fn delete_job(
        &self,
        request: Request<v1::DeleteJobRequest>,
    ) -> Result<Response<v1::DeleteJobResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let (job, mut views) = recall(&call, &request.job_id).await?;
        call.handle.delete(job, request.erase).await.map_err(|Closed| error::closed())?;
        // Nobody shows the job any more once it is forgotten.
        while views.changed().await.is_ok() {}
        let deleted = views.borrow().is_deleted();
        if deleted { Ok(Response::new(v1::DeleteJobResponse {})) } else { Err(error::closed()) }
    }

    async fn explain_job(
        &self,
        request: Request<v1::ExplainJobRequest>,
    ) -> Result<Response<v1::ExplainJobResponse>, Status> {
        let call = Call::of(&request)?;
        let id = request.get_ref().job_id.clone();
        let (view, lines) = match find(&call, &id).await? {
            (_, Found::PutAway(archived)) => (archived.view, archived.timeline),
            (job, Found::Known(views)) => {
                let lines = call.handle.explain(job).await.ok_or_else(|| error::not_found("job", &id))?;
                (views.borrow().clone(), lines)
            }
        };
        let trace = self.0.tracer.trace_of(&view.id);
        Ok(Response::new(answer::explanation(&view, lines, trace)))
    }
}
