//! Our CMAF, read by FFmpeg: encoder output goes into init and media segments, and FFmpeg must find in them what it put
//! into a container of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use shared::cmaf::{
    CmafError, DecoderConfig, Edit, InitKind, InitSegment, MediaSegment, Movie, MovieTrack, Sample, SegmentSummary,
    Shown, decode_times, read_segment, reorder_delay,
};
use shared::source::Color;
use shared::time::{FrameRate, Timescale};

const COLOR: Color = Color { primaries: 1, transfer: 1, matrix: 1, full_range: false };

/// What FFmpeg encoded, packet by packet. NUT keeps packets and extradata as the encoder gave them.
struct Encoded {
    file: PathBuf,
    timescale: Timescale,
    extradata: Vec<u8>,
    packets: Vec<Packet>,
}

struct Packet {
    data: Vec<u8>,
    pts: i64, // from the first frame on
    key: bool,
}

/// Standard output of a command; `None` if this machine does not have it or it fails.
fn output(program: &str, args: &[&str]) -> Option<Vec<u8>> {
    let output = Command::new(program).args(args).stderr(Stdio::null()).output().ok()?;
    output.status.success().then_some(output.stdout)
}

fn probe(file: &Path, args: &[&str]) -> Value {
    let all = [&["-v", "error", "-of", "json"], args, &[file.to_str().unwrap()]].concat();
    serde_json::from_slice(&output("ffprobe", &all).expect("ffprobe should read the file")).unwrap()
}

/// `None`, with a word about it, where the encoder is missing.
fn encode(dir: &Path, input: &str, args: &str) -> Option<Encoded> {
    let file = dir.join("encoded.nut");
    let args: Vec<_> = args.split(' ').collect();
    let input = ["-v", "error", "-f", "lavfi", "-i", input];
    let run = output("ffmpeg", &[&input, args.as_slice(), &["-flags", "+global_header", file.to_str()?]].concat());
    if run.is_none() {
        eprintln!("SKIPPED {}: no ffmpeg that does {args:?}", std::thread::current().name().unwrap_or("test"));
        return None;
    }
    let entries = "stream=extradata,time_base:packet=pts,flags,data";
    let probed = probe(&file, &["-show_data", "-show_packets", "-show_entries", entries]);
    let stream = &probed["streams"][0];
    let packets = probed["packets"].as_array().unwrap();
    let first = packets.iter().map(|packet| packet["pts"].as_i64().unwrap()).min().unwrap();
    let packets = packets.iter().map(|packet| Packet {
        data: dumped(&packet["data"]),
        pts: packet["pts"].as_i64().unwrap() - first,
        key: packet["flags"].as_str().unwrap().starts_with('K'),
    });
    let ticks = stream["time_base"].as_str().unwrap().strip_prefix("1/").unwrap().parse().unwrap();
    Some(Encoded {
        timescale: Timescale::new(ticks).unwrap(),
        extradata: dumped(&stream["extradata"]),
        packets: packets.collect(),
        file,
    })
}

/// Bytes of ffprobe's dump: lines of `00000000: 0164 000c ffe1  .d.....`.
fn dumped(dump: &Value) -> Vec<u8> {
    let lines = dump.as_str().unwrap().lines().filter_map(|line| line.split_once(": "));
    let digits: String = lines.map(|(_, line)| &line[..line.len().min(40)]).collect();
    shared::hex::decode(&digits.replace(' ', "")).unwrap()
}

/// A segment of `packets` as the farm times it; `next` is where the one after it starts.
fn segment(sequence: u32, packets: &[Packet], next: i64, delay: u32, config: &DecoderConfig) -> MediaSegment {
    let times: Vec<_> = packets.iter().map(|packet| packet.pts).collect();
    let mut times = decode_times(&times, delay).unwrap();
    times.push(next);
    let samples = packets.iter().zip(times.windows(2)).map(|(packet, times)| Sample {
        data: config.sample_data(&packet.data).unwrap(),
        duration: (times[1] - times[0]) as u32,
        composition: (packet.pts + i64::from(delay) - times[0]) as i32,
        sync: packet.key,
    });
    MediaSegment { sequence, decode_time: times[0] as u64, samples: samples.collect() }
}

/// FFmpeg's checksums of the decoded frames, in order.
fn frames(file: &Path) -> Vec<String> {
    let all =
        ["-v", "error", "-xerror", "-i", file.to_str().unwrap(), "-fps_mode", "passthrough", "-f", "framemd5", "-"];
    let text = String::from_utf8(output("ffmpeg", &all).expect("ffmpeg should decode the file")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit(", ").next().unwrap().to_owned()).collect()
}

