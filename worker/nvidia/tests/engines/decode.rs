//! Packets in, pictures out: the same, byte for byte, as FFmpeg's own decoders put out.

use std::path::Path;
use std::process::Command;

use nvidia::decode::{self, Cuvid, DecodeError, Decoder, Picture};
use nvidia::{Codec, Device, Format, Surface};

use crate::{ffmpeg, on};

/// Pictures of each clip.
pub const COUNT: usize = 32;

/// A coded clip: its packets in coding order, each with its time, and its pictures in showing order as FFmpeg decodes them.
pub struct Clip {
    pub codec: Codec,
    pub packets: Vec<(Vec<u8>, i64)>,
    pub pictures: Vec<Vec<u8>>,
}

/// How a clip is made.
pub struct Recipe {
    pub codec: Codec,
    pub size: (u32, u32),
    pub ten_bit: bool,
    /// For FFmpeg, from the encoder on.
    pub encoder: &'static str,
}

pub const H264: Recipe = Recipe {
    codec: Codec::H264,
    size: (222, 174),
    ten_bit: false,
    encoder: "libx264 -preset veryfast -g 20 -bf 3 -x264-params b-pyramid=normal:ref=3",
};
const HEVC: Recipe = Recipe {
    codec: Codec::Hevc,
    size: (222, 174),
    ten_bit: false,
    encoder: "libx265 -preset ultrafast -g 20 -bf 3 -x265-params log-level=none:b-adapt=0",
};
const VP9: Recipe = Recipe {
    codec: Codec::Vp9,
    size: (223, 173),
    ten_bit: false,
    encoder: "libvpx-vp9 -deadline realtime -cpu-used 8 -g 20 -auto-alt-ref 1 -lag-in-frames 10 -b:v 400k",
};
const AV1: Recipe = Recipe {
    codec: Codec::Av1,
    size: (222, 174),
    ten_bit: false,
    encoder: "libsvtav1 -preset 12 -g 20 -svtav1-params lp=1",
};

impl Clip {
    pub fn make(folder: &Path, recipe: &Recipe) -> Self {
        let Recipe { codec, size: (width, height), ten_bit, encoder } = recipe;
        let path = folder.join(format!("clip-{width}x{height}.mkv"));
        let path = path.to_str().unwrap();
        let source = format!("testsrc=size={width}x{height}:rate=25,noise=alls=20:allf=t,setpts=PTS+1");
        let pixels = if *ten_bit { "yuv420p10le" } else { "yuv420p" };
        let count = COUNT.to_string();
        let mut arguments = vec!["-f", "lavfi", "-i", &source, "-frames:v", &count, "-pix_fmt", pixels, "-c:v"];
        arguments.extend(encoder.split(' '));
        arguments.push(path);
        ffmpeg(&arguments);
        let raw = ffmpeg(&["-i", path, "-vsync", "passthrough", "-f", "rawvideo", "-pix_fmt", pixels, "-"]);
        let luma = (width * height) as usize;
        let size = luma + 2 * (width.div_ceil(2) * height.div_ceil(2)) as usize;
        let bytes = if *ten_bit { 2 } else { 1 };
        assert_eq!(raw.len(), COUNT * size * bytes);
        let pictures = raw.chunks_exact(size * bytes).map(|planes| semiplanar(planes, luma, *ten_bit)).collect();
        let data = match codec {
            Codec::H264 => units(path, "h264", 9, |header| header & 0x1f),
            Codec::Hevc => units(path, "hevc", 35, |header| header >> 1 & 0x3f),
            Codec::Vp9 | Codec::Av1 => frames(path),
        };
        let times = times(path);
        assert_eq!(data.len(), times.len());
        Self { codec: *codec, packets: data.into_iter().zip(times).collect(), pictures }
    }
}

/// Planes of Y, U and V as NV12 or P016 has them. (FFmpeg's own conversion leaves the last columns of odd widths out.)
fn semiplanar(planes: &[u8], luma: usize, ten_bit: bool) -> Vec<u8> {
    let bytes = if ten_bit { 2 } else { 1 };
    let (luma, chroma) = planes.split_at(luma * bytes);
    let (u, v) = chroma.split_at(chroma.len() / 2);
    let pairs = u.chunks(bytes).zip(v.chunks(bytes)).flat_map(|(u, v)| [u, v].concat());
    let samples: Vec<u8> = luma.iter().copied().chain(pairs).collect();
    if !ten_bit {
        return samples;
    }
    samples.chunks(2).flat_map(|sample| (u16::from_le_bytes([sample[0], sample[1]]) << 6).to_le_bytes()).collect()
}

