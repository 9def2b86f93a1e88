//! `ProbeService`: a probe is a job that is called off and forgotten once its source is known. Workers read sources for
//! jobs alone, with all their limits, and so they do here.

use std::sync::Arc;
use std::time::Duration;

use proto::v1;
use proto::v1::probe_service_server::ProbeService;
use shared::source::Verdict;
use shared::task::{JobId, Places, TenantId};
use shared::time::SegmentGrid;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::door::Call;
use super::error::{self, Violations};
use super::{Shared, sources};
use crate::job::{JobSpec, JobState, JobView, Problem, Submission, Terms};
use crate::ladder::Rungs;
use crate::profile::Profile;
use crate::run::{Closed, Handle, SubmitError};

/// How long before the deadline a probe is given up: it is taken away in that time.
const MARGIN: Duration = Duration::from_millis(200);

/// The service.
pub(super) struct Probes {
    shared: Arc<Shared>,
    /// Probes end in their own time, whether or not the caller still waits.
    running: TaskTracker,
}

impl Probes {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, running: TaskTracker::new() }
    }

    fn submission(&self, source: String, tenant: TenantId) -> Result<Submission, Status> {
        let id = Uuid::now_v7().to_string();
        let places = &self.shared.places;
        let profile = Profile::named("web").ok_or_else(|| error::internal("the profile `web` should be built in"))?;
        let spec = JobSpec {
            id: JobId::new(id.as_str()).ok_or_else(|| error::internal("a UUID should be an id"))?,
            tenant,
            places: Places { source, target: places.work(&format!("{id}-probe")), work: places.work(&id) },
            profile,
            segment_ms: SegmentGrid::LONGEST_MS,
            rungs: Rungs::Auto,
            preset: None,
            movies: false,
            growing_ms: None,
            keep_parts_ms: 0,
        };
        Ok(Submission { spec, terms: Terms::of_probe(), words: None, again: false })
    }
}

#[tonic::async_trait]
impl ProbeService for Probes {
    async fn probe(&self, request: Request<v1::ProbeRequest>) -> Result<Response<v1::ProbeResult>, Status> {
        let call = Call::of(&request)?;
        let mut wrong = Violations::default();
        let source = wrong.take("source", self.shared.places.source(&request.get_ref().source, &call.identity.tenant));
        wrong.check()?;
        let most = self.shared.max_probes;
        let ours = |view: &JobView| view.tenant == call.identity.tenant && view.terms.is_probe();
        if call.handle.gather_at_once(|view| ours(view).then_some(())).len() >= most {
            return Err(error::exhausted(
                "TOO_MANY_PROBES",
                format!("{most} probes are under way: let some end first"),
            ));
        }
        let submission = self.submission(source.unwrap_or_default(), call.identity.tenant)?;
        let until = call.until.unwrap_or_else(Instant::now) - MARGIN;
        let probing = self.running.spawn(probe(call.handle, submission, until));
        let found = probing.await.map_err(|error| error::internal(error.to_string()))??;
        Ok(Response::new(found))
    }
}

async fn probe(handle: Handle, submission: Submission, until: Instant) -> Result<v1::ProbeResult, Status> {
    let job = submission.spec.id.clone();
    let mut views = handle.submit(submission).await.map_err(|refused| match refused {
        SubmitError::Closed => error::closed(),
        other => error::internal(other.to_string()),
    })?;
    let known = views.wait_for(|view| view.source.is_some() || view.state.is_final());
    let found = tokio::time::timeout_at(until, async { known.await.map(|view| view.clone()) }).await;
    // Whoever leads next deletes what is left of probes by itself.
    handle.delete(job, true).await.map_err(|Closed| error::closed())?;
    let view = found.map_err(|_| error::too_late())?.map_err(|_| error::closed())?;
    match (&view.source, view.state) {
        (Some(source), _) => Ok(sources::result(source, view.verdict.unwrap_or(source.verdict), &view.findings)),
        (None, JobState::Failed(_)) => refused(&view),
        (None, _) => Err(error::unavailable("PROBE_CALLED_OFF", "the probe was called off")),
    }
}

/// A source that can't be read is an answer if it says something about the source.
fn refused(view: &JobView) -> Result<v1::ProbeResult, Status> {
    let problem = view.problems.iter().rfind(|problem| problem.fatal);
    let (code, text) = problem.map_or(("", ""), |problem| (problem.code.as_str(), problem.text.as_str()));
    let found = view.verdict.filter(|verdict| matches!(verdict, Verdict::Corrupt | Verdict::Unsupported));
    let Some(verdict) = found.filter(|_| !Problem::is_source_away(code)) else {
        return Err(error::precondition("SOURCE_UNREADABLE", format!("{text} ({code})")));
    };
    let finding = v1::Finding { code: code.to_owned(), text: text.to_owned(), handling: "refused".to_owned() };
    let verdict = sources::verdict(verdict).into();
    Ok(v1::ProbeResult { verdict, findings: vec![finding], ..v1::ProbeResult::default() })
}