fn video(encoder: &str, config: fn(&[u8]) -> Result<DecoderConfig, CmafError>) {
    const FRAMES: usize = 50;
    let dir = tempfile::tempdir().unwrap();
    let args = format!("-pix_fmt yuv420p -c:v {encoder}");
    let Some(encoded) = encode(dir.path(), "testsrc2=s=320x180:r=25:d=2", &args) else { return };
    let config = config(&encoded.extradata).unwrap();
    let timescale = encoded.timescale;
    let frame = i64::from(timescale.get() / 25);
    let delay = reorder_delay(timescale, FrameRate { numerator: 25, denominator: 1 });
    let init = InitSegment {
        kind: InitKind::Video { width_px: 320, height_px: 180, color: COLOR, delay },
        timescale,
        config: config.clone(),
        language: "und".to_owned(),
    };
    let mut bytes = init.write().unwrap().to_vec();
    let starts = (0..encoded.packets.len()).filter(|at| encoded.packets[*at].key);
    let edges: Vec<_> = starts.chain([encoded.packets.len()]).collect();
    for (number, edge) in edges.windows(2).enumerate() {
        let packets = &encoded.packets[edge[0]..edge[1]];
        let segment = segment(number as u32 + 1, packets, edge[1] as i64 * frame, delay, &config);
        let written = segment.clone().write().unwrap();
        let read = read_segment(&written.bytes).unwrap();
        assert_eq!(read.samples.len(), packets.len());
        assert_eq!(written.first_sample_end, (read.data.start + segment.samples[0].data.len()) as u64);
        bytes.extend(written.bytes);
    }
    let file = dir.path().join("ours.mp4");
    std::fs::write(&file, bytes).unwrap();

    let entries = "stream=width,height:frame=pts,key_frame";
    let probed = probe(&file, &["-show_frames", "-show_entries", entries]);
    let shown = probed["frames"].as_array().unwrap();
    let times: Vec<_> = shown.iter().map(|frame| frame["pts"].as_i64().unwrap()).collect();
    assert_eq!(times, (0..FRAMES as i64).map(|number| number * frame).collect::<Vec<_>>());
    assert_eq!(shown[0]["key_frame"], 1);
    let stream = &probed["streams"][0];
    assert_eq!([&stream["width"], &stream["height"]], [320, 180]);
    assert_eq!(frames(&file), frames(&encoded.file), "the same pictures as in FFmpeg's container");
}

#[test]
fn ffmpeg_reads_our_h264() {
    // B-frames and two GOPs; each is a segment.
    video("libx264 -g 25 -sc_threshold 0 -bf 3", DecoderConfig::from_annexb_h264);
}

#[test]
fn ffmpeg_reads_our_hevc() {
    video("libx265 -x265-params log-level=none:keyint=25:scenecut=0:open-gop=0", DecoderConfig::from_annexb_hevc);
}

#[test]
fn ffmpeg_reads_our_av1() {
    video("libsvtav1 -preset 12 -g 25", DecoderConfig::from_av1);
}

fn audio(encoder: &str, priming: i64, config: fn(&[u8]) -> Result<DecoderConfig, CmafError>) {
    let dir = tempfile::tempdir().unwrap();
    let args = format!("-ac 2 -c:a {encoder}");
    let Some(encoded) = encode(dir.path(), "aevalsrc=sin(t*t*2000):d=1:s=48000", &args) else { return };
    let config = config(&encoded.extradata).unwrap();
    let edits = vec![Edit { media_time: Some(priming), duration: None }];
    let init = InitSegment {
        kind: InitKind::Audio { sample_rate_hz: 48_000, channels: 2, edits },
        timescale: encoded.timescale,
        config: config.clone(),
        language: "deu".to_owned(),
    };
    let end = 2 * encoded.packets.last().unwrap().pts - encoded.packets[encoded.packets.len() - 2].pts;
    let mut bytes = init.write().unwrap().to_vec();
    for (number, packets) in encoded.packets.chunks(20).enumerate() {
        let next = encoded.packets.get((number + 1) * 20).map_or(end, |packet| packet.pts);
        bytes.extend(segment(number as u32 + 1, packets, next, 0, &config).write().unwrap().bytes);
    }
    let file = dir.path().join("ours.mp4");
    std::fs::write(&file, bytes).unwrap();

    let entries = "stream=start_pts,sample_rate,channels:stream_tags=language";
    let stream = &probe(&file, &["-show_entries", entries])["streams"][0];
    assert_eq!(stream["start_pts"], -priming, "the signal starts at 0");
    assert_eq!(stream["channels"], 2);
    assert_eq!(stream["sample_rate"], "48000");
    assert_eq!(stream["tags"]["language"], "deu");
    let decode = |file: &Path| output("ffmpeg", &["-v", "error", "-i", file.to_str().unwrap(), "-f", "s16le", "-"]);
    let ours = decode(&file).expect("ffmpeg should decode the file");
    assert!(ours.len() > 4 * 48_000, "a second of stereo");
    assert!(Some(ours) == decode(&encoded.file), "the same signal as in FFmpeg's container");
}

#[test]
fn ffmpeg_reads_our_aac() {
    audio("aac", 1024, DecoderConfig::from_aac);
}

#[test]
fn ffmpeg_reads_our_opus() {
    audio("libopus", 312, DecoderConfig::from_opus);
}

