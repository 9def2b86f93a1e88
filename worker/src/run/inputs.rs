//! What an attempt reads: packet lists, and the files their packets lie in.
//!
//! A slot gets open files only. What is a file of this host is opened where it lies. From an object store come, into
//! scratch files: of source and packed objects the byte ranges that the packet lists name, of tiles everything. An index
//! task reads a source that lies there through a [`Feed`].

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use shared::error::{ErrorKind, TaskError};
use shared::index::{ListRef, PacketList, Place, packed_key};
use shared::storage::{RemoteSource, Storage, StorageConfig, is_plain_key, local_path};
use shared::task::{Task, Work};

use super::feed::Feed;
use super::fetch::fetch;
use crate::scratch::Scratch;
use crate::slot::request::{FileRole, InputFile, Origin};

/// Most bytes of packet lists in one task: the audio of a day in one track has a tenth.
const LARGEST_LISTS_BYTES: u64 = 128 << 20;
/// Tiles fetched at once.
const PARALLEL_TILES: usize = 16;

/// Everything an attempt reads.
#[derive(Debug, Default)]
pub struct Gathered {
    /// The encoded packet lists, in the task's order.
    pub lists: Vec<Bytes>,
    /// For the slot.
    pub files: Vec<InputFile>,
    /// Answers the slot's reads of the source.
    pub feed: Option<Feed>,
}

/// Where a task's inputs come from.
pub struct InputPlaces<'a> {
    /// URI of the source.
    pub source: &'a str,
    /// What earlier tasks have made.
    pub work: &'a Storage,
    /// How object stores are reached.
    pub config: &'a StorageConfig,
    /// For what comes from there.
    pub scratch: &'a Arc<Scratch>,
}

/// Finds out what a task reads, and fetches what is not here. Files of this host are not opened yet.
pub async fn gather(task: &Task, from: &InputPlaces<'_>) -> Result<Gathered, TaskError> {
    let (stream, lists) = match &task.work {
        Work::Index(_) => return from.whole_source().await,
        Work::Storyboard(storyboard) => {
            return Ok(Gathered { files: from.tiles(&storyboard.tiles).await?, ..Gathered::default() });
        }
        Work::Video(video) => (video.stream.index, read_lists(&video.lists, from.work).await?),
        Work::Audio(audio) => (audio.stream.index, read_lists(&audio.lists, from.work).await?),
    };
    let (lists, places) = tokio::task::spawn_blocking(move || places_of(&lists).map(|places| (lists, places)))
        .await
        .map_err(|error| TaskError::bug(format!("reading packet lists: {error}")))??;
    let mut files = Vec::new();
    if !places.source.is_empty() {
        files.push(from.source(places.source).await?);
    }
    for (number, ranges) in places.packed {
        files.push(from.packed(&packed_key(stream, number), number, ranges).await?);
    }
    Ok(Gathered { lists, files, feed: None })
}

