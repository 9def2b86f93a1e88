//! Which streams are transcoded and what is known of them before the first packet.

use ffmpeg_next::format::context::Input;
use ffmpeg_next::format::stream::{Disposition, Stream};
use ffmpeg_next::packet::side_data::Type;
use ffmpeg_next::{Packet, Rational, media};
use shared::error::TaskError;
use shared::source::{AudioStream, Color, Finding, SourceInfo, Timing, Verdict, VideoStream};
use shared::time::{FrameRate, Timescale};

use crate::av::{self, VideoFacts};
use crate::codec::setup::Setup;

/// What is transcoded, and what the timeline needs to know besides.
pub struct Found {
    pub info: SourceInfo,
    /// Time base numerator of each stream of the container, by index.
    pub tick_factors: Vec<i64>,
    /// The container's timestamps may jump (MPEG-TS and its kin).
    pub may_jump: bool,
}

/// Chooses the streams and describes them.
pub fn describe(input: &Input, size: Option<u64>, max_pixels: u64) -> Result<Found, TaskError> {
    let container = input.format().name().to_owned();
    let mut info = SourceInfo {
        declared_ms: u64::try_from(input.duration() / 1000).ok().filter(|ms| *ms > 0),
        size_bytes: size,
        mark: None, // whoever opened the source knows it
        verdict: Verdict::Standard,
        findings: Vec::new(),
        video: None,
        audio: Vec::new(),
        ignored: Vec::new(),
        container,
    };
    let mut undecodable = Vec::new();
    for stream in input.streams() {
        match stream.parameters().medium() {
            media::Type::Video => video(&stream, &mut info, &mut undecodable),
            media::Type::Audio => audio(&stream, &mut info, &mut undecodable),
            other => info.ignored.push(format!("stream {}: {other:?}: not audio or video", stream.index())),
        }
    }
    if let Some((index, codec)) = undecodable.first().filter(|_| info.video.is_none()).filter(|(_, codec)| !codec.1) {
        let text = format!("stream {index}: no decoder for video codec {:?} here", codec.0);
        return Err(TaskError::unsupported("video_codec", text));
    }
    if info.video.is_none() && info.audio.is_empty() {
        let text = match undecodable.first() {
            Some((index, codec)) => format!("stream {index}: no decoder for audio codec {:?} here", codec.0),
            None => "the source has neither audio nor video".to_owned(),
        };
        return Err(TaskError::unsupported("no_streams", text));
    }
    if let Some(video) = &info.video {
        check_size(video, max_pixels)?;
    }
    note_unusual(&mut info);
    let may_jump = ["mpegts", "mpeg"].contains(&info.container.as_str());
    let tick_factors = input.streams().map(|stream| i64::from(stream.time_base().numerator().max(1))).collect();
    Ok(Found { info, tick_factors, may_jump })
}

type Undecodable = Vec<(usize, (String, bool))>; // stream, (codec, is audio)

fn timescale(stream: &Stream) -> Timescale {
    u32::try_from(stream.time_base().denominator()).ok().and_then(Timescale::new).unwrap_or(Timescale::MILLIS)
}

fn can_decode(stream: &Stream) -> bool {
    ffmpeg_next::decoder::find(stream.parameters().id()).is_some()
}

fn video(stream: &Stream, info: &mut SourceInfo, undecodable: &mut Undecodable) {
    let setup = av::stream_setup(stream);
    let index = stream.index();
    if stream.disposition().contains(Disposition::ATTACHED_PIC) {
        info.ignored.push(format!("stream {index}: {}: cover art", setup.codec));
    } else if !can_decode(stream) {
        info.ignored.push(format!("stream {index}: {}: no decoder here", setup.codec));
        undecodable.push((index, (setup.codec, false)));
    } else if setup.width <= 0 || setup.height <= 0 {
        info.ignored.push(format!("stream {index}: {}: no picture size", setup.codec));
    } else if info.video.is_some() {
        info.ignored.push(format!("stream {index}: {}: another video stream", setup.codec));
    } else {
        info.video = Some(describe_video(stream, &setup));
    }
}

fn describe_video(stream: &Stream, setup: &Setup) -> VideoStream {
    let facts = av::video_facts(stream);
    let (rotation, mirrored) = orientation(stream);
    let pixel_format = av::pixel_format_name(setup.format);
    VideoStream {
        index: stream.index() as u32,
        codec: setup.codec.clone(),
        setup: setup.seal(),
        timescale: timescale(stream),
        width_px: setup.width as u32,
        height_px: setup.height as u32,
        sample_aspect: sample_aspect(facts.sample_aspect),
        rotation,
        mirrored,
        frame_rate: frame_rate(stream),
        interlaced: facts.interlaced,
        color: color(facts, &pixel_format),
        pixel_format,
        timing: Timing::Packets,
    }
}

/// Square unless the container gives a sane shape: up to 16 times as wide as high or the reverse.
fn sample_aspect((width, height): (i32, i32)) -> (u32, u32) {
    match (u32::try_from(width), u32::try_from(height)) {
        (Ok(w), Ok(h)) if w > 0 && h > 0 && w / h < 16 && h / w < 16 => (w, h),
        _ => (1, 1),
    }
}

