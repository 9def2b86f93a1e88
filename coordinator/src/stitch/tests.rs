use shared::cmaf::DecoderConfig;

use super::fixture::{self, Job, NTSC, NTSC_FRAME, audio_receipt, audio_task, ntsc_times, video_receipt, video_task};
use super::*;

/// The second of three chunks: segments 2 and 3 of 6.
fn chunk() -> (VideoTask, VideoReceipt) {
    let (times, end) = ntsc_times(6, 0);
    let task = video_task(2, 4, 6);
    let receipt = video_receipt(&task, &times, end);
    (task, receipt)
}

#[test]
fn honest_receipts_pass_and_join_without_a_gap() {
    let job = Job::new(7, 2);
    for (task, receipt) in &job.video {
        check_video(task, receipt).unwrap();
    }
    let tracks = stitch_video(&job.chunks()).unwrap();
    assert_eq!(tracks.len(), 4);
    for track in &tracks {
        assert!(track.segments.iter().map(|segment| segment.number).eq(0..7));
        let frames: u64 = track.segments.iter().map(|segment| u64::from(segment.samples)).sum();
        let ends: Vec<i64> = track.timeline().map(|(start, duration)| start + duration as i64).collect();
        assert_eq!(*ends.last().unwrap(), frames as i64 * NTSC_FRAME);
        assert!(track.timeline().skip(1).map(|(start, _)| start).eq(ends[..6].iter().copied()));
    }
}

#[test]
fn a_chunk_in_which_no_frame_starts_passes_and_joins() {
    // A still for 20 s, as screen recordings have them: nothing starts in segments 1 to 3.
    let times = [0, 15_000, 30_000, 660_000, 700_000];
    let chunks: Vec<_> = [(0, 1), (1, 3), (3, 5)].map(|(first, end)| video_task(first, end, 5)).into();
    let receipts: Vec<_> = chunks.iter().map(|task| video_receipt(task, &times, 730_000)).collect();
    for (task, receipt) in chunks.iter().zip(&receipts) {
        check_video(task, receipt).unwrap();
    }
    assert_eq!(receipts[1].frames, 0);
    let tracks = stitch_video(&chunks.iter().zip(&receipts).collect::<Vec<_>>()).unwrap();
    assert_eq!(tracks[0].timeline().collect::<Vec<_>>(), [(0, 660_000), (660_000, 70_000)]);
}

#[test]
fn a_tail_too_short_for_a_segment_belongs_to_the_last() {
    let (times, end) = ntsc_times(2, 20);
    let task = video_task(0, 2, 2);
    let receipt = video_receipt(&task, &times, end);
    check_video(&task, &receipt).unwrap();
    assert!(receipt.parts[0].segments.iter().map(|segment| segment.number).eq(0..2));

    let unmerged = VideoTask { segment_count: Some(3), ..task.clone() };
    let receipt = video_receipt(&unmerged, &times, end);
    let refusal = check_video(&task, &receipt).unwrap_err().to_string();
    assert_eq!(refusal, "v1080, segment 2 at 360360: number is 2, expected 1");
}

type Lie = (&'static str, fn(&mut VideoReceipt), &'static str);

