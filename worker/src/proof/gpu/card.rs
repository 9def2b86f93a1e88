//! One GPU: what it is, what it has proven, and what that means for a chunk.

use serde::{Deserialize, Serialize};
use shared::fleet::{Ability, Class};
use shared::placement::{DecodeBy, EncodeBy, Placement, ScaleBy};
use shared::rendition::VideoCodec;
use shared::source::Timing;
use shared::task::VideoTask;

use crate::config::GpuConfig;

/// How trials of FFmpeg's own encoders begin,
pub(super) const FFMPEG: &str = "ffmpeg-";
/// and those of encoders without what production uses beyond the plainest.
pub(super) const PLAIN: &str = "plain-";
/// What GPUs encode.
pub(super) const CODECS: [VideoCodec; 3] = [VideoCodec::H264, VideoCodec::Hevc, VideoCodec::Av1];
/// The trial of the scaler.
pub(super) const KERNELS: &str = "kernels";
/// Renditions that a chunk usually has: so many sessions it takes.
const SESSIONS_OF_A_CHUNK: u32 = 4;
/// Chunks that keep one engine busy: while one is between two stages, another is not.
const CHUNKS_OF_AN_ENGINE: u32 = 2;

/// A GPU (or a part of one that was divided) as it was found and tried.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// What it is known by after a reboot.
    pub uuid: String,
    /// As NVIDIA sells it.
    pub name: String,
    /// `domain:bus:device.function`.
    pub pci_bus_id: String,
    /// Major and minor.
    pub compute_capability: (u32, u32),
    /// All there is, in bytes.
    pub memory_bytes: u64,
    /// The kernel module's version, where the system tells it.
    pub driver: Option<String>,
    /// The newest CUDA that the driver knows, major and minor.
    pub cuda: (u32, u32),
    /// A part of a GPU that was divided.
    pub mig: bool,
    /// What was tried, in order.
    #[serde(default)]
    pub tried: Vec<Tried>,
    /// What was counted and timed.
    #[serde(default)]
    pub measured: Measured,
    /// Attempts that may use it at the same time.
    #[serde(default)]
    pub seats: u32,
    /// Encoder sessions that each of them may open; 0: as many as the driver gives.
    #[serde(default)]
    pub seat_sessions: u32,
    /// Why nothing of it is used, for people.
    #[serde(default)]
    pub lack: Option<String>,
}

/// How a trial ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    /// What was tried.
    pub name: String,
    /// Why it does not work, for people; `None`: it does.
    pub lack: Option<String>,
    /// Milliseconds it took.
    pub ms: u64,
}

/// What trials have counted; 0: unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Measured {
    /// Encoder sessions that could be open at once.
    pub sessions: u32,
    /// Encoder engines, as the driver says.
    pub encode_engines: u32,
    /// Decoder engines, as the driver says.
    pub decode_engines: u32,
    /// Frames of 1080p that one session of H.264 encodes in a second.
    pub encode_fps: u32,
}

impl Measured {
    /// Adds what a trial tells, as JSON.
    pub(super) fn learn(&mut self, found: &str) {
        let Ok(new) = serde_json::from_str::<Self>(found) else { return };
        let newer = |old: &mut u32, new: u32| *old = if new > 0 { new } else { *old };
        newer(&mut self.sessions, new.sessions);
        newer(&mut self.encode_engines, new.encode_engines);
        newer(&mut self.decode_engines, new.decode_engines);
        newer(&mut self.encode_fps, new.encode_fps);
    }
}

impl Card {
    /// Whether a trial of this name has ended well.
    pub fn is_able(&self, trial: &str) -> bool {
        self.tried.iter().any(|tried| tried.name == trial && tried.lack.is_none())
    }

    /// Whether it encodes anything.
    pub fn encodes(&self) -> bool {
        CODECS.into_iter().any(|codec| self.encoder(codec).is_some())
    }

    /// The best of its encoders.
    pub fn encoder(&self, codec: VideoCodec) -> Option<EncodeBy> {
        let able = |before: &str| self.is_able(&format!("{before}encode-{}", codec.as_str()));
        let ways = [("", EncodeBy::Nvenc), (PLAIN, EncodeBy::PlainNvenc), (FFMPEG, EncodeBy::FfmpegNvenc)];
        ways.into_iter().find(|(before, _)| able(before)).map(|(_, by)| by)
    }

    /// Why the settings of production don't do for a codec that it encodes otherwise.
    pub fn makeshift(&self) -> impl Iterator<Item = (VideoCodec, EncodeBy, &str)> {
        CODECS.into_iter().filter_map(|codec| Some((codec, self.encoder(codec)?, self.lack_of_encoder(codec)?)))
    }

    /// Why it does not encode a codec with the settings of production; `None`: it does, or that was not tried.
    pub fn lack_of_encoder(&self, codec: VideoCodec) -> Option<&str> {
        let trial = format!("encode-{}", codec.as_str());
        self.tried.iter().find(|tried| tried.name == trial)?.lack.as_deref()
    }

    /// What is known of its driver's version, for people.
    pub fn driver_words(&self) -> String {
        let (major, minor) = self.cuda;
        self.driver.clone().unwrap_or_else(|| format!("that knows CUDA {major}.{minor}"))
    }

