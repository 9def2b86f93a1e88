//! The PTX loads, and each picture is the reference's bit by bit; how fast scaling and the bus are.

use std::time::Instant;

use anyhow::Result;
use nvidia::scale::{Lut3, Picture, Reference, Siting, Size, Source, Transform, Turn, Window};
use nvidia::{Device, Format, Planar, Pool, Scaler, Surface};

use crate::bench::Bench;
use crate::findings::Findings;
use crate::picture::Copied;

/// Edge of the table that HDR is looked up in.
const EDGE: u32 = 33;

struct Case {
    name: &'static str,
    source: Source,
    transform: Transform,
    targets: Vec<Size>,
}

/// Compares, then measures.
pub fn run(bench: &Bench, findings: &mut Findings) -> Result<()> {
    let device = bench.device()?;
    let began = Instant::now();
    drop(Planar::new(&device)?);
    findings.measure("PTX compiled by the driver, or found in its cache", began.elapsed().as_secs_f64() * 1000.0, "ms");
    for case in cases(bench.quick) {
        let (right, found) = compare(&device, &case)?;
        findings.check(case.name, right, found);
    }
    speed(&device, bench.quick, findings)
}

fn cases(quick: bool) -> Vec<Case> {
    let ladder = |heights: &[(u32, u32)]| heights.iter().map(|&(width, height)| Size { width, height }).collect();
    let web = [(1280, 720), (854, 480), (640, 360), (426, 240)];
    let eight = |width, height| source(Format::Nv12, 8, width, height);
    let ten = |width, height| source(Format::P016, 10, width, height);
    let hdr = Transform { tone: Lut3::new(EDGE, curve()), ..Transform::NONE };
    let turned = |turn, mirror| Transform { turn, mirror, tone: None };
    let cropped = Window { left: 3, top: 5, size: Size { width: 1201, height: 707 } };
    let case =
        |name, source, transform, heights: &[(u32, u32)]| Case { name, source, transform, targets: ladder(heights) };
    let mut cases = vec![
        case("8 bit, 720p to 480p, 360p, 240p", eight(1280, 720), Transform::NONE, &web[1..]),
        case("8 bit, odd size, enlarged", eight(321, 241), Transform::NONE, &[(640, 480), (320, 240)]),
        case("8 bit, full range", Source { full_range: true, ..eight(720, 576) }, Transform::NONE, &web[2..]),
        case(
            "8 bit, a window at odd places",
            Source { window: cropped, ..eight(1280, 720) },
            Transform::NONE,
            &web[1..],
        ),
        case("8 bit, turned by 90°", eight(640, 360), turned(Turn::Quarter, false), &[(360, 640), (180, 320)]),
        case("8 bit, turned by 180°, mirrored", eight(640, 360), turned(Turn::Half, true), &web[2..]),
        case("8 bit, turned by 270°, mirrored", eight(640, 360), turned(Turn::ThreeQuarters, true), &[(240, 426)]),
        case("10 bit, 720p to 480p, 360p", ten(1280, 720), Transform::NONE, &web[1..3]),
        case("12 bit, chroma at the top left", sited(source(Format::P016, 12, 960, 540)), Transform::NONE, &web[2..]),
        case("10 bit HDR with tone mapping", ten(1280, 720), hdr.clone(), &web[..3]),
    ];
    if !quick {
        cases.push(case("8 bit, 1080p to the web ladder", eight(1920, 1080), Transform::NONE, &web));
        cases.push(case("10 bit HDR, 2160p to the web ladder", ten(3840, 2160), hdr, &web));
    }
    cases
}

fn source(format: Format, bits: u32, width: u32, height: u32) -> Source {
    let size = Size { width, height };
    Source { format, bits, size, window: Window { left: 0, top: 0, size }, full_range: false, siting: Siting::Left }
}

fn sited(source: Source) -> Source {
    Source { siting: Siting::TopLeft, ..source }
}

