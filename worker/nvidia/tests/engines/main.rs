//! The engines on a driver that only looks like one: it checks every call, and codes on the host.
//!
//! Each test starts itself again with that driver on its library path; a test fails if its child does, or if the driver
//! wrote anything into its list of violations, which what was not given back is one of. What comes out is compared with
//! FFmpeg's own decoders.

mod chain;
mod decode;
mod encode;

use std::path::{Path, PathBuf};
use std::process::Command;

use card::Library;
use nvidia::Codec;
use nvidia::encode::Packet;

/// Runs `body` in a child on this card with these faults, and gives it a folder for its files. `test` is the name of the
/// test itself.
fn on(card: &str, faults: &str, test: &str, body: impl FnOnce(&Path)) {
    if let Some(folder) = std::env::var_os("NVIDIA_TEST_CHILD") {
        return body(&PathBuf::from(folder));
    }
    let folder = tempfile::tempdir().unwrap();
    card::folder(folder.path(), &card::folder::built().unwrap(), &Library::ALL).unwrap();
    let ledger = folder.path().join("violations");
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args([test, "--exact", "--nocapture"]).env("NVIDIA_TEST_CHILD", folder.path());
    card::play(&mut child, folder.path(), card, faults, &ledger);
    let output = child.output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    let violations = std::fs::read_to_string(&ledger).unwrap_or_default();
    assert_eq!(violations, "", "{said}");
}

/// What FFmpeg writes to its standard output.
fn ffmpeg(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("ffmpeg").args(["-v", "error", "-nostdin", "-y"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The pictures that FFmpeg decodes these packets to, one after the other.
fn decoded(folder: &Path, codec: Codec, packets: &[Packet], pixels: &str) -> Vec<u8> {
    let format = match codec {
        Codec::H264 => "h264",
        Codec::Hevc => "hevc",
        _ => "obu",
    };
    let path = folder.join(format!("out.{format}"));
    std::fs::write(&path, packets.iter().flat_map(|packet| packet.data.clone()).collect::<Vec<_>>()).unwrap();
    let path = path.to_str().unwrap();
    ffmpeg(&["-f", format, "-i", path, "-vsync", "passthrough", "-f", "rawvideo", "-pix_fmt", pixels, "-"])
}

/// Peak signal to noise of samples of 8 bits, in dB.
fn psnr<'a>(pairs: impl Iterator<Item = (&'a u8, &'a u8)>) -> f64 {
    let (mut square, mut count) = (0u64, 0u64);
    for (one, other) in pairs {
        square += u64::from(one.abs_diff(*other)).pow(2);
        count += 1;
    }
    10.0 * (255.0 * 255.0 * count as f64 / square.max(1) as f64).log10()
}
