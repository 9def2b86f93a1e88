//! A round of playlists.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use shared::storage::{Storage, StorageConfig};
use shared::task::JobId;
use tracing::info;

use crate::farm::Round;
use crate::publish::{self, PublishError, Publisher};
use crate::store::Store;

/// A job's publisher remembers what it has written; a round takes it out and puts it back.
pub(super) type Publishers = Arc<Mutex<HashMap<JobId, Publisher>>>;

/// Writes a round; says whether there is a multivariant playlist.
pub(super) async fn publish(
    round: Round,
    publishers: Publishers,
    storage: StorageConfig,
    store: Arc<dyn Store>,
) -> Result<bool, PublishError> {
    let Round { job, places, presentation, mut last } = round;
    let target = Storage::open(&places.target, &storage)?;
    let known = publishers.lock().unwrap_or_else(PoisonError::into_inner).remove(&job);
    let mut publisher = match known {
        Some(publisher) => publisher,
        None => {
            publish::claim(&target, &job).await?;
            Publisher::new(target.clone()).asking(store)
        }
    };
    if let Some(last) = last.as_mut().filter(|last| last.movies) {
        last.certificate.movies = publish::write_movies(&target, &presentation).await?;
    }
    let certificate = last.as_ref().map(|last| &last.certificate);
    let published = publisher.publish(&presentation, certificate).await?;
    if let Some(last) = &last {
        last.report.write(&target).await?;
        let removed = publish::sweep(&target, &presentation).await?;
        info!(%job, removed, "published; segments of lost attempts removed");
    }
    publishers.lock().unwrap_or_else(PoisonError::into_inner).insert(job, publisher);
    Ok(published.multivariant)
}
