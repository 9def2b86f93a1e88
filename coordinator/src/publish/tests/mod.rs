//! What is published, read with other people's readers.

mod certificate;
mod dash;
mod hls;
mod movies;
mod rounds;

use shared::storage::{Storage, StorageConfig};
use tempfile::TempDir;

use super::{Outline, Published, Publisher};
use crate::stitch::fixture::{Job, audio_receipt, audio_task};
use crate::stitch::{Presentation, stitch_audio};

/// An empty target.
fn target() -> (TempDir, Storage) {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::open(folder.path().to_str().unwrap(), &StorageConfig::default()).unwrap();
    (folder, storage)
}

async fn text(storage: &Storage, key: &str) -> String {
    String::from_utf8(storage.get(key).await.unwrap().to_vec()).unwrap()
}

/// 15 s in three segments, four rungs and two audio tracks.
fn small() -> Presentation {
    let mut presentation = Job::new(3, 1).presentation();
    let task = audio_task(2, "de", 3);
    presentation.audio.push(stitch_audio(&task, &audio_receipt(&task, 4800, 800_000)));
    presentation
}

/// No more than the first `segments` segments of each track.
fn begun(whole: &Presentation, segments: usize) -> Presentation {
    let mut presentation = Presentation { complete: false, ..whole.clone() };
    presentation.video.iter_mut().for_each(|track| track.segments.truncate(segments));
    presentation.audio.iter_mut().for_each(|track| track.segments.truncate(segments));
    presentation
}

/// Publishes once.
async fn publish(storage: &Storage, presentation: &Presentation) -> Published {
    Publisher::new(storage.clone()).publish(presentation, None).await.unwrap()
}

#[test]
fn target_duration_allows_for_a_merged_tail_until_the_end_is_known() {
    let whole = small();
    assert_eq!(Outline::of(&begun(&whole, 1)).unwrap().target_s, 7);
    assert_eq!(Outline::of(&whole).unwrap().target_s, 6);
    let mut still = begun(&whole, 1);
    still.video.iter_mut().for_each(|track| track.segments[0].duration = 20 * 30_000);
    assert_eq!(Outline::of(&still).unwrap().target_s, 20);
}
