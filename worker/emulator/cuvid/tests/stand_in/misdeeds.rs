//! Each thing that a client can do wrong is done once, by a child of the test, and stands in the ledger.
#![allow(unsafe_code)]

use std::env;
use std::ffi::{c_int, c_uint, c_void};
use std::fs;
use std::ptr::null_mut;

use nvidia_video_codec_sdk::sys::cuviddec::CUVIDPICPARAMS;

use crate::client::{Client, Manners, call};
use crate::{encode, ignored, play};

const MISDEED: &str = "FARM_MISDEED";
const CLIP: &str = "FARM_CLIP";

/// What is done, and what the ledger says then.
type Misdeed = (fn(), &'static str);

const MISDEEDS: &[Misdeed] = &[
    (caps_without_context, "cuvidGetDecoderCaps: no context is current on this thread"),
    (unknown_decoder, "cuvidDestroyDecoder: 0x10 is no decoder, or was destroyed"),
    (unknown_parser, "cuvidDestroyVideoParser: 0x10 is no parser, or was destroyed"),
    (no_surface, "cuvidMapVideoFrame64: there is no surface 40, the decoder has 20"),
    (not_decoded, "cuvidMapVideoFrame64: surface 19 was never decoded into"),
    (few_surfaces, "cuvidParseVideoData: 3 decode surfaces, 5 are needed"),
    (
        too_many_frames,
        "cuvidMapVideoFrame64: 2 frames are mapped, as many as the decoder has\n\
         cuvidDestroyDecoder: 2 frames are still mapped",
    ),
    (unmapped_twice, "cuvidUnmapVideoFrame64: 0x3a8100000400 is no mapped frame, or was unmapped"),
    (destroyed_with_frames, "cuvidDestroyDecoder: 1 frames are still mapped"),
    (decoded_into_what_is_mapped, "cuvidDecodePicture: surface 0 is mapped"),
    (parsed_in_a_callback, "cuvidParseVideoData: called from two threads, or from a callback"),
    (unlocked, "cuvidCtxUnlock: the lock is not held by this thread"),
    (no_pointers, "cuvidCreateDecoder: a null pointer"),
    (parser_left, "unload: 1 parsers never given back"),
];

fn caps_without_context() {
    let client = Client::ready(Manners::default());
    assert_eq!(call!(client.cuda(), cuCtxSetCurrent(0 => u64)), 0);
    let mut caps = [0_u64; 16];
    assert_eq!(call!(client.cuvid(), cuvidGetDecoderCaps(caps.as_mut_ptr() => *mut u64)), 201);
}

fn unknown_decoder() {
    let client = Client::ready(Manners::default());
    assert_eq!(call!(client.cuvid(), cuvidDestroyDecoder(0x10 => u64)), 400);
}

fn unknown_parser() {
    let client = Client::ready(Manners::default());
    assert_eq!(call!(client.cuvid(), cuvidDestroyVideoParser(0x10 => u64)), 400);
}

/// Parses the clip, and what more is to be done before parser and decoder are given back.
fn parsed(manners: Manners, more: impl FnOnce(&mut Client)) {
    let stream = fs::read(env::var_os(CLIP).unwrap()).unwrap();
    let mut client = Client::ready(manners);
    client.parse_all(&stream, 1000);
    more(&mut client);
    client.finish();
}

fn no_surface() {
    let manners = Manners { surfaces: Some(20), ..Manners::default() };
    parsed(manners, |client| assert_eq!(client.map(40), Err(1)));
}

fn not_decoded() {
    let manners = Manners { surfaces: Some(20), ..Manners::default() };
    parsed(manners, |client| assert_eq!(client.map(19), Err(1)));
}

fn few_surfaces() {
    parsed(Manners { surfaces: Some(3), ..Manners::default() }, |_| {});
}

fn too_many_frames() {
    let manners = Manners { keeps_frames: true, ..Manners::default() };
    parsed(manners, |client| assert_eq!(client.failed, [205]));
}

fn unmapped_twice() {
    parsed(Manners::default(), |client| assert_eq!(client.unmap(client.frame), 0));
}

fn destroyed_with_frames() {
    let manners = Manners { surfaces: Some(20), ..Manners::default() };
    parsed(manners, |client| assert!(client.map(0).is_ok()));
}

fn decoded_into_what_is_mapped() {
    parsed(Manners { surfaces: Some(20), ..Manners::default() }, |client| {
        let (address, _) = client.map(0).unwrap();
        // SAFETY: zero is a value of all its fields; it names surface 0, and no bytes.
        let mut picture: CUVIDPICPARAMS = unsafe { std::mem::zeroed() };
        let given = &raw mut picture;
        let status = call!(client.cuvid(), cuvidDecodePicture(client.decoder() => u64, given => *mut CUVIDPICPARAMS));
        assert_eq!((status, client.unmap(address)), (801, 0));
    });
}

fn parsed_in_a_callback() {
    let stream = fs::read(env::var_os(CLIP).unwrap()).unwrap();
    let mut client = Client::ready(Manners { parses_in_callbacks: true, ends_pictures: true, ..Manners::default() });
    client.parser();
    // One picture alone is shown.
    let second = (4..stream.len()).filter(|at| stream[*at..].starts_with(&[0, 0, 1, 0x41])).min().unwrap();
    assert_eq!((client.parse(&stream[..second], None), client.parse(&[], None)), (0, 0));
    client.finish();
}

fn unlocked() {
    let client = Client::ready(Manners::default());
    let mut lock = 0;
    let place = &raw mut lock;
    assert_eq!(call!(client.cuvid(), cuvidCtxLockCreate(place => *mut u64, 0 => u64)), 0);
    assert_eq!(call!(client.cuvid(), cuvidCtxLock(lock => u64, 0 => c_uint)), 0);
    assert_eq!(call!(client.cuvid(), cuvidCtxUnlock(lock => u64, 0 => c_uint)), 0);
    assert_eq!(call!(client.cuvid(), cuvidCtxUnlock(lock => u64, 0 => c_uint)), 1);
    assert_eq!(call!(client.cuvid(), cuvidCtxLockDestroy(lock => u64)), 0);
}

fn no_pointers() {
    let client = Client::ready(Manners::default());
    let status = call!(client.cuvid(), cuvidCreateDecoder(null_mut() => *mut u64, null_mut() => *mut c_void));
    assert_eq!(status, 1);
}

fn parser_left() {
    Client::ready(Manners::default()).parser();
}

#[test]
fn every_misdeed_stands_in_the_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let clip = folder.path().join("clip.h264");
    let encoder = ["-c:v", "libx264", "-bf", "2", "-b_strategy", "0", "-refs", "4", "-pix_fmt", "yuv420p"];
    encode(&clip, "320x180", 3, &encoder);
    for (number, (_, line)) in MISDEEDS.iter().enumerate() {
        let mut child = ignored("misdeeds::one_misdeed");
        let (output, ledger) = play(child.env(MISDEED, number.to_string()).env(CLIP, &clip), "l4", "");
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stdout));
        assert_eq!(ledger, format!("{line}\n"));
    }
}

#[test]
#[ignore = "run by every_misdeed_stands_in_the_ledger"]
fn one_misdeed() {
    let number: usize = env::var_os(MISDEED).unwrap().to_str().unwrap().parse::<c_int>().unwrap() as usize;
    MISDEEDS[number].0();
}
