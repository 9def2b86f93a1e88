//! What a card decodes and scales is what software makes of the same packets: 10 bit, HDR, turned, mirrored or full range.

use std::path::{Path, PathBuf};
use std::process::Command;

use nvidia::Device;
use shared::placement::{DecodeBy, Placement, ScaleBy};
use shared::rendition::VideoCodec;
use shared::task::VideoTask;
use worker::codec::backend::Backend;
use worker::slot::request::GpuOrder;
use worker::task::Inputs;

use crate::indexed::index;
use crate::scene::Machine;

/// Names the clip that the child compares.
const SOURCE: &str = "FARM_TEST_SOURCE";
const FRAMES: usize = 8;
/// A step of a sample here and there, as roundings differ.
const LEAST_PSNR_DB: f64 = 60.0;

/// FFmpeg makes a clip of moving test patterns.
pub fn made(folder: &Path, name: &str, settings: &[&str]) -> PathBuf {
    let path = folder.join(name);
    let pattern = format!("testsrc2=s=400x224:r=24:d={}", FRAMES as f64 / 24.0);
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-v", "error", "-f", "lavfi", "-i", &pattern]).args(settings).arg(&path);
    assert!(ffmpeg.status().unwrap().success(), "{name}");
    path
}

/// The same, played turned by so many degrees.
pub fn turned(clip: &Path, degrees: u32) -> PathBuf {
    let path = clip.with_extension(format!("{degrees}.mp4"));
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-v", "error", "-i"]).arg(clip);
    ffmpeg.args(["-c", "copy", "-metadata:s:v:0", &format!("rotate={degrees}")]).arg(&path);
    assert!(ffmpeg.status().unwrap().success());
    path
}

/// Settings of 10-bit HEVC with this transfer function of BT.2020.
pub fn hdr(transfer: &str) -> String {
    format!("log-level=none:colorprim=bt2020:transfer={transfer}:colormatrix=bt2020nc")
}

#[test]
fn a_card_decodes_and_scales_as_software_does() {
    let machine = Machine::new("l4", "");
    let folder = tempfile::tempdir().unwrap();
    let of = |name: &str, settings: &[&str]| made(folder.path(), name, settings);
    let ten_bit = |name: &str, params: &str| {
        of(name, &["-pix_fmt", "yuv420p10le", "-c:v", "libx265", "-preset", "ultrafast", "-x265-params", params])
    };
    let plain = of("plain.mp4", &["-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "ultrafast"]);
    let clips = [
        turned(&plain, 90),
        turned(&plain, 180),
        plain,
        of("full.mp4", &["-pix_fmt", "yuvj420p", "-c:v", "libx264", "-preset", "ultrafast"]),
        ten_bit("ten.mp4", "log-level=none"),
        turned(&ten_bit("pq.mp4", &hdr("smpte2084")), 270),
        ten_bit("hlg.mp4", &hdr("arib-std-b67")),
    ];
    for clip in clips {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--ignored", "--exact", "--nocapture", "pictures::compares"]).env(SOURCE, &clip);
        let output = child.env("LD_LIBRARY_PATH", machine.libraries()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", clip.display());
    }
    // The device stays open for as long as the process lives, as it does in a slot.
    let complaints = machine.complaints();
    assert!(complaints.lines().all(|line| line.starts_with("unload: 1 ")), "{complaints}");
}

#[test]
#[ignore = "run as a child, which finds the stand-ins' libraries"]
fn compares() {
    let clip = PathBuf::from(std::env::var_os(SOURCE).expect("a clip"));
    let source = index(&clip).unwrap();
    let task = source.whole(VideoCodec::H264);
    let inputs = source.inputs(&task.lists);
    let placement = Placement { decode: DecodeBy::Nvdec, scale: ScaleBy::Cuda, ..Placement::SOFTWARE };
    let uuid = Device::open(0).unwrap().facts().uuid.clone();
    let card = pictures(&task, &inputs, &Backend::new(Some(GpuOrder { uuid, placement, ..GpuOrder::default() })));
    let software = pictures(&task, &inputs, &Backend::default());
    assert_eq!((card.len(), software.len()), (FRAMES, FRAMES));
    let mut worst = f64::INFINITY;
    for (number, (card, software)) in card.iter().zip(&software).enumerate() {
        for (plane, (found, wanted)) in card.iter().zip(software).enumerate() {
            assert_eq!(found.len(), wanted.len(), "{}: picture {number}, plane {plane}", clip.display());
            let psnr_db = psnr_db(found, wanted);
            assert!(psnr_db >= LEAST_PSNR_DB, "{}: picture {number}, plane {plane}: {psnr_db:.1} dB", clip.display());
            worst = worst.min(psnr_db);
        }
    }
    println!("{}: at least {worst:.1} dB", clip.display());
}

/// Samples of all planes of both sizes, for each picture of the chunk.
fn pictures(task: &VideoTask, inputs: &Inputs, backend: &Backend) -> Vec<Vec<Vec<u8>>> {
    let mut decoder = backend.decoder(&task.stream, inputs).unwrap();
    let mut scaler = backend.scaler(task).unwrap();
    let mut found = Vec::new();
    while let Some(picture) = decoder.next_picture().unwrap() {
        for sizes in scaler.push(picture).unwrap() {
            let planes = sizes.iter().map(|picture| picture.look(|frame| Ok(planes(frame))).unwrap());
            found.push(planes.flatten().collect());
        }
    }
    assert!(scaler.finish().unwrap().is_empty());
    found
}

/// Rows without what pads them.
fn planes(frame: &ffmpeg_next::frame::Video) -> Vec<Vec<u8>> {
    let size = |plane: usize| match plane {
        0 => (frame.width() as usize, frame.height() as usize),
        _ => (frame.width().div_ceil(2) as usize, frame.height().div_ceil(2) as usize),
    };
    let plane = |plane: usize| {
        let (width, height) = size(plane);
        frame.data(plane).chunks(frame.stride(plane)).take(height).flat_map(|row| &row[..width]).copied().collect()
    };
    (0..3).map(plane).collect()
}

/// 99 for what is the same.
fn psnr_db(found: &[u8], wanted: &[u8]) -> f64 {
    let square = |(a, b): (&u8, &u8)| f64::from(a.abs_diff(*b)).powi(2);
    let mean = found.iter().zip(wanted).map(square).sum::<f64>() / found.len() as f64;
    if mean == 0.0 { 99.0 } else { 10.0 * (255.0f64.powi(2) / mean).log10() }
}