const LIES: [Lie; 24] = [
    ("a part is missing", |r| drop(r.parts.pop()), "number of renditions is 3, expected 4"),
    ("parts swapped", |r| r.parts.swap(0, 1), "v1080: rendition is v720, expected v1080"),
    ("timescale", |r| r.parts[1].timescale = Timescale::MILLIS, "v720: timescale is 1/1000, expected 1/30000"),
    ("codec", |r| r.parts[0].config = DecoderConfig::Hevc(vec![1]), "v1080: decoder config is hvcC, expected avcC"),
    ("a sound", |r| r.parts[0].config = fixture::aac(), "v1080: decoder config is esds, expected avcC"),
    ("number", |r| r.parts[2].segments[0].number = 3, "v480, segment 3 at 360360: number is 3, expected 2"),
    (
        "twice the same segment",
        |r| {
            let first = r.parts[0].segments[0].clone();
            r.parts[0].segments.insert(0, first);
        },
        "v1080, segment 2 at 360360: number is 2, expected more than 2",
    ),
    (
        "a frame is missing between segments",
        |r| r.parts[0].segments[0].duration -= 1001,
        "v1080, segment 3 at 540540: start is 540540, expected 539539",
    ),
    ("a segment is missing", |r| drop(r.parts[3].segments.pop()), "v360: number of segments is 1, expected 2"),
    ("a frame more", |r| r.parts[0].segments[0].samples += 1, "v1080: sum of frames is 361, expected 360"),
    (
        "frames moved between segments",
        |r| {
            r.parts[1].segments[0].samples += 1;
            r.parts[1].segments[1].samples -= 1;
        },
        "v720, segment 2 at 360360: number of frames is 181, expected 180",
    ),
    (
        "another last duration",
        |r| r.parts[1].segments[1].duration += 1,
        "v720, segment 3 at 540540: duration is 180181, expected 180180",
    ),
    (
        "another first start",
        |r| {
            let first = &mut r.parts[1].segments[0];
            (first.start, first.duration) = (first.start + 1, first.duration - 1);
        },
        "v720, segment 2 at 360361: start is 360361, expected 360360",
    ),
    (
        "no samples",
        |r| r.parts[0].segments[1].samples = 0,
        "v1080, segment 3 at 540540: duration is 180180, expected at least 1 for 0 samples",
    ),
    (
        "no time for the samples",
        |r| r.parts[0].segments[1].duration = 3,
        "v1080, segment 3 at 540540: duration is 3, expected at least 180 for 180 samples",
    ),
    (
        "longer than time itself",
        |r| r.parts[0].segments[1].duration = u64::MAX,
        "v1080, segment 3 at 540540: duration is 18446744073709551615, expected less",
    ),
    (
        "the key of other bytes",
        |r| r.parts[0].segments[0].object.sha256[0] ^= 1,
        "v1080, segment 2 at 360360: key is v1080/000002.",
    ),
    (
        "a key outside of its folder",
        |r| r.parts[0].segments[0].object.key.insert_str(0, "../"),
        "v1080, segment 2 at 360360: key is ../v1080/000002.",
    ),
    (
        "half a hash",
        |r| r.parts[0].segments[0].object.sha256.truncate(16),
        "v1080, segment 2 at 360360: length of the hash is 16, expected 32",
    ),
    (
        "an empty object",
        |r| r.parts[0].segments[0].object.size = 0,
        "v1080, segment 2 at 360360: end of the first sample is 735736, expected 1 to 0",
    ),
    (
        "a first sample of nothing",
        |r| r.parts[0].segments[0].first_sample_end = 0,
        "v1080, segment 2 at 360360: end of the first sample is 0, expected 1 to 3",
    ),
    ("first time", |r| r.first_pts = Some(0), "first presentation time is 0, expected 360360"),
    ("no last time", |r| r.last_pts = None, "last presentation time is none, expected in 540540 and the 180180"),
    ("frames lost silently", |r| r.frames_expected += 2, "360 frames were made, the packet lists promise 362"),
];

#[test]
fn every_lie_of_a_video_receipt_is_refused_by_name() {
    for (name, lie, expected) in LIES {
        let (task, mut receipt) = chunk();
        check_video(&task, &receipt).unwrap();
        lie(&mut receipt);
        let refusal = check_video(&task, &receipt).expect_err(name).to_string();
        assert!(refusal.starts_with(expected), "{name}: {refusal}");
    }
}