/// Times of the packets, in coding order.
fn times(path: &str) -> Vec<i64> {
    let arguments = ["-v", "error", "-show_entries", "packet=pts", "-of", "csv=p=0", path];
    let listed = Command::new("ffprobe").args(arguments).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    listed.split_whitespace().map(|line| line.trim_matches(',').parse().unwrap()).collect()
}

/// Access units in Annex B, by the delimiters that FFmpeg puts before each.
fn units(path: &str, codec: &str, delimiter: u8, kind: fn(u8) -> u8) -> Vec<Vec<u8>> {
    let filter = format!("{codec}_mp4toannexb,{codec}_metadata=aud=insert");
    let stream = ffmpeg(&["-i", path, "-c", "copy", "-bsf:v", &filter, "-f", codec, "-"]);
    let starts: Vec<usize> = (0..stream.len() - 3)
        .filter(|&place| stream[place..].starts_with(&[0, 0, 1]) && kind(stream[place + 3]) == delimiter)
        .collect();
    let ends = starts.iter().skip(1).copied().chain([stream.len()]);
    starts.iter().zip(ends).map(|(start, end)| stream[*start..end].to_vec()).collect()
}

/// Frames or temporal units, out of FFmpeg's IVF: a header of 32 bytes, then each with its length and time before it.
fn frames(path: &str) -> Vec<Vec<u8>> {
    let stream = ffmpeg(&["-i", path, "-c", "copy", "-f", "ivf", "-"]);
    let mut rest = &stream[32..];
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let length = u32::from_le_bytes(rest[..4].try_into().unwrap()) as usize;
        frames.push(rest[12..12 + length].to_vec());
        rest = &rest[12 + length..];
    }
    frames
}

fn device() -> (Device, Cuvid) {
    (Device::open(0).unwrap(), Cuvid::load(None).unwrap())
}

/// What comes out, all kept to the end, and how many pictures came out damaged.
fn decode(packets: &[(Vec<u8>, i64)], codec: Codec) -> Result<(Vec<Picture>, u64), DecodeError> {
    let (device, cuvid) = device();
    let mut decoder = Decoder::open(&device, &cuvid, codec)?;
    let mut pictures = Vec::new();
    for (data, pts) in packets {
        decoder.push(Some(data), *pts)?;
        pictures.extend(std::iter::from_fn(|| decoder.next_picture()));
    }
    decoder.push(None, 0)?;
    pictures.extend(std::iter::from_fn(|| decoder.next_picture()));
    Ok((pictures, decoder.errors()))
}

/// Both planes, without what fills their rows up.
fn bytes(surface: &Surface) -> Vec<u8> {
    let layout = surface.layout();
    let (luma, chroma) = (layout.luma_rows(), layout.chroma_rows());
    let mut planes = (vec![0; luma.bytes * luma.count], vec![0; chroma.bytes * chroma.count]);
    surface.download((&mut planes.0, luma.bytes), (&mut planes.1, chroma.bytes)).unwrap();
    [planes.0, planes.1].concat()
}

/// Everything at once: count, times, samples, and that nothing is said to be damaged.
fn decodes_exactly(folder: &Path, recipe: &Recipe) {
    let clip = Clip::make(folder, recipe);
    let (pictures, errors) = decode(&clip.packets, clip.codec).unwrap();
    let mut times: Vec<i64> = clip.packets.iter().map(|(_, pts)| *pts).collect();
    times.sort_unstable();
    assert_eq!(pictures.iter().map(|picture| picture.pts).collect::<Vec<_>>(), times);
    let format = if recipe.ten_bit { Format::P016 } else { Format::Nv12 };
    for (number, (picture, wanted)) in pictures.iter().zip(&clip.pictures).enumerate() {
        let layout = picture.surface.layout();
        assert_eq!((layout.format, (layout.width, layout.height)), (format, recipe.size));
        assert!(bytes(&picture.surface) == *wanted, "picture {number} differs");
        assert!(picture.progressive);
    }
    assert_eq!(errors, 0);
}

#[test]
fn h264_is_cropped_and_in_showing_order() {
    on("h200", "", "decode::h264_is_cropped_and_in_showing_order", |folder| decodes_exactly(folder, &H264));
}

#[test]
fn streams_that_work_only_when_waited_for_change_nothing() {
    let test = "decode::streams_that_work_only_when_waited_for_change_nothing";
    on("l4", "lazy_streams", test, |folder| decodes_exactly(folder, &H264));
}

#[test]
fn a_surface_is_given_back_before_it_is_decoded_into_again() {
    let test = "decode::a_surface_is_given_back_before_it_is_decoded_into_again";
    on("l4", "decode:reuse,lazy_streams", test, |folder| decodes_exactly(folder, &H264));
}

