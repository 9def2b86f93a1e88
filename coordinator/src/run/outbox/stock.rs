//! Which objects of a job are there.

use std::collections::{BTreeSet, HashSet};

use shared::storage::{Storage, StorageConfig, StorageError};
use shared::task::Places;

use crate::farm::Objects;

/// Those of `wanted` that are not there.
pub(super) async fn missing(places: Places, wanted: Objects, config: StorageConfig) -> Result<Objects, StorageError> {
    Ok(Objects {
        target: missing_below(&places.target, wanted.target, &config).await?,
        work: missing_below(&places.work, wanted.work, &config).await?,
    })
}

/// Of each folder that something is wanted of, all is listed: a request for a thousand objects.
async fn missing_below(
    uri: &str,
    mut wanted: BTreeSet<String>,
    config: &StorageConfig,
) -> Result<BTreeSet<String>, StorageError> {
    let Some(place) = Storage::open_existing(uri, config)? else { return Ok(wanted) };
    let folders: BTreeSet<String> = wanted.iter().filter_map(|key| Some(key.split_once('/')?.0.to_owned())).collect();
    let mut there = HashSet::new();
    for folder in folders {
        there.extend(place.list(&folder).await?);
    }
    for key in wanted.iter().filter(|key| !key.contains('/')) {
        there.extend(place.size(key).await?.map(|_| key.clone()));
    }
    wanted.retain(|key| !there.contains(key));
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_not_there_is_named_wherever_it_should_lie() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let config = StorageConfig::default();
        let target = Storage::open(&at("target"), &config).unwrap();
        for key in ["720p/000000.a.m4s", "poster.jpg", "720p/000009.b.m4s"] {
            target.put(key, "x".into()).await.unwrap();
        }
        let keys = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<BTreeSet<_>>();
        let places = Places { source: String::new(), target: at("target"), work: at("work") };
        let wanted = Objects {
            target: keys(&["720p/000000.a.m4s", "720p/000001.c.m4s", "poster.jpg", "other.jpg", "360p/000000.d.m4s"]),
            work: keys(&["tiles/000001.jpg"]),
        };
        let gone = missing(places.clone(), wanted.clone(), config.clone()).await.unwrap();
        assert_eq!(gone.target, keys(&["720p/000001.c.m4s", "other.jpg", "360p/000000.d.m4s"]));
        assert_eq!(gone.work, wanted.work, "the folder was never made");
        assert!(!std::path::Path::new(&places.work).try_exists().unwrap(), "and is not made for being looked at");
    }
}
