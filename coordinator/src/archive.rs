//! Jobs that ended long ago, put away: one JSON object each, so that state and memory don't grow with every job that
//! ever was.
//!
//! ```text
//! <work>/archive/<tenant>/<job>.json    what is remembered of the job, what was shown last, its timeline (Archived)
//! ```
//!
//! A job is put here before the store forgets it. It still answers whoever knows its id; lists and events have it no
//! more. An object that is older than [`Archive::days`] is removed.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use shared::storage::{Storage, StorageConfig, StorageError};
use shared::task::{JobId, TenantId};
use tracing::{info, warn};

use crate::farm::Line;
use crate::job::{JobRecord, JobView};

/// How often old objects are looked for.
const LOOK_INTERVAL: Duration = Duration::from_secs(6 * 3600);
/// Between two removals: nothing else should feel them.
const REMOVAL_PAUSE: Duration = Duration::from_millis(20);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// All that is kept of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Archived {
    /// What the store remembered of it.
    pub record: JobRecord,
    /// What people saw last.
    pub view: JobView,
    /// What had become of it.
    pub timeline: Vec<Line>,
}

/// Where jobs are put away, and when.
#[derive(Debug, Clone)]
pub struct Archive {
    /// URI of a prefix.
    pub place: String,
    /// How long jobs that have ended stay in the store, in milliseconds.
    pub keep_finished_ms: u64,
    /// How long they stay here, in days; 0: until somebody else removes them.
    pub days: u32,
    /// How the place is reached.
    pub storage: StorageConfig,
}

/// A job that may have been put away can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The place can't be reached.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// It is not what is written here.
    #[error("{key} is damaged: {reason}")]
    Damaged {
        /// Which object.
        key: String,
        /// What is wrong.
        reason: serde_json::Error,
    },
}

impl Archive {
    /// Puts a job away. One that was put away before is replaced.
    ///
    /// # Errors
    /// It is not there, or not known to be.
    pub async fn put(&self, archived: &Archived) -> Result<(), StorageError> {
        let spec = &archived.record.spec;
        let bytes = serde_json::to_vec(archived).expect("records should be plain data");
        let place = Storage::open(&self.place, &self.storage)?;
        place.put(&key(&spec.tenant, &spec.id), bytes.into()).await.map(drop)
    }

    /// A tenant's job that was put away.
    ///
    /// # Errors
    /// It can't be known whether there is one.
    pub async fn get(&self, tenant: &TenantId, job: &JobId) -> Result<Option<Archived>, ArchiveError> {
        let key = key(tenant, job);
        let Some(place) = Storage::open_existing(&self.place, &self.storage)? else { return Ok(None) };
        let Some(bytes) = place.find(&key).await? else { return Ok(None) };
        let archived = serde_json::from_slice(&bytes);
        archived.map(Some).map_err(|reason| ArchiveError::Damaged { key, reason })
    }

    /// Forgets a job, if it was put away.
    ///
    /// # Errors
    /// It may still be there.
    pub async fn remove(&self, tenant: &TenantId, job: &JobId) -> Result<(), StorageError> {
        match Storage::open_existing(&self.place, &self.storage)? {
            Some(place) => place.delete(&key(tenant, job)).await,
            None => Ok(()),
        }
    }

    /// Removes what is too old, again and again; never ends.
    pub async fn age(self: Arc<Self>) {
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        loop {
            look.tick().await;
            let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            match self.remove_old(since_epoch.saturating_sub(DAY * self.days)).await {
                Ok(0) => {}
                Ok(removed) => info!(removed, "jobs that ended long ago are forgotten for good"),
                Err(error) => warn!(%error, "jobs that ended long ago can't be removed; trying again later"),
            }
        }
    }

    /// Removes what was put away before this time, counted from 1970. Returns how many jobs those were.
    ///
    /// # Errors
    /// Some may still be there.
    pub async fn remove_old(&self, before: Duration) -> Result<u64, StorageError> {
        let Some(place) = Storage::open_existing(&self.place, &self.storage)?.filter(|_| self.days > 0) else {
            return Ok(0);
        };
        let before_ms = i64::try_from(before.as_millis()).unwrap_or(i64::MAX);
        let mut removed = 0;
        let mut all = std::pin::pin!(place.ages());
        while let Some((key, modified_ms)) = all.try_next().await? {
            if modified_ms < before_ms {
                place.delete(&key).await?;
                removed += 1;
                tokio::time::sleep(REMOVAL_PAUSE).await;
            }
        }
        Ok(removed)
    }
}

fn key(tenant: &TenantId, job: &JobId) -> String {
    format!("{tenant}/{job}.json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::JobState;

    fn archived() -> Archived {
        serde_json::from_str(include_str!("archive/golden.json")).unwrap()
    }

    fn archive(folder: &std::path::Path, days: u32) -> Archive {
        let place = folder.join("archive").display().to_string();
        Archive { place, keep_finished_ms: 1, days, storage: StorageConfig::default() }
    }

    /// Whoever changes what is written here still reads what was written before.
    #[test]
    fn jobs_of_every_version_can_be_read() {
        let archived = archived();
        assert_eq!((archived.view.state, archived.view.ladder.video.len()), (JobState::Completed, 3));
        let written = serde_json::to_vec(&archived).unwrap();
        assert_eq!(serde_json::from_slice::<Archived>(&written).unwrap(), archived);
    }

    #[tokio::test]
    async fn a_job_is_found_by_its_tenant_until_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (archive, archived) = (archive(folder.path(), 1), archived());
        let (tenant, id) = (&archived.view.tenant, &archived.view.id);
        assert_eq!(archive.get(tenant, id).await.unwrap(), None);
        archive.remove(tenant, id).await.unwrap();
        for _ in 0..2 {
            archive.put(&archived).await.unwrap();
        }
        assert_eq!(archive.get(tenant, id).await.unwrap().as_ref(), Some(&archived));
        assert_eq!(archive.get(&TenantId::new("other").unwrap(), id).await.unwrap(), None);
        archive.remove(tenant, id).await.unwrap();
        assert_eq!(archive.get(tenant, id).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_is_too_old_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (ageing, archived) = (archive(folder.path(), 1), archived());
        ageing.put(&archived).await.unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let later = now + Duration::from_secs(60);
        assert_eq!(archive(folder.path(), 0).remove_old(later).await.unwrap(), 0, "somebody else removes them");
        assert_eq!(ageing.remove_old(now - Duration::from_secs(60)).await.unwrap(), 0);
        assert_eq!(ageing.remove_old(later).await.unwrap(), 1);
        assert_eq!(ageing.get(&archived.view.tenant, &archived.view.id).await.unwrap(), None);
    }
}
