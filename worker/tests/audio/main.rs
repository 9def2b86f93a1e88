//! Whole audio tracks: from real clips to segments, looked at by FFmpeg.

mod support;

use shared::error::ErrorKind;
use shared::rendition::AudioCodec::{Aac, Opus};
use shared::source::DecoderSetup;
use support::{Source, Track, clip, encode_lists, has_ffmpeg, onsets, play, probe, rendition};
use tempfile::TempDir;
use worker::codec::setup::Setup;

const BEEP: &str = "if(lt(mod(t\\,1)\\,0.05)*gt(t\\,0.5)\\,0.8*sin(6283*t)\\,0)";

/// 50 ms of a tone, 0.8 of full scale, at the start of each second but the first, on all channels.
fn beeps(rate: u32, seconds: f64, layout: &str) -> String {
    let channels = [("mono", 1), ("stereo", 2), ("5.1", 6)].into_iter().find(|(name, _)| *name == layout).unwrap().1;
    let expressions = vec![BEEP; channels].join("|");
    format!("-f lavfi -i aevalsrc={expressions}:s={rate}:c={layout}:d={seconds}")
}

fn beeping(folder: &TempDir, name: &str, rate: u32, layout: &str, encoder: &str) -> Source {
    Source::read(&clip(folder.path(), name, &format!("{} -c:a {encoder}", beeps(rate, 5.0, layout))))
}

/// Onsets of a track of ours, by presentation time.
fn heard(track: &Track, folder: &TempDir) -> Vec<usize> {
    let rate = track.receipt.part.timescale.get();
    onsets(&play(&track.join(folder.path()), "-copyts", rate), rate)
}

fn assert_near(found: &[usize], expected: &[usize], tolerance: usize, what: &str) {
    let near = found.iter().zip(expected).all(|(found, expected)| found.abs_diff(*expected) <= tolerance);
    assert!(near && found.len() == expected.len(), "{what}: {found:?}, not {expected:?}");
}

#[test]
fn sound_keeps_its_place_and_length_from_every_container() {
    if !has_ffmpeg("sound_keeps_its_place_and_length_from_every_container") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, encoder, source_rate, codec, rate) in [
        ("priming.mp4", "aac", 44_100, Aac, 44_100),
        ("priming.mp3", "libmp3lame", 44_100, Aac, 48_000),
        ("milliseconds.mkv", "libopus", 48_000, Opus, 48_000),
        ("milliseconds.flv", "aac", 44_100, Opus, 48_000),
        ("offset.ts", "ac3", 48_000, Aac, 44_100),
        ("packed.mov", "pcm_s24le", 48_000, Aac, 48_000),
    ] {
        let source = beeping(&folder, name, source_rate, "stereo", encoder);
        let track = source.encode(rendition(codec, rate, 2)).unwrap();
        track.check();
        let original = play(&folder.path().join(name), "", rate);
        assert_near(&heard(&track, &folder), &onsets(&original, rate), 48, name);
        let (length, expected) = (track.receipt.samples as usize, original.len() - track.receipt.start.ticks as usize);
        assert!(length.abs_diff(expected) <= 64, "{name}: {length} samples, not {expected}");
        assert_eq!((track.receipt.filled, track.receipt.dropped, track.receipt.decode_errors), (0, 0, 0), "{name}");
    }
}

#[test]
fn foreign_reader_counts_the_same() {
    if !has_ffmpeg("foreign_reader_counts_the_same") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let source = beeping(&folder, "source.mov", 48_000, "stereo", "pcm_s16le");
    for (codec, frames, start_pts, name) in [(Aac, 236, -1024, "aac,"), (Opus, 251, -312, "opus,")] {
        let track = source.encode(rendition(codec, 48_000, 2)).unwrap();
        let joined = track.join(folder.path());
        assert_eq!(probe(&joined, "codec_name,start_pts,nb_read_packets"), format!("{name}{start_pts},{frames}"));
        assert_eq!(track.receipt.part.segments.iter().map(|segment| segment.samples).sum::<u32>(), frames);
        assert_eq!((track.receipt.samples, track.receipt.priming as i64), (240_000, -start_pts));
        // The last frame is shortened to where the signal ends, so the container's durations are exact.
        assert_eq!(probe(&joined, "duration_ts"), (240_000 - start_pts).to_string());
        assert!(track.receipt.part.encoder.contains(" (FFmpeg "), "{}", track.receipt.part.encoder);
    }
}

