//! A client of API 12.1 that makes no mistakes: pictures on the device, outputs in the order of their submission.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::fs;

use nvidia_video_codec_sdk::sys::nvEncodeAPI::*;

use crate::client::{Asked, Client, HEIGHT, PICTURE_BYTES, PITCH, Session, WIDTH, blank, call};
use crate::machine::{Machine, SCENARIO, decode};

const PICTURES: usize = 30;
/// The picture that is asked to start anew, beside the first and the one after 20.
const FORCED: usize = 9;

struct Codec {
    name: &'static str,
    guid: GUID,
    change: fn(&mut Asked),
}

const CODECS: [Codec; 3] = [
    Codec { name: "h264", guid: NV_ENC_CODEC_H264_GUID, change: h264 },
    Codec { name: "hevc", guid: NV_ENC_CODEC_HEVC_GUID, change: hevc },
    Codec { name: "obu", guid: NV_ENC_CODEC_AV1_GUID, change: av1 },
];

fn h264(asked: &mut Asked) {
    asked.config.profileGUID = NV_ENC_H264_PROFILE_HIGH_GUID;
    // SAFETY: the part of the config that belongs to the codec asked for.
    let config = unsafe { &mut asked.config.encodeCodecConfig.h264Config };
    config.set_repeatSPSPPS(1);
    (config.idrPeriod, config.spsId, config.ppsId, config.level) = (20, 3, 3, 31);
}

fn hevc(asked: &mut Asked) {
    // SAFETY: as above.
    let config = unsafe { &mut asked.config.encodeCodecConfig.hevcConfig };
    config.set_repeatSPSPPS(1);
    config.idrPeriod = 20;
}

fn av1(asked: &mut Asked) {
    // SAFETY: as above.
    let config = unsafe { &mut asked.config.encodeCodecConfig.av1Config };
    config.idrPeriod = 20;
}

/// Buffers of one picture.
struct Place {
    address: u64,
    registered: *mut c_void,
    mapped: *mut c_void,
    output: *mut c_void,
}

/// A bright bar on grey that moves with the number.
fn paint(number: usize) -> Vec<u8> {
    let mut picture = vec![128; PICTURE_BYTES];
    for row in picture.chunks_mut(PITCH).take(HEIGHT as usize) {
        row[number * 8..][..16].fill(220);
    }
    picture
}

/// What came out of each output: status of the submission, bytes, time stamp, kind.
type Packet = (u32, Vec<u8>, u64, NV_ENC_PIC_TYPE);

fn encode(client: &Client, session: Session) -> Vec<Packet> {
    let mut packets = Vec::new();
    let mut flying: Vec<(u32, Place)> = Vec::new();
    for number in 0..PICTURES {
        let (address, registered) = client.register(session, |_| ());
        client.cuda.up(address, paint(number).as_ptr(), PICTURE_BYTES);
        let place =
            Place { address, registered, mapped: client.map(session, registered), output: client.output(session) };
        let mut picture = client.picture(place.mapped, place.output);
        picture.inputTimeStamp = 1000 + number as u64;
        if number == FORCED {
            picture.encodePicFlags = NV_ENC_PIC_FLAGS::NV_ENC_PIC_FLAG_FORCEIDR as u32;
        }
        let status = call!(client, nvEncEncodePicture, session, &mut picture);
        assert!(matches!(status, 0 | 17), "{status}");
        flying.push((status, place));
        if flying.len() > 15 {
            packets.push(read(client, session, flying.remove(0)));
        }
    }
    assert_eq!(client.end(session), 0);
    packets.extend(flying.into_iter().map(|one| read(client, session, one)));
    packets
}

fn read(client: &Client, session: Session, (status, place): (u32, Place)) -> Packet {
    let (bytes, lock) = client.read(session, place.output);
    assert_eq!(call!(client, nvEncUnmapInputResource, session, place.mapped), 0);
    assert_eq!(call!(client, nvEncUnregisterResource, session, place.registered), 0);
    assert_eq!(call!(client, nvEncDestroyBitstreamBuffer, session, place.output), 0);
    client.cuda.free(place.address);
    (status, bytes, lock.outputTimeStamp, lock.pictureType)
}

fn headers(client: &Client, session: Session) -> Vec<u8> {
    let (mut bytes, mut size) = (vec![0u8; 512], 0);
    let mut payload = blank!(NV_ENC_SEQUENCE_PARAM_PAYLOAD, NV_ENC_SEQUENCE_PARAM_PAYLOAD_VER);
    (payload.inBufferSize, payload.spsppsBuffer) = (4, bytes.as_mut_ptr().cast());
    payload.outSPSPPSPayloadSize = &raw mut size;
    assert_eq!(call!(client, nvEncGetSequenceParams, session, &mut payload), 10, "too little room");
    payload.inBufferSize = 512;
    assert_eq!(call!(client, nvEncGetSequenceParams, session, &mut payload), 0);
    bytes.truncate(size as usize);
    bytes
}

