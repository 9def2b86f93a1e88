//! A second of moving stripes through scaler, encoder and decoder.

use std::collections::BTreeMap;

use ffmpeg_next::{format, frame};
use shared::error::TaskError;
use shared::rendition::{RateControl, VideoCodec, VideoRendition};
use shared::source::{Color, DecoderSetup, Timing, VideoStream};
use shared::task::{Transform, VideoTask};
use shared::time::{FrameRate, SegmentGrid, Timescale};

use super::clip::{self, Coded};
use crate::codec::backend::Backend;
use crate::codec::encoder::EncoderPlan;
use crate::codec::setup::Setup;
use crate::codec::{Packet, Picture};

const FRAMES: i64 = 24;
/// Pictures from one IDR to the next.
const GOP: i64 = 12;
const TICKS: u32 = 24;
const SOURCE_PX: (u32, u32) = (320, 192);
/// What is made of it in software,
pub const TARGET_PX: (u32, u32) = (160, 96);
/// and on GPUs, which make nothing smaller than 192x128 (AV1) or 145x49 (H.264).
pub const GPU_TARGET_PX: (u32, u32) = (256, 144);
const LARGE_PX: (u32, u32) = (1920, 1080);
const LARGE_FRAMES: i64 = 48;
/// Below this the pictures are not those that went in; at these settings encoders reach 37 and more.
const LEAST_PSNR_DB: f64 = 32.0;

/// Scales, encodes with the settings of production, decodes, and compares number, order, IDRs and pictures.
pub fn round_trip(codec: VideoCodec, target_px: (u32, u32), backend: &Backend) -> Result<(), TaskError> {
    let task = task(codec, target_px)?;
    let (made, wanted) = encode(&task, backend)?;
    let Made { packets, setup } = made;
    let mut times: Vec<i64> = packets.iter().map(|packet| packet.pts).collect();
    let idrs: Vec<i64> = packets.iter().filter(|packet| packet.idr).map(|packet| packet.pts).collect();
    times.sort_unstable();
    same("times of encoded pictures", &times, &(0..FRAMES).collect::<Vec<_>>())?;
    same("times of IDRs", &idrs, &(0..FRAMES).step_by(GOP as usize).collect::<Vec<_>>())?;

    let found = decode(&task, Made { packets, setup }, backend)?;
    let psnr_db = clip::likeness_db(255.0, &wanted.concat(), &found.concat());
    if psnr_db < LEAST_PSNR_DB {
        let text = format!("pictures come back with {psnr_db:.1} dB, at least {LEAST_PSNR_DB} are expected");
        return Err(TaskError::unsupported("trial", text));
    }
    Ok(())
}

/// Decodes what a software encoder has made, and compares every sample with what libavcodec gives: decoding has one result.
pub fn decodes_alike(codec: VideoCodec, backend: &Backend) -> Result<(), TaskError> {
    let task = task(codec, SOURCE_PX)?;
    let (made, _) = encode(&task, &Backend::default())?;
    let wanted = decode(&task, made.clone(), &Backend::default())?;
    let found = decode(&task, made, backend)?;
    match found.iter().zip(&wanted).position(|(found, wanted)| found != wanted) {
        None => Ok(()),
        Some(number) => {
            Err(TaskError::unsupported("trial", format!("picture {number} is not what libavcodec makes of it")))
        }
    }
}

/// Encodes pictures of 1920x1080 as fast as it can; returns how many.
pub fn encode_large(backend: &Backend) -> Result<u32, TaskError> {
    let task = task(VideoCodec::H264, LARGE_PX)?;
    let mut encoder = backend.encoder(&EncoderPlan::new(&task, 0))?;
    let mut packets = 0;
    for number in 0..LARGE_FRAMES {
        packets += encoder.push(Picture::Host(stripes(number, LARGE_PX)), number == 0)?.len();
    }
    packets += encoder.finish()?.len();
    as_asked(backend)?;
    Ok(u32::try_from(packets).unwrap_or(u32::MAX))
}

/// What an encoder has made, and what a decoder needs for it.
#[derive(Clone)]
struct Made {
    packets: Vec<Packet>,
    setup: Setup,
}

/// Scales and encodes the stripes; returns the scaled pictures' luma too.
fn encode(task: &VideoTask, backend: &Backend) -> Result<(Made, Vec<Vec<f64>>), TaskError> {
    let mut scaler = backend.scaler(task)?;
    let mut encoder = backend.encoder(&EncoderPlan::new(task, 0))?;
    let (mut wanted, mut packets) = (Vec::new(), Vec::new());
    for number in 0..FRAMES {
        for mut pictures in scaler.push(Picture::Host(stripes(number, SOURCE_PX)))? {
            let picture = pictures.remove(0);
            wanted.push(picture.look(|picture| Ok(luma(picture)))?);
            packets.extend(encoder.push(picture, number % GOP == 0)?);
        }
    }
    packets.extend(encoder.finish()?);
    as_asked(backend)?;
    let rendition = &task.renditions[0];
    let setup = Setup {
        codec: rendition.codec.as_str().to_owned(),
        extradata: encoder.decoder_config().payload().to_vec(),
        width: rendition.width_px as i32,
        height: rendition.height_px as i32,
        ..Setup::default()
    };
    Ok((Made { packets, setup }, wanted))
}