fn color(facts: VideoFacts, pixel_format: &str) -> Color {
    let rgb = ["rgb", "bgr", "gbr", "pal8", "argb", "abgr"].iter().any(|start| pixel_format.starts_with(start));
    Color {
        primaries: facts.primaries,
        transfer: facts.transfer,
        matrix: if rgb || facts.matrix == 0 { 6 } else { facts.matrix }, // swscale makes BT.601 of RGB
        full_range: facts.full_range || pixel_format.starts_with("yuvj"),
    }
}

/// The average, else the base rate, else 25: only for people, levels and streams without times.
fn frame_rate(stream: &Stream) -> FrameRate {
    let sane = |rate: Rational| {
        let (n, d) = (u32::try_from(rate.numerator()).ok()?, u32::try_from(rate.denominator()).ok()?);
        (n > 0 && d > 0 && n / d <= 1000).then_some(FrameRate { numerator: n, denominator: d })
    };
    sane(stream.avg_frame_rate()).or_else(|| sane(stream.rate())).unwrap_or(FrameRate { numerator: 25, denominator: 1 })
}

/// Turn and mirroring of the display matrix (ISO/IEC 14496-12 8.5.2.3): nine 16.16 numbers in native byte order.
fn orientation(stream: &Stream) -> (u32, bool) {
    let Some(matrix) = stream.side_data().find(|side| side.kind() == Type::DisplayMatrix) else { return (0, false) };
    let cells: Vec<f64> = matrix
        .data()
        .chunks_exact(4)
        .map(|cell| f64::from(i32::from_ne_bytes([cell[0], cell[1], cell[2], cell[3]])))
        .collect();
    let [a, b, _, c, d, ..] = cells[..] else { return (0, false) };
    let mirrored = a * d - b * c < 0.0;
    let a = if mirrored { -a } else { a };
    let quarter_turns = (b.atan2(a).to_degrees() / 90.0).round() as i32;
    (quarter_turns.rem_euclid(4) as u32 * 90, mirrored)
}

fn audio(stream: &Stream, info: &mut SourceInfo, undecodable: &mut Undecodable) {
    let setup = av::stream_setup(stream);
    let index = stream.index();
    if !can_decode(stream) {
        info.ignored.push(format!("stream {index}: {}: no decoder here", setup.codec));
        undecodable.push((index, (setup.codec, true)));
        return;
    }
    let (Ok(sample_rate_hz @ 1..), Ok(channels @ 1..)) =
        (u32::try_from(setup.sample_rate), u32::try_from(setup.channels))
    else {
        info.ignored.push(format!("stream {index}: {}: no sample rate or channels", setup.codec));
        return;
    };
    let tags = stream.metadata();
    info.audio.push(AudioStream {
        index: index as u32,
        codec: setup.codec.clone(),
        setup: setup.seal(),
        timescale: timescale(stream),
        sample_rate_hz,
        channels,
        language: tags.get("language").unwrap_or("und").to_owned(),
        title: tags.get("title").unwrap_or_default().to_owned(),
        default: stream.disposition().contains(Disposition::DEFAULT),
    });
}

fn check_size(video: &VideoStream, max_pixels: u64) -> Result<(), TaskError> {
    let pixels = u64::from(video.width_px) * u64::from(video.height_px);
    if pixels <= max_pixels {
        return Ok(());
    }
    let text =
        format!("{}x{} pictures have {pixels} pixels, {max_pixels} are allowed", video.width_px, video.height_px);
    Err(TaskError::input("too_many_pixels", text))
}

fn note_unusual(info: &mut SourceInfo) {
    let mut findings = Vec::new();
    let mut find = |code: &str, text: String, handling: &str| {
        findings.push(Finding { code: code.into(), text, handling: handling.into() });
    };
    if let Some(video) = &info.video {
        if video.rotation != 0 || video.mirrored {
            let mirrored = if video.mirrored { ", mirrored" } else { "" };
            find("rotated", format!("stored {} degrees off{mirrored}", video.rotation), "turned upright");
        }
        if video.interlaced {
            find("interlaced", "pictures are stored as fields".into(), "deinterlaced, one frame from each picture");
        }
        if video.sample_aspect.0 != video.sample_aspect.1 {
            let (w, h) = video.sample_aspect;
            find("anamorphic", format!("samples are {w}:{h}"), "scaled to square samples");
        }
    }
    let unused =
        info.ignored.iter().filter(|text| text.ends_with("no picture size") || text.ends_with("no decoder here"));
    for text in unused.cloned().collect::<Vec<_>>() {
        find("stream_left_out", text, "the other streams are transcoded");
    }
    if !findings.is_empty() {
        info.findings.append(&mut findings);
        info.verdict = Verdict::NonStandard;
    }
}

/// The packet's bytes are encrypted.
pub fn is_encrypted(packet: &Packet) -> bool {
    packet.side_data().any(|side| matches!(side.kind(), Type::EncryptionInfo | Type::EncryptionInitInfo))
}

/// Nothing can be done without the keys.
pub fn encrypted() -> TaskError {
    TaskError::unsupported("encrypted", "the source is encrypted (CENC) and the farm has no keys: upload a clear file")
}