#[test]
fn late_sound_is_on_time_with_and_without_edit_list() {
    if !has_ffmpeg("late_sound_is_on_time_with_and_without_edit_list") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let source = beeping(&folder, "source.mov", 48_000, "stereo", "pcm_s16le").delay(2500);
    for (codec, priming) in [(Aac, 1024), (Opus, 312)] {
        let track = source.encode(rendition(codec, 48_000, 2)).unwrap();
        track.check();
        assert_eq!(
            (track.receipt.start.ticks, track.receipt.priming, track.receipt.samples),
            (120_000, priming, 240_000)
        );
        let expected: Vec<usize> = (1..5).map(|second| 120_000 + second * 48_000).collect();
        assert_near(&heard(&track, &folder), &expected, 8, "with edit list");
        let blind = play(&folder.path().join("joined.mp4"), "-copyts -ignore_editlist 1", 48_000);
        assert_near(&onsets(&blind, 48_000), &expected, 8, "without");
    }
}

#[test]
fn sound_later_than_zero_but_not_than_the_priming_is_on_time() {
    if !has_ffmpeg("sound_later_than_zero_but_not_than_the_priming_is_on_time") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let source = beeping(&folder, "source.mov", 48_000, "stereo", "pcm_s16le").delay(10);
    let track = source.encode(rendition(Aac, 48_000, 2)).unwrap();
    track.check();
    assert_eq!((track.receipt.start.ticks, track.receipt.priming), (480, 1024));
    let expected: Vec<usize> = (1..5).map(|second| 480 + second * 48_000).collect();
    assert_near(&heard(&track, &folder), &expected, 8, "10 ms late");
}

#[test]
fn sound_before_zero_is_cut() {
    if !has_ffmpeg("sound_before_zero_is_cut") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let source = beeping(&folder, "source.mov", 48_000, "stereo", "pcm_s16le").delay(-1500);
    let track = source.encode(rendition(Aac, 48_000, 2)).unwrap();
    assert_eq!((track.receipt.start.ticks, track.receipt.samples), (0, 168_000));
    let expected: Vec<usize> = (2..5).map(|second| second * 48_000 - 72_000).collect();
    assert_near(&heard(&track, &folder), &expected, 8, "cut");
}

#[test]
fn missing_packets_become_silence() {
    if !has_ffmpeg("missing_packets_become_silence") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut source = beeping(&folder, "source.mp4", 48_000, "stereo", "aac");
    let whole = source.encode(rendition(Aac, 48_000, 2)).unwrap();
    source.list.packets.drain(60..90); // 0.64 s from 1.28 s on: between the beeps
    let track = source.encode(rendition(Aac, 48_000, 2)).unwrap();
    track.check();
    assert_eq!((track.receipt.filled, track.receipt.decode_errors), (30 * 1024, 0));
    assert_eq!(track.receipt.samples, whole.receipt.samples);
    assert_near(&heard(&track, &folder), &heard(&whole, &folder), 2, "after the gap");
}

#[test]
fn damaged_packets_are_counted_and_become_silence() {
    if !has_ffmpeg("damaged_packets_are_counted_and_become_silence") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut source = beeping(&folder, "source.mp4", 48_000, "stereo", "aac");
    let whole = source.encode(rendition(Aac, 48_000, 2)).unwrap();
    for number in [70, 72] {
        let packet = source.list.packets[number];
        source.bytes[packet.offset as usize..][..packet.size as usize].fill(0xff);
    }
    let track = source.encode(rendition(Aac, 48_000, 2)).unwrap();
    track.check();
    assert_eq!((track.receipt.decode_errors, track.receipt.filled), (2, 2 * 1024));
    assert_near(&heard(&track, &folder), &heard(&whole, &folder), 2, "after the damage");
}

#[test]
fn packets_that_come_twice_are_dropped() {
    if !has_ffmpeg("packets_that_come_twice_are_dropped") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut source = beeping(&folder, "source.mov", 48_000, "stereo", "pcm_s16le");
    let whole = source.encode(rendition(Aac, 48_000, 2)).unwrap();
    let again: Vec<_> = source.list.packets[70..75].to_vec();
    let repeated: u64 = again.iter().map(|packet| u64::from(packet.size) / 4).sum();
    source.list.packets.splice(75..75, again);
    let track = source.encode(rendition(Aac, 48_000, 2)).unwrap();
    assert_eq!(track.receipt.dropped, repeated);
    assert_eq!(track.objects, whole.objects);
}

#[test]
fn same_source_gives_the_same_bytes() {
    if !has_ffmpeg("same_source_gives_the_same_bytes") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let source = beeping(&folder, "source.mp4", 44_100, "stereo", "aac");
    for codec in [Aac, Opus] {
        let [one, other] = [0, 1].map(|_| {
            let mut track = source.encode(rendition(codec, 48_000, 2)).unwrap();
            track.receipt.part.making = Default::default(); // how long it took
            track
        });
        assert_eq!(one.objects, other.objects);
        assert_eq!(one.receipt.part, other.receipt.part);
    }
}