#[test]
#[ignore = "a child of the tests below"]
fn child() {
    let (name, to) = std::env::var_os(SCENARIO)
        .unwrap()
        .into_string()
        .unwrap()
        .split_once(' ')
        .map(|(name, to)| (name.to_owned(), to.to_owned()))
        .unwrap();
    let codec = CODECS.iter().find(|codec| codec.name == name).unwrap();
    let client = Client::new();
    let session = client.open();
    let mut asked = client.asked(session, codec.guid);
    (asked.config.gopLength, asked.config.frameIntervalP) = (20, 4);
    (codec.change)(&mut asked);
    assert_eq!(call!(client, nvEncInitializeEncoder, session, &mut asked.init), 0);
    let headers = headers(&client, session);
    let packets = encode(&client, session);
    for (number, (_, bytes, timestamp, kind)) in packets.iter().enumerate() {
        let anew = *kind == NV_ENC_PIC_TYPE::NV_ENC_PIC_TYPE_IDR;
        assert_eq!(anew, [1000, 1009, 1029].contains(timestamp), "{number}: {timestamp} {kind:?}");
        if anew && name != "obu" {
            assert!(bytes.starts_with(&headers), "parameter sets should come with every IDR");
        }
    }
    let mut times: Vec<u64> = packets.iter().map(|packet| packet.2).collect();
    println!("statuses {:?}", packets.iter().map(|packet| packet.0).collect::<Vec<_>>());
    println!("times {times:?}");
    println!("headers {headers:?}");
    times.sort_unstable();
    assert_eq!(times, (1000..1000 + PICTURES as u64).collect::<Vec<_>>());
    fs::write(to, packets.into_iter().flat_map(|packet| packet.1).collect::<Vec<u8>>()).unwrap();
    client.destroy(session);
    client.leave();
}

/// Encodes with constant delay or in bursts; gives what the client said of statuses and times, and the kinds.
fn coded(name: &str, faults: &str) -> (String, String) {
    let machine = Machine::new();
    let to = machine.path(&format!("coded.{name}"));
    let run = machine.child("coding::child", &format!("{name} {}", to.display()), "l4", faults);
    assert!(run.ok && run.ledger.is_empty(), "{run:?}");
    let (kinds, complaints) = decode(&to);
    assert_eq!(complaints, "");
    (run.text, kinds)
}

#[test]
fn h264_has_a_constant_delay_and_reorders() {
    let (said, kinds) = coded("h264", "");
    assert!(said.contains("statuses [17, 17, 17, 0, 0, 0, 0"), "{said}");
    assert!(said.contains("times [1000, 1004, 1001, 1002, 1003, 1008, 1005, 1006, 1007, 1009, 1013, 1010"), "{said}");
    assert_eq!(kinds, "IbbbpbbbpIbbbpbbbpbbbpbbbpbbpI");
}

#[test]
fn a_burst_needs_input_until_its_last_picture() {
    for (name, times) in [
        ("h264", "times [1000, 1004, 1001, 1002, 1003, 1008, 1005, 1006, 1007, 1009, 1013, 1010, 1011, 1012"),
        ("hevc", "times [1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 1009, 1010, 1011, 1012, 1013"),
    ] {
        let (said, kinds) = coded(name, "encode:burst");
        assert!(said.contains("statuses [0, 17, 17, 17, 0, 17, 17, 17, 0, 0, 17, 17, 17, 0"), "{said}");
        assert!(said.contains(times), "{said}");
        assert_eq!(kinds, "IppppppppIpppppppppppppppppppI");
    }
}

#[test]
fn hevc_reorders_too() {
    let (said, kinds) = coded("hevc", "");
    assert!(said.contains("times [1000, 1004, 100"), "{said}");
    assert_eq!(kinds, "IbbbpbbbpIbbbpbbbpbbbpbbbpbbpI");
}

#[test]
fn av1_starts_anew_where_it_is_asked_to() {
    let (said, kinds) = coded("obu", "");
    assert_eq!(kinds, "IppppppppIpppppppppppppppppppI");
    let headers = |said: &str| said.lines().find(|line| line.starts_with("headers")).map(str::to_owned).unwrap();
    assert_ne!(headers(&said), headers(&coded("obu", "encode:header").0), "another generation's");
}

#[test]
fn what_is_reconfigured_starts_anew_and_loses_nothing() {
    for faults in ["", "encode:burst"] {
        let run = Machine::new().child("coding::reconfigured", "", "l4", faults);
        assert!(run.ok && run.ledger.is_empty(), "{run:?}");
    }
}

#[test]
#[ignore = "a child of the test above"]
fn reconfigured() {
    let client = Client::new();
    let session = client.ready(|asked| asked.config.frameIntervalP = 4);
    let places = [(); 7].map(|()| (client.input(session), client.output(session)));
    places[..3].iter().for_each(|(input, output)| _ = client.submit(session, *input, *output));
    assert_eq!(client.reconfigure(session, 320, 180), 0);
    places[3..].iter().for_each(|(input, output)| _ = client.submit(session, *input, *output));
    assert_eq!(client.end(session), 0);
    let kinds = places.map(|(_, output)| client.read(session, output).1.pictureType);
    let idr = NV_ENC_PIC_TYPE::NV_ENC_PIC_TYPE_IDR;
    assert_eq!(kinds.map(|kind| kind == idr), [true, false, false, true, false, false, false]);
    for (input, output) in places {
        assert_eq!(call!(client, nvEncDestroyInputBuffer, session, input), 0);
        assert_eq!(call!(client, nvEncDestroyBitstreamBuffer, session, output), 0);
    }
    client.destroy(session);
    client.leave();
}

