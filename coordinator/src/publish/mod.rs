//! Tracks → init segments, playlists, manifest. Media bytes are already where they belong.
//!
//! ```text
//! <target>/master.m3u8                  multivariant playlist: leads only to what exists; written last in each round
//!          manifest.mpd                 DASH, over the same segments; once complete
//!          presentation.json            the job's certificate; once complete
//!          run.json                     whose it is, and what differs from run to run; written first
//!          poster.jpg, storyboard.vtt, storyboard/…jpg
//!          <rendition>/init.<hash>.mp4
//!                      playlist.m3u8    EVENT while it grows, then VOD
//!                      iframes.m3u8     video only
//!                      <number>.<hash>.m4s
//!                      <rendition>.mp4  on request: the same samples as one progressive file
//! ```
//!
//! [`Publisher::publish`] is called whenever the tracks have grown, and once more with everything. Each round writes
//! whole playlists, so a coordinator should not call it more often than about once per segment duration.

pub mod certificate;
mod dash;
mod hls;
mod init;
mod mp4;
mod outline;
mod rate;
mod run_report;
mod storyboard;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use shared::cmaf::CmafError;
use shared::error::ErrorKind;
use shared::storage::{Fault, Storage, StorageError};
use shared::task::StoredObject;

use crate::stitch::Presentation;
use crate::store::{Store, StoreError};
use outline::Outline;

pub use certificate::Certificate;
pub use mp4::write_movies;
pub use run_report::{Owner, RunReport, TaskRun, claim, disclaim};

const MULTIVARIANT: &str = "master.m3u8";
const MANIFEST: &str = "manifest.mpd";
const CERTIFICATE: &str = "presentation.json";
const THUMBNAILS: &str = "storyboard.vtt";
/// As workers name them.
const POSTER: &str = "poster.jpg";
/// Folder of the sheets, as workers name it.
const STORYBOARD: &str = "storyboard";
const MEDIA_PLAYLIST: &str = "playlist.m3u8";
const I_FRAME_PLAYLIST: &str = "iframes.m3u8";

/// A presentation could not be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// An object could not be written.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Another coordinator decides by now.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A decoder configuration is not well-formed, so there is no init segment.
    #[error("{rendition}: {source}")]
    Init {
        /// Name of the rendition.
        rendition: String,
        /// Why.
        source: CmafError,
    },
    /// A segment is not what its receipt said, or can't be read.
    #[error("{key}: {why}")]
    Segment {
        /// Its key.
        key: String,
        /// What is wrong.
        why: String,
    },
    /// The presentation is said to be complete and has a rendition without a segment.
    #[error("{rendition}: complete, but without a single segment")]
    Empty {
        /// Name of the rendition.
        rendition: String,
    },
    /// The storyboard has more or fewer sheets than its tiles need.
    #[error("storyboard: {found} sheets for {tiles} tiles, expected {expected}")]
    Sheets {
        /// Tiles.
        tiles: usize,
        /// Sheets that they need.
        expected: usize,
        /// Sheets that there are.
        found: usize,
    },
}

impl PublishError {
    /// Whether the same round may succeed later.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Storage(error) => matches!(error.fault().kind(), ErrorKind::Transient | ErrorKind::Exhausted),
            Self::Store(_) => true,
            _ => false,
        }
    }

    /// Whether an object that it reads is not there.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Storage(error) if error.fault() == Fault::Missing)
    }
}

/// What a round left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// There is a multivariant playlist: the presentation can be played.
    pub multivariant: bool,
    /// Objects written in this round. Those that have not changed since the last one are not written again.
    pub objects: u64,
}

/// Writes one presentation, round after round. A new one (after a restart) writes everything once.
pub struct Publisher {
    target: Storage,
    /// What the store holds of ours, by key.
    written: HashMap<String, StoredObject>,
    /// Says before each object whether it may still be written.
    store: Option<Arc<dyn Store>>,
}

