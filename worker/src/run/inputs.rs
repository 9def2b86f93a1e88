//! What an attempt reads: packet lists, and the files their packets lie in.

use std::collections::BTreeSet;

use bytes::Bytes;
use shared::error::{ErrorKind, TaskError};
use shared::index::{ListRef, PacketList, Place, packed_key};
use shared::storage::{Storage, is_plain_key, local_path};
use shared::task::{Task, Work};

use crate::slot::request::{FileRole, InputFile};

/// Most bytes of packet lists in one task: the audio of a day in one track has a tenth.
const LARGEST_LISTS_BYTES: u64 = 128 << 20;

/// Finds out what a task reads. Files are not opened yet.
pub async fn gather(task: &Task, work: &Storage) -> Result<(Vec<Bytes>, Vec<InputFile>), TaskError> {
    let source = || {
        let path = local_path(&task.places.source)
            .map_err(|error| TaskError::input("source_unreadable", error.to_string()))?;
        Ok(InputFile { role: FileRole::Source, path })
    };
    let (stream, lists) = match &task.work {
        Work::Index(_) => return Ok((Vec::new(), vec![source()?])),
        Work::Storyboard(storyboard) => return Ok((Vec::new(), tiles(&storyboard.tiles, work)?)),
        Work::Video(video) => (video.stream.index, read_lists(&video.lists, work).await?),
        Work::Audio(audio) => (audio.stream.index, read_lists(&audio.lists, work).await?),
    };
    let (lists, places) = tokio::task::spawn_blocking(move || places_of(&lists).map(|places| (lists, places)))
        .await
        .map_err(|error| TaskError::bug(format!("reading packet lists: {error}")))??;
    let packed = places
        .packed
        .into_iter()
        .map(|number| InputFile { role: FileRole::Packed(number), path: work.local_file(&packed_key(stream, number)) });
    let files = places.source.then(source).into_iter().chain(packed.map(Ok)).collect::<Result<_, _>>()?;
    Ok((lists, files))
}

fn tiles(keys: &[String], work: &Storage) -> Result<Vec<InputFile>, TaskError> {
    let tile = |(key, position): (&String, u32)| match is_plain_key(key) {
        true => Ok(InputFile { role: FileRole::Tile(position), path: work.local_file(key) }),
        false => Err(TaskError::bug(format!("{key:?} is not the key of a tile"))),
    };
    keys.iter().zip(0..).map(tile).collect()
}

/// Reads lists, those that lie next to each other at once.
async fn read_lists(refs: &[ListRef], work: &Storage) -> Result<Vec<Bytes>, TaskError> {
    let total: u64 = refs.iter().map(|list| u64::from(list.len)).sum();
    if total > LARGEST_LISTS_BYTES {
        let text = format!("packet lists of {total} bytes; at most {LARGEST_LISTS_BYTES} go into one task");
        return Err(TaskError::new(ErrorKind::Unsupported, "lists_too_long", text));
    }
    let mut lists = Vec::with_capacity(refs.len());
    for run in refs.chunk_by(|a, b| (a.stream, a.part, end_of(*a)) == (b.stream, b.part, Some(b.offset))) {
        let key = run[0].key();
        let len = run.iter().map(|list| u64::from(list.len)).sum();
        if run[0].offset.checked_add(len).is_none() {
            return Err(TaskError::bug(format!("{key}: no object reaches to {} + {len}", run[0].offset)));
        }
        let mut bytes = work
            .get_range(&key, run[0].offset, len)
            .await
            .map_err(|error| TaskError::transient("list_unreadable", error.to_string()))?;
        if bytes.len() as u64 != len {
            let text = format!("{key}: {} of {len} bytes from {}", bytes.len(), run[0].offset);
            return Err(TaskError::transient("list_unreadable", text));
        }
        lists.extend(run.iter().map(|list| bytes.split_to(list.len as usize)));
    }
    Ok(lists)
}

fn end_of(list: ListRef) -> Option<u64> {
    list.offset.checked_add(u64::from(list.len))
}

/// Where the packets of some lists lie.
#[derive(Debug, Default)]
struct Places {
    source: bool,
    packed: BTreeSet<u32>,
}

fn places_of(lists: &[Bytes]) -> Result<Places, TaskError> {
    let mut places = Places::default();
    for list in lists {
        let list = PacketList::decode(list).map_err(|error| TaskError::bug(error.to_string()))?;
        for packet in list.packets {
            match packet.place {
                Place::Source => places.source = true,
                Place::Packed(number) => drop(places.packed.insert(number)),
            }
        }
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use shared::index::PacketEntry;

    use super::*;

    fn list(places: &[Place]) -> Vec<u8> {
        let packet =
            |place| PacketEntry { place, offset: 0, size: 1, pts: 0, dts: 0, duration: 1, key: true, discard: false };
        let packets = places.iter().map(|place| packet(*place)).collect();
        PacketList { packets, ..Default::default() }.encode()
    }

    #[tokio::test]
    async fn lists_are_read_as_referred_to_and_name_their_objects() {
        let folder = tempfile::tempdir().unwrap();
        let work = Storage::open(folder.path().to_str().unwrap()).unwrap();
        let (first, second) = (list(&[Place::Source]), list(&[Place::Packed(2), Place::Packed(0)]));
        work.put("index/1-000000", [&first[..], &second, b"tail"].concat().into()).await.unwrap();
        work.put("index/1-000001", first.clone().into()).await.unwrap();
        let at = |part, offset, len: usize| ListRef { stream: 1, part, offset, len: len as u32 };
        let refs = [at(0, 0, first.len()), at(0, first.len() as u64, second.len()), at(1, 0, first.len())];
        let lists = read_lists(&refs, &work).await.unwrap();
        assert_eq!(lists, [&first[..], &second, &first]);
        let places = places_of(&lists).unwrap();
        assert!(places.source);
        assert!(places.packed.into_iter().eq([0, 2]));
    }

    #[tokio::test]
    async fn a_list_that_is_not_there_fails_the_attempt() {
        let folder = tempfile::tempdir().unwrap();
        let work = Storage::open(folder.path().to_str().unwrap()).unwrap();
        work.put("index/0-000000", vec![0; 10].into()).await.unwrap();
        for (part, offset, len) in [(1, 0, 4), (0, 8, 4), (0, 20, 4), (0, u64::MAX, 4)] {
            let refs = [ListRef { stream: 0, part, offset, len }];
            assert!(read_lists(&refs, &work).await.is_err(), "{part} {offset} {len}");
        }
    }
}
