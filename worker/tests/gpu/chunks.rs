//! Chunks in every placement: frames right, and where the receipt says.

use std::path::Path;
use std::process::Command;

use shared::family::Family;
use shared::fleet::Class;
use shared::rendition::VideoCodec;
use shared::task::{Outcome, Receipt, VideoReceipt, VideoTask};

use crate::indexed::{Indexed, clip, index};
use crate::pictures::{hdr, made, turned};
use crate::scene::{Crew, Machine, track};

/// FFmpeg decodes every promised frame of each rendition, without a word.
fn judge(source: &Indexed, task: &VideoTask, receipt: &VideoReceipt) {
    assert_eq!(receipt.frames, receipt.frames_expected);
    for rung in 0..task.renditions.len() {
        let file = track(source, task, receipt, rung);
        let decode = ["-v", "warning", "-xerror", "-i"];
        let said = Command::new("ffmpeg").args(decode).arg(file.path()).args(["-f", "null", "-"]).output().unwrap();
        let complaints = String::from_utf8_lossy(&said.stderr);
        assert!(said.status.success() && complaints.is_empty(), "{complaints}");
        let count = Command::new("ffprobe")
            .args(["-v", "error", "-count_frames", "-show_entries", "stream=nb_read_frames", "-of", "csv=p=0"])
            .arg(file.path())
            .output()
            .unwrap();
        let count = String::from_utf8_lossy(&count.stdout);
        assert_eq!(count.trim().trim_end_matches(',').parse(), Ok(receipt.frames), "{count}");
    }
}

async fn make(machine: &Machine, name: &str, codec: VideoCodec, class: Class) -> VideoReceipt {
    let (source, crew) = (index(&clip(name)).unwrap(), Crew::start(machine));
    let ready = crew.heartbeat(|heartbeat| class == Class::Cpu || heartbeat.classes.contains(&class)).await;
    assert_eq!(ready.worker.as_str(), "tester");
    let task = source.whole(codec);
    let outcome = crew.make(&source, 0, task.clone(), class).await;
    crew.stop().await;
    let Outcome::Done(Receipt::Video(receipt)) = outcome else { panic!("{outcome:?}") };
    judge(&source, &task, &receipt);
    receipt
}

#[tokio::test]
async fn a_chunk_that_never_leaves_the_card_is_right() {
    let machine = Machine::new("l4", "");
    for (name, codec) in [("edit_list.mp4", VideoCodec::H264), ("hevc_bframes.mp4", VideoCodec::Hevc)] {
        let receipt = make(&machine, name, codec, Class::Gpu).await;
        let hardware = &receipt.hardware;
        assert_eq!(hardware.placement.as_str(), "nvdec+cuda+nvenc", "{name}");
        assert_eq!((hardware.fallbacks.as_slice(), hardware.uploaded_bytes), (&[][..], 0));
        // One picture of each of two renditions is compared with what came out.
        assert!(hardware.downloaded_bytes < 2 * 854 * 480 * 3 / 2, "{}", hardware.downloaded_bytes);
        assert!(receipt.parts.iter().all(|part| part.encoder.starts_with("NVENC")), "{}", receipt.parts[0].encoder);
        assert!(hardware.gpu.starts_with("GPU-"));
    }
    assert_eq!(machine.complaints(), "");
}

/// 10 bit, brighter than SDR, and on its side: all three are seen to on the card.
#[tokio::test]
async fn an_hdr_recording_that_was_turned_never_leaves_the_card() {
    let folder = tempfile::tempdir().unwrap();
    let settings =
        ["-pix_fmt", "yuv420p10le", "-c:v", "libx265", "-preset", "ultrafast", "-x265-params", &hdr("smpte2084")];
    let source = index(&turned(&made(folder.path(), "pq.mp4", &settings), 90)).unwrap();
    let (machine, task) = (Machine::new("l4", ""), source.whole(VideoCodec::Hevc));
    assert!(task.transform.tone_map && task.transform.rotation != 0 && task.renditions[0].width_px < 300);
    let crew = Crew::well(&machine).await;
    let mut tracks = Vec::new();
    for (number, class) in [(0, Class::Gpu), (1, Class::Cpu)] {
        let outcome = crew.make(&source, number, task.clone(), class).await;
        let Outcome::Done(Receipt::Video(receipt)) = outcome else { panic!("{outcome:?}") };
        judge(&source, &task, &receipt);
        let placement = if class == Class::Gpu { "nvdec+cuda+nvenc" } else { "software" };
        assert_eq!(receipt.hardware.placement.as_str(), placement);
        tracks.push(track(&source, &task, &receipt, 0));
    }
    crew.stop().await;
    let worst = psnr_db(tracks[0].path(), tracks[1].path()).into_iter().fold(f64::INFINITY, f64::min);
    assert!(worst > 32.0, "{worst:.1} dB between what the card and what software has made");
    assert_eq!(machine.complaints(), "");
}

