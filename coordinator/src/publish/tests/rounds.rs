//! What lies in the target after each round.

use std::sync::Arc;

use shared::task::StoredObject;

use super::super::{PublishError, sweep, unpublish};
use super::*;
use crate::stitch::fixture::{ladder, segment, video_stream};
use crate::stitch::{AudioTrack, Storyboard, VideoTrack};
use crate::store::{Change, Revision, Store, StoreError, Stored};

#[tokio::test]
async fn the_multivariant_playlist_waits_for_every_rendition() {
    let whole = small();
    let (_folder, storage) = target();
    let mut publisher = Publisher::new(storage.clone());
    let mut presentation = begun(&whole, 2);

    let sound = std::mem::replace(&mut presentation.audio[1], AudioTrack::pending(&whole.audio[1].rendition));
    let first = publisher.publish(&presentation, None).await.unwrap();
    assert!(!first.multivariant);
    assert_eq!(storage.size("master.m3u8").await.unwrap(), None);
    assert!(storage.size("v360/playlist.m3u8").await.unwrap().is_some());
    assert_eq!(storage.list("a2").await.unwrap(), [] as [&str; 0]);

    presentation.audio[1] = sound;
    let second = publisher.publish(&presentation, None).await.unwrap();
    // Only what the track brings: its init segment, its playlist, and what leads to it.
    assert_eq!(second, Published { multivariant: true, objects: 3 });
    assert_eq!(publisher.publish(&presentation, None).await.unwrap().objects, 0);
    assert_eq!(storage.size("manifest.mpd").await.unwrap(), None);

    // Media playlists and I-frame playlists of all; the multivariant playlist still says the same.
    let third = publisher.publish(&begun(&whole, 3), None).await.unwrap();
    assert_eq!(third.objects, 6 + 4);
    let last = publisher.publish(&whole, None).await.unwrap();
    assert_eq!(last.objects, 6 + 4 + 2);
}

#[tokio::test]
async fn a_job_of_which_nothing_is_made_is_not_published() {
    let (_folder, storage) = target();
    let mut presentation = begun(&small(), 3);
    let pending = |rendition| VideoTrack::pending(rendition, &video_stream(), video_stream().color);
    presentation.video = ladder().iter().map(pending).collect();
    assert!(!publish(&storage, &presentation).await.multivariant);
    presentation.complete = true;
    let error = Publisher::new(storage).publish(&presentation, None).await.unwrap_err();
    assert!(matches!(error, PublishError::Empty { rendition } if rendition == "v1080"));
}

#[tokio::test]
async fn everything_a_playlist_leads_to_exists_when_it_is_complete() {
    let (_folder, storage) = target();
    let presentation = small();
    publish(&storage, &presentation).await;
    let mut expected = vec!["manifest.mpd".to_owned(), "master.m3u8".to_owned()];
    for track in &presentation.video {
        let name = &track.rendition.name;
        expected.extend(["iframes.m3u8", "playlist.m3u8"].map(|file| format!("{name}/{file}")));
    }
    for track in &presentation.audio {
        expected.push(format!("{}/playlist.m3u8", track.rendition.name));
    }
    for listing in Outline::of(&presentation).unwrap().all() {
        let (name, init) = (listing.name, &listing.init);
        let bytes = storage.get(&init.key).await.unwrap();
        assert_eq!(StoredObject::of(init.key.as_str(), &bytes), *init);
        assert_eq!(init.key, format!("{name}/init.{}.mp4", &shared::hex::encode(&init.sha256)[..16]));
        expected.push(init.key.clone());
    }
    expected.sort();
    assert_eq!(storage.list("").await.unwrap(), expected);
}

#[tokio::test]
async fn a_decoder_config_that_is_not_one_stops_the_round() {
    let (_folder, storage) = target();
    let mut presentation = small();
    presentation.video[2].config = shared::cmaf::DecoderConfig::Avc(vec![1, 2]);
    let error = Publisher::new(storage.clone()).publish(&presentation, None).await.unwrap_err();
    assert!(matches!(error, PublishError::Init { rendition, .. } if rendition == "v480"));
    assert_eq!(storage.list("").await.unwrap(), [] as [&str; 0]);
}

#[tokio::test]
async fn unpublishing_takes_away_what_leads_to_segments_and_nothing_else() {
    let (_folder, storage) = target();
    let mut presentation = small();
    presentation.video.truncate(1);
    presentation.audio.truncate(1);
    publish(&storage, &presentation).await;
    let foreign = ["notes.txt", "holiday/playlist.m3u8", "holiday/init.mp4", "v1080/000000.0123456789abcdef.m4s"];
    for key in foreign {
        storage.put(key, "x".into()).await.unwrap();
    }
    unpublish(&storage).await.unwrap();
    let mut expected = foreign.map(str::to_owned).to_vec();
    expected.extend(Outline::of(&presentation).unwrap().all().map(|listing| listing.init.key.clone()));
    expected.sort_unstable();
    assert_eq!(storage.list("").await.unwrap(), expected);
    unpublish(&storage).await.unwrap();
}

