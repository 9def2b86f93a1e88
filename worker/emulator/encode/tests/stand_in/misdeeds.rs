//! Each thing that a client can do wrong is done once, by a child of the test, and stands in the ledger.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::ptr::null_mut;
use std::thread;

use nvidia_video_codec_sdk::sys::nvEncodeAPI::*;

use crate::client::{Client, PICTURE_BYTES, blank, call};
use crate::machine::{Machine, SCENARIO};

/// What is done, and part of the first line that the ledger has then.
type Misdeed = (fn(&Client), &'static str);

const MISDEEDS: &[Misdeed] = &[
    (|c| _ = open(c, |o| o.reserved1[9] = 1), "NV_ENC_OPEN_ENCODE_SESSION_EX_PARAMS: reserved bytes from"),
    (|c| _ = open(c, |o| o.apiVersion = 7), "a struct of API 12.1 in a session of API 7.0"),
    (|c| _ = open(c, |o| o.device = 0x1234 as *mut c_void), "0x1234 is no context that lives"),
    (|c| _ = create_input(c, c.open()), "NvEncCreateInputBuffer: before NvEncInitializeEncoder"),
    (set_streams_first, "NvEncSetIOCudaStreams: before NvEncInitializeEncoder"),
    (reconfigure_first, "NvEncReconfigureEncoder: before NvEncInitializeEncoder"),
    (initialize_twice, "NvEncInitializeEncoder: a second time"),
    (caps_without_version, "NvEncGetEncodeCaps: version 0x0; the card takes it"),
    (|c| _ = c.ready(|a| a.config.profileGUID = NV_ENC_HEVC_PROFILE_MAIN_GUID), "is none of H264; a card takes it"),
    (unknown_rate_control, "rate control mode 99 is none"),
    (|c| _ = c.ready(|a| a.config.frameIntervalP = 6), "5 B-frames are more than the card has"),
    (|c| _ = c.ready(|a| a.init.frameRateNum = 0), "a frame rate of 0/1"),
    (|c| _ = c.ready(|a| a.init.enablePTD = 0), "enablePTD is off"),
    (|c| _ = initialize(c, |a| a.init.encodeWidth = 321), "321x180: a card takes odd sizes"),
    (|c| _ = initialize(c, |a| a.init.version += 1 << 25), "a struct of API 12.3 in a session of API 12.1"),
    (larger, "640x360 is larger than was said at first"),
    (input_of_another_size, "a buffer of 640x180 for an encoder of 320x180"),
    (|c| in_flight(c, |s, i, _| _ = lock_input(c, s, i)), "NvEncLockInputBuffer: 0xe00020 is in flight"),
    (|c| in_flight(c, |s, i, _| _ = call!(c, nvEncDestroyInputBuffer, s, i)), "0xe00020 is in use"),
    (|c| in_flight(c, |s, _, o| _ = call!(c, nvEncDestroyBitstreamBuffer, s, o)), "0xe00030 is in use"),
    (|c| in_flight(c, |s, i, o| _ = c.submit(s, i, o)), "output 0xe00030 is in flight (Filled)"),
    (|c| in_flight(c, |s, _, _| c.destroy(s)), "the end of the stream was not said"),
    (|c| in_flight(c, |s, _, _| _ = (c.end(s), c.destroy(s))), "not given back: 1 of kind input buffer"),
    (|c| in_flight(c, |s, _, o| _ = (c.lock(s, o), c.lock(s, o))), "0xe00030 is locked already"),
    (locked_twice, "NvEncLockInputBuffer: 0xe00020 is locked already"),
    (submitted_while_locked, "input 0xe00020 is locked: the client writes to it"),
    (|c| with_buffers(c, |s, i, _| _ = call!(c, nvEncUnlockInputBuffer, s, i)), "0xe00020 is not locked"),
    (|c| with_buffers(c, |s, _, o| _ = call!(c, nvEncUnlockBitstream, s, o)), "0xe00030 is not locked; a card takes"),
    (|c| with_buffers(c, |s, _, o| _ = c.lock(s, o)), "nothing was submitted with 0xe00030"),
    (|c| said_wrong(c, |p| p.inputWidth = 640), "640x180 said of an input of 320x180"),
    (|c| said_wrong(c, |p| p.bufferFmt = NV_ENC_BUFFER_FORMAT::NV_ENC_BUFFER_FORMAT_IYUV), "format 0x100 said of"),
    (|c| said_wrong(c, |p| p.inputPitch = 512), "a pitch of 512 said of an input with 320"),
    (|c| said_wrong(c, |p| p.encodePicFlags = 1), "FORCEINTRA is not played"),
    (|c| said_wrong(c, |p| p.encodePicFlags = 8), "a picture together with the end of the stream"),
    (|c| said_wrong(c, |p| p.reserved3[0] = 1), "NV_ENC_PIC_PARAMS: reserved bytes from"),
    (locked_too_early, "0xe00030 needs more input, and nothing submitted since has succeeded"),
    (after_the_end, "a picture after the end of the stream"),
    (of_another_session, "input buffer 0xe00020 is of another session"),
    (|c| with_buffers(c, |s, i, o| _ = c.submit(s, o, i)), "0xe00020 is no bitstream buffer: its kind is input buffer"),
    (
        |c| {
            with_buffers(c, |s, i, _| {
                for _ in 0..2 {
                    call!(c, nvEncDestroyInputBuffer, s, i);
                }
            })
        },
        "was given back before",
    ),
    (destroyed_twice, "NvEncDestroyEncoder: session 0xe00010 was given back before"),
    (without_context, "context 0x0 is current and not the session's"),
    (|c| _ = c.register(c.ready(|_| ()), |r| r.pitch = 300), "a pitch of 300 bytes for rows of 320 pixels"),
    (|c| _ = c.register(c.ready(|_| ()), |r| r.pitch = 322), "a pitch of 322 bytes is no multiple of 4"),
    (|c| _ = c.register(c.ready(|_| ()), |r| r.height = 100), "320x100 for an encoder of 320x180"),
    (|c| _ = c.register(c.ready(|_| ()), |r| r.resourceToRegister = null_mut()), "a null pointer; a card takes it"),
    (|c| mapped(c, |s, _, r, _| _ = call!(c, nvEncUnregisterResource, s, r)), "is still mapped"),
    (|c| mapped(c, |s, _, r, _| _ = c.map(s, r)), "is mapped already; a card takes it"),
    (|c| mapped(c, |s, _, _, m| unmapped_in_flight(c, s, m)), "is in flight: its output was not read yet"),
    (|c| mapped(c, |s, a, _, m| overwritten(c, s, a, m)), "was overwritten while it was in flight"),
    (|c| mapped(c, |s, a, _, m| read_when_freed(c, s, a, m)), "can't be read: libcuda answers"),
    (|c| _ = c.open(), "unload: 1 encode sessions never given back"),
    (two_at_once, "two threads at once in one session"),
];

fn open(client: &Client, change: impl FnOnce(&mut NV_ENC_OPEN_ENCODE_SESSION_EX_PARAMS)) -> u32 {
    let mut open = client.opening();
    change(&mut open);
    call!(client, nvEncOpenEncodeSessionEx, &mut open, &mut null_mut())
}

fn initialize(client: &Client, change: impl FnOnce(&mut crate::client::Asked)) -> u32 {
    let session = client.open();
    let mut asked = client.asked(session, NV_ENC_CODEC_H264_GUID);
    change(&mut asked);
    call!(client, nvEncInitializeEncoder, session, &mut asked.init)
}

fn create_input(client: &Client, session: *mut c_void) -> u32 {
    let mut create = blank!(NV_ENC_CREATE_INPUT_BUFFER, NV_ENC_CREATE_INPUT_BUFFER_VER);
    (create.width, create.height) = (640, 180);
    create.bufferFmt = NV_ENC_BUFFER_FORMAT::NV_ENC_BUFFER_FORMAT_NV12;
    call!(client, nvEncCreateInputBuffer, session, &mut create)
}

fn input_of_another_size(client: &Client) {
    assert_eq!(create_input(client, client.ready(|_| ())), 0);
}

fn set_streams_first(client: &Client) {
    let mut stream = 0usize;
    let stream = (&raw mut stream).cast::<c_void>();
    call!(client, nvEncSetIOCudaStreams, client.open(), stream, stream);
}

fn reconfigure_first(client: &Client) {
    assert_eq!(client.reconfigure(client.open(), 320, 180), 5);
}

fn larger(client: &Client) {
    assert_eq!(client.reconfigure(client.ready(|_| ()), 640, 360), 0);
}

fn initialize_twice(client: &Client) {
    let session = client.ready(|_| ());
    let mut asked = client.asked(session, NV_ENC_CODEC_H264_GUID);
    assert_eq!(call!(client, nvEncInitializeEncoder, session, &mut asked.init), 0);
}

fn caps_without_version(client: &Client) {
    let mut asked = blank!(NV_ENC_CAPS_PARAM, NV_ENC_CAPS_PARAM_VER);
    asked.version = 0;
    let mut value = 0;
    let codec = NV_ENC_CODEC_H264_GUID;
    assert_eq!((call!(client, nvEncGetEncodeCaps, client.open(), codec, &mut asked, &mut value), value), (0, 4));
}

fn unknown_rate_control(client: &Client) {
    client.ready(|asked| {
        let mode = (&raw mut asked.config.rcParams.rateControlMode).cast::<u32>();
        // SAFETY: a field of 32 bits, which nobody reads as the enum that it is.
        unsafe { mode.write(99) };
    });
}

fn with_buffers(client: &Client, work: impl FnOnce(*mut c_void, *mut c_void, *mut c_void)) {
    let session = client.ready(|_| ());
    let (input, output) = (client.input(session), client.output(session));
    work(session, input, output);
}

fn in_flight(client: &Client, work: impl FnOnce(*mut c_void, *mut c_void, *mut c_void)) {
    with_buffers(client, |session, input, output| {
        assert_eq!(client.submit(session, input, output), 0);
        work(session, input, output);
    });
}

fn lock_input(client: &Client, session: *mut c_void, input: *mut c_void) -> u32 {
    let mut lock = blank!(NV_ENC_LOCK_INPUT_BUFFER, NV_ENC_LOCK_INPUT_BUFFER_VER);
    lock.inputBuffer = input;
    call!(client, nvEncLockInputBuffer, session, &mut lock)
}

fn locked_twice(client: &Client) {
    with_buffers(client, |session, input, _| _ = [(); 2].map(|()| lock_input(client, session, input)));
}

fn submitted_while_locked(client: &Client) {
    with_buffers(client, |session, input, output| {
        lock_input(client, session, input);
        client.submit(session, input, output);
    });
}

fn said_wrong(client: &Client, change: impl FnOnce(&mut NV_ENC_PIC_PARAMS)) {
    with_buffers(client, |session, input, output| {
        let mut picture = client.picture(input, output);
        change(&mut picture);
        assert_eq!(call!(client, nvEncEncodePicture, session, &mut picture), 0);
    });
}

fn locked_too_early(client: &Client) {
    let session = client.ready(|asked| asked.config.frameIntervalP = 4);
    let (input, output) = (client.input(session), client.output(session));
    assert_eq!(client.submit(session, input, output), 17);
    assert_eq!(client.lock(session, output).0, 8);
}

fn after_the_end(client: &Client) {
    in_flight(client, |session, input, output| {
        assert_eq!(client.end(session), 0);
        client.read(session, output);
        assert_eq!(client.submit(session, input, output), 0);
    });
}

fn of_another_session(client: &Client) {
    with_buffers(client, |_, input, _| {
        let other = client.ready(|_| ());
        assert_eq!(client.submit(other, input, client.output(other)), 8);
    });
}

fn destroyed_twice(client: &Client) {
    let session = client.ready(|_| ());
    client.destroy(session);
    assert_eq!(call!(client, nvEncDestroyEncoder, session), 3);
}

fn without_context(client: &Client) {
    with_buffers(client, |session, input, output| {
        client.cuda.set_current(0);
        client.submit(session, input, output);
    });
}

fn mapped(client: &Client, work: impl FnOnce(*mut c_void, u64, *mut c_void, *mut c_void)) {
    let session = client.ready(|_| ());
    let (address, registered) = client.register(session, |_| ());
    let mapped = client.map(session, registered);
    work(session, address, registered, mapped);
}

fn unmapped_in_flight(client: &Client, session: *mut c_void, mapped: *mut c_void) {
    assert_eq!(client.submit(session, mapped, client.output(session)), 0);
    assert_eq!(call!(client, nvEncUnmapInputResource, session, mapped), 0);
}

fn overwritten(client: &Client, session: *mut c_void, address: u64, mapped: *mut c_void) {
    let output = client.output(session);
    assert_eq!(client.submit(session, mapped, output), 0);
    client.cuda.up(address, [7; PICTURE_BYTES].as_ptr(), PICTURE_BYTES);
    client.read(session, output);
}

fn read_when_freed(client: &Client, session: *mut c_void, address: u64, mapped: *mut c_void) {
    client.cuda.free(address);
    assert_eq!(client.submit(session, mapped, client.output(session)), 20);
}

fn two_at_once(client: &Client) {
    let session = client.ready(|_| ()) as usize;
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(move || {
                client.cuda.set_current(client.context);
                let session = session as *mut c_void;
                let (input, output) = (client.input(session), client.output(session));
                for _ in 0..50 {
                    client.submit(session, input, output);
                    client.read(session, output);
                }
            });
        }
    });
}

