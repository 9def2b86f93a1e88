use m3u8_rs::{AlternativeMedia, MasterPlaylist, MediaPlaylist, MediaPlaylistType, QuotedOrUnquoted, VariantStream};

use super::super::hls;
use super::*;
use crate::stitch::fixture::PQ;

fn multivariant(presentation: &Presentation) -> MasterPlaylist {
    let text = hls::multivariant(&Outline::of(presentation).unwrap());
    m3u8_rs::parse_master_playlist_res(text.as_bytes()).unwrap()
}

fn media(presentation: &Presentation, name: &str) -> MediaPlaylist {
    let outline = Outline::of(presentation).unwrap();
    let listing = outline.all().find(|listing| listing.name == name).unwrap();
    m3u8_rs::parse_media_playlist_res(hls::media(&outline, listing).as_bytes()).unwrap()
}

fn other<'a>(variant: &'a VariantStream, name: &str) -> Option<&'a QuotedOrUnquoted> {
    variant.other_attributes.as_ref()?.get(name)
}

#[test]
fn a_finished_media_playlist_lists_every_segment_once_and_ends() {
    let presentation = small();
    let outline = Outline::of(&presentation).unwrap();
    for track in &presentation.video {
        let playlist = media(&presentation, &track.rendition.name);
        assert_eq!(playlist.version, Some(7));
        assert_eq!((playlist.target_duration, playlist.media_sequence), (6, 0));
        assert_eq!(playlist.playlist_type, Some(MediaPlaylistType::Vod));
        assert!(playlist.end_list && playlist.independent_segments && !playlist.i_frames_only);
        assert_eq!(playlist.start, None);
        let init = &outline.all().find(|listing| listing.name == track.rendition.name).unwrap().init.key;
        let map = &playlist.segments[0].map.as_ref().unwrap().uri;
        assert_eq!(format!("{}/{map}", track.rendition.name), *init);
        let uris = playlist.segments.iter().map(|segment| format!("{}/{}", track.rendition.name, segment.uri));
        assert!(uris.eq(track.segments.iter().map(|segment| segment.object.key.clone())));
        for (read, segment) in playlist.segments.iter().zip(&track.segments) {
            assert!((f64::from(read.duration) - segment.duration as f64 / 30_000.0).abs() < 2e-6);
        }
    }
}

#[test]
fn durations_add_up_to_the_microsecond() {
    let presentation = Job::new(500, 4).presentation();
    let outline = Outline::of(&presentation).unwrap();
    let text = hls::media(&outline, &outline.video[0]);
    let micros = text.lines().filter_map(|line| line.strip_prefix("#EXTINF:")?.strip_suffix(','));
    let sum: u64 = micros.map(|seconds| seconds.replace('.', "").parse::<u64>().unwrap()).sum();
    let end = outline.video[0].end() as u64;
    assert_eq!(sum, (end * 1_000_000 + 15_000) / 30_000);
}

#[test]
fn a_track_that_starts_late_counts_from_the_presentations_start() {
    let mut presentation = small();
    let task = audio_task(3, "fr", 3);
    presentation.audio.push(stitch_audio(&task, &audio_receipt(&task, 400_000, 300_000)));
    let playlist = media(&presentation, "a3");
    let durations: Vec<f32> = playlist.segments.iter().map(|segment| segment.duration).collect();
    // It starts in the segment from 6 s on; that one's playlist entry spans the silence before it too.
    assert_eq!(durations.len(), 2);
    assert_eq!((durations[0].floor(), playlist.target_duration), (12.0, 12));
    let end = Outline::of(&presentation).unwrap().duration_ms() as f32 / 1000.0;
    assert!((durations.iter().sum::<f32>() - end).abs() < 0.002);
}

/// Shaka Player plays HLS until the first track's playlist ends.
#[test]
fn a_track_that_ends_early_counts_to_the_presentations_end() {
    let mut presentation = small();
    let task = audio_task(3, "fr", 3);
    presentation.audio.push(stitch_audio(&task, &audio_receipt(&task, 0, 300_000))); // 6.25 s
    let seconds = |presentation: &Presentation, name: &str| -> f32 {
        media(presentation, name).segments.iter().map(|segment| segment.duration).sum()
    };
    let end = Outline::of(&presentation).unwrap().duration_ms() as f32 / 1000.0;
    assert!(end > 12.0 && ["v1080", "a1", "a3"].iter().all(|name| (seconds(&presentation, name) - end).abs() < 0.002));
    presentation.complete = false;
    assert!((seconds(&presentation, "a3") - 6.25).abs() < 0.1); // what follows is not known yet
}

