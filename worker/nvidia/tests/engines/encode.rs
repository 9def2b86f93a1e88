//! Pictures in, packets out.

use std::path::Path;

use nvidia::encode::{self, Color, EncodeError, EncodeSettings, Encoder, Nvenc, Packet};
use nvidia::{Codec, Device, Format, Pool};

use crate::{decoded, on, psnr};

const WIDTH: u32 = 320;
const HEIGHT: u32 = 180;
/// Ticks from one picture to the next: not 1, and begins below 0, as times of a stream may.
const TICKS: i64 = 1001;
const FIRST: i64 = -2 * TICKS;
/// Every such picture starts anew.
const GROUP: usize = 24;

pub fn settings(codec: Codec) -> EncodeSettings {
    EncodeSettings {
        codec,
        width: WIDTH,
        height: HEIGHT,
        format: Format::Nv12,
        frame_rate: (30_000, 1001),
        crf: 23.0,
        maxrate_bps: 2_000_000,
        buffer_bits: 4_000_000,
        initial_fill_bits: 3_600_000,
        level: match codec {
            Codec::H264 => Some(30),
            Codec::Hevc => Some(90),
            _ => None,
        },
        parameter_set: if codec == Codec::H264 { 3 } else { 0 },
        color: Color { primaries: 1, transfer: 1, matrix: 1, full_range: false },
        preset: 5,
        plain: false,
    }
}

/// Planes of a moving picture, samples as they lie in memory.
fn picture(format: Format, number: usize) -> (Vec<u8>, Vec<u8>) {
    let wave = |place: usize, length: usize| (place % (2 * length)).abs_diff(length) * 200 / length;
    let mut planes = (Vec::new(), Vec::new());
    let put = |plane: &mut Vec<u8>, value: usize| match format {
        Format::Nv12 => plane.push(value as u8 + 20),
        Format::P016 => plane.extend(((value as u16 + 20) << 8 | 0x40).to_le_bytes()),
    };
    for row in 0..HEIGHT as usize {
        for column in 0..WIDTH as usize {
            put(&mut planes.0, (wave(column + 3 * number, 71) + wave(row + number, 43)) / 2);
        }
    }
    for row in 0..HEIGHT as usize / 2 {
        for column in 0..WIDTH as usize {
            put(&mut planes.1, if column % 2 == 0 { wave(row + number, 90) } else { wave(column + 2 * number, 150) });
        }
    }
    planes
}

fn device() -> (Device, Nvenc) {
    (Device::open(0).unwrap(), Nvenc::load(None).unwrap())
}

/// All packets of `count` pictures, and the parameter sets. Surfaces go back to a pool that gives them out again.
fn encode(settings: &EncodeSettings, count: usize) -> Result<(Vec<u8>, Vec<Packet>), EncodeError> {
    let (device, nvenc) = device();
    let mut encoder = Encoder::open(&device, &nvenc, settings)?;
    let mut pool = Pool::new(&device, settings.format, settings.width, settings.height);
    let mut packets = Vec::new();
    let stride = WIDTH as usize * settings.format.sample_bytes();
    for number in 0..count {
        let surface = pool.take()?;
        let (luma, chroma) = picture(settings.format, number);
        surface.upload((&luma, stride), (&chroma, stride))?;
        packets.extend(encoder.push(surface, FIRST + number as i64 * TICKS, number % GROUP == 0)?);
    }
    packets.extend(encoder.finish()?);
    Ok((encoder.headers().to_vec(), packets))
}

/// Count, order and IDRs of what was encoded.
fn check_order(packets: &[Packet], count: usize) {
    let mut times: Vec<i64> = packets.iter().map(|packet| packet.pts).collect();
    let number = |packet: &Packet| ((packet.pts - FIRST) / TICKS) as usize;
    let idrs: Vec<usize> = packets.iter().filter(|packet| packet.idr).map(number).collect();
    assert_eq!(idrs, (0..count).step_by(GROUP).collect::<Vec<_>>());
    let mut group = i64::MIN;
    for (place, packet) in packets.iter().enumerate() {
        if packet.idr {
            group = packet.pts;
            assert!(
                packets[..place].iter().all(|before| before.pts < group),
                "all before an IDR should be shown before"
            );
        }
        assert!(packet.pts >= group, "a group should be closed");
    }
    times.sort_unstable();
    assert_eq!(times, (0..count as i64).map(|number| FIRST + number * TICKS).collect::<Vec<_>>());
}

