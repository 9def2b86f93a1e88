//! FFmpeg's own tools: what is in a file, by somebody else's reader.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{run, run_with_complaints};

/// The decoded frames of one stream.
pub struct Frames {
    /// Presentation times in order of output, in ticks.
    pub times: Vec<i64>,
    /// Seconds of a tick, as a fraction.
    pub base: (i64, i64),
    /// Coded width and height; 0 for audio.
    pub size: (u32, u32),
    /// Samples of all audio frames; 0 for video.
    pub samples: u64,
    /// Samples per second; 0 for video.
    pub sample_rate: u64,
}

impl Frames {
    /// Decodes stream `selector` (`v:0`, `a:1`) of `file`.
    pub fn of(file: &Path, selector: &str) -> Self {
        let entries = "frame=best_effort_timestamp,nb_samples:stream=time_base,width,height,sample_rate";
        let mut command = Command::new("ffprobe");
        command.args(["-v", "error", "-of", "json", "-show_frames", "-select_streams", selector]);
        // Sources may be broken on purpose; ours are decoded once more, with complaints, by `assert_decodes`.
        let (text, _) = run_with_complaints(command.args(["-show_entries", entries]).arg(file));
        let found: Value = serde_json::from_str(&text).unwrap();
        let stream = &found["streams"][0];
        let whole = |value: &Value| value.as_str().and_then(|text| text.parse().ok()).or(value.as_u64()).unwrap_or(0);
        let (numerator, denominator) = stream["time_base"].as_str().expect("a stream").split_once('/').unwrap();
        let frames = found["frames"].as_array().unwrap();
        Self {
            times: frames.iter().map(|f| f["best_effort_timestamp"].as_i64().expect("a frame's time")).collect(),
            base: (numerator.parse().unwrap(), denominator.parse().unwrap()),
            size: (whole(&stream["width"]) as u32, whole(&stream["height"]) as u32),
            samples: frames.iter().map(|frame| frame["nb_samples"].as_u64().unwrap_or(0)).sum(),
            sample_rate: whole(&stream["sample_rate"]),
        }
    }

    /// Time of frame `index` counted from the first one, in units that two bases share: exact.
    pub fn since_first(&self, index: usize, other: &Frames) -> i128 {
        let ticks = i128::from(self.times[index] - self.times[0]);
        ticks * i128::from(self.base.0) * i128::from(other.base.1)
    }

    /// Seconds from zero to the first frame.
    pub fn start_seconds(&self) -> f64 {
        self.times[0] as f64 * self.base.0 as f64 / self.base.1 as f64
    }

    /// Length of the audio that came out of the decoder.
    pub fn audio_seconds(&self) -> f64 {
        self.samples as f64 / self.sample_rate as f64
    }
}

/// The file has a stream of this kind (`v`, `a`) that is not a cover picture.
pub fn has(file: &Path, kind: &str) -> bool {
    let (text, _) = run_with_complaints(
        Command::new("ffprobe")
            .args(["-v", "quiet", "-select_streams", kind, "-show_entries", "stream=index:stream_disposition="])
            .args(["-of", "csv=p=0"])
            .arg(file),
    );
    !text.trim().is_empty()
}

/// FFmpeg's name of the codec of the only stream.
pub fn codec(file: &Path) -> String {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0"]);
    run(command.arg(file)).trim().to_owned()
}

/// How long the file says that it lasts.
pub fn seconds(file: &Path) -> f64 {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0"]);
    run(command.arg(file)).trim().parse().unwrap()
}

/// Every frame of every stream decodes without a word from the decoder.
pub fn assert_decodes(file: &Path) {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-xerror", "-i"]).arg(file);
    run(command.args(["-map", "0", "-fps_mode", "passthrough", "-f", "null", "-"]));
}

/// Flags of a track's packets in decode order: `true` where decoding may start.
pub fn key_packets(file: &Path) -> Vec<bool> {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-select_streams", "v:0", "-show_entries", "packet=flags", "-of", "csv=p=0"]);
    run(command.arg(file)).lines().map(|line| line.starts_with('K')).collect()
}

/// Packets of each stream of a kind, as FFmpeg's HLS or DASH reader finds them. One stream at a time: asked for all at
/// once, the DASH reader ends with the first that ends.
pub fn packets_by_stream(list: &Path, kind: &str) -> Vec<u64> {
    let packets = |number: usize| -> Option<u64> {
        let mut command = Command::new("ffprobe");
        command.args(["-v", "error", "-select_streams", &format!("{kind}:{number}"), "-count_packets", "-of", "json"]);
        let text = run(command.args(["-show_entries", "stream=nb_read_packets"]).arg(list));
        let found: Value = serde_json::from_str(&text).unwrap();
        found["streams"].get(0).map(|stream| stream["nb_read_packets"].as_str().unwrap().parse().unwrap())
    };
    (0..).map_while(packets).collect()
}

/// PSNR of the luma of each frame against the source: the n-th frame shown against the n-th of the source, upright and
/// scaled to the track's size.
pub fn psnr(source: &Path, track: &Path, (width, height): (u32, u32)) -> Vec<f64> {
    let log = tempfile::NamedTempFile::new().unwrap();
    let same = "setsar=1,format=yuv420p,settb=1/90000,setpts=N*3000";
    let graph = format!(
        "[0:v:0]scale={width}:{height}:flags=lanczos,{same}[source];[1:v:0]{same}[track];\
         [track][source]psnr=stats_file={}",
        log.path().display()
    );
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "fatal", "-i"]).arg(source).arg("-i").arg(track);
    run_with_complaints(command.args(["-lavfi", &graph, "-f", "null", "-"]));
    let text = std::fs::read_to_string(log.path()).unwrap();
    let values = text.lines().filter_map(|line| line.split("psnr_y:").nth(1)?.split_whitespace().next());
    // Identical frames are "inf".
    values.map(|value| value.parse::<f64>().unwrap().min(99.0)).collect()
}
