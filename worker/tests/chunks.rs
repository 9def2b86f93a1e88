//! Index and encode real clips chunk by chunk, in this process, and let FFmpeg judge the joined track.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use shared::error::ErrorKind;
use shared::family::Family;
use shared::rendition::RateControl;
use shared::task::{VideoReceipt, VideoTask};
use shared::time::SegmentGrid;
use worker::task::Emission;
use worker::video::encode_chunk;

#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "support/indexed.rs"]
mod indexed;

use indexed::{Indexed, clip, index};

/// A chunk of one segment; `family` has to make the large rendition.
fn segment(indexed: &Indexed, number: u64, cut: (SegmentGrid, u64), family: Family) -> VideoTask {
    VideoTask { pins: BTreeMap::from([("large".into(), family)]), ..indexed.segment(number, cut) }
}

/// All chunks, a segment each, of which `second` makes every second; returns the receipts and the joined track of each
/// rendition.
fn encode(indexed: &Indexed, segment_ms: u32, second: Family) -> (Vec<VideoReceipt>, Vec<Vec<u8>>) {
    let grid = SegmentGrid::new(segment_ms).unwrap();
    let cut = (grid, indexed.segments(grid));
    let mut receipts = Vec::new();
    let mut tracks: Vec<Vec<u8>> = vec![Vec::new(); 2];
    for number in 0..cut.1 {
        let family = if number % 2 == 1 { second } else { Family::default() };
        let task = segment(indexed, number, cut, family);
        let mut emit = |emission| {
            if let Emission::Object { key, bytes, .. } = emission {
                let rung = task.renditions.iter().position(|rendition| key.starts_with(&rendition.name)).unwrap();
                tracks[rung].extend(bytes);
            }
            Ok(())
        };
        receipts.push(encode_chunk(&task, &indexed.inputs(&task.lists), &mut emit).unwrap());
    }
    let task = indexed.segment(0, cut);
    for (rung, track) in tracks.iter_mut().enumerate() {
        let configs = receipts.iter().map(|receipt| receipt.parts[rung].config.clone());
        let config = configs.reduce(|one, other| one.union(&other).unwrap()).unwrap();
        track.splice(0..0, indexed.init(&task, rung, config));
    }
    (receipts, tracks)
}

/// Seconds of each frame, as ffprobe sees them.
fn frame_times(path: &Path) -> Vec<f64> {
    let said = Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-select_streams",
            "v:0",
            "-show_entries",
            "frame=best_effort_timestamp_time",
            "-of",
            "csv=p=0",
        ])
        .arg(path)
        .output()
        .expect("ffprobe should be installed");
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    text.lines().filter_map(|line| line.trim_end_matches(',').parse().ok()).collect()
}

fn judge(indexed: &Indexed, segment_ms: u32, second: Family) -> Vec<VideoReceipt> {
    let source = &indexed.source;
    let (receipts, tracks) = encode(indexed, segment_ms, second);
    let expected = frame_times(source);
    for receipt in &receipts {
        assert_eq!(receipt.frames, receipt.frames_expected, "{}", source.display());
        assert_eq!(receipt.decode_errors, 0);
    }
    // The beginning is looked at, and nothing else of so short a clip.
    for (chunk, part) in
        receipts.iter().enumerate().flat_map(|(chunk, receipt)| receipt.parts.iter().map(move |p| (chunk, p)))
    {
        let psnr_mdb = part.making.psnr_mdb;
        assert_eq!(psnr_mdb.is_some(), chunk == 0, "{}: chunk {chunk}", source.display());
        assert!(psnr_mdb.is_none_or(|mdb| mdb > 28_000), "{}: {psnr_mdb:?}", source.display());
    }
    for pair in receipts.windows(2) {
        let (before, after) = (&pair[0].parts[0].segments, &pair[1].parts[0].segments);
        let end = before.last().map(|segment| segment.start + segment.duration as i64);
        assert_eq!(end, after.first().map(|segment| segment.start), "a gap between chunks");
        let alike = pair[0].parts[0].family == pair[1].parts[0].family;
        assert_eq!(pair[0].parts[0].config == pair[1].parts[0].config, alike);
    }
    for track in tracks {
        let mut file = tempfile::NamedTempFile::with_suffix(".mp4").unwrap();
        file.write_all(&track).unwrap();
        assert_decodes(file.path());
        let times = frame_times(file.path());
        assert_eq!(times.len(), expected.len(), "{}", source.display());
        for (frame, (made, source)) in times.iter().zip(&expected).enumerate() {
            let off = (made - times[0]) - (source - expected[0]);
            assert!(off.abs() < 0.0011, "frame {frame} is {off} s off");
        }
    }
    receipts
}

/// FFmpeg decodes all of it without a word.
fn assert_decodes(path: &Path) {
    let decode = ["-v", "warning", "-xerror", "-f", "null", "-"];
    let said = Command::new("ffmpeg").args(&decode[..2]).arg("-i").arg(path).args(&decode[2..]).output().unwrap();
    let complaints = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success() && complaints.is_empty(), "{}: {complaints}", path.display());
}

