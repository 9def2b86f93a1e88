//! `EventService`: the steps of a tenant's jobs, from a cursor on.
//!
//! A cursor is the sequence of the last view that was looked at. Sequences carry the time ([`Farm`]), so a job's steps
//! that may not have been told are those of views after the cursor that are not older than it: told twice rather than
//! never.
//!
//! [`Farm`]: crate::farm::Farm

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, stream};
use proto::v1;
use proto::v1::event_service_server::EventService;
use shared::task::JobId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::door::Call;
use super::watch::sleep_until;
use super::{Shared, answer, error};
use crate::farm::VIEWS_PER_MS;
use crate::job::{JobView, Milestone};

/// The service.
pub(super) struct Events(pub(super) Arc<Shared>);

/// What is remembered between two events.
struct Subscription {
    call: Call,
    shutdown: CancellationToken,
    changes: watch::Receiver<u64>,
    /// Views up to here have been looked at.
    cursor: u64,
    /// Of the jobs that are known: how many of their steps have been told.
    told: BTreeMap<JobId, usize>,
    waiting: VecDeque<v1::Event>,
}

#[tonic::async_trait]
impl EventService for Events {
    type SubscribeStream = Pin<Box<dyn Stream<Item = Result<v1::Event, Status>> + Send>>;

    async fn subscribe(
        &self,
        request: Request<v1::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let call = Call::of(&request)?;
        let changes = call.handle.changes();
        let given = &request.get_ref().cursor;
        let shutdown = self.0.shutdown.clone();
        let (told, waiting) = (BTreeMap::new(), VecDeque::new());
        let mut subscription = Subscription { call, shutdown, changes, cursor: 0, told, waiting };
        if given.is_empty() {
            subscription.skip();
        } else {
            let cursor = given.parse().map_err(|_| error::invalid("cursor", "is not one of an event"))?;
            subscription.cursor = cursor;
        }
        let events = stream::unfold(Some(subscription), |subscription| async {
            let mut subscription = subscription?;
            match subscription.next().await {
                Ok(event) => Some((Ok(event), Some(subscription))),
                Err(status) => Some((Err(status), None)),
            }
        });
        Ok(Response::new(Box::pin(events)))
    }
}

impl Subscription {
    /// What has happened so far is not told.
    fn skip(&mut self) {
        let call = &self.call;
        let all = call
            .handle
            .gather_at_once(|view| call.owns(view).then(|| (view.id.clone(), view.sequence, view.history.len())));
        for (job, sequence, steps) in all {
            self.cursor = self.cursor.max(sequence);
            self.told.insert(job, steps);
        }
    }

    async fn next(&mut self) -> Result<v1::Event, Status> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Ok(event);
            }
            self.changes.mark_unchanged();
            self.look();
            if !self.waiting.is_empty() {
                continue;
            }
            tokio::select! {
                changed = self.changes.changed() => {
                    changed.map_err(|_| error::unavailable("NO_LEADER", "the coordinator has ended"))?;
                }
                () = self.shutdown.cancelled() => {
                    return Err(error::unavailable("GOING_DOWN", "this coordinator goes down"));
                }
                () = sleep_until(self.call.until) => return Err(error::too_late()),
            }
        }
    }

    /// Gathers the steps that are new.
    fn look(&mut self) {
        let (call, cursor, mut seen) = (&self.call, self.cursor, BTreeSet::new());
        let mut views = call.handle.gather_at_once(|view| {
            let ours = call.owns(view);
            if ours {
                seen.insert(view.id.clone()); // a job that was deleted may be known again
            }
            (ours && view.sequence > cursor).then(|| view.clone())
        });
        self.told.retain(|job, _| seen.contains(job));
        views.sort_by_key(|view| view.sequence);
        for view in views {
            self.gather(&view);
            self.cursor = self.cursor.max(view.sequence);
        }
    }

    fn gather(&mut self, view: &JobView) {
        let since_ms = self.cursor / VIEWS_PER_MS;
        let before = self.told.insert(view.id.clone(), view.history.len());
        let untold = match before {
            Some(count) => count.min(view.history.len()),
            None => view.history.partition_point(|moment| moment.at_ms < since_ms),
        };
        let job = answer::job(view, v1::JobView::Basic, v1::JobView::Basic);
        // A reader that stops between two steps of a view gets all of them again.
        let last = view.history.len().saturating_sub(1);
        let steps = view.history.iter().enumerate().skip(untold);
        self.waiting.extend(steps.map(|(at, moment)| v1::Event {
            cursor: (if at == last { view.sequence } else { self.cursor }).to_string(),
            r#type: kind(moment.what).to_owned(),
            time: Some(answer::time(moment.at_ms)),
            job: Some(job.clone()),
        }));
    }
}

fn kind(what: Milestone) -> &'static str {
    match what {
        Milestone::Accepted => "job.accepted",
        Milestone::Probed => "job.probed",
        Milestone::Playable => "job.playable",
        Milestone::Completed => "job.succeeded",
        Milestone::Failed => "job.failed",
        Milestone::Cancelled => "job.cancelled",
        Milestone::Retried => "job.retried",
        Milestone::Deleted => "job.deleted",
    }
}
