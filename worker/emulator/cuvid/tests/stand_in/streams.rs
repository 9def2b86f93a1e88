//! What comes out of streams that the small client parses.
#![allow(unsafe_code)]

use std::env;
use std::ffi::c_uint;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::client::{Client, Manners, call};
use crate::{encode, ignored, play};

const STREAM: &str = "FARM_STREAM";

/// Two sequences of different sizes, in one stream of H.264; and the pictures as the software decoder sees them.
fn two_sizes(folder: &Path) -> (Vec<u8>, Vec<u8>) {
    let (mut stream, mut pictures) = (Vec::new(), Vec::new());
    for size in ["320x180", "202x130"] {
        let part = folder.join(format!("{size}.h264"));
        encode(&part, size, 11, &["-c:v", "libx264", "-bf", "2", "-b_strategy", "0", "-g", "6", "-pix_fmt", "yuv420p"]);
        stream.extend(fs::read(&part).unwrap());
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-v", "error", "-i"]).arg(&part);
        pictures.extend(ffmpeg.args(["-pix_fmt", "nv12", "-f", "rawvideo", "-"]).output().unwrap().stdout);
    }
    (stream, pictures)
}

#[track_caller]
fn assert_well(test: &str, faults: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (stream, pictures) = two_sizes(folder.path());
    fs::write(folder.path().join("stream"), stream).unwrap();
    fs::write(folder.path().join("pictures"), pictures).unwrap();
    let (output, ledger) = play(ignored(test).env(STREAM, folder.path()), "l4", faults);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(ledger, "");
}

#[test]
fn what_no_card_decodes_is_told_as_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    encode(&folder.path().join("stream.h264"), "320x192", 2, &["-c:v", "libx264", "-pix_fmt", "yuv422p10le"]);
    fs::rename(folder.path().join("stream.h264"), folder.path().join("stream")).unwrap();
    fs::write(folder.path().join("pictures"), []).unwrap();
    let (output, ledger) = play(ignored("streams::refused").env(STREAM, folder.path()), "l4", "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(ledger, "");
}

#[test]
#[ignore = "run as a child"]
fn refused() {
    let mut client = Client::ready(Manners::default());
    client.parse_all(&given().0, 1000);
    client.finish();
    assert_eq!(
        (client.sequences.as_slice(), client.failed.as_slice()),
        ([(320, 192, 2, 10)].as_slice(), [801].as_slice())
    );
    assert_eq!((client.decoded, client.shown.len()), (0, 0));
}

/// The stream and its pictures, in a child.
fn given() -> (Vec<u8>, Vec<u8>) {
    let folder = env::var_os(STREAM).unwrap();
    let read = |name: &str| fs::read(Path::new(&folder).join(name)).unwrap();
    (read("stream"), read("pictures"))
}

#[test]
fn a_change_of_size_loses_no_picture_whatever_the_packets_are() {
    assert_well("streams::changes_size", "");
}

#[test]
#[ignore = "run as a child"]
fn changes_size() {
    let (stream, pictures) = given();
    for piece in [1, 1000, stream.len()] {
        let mut client = Client::ready(Manners::default());
        client.parse_all(&stream, piece);
        assert_eq!(client.sequences, [(320, 192, 1, 8), (208, 144, 1, 8)]);
        client.finish();
        assert_eq!((client.shown.len(), client.decoded, client.failed.len()), (22, 22, 0));
        assert!(client.shown.iter().flat_map(|shown| &shown.bytes).eq(&pictures), "pieces of {piece}");
        assert!(client.shown.iter().all(|shown| shown.status == 2));
        // Nobody gave times: they count on, one frame each, on a clock of 25 Hz.
        assert!(client.shown.iter().map(|shown| shown.timestamp).eq(0..22));
    }
}

#[test]
fn four_decoders_at_once_are_as_one() {
    assert_well("streams::four_at_once", "");
}

#[test]
#[ignore = "run as a child"]
fn four_at_once() {
    let (stream, pictures) = given();
    let decode = || {
        let mut client = Client::ready(Manners::default());
        client.parse_all(&stream, 1000);
        client.finish();
        assert_eq!(client.failed, []);
        assert!(client.shown.iter().flat_map(|shown| &shown.bytes).eq(&pictures));
    };
    std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(decode))));
}

#[test]
fn a_lost_device_ends_all_and_leaves_nothing_to_give_back() {
    assert_well("streams::device_is_lost", "device_lost@60");
}

#[test]
#[ignore = "run as a child"]
fn device_is_lost() {
    let (stream, _) = given();
    let mut client = Client::ready(Manners::default());
    client.parse_all(&stream, 1000);
    assert!(client.shown.len() < 22);
    assert!(!client.failed.is_empty() && client.failed.iter().all(|status| *status == 999), "{:?}", client.failed);
}

#[test]
fn work_that_reads_a_frame_after_it_was_unmapped_shows() {
    assert_well("streams::unmaps_too_soon", "lazy_streams");
}

