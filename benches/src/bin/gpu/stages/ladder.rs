//! A film to three rungs of H.264: decoded by NVDEC, scaled by CUDA and encoded by x264, against FFmpeg alone with the same
//! x264 settings. CPU seconds are of all processes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use anyhow::{Context, Result, ensure};
use nvidia::decode::Cuvid;
use nvidia::scale::{Size, Transform};
use nvidia::{Codec, Planar, Scaler, Surface};

use super::zero_copy::source_of;
use crate::bench::{Bench, decode};
use crate::ffmpeg::{self, Pictures};
use crate::findings::Findings;
use crate::picture::psnr;
use crate::stream::Stream;
use crate::usage::{Meter, Usage};

/// Pictures that wait for an encoder.
const WAITING: usize = 8;
/// Both ways' pictures are this much alike, in dB of luma: each has lost something else to x264.
const ALIKE: f64 = 32.0;

/// Runs both ways and compares them.
pub fn run(bench: &Bench, findings: &mut Findings) -> Result<()> {
    let film = bench.film(Codec::H264, 8)?;
    let sizes: &[(u32, u32)] =
        if bench.quick { &[(426, 240), (256, 144)] } else { &[(1280, 720), (854, 480), (640, 360)] };
    let rungs: Vec<Size> = sizes.iter().map(|&(width, height)| Size { width, height }).collect();
    let (card, pictures) = on_card(bench, &film, &rungs, findings)?;
    let software = alone(bench, &film, &rungs)?;
    findings.measure("FFmpeg alone: CPU", software.cpu_s, "s");
    findings.measure("FFmpeg alone: time", software.wall_s, "s");
    findings.measure("CPU, the card's way ÷ FFmpeg alone", card.cpu_s / software.cpu_s, "×");
    findings.measure("time, the card's way ÷ FFmpeg alone", card.wall_s / software.wall_s, "×");
    for size in &rungs {
        let (count, mean, worst) = compare(&made(bench, "card", *size), &made(bench, "alone", *size))?;
        let found = format!("{count} pictures, luma {mean:.1} dB, the worst {worst:.1} dB");
        findings.check(format!("{}p: both ways are alike", size.height), count == pictures && worst >= ALIKE, found);
    }
    Ok(())
}

fn made(bench: &Bench, way: &str, size: Size) -> PathBuf {
    bench.scratch.join(format!("{way}-{}.h264", size.height))
}

fn x264(file: &Path) -> Vec<std::ffi::OsString> {
    let arguments = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-g", "50", "-f", "h264"];
    arguments.iter().map(Into::into).chain([file.as_os_str().to_owned()]).collect()
}

/// One FFmpeg process.
fn alone(bench: &Bench, film: &Stream, rungs: &[Size]) -> Result<Usage> {
    let split: String = (0..rungs.len()).map(|number| format!("[s{number}]")).collect();
    let scale = |(number, size): (usize, &Size)| {
        format!(";[s{number}]scale={}:{}:flags=lanczos+accurate_rnd[r{number}]", size.width, size.height)
    };
    let scales: String = rungs.iter().enumerate().map(scale).collect();
    let mut command = ffmpeg::command(["-y".as_ref(), "-i".as_ref(), film.file.as_os_str()]);
    command.args(["-filter_complex", &format!("[0:v]split={}{split}{scales}", rungs.len())]);
    for (number, size) in rungs.iter().enumerate() {
        command.args(["-map", &format!("[r{number}]")]).args(x264(&made(bench, "alone", *size)));
    }
    let meter = Meter::start()?;
    ffmpeg::output(command)?;
    meter.read()
}