/// The version of a struct as a client of API 13.0 writes it.
fn newest(version: u32) -> u32 {
    let (number, grown) = (version >> 16 & 0xff, version >> 31);
    let number = number + grown;
    grown << 31 | 7 << 28 | number << 16 | 13
}

#[test]
fn api_13_says_ten_bits_in_words_of_its_own() {
    let run = Machine::new().child("coding::of_api_13", "", "l4", "");
    assert!(run.ok && run.ledger.is_empty(), "{run:?}");
}

#[test]
#[ignore = "a child of the test above"]
fn of_api_13() {
    let (client, codec) = (Client::new(), NV_ENC_CODEC_HEVC_GUID);
    let mut open = client.opening();
    (open.apiVersion, open.version) = (13, newest(open.version));
    let mut session = std::ptr::null_mut();
    assert_eq!(call!(client, nvEncOpenEncodeSessionEx, &mut open, &mut session), 0);
    let quality = NV_ENC_TUNING_INFO::NV_ENC_TUNING_INFO_HIGH_QUALITY;
    let mut preset = blank!(NV_ENC_PRESET_CONFIG, NV_ENC_PRESET_CONFIG_VER);
    (preset.version, preset.presetCfg.version) = (newest(preset.version), newest(NV_ENC_CONFIG_VER));
    let got = call!(client, nvEncGetEncodePresetConfigEx, session, codec, NV_ENC_PRESET_P1_GUID, quality, &mut preset);
    assert_eq!(got, 0);
    // SAFETY: the part of the config that belongs to HEVC; the third word that API 12.1 reserves is `outputBitDepth`.
    let depth = unsafe { &mut preset.presetCfg.encodeCodecConfig.hevcConfig.reserved1[2] };
    assert_eq!(std::mem::replace(depth, 10), 8);
    let mut init = blank!(NV_ENC_INITIALIZE_PARAMS, NV_ENC_INITIALIZE_PARAMS_VER);
    init.version = newest(init.version);
    (init.encodeGUID, init.presetGUID, init.tuningInfo) = (codec, NV_ENC_PRESET_P1_GUID, quality);
    (init.encodeWidth, init.encodeHeight, init.enablePTD) = (WIDTH, HEIGHT, 1);
    (init.frameRateNum, init.frameRateDen) = (30, 1);
    init.encodeConfig = &raw mut preset.presetCfg;
    assert_eq!(call!(client, nvEncInitializeEncoder, session, &mut init), 0);

    let mut input = blank!(NV_ENC_CREATE_INPUT_BUFFER, NV_ENC_CREATE_INPUT_BUFFER_VER);
    (input.version, input.width, input.height) = (2 << 16 | 7 << 28 | 13, WIDTH, HEIGHT);
    input.bufferFmt = NV_ENC_BUFFER_FORMAT::NV_ENC_BUFFER_FORMAT_YUV420_10BIT;
    assert_eq!(call!(client, nvEncCreateInputBuffer, session, &mut input), 0);
    let mut output = blank!(NV_ENC_CREATE_BITSTREAM_BUFFER, NV_ENC_CREATE_BITSTREAM_BUFFER_VER);
    output.version = newest(output.version);
    assert_eq!(call!(client, nvEncCreateBitstreamBuffer, session, &mut output), 0);
    let mut picture = client.picture(input.inputBuffer, output.bitstreamBuffer);
    (picture.version, picture.bufferFmt, picture.inputPitch) = (newest(picture.version), input.bufferFmt, 640);
    assert_eq!(call!(client, nvEncEncodePicture, session, &mut picture), 0);
    let mut lock = blank!(NV_ENC_LOCK_BITSTREAM, NV_ENC_LOCK_BITSTREAM_VER);
    (lock.version, lock.outputBitstream) = (newest(lock.version), output.bitstreamBuffer);
    assert_eq!(call!(client, nvEncLockBitstream, session, &mut lock), 0);
    assert!(lock.bitstreamSizeInBytes > 100);
    assert_eq!(call!(client, nvEncUnlockBitstream, session, output.bitstreamBuffer), 0);
    let mut end = blank!(NV_ENC_PIC_PARAMS, NV_ENC_PIC_PARAMS_VER);
    (end.version, end.encodePicFlags) = (newest(end.version), NV_ENC_PIC_FLAGS::NV_ENC_PIC_FLAG_EOS as u32);
    assert_eq!(call!(client, nvEncEncodePicture, session, &mut end), 0);
    assert_eq!(call!(client, nvEncDestroyInputBuffer, session, input.inputBuffer), 0);
    assert_eq!(call!(client, nvEncDestroyBitstreamBuffer, session, output.bitstreamBuffer), 0);
    client.destroy(session);
    client.leave();
}