/// Lowest PSNR of a picture's luma, in dB, after FFmpeg decoded them all.
fn worst_psnr(folder: &Path, settings: &EncodeSettings, packets: &[Packet], count: usize) -> f64 {
    let pixels = if settings.format == Format::Nv12 { "nv12" } else { "p010le" };
    let raw = decoded(folder, settings.codec, packets, pixels);
    let bytes = settings.format.sample_bytes();
    let size = WIDTH as usize * HEIGHT as usize * 3 / 2 * bytes;
    assert_eq!(raw.len(), size * count, "as many pictures as were pushed");
    let of_picture = |(number, decoded): (usize, &[u8])| {
        let (luma, _) = picture(settings.format, number);
        // The upper byte of a sample says enough.
        psnr(luma.iter().zip(decoded).skip(bytes - 1).step_by(bytes))
    };
    raw.chunks(size).enumerate().map(of_picture).fold(f64::MAX, f64::min)
}

fn encodes_well(folder: &Path, settings: &EncodeSettings) -> (Vec<u8>, Vec<Packet>) {
    let count = 60;
    let (headers, packets) = encode(settings, count).unwrap();
    check_order(&packets, count);
    assert!(!headers.is_empty());
    assert!(packets[0].data.windows(headers.len()).any(|window| window == headers), "the first packet has the headers");
    let psnr = worst_psnr(folder, settings, &packets, count);
    assert!(psnr >= 32.0, "{psnr} dB");
    (headers, packets)
}

#[test]
fn h264_comes_out_in_coding_order_with_idrs_where_asked_for() {
    on("l4", "lazy_streams", "encode::h264_comes_out_in_coding_order_with_idrs_where_asked_for", |folder| {
        let (headers, packets) = encodes_well(folder, &settings(Codec::H264));
        // ITU-T H.264 7.3.2.1.1: profile_idc, constraint flags, level_idc, then the id as an Exp-Golomb code.
        let sps = headers.windows(4).position(|window| window == [0, 0, 1, 0x67]).unwrap() + 4;
        assert_eq!((headers[sps], headers[sps + 2]), (100, 30), "High profile at level 3");
        assert_eq!(headers[sps + 3] >> 3, 0b00100, "sequence parameter set 3");
        assert!(packets.windows(2).any(|pair| pair[1].pts < pair[0].pts), "B-frames should be used");
    });
}

#[test]
fn groups_that_come_at_once_are_as_good() {
    on("t4", "encode:burst", "encode::groups_that_come_at_once_are_as_good", |folder| {
        encodes_well(folder, &settings(Codec::H264));
    });
}

#[test]
fn hevc_has_8_and_10_bits() {
    on("rtx3060", "", "encode::hevc_has_8_and_10_bits", |folder| {
        encodes_well(folder, &settings(Codec::Hevc));
        encodes_well(folder, &EncodeSettings { format: Format::P016, ..settings(Codec::Hevc) });
    });
}

#[test]
fn av1_has_8_and_10_bits() {
    on("l4", "", "encode::av1_has_8_and_10_bits", |folder| {
        encodes_well(folder, &settings(Codec::Av1));
        encodes_well(folder, &EncodeSettings { format: Format::P016, ..settings(Codec::Av1) });
    });
}

#[test]
fn plain_settings_reorder_nothing() {
    on("t4", "", "encode::plain_settings_reorder_nothing", |folder| {
        let (_, packets) = encodes_well(folder, &EncodeSettings { plain: true, ..settings(Codec::H264) });
        assert!(packets.windows(2).all(|pair| pair[0].pts < pair[1].pts));
    });
}

#[test]
fn the_same_settings_have_the_same_headers() {
    on("l4", "", "encode::the_same_settings_have_the_same_headers", |_| {
        let first = encode(&settings(Codec::H264), 3).unwrap();
        let second = encode(&EncodeSettings { crf: 30.0, maxrate_bps: 900_000, ..settings(Codec::H264) }, 50).unwrap();
        assert_eq!(first.0, second.0);
    });
}

