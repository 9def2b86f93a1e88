//! Jobs, wherever they are: known to the farm, or put away.

use shared::task::{JobId, TenantId};
use tokio::sync::watch;

use super::{Closed, Handle, SubmitError};
use crate::archive::{ArchiveError, Archived};
use crate::farm::Event;
use crate::job::{JobView, Submission};

/// Where a job is.
pub enum Found {
    /// Here; its view changes.
    Known(watch::Receiver<JobView>),
    /// In the archive: it has ended, and stays as it is.
    PutAway(Box<Archived>),
}

impl Found {
    /// What is to be seen of it.
    pub fn views(self) -> watch::Receiver<JobView> {
        match self {
            Self::Known(views) => views,
            Self::PutAway(archived) => watch::channel(archived.view).1,
        }
    }
}

/// A job that was put away could not be brought back.
#[derive(Debug, thiserror::Error)]
pub enum RecallError {
    /// It can't be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// Nobody is there to take it.
    #[error(transparent)]
    Closed(#[from] Closed),
}

/// A job was not taken.
#[derive(Debug, thiserror::Error)]
pub enum AgainError {
    /// It may have been put away, and can't be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// It is refused.
    #[error(transparent)]
    Refused(#[from] SubmitError),
}

impl Handle {
    /// A job of this tenant; `None`: there is none.
    ///
    /// # Errors
    /// It may have been put away, and can't be read.
    pub async fn find(&self, tenant: &TenantId, job: &JobId) -> Result<Option<Found>, ArchiveError> {
        match (self.views.watch(job), &self.archive) {
            (Some(views), _) if views.borrow().tenant == *tenant => Ok(Some(Found::Known(views))),
            (None, Some(archive)) => Ok(archive.get(tenant, job).await?.map(Box::new).map(Found::PutAway)),
            _ => Ok(None),
        }
    }

    /// A job of this tenant, brought back if it was put away; `None`: there is none.
    ///
    /// # Errors
    /// It can't be brought back.
    pub async fn recall(
        &self,
        tenant: &TenantId,
        job: &JobId,
    ) -> Result<Option<watch::Receiver<JobView>>, RecallError> {
        match self.find(tenant, job).await? {
            Some(Found::Known(views)) => Ok(Some(views)),
            Some(Found::PutAway(archived)) => {
                self.tell(Event::Recalled(Box::new(archived.record))).await?;
                Ok(self.views.watch(job))
            }
            None => Ok(None),
        }
    }

    /// As [`Self::submit`], for an id that may have been used before: a job that was put away stays as it is.
    ///
    /// # Errors
    /// As there, or it can't be known whether there is one.
    pub async fn submit_again(&self, submission: Submission) -> Result<watch::Receiver<JobView>, AgainError> {
        let (tenant, id) = (submission.spec.tenant.clone(), submission.spec.id.clone());
        loop {
            let known = match self.find(&tenant, &id).await? {
                Some(Found::PutAway(archived)) if archived.record.is_asked_for_by(&submission) => {
                    return Ok(Found::PutAway(archived).views());
                }
                Some(Found::PutAway(_)) => return Err(SubmitError::Taken(id).into()),
                found => found.is_some(),
            };
            if let Some(views) = self.submit_as(submission.clone(), known).await? {
                return Ok(views);
            }
            // It is not known any longer: it is in the archive now, or gone.
            if !known {
                return Err(SubmitError::Closed.into());
            }
        }
    }
}
