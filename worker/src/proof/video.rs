//! Moving stripes through scaler, encoder and decoder.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ffmpeg_next::{format, frame};
use shared::error::TaskError;
use shared::rendition::{RateControl, VideoCodec, VideoRendition};
use shared::source::{Color, DecoderSetup, Timing, VideoStream};
use shared::task::{Transform, VideoTask};
use shared::time::{FrameRate, SegmentGrid, Timescale};

use super::clip::{self, Coded};
use super::source::SourceKind;
use crate::codec::backend::Backend;
use crate::codec::encoder::EncoderPlan;
use crate::codec::setup::Setup;
use crate::codec::{Packet, Picture};

const TICKS: u32 = 24;
/// Pictures from one IDR to the next.
const GOP: i64 = 12;
/// Below this the pictures are not those that went in; at these settings encoders reach 37 and more.
const LEAST_PSNR_DB: f64 = 32.0;
/// Nor may a single one be worse.
const LEAST_PICTURE_PSNR_DB: f64 = 26.0;
/// By then it is known how fast a slow encoder is.
const LONGEST_RUN: Duration = Duration::from_secs(5);

/// What goes through.
#[derive(Debug, Clone, Copy)]
pub struct Clip {
    frames: i64,
    source_px: (u32, u32),
    target_px: (u32, u32),
}

impl Clip {
    /// In software: a second, small.
    pub const SMALL: Self = Self { frames: 24, source_px: (320, 192), target_px: (160, 96) };
    /// On GPUs, whose encoders keep some twenty pictures before they give the first: two seconds of a usual rung.
    pub const USUAL: Self = Self { frames: 48, source_px: (960, 540), target_px: (640, 360) };
    /// Whether a GPU that has proven itself is alive.
    pub const ONE: Self = Self { frames: 1, ..Self::USUAL };
    /// As fast as an encoder can.
    const LARGE: Self = Self { frames: 48, source_px: (1920, 1080), target_px: (1920, 1080) };
}

/// Scales, encodes with the settings of production, decodes, and compares number, order, IDRs and pictures.
pub fn round_trip(codec: VideoCodec, clip: Clip, backend: &Backend) -> Result<(), TaskError> {
    let task = task(codec, clip)?;
    let (made, wanted) = encode(&task, clip, backend)?;
    let mut times: Vec<i64> = made.packets.iter().map(|packet| packet.pts).collect();
    let idrs: Vec<i64> = made.packets.iter().filter(|packet| packet.key).map(|packet| packet.pts).collect();
    times.sort_unstable();
    same("times of encoded pictures", &times, &(0..clip.frames).collect::<Vec<_>>())?;
    same("times of IDRs", &idrs, &(0..clip.frames).step_by(GOP as usize).collect::<Vec<_>>())?;

    let found = decode(&task, &made, backend)?;
    alike("all pictures come", LEAST_PSNR_DB, &wanted.concat(), &found.concat())?;
    for (number, (wanted, found)) in wanted.iter().zip(&found).enumerate() {
        alike(&format!("picture {number} comes"), LEAST_PICTURE_PSNR_DB, wanted, found)?;
    }
    Ok(())
}

/// Decodes what libavcodec has made, and compares every sample with what libavcodec gives: decoding has one result.
pub fn decodes_alike(kind: &SourceKind, backend: &Backend) -> Result<(), TaskError> {
    let clip = Clip::SMALL;
    let made = Made { setup: kind.setup(clip.source_px), packets: kind.encode(clip.frames, clip.source_px)? };
    let mut task = task(VideoCodec::H264, clip)?;
    task.stream.codec = kind.codec.to_owned();
    let wanted = decode(&task, &made, &Backend::default())?;
    let found = decode(&task, &made, backend)?;
    same("pictures", &found.len(), &wanted.len())?;
    match found.iter().zip(&wanted).position(|(found, wanted)| found != wanted) {
        None => Ok(()),
        Some(number) => {
            Err(TaskError::unsupported("trial", format!("picture {number} is not what libavcodec makes of it")))
        }
    }
}

/// Encodes pictures of 1920x1080 as fast as it can; returns how many.
pub fn encode_large(backend: &Backend) -> Result<u32, TaskError> {
    let clip = Clip::LARGE;
    let task = task(VideoCodec::H264, clip)?;
    let mut encoder = backend.encoder_as_ordered(&EncoderPlan::new(&task, 0))?;
    let began = Instant::now();
    let mut packets = 0;
    for number in (0..clip.frames).take_while(|_| began.elapsed() < LONGEST_RUN) {
        packets += encoder.push(Picture::Host(stripes(number, clip.source_px)), number == 0)?.len();
    }
    packets += encoder.finish()?.len();
    Ok(u32::try_from(packets).unwrap_or(u32::MAX))
}

/// What an encoder has made, and what a decoder needs for it.
struct Made {
    packets: Vec<Coded>,
    setup: Setup,
}

/// Scales and encodes the stripes; returns the scaled pictures too.
fn encode(task: &VideoTask, clip: Clip, backend: &Backend) -> Result<(Made, Vec<Vec<u8>>), TaskError> {
    let mut scaler = backend.scaler(task)?;
    let mut encoder = backend.encoder_as_ordered(&EncoderPlan::new(task, 0))?;
    let (mut wanted, mut packets) = (Vec::new(), Vec::new());
    for number in 0..clip.frames {
        for mut pictures in scaler.push(Picture::Host(stripes(number, clip.source_px)))? {
            let picture = pictures.remove(0);
            wanted.push(picture.look(|picture| Ok(samples(picture)))?);
            packets.extend(encoder.push(picture, number % GOP == 0)?);
        }
    }
    packets.extend(encoder.finish()?);
    let rendition = &task.renditions[0];
    let setup = Setup {
        codec: rendition.codec.as_str().to_owned(),
        extradata: encoder.decoder_config().payload().to_vec(),
        width: rendition.width_px as i32,
        height: rendition.height_px as i32,
        ..Setup::default()
    };
    let coded = |packet: Packet| Coded { data: packet.data, pts: packet.pts, duration: 1, key: packet.idr };
    Ok((Made { packets: packets.into_iter().map(coded).collect(), setup }, wanted))
}