#[test]
fn a_card_says_what_it_can() {
    on("l4", "", "encode::a_card_says_what_it_can", |_| {
        let (device, nvenc) = device();
        let codecs = encode::capabilities(&device, &nvenc).unwrap();
        assert_eq!(codecs.iter().map(|one| one.codec).collect::<Vec<_>>(), [Codec::H264, Codec::Hevc, Codec::Av1]);
        assert!(codecs.iter().all(|one| one.engines == 2 && one.lookahead && one.middle_reference));
        assert_eq!(codecs.iter().map(|one| one.ten_bit).collect::<Vec<_>>(), [false, true, true]);
        assert!(codecs[0].fits(144, 256).is_err() && codecs[0].fits(256, 144).is_ok());
    });
}

#[test]
fn sessions_are_counted_by_opening_them() {
    on("rtx3060", "", "encode::sessions_are_counted_by_opening_them", |_| {
        let (device, nvenc) = device();
        assert_eq!(encode::sessions(&device, &nvenc, 16), Ok(8));
        assert_eq!(encode::sessions(&device, &nvenc, 3), Ok(3));
        let open: Vec<_> = (0..8).map(|_| Encoder::open(&device, &nvenc, &settings(Codec::H264)).unwrap()).collect();
        let busy = Encoder::open(&device, &nvenc, &settings(Codec::H264)).unwrap_err();
        assert!(matches!(busy, EncodeError::Busy(_)), "{busy}");
        drop(open);
        assert!(Encoder::open(&device, &nvenc, &settings(Codec::H264)).is_ok());
    });
}

#[test]
fn a_full_card_may_call_that_an_incompatible_key() {
    on("rtx3060", "sessions=2:21", "encode::a_full_card_may_call_that_an_incompatible_key", |_| {
        let (device, nvenc) = device();
        assert_eq!(encode::sessions(&device, &nvenc, 16), Ok(2));
    });
}

#[test]
fn a_picture_stays_as_it_is_until_its_own_packet_came() {
    on("l4", "encode:late,encode:burst", "encode::a_picture_stays_as_it_is_until_its_own_packet_came", |folder| {
        encodes_well(folder, &settings(Codec::H264));
    });
}

#[test]
fn a_card_without_an_encoder_says_so() {
    on("h200", "", "encode::a_card_without_an_encoder_says_so", |_| {
        let (device, nvenc) = device();
        let error = encode::capabilities(&device, &nvenc).unwrap_err();
        assert!(matches!(error, EncodeError::Unsupported(_)) && error.to_string().contains("status 2"), "{error}");
    });
}

#[test]
fn what_a_card_can_not_is_refused_by_name() {
    on("t4", "", "encode::what_a_card_can_not_is_refused_by_name", |_| {
        let refused = |settings: EncodeSettings| encode(&settings, 1).unwrap_err();
        let small = refused(EncodeSettings { width: 144, height: 256, ..settings(Codec::H264) });
        assert!(matches!(&small, EncodeError::Unsupported(text) if text.contains("145x49")), "{small}");
        let av1 = refused(settings(Codec::Av1));
        assert!(matches!(&av1, EncodeError::Unsupported(text) if text.contains("AV1")), "{av1}");
        let deep = refused(EncodeSettings { format: Format::P016, ..settings(Codec::H264) });
        assert!(matches!(&deep, EncodeError::Unsupported(text) if text.contains("8 bits")), "{deep}");
        assert!(matches!(refused(settings(Codec::Vp9)), EncodeError::Unsupported(_)));
    });
}

#[test]
fn wrong_pictures_are_our_own_mistake() {
    on("t4", "", "encode::wrong_pictures_are_our_own_mistake", |_| {
        let (device, nvenc) = device();
        let mut encoder = Encoder::open(&device, &nvenc, &settings(Codec::H264)).unwrap();
        let mut wrong = |device: &Device, format, width| {
            let surface = Pool::new(device, format, width, HEIGHT).take().unwrap();
            let error = encoder.push(surface, 0, true).unwrap_err();
            assert!(matches!(error, EncodeError::Config(_)), "{error}");
        };
        wrong(&device, Format::Nv12, WIDTH + 2);
        wrong(&device, Format::P016, WIDTH);
        wrong(&Device::open(0).unwrap(), Format::Nv12, WIDTH);
        assert_eq!(encoder.finish(), Ok(Vec::new()));
    });
}

