use dash_mpd_core::{AdaptationSet, MPD, Representation};
use shared::source::Color;

use super::super::dash;
use super::*;
use crate::stitch::fixture::{PQ, segment};

fn manifest(presentation: &Presentation) -> MPD {
    dash_mpd_core::parse(&dash::manifest(&Outline::of(presentation).unwrap())).unwrap()
}

fn sets(mpd: &MPD) -> &[AdaptationSet] {
    assert_eq!(mpd.periods.len(), 1);
    &mpd.periods[0].adaptations
}

/// Start and duration of each segment, as a player unrolls the timeline.
fn timeline(representation: &Representation) -> Vec<(u64, u64)> {
    let list = representation.SegmentList.as_ref().unwrap();
    let mut time = 0;
    let mut unrolled = Vec::new();
    for s in &list.SegmentTimeline.as_ref().unwrap().segments {
        time = s.t.unwrap_or(time);
        for _ in 0..=s.r.unwrap_or(0) {
            unrolled.push((time, s.d));
            time += s.d;
        }
    }
    unrolled
}

#[test]
fn the_manifest_is_static_and_lasts_as_long_as_the_longest_track() {
    let mpd = manifest(&small());
    assert_eq!(mpd.mpdtype.as_deref(), Some("static"));
    assert_eq!(mpd.profiles.as_deref(), Some("urn:mpeg:dash:profile:isoff-main:2011"));
    // 540 frames of 1001/30000 s.
    assert_eq!(mpd.mediaPresentationDuration.unwrap().as_millis(), 18_018);
    assert_eq!(mpd.minBufferTime.unwrap().as_secs(), 6);
    assert_eq!(sets(&mpd).len(), 3);
}

#[test]
fn every_representation_lists_its_segments_with_their_times() {
    let presentation = small();
    let mpd = manifest(&presentation);
    let representations: Vec<_> = sets(&mpd).iter().flat_map(|set| &set.representations).collect();
    let outline = Outline::of(&presentation).unwrap();
    assert_eq!(representations.len(), 6);
    for (representation, listing) in representations.into_iter().zip(outline.all()) {
        assert_eq!(representation.id.as_deref(), Some(listing.name));
        let list = representation.SegmentList.as_ref().unwrap();
        assert_eq!(list.timescale, Some(listing.timescale.get().into()));
        let init = list.Initialization.as_ref().unwrap().sourceURL.clone();
        assert_eq!(init, Some(listing.init.key.clone()));
        let urls = list.segment_urls.iter().map(|url| url.media.as_deref().unwrap());
        assert!(urls.eq(listing.segments.iter().map(|segment| segment.object.key.as_str())));
        let expected = listing.spans().map(|span| (span.start as u64, (span.end - span.start) as u64));
        assert!(timeline(representation).into_iter().eq(expected));
        assert!(representation.bandwidth.unwrap() > 0);
    }
}

/// dash.js takes the n-th entry to be about the n-th `SegmentURL`.
#[test]
fn every_segment_has_an_entry_of_its_own() {
    let mut presentation = small();
    let segments = (0..500).map(|number| segment("v1080", number, 7 + 180_000 * number as i64, 180_000, 180, 9));
    presentation.video[0].segments = segments.collect();
    presentation.video[0].segments[499].duration = 5;
    let mpd = manifest(&presentation);
    let representation = &sets(&mpd)[0].representations[0];
    let entries = &representation.SegmentList.as_ref().unwrap().SegmentTimeline.as_ref().unwrap().segments;
    assert_eq!(entries.len(), 500);
    assert_eq!((entries[0].t, entries[499].d), (Some(0), 5));
    assert!(entries.iter().all(|entry| entry.r.is_none()));
    assert_eq!(timeline(representation)[499], (7 + 180_000 * 499, 5));
}

#[test]
fn a_track_that_starts_late_has_a_segment_for_the_presentations_start() {
    let mut presentation = small();
    presentation.video.iter_mut().for_each(|track| {
        track.segments[0].start += 630;
        track.segments[0].duration -= 630;
    });
    let mpd = manifest(&presentation);
    assert_eq!(timeline(&sets(&mpd)[0].representations[0])[..2], [(0, 180_180), (180_180, 180_180)]);
}

#[test]
fn the_video_set_switches_between_aligned_representations() {
    let mpd = manifest(&small());
    let set = &sets(&mpd)[0];
    assert_eq!(set.contentType.as_deref(), Some("video"));
    assert_eq!(set.mimeType.as_deref(), Some("video/mp4"));
    assert_eq!((set.segmentAlignment, set.startWithSAP), (Some(true), Some(1)));
    assert_eq!(set.Role[0].value.as_deref(), Some("main"));
    let largest = &set.representations[0];
    assert_eq!((largest.width, largest.height), (Some(1920), Some(1080)));
    assert_eq!(largest.frameRate.as_deref(), Some("30000/1001"));
    assert_eq!((largest.sar.as_deref(), largest.codecs.as_deref()), (Some("1:1"), Some("avc1.64000c")));
    let first = timeline(largest);
    assert!(set.representations.iter().all(|other| timeline(other) == first));
}

#[test]
fn every_language_is_a_set_of_its_own() {
    let mut presentation = small();
    presentation.audio[1].rendition.title = "Kommentar <& \"mehr\">\u{7}".into();
    let mpd = manifest(&presentation);
    let facts = sets(&mpd)[1..].iter().map(|set| (set.lang.as_deref().unwrap(), set.Role[0].value.as_deref().unwrap()));
    assert!(facts.eq([("en", "main"), ("de", "alternate")]));
    let set = &sets(&mpd)[2];
    assert_eq!(set.Label[0].content, "Kommentar <& \"mehr\"> ");
    let audio = &set.representations[0];
    assert_eq!(audio.audioSamplingRate.as_deref(), Some("48000"));
    assert_eq!(audio.AudioChannelConfiguration[0].value.as_deref(), Some("2"));
    assert_eq!(audio.codecs.as_deref(), Some("mp4a.40.2"));
}

#[test]
fn whoever_cannot_show_pq_is_told_not_to_try() {
    let mut presentation = small();
    presentation.video.iter_mut().for_each(|track| track.color = PQ);
    let mpd = manifest(&presentation);
    let properties = sets(&mpd)[0].essential_property.iter();
    let values: Vec<_> = properties.map(|p| (p.schemeIdUri.rsplit(':').next().unwrap(), p.value.as_deref())).collect();
    let expected = [("ColourPrimaries", "9"), ("TransferCharacteristics", "16"), ("MatrixCoefficients", "9")];
    assert_eq!(values, expected.map(|(scheme, value)| (scheme, Some(value))));

    let hlg = Color { transfer: 18, ..PQ };
    presentation.video.iter_mut().for_each(|track| track.color = hlg);
    let mpd = manifest(&presentation);
    assert!(sets(&mpd)[0].essential_property.is_empty());
    assert_eq!(sets(&mpd)[0].supplemental_property.len(), 3);
}

#[test]
fn a_presentation_without_video_has_audio_sets_only() {
    let mpd = manifest(&Presentation { video: Vec::new(), ..small() });
    assert!(sets(&mpd).iter().all(|set| set.contentType.as_deref() == Some("audio")));
}