/// NVDEC and CUDA here, x264 in a process for each rung. Tells what it took, and how many pictures there were.
fn on_card(bench: &Bench, film: &Stream, rungs: &[Size], findings: &mut Findings) -> Result<(Usage, u64)> {
    let meter = Meter::start()?;
    let device = bench.device()?;
    let encoders =
        rungs.iter().map(|size| Encoding::start(*size, &made(bench, "card", *size))).collect::<Result<Vec<_>>>()?;
    let mut planar = Planar::new(&device)?;
    let mut scaler: Option<Scaler> = None;
    let pictures = decode(&device, &Cuvid::load(None)?, film, |_, surface| {
        let ready = match &mut scaler {
            Some(ready) => ready,
            none => none.insert(Scaler::new(&device, &source_of(&surface), &Transform::NONE, rungs)?),
        };
        for (encoder, scaled) in encoders.iter().zip(ready.push(&surface)?) {
            encoder.push(planes(&mut planar, &scaled)?)?;
        }
        Ok(())
    })?;
    for encoder in encoders {
        encoder.finish()?;
    }
    let used = meter.read()?;
    let down: u64 = rungs.iter().map(|size| u64::from(size.width) * u64::from(size.height) * 3 / 2).sum();
    findings.measure("over the bus to the card, a picture (coded)", film.bytes() as f64 / pictures as f64 / 1e3, "kB");
    findings.measure("over the bus from the card, a picture (all rungs)", down as f64 / 1e6, "MB");
    findings.measure("NVDEC, CUDA, x264: CPU", used.cpu_s, "s");
    findings.measure("NVDEC, CUDA, x264: time", used.wall_s, "s");
    Ok((used, pictures))
}

/// Y, U and V, one after another.
fn planes(planar: &mut Planar, picture: &Surface) -> Result<Vec<u8>> {
    let (width, height) = (picture.layout().width as usize, picture.layout().height as usize);
    let (luma, chroma) = (width * height, width.div_ceil(2) * height.div_ceil(2));
    let mut bytes = vec![0; luma + 2 * chroma];
    let (y, rest) = bytes.split_at_mut(luma);
    let (u, v) = rest.split_at_mut(chroma);
    planar.download(picture, [(y, width), (u, width.div_ceil(2)), (v, width.div_ceil(2))])?;
    Ok(bytes)
}

/// x264 in a process, and the thread that writes pictures to it.
struct Encoding {
    child: Child,
    pictures: SyncSender<Vec<u8>>,
    writer: JoinHandle<std::io::Result<()>>,
}

impl Encoding {
    fn start(size: Size, file: &Path) -> Result<Self> {
        let shape = format!("{}x{}", size.width, size.height);
        let mut command = ffmpeg::command(["-y", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", &shape, "-r", "25"]);
        command.args(["-i", "-"]).args(x264(file)).stdin(Stdio::piped());
        let mut child = command.spawn().context("ffmpeg")?;
        let mut input = child.stdin.take().context("no pipe")?;
        let (pictures, taken) = sync_channel::<Vec<u8>>(WAITING);
        let writer = std::thread::spawn(move || taken.iter().try_for_each(|picture| input.write_all(&picture)));
        Ok(Self { child, pictures, writer })
    }

    fn push(&self, picture: Vec<u8>) -> Result<()> {
        self.pictures.send(picture).context("x264 has ended before its pictures")
    }

    fn finish(mut self) -> Result<()> {
        drop(self.pictures);
        self.writer.join().ok().context("a writer panics")??;
        let status = self.child.wait()?;
        ensure!(status.success(), "x264: {status}");
        Ok(())
    }
}

/// How many pictures both have, and how alike they are: the mean and the worst.
fn compare(one: &Path, other: &Path) -> Result<(u64, f64, f64)> {
    let (mut one, mut other) = (Pictures::of(one)?, Pictures::of(other)?);
    let (mut count, mut sum, mut worst) = (0u64, 0.0, f64::INFINITY);
    loop {
        match (one.next_picture()?, other.next_picture()?) {
            (Some(left), Some(right)) => {
                let alike = psnr(&left.0[0], &right.0[0]);
                (count, sum, worst) = (count + 1, sum + alike, worst.min(alike));
            }
            (None, None) => return Ok((count, sum / count as f64, worst)),
            _ => anyhow::bail!("after {count} pictures one of both ends"),
        }
    }
}