    /// Decides what the trials mean: how many attempts it takes at once, or why none.
    pub(super) fn seat(&mut self, config: &GpuConfig) {
        let useful = self.encodes() || (self.is_able(KERNELS) && self.decodes_anything());
        if !useful {
            let lacks = self.tried.iter().filter_map(|tried| Some(format!("{}: {}", tried.name, tried.lack.as_ref()?)));
            self.lack = Some(lacks.collect::<Vec<_>>().join("; "));
            return;
        }
        let engines = if self.encodes() { self.measured.encode_engines } else { self.measured.decode_engines };
        self.seats = match config.slots_per_device {
            0 => engines.max(1) * CHUNKS_OF_AN_ENGINE,
            set => set,
        };
        if !self.encodes() {
            return;
        }
        if config.slots_per_device == 0 && self.measured.sessions > 0 {
            self.seats = self.seats.min(self.measured.sessions.div_ceil(SESSIONS_OF_A_CHUNK));
        }
        if config.sessions > 0 {
            // Seats divide them evenly, so that no attempt has to know of the others.
            self.seats = self.seats.min((config.sessions / SESSIONS_OF_A_CHUNK).max(1));
            self.seat_sessions = config.sessions / self.seats.max(1);
        }
    }

    fn decodes_anything(&self) -> bool {
        self.tried.iter().any(|tried| tried.name.starts_with("decode-") && tried.lack.is_none())
    }

    /// Whether a codec was decoded there in this format.
    fn decodes(&self, codec: &str, pixel_format: &str) -> bool {
        depth_of(pixel_format).is_some_and(|depth| self.is_able(&format!("decode-{codec}{depth}")))
    }

    /// The best that it can do for a chunk.
    pub fn placement(&self, task: &VideoTask) -> Placement {
        let stream = &task.stream;
        let decodes = self.decodes(&stream.codec, &stream.pixel_format)
            && stream.timing == Timing::Packets
            && !task.transform.deinterlace;
        let encoders: Vec<_> = task.renditions.iter().map(|rendition| self.encoder(rendition.codec)).collect();
        let encode = match encoders.first() {
            Some(Some(first)) if encoders.iter().all(|encoder| *encoder == Some(*first)) => *first,
            _ => EncodeBy::Software,
        };
        let decode = if decodes { DecodeBy::Nvdec } else { DecodeBy::Software };
        let wants_cuda = decodes || matches!(encode, EncodeBy::Nvenc | EncodeBy::PlainNvenc);
        let comes_here = depth_of(&stream.pixel_format).is_some();
        let scales = wants_cuda && self.is_able(KERNELS) && comes_here && !task.transform.deinterlace;
        Placement { decode, scale: if scales { ScaleBy::Cuda } else { ScaleBy::Software }, encode }
    }

    /// What works, for people.
    pub fn abilities(&self) -> String {
        let able = self.tried.iter().filter(|tried| tried.lack.is_none()).map(|tried| tried.name.as_str());
        able.collect::<Vec<_>>().join(", ")
    }

    /// The codecs that it encodes, as heartbeats have them.
    pub fn claims(&self) -> Vec<Ability> {
        let claim = |codec: VideoCodec| {
            let lack = match self.encoder(codec) {
                Some(_) => None,
                None => Some(self.lack_of_encoder(codec)?.to_owned()),
            };
            Some(Ability { class: Class::Gpu, name: codec.as_str().to_owned(), lack })
        };
        CODECS.into_iter().filter_map(claim).collect()
    }
}

/// How trials name the depth of a format that comes to a GPU; `None`: it does not.
fn depth_of(pixel_format: &str) -> Option<&'static str> {
    match pixel_format {
        "yuv420p" | "yuvj420p" => Some(""),
        "yuv420p10le" => Some("-10"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_that_may_be_taken_are_never_exceeded_by_all_seats_together() {
        let seated = |sessions, slots_per_device, counted| {
            let tried = vec![Tried { name: "encode-h264".to_owned(), lack: None, ms: 1 }];
            let measured = Measured { sessions: counted, encode_engines: 2, ..Measured::default() };
            let mut card = Card { tried, measured, ..Card::default() };
            card.seat(&GpuConfig { sessions, slots_per_device, ..GpuConfig::default() });
            (card.seats, card.seat_sessions)
        };
        assert_eq!(seated(0, 0, 16), (4, 0), "two chunks an engine, and the driver says when it has no more");
        assert_eq!(seated(0, 0, 5), (2, 0), "what finds none left is encoded in software");
        assert_eq!(seated(0, 7, 5), (7, 0), "as it is set");
        for (sessions, slots) in [(1, 0), (3, 0), (5, 0), (8, 0), (9, 8), (2, 8)] {
            let (seats, each) = seated(sessions, slots, 16);
            assert!(seats >= 1 && each >= 1 && seats * each <= sessions, "{sessions}: {seats} seats of {each}");
        }
    }

    #[test]
    fn a_source_is_decoded_there_if_its_very_codec_and_depth_were() {
        let able = |name: &str| Tried { name: name.to_owned(), lack: None, ms: 1 };
        let card = Card { tried: vec![able("decode-hevc"), able("decode-vp9-10")], ..Card::default() };
        let decodes = |codec: &str, format: &str| card.decodes(codec, format);
        assert!(decodes("hevc", "yuv420p") && !decodes("hevc", "yuv420p10le"));
        assert!(decodes("vp9", "yuv420p10le") && !decodes("vp9", "yuv420p") && !decodes("vp9", "yuv444p"));
    }
}