#[test]
fn hevc_has_8_and_10_bits() {
    on("l4", "", "decode::hevc_has_8_and_10_bits", |folder| {
        decodes_exactly(folder, &HEVC);
        decodes_exactly(folder, &Recipe { ten_bit: true, ..HEVC });
    });
}

#[test]
fn vp9_of_an_odd_size_has_8_and_10_bits() {
    on("t4", "", "decode::vp9_of_an_odd_size_has_8_and_10_bits", |folder| {
        decodes_exactly(folder, &VP9);
        decodes_exactly(folder, &Recipe { ten_bit: true, ..VP9 });
    });
}

#[test]
fn av1_has_8_and_10_bits() {
    on("rtx3060", "", "decode::av1_has_8_and_10_bits", |folder| {
        decodes_exactly(folder, &AV1);
        decodes_exactly(folder, &Recipe { ten_bit: true, ..AV1 });
    });
}

#[test]
fn a_size_may_change_on_the_way() {
    on("l4", "", "decode::a_size_may_change_on_the_way", |folder| {
        let clips = [H264, Recipe { size: (320, 180), ..H264 }, H264].map(|recipe| Clip::make(folder, &recipe));
        let packets: Vec<_> = clips.iter().flat_map(|clip| clip.packets.clone()).collect();
        let (pictures, errors) = decode(&packets, Codec::H264).unwrap();
        let wanted = clips.iter().flat_map(|clip| &clip.pictures);
        assert_eq!((pictures.len(), errors), (3 * COUNT, 0));
        assert!(pictures.iter().zip(wanted).all(|(picture, wanted)| bytes(&picture.surface) == *wanted));
    });
}

#[test]
fn a_size_may_change_with_a_key_frame_where_references_have_sizes() {
    on("l4", "", "decode::a_size_may_change_with_a_key_frame_where_references_have_sizes", |folder| {
        for recipe in [VP9, AV1] {
            let larger = Recipe { size: (320, 180), ..recipe };
            let clips = [Clip::make(folder, &recipe), Clip::make(folder, &larger)];
            let packets: Vec<_> = clips.iter().flat_map(|clip| clip.packets.clone()).collect();
            let (pictures, _) = decode(&packets, recipe.codec).unwrap();
            assert_eq!(pictures.len(), 2 * COUNT);
        }
    });
}

#[test]
fn a_decoder_may_be_dropped_on_its_way_and_pictures_outlive_it() {
    on("l4", "", "decode::a_decoder_may_be_dropped_on_its_way_and_pictures_outlive_it", |folder| {
        let clip = Clip::make(folder, &H264);
        let (device, cuvid) = device();
        drop(Decoder::open(&device, &cuvid, Codec::H264).unwrap());
        for pushed in [1, 3, 30] {
            let mut decoder = Decoder::open(&device, &cuvid, Codec::H264).unwrap();
            for (data, pts) in &clip.packets[..pushed] {
                decoder.push(Some(data), *pts).unwrap();
            }
            let kept = decoder.next_picture();
            drop(decoder);
            if let Some(picture) = kept {
                assert!(bytes(&picture.surface) == clip.pictures[0]);
            }
        }
    });
}

#[test]
fn noise_is_no_picture_and_no_crash() {
    on("l4", "", "decode::noise_is_no_picture_and_no_crash", |_| {
        let mut state = 1u32;
        let mut byte = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let packets: Vec<_> = (0..20).map(|pts| ((0..999).map(|_| byte()).collect(), pts)).collect();
        for codec in Codec::ALL {
            match decode(&packets, codec) {
                Ok((pictures, _)) => assert!(pictures.is_empty(), "{codec}"),
                Err(error) => assert!(matches!(error, DecodeError::Stream(_)), "{codec}: {error:?}"),
            }
        }
    });
}

#[test]
fn damage_in_a_stream_is_never_the_cards_fault() {
    on("l4", "", "decode::damage_in_a_stream_is_never_the_cards_fault", |folder| {
        for recipe in [H264, HEVC, VP9, AV1] {
            let mut clip = Clip::make(folder, &recipe);
            for (data, _) in clip.packets.iter_mut().skip(3).step_by(4) {
                let middle = data.len() / 2;
                data[middle..].iter_mut().step_by(7).for_each(|byte| *byte ^= 0x55);
            }
            match decode(&clip.packets, clip.codec) {
                // Of the stand-in's decoders only that of H.264 notices.
                Ok((_, errors)) => assert!(errors > 0 || clip.codec != Codec::H264),
                Err(error) => assert!(matches!(error, DecodeError::Stream(_)), "{}: {error:?}", clip.codec),
            }
        }
    });
}