#[test]
fn frames_of_other_chunks_are_refused() {
    let (times, end) = ntsc_times(6, 0);
    let (task, _) = chunk();
    let wider = VideoTask { end: video_task(2, 5, 6).end, ..task.clone() };
    let refusal = check_video(&task, &video_receipt(&wider, &times, end)).unwrap_err().to_string();
    assert_eq!(refusal, "v1080, segment 4 at 720720: start is 720720, expected in 360000 to 720000");
    let earlier = video_task(1, 4, 6);
    let refusal = check_video(&task, &video_receipt(&earlier, &times, end)).unwrap_err().to_string();
    assert_eq!(refusal, "v1080, segment 1 at 180180: start is 180180, expected in 360000 to 720000");
}

#[test]
fn lost_frames_pass_where_the_decoder_complained() {
    let (task, mut receipt) = chunk();
    receipt.frames_expected += 2;
    assert_eq!(check_video(&task, &receipt), Err(Refusal::Frames { expected: 362, found: 360 }));
    receipt.decode_errors = 1;
    check_video(&task, &receipt).unwrap();
}

#[test]
fn chunks_that_do_not_join_are_refused() {
    let lies: [Lie; 4] = [
        (
            "another decoder config",
            |r| r.parts[1].config = DecoderConfig::Avc(vec![9]),
            "v720: the chunk at 360000 does not join: decoder config is ",
        ),
        ("a rendition more", |r| r.parts.push(r.parts[0].clone()), "number of renditions is 5, expected 4"),
        (
            "a gap",
            |r| {
                let first = &mut r.parts[0].segments[0];
                (first.start, first.duration) = (first.start + 1001, first.duration - 1001);
            },
            "v1080: the chunk at 360000 does not join: first presentation time is 361361, expected 360360",
        ),
        (
            "the chunk before, again",
            |r| r.parts[0].segments[0].number = 1,
            "v1080: the chunk at 360000 does not join: first segment is 1, expected after 1",
        ),
    ];
    for (name, lie, expected) in lies {
        let mut job = Job::new(6, 2);
        lie(&mut job.video[1].1);
        let refusal = stitch_video(&job.chunks()).expect_err(name).to_string();
        assert!(refusal.starts_with(expected), "{name}: {refusal}");
    }
}

#[test]
fn a_gap_where_the_source_is_damaged_is_bridged_by_the_picture_before() {
    let mut job = Job::new(4, 2);
    for part in &mut job.video[1].1.parts {
        part.segments[0].start += 3003;
        part.segments[0].duration -= 3003;
    }
    assert!(stitch_video(&job.chunks()).is_err());
    job.video[1].1.decode_errors = 3;
    let tracks = stitch_video(&job.chunks()).unwrap();
    assert_eq!(tracks[0].timeline().nth(1), Some((180_180, 180_180 + 3003)));
    assert_eq!(tracks[0].timeline().nth(2), Some((363_363, 180_180 - 3003)));
}

#[test]
fn a_refused_chunk_leaves_the_tracks_as_they_were() {
    let mut job = Job::new(6, 2);
    job.video[1].1.parts[3].config = DecoderConfig::Avc(vec![9]);
    let mut tracks = Vec::new();
    append_chunk(&mut tracks, &job.video[0].0, &job.video[0].1, false).unwrap();
    let before = tracks.clone();
    append_chunk(&mut tracks, &job.video[1].0, &job.video[1].1, false).unwrap_err();
    assert_eq!(tracks, before);
}

#[test]
fn chunks_of_two_families_join_and_their_config_grows_once() {
    let job = Job::new(8, 2).made_by_others(1).made_by_others(3);
    let tracks = stitch_video(&job.chunks()).unwrap();
    assert_eq!(tracks[0].config, fixture::avc().union(&fixture::other_avc()).unwrap());
    assert_eq!(tracks[0].outgrown, [(2, fixture::avc())]);
    assert_eq!((&tracks[1].config, tracks[1].outgrown.len()), (&fixture::avc(), 0));
    assert!(tracks.iter().all(|track| track.segments.len() == 8));
}

