//! A second of moving stripes through scaler, encoder and decoder.

use std::collections::BTreeMap;

use ffmpeg_next::{format, frame};
use shared::error::TaskError;
use shared::rendition::{RateControl, VideoCodec, VideoRendition};
use shared::source::{Color, DecoderSetup, Timing, VideoStream};
use shared::task::{Transform, VideoTask};
use shared::time::{FrameRate, SegmentGrid, Timescale};

use super::clip::{self, Coded};
use crate::codec::Picture;
use crate::codec::backend::Backend;
use crate::codec::encoder::EncoderPlan;
use crate::codec::setup::Setup;

const FRAMES: i64 = 24;
/// Pictures from one IDR to the next.
const GOP: i64 = 12;
const TICKS: u32 = 24;
const SOURCE_PX: (u32, u32) = (320, 192);
const TARGET_PX: (u32, u32) = (160, 96);
/// Below this the pictures are not those that went in; at these settings encoders reach 37 and more.
const LEAST_PSNR_DB: f64 = 30.0;

/// Scales, encodes with the settings of production, decodes, and compares number, order, IDRs and pictures.
pub fn round_trip(codec: VideoCodec) -> Result<(), TaskError> {
    let task = task(codec)?;
    let backend = Backend::default();
    let mut scaler = backend.scaler(&task);
    let mut encoder = backend.encoder(&EncoderPlan::new(&task, 0))?;
    let (mut wanted, mut packets) = (Vec::new(), Vec::new());
    for number in 0..FRAMES {
        for mut pictures in scaler.push(Picture::Host(stripes(number)))? {
            let picture = pictures.remove(0);
            wanted.push(picture.look(|picture| Ok(luma(picture)))?);
            packets.extend(encoder.push(picture, number % GOP == 0)?);
        }
    }
    packets.extend(encoder.finish()?);

    let mut times: Vec<i64> = packets.iter().map(|packet| packet.pts).collect();
    let idrs: Vec<i64> = packets.iter().filter(|packet| packet.idr).map(|packet| packet.pts).collect();
    times.sort_unstable();
    same("times of encoded pictures", &times, &(0..FRAMES).collect::<Vec<_>>())?;
    same("times of IDRs", &idrs, &(0..FRAMES).step_by(GOP as usize).collect::<Vec<_>>())?;

    let setup = Setup {
        codec: codec.as_str().to_owned(),
        extradata: encoder.decoder_config().payload().to_vec(),
        width: TARGET_PX.0 as i32,
        height: TARGET_PX.1 as i32,
        ..Setup::default()
    };
    let coded: Vec<Coded> = packets
        .into_iter()
        .map(|packet| Coded { data: packet.data, pts: packet.pts, duration: 1, key: packet.idr })
        .collect();
    let inputs = clip::inputs(&coded, -2)?; // reordered by up to two
    let mut decoder = backend.decoder(&VideoStream { setup: setup.seal(), ..task.stream.clone() }, &inputs)?;
    let (mut shown, mut found) = (Vec::new(), Vec::new());
    while let Some(picture) = decoder.next_picture()? {
        shown.extend(picture.pts());
        found.push(picture.look(|picture| Ok(luma(picture)))?);
    }
    same("times of decoded pictures", &shown, &(0..FRAMES).collect::<Vec<_>>())?;
    same("complaints of the decoder", &decoder.errors(), &0)?;
    let psnr_db = clip::likeness_db(255.0, &wanted.concat(), &found.concat());
    if psnr_db < LEAST_PSNR_DB {
        let text = format!("pictures come back with {psnr_db:.1} dB, at least {LEAST_PSNR_DB} are expected");
        return Err(TaskError::unsupported("trial", text));
    }
    Ok(())
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, wanted: &T) -> Result<(), TaskError> {
    if found == wanted {
        return Ok(());
    }
    Err(TaskError::unsupported("trial", format!("{what}: {found:?} instead of {wanted:?}")))
}

fn task(codec: VideoCodec) -> Result<VideoTask, TaskError> {
    let timescale = Timescale::new(TICKS).ok_or_else(|| TaskError::bug("no ticks"))?;
    let color = Color { primaries: 1, transfer: 1, matrix: 1, full_range: false };
    let rendition = VideoRendition {
        name: codec.as_str().to_owned(),
        codec,
        width_px: TARGET_PX.0,
        height_px: TARGET_PX.1,
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
fn stripes(number: i64) -> frame::Video {
    let mut picture = frame::Video::new(format::Pixel::YUV420P, SOURCE_PX.0, SOURCE_PX.1);
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