/// What FFmpeg says of the luma of each picture of two tracks.
fn psnr_db(one: &Path, other: &Path) -> Vec<f64> {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-v", "error", "-i"]).arg(one).arg("-i").arg(other);
    let said = ffmpeg.args(["-lavfi", "psnr=stats_file=-", "-f", "null", "-"]).output().unwrap();
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let values = text.lines().filter_map(|line| line.split("psnr_y:").nth(1)?.split_whitespace().next());
    values.map(|value| value.parse::<f64>().unwrap().min(99.0)).collect()
}

/// It takes pictures from the host's memory, which the card's own way does not.
#[tokio::test]
async fn where_our_way_to_nvenc_is_closed_ffmpeg_goes_its_own() {
    let machine = Machine::new("t4", "NvEncRegisterResource@1+=8");
    let receipt = make(&machine, "edit_list.mp4", VideoCodec::H264, Class::Gpu).await;
    assert_eq!(receipt.hardware.placement.as_str(), "nvdec+cuda+ffmpeg_nvenc", "{:?}", receipt.hardware);
    assert_eq!(receipt.hardware.fallbacks, []);
    assert!(
        receipt.parts.iter().all(|part| part.encoder.starts_with("h264_nvenc") && part.family == Family::FfmpegNvenc)
    );
    assert!(receipt.hardware.downloaded_bytes > 0);
}

#[tokio::test]
async fn what_the_card_does_not_decode_is_uploaded_once() {
    let (machine, folder) = (Machine::new("l4", ""), tempfile::tempdir().unwrap());
    let (odd, film) = ("../farm/tests/media/odd_size_321x241.mp4", folder.path().join("film.mp4"));
    let made = ["-c:v", "mpeg4", "-q:v", "3", "-an"];
    let ffmpeg = Command::new("ffmpeg").args(["-nostdin", "-v", "error", "-i", odd]).args(made).arg(&film).status();
    assert!(ffmpeg.unwrap().success());
    let receipt = make(&machine, film.to_str().unwrap(), VideoCodec::H264, Class::Gpu).await;
    assert_eq!(receipt.hardware.placement.as_str(), "software+cuda+nvenc", "{:?}", receipt.hardware);
    assert_eq!(receipt.hardware.uploaded_bytes, receipt.frames * (321 * 241 + 2 * 161 * 121));
    assert_eq!(machine.complaints(), "");
}

#[tokio::test]
async fn a_card_that_only_decodes_helps_x264() {
    let machine = Machine::new("h200", "");
    let source = index(&clip("edit_list.mp4")).unwrap();
    let crew = Crew::start(&machine);
    let task = source.whole(VideoCodec::H264);
    // It has no class of its own, so it can't be told from outside when the card has proven itself: until then, software.
    for number in 0.. {
        let Outcome::Done(Receipt::Video(receipt)) = crew.make(&source, number, task.clone(), Class::Cpu).await else {
            panic!("chunk {number} failed")
        };
        judge(&source, &task, &receipt);
        if receipt.hardware.placement.needs_gpu() {
            assert_eq!(receipt.hardware.placement.as_str(), "nvdec+cuda+software");
            assert!(receipt.hardware.downloaded_bytes > 0 && receipt.hardware.uploaded_bytes == 0);
            assert!(receipt.parts[0].encoder.starts_with("libx264"));
            break;
        }
        assert!(number < 20, "the card is never used");
    }
    crew.stop().await;
    assert_eq!(machine.complaints(), "");
}
