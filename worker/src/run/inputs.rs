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
use shared::storage::{RemoteSource, Storage, StorageConfig, file_mark, is_plain_key, local_path, source_changed};
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
    /// The source, if it is read and should stay what it is.
    pub source: Option<KnownSource>,
}

impl Gathered {
    /// The same for another try. What is fed can't be read twice: that is an index, which no GPU helps with.
    pub fn again(&self) -> Self {
        let Self { lists, files, feed: _, source } = self;
        Self { lists: lists.clone(), files: files.clone(), feed: None, source: source.clone() }
    }
}

/// A source, as it was when the attempt began.
#[derive(Debug, Clone)]
pub struct KnownSource {
    /// See [`shared::source::SourceInfo::mark`].
    pub mark: String,
    /// Where it is a file of this host; elsewhere every read looks whether it is the same.
    file: Option<PathBuf>,
}

impl KnownSource {
    /// A file of this host; `None` if there is none, which whoever opens it says better.
    async fn of_file(path: PathBuf) -> Option<Self> {
        let file = tokio::fs::metadata(&path).await.ok()?;
        Some(Self { mark: file_mark(&file), file: Some(path) })
    }

    /// Whether it is what it was when the attempt began.
    ///
    /// # Errors
    /// `source_changed`.
    pub async fn check(&self) -> Result<(), TaskError> {
        let Some(path) = &self.file else { return Ok(()) };
        match Self::of_file(path.clone()).await {
            Some(now) if now.mark != self.mark => Err(source_changed(&path.display().to_string())),
            _ => Ok(()), // what has no name any more stays what it is
        }
    }
}

/// Where a task's inputs come from.
pub struct InputPlaces<'a> {
    /// URI of the source.
    pub source: &'a str,
    /// Of the source that the job began with.
    pub mark: Option<&'a str>,
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
        Work::Index(index) => return from.whole_source(index.growing_ms.is_some()).await,
        Work::Storyboard(storyboard) => {
            return Ok(Gathered { files: from.tiles(&storyboard.tiles).await?, ..Gathered::default() });
        }
        Work::Video(video) => (video.stream.index, read_lists(&video.lists, from.work).await?),
        Work::Audio(audio) => (audio.stream.index, read_lists(&audio.lists, from.work).await?),
    };
    let (lists, places) = tokio::task::spawn_blocking(move || places_of(&lists).map(|places| (lists, places)))
        .await
        .map_err(|error| TaskError::bug(format!("reading packet lists: {error}")))??;
    let (mut files, mut source) = (Vec::new(), None);
    if !places.source.is_empty() {
        let (file, known) = from.source(places.source).await?;
        files.push(file);
        source = known;
    }
    for (number, ranges) in places.packed {
        files.push(from.packed(&packed_key(stream, number), number, ranges).await?);
    }
    Ok(Gathered { lists, files, feed: None, source })
}

impl InputPlaces<'_> {
    fn local_source(&self) -> Result<Option<PathBuf>, TaskError> {
        local_path(self.source).map_err(|error| TaskError::input("source_unreadable", error.to_string()))
    }

    /// Refuses a source that is not the one that the job began with.
    fn same(&self, now: Option<KnownSource>) -> Result<Option<KnownSource>, TaskError> {
        let known = self.mark.zip(now.as_ref());
        match known.filter(|(mark, now)| **mark != now.mark) {
            Some(_) => Err(source_changed(self.source)),
            None => Ok(now),
        }
    }

    async fn open(&self) -> Result<(RemoteSource, Option<KnownSource>), TaskError> {
        let source = RemoteSource::open(self.source, self.config).await?;
        let known = self.same(Some(KnownSource { mark: source.mark(), file: None }))?;
        Ok((source, known))
    }

    async fn whole_source(&self, grows: bool) -> Result<Gathered, TaskError> {
        if let Some(path) = self.local_source()? {
            let source = if grows { None } else { self.same(KnownSource::of_file(path.clone()).await)? };
            let file = InputFile { role: FileRole::Source, origin: Origin::Path(path) };
            return Ok(Gathered { files: vec![file], source, ..Gathered::default() });
        }
        let (source, known) = self.open().await?;
        let role = FileRole::Stream(source.size_bytes());
        let (feed, socket) = Feed::start(source)
            .map_err(|error| TaskError::new(ErrorKind::Exhausted, "worker_files", error.to_string()))?;
        let file = InputFile { role, origin: Origin::Open(Arc::new(socket)) };
        Ok(Gathered { files: vec![file], feed: Some(feed), source: known, ..Gathered::default() })
    }

    async fn source(&self, ranges: Vec<Range<u64>>) -> Result<(InputFile, Option<KnownSource>), TaskError> {
        let role = FileRole::Source;
        if let Some(path) = self.local_source()? {
            let known = self.same(KnownSource::of_file(path.clone()).await)?;
            return Ok((InputFile { role, origin: Origin::Path(path) }, known));
        }
        let (source, known) = self.open().await?;
        let read = move |offset, len| {
            let source = source.clone();
            async move { source.read(offset, len).await }
        };
        let file = fetch(ranges, read, self.scratch).await?;
        Ok((InputFile { role, origin: Origin::Scratch(Arc::new(file)) }, known))
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
        Ok(InputFile { role, origin: Origin::Scratch(Arc::new(file)) })
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
        Ok(InputFile { role, origin: Origin::Scratch(Arc::new(file)) })
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

    #[tokio::test]
    async fn a_file_that_is_not_what_it_was_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("source");
        let config = StorageConfig::default();
        let work = Storage::open(folder.path().to_str().unwrap(), &config).unwrap();
        let scratch = Arc::new(Scratch::new(folder.path()));
        let whole = async |mark: Option<&str>, grows| {
            let source = path.to_str().unwrap();
            InputPlaces { source, mark, work: &work, config: &config, scratch: &scratch }.whole_source(grows).await
        };
        assert!(whole(None, false).await.unwrap().source.is_none(), "whoever opens it says that it is not there");
        std::fs::write(&path, "1").unwrap();
        let began = whole(None, false).await.unwrap().source.unwrap();
        let again = whole(Some(&began.mark), false).await.unwrap().source.unwrap();
        again.check().await.unwrap();
        std::fs::write(&path, "12").unwrap();
        assert_eq!(again.check().await.unwrap_err().code, "source_changed");
        assert_eq!(whole(Some(&began.mark), false).await.unwrap_err().code, "source_changed");
        assert!(whole(None, true).await.unwrap().source.is_none(), "it is being written");
        std::fs::remove_file(&path).unwrap();
        again.check().await.unwrap();
    }
}