#[test]
fn a_playlist_that_grows_is_an_event_and_only_appended_to() {
    let whole = small();
    let mut before = String::new();
    for segments in 1..=3 {
        let presentation = begun(&whole, segments);
        let outline = Outline::of(&presentation).unwrap();
        let text = hls::media(&outline, &outline.video[1]);
        assert!(text.starts_with(&before));
        let playlist = m3u8_rs::parse_media_playlist_res(text.as_bytes()).unwrap();
        assert_eq!(playlist.playlist_type, Some(MediaPlaylistType::Event));
        assert_eq!((playlist.segments.len(), playlist.target_duration, playlist.end_list), (segments, 7, false));
        assert_eq!(playlist.start.unwrap().time_offset, 0.0);
        before = text;
    }
}

#[test]
fn an_i_frame_playlist_points_at_the_first_frame_of_each_segment() {
    let presentation = small();
    let outline = Outline::of(&presentation).unwrap();
    for (track, listing) in presentation.video.iter().zip(&outline.video) {
        let playlist = m3u8_rs::parse_media_playlist_res(hls::i_frames(&outline, listing).as_bytes()).unwrap();
        assert!(playlist.i_frames_only && playlist.end_list);
        assert_eq!(playlist.segments[0].map.as_ref().unwrap().uri, listing.file(&listing.init));
        for (read, segment) in playlist.segments.iter().zip(&track.segments) {
            let range = read.byte_range.as_ref().unwrap();
            assert_eq!((range.offset, range.length), (Some(0), segment.first_sample_end));
        }
        assert_eq!(playlist.segments.len(), 3);
    }
}

#[test]
fn the_multivariant_playlist_describes_every_rendition() {
    let presentation = small();
    let playlist = multivariant(&presentation);
    assert!(playlist.independent_segments);
    let (frames, variants): (Vec<_>, Vec<_>) = playlist.variants.iter().partition(|variant| variant.is_i_frame);
    assert_eq!((variants.len(), frames.len()), (4, 4));
    for (variant, track) in variants.iter().zip(&presentation.video) {
        let rendition = &track.rendition;
        assert_eq!(variant.uri, format!("{}/playlist.m3u8", rendition.name));
        let size = variant.resolution.unwrap();
        assert_eq!((size.width, size.height), (rendition.width_px.into(), rendition.height_px.into()));
        assert_eq!(variant.frame_rate, Some(29.97));
        assert_eq!(variant.codecs.as_deref(), Some("avc1.64000c,mp4a.40.2"));
        assert_eq!(variant.audio.as_deref(), Some("audio"));
        assert_eq!(other(variant, "VIDEO-RANGE"), Some(&QuotedOrUnquoted::Unquoted("SDR".into())));
        let average = variant.average_bandwidth.unwrap();
        assert!(average < variant.bandwidth && variant.bandwidth < u64::from(rendition.rate.maxrate_bps) + 140_000);
    }
    for (variant, track) in frames.iter().zip(&presentation.video) {
        assert_eq!(variant.uri, format!("{}/iframes.m3u8", track.rendition.name));
        assert_eq!(variant.codecs.as_deref(), Some("avc1.64000c"));
        assert!(variant.resolution.is_some() && variant.audio.is_none() && variant.frame_rate.is_none());
        assert!(variant.bandwidth < u64::from(track.rendition.rate.maxrate_bps) / 4);
    }
}

#[test]
fn audio_renditions_are_a_group_with_one_default() {
    let mut presentation = small();
    presentation.audio.swap(0, 1);
    let fact = |media: &AlternativeMedia| {
        let uri = media.uri.clone().unwrap();
        (media.name.clone(), media.language.clone(), media.default, media.autoselect, media.channels.clone(), uri)
    };
    let facts: Vec<_> = multivariant(&presentation).alternatives.iter().map(fact).collect();
    let track = |name: &str, language: &str, default, uri: &str| {
        (name.to_owned(), Some(language.to_owned()), default, true, Some("2".to_owned()), uri.to_owned())
    };
    assert_eq!(
        facts,
        [track("Track 1", "en", true, "a1/playlist.m3u8"), track("Track 2", "de", false, "a2/playlist.m3u8")]
    );
}

