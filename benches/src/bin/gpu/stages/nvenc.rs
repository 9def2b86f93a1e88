//! NVENC: what opening a session says, what it can, how many sessions there are, how fast one and all engines are.

use std::time::Instant;

use anyhow::{Context, Result};
use nvidia::decode::Cuvid;
use nvidia::encode::{CodecCapabilities, Color, EncodeError, EncodeSettings, Encoder, Nvenc, capabilities, sessions};
use nvidia::{Codec, Format, Surface};

use crate::bench::{Bench, decode};
use crate::findings::Findings;
use crate::published::{Generation, encode_fps};
use crate::stream::Stream;

/// Sessions that are tried: more than any consumer's driver allows.
const MOST_SESSIONS: usize = 16;
/// Pictures that are encoded again and again, so that nothing else is measured.
const PICTURES: usize = 32;

/// What there is; a card without NVENC is no fault.
pub fn run(bench: &Bench, findings: &mut Findings) -> Result<()> {
    let device = bench.device()?;
    let nvenc = match Nvenc::load(None) {
        Ok(nvenc) => nvenc,
        Err(lack) => {
            findings.note("libnvidia-encode.so.1", lack);
            return Ok(());
        }
    };
    let (major, minor) = nvenc.version;
    findings.note("NvEncodeAPIGetMaxSupportedVersion", format!("{major}.{minor}"));
    let able = match capabilities(&device, &nvenc) {
        Ok(able) => able,
        Err(error @ (EncodeError::Unsupported(_) | EncodeError::Busy(_))) => {
            findings.note("opening a session", error);
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    findings.note("opening a session", "NvEncOpenEncodeSessionEx ends with status 0 (SUCCESS)");
    able.iter().for_each(|one| tell(one, findings));
    findings.measure(
        "sessions open at once (16 are tried)",
        sessions(&device, &nvenc, MOST_SESSIONS)? as f64,
        "sessions",
    );
    let film = bench.film(Codec::H264, 8)?;
    for one in &able {
        let presets: &[u8] = if bench.quick { &[5] } else { &[1, 3, 5, 7] };
        for &preset in presets {
            measure(bench, &nvenc, &film, one, (preset, 1), findings)?;
        }
        if one.engines > 1 {
            measure(bench, &nvenc, &film, one, (5, one.engines), findings)?;
        }
    }
    Ok(())
}

fn tell(one: &CodecCapabilities, findings: &mut Findings) {
    let CodecCapabilities { smallest, largest, b_frames, engines, .. } = one;
    let has = |what: &str, has: bool| format!(", {what}: {}", if has { "yes" } else { "no" });
    let found = format!(
        "{}x{} to {}x{}, {b_frames} B-frames, {engines} engines{}{}{}",
        smallest.0,
        smallest.1,
        largest.0,
        largest.1,
        has("look-ahead", one.lookahead),
        has("temporal AQ", one.temporal_aq),
        has("10 bit", one.ten_bit),
    );
    findings.note(one.codec, found);
}

/// How encoders are asked for here: the farm's production settings, at its rate for such a size.
pub fn settings(codec: Codec, width: u32, height: u32, preset: u8) -> EncodeSettings {
    let maxrate_bps = (width * height) / 230 * 550;
    EncodeSettings {
        codec,
        width,
        height,
        format: Format::Nv12,
        frame_rate: (25, 1),
        crf: 23.0,
        maxrate_bps,
        buffer_bits: maxrate_bps * 2,
        initial_fill_bits: maxrate_bps,
        level: None,
        parameter_set: 1,
        color: Color { primaries: 1, transfer: 1, matrix: 1, full_range: false },
        preset,
        plain: false,
    }
}

/// Pictures a second of so many encoders at once.
fn measure(
    bench: &Bench,
    nvenc: &Nvenc,
    film: &Stream,
    able: &CodecCapabilities,
    (preset, encoders): (u8, u32),
    findings: &mut Findings,
) -> Result<()> {
    let one = || encode(bench, nvenc, film, able.codec, preset);
    let runs = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..encoders).map(|_| scope.spawn(one)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().ok().context("an encoder's thread panics")?)
            .collect::<Result<Vec<f64>>>()
    })?;
    let published = Generation::of(bench.device()?.facts().compute_capability)
        .and_then(|generation| encode_fps(generation, able.codec, preset));
    let what = format!("{}, P{preset}, {encoders} at once", able.codec);
    findings.engines(what, runs.iter().sum(), able.engines.min(encoders), published);
    Ok(())
}

/// Pictures a second of one encoder, once it has begun.
fn encode(bench: &Bench, nvenc: &Nvenc, film: &Stream, codec: Codec, preset: u8) -> Result<f64> {
    let device = bench.device()?;
    let mut pictures: Vec<Surface> = Vec::new();
    decode(&device, &Cuvid::load(None)?, film, |_, surface| {
        if pictures.len() < PICTURES {
            pictures.push(surface);
        }
        Ok(())
    })?;
    let layout = *pictures.first().context("no pictures")?.layout();
    let mut encoder = Encoder::open(&device, nvenc, &settings(codec, layout.width, layout.height, preset))?;
    let rounds = if bench.quick { 1 } else { 15 };
    let began = Instant::now();
    let mut packets = 0;
    let all = (0..rounds).flat_map(|_| &pictures);
    for (number, picture) in all.enumerate() {
        packets += encoder.push(picture.clone(), number as i64, number == 0)?.len();
    }
    packets += encoder.finish()?.len();
    anyhow::ensure!(packets == rounds * pictures.len(), "{packets} packets of {} pictures", rounds * pictures.len());
    Ok(packets as f64 / began.elapsed().as_secs_f64())
}
