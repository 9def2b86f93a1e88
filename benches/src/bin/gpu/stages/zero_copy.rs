//! This card's NVDEC and CUDA with the emulated NVENC, which reads pictures out of device memory as the real one does: a
//! card without NVENC proves the way that copies nothing. The emulator notes every call that it holds to be wrong.

use anyhow::{Context, Result};
use nvidia::decode::Cuvid;
use nvidia::encode::{Encoder, Nvenc, Packet};
use nvidia::scale::{Siting, Size, Source, Transform, Window};
use nvidia::{Codec, Format, Scaler};

use super::nvenc::settings;
use crate::bench::{Bench, decode};
use crate::ffmpeg::Pictures;
use crate::findings::Findings;
use crate::picture::{Copied, psnr};
use crate::stream::Stream;

/// Sizes that are made.
const RUNGS: [Size; 3] =
    [Size { width: 854, height: 480 }, Size { width: 640, height: 360 }, Size { width: 426, height: 240 }];
/// Pictures of a closed group.
const GROUP: u64 = 24;
/// An encoded picture is this much like what was given in, in dB of luma.
const ALIKE: f64 = 32.0;

/// One rung on its way.
struct Rung {
    encoder: Encoder,
    packets: Vec<Packet>,
    /// The luma of what was given in.
    given: Vec<Vec<u8>>,
}

/// Decodes, scales, encodes, and decodes that with libavcodec.
pub fn run(bench: &Bench, findings: &mut Findings) -> Result<()> {
    let device = bench.device()?;
    let nvenc = Nvenc::load(Some(&bench.emulated_nvenc()))?;
    let most = if bench.quick { 30 } else { 120 };
    let stream = Stream::of(&bench.source()?, most, &bench.scratch)?.context("the film has no stream")?;
    let mut rungs = Vec::new();
    for size in RUNGS {
        let encoder = Encoder::open(&device, &nvenc, &settings(Codec::H264, size.width, size.height, 5))?;
        rungs.push(Rung { encoder, packets: Vec::new(), given: Vec::new() });
    }
    let mut scaler: Option<Scaler> = None;
    let pictures = decode(&device, &Cuvid::load(None)?, &stream, |number, surface| {
        let ready = match &mut scaler {
            Some(ready) => ready,
            none => none.insert(Scaler::new(&device, &source_of(&surface), &Transform::NONE, &RUNGS)?),
        };
        for (rung, scaled) in rungs.iter_mut().zip(ready.push(&surface)?) {
            rung.given.push(Copied::of(&scaled)?.luma);
            rung.packets.extend(rung.encoder.push(scaled, number as i64, number % GROUP == 0)?);
        }
        Ok(())
    })?;
    findings.check(
        "pictures decoded",
        pictures == stream.packets.len() as u64,
        format!("{pictures} of {}", stream.packets.len()),
    );
    for (size, mut rung) in RUNGS.iter().zip(rungs) {
        rung.packets.extend(rung.encoder.finish()?);
        drop(rung.encoder);
        judge(bench, *size, &rung.packets, &rung.given, findings)?;
    }
    Ok(())
}

/// What a decoder's surface is to the scaler.
pub fn source_of(surface: &nvidia::Surface) -> Source {
    let layout = surface.layout();
    let size = Size { width: layout.width, height: layout.height };
    let bits = if layout.format == Format::Nv12 { 8 } else { 10 };
    let window = Window { left: 0, top: 0, size };
    Source { format: layout.format, bits, size, window, full_range: false, siting: Siting::Left }
}

fn judge(bench: &Bench, size: Size, packets: &[Packet], given: &[Vec<u8>], findings: &mut Findings) -> Result<()> {
    let file = bench.scratch.join(format!("rung-{}.h264", size.height));
    std::fs::write(&file, packets.iter().flat_map(|packet| packet.data.iter().copied()).collect::<Vec<u8>>())?;
    let mut times: Vec<i64> = packets.iter().map(|packet| packet.pts).collect();
    times.sort_unstable();
    let whole = times.iter().copied().eq(0..given.len() as i64);
    let idrs: Vec<i64> = packets.iter().filter(|packet| packet.idr).map(|packet| packet.pts).collect();
    let on_grid = idrs.iter().copied().eq((0..given.len() as i64).step_by(GROUP as usize));
    let name = format!("{}x{}", size.width, size.height);
    findings.check(
        format!("{name}: every picture once"),
        whole,
        format!("{} packets of {}", packets.len(), given.len()),
    );
    findings.check(format!("{name}: IDRs on the grid"), on_grid, format!("at {idrs:?}"));
    let mut decoded = Pictures::of(&file)?;
    let mut alike = Vec::new();
    while let Some(picture) = decoded.next_picture()? {
        let wanted = given.get(alike.len()).context("more pictures than were given in")?;
        alike.push(psnr(&picture.0[0], wanted));
    }
    let worst = alike.iter().copied().fold(f64::INFINITY, f64::min);
    let mean = alike.iter().sum::<f64>() / alike.len() as f64;
    let right = alike.len() == given.len() && worst >= ALIKE;
    findings.check(
        format!("{name}: libavcodec sees what was given in"),
        right,
        format!("{} pictures, luma {mean:.1} dB, the worst {worst:.1} dB", alike.len()),
    );
    Ok(())
}
