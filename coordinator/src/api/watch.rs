//! A job being watched.

use futures::{Stream, stream};
use proto::v1;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::door::Call;
use super::{answer, error};
use crate::job::JobView;

/// What is remembered between two answers.
pub(super) struct Watching {
    call: Call,
    shutdown: CancellationToken,
    views: watch::Receiver<JobView>,
    after: u64,
    wanted: v1::JobView,
    /// The state told last.
    told: Option<v1::JobState>,
}

impl Watching {
    pub(super) fn new(
        call: Call,
        shutdown: CancellationToken,
        views: watch::Receiver<JobView>,
        request: &v1::WatchJobRequest,
    ) -> Self {
        Self { call, shutdown, views, after: request.after_sequence, wanted: request.view(), told: None }
    }

    /// The answers; the last one is of a job that is over.
    pub(super) fn stream(self) -> impl Stream<Item = Result<v1::WatchJobResponse, Status>> + Send {
        stream::unfold(Some(self), |watching| async {
            let mut watching = watching?;
            match watching.next().await {
                Ok(Some(job)) => Some((Ok(v1::WatchJobResponse { job: Some(job) }), Some(watching))),
                Ok(None) => None,
                Err(status) => Some((Err(status), None)),
            }
        })
    }

    async fn next(&mut self) -> Result<Option<v1::Job>, Status> {
        if self.told.is_some_and(answer::is_over) {
            return Ok(None);
        }
        let (after, first) = (self.after, self.told.is_none());
        let (until, shutdown) = (self.call.until, self.shutdown.clone());
        let newer = |view: &JobView| view.sequence > after || (first && answer::is_over(answer::state(view)));
        let view = tokio::select! {
            view = self.views.wait_for(newer) => view.map(|view| view.clone()),
            () = shutdown.cancelled() => return Err(error::unavailable("GOING_DOWN", "this coordinator goes down")),
            () = sleep_until(until) => return Err(error::too_late()),
        };
        let view =
            view.map_err(|_| error::unavailable("JOB_GONE", "the job, or its coordinator, has gone: ask again"))?;
        let mut job = answer::job(&view, self.wanted, v1::JobView::Full);
        // A slow reader, or a quick job: it was playable before it was whole, and that is never left out.
        let leapt = self.told.is_some_and(|told| told < v1::JobState::Playable)
            && job.playable_time.is_some()
            && matches!(job.state(), v1::JobState::Finishing | v1::JobState::Succeeded);
        if leapt {
            job.set_state(v1::JobState::Playable);
            job.end_time = None;
            job.sequence -= 1;
        }
        self.after = job.sequence;
        self.told = Some(job.state());
        Ok(Some(job))
    }
}

/// Never without a time.
pub(super) async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}
