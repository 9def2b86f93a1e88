//! FFmpeg's cuvid decoders see the pictures that its software decoders see.

use std::path::Path;
use std::process::Command;

use crate::{encode, play};

const H264: &[&str] = &["-c:v", "libx264", "-g", "10", "-bf", "3", "-b_strategy", "0", "-pix_fmt", "yuv420p"];
const HEVC: &[&str] = &["-c:v", "libx265", "-x265-params", "log-level=none:keyint=10", "-pix_fmt", "yuv420p"];
const HEVC_10: &[&str] = &["-c:v", "libx265", "-x265-params", "log-level=none:keyint=10", "-pix_fmt", "yuv420p10le"];
const VP9: &[&str] = &["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-pix_fmt", "yuv420p"];
const AV1: &[&str] = &["-c:v", "libaom-av1", "-usage", "realtime", "-cpu-used", "8", "-pix_fmt", "yuv420p"];

/// Size, time and MD5 of each frame; on a card if one is named.
fn frames(before: &[&str], clip: &Path, after: &[&str], on: Option<(&str, &str)>) -> (String, String) {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error"]).args(before).arg("-i").arg(clip).args(after);
    ffmpeg.args(["-fps_mode", "passthrough", "-f", "framemd5", "-"]);
    let (output, ledger) = match on {
        Some((card, faults)) => play(&mut ffmpeg, card, faults),
        None => (ffmpeg.output().unwrap(), String::new()),
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    (text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect(), ledger)
}

#[track_caller]
fn assert_same(encoder: &[&str], decoder: &str, format: &str) {
    let folder = tempfile::tempdir().unwrap();
    let clip = folder.path().join("clip.mkv");
    // Odd numbers of macroblocks, and a height that is cropped.
    encode(&clip, "340x250", 25, encoder);
    let (software, _) = frames(&[], &clip, &["-pix_fmt", format], None);
    assert_eq!(software.lines().count(), 25);
    let (card, ledger) = frames(&["-c:v", decoder], &clip, &[], Some(("l4", "")));
    assert_eq!((card, ledger.as_str()), (software, ""));
}

#[test]
fn h264_with_b_frames() {
    assert_same(H264, "h264_cuvid", "nv12");
}

#[test]
fn hevc() {
    assert_same(HEVC, "hevc_cuvid", "nv12");
}

#[test]
fn hevc_of_10_bits() {
    assert_same(HEVC_10, "hevc_cuvid", "p010le");
}

#[test]
fn vp9() {
    assert_same(VP9, "vp9_cuvid", "nv12");
}

#[test]
fn av1() {
    assert_same(AV1, "av1_cuvid", "nv12");
}

#[test]
fn frames_that_stay_on_the_card_and_come_back_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let clip = folder.path().join("clip.mkv");
    encode(&clip, "340x250", 25, H264);
    let (software, _) = frames(&[], &clip, &["-pix_fmt", "nv12"], None);
    let hardware = ["-hwaccel", "cuda", "-hwaccel_output_format", "cuda", "-c:v", "h264_cuvid"];
    for faults in ["", "lazy_streams"] {
        let (card, ledger) = frames(&hardware, &clip, &["-vf", "hwdownload,format=nv12"], Some(("t4", faults)));
        assert_eq!((card, ledger.as_str()), (software.clone(), ""));
    }
}

#[test]
fn ffmpeg_transcodes_without_leaving_the_card() {
    let folder = tempfile::tempdir().unwrap();
    let [clip, coded] = ["clip.mkv", "coded.mkv"].map(|name| folder.path().join(name));
    encode(&clip, "340x250", 25, H264);
    for faults in ["", "lazy_streams", "encode:burst"] {
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-v", "error", "-y", "-hwaccel", "cuda", "-hwaccel_output_format", "cuda", "-c:v", "h264_cuvid"]);
        ffmpeg.arg("-i").arg(&clip).args(["-c:v", "h264_nvenc", "-bf", "3", "-rc", "constqp", "-qp", "16"]).arg(&coded);
        let (output, ledger) = play(&mut ffmpeg, "t4", faults);
        assert!(output.status.success(), "{faults}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(ledger, "", "{faults}");
        let worst = worst_frame(&clip, &coded, 25);
        assert!(worst > 40.0, "{faults}: a frame differs: {worst} dB");
    }
}

/// The luma PSNR, in dB, of the frame that differs most, of so many.
fn worst_frame(one: &Path, other: &Path, frames: usize) -> f64 {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-i"]).arg(one).arg("-i").arg(other);
    let output = ffmpeg.args(["-lavfi", "psnr=stats_file=-", "-f", "null", "-"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let luma =
        |line: &str| -> f64 { line.split_once("psnr_y:").unwrap().1.split(' ').next().unwrap().parse().unwrap() };
    assert_eq!(text.lines().count(), frames);
    text.lines().map(luma).fold(f64::INFINITY, f64::min)
}

#[test]
fn what_a_card_can_not_decode_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let clip = folder.path().join("clip.mkv");
    encode(&clip, "340x250", 3, AV1);
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-xerror", "-c:v", "av1_cuvid", "-i"]).arg(&clip).args(["-f", "null", "-"]);
    let (output, ledger) = play(&mut ffmpeg, "t4", "");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("Codec av1_cuvid is not supported"), "{said}");
    assert_eq!(ledger, "");
}
