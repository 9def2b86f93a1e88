//! A receipt of every kind.

use shared::placement::{DecodeBy, EncodeBy, Fallback, Hardware, Placement, ScaleBy, Stage};

use super::*;

fn object(key: &str) -> StoredObject {
    StoredObject::of(key, key.as_bytes())
}

fn part(rendition: &str, config: DecoderConfig) -> TrackPart {
    let segment = |number: u64| SegmentInfo {
        number,
        start: 540_000 * number as i64,
        duration: 540_000,
        samples: 180,
        first_sample_end: 44_444,
        object: object(&format!("{rendition}/{number:06}.0123456789abcdef.m4s")),
    };
    let segments = vec![segment(1), segment(2)];
    TrackPart {
        rendition: rendition.into(),
        timescale: timescale(90_000),
        config,
        segments,
        encoder: "x264 164".into(),
        family: Family::Software,
        making: Default::default(),
    }
}

pub fn receipts() -> Vec<(&'static str, TaskName, Receipt)> {
    let spent = Spent::new(1_234, 5_678);
    let video = VideoReceipt {
        parts: vec![part("v-1080", DecoderConfig::Avc(shared::hex::decode(AVCC).unwrap()))],
        frames_expected: 361,
        frames: 360,
        first_pts: Some(540_000),
        last_pts: Some(1_617_000),
        decode_errors: 1,
        tiles: vec![(6, object("tiles/000006.jpg"))],
        poster: Some(object("poster.jpg")),
        spent,
        hardware: Hardware::default(),
    };
    let empty = VideoReceipt {
        parts: Vec::new(),
        frames_expected: 0,
        frames: 0,
        first_pts: None,
        last_pts: None,
        decode_errors: 0,
        tiles: Vec::new(),
        poster: None,
        spent: Spent::default(),
        hardware: Hardware::default(),
    };
    let audio = AudioReceipt {
        part: part("a-de", DecoderConfig::Aac(vec![0x11, 0x90])),
        samples: 48_000,
        start: MediaTime::new(-512, timescale(44_100)),
        priming: 1_024,
        filled: 96_000,
        dropped: 3,
        decode_errors: 2,
        spent,
    };
    let mut staged = video.clone();
    staged.spent.stages = Stages { fetch_ms: 1, decode_ms: 200, scale_ms: 30, encode_ms: 4_000, upload_ms: 5 };
    let mut placed = video.clone();
    placed.hardware = Hardware {
        placement: Placement { decode: DecodeBy::Nvdec, scale: ScaleBy::Cuda, encode: EncodeBy::Software },
        gpu: "GPU-6e1c5f36-0b1e-4b8c-9d57-2f6a3c0e9a11".into(),
        fallbacks: vec![Fallback::new(Stage::Encode, "v-1080: no encoder session is free")],
        uploaded_bytes: 0,
        downloaded_bytes: 1_119_744_000,
    };
    let mut mixed = video.clone();
    mixed.parts.push(TrackPart { family: Family::NvencAda, ..video.parts[0].clone() });
    let mut told = video.clone();
    told.parts[0].making = Making { encode_ms: 3_210, width_px: 1_920, height_px: 1_080, psnr_mdb: Some(41_500) };
    let index = IndexReceipt { verdict: Verdict::Corrupt, findings: findings(), bytes: 1 << 40, spent };
    let storyboard = StoryboardReceipt { sheets: vec![object("storyboard/000.jpg")], spent };
    vec![
        ("report-done-index", TaskName::Index, Receipt::Index(index)),
        ("report-done-video", TaskName::Video(12), Receipt::Video(video)),
        ("report-done-video-stages", TaskName::Video(12), Receipt::Video(staged)),
        ("report-done-video-gpu", TaskName::Video(12), Receipt::Video(placed)),
        ("report-done-video-making", TaskName::Video(12), Receipt::Video(told)),
        ("report-done-video-families", TaskName::Video(12), Receipt::Video(mixed)),
        ("report-done-video-empty", TaskName::Video(13), Receipt::Video(empty)),
        ("report-done-audio", TaskName::Audio(1), Receipt::Audio(audio)),
        ("report-done-storyboard", TaskName::Storyboard, Receipt::Storyboard(storyboard)),
    ]
}
