//! FFmpeg's programs: what they read of clips, what they decode as the reference, what x264 makes in them.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// What FFmpeg writes besides pictures goes here: errors alone.
const QUIET: [&str; 4] = ["-hide_banner", "-nostdin", "-v", "error"];

/// `ffmpeg` with these arguments.
pub fn command<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new("ffmpeg");
    command.args(QUIET).args(arguments).stdin(Stdio::null());
    command
}

/// What it writes to its output.
///
/// # Errors
/// It isn't there, or does not like what it reads.
pub fn output(mut command: Command) -> Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("{:?}", command.get_program()))?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(output.stdout)
}

/// What FFmpeg calls the codec of a file's first video stream.
pub fn codec(file: &Path) -> Result<String> {
    let mut ffprobe = Command::new("ffprobe");
    let shown = ["-select_streams", "v:0", "-show_entries", "stream=codec_name", "-of", "csv=p=0"];
    ffprobe.args(["-v", "error"]).args(shown).arg(file);
    let said = String::from_utf8(output(ffprobe)?)?;
    Ok(said.lines().next().context("no video")?.trim_end_matches(',').to_owned())
}

/// Decoded pictures, one after another.
pub struct Pictures {
    child: Child,
    output: BufReader<ChildStdout>,
    /// In luma samples.
    pub width: usize,
    /// In luma samples.
    pub height: usize,
    /// Bits of a sample.
    pub depth: u8,
}

/// The planes Y, U and V; samples of more than 8 bits are two bytes, the lower first.
pub struct Planes(pub [Vec<u8>; 3]);

impl Pictures {
    /// All pictures of a file in showing order, as libavcodec decodes them.
    ///
    /// # Errors
    /// It is not 4:2:0 video.
    pub fn of(file: &Path) -> Result<Self> {
        let mut command = command(["-i".as_ref(), file.as_os_str()]);
        command.args(["-map", "0:v:0", "-fps_mode", "drop", "-strict", "-1", "-f", "yuv4mpegpipe", "-"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("ffmpeg")?;
        let mut output = BufReader::new(child.stdout.take().context("no pipe")?);
        let mut header = String::new();
        output.read_line(&mut header)?;
        if header.is_empty() {
            let ended = child.wait_with_output()?;
            bail!("FFmpeg decodes nothing: {}", String::from_utf8_lossy(&ended.stderr).trim());
        }
        let field = |key: char| header.split_whitespace().skip(1).find_map(|field| field.strip_prefix(key));
        let number = |key| field(key).and_then(|text| text.parse().ok()).context("a y4m header without a size");
        let (width, height) = (number('W')?, number('H')?);
        let depth = match field('C') {
            Some("420jpeg" | "420mpeg2" | "420paldv" | "420") | None => 8,
            Some("420p10") => 10,
            Some("420p12") => 12,
            Some(other) => bail!("not 4:2:0: {other}"),
        };
        Ok(Self { child, output, width, height, depth })
    }

    /// The next picture; `None` at the end.
    pub fn next_picture(&mut self) -> Result<Option<Planes>> {
        let mut line = Vec::new();
        self.output.read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(None);
        }
        ensure!(line.starts_with(b"FRAME"), "not a y4m frame");
        let bytes = if self.depth > 8 { 2 } else { 1 };
        let (half_width, half_height) = (self.width.div_ceil(2), self.height.div_ceil(2));
        let luma = self.width * self.height * bytes;
        let chroma = half_width * half_height * bytes;
        let mut planes = [vec![0; luma], vec![0; chroma], vec![0; chroma]];
        for plane in &mut planes {
            self.output.read_exact(plane)?;
        }
        Ok(Some(Planes(planes)))
    }
}

impl Drop for Pictures {
    /// Whoever has seen enough does not wait for the rest to be decoded.
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