/// A table that bends every colour.
fn curve() -> Vec<[u16; 3]> {
    let place = |n: u32| [n % EDGE, n / EDGE % EDGE, n / EDGE / EDGE];
    (0..EDGE.pow(3)).map(|n| place(n).map(|part| (part * part * 65_535 / (EDGE - 1).pow(2)) as u16)).collect()
}

/// Noise, which shows every tap of a filter.
fn noise(format: Format, width: u32, height: u32) -> Picture {
    let mut picture = Picture::new(format, width, height);
    let mut state = width ^ height;
    let (luma, chroma) = picture.planes_mut();
    for byte in luma.iter_mut().chain(chroma) {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (state >> 24) as u8;
    }
    picture
}

fn upload(pool: &mut Pool, picture: &Picture) -> Result<Surface> {
    let surface = pool.take()?;
    surface.upload((picture.luma(), picture.pitch()), (picture.chroma(), picture.pitch()))?;
    Ok(surface)
}

/// Whether all pictures are the same, and in words.
fn compare(device: &Device, case: &Case) -> Result<(bool, String)> {
    let Size { width, height } = case.source.size;
    let picture = noise(case.source.format, width, height);
    let mut pool = Pool::new(device, case.source.format, width, height);
    let mut scaler = Scaler::new(device, &case.source, &case.transform, &case.targets)?;
    let made = scaler.push(&upload(&mut pool, &picture)?)?;
    let wanted = Reference::new(&case.source, &case.transform, &case.targets)?.push(&picture)?;
    let mut bytes = 0;
    let mut different = 0;
    for (made, wanted) in made.iter().zip(&wanted) {
        let copied = Copied::of(made)?;
        let (luma, chroma) = (copied.layout.luma_rows(), copied.layout.chroma_rows());
        for (got, rows, plane) in [(&copied.luma, luma, wanted.luma()), (&copied.chroma, chroma, wanted.chroma())] {
            let wanted = plane.chunks(wanted.pitch()).take(rows.count).flat_map(|row| &row[..rows.bytes]);
            different += got.iter().zip(wanted).filter(|(got, wanted)| got != wanted).count();
            bytes += got.len();
        }
    }
    Ok((different == 0, format!("{} pictures, {different} of {bytes} bytes differ", made.len())))
}

/// Pictures a second through the web ladder, and bytes a second over the bus.
fn speed(device: &Device, quick: bool, findings: &mut Findings) -> Result<()> {
    let rounds = if quick { 8 } else { 400 };
    let (width, height) = if quick { (640, 360) } else { (1920, 1080) };
    let source = source(Format::Nv12, 8, width, height);
    let targets = [(1280, 720), (854, 480), (640, 360)].map(|(width, height)| Size { width, height });
    let mut scaler = Scaler::new(device, &source, &Transform::NONE, &targets)?;
    let picture = noise(Format::Nv12, width, height);
    let mut pool = Pool::new(device, Format::Nv12, width, height);
    let surface = upload(&mut pool, &picture)?;
    device.synchronize()?;
    let began = Instant::now();
    for _ in 0..rounds {
        drop(scaler.push(&surface)?);
    }
    device.synchronize()?;
    let rate = f64::from(rounds) / began.elapsed().as_secs_f64();
    findings.measure(format!("{height}p to 720p, 480p, 360p"), rate, "pictures/s");
    let bytes = f64::from(width * height) * 1.5 * f64::from(rounds);
    let began = Instant::now();
    for _ in 0..rounds {
        drop(upload(&mut pool, &picture)?);
    }
    findings.measure("to the card, pictures in plain memory", bytes / began.elapsed().as_secs_f64() / 1e9, "GB/s");
    let began = Instant::now();
    for _ in 0..rounds {
        drop(Copied::of(&surface)?);
    }
    findings.measure("from the card, pictures in plain memory", bytes / began.elapsed().as_secs_f64() / 1e9, "GB/s");
    Ok(())
}