/// Decodes all of it; returns the pictures.
fn decode(task: &VideoTask, made: &Made, backend: &Backend) -> Result<Vec<Vec<u8>>, TaskError> {
    let inputs = clip::inputs(&made.packets, -2)?; // reordered by up to two
    let stream = VideoStream { setup: made.setup.seal(), ..task.stream.clone() };
    let mut decoder = backend.decoder(&stream, &inputs)?;
    let (mut shown, mut found) = (Vec::new(), Vec::new());
    while let Some(picture) = decoder.next_picture()? {
        shown.extend(picture.pts());
        found.push(picture.look(|picture| Ok(samples(picture)))?);
    }
    let wanted: Vec<i64> = (0..).take(made.packets.len()).collect();
    same("times of decoded pictures", &shown, &wanted)?;
    same("complaints of the decoder", &decoder.errors(), &0)?;
    Ok(found)
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, wanted: &T) -> Result<(), TaskError> {
    if found == wanted {
        return Ok(());
    }
    Err(TaskError::unsupported("trial", format!("{what}: {found:?} instead of {wanted:?}")))
}

fn alike(what: &str, least_db: f64, wanted: &[u8], found: &[u8]) -> Result<(), TaskError> {
    let psnr_db = psnr_db(wanted, found);
    if psnr_db >= least_db {
        return Ok(());
    }
    Err(TaskError::unsupported("trial", format!("{what} back with {psnr_db:.1} dB, at least {least_db} are expected")))
}

/// Over all planes; 0 if one has other samples than the other.
fn psnr_db(wanted: &[u8], found: &[u8]) -> f64 {
    if wanted.len() != found.len() || wanted.is_empty() {
        return 0.0;
    }
    let squares: u64 = wanted.iter().zip(found).map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)).sum();
    10.0 * (255.0_f64.powi(2) * wanted.len() as f64 / (squares as f64).max(1e-9)).log10()
}

fn task(codec: VideoCodec, clip: Clip) -> Result<VideoTask, TaskError> {
    let timescale = Timescale::new(TICKS).ok_or_else(|| TaskError::bug("no ticks"))?;
    let color = Color { primaries: 1, transfer: 1, matrix: 1, full_range: false };
    let rendition = VideoRendition {
        name: codec.as_str().to_owned(),
        codec,
        width_px: clip.target_px.0,
        height_px: clip.target_px.1,
        rate: RateControl { crf: 20.0, maxrate_bps: 1_000_000, bufsize_bits: 2_000_000 },
        preset: if codec == VideoCodec::Av1 { "10" } else { "veryfast" }.to_owned(),
    };
    Ok(VideoTask {
        stream: VideoStream {
            index: 0,
            codec: codec.as_str().to_owned(),
            setup: DecoderSetup(Vec::new()),
            timescale,
            width_px: clip.source_px.0,
            height_px: clip.source_px.1,
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
        end: Some(clip.frames),
        grid: SegmentGrid::new(SegmentGrid::SHORTEST_MS).ok_or_else(|| TaskError::bug("no grid"))?,
        segment_count: None,
        transform: Transform { rotation: 0, mirror: false, deinterlace: false, tone_map: false },
        color,
        renditions: vec![rendition],
        images: None,
        pins: BTreeMap::new(),
    })
}

/// Soft diagonal stripes that move by four samples a picture; each plane has its own brightness.
pub(super) fn stripes(number: i64, size_px: (u32, u32)) -> frame::Video {
    let mut picture = frame::Video::new(format::Pixel::YUV420P, size_px.0, size_px.1);
    picture.set_pts(Some(number));
    for (plane, (darkest, contrast)) in [(64, 1), (96, 2), (144, 2)].into_iter().enumerate() {
        let stride = picture.stride(plane);
        let wave = |phase: usize| darkest + (phase % 128).min(128 - phase % 128) as u8 / contrast;
        let line: Vec<u8> = (0..stride + 128).map(wave).collect();
        for (y, row) in picture.data_mut(plane).chunks_exact_mut(stride).enumerate() {
            let phase = (y + 4 * number as usize) % 128;
            row.copy_from_slice(&line[phase..phase + stride]);
        }
    }
    picture
}

/// All planes, without what pads rows.
fn samples(picture: &frame::Video) -> Vec<u8> {
    let bytes = if picture.format() == format::Pixel::YUV420P10LE { 2 } else { 1 };
    let mut samples = Vec::new();
    for plane in 0..picture.planes() {
        let width = picture.plane_width(plane) as usize * bytes;
        let rows = picture.data(plane).chunks(picture.stride(plane)).take(picture.plane_height(plane) as usize);
        rows.for_each(|row| samples.extend_from_slice(&row[..width]));
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chroma_in_each_others_place_is_noticed() {
        let picture = stripes(0, (64, 48));
        let (luma, chroma) = (64 * 48, 32 * 24);
        let right = samples(&picture);
        assert_eq!(right.len(), luma + 2 * chroma);
        let swapped = [&right[..luma], &right[luma + chroma..], &right[luma..luma + chroma]].concat();
        assert!(psnr_db(&right, &swapped) < LEAST_PICTURE_PSNR_DB);
        assert!(psnr_db(&right, &right) > 100.0 && psnr_db(&right, &right[1..]) == 0.0);
    }
}