impl Publisher {
    /// For the presentation at `target`.
    pub fn new(target: Storage) -> Self {
        Self { target, written: HashMap::new(), store: None }
    }

    /// Writes nothing more once this store says that another coordinator decides.
    pub fn asking(self, store: Arc<dyn Store>) -> Self {
        Self { store: Some(store), ..self }
    }

    /// Writes what has changed: init segments, media playlists, I-frame playlists; when everything is there also the
    /// thumbnail track, the DASH manifest and the certificate `document`; then, if every rendition has a segment, the
    /// multivariant playlist.
    pub async fn publish(
        &mut self,
        presentation: &Presentation,
        document: Option<&Certificate>,
    ) -> Result<Published, PublishError> {
        let outline = Outline::of(presentation)?;
        let empty = outline.all().find(|listing| listing.segments.is_empty());
        if let (true, Some(empty)) = (presentation.complete, empty) {
            return Err(PublishError::Empty { rendition: empty.name.to_owned() });
        }
        let multivariant = outline.all().next().is_some() && empty.is_none();
        let mut objects = Vec::new();
        for listing in outline.begun() {
            objects.extend(listing.inits().map(|(init, bytes)| (init.key.clone(), bytes.clone())));
            objects.push((key(listing.name, MEDIA_PLAYLIST), hls::media(&outline, listing).into()));
        }
        for listing in outline.video.iter().filter(|listing| !listing.segments.is_empty()) {
            objects.push((key(listing.name, I_FRAME_PLAYLIST), hls::i_frames(&outline, listing).into()));
        }
        if presentation.complete {
            if let Some(storyboard) = &presentation.storyboard {
                objects.push((THUMBNAILS.to_owned(), storyboard::thumbnails(storyboard)?.into()));
            }
            objects.push((MANIFEST.to_owned(), dash::manifest(&outline).into()));
            if let Some(document) = document {
                objects.push((CERTIFICATE.to_owned(), document.to_json()));
            }
        }
        if multivariant {
            objects.push((MULTIVARIANT.to_owned(), hls::multivariant(&outline).into()));
        }
        let mut count = 0;
        for (key, bytes) in objects {
            count += u64::from(self.write(key, bytes).await?);
        }
        Ok(Published { multivariant, objects: count })
    }

    /// Says whether the object had to be written.
    async fn write(&mut self, key: String, bytes: Bytes) -> Result<bool, PublishError> {
        let object = StoredObject::of(key, &bytes);
        if self.written.get(&object.key) == Some(&object) {
            return Ok(false);
        }
        self.store.as_ref().map_or(Ok(()), |store| store.check())?;
        self.target.put(&object.key, bytes).await?;
        self.written.insert(object.key.clone(), object);
        Ok(true)
    }
}

/// Takes a failed or cancelled presentation away from players: everything that leads to a segment, the multivariant
/// playlist first. Segments and init segments stay: another run continues with them.
///
/// Only folders that hold an init segment of ours are touched.
pub async fn unpublish(target: &Storage) -> Result<(), StorageError> {
    for key in [MULTIVARIANT, MANIFEST, CERTIFICATE, THUMBNAILS] {
        target.delete(key).await?;
    }
    let keys: HashSet<String> = target.list("").await?.into_iter().collect();
    for folder in keys.iter().filter_map(|key| init::folder_of(key)) {
        for name in [MEDIA_PLAYLIST, I_FRAME_PLAYLIST] {
            let key = key(folder, name);
            if keys.contains(&key) {
                target.delete(&key).await?;
            }
        }
    }
    Ok(())
}

