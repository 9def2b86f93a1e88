//! What a job leaves behind is removed.

use std::sync::Arc;

use shared::storage::{Storage, StorageConfig, StorageError};

use crate::archive::Archive;
use crate::farm::{CleanUp, TakeAway};
use crate::publish::{self, Owner};

/// Removes the work objects, and of a job that did not complete the presentation, playlists first; what has become another
/// job's stays. A folder that was never made is not made now.
pub(super) async fn clean_up(
    order: CleanUp,
    storage: StorageConfig,
    archive: Option<Arc<Archive>>,
) -> Result<(), StorageError> {
    if let (Some(tenant), Some(archive)) = (&order.forget, archive) {
        archive.remove(tenant, &order.job).await?;
    }
    if let Some(take_away) = &order.take_away
        && let Some(target) = Storage::open_existing(&order.places.target, &storage)?
    {
        withdraw(&target, &order, take_away).await?;
    }
    match Storage::open_existing(&order.places.work, &storage)? {
        Some(work) if !order.keep_parts => work.clear().await,
        _ => Ok(()),
    }
}

/// Takes a presentation away, or what has come of it.
async fn withdraw(target: &Storage, order: &CleanUp, take_away: &TakeAway) -> Result<(), StorageError> {
    match Owner::find(target, &order.job).await? {
        Owner::Other => return Ok(()),
        Owner::Nobody if !take_away.whole => {}
        Owner::Nobody | Owner::ThisJob => publish::unpublish(target).await?,
    }
    if order.keep_parts {
        return Ok(());
    }
    publish::remove_media(target, &take_away.renditions).await?;
    for key in &take_away.images {
        target.delete(key).await?;
    }
    if take_away.whole {
        publish::remove_extras(target).await?;
    }
    publish::disclaim(target).await?;
    if order.forget.is_some() {
        target.remove_folder().await;
    }
    Ok(())
}