#[test]
fn fields_stay_woven_and_are_told() {
    on("l4", "", "decode::fields_stay_woven_and_are_told", |folder| {
        let encoder = "libx264 -preset veryfast -g 20 -bf 2 -flags +ildct+ilme";
        let clip = Clip::make(folder, &Recipe { encoder, size: (224, 160), ..H264 });
        let (pictures, errors) = decode(&clip.packets, Codec::H264).unwrap();
        assert_eq!((pictures.len(), errors), (COUNT, 0));
        for (picture, wanted) in pictures.iter().zip(&clip.pictures) {
            assert!(!picture.progressive && bytes(&picture.surface) == *wanted);
        }
    });
}

#[test]
fn a_card_says_what_it_decodes() {
    on("h200", "", "decode::a_card_says_what_it_decodes", |_| {
        let (device, cuvid) = device();
        let all = decode::capabilities(&device, &cuvid).unwrap();
        let has = |codec, depth| all.iter().any(|one| (one.codec, one.depth) == (codec, depth));
        assert!(has(Codec::H264, 8) && has(Codec::Hevc, 10) && has(Codec::Vp9, 8));
        assert!(!has(Codec::H264, 10) && !has(Codec::Av1, 8));
        assert!(all.iter().all(|one| one.engines == 7));
    });
}

#[test]
fn what_a_card_can_not_is_refused_by_name() {
    on("t4", "", "decode::what_a_card_can_not_is_refused_by_name", |folder| {
        let av1 = Clip::make(folder, &AV1);
        let error = decode(&av1.packets, Codec::Av1).unwrap_err();
        assert!(matches!(&error, DecodeError::Unsupported(text) if text.contains("AV1 of 8 bits")), "{error}");
        let deep = Clip::make(folder, &Recipe { ten_bit: true, ..H264 });
        let error = decode(&deep.packets, Codec::H264).unwrap_err();
        assert!(matches!(&error, DecodeError::Unsupported(text) if text.contains("H.264 of 10 bits")), "{error}");
        let small = Clip::make(folder, &Recipe { size: (64, 64), ..HEVC });
        let error = decode(&small.packets, Codec::Hevc).unwrap_err();
        assert!(matches!(&error, DecodeError::Unsupported(text) if text.contains("144x144")), "{error}");
    });
}

#[test]
fn damaged_pictures_are_counted() {
    on("l4", "decode:corrupt", "decode::damaged_pictures_are_counted", |folder| {
        let clip = Clip::make(folder, &H264);
        let (pictures, errors) = decode(&clip.packets, Codec::H264).unwrap();
        assert_eq!((pictures.len(), errors), (COUNT, COUNT as u64 / 8));
    });
}

/// One test for each fault: each is a child of its own.
macro_rules! faults {
    ($($test:ident: $fault:literal => $kind:ident;)+) => {
        $(
            #[test]
            fn $test() {
                on("l4", $fault, concat!("decode::", stringify!($test)), |folder| {
                    let clip = Clip::make(folder, &H264);
                    let error = decode(&clip.packets, Codec::H264).map(|_| ()).expect_err("the fault should show");
                    assert!(matches!(error, DecodeError::$kind(_)), "{error:?}");
                });
            }
        )+
    };
}

faults! {
    no_memory_for_a_decoder_is_busy: "cuvidCreateDecoder@1=2" => Busy;
    a_decoder_that_can_not_is_unsupported: "cuvidCreateDecoder@1=801" => Unsupported;
    a_decoder_that_is_made_wrongly_is_ours: "cuvidCreateDecoder@1=1" => Config;
    a_parser_that_is_not_made_is_a_fault: "cuvidCreateVideoParser@1=999" => Fault;
    a_stream_that_is_not_parsed_is_the_streams: "cuvidParseVideoData@9=1" => Stream;
    a_picture_that_is_refused_is_the_streams: "cuvidDecodePicture@7=200" => Stream;
    a_picture_that_never_came_to_be_is_the_streams: "cuvidMapVideoFrame64@5=1" => Stream;
    a_picture_that_is_not_decoded_is_a_fault: "cuvidDecodePicture@7=719" => Fault;
    a_picture_that_is_not_mapped_is_a_fault: "cuvidMapVideoFrame64@5=999" => Fault;
    a_picture_that_is_not_unmapped_is_a_fault: "cuvidUnmapVideoFrame64@2=999" => Fault;
    a_lost_device_is_a_fault: "device_lost@60" => Fault;
}