#[tokio::test]
async fn sweeping_removes_segments_of_lost_attempts_only() {
    let (folder, storage) = target();
    let presentation = small();
    let (kept, lost) = (&presentation.video[0].segments[0].object.key, segment("v1080", 0, 0, 1, 1, 77).object.key);
    let foreign = [
        "v1080/000000.m4s",
        "v1080/0.0123456789abcdef.m4s",
        "v1080/000000.0123456789ABCDEF.m4s",
        "v999/000000.0123456789abcdef.m4s",
        "storyboard/000.jpg",
        "storyboard/mine.0123456789abcdef.jpg",
    ];
    let sheet = "storyboard/007.0123456789abcdef.jpg";
    for key in [&[kept.as_str(), &lost, sheet, "a2/000007.0123456789abcdef.m4s"][..], &foreign].concat() {
        storage.put(key, "x".into()).await.unwrap();
    }
    let half = |name: &str| folder.path().join(name);
    for name in ["v1080/000003.0123456789abcdef.m4s#1", "master.m3u8#2", "notes.txt#1"] {
        std::fs::write(half(name), "x").unwrap();
    }
    assert_eq!(sweep(&storage, &presentation).await.unwrap(), 5);
    assert!(half("notes.txt#1").is_file() && !half("master.m3u8#2").is_file());
    let mut expected = [&[kept.as_str()][..], &foreign].concat();
    expected.sort_unstable();
    assert_eq!(storage.list("").await.unwrap(), expected);
}

#[tokio::test]
async fn thumbnails_point_at_their_tiles() {
    let (_folder, storage) = target();
    let mut presentation = small();
    let sheet = |number| StoredObject::of(format!("storyboard/{number:03}.jpg"), b"jpeg");
    let storyboard = Storyboard {
        sheets: vec![sheet(0), sheet(1)],
        tile_width_px: 160,
        tile_height_px: 90,
        columns: 2,
        rows: 2,
        tile_interval_ms: 5000,
        tiles: vec![1, 2, 3, 720, 721],
        duration_ms: 3_605_000,
    };
    presentation.storyboard = Some(storyboard.clone());
    publish(&storage, &presentation).await;
    let expected = "WEBVTT\n\n\
        00:00:00.000 --> 00:00:10.000\nstoryboard/000.jpg#xywh=0,0,160,90\n\n\
        00:00:10.000 --> 00:00:15.000\nstoryboard/000.jpg#xywh=160,0,160,90\n\n\
        00:00:15.000 --> 01:00:00.000\nstoryboard/000.jpg#xywh=0,90,160,90\n\n\
        01:00:00.000 --> 01:00:05.000\nstoryboard/000.jpg#xywh=160,90,160,90\n\n\
        01:00:05.000 --> 01:00:05.001\nstoryboard/001.jpg#xywh=0,0,160,90\n";
    assert_eq!(text(&storage, "storyboard.vtt").await, expected);

    presentation.storyboard = Some(Storyboard { tiles: vec![0], ..storyboard });
    let error = Publisher::new(storage).publish(&presentation, None).await.unwrap_err();
    assert_eq!(error.to_string(), "storyboard: 2 sheets for 1 tiles, expected 1");
}

#[tokio::test]
async fn ten_hours_of_four_rungs_are_published() {
    let (_folder, storage) = target();
    let presentation = Job::new(6000, 4).presentation();
    assert!(publish(&storage, &presentation).await.multivariant);
    let playlist = storage.get("v360/playlist.m3u8").await.unwrap();
    let playlist = m3u8_rs::parse_media_playlist_res(&playlist).unwrap();
    assert_eq!(playlist.segments.len(), 6000);
    let mpd = dash_mpd_core::parse(&text(&storage, "manifest.mpd").await).unwrap();
    let lists = mpd.periods[0].adaptations.iter().flat_map(|set| &set.representations);
    assert!(lists.map(|list| list.SegmentList.as_ref().unwrap().segment_urls.len()).eq([6000; 5]));
}

#[tokio::test]
async fn nothing_is_written_once_another_coordinator_decides() {
    struct Deposed;

    #[async_trait::async_trait]
    impl Store for Deposed {
        fn longest_record(&self) -> usize {
            0
        }

        fn check(&self) -> Result<(), StoreError> {
            Err(StoreError::Deposed { place: "here".to_owned() })
        }

        async fn load(&self) -> Result<Vec<Stored>, StoreError> {
            Ok(Vec::new())
        }

        async fn commit(&self, _: Vec<Change>) -> Result<Vec<Revision>, StoreError> {
            self.check().map(|()| Vec::new())
        }
    }

    let (_folder, storage) = target();
    let error = Publisher::new(storage.clone()).asking(Arc::new(Deposed)).publish(&small(), None).await.unwrap_err();
    assert!(matches!(&error, PublishError::Store(StoreError::Deposed { .. })), "{error}");
    assert_eq!(storage.list("").await.unwrap(), [] as [&str; 0]);
}
