//! What changes, for the log.

use shared::task::WorkerId;
use shared::trace::{TraceId, Tracer};
use tracing::field::display;
use tracing::{debug, error, info, warn};

use crate::job::{JobView, Milestone};
use crate::workers::Hold;

/// A line for each change of state since `before` was shown.
pub(super) fn job(view: &JobView, before: Option<&JobView>, tracer: &Tracer) {
    let job = &view.id;
    let trace_id = || tracer.trace_of(job).map(display::<TraceId>);
    // One that is submitted anew begins another history.
    let before = before.filter(|before| view.history.starts_with(&before.history));
    for moment in &view.history[before.map_or(0, |before| before.history.len())..] {
        let became = moment.what.as_str();
        match (moment.what, view.problems.iter().rfind(|problem| problem.fatal)) {
            (Milestone::Failed, Some(problem)) => {
                let (code, scope, text) = (&problem.code, &problem.scope, &problem.text);
                error!(%job, became, code, scope, text, trace_id = trace_id(), "job");
            }
            _ => info!(%job, became, trace_id = trace_id(), "job"),
        }
    }
    if view.settled && !before.is_some_and(|before| before.settled) {
        info!(%job, state = %view.state, trace_id = trace_id(), "job settled");
    }
    debug!(%job, state = %view.state, chunks = view.chunks.done, trace_id = trace_id(), "job shown");
}

/// Why a worker takes nothing from now on, or that it does again.
pub(super) fn hold(worker: &WorkerId, hold: Option<&Hold>) {
    match hold {
        Some(Hold::Quarantined(reason)) => warn!(%worker, reason, "worker quarantined"),
        Some(Hold::Cordoned) => info!(%worker, "worker cordoned"),
        None => info!(%worker, "worker released"),
    }
}
