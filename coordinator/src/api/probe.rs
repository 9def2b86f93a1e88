//! `ProbeService`: a probe is a job that is called off and forgotten once its source is known. Workers read sources for
//! jobs alone, with all their limits, and so they do here.

use std::sync::Arc;

use proto::v1;
use proto::v1::probe_service_server::ProbeService;
use shared::source::Verdict;
use shared::task::{JobId, Places, TenantId};
use shared::time::SegmentGrid;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::door::Call;
use super::error::{self, Violations};
use super::{Shared, sources};
use crate::job::{JobSpec, JobState, JobView, Submission, Terms};
use crate::ladder::Rungs;
use crate::profile::Profile;
use crate::run::{Handle, SubmitError};

/// Marks the jobs that nobody sees.
const LABEL: &str = "farm/probe";
/// Its chunks come after everybody else's; there is nobody to want them.
const PRIORITY: i32 = -1_000;

impl JobView {
    /// Whether it is there for its source's sake alone.
    pub(super) fn is_probe(&self) -> bool {
        self.terms.priority == PRIORITY && self.terms.labels.contains_key(LABEL)
    }
}

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
        let labels = [(LABEL.to_owned(), String::new())].into();
        Ok(Submission { spec, terms: Terms { priority: PRIORITY, deadline_ms: None, labels }, again: false })
    }
}

#[tonic::async_trait]
impl ProbeService for Probes {
    async fn probe(&self, request: Request<v1::ProbeRequest>) -> Result<Response<v1::ProbeResult>, Status> {
        let call = Call::of(&request)?;
        let mut wrong = Violations::default();
        let source = wrong.take("source", self.shared.places.source(&request.get_ref().source));
        wrong.check()?;
        let submission = self.submission(source.unwrap_or_default(), call.identity.tenant)?;
        let probing = self.running.spawn(probe(call.handle, submission));
        let found = probing.await.map_err(|error| error::internal(error.to_string()))??;
        Ok(Response::new(found))
    }
}

async fn probe(handle: Handle, submission: Submission) -> Result<v1::ProbeResult, Status> {
    let job = submission.spec.id.clone();
    let closed = || error::unavailable("NO_LEADER", "the coordinator has ended");
    let mut views = handle.submit(submission).await.map_err(|refused| match refused {
        SubmitError::Closed => closed(),
        other => error::internal(other.to_string()),
    })?;
    let known = views.wait_for(|view| view.source.is_some() || view.state.is_final()).await;
    let view = known.map(|view| view.clone()).map_err(|_| closed());
    handle.delete(job, true).await;
    let view = view?;
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
    let Some(verdict) = found.filter(|_| !["source_missing", "source_unreadable"].contains(&code)) else {
        return Err(error::precondition("SOURCE_UNREADABLE", format!("{text} ({code})")));
    };
    let finding = v1::Finding { code: code.to_owned(), text: text.to_owned(), handling: "refused".to_owned() };
    let verdict = sources::verdict(verdict).into();
    Ok(v1::ProbeResult { verdict, findings: vec![finding], ..v1::ProbeResult::default() })
}
