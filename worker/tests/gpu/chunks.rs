//! Chunks in every placement: frames right, and where the receipt says.

use std::process::Command;

use shared::fleet::Class;
use shared::rendition::VideoCodec;
use shared::task::{Outcome, Receipt, VideoReceipt, VideoTask};

use crate::scene::{Crew, Machine, Source};

/// FFmpeg decodes every promised frame of each rendition, without a word.
fn judge(source: &Source, task: &VideoTask, receipt: &VideoReceipt) {
    assert_eq!(receipt.frames, receipt.frames_expected);
    for rung in 0..task.renditions.len() {
        let file = source.track(task, receipt, rung);
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

async fn make(machine: &Machine, clip: &str, codec: VideoCodec, class: Class) -> VideoReceipt {
    let (source, crew) = (Source::new(clip), Crew::start(machine));
    let ready = crew.heartbeat(|heartbeat| class == Class::Cpu || heartbeat.classes.contains(&class)).await;
    assert_eq!(ready.worker.as_str(), "tester");
    let task = source.task(codec);
    let outcome = crew.make(&source, 0, task.clone(), class).await;
    crew.stop().await;
    let Outcome::Done(Receipt::Video(receipt)) = outcome else { panic!("{outcome:?}") };
    judge(&source, &task, &receipt);
    receipt
}

#[tokio::test]
async fn a_chunk_that_never_leaves_the_card_is_right() {
    let machine = Machine::new("l4", "");
    for (clip, codec) in [("edit_list.mp4", VideoCodec::H264), ("hevc_bframes.mp4", VideoCodec::Hevc)] {
        let receipt = make(&machine, clip, codec, Class::Gpu).await;
        let hardware = &receipt.hardware;
        assert_eq!(hardware.placement.as_str(), "nvdec+cuda+nvenc", "{clip}");
        assert_eq!((hardware.fallbacks.as_slice(), hardware.uploaded_bytes), (&[][..], 0));
        // One picture of each of two renditions is compared with what came out.
        assert!(hardware.downloaded_bytes < 2 * 854 * 480 * 3 / 2, "{}", hardware.downloaded_bytes);
        assert!(receipt.parts.iter().all(|part| part.encoder.starts_with("NVENC")), "{}", receipt.parts[0].encoder);
        assert!(hardware.gpu.starts_with("GPU-"));
    }
    assert_eq!(machine.complaints(), "");
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
    let source = Source::new("edit_list.mp4");
    let crew = Crew::start(&machine);
    let task = source.task(VideoCodec::H264);
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