/// Packets cut before every key frame, or every 20th if all are; the segments as they are read again.
fn summaries(encoded: &Encoded, end: i64, delay: u32, config: &DecoderConfig) -> Vec<(SegmentSummary, Vec<u8>)> {
    let packets = &encoded.packets;
    let all_keys = packets.iter().all(|packet| packet.key);
    let cut = |at: &usize| if all_keys { at.is_multiple_of(20) } else { packets[*at].key };
    let edges: Vec<usize> = (0..packets.len()).filter(cut).chain([packets.len()]).collect();
    let segments = edges.windows(2).map(|edge| {
        let next = packets.get(edge[1]).map_or(end, |packet| packet.pts);
        let bytes = segment(1, &packets[edge[0]..edge[1]], next, delay, config).write().unwrap().bytes;
        let summary = read_segment(&bytes).unwrap();
        let data = bytes[summary.data.clone()].to_vec();
        (summary, data)
    });
    segments.collect()
}

#[test]
fn ffmpeg_reads_our_movie() {
    let dir = tempfile::tempdir().unwrap();
    let (pictures, sound) = (dir.path().join("video"), dir.path().join("audio"));
    [&pictures, &sound].iter().for_each(|dir| std::fs::create_dir(dir).unwrap());
    let args = "-pix_fmt yuv420p -c:v libx264 -g 25 -sc_threshold 0 -bf 3";
    let Some(video) = encode(&pictures, "testsrc2=s=320x180:r=25:d=2", args) else { return };
    let Some(audio) = encode(&sound, "aevalsrc=sin(t*t*2000):d=1:s=48000", "-ac 2 -c:a aac") else { return };
    let config = DecoderConfig::from_annexb_h264(&video.extradata).unwrap();
    let delay = reorder_delay(video.timescale, FrameRate { numerator: 25, denominator: 1 });
    let init = InitSegment {
        kind: InitKind::Video { width_px: 320, height_px: 180, color: COLOR, delay },
        timescale: video.timescale,
        config: config.clone(),
        language: "und".to_owned(),
    };
    let second = u64::from(video.timescale.get());
    let shown = Shown { after: 0, from: delay.into(), duration: 2 * second };
    let chunks = summaries(&video, 2 * second as i64, delay, &config);
    let mut tracks = vec![(MovieTrack::new(init, shown), chunks)];

    let config = DecoderConfig::from_aac(&audio.extradata).unwrap();
    let init = InitSegment {
        kind: InitKind::Audio { sample_rate_hz: 48_000, channels: 2, edits: Vec::new() },
        timescale: audio.timescale,
        config: config.clone(),
        language: "deu".to_owned(),
    };
    // Half a second late; the priming in front and the remainder behind are not heard.
    let shown = Shown { after: 24_000, from: 1_024, duration: 48_000 };
    let chunks = summaries(&audio, 1_024 + 48_000, 0, &config);
    tracks.push((MovieTrack::new(init, shown), chunks));

    for (track, chunks) in &mut tracks {
        chunks.iter().for_each(|(summary, _)| track.push(summary).unwrap());
    }
    let head = Movie { tracks: tracks.iter().map(|(track, _)| track.clone()).collect() }.head().unwrap();
    assert_eq!(head.order, [(0, 0), (1, 0), (1, 1), (0, 1), (1, 2)]);
    let mut bytes = head.bytes.to_vec();
    head.order.iter().for_each(|(track, chunk)| bytes.extend(&tracks[*track].1[*chunk].1));
    let file = dir.path().join("movie.mp4");
    std::fs::write(&file, bytes).unwrap();

    let entries = "stream=codec_type,start_time,duration,nb_frames:format=duration:frame=pts,nb_samples";
    let probed = probe(&file, &["-show_format", "-show_frames", "-select_streams", "v", "-show_entries", entries]);
    let times: Vec<_> = probed["frames"].as_array().unwrap().iter().map(|f| f["pts"].as_u64().unwrap()).collect();
    assert_eq!(times, (0..50).map(|number| number * second / 25).collect::<Vec<_>>());
    assert_eq!(probed["format"]["duration"], "2.000000");
    assert_eq!([&probed["streams"][0]["start_time"], &probed["streams"][0]["nb_frames"]], ["0.000000", "50"]);
    let probed = probe(&file, &["-show_frames", "-select_streams", "a", "-show_entries", entries]);
    assert_eq!(probed["streams"][0]["start_time"], "0.500000");

    let kept =
        |file: &Path| output("ffmpeg", &["-v", "error", "-i", file.to_str().unwrap(), "-vn", "-f", "s16le", "-"]);
    let (ours, theirs) = (kept(&file).unwrap(), kept(&audio.file).unwrap());
    assert_eq!(ours.len() / 4, 48_128, "FFmpeg skips priming; of the last frame it plays all, of its own files too");
    assert!(ours == theirs[4 * 1_024..], "the signal");
    let pictures = |file: &Path| {
        output("ffmpeg", &["-v", "error", "-xerror", "-i", file.to_str().unwrap(), "-an", "-f", "md5", "-"])
    };
    assert_eq!(pictures(&file).unwrap(), pictures(&video.file).unwrap());
}