/// Removes segments and storyboard sheets that the final presentation does not lead to (those of attempts that lost or
/// were killed, and of presentations before), and what dead writers have left of any object; returns how many. Of
/// segments and sheets, looks only into their folders and touches nothing but names of the form `<number>.<hash>.m4s`
/// and `<number>.<hash>.jpg`.
pub async fn sweep(target: &Storage, presentation: &Presentation) -> Result<u64, StorageError> {
    let mut removed = 0;
    let video = presentation.video.iter().map(|track| (&track.rendition.name, &track.segments));
    let audio = presentation.audio.iter().map(|track| (&track.rendition.name, &track.segments));
    let mut renditions = Vec::new();
    for (name, segments) in video.chain(audio) {
        renditions.push(name.clone());
        let kept = segments.iter().map(|segment| segment.object.key.as_str()).collect();
        removed += keep_only(target, name, &kept, |key| is_segment_key(name, key)).await?;
    }
    let sheets = presentation.storyboard.iter().flat_map(|storyboard| &storyboard.sheets);
    let kept = sheets.map(|sheet| sheet.key.as_str()).collect();
    removed += keep_only(target, STORYBOARD, &kept, |key| is_numbered(STORYBOARD, key, 3, ".jpg")).await?;
    Ok(removed + target.remove_halves(|key| is_ours(key, &renditions)).await?)
}

/// Removes what is ours in a folder and not to be kept.
async fn keep_only(
    target: &Storage,
    folder: &str,
    kept: &HashSet<&str>,
    ours: impl Fn(&str) -> bool,
) -> Result<u64, StorageError> {
    let mut removed = 0;
    for key in target.list(folder).await? {
        if !kept.contains(key.as_str()) && ours(&key) {
            target.delete(&key).await?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Removes what a complete presentation has besides media and playlists: poster, storyboard sheets.
pub async fn remove_extras(target: &Storage) -> Result<(), StorageError> {
    let sheets = target.list(STORYBOARD).await?.into_iter().filter(|key| key.ends_with(".jpg"));
    for key in sheets.chain([POSTER.to_owned()]) {
        target.delete(&key).await?;
    }
    Ok(())
}

/// Removes segments, init segments and movies of a presentation that will not be completed. To be called after [`unpublish`];
/// like [`sweep`] it looks only into these renditions' folders and touches nothing but names that are ours. What dead writers
/// have left of any object goes too.
pub async fn remove_media(target: &Storage, renditions: &[String]) -> Result<(), StorageError> {
    for name in renditions {
        for key in target.list(name).await? {
            if is_segment_key(name, &key) || init::folder_of(&key) == Some(name) || key == mp4::key(name) {
                target.delete(&key).await?;
            }
        }
    }
    target.remove_halves(|key| is_ours(key, renditions)).await?;
    Ok(())
}

/// Whether a presentation with these renditions may have an object of this key.
fn is_ours(key: &str, renditions: &[String]) -> bool {
    match key.split_once('/') {
        Some((folder, _)) => folder == STORYBOARD || renditions.iter().any(|name| name == folder),
        None => [MULTIVARIANT, MANIFEST, CERTIFICATE, THUMBNAILS, POSTER, run_report::RUN_REPORT].contains(&key),
    }
}

/// `<rendition>/<number:06>.<hash16>.m4s`.
fn is_segment_key(rendition: &str, key: &str) -> bool {
    is_numbered(rendition, key, 6, ".m4s")
}

/// `<folder>/<number>.<hash><extension>`.
fn is_numbered(folder: &str, key: &str, digits: usize, extension: &str) -> bool {
    let name = key.strip_prefix(folder).and_then(|key| key.strip_prefix('/')?.strip_suffix(extension));
    let plain = |number: &str| number.len() >= digits && number.bytes().all(|b| b.is_ascii_digit());
    name.and_then(|name| name.split_once('.')).is_some_and(|(number, hash)| plain(number) && is_hash(hash))
}

/// 16 lower-case hexadecimal digits.
fn is_hash(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn key(rendition: &str, name: &str) -> String {
    format!("{rendition}/{name}")
}

/// Readable JSON with a line end.
fn json(value: &impl serde::Serialize) -> Bytes {
    let mut text = serde_json::to_vec_pretty(value).expect("plain data should serialise");
    text.push(b'\n');
    text.into()
}

#[cfg(test)]
mod tests;