#[test]
fn what_no_segment_was_made_for_is_not_outgrown() {
    // Nothing starts in the first chunk, and another family makes the next.
    let times = [360_000, 390_000, 540_000];
    let chunks: Vec<_> = [(0, 2), (2, 4)].map(|(first, end)| video_task(first, end, 4)).into();
    let mut receipts: Vec<_> = chunks.iter().map(|task| video_receipt(task, &times, 720_000)).collect();
    receipts[1].parts[0].config = fixture::other_avc();
    let tracks = stitch_video(&chunks.iter().zip(&receipts).collect::<Vec<_>>()).unwrap();
    assert_eq!((tracks[0].segments.len(), tracks[0].outgrown.len()), (2, 0));
}

#[test]
fn every_lie_of_an_audio_receipt_is_refused_by_name() {
    type AudioLie = (&'static str, fn(&mut AudioReceipt), &'static str);
    let lies: [AudioLie; 9] = [
        ("rendition", |r| r.part.rendition = "a2".into(), "a1: rendition is a2, expected a1"),
        ("timescale", |r| r.part.timescale = Timescale::MILLIS, "a1: timescale is 1000, expected 48000"),
        ("codec", |r| r.part.config = fixture::avc(), "a1: decoder config is avcC, expected esds"),
        ("a segment is missing", |r| drop(r.part.segments.remove(1)), "a1, segment 2 at 576512: start is 576512"),
        (
            "the first is missing",
            |r| drop(r.part.segments.remove(0)),
            "a1: number of samples is 671232, expected 960000",
        ),
        ("signal lost", |r| r.samples += 1, "a1: number of samples is 960000, expected 960001 and a remainder"),
        ("signal made up", |r| r.samples -= 50_000, "a1: number of samples is 960000, expected 910000 and a remain"),
        (
            "too early for a late start",
            |r| r.start = MediaTime::new(1500, Timescale::MILLIS),
            "a1: first decode time is 0, expected 70976",
        ),
        (
            "before the presentation",
            |r| r.start = MediaTime::new(-1, Timescale::MILLIS),
            "a1: start of the signal is -48, expected 0 or more",
        ),
    ];
    let task = audio_task(1, "en", 3);
    for (name, lie, expected) in lies {
        let mut receipt = audio_receipt(&task, 0, 960_000 - 1024);
        check_audio(&task, &receipt).unwrap();
        lie(&mut receipt);
        let refusal = check_audio(&task, &receipt).expect_err(name).to_string();
        assert!(refusal.starts_with(expected), "{name}: {refusal}");
    }
}

#[test]
fn audio_is_presented_where_the_signal_belongs() {
    let task = audio_task(1, "en", 3);
    for (lead, shift, first) in [
        (0, 1024, (0, 288_768 - 1024)),
        (400, 624, (0, 288_768 - 624)),
        (1024, 0, (0, 288_768)),
        (90_000, 0, (88_976, 199_680)),
    ] {
        let receipt = audio_receipt(&task, lead, 800_000);
        check_audio(&task, &receipt).unwrap();
        let track = stitch_audio(&task, &receipt);
        assert_eq!((track.lead(), track.shift()), (lead, shift), "lead {lead}");
        let timeline: Vec<_> = track.timeline().collect();
        assert_eq!(timeline[0], first, "lead {lead}");
        let (start, duration) = timeline[timeline.len() - 1];
        assert_eq!(start as u64 + duration, lead + 800_000, "lead {lead}");
    }
}

#[test]
fn ten_hours_of_four_rungs_stitch_chunk_by_chunk() {
    let job = Job::new(6000, 4);
    let mut tracks = Vec::new();
    for (task, receipt) in &job.video {
        check_video(task, receipt).unwrap();
        append_chunk(&mut tracks, task, receipt, false).unwrap();
    }
    assert_eq!(tracks, stitch_video(&job.chunks()).unwrap());
    let end = tracks[3].timeline().last().map(|(start, duration)| start + duration as i64);
    assert_eq!(end.unwrap() / i64::from(NTSC), 36_000);
}
