//! One GPU: what it is, what it has proven, and what that means for a chunk.

use serde::{Deserialize, Serialize};
use shared::fleet::{Ability, Class};
use shared::placement::{DecodeBy, EncodeBy, Placement, ScaleBy};
use shared::rendition::VideoCodec;
use shared::source::Timing;
use shared::task::VideoTask;

use crate::config::GpuConfig;

/// How trials of FFmpeg's own encoders begin.
pub(super) const FFMPEG: &str = "ffmpeg-";
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
        [VideoCodec::H264, VideoCodec::Hevc, VideoCodec::Av1].into_iter().any(|codec| self.encoder(codec).is_some())
    }

    fn encoder(&self, codec: VideoCodec) -> Option<EncodeBy> {
        let direct = format!("encode-{}", codec.as_str());
        if self.is_able(&direct) {
            return Some(EncodeBy::Nvenc);
        }
        self.is_able(&format!("{FFMPEG}{direct}")).then_some(EncodeBy::FfmpegNvenc)
    }

    /// Decides what the trials mean: how many attempts it takes at once, or why none.
    pub(super) fn seat(&mut self, config: &GpuConfig) {
        let useful = self.encodes() || (self.is_able(KERNELS) && self.tried.iter().any(|tried| self.is_decoder(tried)));
        if !useful {
            let lacks = self.tried.iter().filter_map(|tried| Some(format!("{}: {}", tried.name, tried.lack.as_ref()?)));
            self.lack = Some(lacks.collect::<Vec<_>>().join("; "));
            return;
        }
        let sessions = match config.sessions {
            0 => self.measured.sessions,
            set => set.min(self.measured.sessions),
        };
        let engines = if self.encodes() { self.measured.encode_engines } else { self.measured.decode_engines };
        let mut seats = engines.max(1) * CHUNKS_OF_AN_ENGINE;
        if self.encodes() && sessions > 0 {
            seats = seats.min(sessions.div_ceil(SESSIONS_OF_A_CHUNK));
        }
        self.seats = if config.slots_per_device > 0 { config.slots_per_device } else { seats };
    }

    fn is_decoder(&self, tried: &Tried) -> bool {
        tried.name.starts_with("decode-") && tried.lack.is_none()
    }

    /// The best that it can do for a chunk.
    pub fn placement(&self, task: &VideoTask) -> Placement {
        let stream = &task.stream;
        let deep = stream.pixel_format == "yuv420p10le";
        let comes_here = deep || matches!(stream.pixel_format.as_str(), "yuv420p" | "yuvj420p");
        let decodes = self.is_able(&format!("decode-{}", stream.codec))
            && stream.timing == Timing::Packets
            && !task.transform.deinterlace
            && comes_here
            && !(deep && stream.codec == "h264");
        let encoders: Vec<_> = task.renditions.iter().map(|rendition| self.encoder(rendition.codec)).collect();
        let encode = match encoders.first() {
            Some(Some(first)) if encoders.iter().all(|encoder| *encoder == Some(*first)) => *first,
            _ => EncodeBy::Software,
        };
        let decode = if decodes { DecodeBy::Nvdec } else { DecodeBy::Software };
        let wants_cuda = decodes || encode == EncodeBy::Nvenc;
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
            let trial = format!("encode-{}", codec.as_str());
            let tried = self.tried.iter().find(|tried| tried.name == trial)?;
            let lack = if self.encoder(codec).is_some() { None } else { tried.lack.clone() };
            Some(Ability { class: Class::Gpu, name: codec.as_str().to_owned(), lack })
        };
        [VideoCodec::H264, VideoCodec::Hevc, VideoCodec::Av1].into_iter().filter_map(claim).collect()
    }
}