impl InputPlaces<'_> {
    fn local_source(&self) -> Result<Option<PathBuf>, TaskError> {
        local_path(self.source).map_err(|error| TaskError::input("source_unreadable", error.to_string()))
    }

    async fn whole_source(&self) -> Result<Gathered, TaskError> {
        if let Some(path) = self.local_source()? {
            let file = InputFile { role: FileRole::Source, origin: Origin::Path(path) };
            return Ok(Gathered { files: vec![file], ..Gathered::default() });
        }
        let source = RemoteSource::open(self.source, self.config).await?;
        let role = FileRole::Stream(source.size_bytes());
        let (feed, socket) = Feed::start(source)
            .map_err(|error| TaskError::new(ErrorKind::Exhausted, "worker_files", error.to_string()))?;
        let file = InputFile { role, origin: Origin::Open(Arc::new(socket)) };
        Ok(Gathered { files: vec![file], feed: Some(feed), ..Gathered::default() })
    }

    async fn source(&self, ranges: Vec<Range<u64>>) -> Result<InputFile, TaskError> {
        let role = FileRole::Source;
        if let Some(path) = self.local_source()? {
            return Ok(InputFile { role, origin: Origin::Path(path) });
        }
        let source = RemoteSource::open(self.source, self.config).await?;
        let read = move |offset, len| {
            let source = source.clone();
            async move { source.read(offset, len).await }
        };
        let file = fetch(ranges, read, self.scratch).await?;
        Ok(InputFile { role, origin: Origin::Open(Arc::new(file.reader.into())) })
    }

    async fn packed(&self, key: &str, number: u32, ranges: Vec<Range<u64>>) -> Result<InputFile, TaskError> {
        let role = FileRole::Packed(number);
        if let Some(path) = self.work.local_file(key) {
            return Ok(InputFile { role, origin: Origin::Path(path) });
        }
        let (work, key) = (self.work.clone(), key.to_owned());
        let read = move |offset, len| {
            let (work, key) = (work.clone(), key.clone());
            async move { Ok(work.get_range(&key, offset, len).await?) }
        };
        let file = fetch(ranges, read, self.scratch).await?;
        Ok(InputFile { role, origin: Origin::Open(Arc::new(file.reader.into())) })
    }

    async fn tiles(&self, keys: &[String]) -> Result<Vec<InputFile>, TaskError> {
        if let Some(wrong) = keys.iter().find(|key| !is_plain_key(key)) {
            return Err(TaskError::bug(format!("{wrong:?} is not the key of a tile")));
        }
        let tiles: Vec<_> = keys.iter().zip(0..).map(|(key, position)| self.tile(key, position)).collect();
        futures::stream::iter(tiles).buffered(PARALLEL_TILES).try_collect().await
    }

    async fn tile(&self, key: &str, position: u32) -> Result<InputFile, TaskError> {
        let role = FileRole::Tile(position);
        if let Some(path) = self.work.local_file(key) {
            return Ok(InputFile { role, origin: Origin::Path(path) });
        }
        let bytes = self.work.get(key).await?;
        let whole = 0..bytes.len() as u64;
        let read =
            move |offset: u64, len: u64| std::future::ready(Ok(bytes.slice(offset as usize..(offset + len) as usize)));
        let file = fetch(vec![whole], read, self.scratch).await?;
        Ok(InputFile { role, origin: Origin::Open(Arc::new(file.reader.into())) })
    }
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
        let mut bytes = work.get_range(&key, run[0].offset, len).await?;
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
    source: Vec<Range<u64>>,
    packed: BTreeMap<u32, Vec<Range<u64>>>,
}

fn places_of(lists: &[Bytes]) -> Result<Places, TaskError> {
    let mut places = Places::default();
    for list in lists {
        let list = PacketList::decode(list).map_err(|error| TaskError::bug(error.to_string()))?;
        for packet in list.packets {
            let end = packet.offset.checked_add(u64::from(packet.size));
            let end = end.ok_or_else(|| TaskError::bug(format!("no packet lies at {}", packet.offset)))?;
            let ranges = match packet.place {
                Place::Source => &mut places.source,
                Place::Packed(number) => places.packed.entry(number).or_default(),
            };
            match ranges.last_mut() {
                Some(last) if last.end == packet.offset => last.end = end,
                _ => ranges.push(packet.offset..end),
            }
        }
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use shared::index::PacketEntry;
    use shared::storage::StorageConfig;

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
        let work = Storage::open(folder.path().to_str().unwrap(), &StorageConfig::default()).unwrap();
        let (first, second) = (list(&[Place::Source]), list(&[Place::Packed(2), Place::Packed(0)]));
        work.put("index/1-000000", [&first[..], &second, b"tail"].concat().into()).await.unwrap();
        work.put("index/1-000001", first.clone().into()).await.unwrap();
        let at = |part, offset, len: usize| ListRef { stream: 1, part, offset, len: len as u32 };
        let refs = [at(0, 0, first.len()), at(0, first.len() as u64, second.len()), at(1, 0, first.len())];
        let lists = read_lists(&refs, &work).await.unwrap();
        assert_eq!(lists, [&first[..], &second, &first]);
        let places = places_of(&lists).unwrap();
        assert_eq!(places.source, [0..1, 0..1]); // of two lists
        assert!(places.packed.into_keys().eq([0, 2]));
    }

    #[tokio::test]
    async fn a_list_that_is_not_there_fails_the_attempt() {
        let folder = tempfile::tempdir().unwrap();
        let work = Storage::open(folder.path().to_str().unwrap(), &StorageConfig::default()).unwrap();
        work.put("index/0-000000", vec![0; 10].into()).await.unwrap();
        for (part, offset, len) in [(1, 0, 4), (0, 8, 4), (0, 20, 4), (0, u64::MAX, 4)] {
            let refs = [ListRef { stream: 0, part, offset, len }];
            assert!(read_lists(&refs, &work).await.is_err(), "{part} {offset} {len}");
        }
    }
}