#[test]
#[ignore = "run as a child"]
fn unmaps_too_soon() {
    let (stream, _) = given();
    // What a copy on a stream brings home, if the frame is unmapped before or after the stream was waited for.
    let copied = |waits: bool| {
        let mut client = Client::ready(Manners { keeps_frames: true, surfaces: Some(20), ..Manners::default() });
        client.parser();
        // Two frames may be mapped: the third picture waits for the first to be shown.
        let mut units = units(&stream).into_iter();
        while client.shown.is_empty() {
            assert_eq!(client.parse(units.next().unwrap(), None), 0);
        }
        let row = client.shown[0].bytes[..320].to_vec();
        let frame = client.frame;
        let cuda = client.cuda();
        let (mut copy, mut stream, mut got) = (0, 0, [0_u8; 320]);
        let (place, onto, to) = (&raw mut copy, &raw mut stream, got.as_mut_ptr());
        let wait = |stream: u64| call!(cuda, cuStreamSynchronize(stream => u64));
        assert_eq!(call!(cuda, cuStreamCreate(onto => *mut u64, 1 => c_uint)), 0);
        assert_eq!(call!(cuda, cuMemAlloc_v2(place => *mut u64, 320 => usize)), 0);
        let status = call!(cuda, cuMemcpyDtoDAsync_v2(copy => u64, frame => u64, 320 => usize, stream => u64));
        assert_eq!((status, if waits { wait(stream) } else { 0 }), (0, 0));
        assert_eq!((client.unmap(frame), wait(stream)), (0, 0));
        assert_eq!(call!(cuda, cuMemcpyDtoH_v2(to => *mut u8, copy => u64, 320 => usize)), 0);
        assert_eq!(call!(cuda, cuMemFree_v2(copy => u64)), 0);
        assert_eq!(call!(cuda, cuStreamDestroy_v2(stream => u64)), 0);
        client.finish();
        assert_eq!(client.failed, []);
        (got.to_vec(), row)
    };
    let (got, row) = copied(true);
    assert_eq!(got, row);
    let (got, _) = copied(false);
    assert_eq!(got, [0x5a; 320]);
}

#[test]
fn callbacks_come_late_unless_packets_end_pictures() {
    assert_well("streams::comes_late", "");
}

/// Places where access units begin: at the parameter sets and at slices after the first of a picture's.
fn units(stream: &[u8]) -> Vec<&[u8]> {
    let starts: Vec<usize> = (0..stream.len() - 4).filter(|at| stream[*at..].starts_with(&[0, 0, 1])).collect();
    let kind = |at: usize| stream[at + 3] & 31;
    let mut begins = Vec::new();
    let mut slices = true;
    for at in starts {
        let slice = matches!(kind(at), 1 | 5);
        if slices {
            begins.push(at);
        }
        slices = slice;
    }
    begins.push(stream.len());
    begins.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect()
}

#[test]
#[ignore = "run as a child"]
fn comes_late() {
    let (stream, _) = given();
    let units = units(&stream);
    let after = |ends_pictures: bool| {
        let mut client = Client::ready(Manners { ends_pictures, ..Manners::default() });
        client.parser();
        let mut progress = Vec::new();
        for unit in units.iter().take(3) {
            assert_eq!(client.parse(unit, Some(0)), 0);
            progress.push((client.sequences.len(), client.decoded));
        }
        client.finish();
        progress
    };
    assert_eq!(after(false), [(0, 0), (1, 0), (1, 1)]);
    assert_eq!(after(true), [(1, 1), (1, 2), (1, 3)]);
}

#[test]
fn faults_spoil_what_they_name() {
    assert_well("streams::wrong_and_told", "decode:corrupt");
    assert_well("streams::wrong_and_not_told", "decode:wrong");
    assert_well("streams::seventh_fails", "cuvidDecodePicture@7=999");
}

/// Which pictures differ from the software decoder's, and which have a bad status.
fn spoiled() -> (Vec<bool>, Vec<bool>) {
    let (stream, mut pictures) = given();
    let mut client = Client::ready(Manners::default());
    client.parse_all(&stream, 1000);
    client.finish();
    let differ = client.shown.iter().map(|shown| {
        let rest = pictures.split_off(shown.bytes.len());
        shown.bytes != std::mem::replace(&mut pictures, rest)
    });
    let differ = differ.collect();
    (differ, client.shown.iter().map(|shown| shown.status != 2).collect())
}

#[test]
#[ignore = "run as a child"]
fn wrong_and_told() {
    let (differ, told) = spoiled();
    // One for each of the two decoders.
    assert_eq!(differ.iter().filter(|differs| **differs).count(), 2);
    assert_eq!(differ, told);
}

#[test]
#[ignore = "run as a child"]
fn wrong_and_not_told() {
    let (differ, told) = spoiled();
    assert_eq!(differ.iter().filter(|differs| **differs).count(), 2);
    assert!(!told.contains(&true));
}

#[test]
#[ignore = "run as a child"]
fn seventh_fails() {
    let (stream, _) = given();
    let mut client = Client::ready(Manners::default());
    client.parse_all(&stream, 1000);
    assert_eq!((client.shown.len(), client.failed.as_slice()), (21, [999].as_slice()));
    client.finish();
}
