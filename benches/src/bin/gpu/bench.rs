//! What a stage works with: the card, clips, and films made for measuring.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nvidia::decode::{Cuvid, Decoder};
use nvidia::{Codec, Device, Surface};

use crate::stream::Stream;
use crate::{Arguments, ffmpeg};

/// Where the one clip lies that is measured with.
const FILM: &str = "bunny_720p25.mp4";

/// More packets than any film has.
const WHOLE: usize = 1 << 20;

/// The circumstances of a stage.
pub struct Bench {
    pub ordinal: u32,
    /// Whatever is measured is nobody's figure: be quick.
    pub quick: bool,
    /// For what stages make.
    pub scratch: PathBuf,
    clips: Vec<PathBuf>,
}

impl Bench {
    pub fn new(arguments: &Arguments) -> Result<Self> {
        Ok(Self {
            ordinal: arguments.device,
            quick: arguments.quick,
            scratch: arguments.scratch.clone().context("a stage without --scratch")?,
            clips: arguments.clips.clone(),
        })
    }

    /// The card, opened anew: each has a stream of its own.
    pub fn device(&self) -> Result<Device> {
        Ok(Device::open(self.ordinal)?)
    }

    /// The folder that holds the emulated libnvidia-encode alone.
    pub fn emulated_nvenc(&self) -> PathBuf {
        self.scratch.join("nvenc")
    }

    /// All files of the folders of clips, by name.
    pub fn clips(&self) -> Result<Vec<PathBuf>> {
        let mut clips = Vec::new();
        for folder in &self.clips {
            for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
                clips.push(entry?.path());
            }
        }
        clips.sort();
        Ok(clips)
    }

    /// What is measured with: an animated film of real motion.
    pub fn source(&self) -> Result<PathBuf> {
        let found = self.clips()?.into_iter().find(|clip| clip.ends_with(FILM));
        found.with_context(|| format!("no {FILM} in the folders of clips"))
    }

    /// The film in 1080p (quick: 360p) and in this codec and depth, made when it is asked for first.
    pub fn film(&self, codec: Codec, depth: u8) -> Result<Stream> {
        Stream::of(&self.film_file(codec, depth)?, WHOLE, &self.scratch)?.context("the film has no stream")
    }

    /// The same as the file that it comes in.
    pub fn film_file(&self, codec: Codec, depth: u8) -> Result<PathBuf> {
        let file = self.scratch.join(format!("film-{codec}-{depth}.mkv"));
        if !file.try_exists()? {
            self.make_film(codec, depth, &file)?;
        }
        Ok(file)
    }

    fn make_film(&self, codec: Codec, depth: u8, file: &Path) -> Result<()> {
        let (size, frames) = if self.quick { ("640:360", "24") } else { ("1920:1080", "240") };
        let pixels = if depth > 8 { "yuv420p10le" } else { "yuv420p" };
        let encoder: &[&str] = match codec {
            Codec::H264 => &["-c:v", "libx264", "-preset", "veryfast", "-b:v", "8M"],
            Codec::Hevc => {
                &["-c:v", "libx265", "-preset", "superfast", "-b:v", "6M", "-x265-params", "log-level=error"]
            }
            Codec::Vp9 => {
                &["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-row-mt", "1", "-b:v", "6M"]
            }
            Codec::Av1 => &["-c:v", "libsvtav1", "-preset", "12", "-crf", "35"],
        };
        let mut command = ffmpeg::command(["-y", "-i"]);
        command.arg(self.source()?).args(["-map", "0:v:0", "-frames:v", frames, "-pix_fmt", pixels]);
        command.args(["-vf", &format!("scale={size}:flags=lanczos")]).args(encoder).arg(file);
        command.env("SVT_LOG", "0");
        ffmpeg::output(command).with_context(|| format!("a film in {codec}"))?;
        Ok(())
    }
}

/// Decodes a stream from its beginning; `see` gets each picture in showing order with its number.
pub fn decode(
    device: &Device,
    cuvid: &Cuvid,
    stream: &Stream,
    mut see: impl FnMut(u64, Surface) -> Result<()>,
) -> Result<u64> {
    let mut decoder = Decoder::open(device, cuvid, stream.codec)?;
    let mut seen = 0;
    for (number, packet) in stream.packets.iter().map(|packet| Some(packet.as_slice())).chain([None]).enumerate() {
        decoder.push(packet, number as i64)?;
        while let Some(picture) = decoder.next_picture() {
            see(seen, picture.surface)?;
            seen += 1;
        }
    }
    anyhow::ensure!(decoder.errors() == 0, "the card found {} of {seen} pictures damaged", decoder.errors());
    Ok(seen)
}
