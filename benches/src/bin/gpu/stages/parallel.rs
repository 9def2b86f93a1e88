//! 1, 2, 4 and 8 decoders at once: pictures a second, together and for each engine.

use std::time::Instant;

use anyhow::{Context, Result};
use nvidia::decode::{Cuvid, capabilities};

use crate::bench::{Bench, decode};
use crate::findings::Findings;
use crate::published::{Generation, decode_fps};
use crate::stream::Stream;

/// How often a decoder decodes the film: longer than starting one takes.
const ROUNDS: usize = 4;

/// Each codec that the card can and FFmpeg makes a film in.
pub fn run(bench: &Bench, findings: &mut Findings) -> Result<()> {
    let device = bench.device()?;
    let cuvid = Cuvid::load(None)?;
    let generation = Generation::of(device.facts().compute_capability);
    for able in capabilities(&device, &cuvid)? {
        // Of what is published only HEVC has a row for 10 bits.
        if able.depth > 8 && (able.codec, able.depth) != (nvidia::Codec::Hevc, 10) {
            continue;
        }
        let mut film = match bench.film(able.codec, able.depth) {
            Ok(film) => film,
            Err(error) => {
                findings.note(able.codec, format!("left out: {error:#}"));
                continue;
            }
        };
        if !bench.quick {
            let once = film.packets.clone();
            (1..ROUNDS).for_each(|_| film.packets.extend_from_slice(&once));
        }
        let published = generation.and_then(|known| decode_fps(known, able.codec, able.depth));
        for decoders in [1, 2, 4, 8] {
            let fps = at_once(bench, &cuvid, &film, decoders)?;
            let what = format!("{}, {} bit, {decoders} at once", able.codec, able.depth);
            findings.engines(what, fps, able.engines.min(decoders), published);
        }
    }
    Ok(())
}

/// Pictures a second of all decoders together, the making of each included.
fn at_once(bench: &Bench, cuvid: &Cuvid, film: &Stream, decoders: u32) -> Result<f64> {
    let one = || {
        let device = bench.device()?;
        let pictures = decode(&device, cuvid, film, |_, surface| {
            drop(surface);
            Ok(())
        })?;
        device.synchronize()?;
        anyhow::Ok(pictures)
    };
    let began = Instant::now();
    let pictures = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..decoders).map(|_| scope.spawn(one)).collect();
        let counts = threads.into_iter().map(|thread| thread.join().ok().context("a decoder's thread panics")?);
        counts.sum::<Result<u64>>()
    })?;
    Ok(pictures as f64 / began.elapsed().as_secs_f64())
}