/// Decodes all of it; returns the pictures' luma.
fn decode(task: &VideoTask, made: Made, backend: &Backend) -> Result<Vec<Vec<f64>>, TaskError> {
    let coded = |packet: Packet| Coded { data: packet.data, pts: packet.pts, duration: 1, key: packet.idr };
    let coded: Vec<Coded> = made.packets.into_iter().map(coded).collect();
    let inputs = clip::inputs(&coded, -2)?; // reordered by up to two
    let stream = VideoStream { setup: made.setup.seal(), ..task.stream.clone() };
    let mut decoder = backend.decoder(&stream, &inputs)?;
    let (mut shown, mut found) = (Vec::new(), Vec::new());
    while let Some(picture) = decoder.next_picture()? {
        shown.extend(picture.pts());
        found.push(picture.look(|picture| Ok(luma(picture)))?);
    }
    same("times of decoded pictures", &shown, &(0..FRAMES).collect::<Vec<_>>())?;
    same("complaints of the decoder", &decoder.errors(), &0)?;
    Ok(found)
}

/// Nothing was made in software in place of a GPU.
fn as_asked(backend: &Backend) -> Result<(), TaskError> {
    match backend.hardware().fallbacks.pop() {
        None => Ok(()),
        Some(fallback) => Err(TaskError::unsupported("trial", fallback.reason)),
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, wanted: &T) -> Result<(), TaskError> {
    if found == wanted {
        return Ok(());
    }
    Err(TaskError::unsupported("trial", format!("{what}: {found:?} instead of {wanted:?}")))
}

fn task(codec: VideoCodec, target_px: (u32, u32)) -> Result<VideoTask, TaskError> {
    let timescale = Timescale::new(TICKS).ok_or_else(|| TaskError::bug("no ticks"))?;
    let color = Color { primaries: 1, transfer: 1, matrix: 1, full_range: false };
    let rendition = VideoRendition {
        name: codec.as_str().to_owned(),
        codec,
        width_px: target_px.0,
        height_px: target_px.1,
        rate: RateControl { crf: 20.0, maxrate_bps: 1_000_000, bufsize_bits: 2_000_000 },
        preset: if codec == VideoCodec::Av1 { "10" } else { "veryfast" }.to_owned(),
    };
    Ok(VideoTask {
        stream: VideoStream {
            index: 0,
            codec: codec.as_str().to_owned(),
            setup: DecoderSetup(Vec::new()),
            timescale,
            width_px: SOURCE_PX.0,
            height_px: SOURCE_PX.1,
            sample_aspect: (1, 1),
            rotation: 0,
            mirrored: false,
            frame_rate: FrameRate { numerator: TICKS, denominator: 1 },
            interlaced: false,
            pixel_format: "yuv420p".to_owned(),
            color,
            timing: Timing::Packets,
        },
        lists: Vec::new(),
        start: 0,
        end: Some(FRAMES),
        grid: SegmentGrid::new(SegmentGrid::SHORTEST_MS).ok_or_else(|| TaskError::bug("no grid"))?,
        segment_count: None,
        transform: Transform { rotation: 0, mirror: false, deinterlace: false, tone_map: false },
        color,
        renditions: vec![rendition],
        images: None,
        pins: BTreeMap::new(),
    })
}

/// Soft diagonal stripes that move by four samples a picture.
fn stripes(number: i64, size_px: (u32, u32)) -> frame::Video {
    let mut picture = frame::Video::new(format::Pixel::YUV420P, size_px.0, size_px.1);
    picture.set_pts(Some(number));
    for plane in 0..picture.planes() {
        let stride = picture.stride(plane);
        for (y, row) in picture.data_mut(plane).chunks_mut(stride).enumerate() {
            for (x, sample) in row.iter_mut().enumerate() {
                let phase = (x + y + 4 * number as usize) % 128;
                *sample = if plane == 0 { 64 + phase.min(128 - phase) as u8 } else { 128 };
            }
        }
    }
    picture
}

/// Rows without what pads them.
fn luma(picture: &frame::Video) -> Vec<f64> {
    let rows = picture.data(0).chunks(picture.stride(0)).take(picture.height() as usize);
    rows.flat_map(|row| row.iter().take(picture.width() as usize)).map(|sample| f64::from(*sample)).collect()
}