/// Each of these is cut into a chunk for every segment, and no frame is lost, doubled or moved.
#[test]
fn every_frame_is_made_once_at_its_time() {
    let clips = [
        "bunny_720p25.mp4",
        "edit_list.mp4",
        "hevc_bframes.mp4",
        "late_audio.mp4",
        "odd_size_321x241.mp4",
        "open_gop_2997.mp4",
        "pyramid_sar_no_audio.mp4",
        "rotated_90_vfr.mp4",
        "start_131s.ts",
        "vfr_slow_motion.mp4",
        "vp9_opus.webm",
    ];
    clips.iter().for_each(|name| drop(judge(&index(&clip(name)).unwrap(), 2000, Family::default())));
}

/// x264 changes its ids, reference frames and reordering from chunk to chunk; the init segment has the sets of both.
#[test]
fn chunks_of_two_families_are_one_track() {
    for name in ["bunny_720p25.mp4", "open_gop_2997.mp4"] {
        let receipts = judge(&index(&clip(name)).unwrap(), 2000, Family::StandIn);
        let [software, both] = [&receipts[0], &receipts[1]].map(|receipt| &receipt.parts[0].config);
        assert_eq!(both.union(software).unwrap(), *both, "software's sets are there before it has to step in");
        let families = receipts.iter().map(|receipt| receipt.parts[0].family);
        assert!(families.eq([Family::Software, Family::StandIn].into_iter().cycle().take(receipts.len())), "{name}");
        assert!(receipts.len() > 1 && receipts.iter().all(|receipt| receipt.parts[1].family.is_software()), "{name}");
    }
}

#[test]
fn a_family_that_is_not_here_is_said_to_be_missing() {
    let indexed = index(&clip("bunny_720p25.mp4")).unwrap();
    let task = segment(&indexed, 1, (SegmentGrid::new(2000).unwrap(), 3), Family::NvencAda);
    let error = encode_chunk(&task, &indexed.inputs(&task.lists), &mut |_| Ok(())).unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Unsupported, "family_unavailable"));
    assert_eq!(error.message, "large has to be made by nvenc-ada, and no such h264 encoder is here");
}

/// Feeds the joined track to a decoder buffer of the declared rate and size, filled as declared.
#[test]
fn the_joined_track_keeps_the_declared_buffer() {
    let mut indexed = index(&clip("bunny_720p25.mp4")).unwrap();
    indexed.rate = RateControl { crf: 10.0, maxrate_bps: 1_500_000, bufsize_bits: 3_000_000 };
    let (receipts, tracks) = encode(&indexed, 2000, Family::default());
    let rate = indexed.rate;
    let mut file = tempfile::NamedTempFile::with_suffix(".mp4").unwrap();
    file.write_all(&tracks[0]).unwrap();
    let sizes = packet_sizes(file.path());
    assert_eq!(sizes.len() as u64, receipts.iter().map(|receipt| receipt.frames).sum::<u64>());
    let per_frame = f64::from(rate.maxrate_bps) / indexed.stream().frame_rate.per_second();
    let (buffer, mut fill) = (f64::from(rate.bufsize_bits), 0.9 * f64::from(rate.bufsize_bits) / 1.9);
    let total: u64 = sizes.iter().sum();
    assert!(total as f64 * 8.0 > per_frame * sizes.len() as f64 * 0.6, "the ceiling is not reached: nothing is tested");
    for (frame, size) in sizes.iter().enumerate() {
        fill = (fill - *size as f64 * 8.0 + per_frame).min(buffer);
        assert!(fill >= 0.0, "the buffer is empty at frame {frame}");
    }
}

fn packet_sizes(path: &Path) -> Vec<u64> {
    let said = Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", "v:0", "-show_entries", "packet=size", "-of", "csv=p=0"])
        .arg(path)
        .output()
        .expect("ffprobe should be installed");
    String::from_utf8_lossy(&said.stdout).lines().filter_map(|line| line.trim_end_matches(',').parse().ok()).collect()
}

#[test]
fn what_is_no_media_is_refused_with_its_reason() {
    let code = |name: &str| index(&clip(name)).map(|_| ()).unwrap_err().code;
    assert_eq!(code("refused_text.mp4"), "not_media");
    assert_eq!(code("refused_no_moov.mp4"), "no_moov");
    assert_eq!(code("refused_vvc.mp4"), "video_codec");
}

/// 24 s with a key frame every 15 s, from 2 s on: neither picture size nor anything to show in the first 13 s.
#[test]
fn a_recording_that_begins_long_before_a_key_frame_keeps_its_picture() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long_gop.ts");
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=s=160x120:r=10:d=24", "-f", "lavfi", "-i", "sine=d=24"])
        .args(["-c:v", "libx264", "-preset", "ultrafast", "-g", "150", "-sc_threshold", "0", "-c:a", "aac"])
        .arg(&path)
        .status()
        .unwrap();
    assert!(made.success());
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[whole.len() / 188 / 12 * 188..]).unwrap();
    let indexed = index(&path).unwrap();
    let video = indexed.stream();
    assert_eq!((video.width_px, video.height_px), (160, 120));
    assert_eq!(indexed.gops.iter().map(|gop| gop.frames).sum::<u32>(), 90);
    let seconds = indexed.gops[0].first / i64::from(video.timescale.get());
    assert!((12..15).contains(&seconds), "the first picture is shown at {seconds} s");
}