#[test]
fn a_picture_may_be_pushed_twice_and_an_encoder_dropped_on_its_way() {
    on("t4", "", "encode::a_picture_may_be_pushed_twice_and_an_encoder_dropped_on_its_way", |_| {
        let (device, nvenc) = device();
        let mut pool = Pool::new(&device, Format::Nv12, WIDTH, HEIGHT);
        let surface = pool.take().unwrap();
        let (luma, chroma) = picture(Format::Nv12, 0);
        surface.upload((&luma, WIDTH as usize), (&chroma, WIDTH as usize)).unwrap();
        for count in [1, 5, 40] {
            let mut encoder = Encoder::open(&device, &nvenc, &settings(Codec::H264)).unwrap();
            for number in 0..count {
                encoder.push(surface.clone(), number, false).unwrap();
            }
        }
    });
}

#[test]
fn encoders_go_to_other_threads_and_work_at_once() {
    on("l4", "", "encode::encoders_go_to_other_threads_and_work_at_once", |_| {
        let (device, nvenc) = device();
        let encoders = [Codec::H264, Codec::Hevc, Codec::Av1].map(|codec| {
            let encoder = Encoder::open(&device, &nvenc, &settings(codec)).unwrap();
            (encoder, Pool::new(&device, Format::Nv12, WIDTH, HEIGHT))
        });
        std::thread::scope(|scope| {
            for (mut encoder, mut pool) in encoders {
                scope.spawn(move || {
                    let (luma, chroma) = picture(Format::Nv12, 0);
                    let mut packets = Vec::new();
                    for number in 0..30 {
                        let surface = pool.take().unwrap();
                        surface.upload((&luma, WIDTH as usize), (&chroma, WIDTH as usize)).unwrap();
                        packets.extend(encoder.push(surface, FIRST + number * TICKS, number == 0).unwrap());
                    }
                    packets.extend(encoder.finish().unwrap());
                    assert_eq!(packets.len(), 30);
                });
            }
        });
    });
}

/// Encodes on a card with this fault and tells how that ends.
fn ends(fault: &str, test: &str, expected: fn(&EncodeError) -> bool) {
    on("t4", fault, test, |_| {
        let error = encode(&settings(Codec::H264), 60).expect_err("the fault should show");
        assert!(expected(&error), "{error:?}");
    });
}

/// One test for each fault: each is a child of its own.
macro_rules! faults {
    ($($test:ident: $fault:literal => $kind:ident;)+) => {
        $(
            #[test]
            fn $test() {
                let test = concat!("encode::", stringify!($test));
                ends($fault, test, |error| matches!(error, EncodeError::$kind(_)));
            }
        )+
    };
}

faults! {
    a_full_card_is_busy: "sessions=0" => Busy;
    no_buffer_is_busy: "NvEncCreateBitstreamBuffer@2=10" => Busy;
    a_device_that_can_not_is_unsupported: "NvEncOpenEncodeSessionEx@1=2" => Unsupported;
    a_refused_configuration_is_ours: "NvEncInitializeEncoder@1=8" => Config;
    a_struct_of_another_version_is_ours: "NvEncEncodePicture@20=15" => Config;
    a_picture_that_is_not_taken_is_a_fault: "NvEncEncodePicture@20=20" => Fault;
    a_card_that_ceases_is_a_fault: "NvEncEncodePicture@20+=4" => Fault;
    a_packet_that_does_not_come_is_a_fault: "NvEncLockBitstream@5=20" => Fault;
    a_picture_that_is_not_mapped_is_a_fault: "NvEncMapInputResource@7=16" => Fault;
    memory_that_is_not_registered_is_a_fault: "NvEncRegisterResource@3=23" => Fault;
    an_end_that_fails_is_a_fault: "NvEncEncodePicture@61=20" => Fault;
    a_card_that_failed_a_lock_is_never_waited_for_again: "NvEncLockBitstream@5=20,NvEncLockBitstream@6:hang" => Fault;
    a_card_that_failed_a_picture_gets_no_other: "NvEncEncodePicture@20=20,NvEncEncodePicture@21:hang" => Fault;
    a_busy_encoder_is_busy: "NvEncEncodePicture@20=18" => Busy;
    a_lost_device_is_a_fault: "device_lost@90" => Fault;
}

#[test]
fn a_packet_that_takes_its_time_is_waited_for() {
    on("t4", "NvEncLockBitstream@5:hang=300", "encode::a_packet_that_takes_its_time_is_waited_for", |_| {
        check_order(&encode(&settings(Codec::H264), 60).unwrap().1, 60);
    });
}