#[test]
fn names_are_different_and_can_be_quoted() {
    let mut presentation = small();
    for (title, language) in [("Track 1", "en"), ("a \"b\"\nc", "und"), (" ", "und")] {
        let mut track = presentation.audio[1].clone();
        (track.rendition.title, track.rendition.language) = (title.into(), language.into());
        presentation.audio.push(track);
    }
    let playlist = multivariant(&presentation);
    let names: Vec<_> = playlist.alternatives.iter().map(|media| media.name.as_str()).collect();
    assert_eq!(names, ["Track 1", "Track 2", "Track 1 (2)", "a 'b' c", "a2"]);
    // Of those in the same language only the first may be chosen without being asked for.
    let auto: Vec<_> = playlist.alternatives.iter().map(|media| media.autoselect).collect();
    assert_eq!(auto, [true, true, false, true, false]);
    assert_eq!(playlist.alternatives[3].language, None);
}

#[test]
fn audio_alone_is_its_own_variant() {
    let mut presentation = Presentation { video: Vec::new(), ..small() };
    let both = multivariant(&presentation);
    assert_eq!((both.variants.len(), both.alternatives.len()), (1, 2));
    assert_eq!(both.variants[0].audio.as_deref(), Some("audio"));
    presentation.audio.truncate(1);
    let one = multivariant(&presentation);
    assert_eq!((one.variants.len(), one.alternatives.len()), (1, 0));
    let variant = &one.variants[0];
    assert_eq!((variant.uri.as_str(), variant.codecs.as_deref()), ("a1/playlist.m3u8", Some("mp4a.40.2")));
    assert!(variant.audio.is_none() && variant.resolution.is_none() && variant.average_bandwidth.is_some());
}

#[test]
fn silent_video_has_no_audio_group() {
    let presentation = Presentation { audio: Vec::new(), ..small() };
    let playlist = multivariant(&presentation);
    assert!(playlist.alternatives.is_empty());
    assert!(playlist.variants.iter().all(|variant| variant.audio.is_none()));
    assert_eq!(playlist.variants[0].codecs.as_deref(), Some("avc1.64000c"));
}

#[test]
fn high_dynamic_range_is_announced() {
    let mut presentation = small();
    presentation.video.iter_mut().for_each(|track| track.color = PQ);
    let playlist = multivariant(&presentation);
    let pq = QuotedOrUnquoted::Unquoted("PQ".into());
    assert!(playlist.variants.iter().all(|variant| other(variant, "VIDEO-RANGE") == Some(&pq)));
}

#[test]
fn promises_made_while_growing_are_kept() {
    let whole = small();
    let promised = multivariant(&begun(&whole, 1));
    assert_eq!(promised, multivariant(&begun(&whole, 3)));
    for (early, late) in promised.variants.iter().zip(&multivariant(&whole).variants) {
        assert!(early.bandwidth >= late.bandwidth && early.average_bandwidth.is_none());
    }
}

/// The init segment named before each segment, or none.
fn maps(playlist: &MediaPlaylist) -> Vec<Option<String>> {
    let mut last = None;
    let told = |segment: &m3u8_rs::MediaSegment| {
        let map = segment.map.as_ref().map(|map| map.uri.clone());
        if map == last {
            None
        } else {
            last.clone_from(&map);
            map
        }
    };
    playlist.segments.iter().map(told).collect()
}

#[tokio::test]
async fn a_growing_playlist_names_a_larger_init_segment_where_it_is_needed_and_a_finished_one_names_it_first() {
    let (_folder, storage) = target();
    let whole = Job::new(4, 1).made_by_others(1).made_by_others(3).presentation();
    let [first, both] = [begun(&Job::new(4, 1).presentation(), 1), whole.clone()]
        .map(|presentation| Outline::of(&presentation).unwrap().video[0].init.key.clone());
    let name = |key: &String| Some(key.strip_prefix("v1080/").unwrap().to_owned());
    let growing = Presentation { complete: false, ..whole.clone() };
    assert_eq!(maps(&media(&growing, "v1080")), [name(&first), name(&both), None, None]);
    assert_eq!(maps(&media(&whole, "v1080")), [name(&both), None, None, None]);
    assert_eq!(maps(&media(&growing, "v720")).iter().flatten().count(), 1);

    publish(&storage, &growing).await;
    for key in [first, both] {
        assert!(storage.size(&key).await.unwrap().is_some(), "{key}");
    }
}