#[test]
fn every_misdeed_is_in_the_ledger() {
    let machine = Machine::new();
    let mut unnoticed = Vec::new();
    for (number, (_, wanted)) in MISDEEDS.iter().enumerate() {
        let run = machine.child("misdeeds::child", &number.to_string(), "l4", "");
        // What libcuda's stand-in says itself is not meant here. What was meant comes first, what follows from it after.
        let noticed = run.ledger.lines().find(|line| !line.starts_with("cu") && !line.contains("contexts"));
        if !run.ok || !noticed.is_some_and(|line| line.contains(wanted)) {
            unnoticed.push(format!("{number}: {wanted}\n{run:?}"));
        }
    }
    assert!(unnoticed.is_empty(), "{}", unnoticed.join("\n"));
}

#[test]
#[ignore = "a child of the test above"]
fn child() {
    let number = std::env::var_os(SCENARIO).unwrap().into_string().unwrap();
    let client = Client::new();
    MISDEEDS[number.parse::<usize>().unwrap()].0(&client);
    std::mem::forget(client);
}

#[test]
fn a_lock_that_nothing_can_fill_gives_up() {
    let run = Machine::new().child("misdeeds::waiting_for_nothing", "", "l4", "");
    assert!(run.ok && run.ledger.contains("too few pictures are in flight for this lock"), "{run:?}");
}

#[test]
#[ignore = "a child of the test above"]
fn waiting_for_nothing() {
    let client = Client::new();
    let session = client.ready(|asked| asked.config.frameIntervalP = 4);
    let outputs = [(); 4].map(|()| client.output(session));
    let statuses = outputs.map(|output| client.submit(session, client.input(session), output));
    assert_eq!(statuses, [17, 17, 17, 0]);
    client.read(session, outputs[0]);
    let mut lock = blank!(NV_ENC_LOCK_BITSTREAM, NV_ENC_LOCK_BITSTREAM_VER);
    lock.outputBitstream = outputs[1];
    lock.set_doNotWait(1);
    assert_eq!(call!(client, nvEncLockBitstream, session, &mut lock), 13);
    assert_eq!(client.lock(session, outputs[1]).0, 13);
}