/// The largest value heard, of 1.
fn peak(track: &Track, folder: &TempDir) -> f64 {
    let heard = play(&track.join(folder.path()), "-copyts", 48_000);
    f64::from(heard.iter().map(|value| value.unsigned_abs()).max().unwrap()) / 32768.0
}

#[test]
fn every_layout_is_mixed_at_its_level() {
    if !has_ffmpeg("every_layout_is_mixed_at_its_level") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // One voice on all channels. Mono goes to each of two loudspeakers at −3 dB; all else keeps its level, never more.
    let cases =
        [("mono", 1, 0.8), ("mono", 2, 0.57), ("stereo", 1, 0.8), ("stereo", 2, 0.8), ("5.1", 2, 0.8), ("5.1", 1, 0.8)];
    for (layout, channels, expected) in cases {
        let source = beeping(&folder, "source.mov", 48_000, layout, "pcm_s16le");
        let track = source.encode(rendition(Aac, 48_000, channels)).unwrap();
        track.check();
        assert_eq!(track.receipt.samples, 240_000);
        assert_eq!(probe(&track.join(folder.path()), "channels"), channels.to_string());
        let peak = peak(&track, &folder);
        assert!((peak - expected).abs() < 0.05, "{layout} to {channels}: {peak}, not {expected}");
    }
}

#[test]
fn rate_and_layout_may_change_on_the_way() {
    if !has_ffmpeg("rate_and_layout_may_change_on_the_way") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut first = beeping(&folder, "first.mkv", 48_000, "stereo", "flac");
    let second = beeping(&folder, "second.mkv", 44_100, "mono", "flac").delay(5000);
    let mut list = second.list.clone();
    for packet in &mut list.packets {
        packet.offset += first.bytes.len() as u64;
    }
    list.extradata = Some(Setup::open(&second.stream.setup).unwrap().extradata);
    first.bytes.extend(&second.bytes);
    let track = encode_lists(&first, &[first.list.clone(), list], rendition(Aac, 48_000, 2)).unwrap();
    track.check();
    assert_eq!((track.receipt.samples, track.receipt.filled, track.receipt.dropped), (480_000, 0, 0));
    let expected: Vec<usize> = [1, 2, 3, 4, 6, 7, 8, 9].map(|second| second * 48_000).to_vec();
    assert_near(&heard(&track, &folder), &expected, 8, "48 kHz stereo, then 44.1 kHz mono");
}

#[test]
fn shortest_sound_is_a_track() {
    if !has_ffmpeg("shortest_sound_is_a_track") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let arguments = format!("{} -c:a pcm_s16le", beeps(48_000, 0.001, "mono"));
    let source = Source::read(&clip(folder.path(), "source.mov", &arguments));
    for codec in [Aac, Opus] {
        let track = source.encode(rendition(codec, 48_000, 1)).unwrap();
        track.check();
        assert_eq!((track.receipt.samples, track.objects.len()), (48, 1));
    }
}

#[test]
fn sound_past_the_last_segment_belongs_to_it() {
    if !has_ffmpeg("sound_past_the_last_segment_belongs_to_it") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let source = beeping(&folder, "source.mov", 48_000, "mono", "pcm_s16le");
    let track = support::encode_counted(&source, 2, rendition(Aac, 48_000, 1)).unwrap();
    let ends: Vec<_> = track.receipt.part.segments.iter().map(|s| (s.number, s.start, s.duration)).collect();
    assert_eq!(ends, [(0, 0, 94 * 1024), (1, 94 * 1024, 241_024 - 94 * 1024)]);
}

#[test]
fn sound_that_can_not_be_decoded_is_an_input_error() {
    if !has_ffmpeg("sound_that_can_not_be_decoded_is_an_input_error") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut source = beeping(&folder, "source.mp4", 48_000, "stereo", "aac");
    source.bytes.fill(0xff);
    let error = source.encode(rendition(Aac, 48_000, 2)).err().unwrap();
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Input, "audio_undecodable"));

    let mut setup = Setup::open(&source.stream.setup).unwrap();
    setup.codec = "ac4".into();
    source.stream.setup = setup.seal();
    let error = source.encode(rendition(Aac, 48_000, 2)).err().unwrap();
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Unsupported, "audio_codec"));

    source.stream.setup = DecoderSetup(vec![0xff]);
    assert_eq!(source.encode(rendition(Aac, 48_000, 2)).err().unwrap().kind, ErrorKind::Bug);
}

#[test]
fn absurd_times_are_an_input_error() {
    if !has_ffmpeg("absurd_times_are_an_input_error") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut source = beeping(&folder, "source.mov", 48_000, "mono", "pcm_s16le");
    source.list.packets[70].pts = i64::MAX / 2;
    let error = source.encode(rendition(Aac, 48_000, 1)).err().unwrap();
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Input, "audio_gap"));
}
