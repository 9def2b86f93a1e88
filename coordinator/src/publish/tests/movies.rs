//! Progressive files, from segments as workers write them.

use bytes::Bytes;
use shared::cmaf::{MediaSegment, Sample};
use shared::storage::segment_object;
use shared::task::{SegmentInfo, StoredObject};

use super::super::{PublishError, remove_media, write_movies};
use super::*;

/// Stores a segment for each of the listed ones, of frames that last a second, and lists those instead.
async fn store(storage: &Storage, rendition: &str, segments: &mut [SegmentInfo], second: u32) {
    for (number, info) in segments.iter_mut().enumerate() {
        let start = number as u64 * 3 * u64::from(second);
        let sample = |position: u8| Sample {
            data: vec![position + 16 * number as u8; 1000],
            duration: second,
            composition: 0,
            sync: position == 0,
        };
        let segment = MediaSegment { sequence: 1, decode_time: start, samples: (0..3).map(sample).collect() };
        let written = segment.write().unwrap();
        let object = segment_object(rendition, info.number, &written.bytes);
        storage.put(&object.key, Bytes::from(written.bytes)).await.unwrap();
        *info =
            SegmentInfo { start: start as i64, duration: u64::from(second) * 3, samples: 3, object, ..info.clone() };
    }
}

async fn stored(storage: &Storage) -> Presentation {
    let mut presentation = small();
    for track in &mut presentation.video {
        let name = track.rendition.name.clone();
        store(storage, &name, &mut track.segments, 30_000).await;
    }
    for track in &mut presentation.audio {
        let name = track.rendition.name.clone();
        store(storage, &name, &mut track.segments, 48_000).await;
    }
    presentation
}

#[tokio::test]
async fn each_video_rendition_is_a_file_with_the_default_sound() {
    let (_folder, storage) = target();
    let presentation = stored(&storage).await;
    let movies = write_movies(&storage, &presentation).await.unwrap();
    assert_eq!(
        movies.iter().map(|movie| movie.key.as_str()).collect::<Vec<_>>(),
        ["v1080/v1080.mp4", "v720/v720.mp4", "v480/v480.mp4", "v360/v360.mp4"]
    );
    for movie in &movies {
        let bytes = storage.get(&movie.key).await.unwrap();
        assert_eq!(StoredObject::of(movie.key.as_str(), &bytes), *movie);
        assert_eq!(bytes[4..8], *b"ftyp");
        // The samples: a segment of pictures, a segment of sound, and so on.
        let samples = &bytes[bytes.len() - 2 * 9 * 1000..];
        let expected = (0..6).flat_map(|chunk| (0..3).map(move |position| position + 16 * (chunk / 2)));
        assert!(samples.chunks(1000).map(|sample| sample[0]).eq(expected));
        assert_eq!(bytes[bytes.len() - 18_016..][4..8], *b"mdat");
    }
}

#[tokio::test]
async fn sound_alone_is_a_file_for_each_rendition() {
    let (_folder, storage) = target();
    let presentation = Presentation { video: Vec::new(), ..stored(&storage).await };
    let movies = write_movies(&storage, &presentation).await.unwrap();
    assert_eq!(movies.iter().map(|movie| movie.key.as_str()).collect::<Vec<_>>(), ["a1/a1.mp4", "a2/a2.mp4"]);
}

#[tokio::test]
async fn a_segment_that_has_changed_since_it_was_checked_makes_no_file() {
    let (_folder, storage) = target();
    let presentation = stored(&storage).await;
    let key = &presentation.video[1].segments[2].object.key;
    storage.put(key, "something else".into()).await.unwrap();
    let error = write_movies(&storage, &presentation).await.unwrap_err();
    assert!(matches!(&error, PublishError::Segment { key: found, .. } if found == key), "{error}");
    assert!(storage.size("v1080/v1080.mp4").await.unwrap().is_some());
    assert_eq!(storage.size("v720/v720.mp4").await.unwrap(), None);
}

#[tokio::test]
async fn files_go_with_the_media_of_a_presentation_that_failed() {
    let (_folder, storage) = target();
    let presentation = stored(&storage).await;
    write_movies(&storage, &presentation).await.unwrap();
    storage.put("v720/holiday.mp4", "mine".into()).await.unwrap();
    let video = presentation.video.iter().map(|track| track.rendition.name.clone());
    let audio = presentation.audio.iter().map(|track| track.rendition.name.clone());
    remove_media(&storage, &video.chain(audio).collect::<Vec<_>>()).await.unwrap();
    assert_eq!(storage.list("").await.unwrap(), ["v720/holiday.mp4"]);
}
