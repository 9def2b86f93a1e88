//! What may be set about GPUs.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How a worker uses the GPUs of its host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GpuConfig {
    /// `auto` uses what is there and has proven itself; `off` looks for nothing. Default: `auto`.
    pub enabled: GpuUse,
    /// UUIDs of the GPUs (or MIG parts) to use, as `worker gpu-selftest` and `nvidia-smi -L` name them. Default: empty, which
    /// is all that `CUDA_VISIBLE_DEVICES` lets the worker see.
    pub devices: Vec<String>,
    /// Attempts that use one GPU at the same time: its seats. Default: 0, which is two for each of its engines, as far as four
    /// encoder sessions for each could be opened.
    pub slots_per_device: u32,
    /// Encoder sessions of one GPU that this worker may have open at once: each rendition of a chunk takes one, and one that
    /// gets none is encoded in software. There are no more seats than have four each, but one at least. Default: 0, as many
    /// as the driver gives. Cards without professional licence share a few between all programs of a host: leave some to
    /// the others.
    pub sessions: u32,
    /// Folder of `libnvcuvid.so.1` and `libnvidia-encode.so.1`. Default: empty, which is where the system's loader looks.
    pub libraries: PathBuf,
}

/// Whether GPUs are used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GpuUse {
    /// What is there and has proven itself.
    #[default]
    Auto,
    /// Nothing is looked for.
    Off,
}

impl GpuConfig {
    /// Folder of the video libraries; `None`: where the loader looks.
    pub fn libraries(&self) -> Option<PathBuf> {
        (!self.libraries.as_os_str().is_empty()).then(|| self.libraries.clone())
    }

    /// Whether a GPU may be used.
    pub fn allows(&self, uuid: &str) -> bool {
        self.enabled == GpuUse::Auto && (self.devices.is_empty() || self.devices.iter().any(|device| device == uuid))
    }
}
