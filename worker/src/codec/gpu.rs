//! The GPU of an attempt, as the stages share it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use nvidia::device::{Device, Fault};
use nvidia::surface::{Format, Pool, Surface};
use shared::error::{ErrorKind, TaskError};
use shared::placement::Stage;

/// A device, and what was moved to it and from it.
pub struct Gpu {
    device: Device,
    pools: Mutex<HashMap<(Format, u32, u32), Pool>>,
    /// Bytes that crossed the bus.
    pub moved: Moved,
}

/// Bytes of pictures that crossed the bus.
#[derive(Debug, Default)]
pub struct Moved {
    up: AtomicU64,
    down: AtomicU64,
}

impl Moved {
    /// A picture went to the GPU.
    pub fn up(&self, bytes: u64) {
        self.up.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A picture came from the GPU.
    pub fn down(&self, bytes: u64) {
        self.down.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes up and down so far.
    pub fn bytes(&self) -> (u64, u64) {
        (self.up.load(Ordering::Relaxed), self.down.load(Ordering::Relaxed))
    }
}

impl Gpu {
    /// With nothing on it.
    pub fn new(device: Device) -> Self {
        Self { device, pools: Mutex::default(), moved: Moved::default() }
    }

    /// The device itself.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Memory for a picture that comes from the host.
    pub fn surface(&self, format: Format, width: u32, height: u32) -> Result<Surface, TaskError> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let pool =
            pools.entry((format, width, height)).or_insert_with(|| Pool::new(&self.device, format, width, height));
        pool.take().map_err(|fault| self.fault(Stage::Scale, "memory for a picture", &fault))
    }

    /// What a call of CUDA that failed means to an attempt.
    pub fn fault(&self, stage: Stage, what: &str, fault: &Fault) -> TaskError {
        let trouble = if fault.out_of_memory() { Trouble::Busy } else { Trouble::Fault };
        trouble.error(stage, format!("{what} on {}: {fault}", self.device.facts().uuid))
    }
}

/// What kind of thing went wrong on a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The GPU or its driver failed: it is not to be trusted for a while.
    Fault,
    /// It does not take this source or these settings.
    Refused,
    /// Others have what it needed: memory, or the sessions of an encoder.
    Busy,
}

impl Trouble {
    const ALL: [Self; 3] = [Self::Fault, Self::Refused, Self::Busy];

    fn as_str(self) -> &'static str {
        match self {
            Self::Fault => "fault",
            Self::Refused => "refused",
            Self::Busy => "busy",
        }
    }

    /// How an attempt fails by it: its code is such as `gpu_encode_busy`.
    pub fn error(self, stage: Stage, text: impl Into<String>) -> TaskError {
        let kind = if self == Self::Busy { ErrorKind::Exhausted } else { ErrorKind::Unsupported };
        TaskError::new(kind, &format!("gpu_{}_{}", stage.as_str(), self.as_str()), text)
    }

    /// Reads what [`Self::error`] made.
    pub fn of(error: &TaskError) -> Option<(Stage, Self)> {
        let (stage, trouble) = error.code.strip_prefix("gpu_")?.split_once('_')?;
        let stage =
            [Stage::Decode, Stage::Scale, Stage::Encode, Stage::Slot].into_iter().find(|s| s.as_str() == stage)?;
        Some((stage, Self::ALL.into_iter().find(|one| one.as_str() == trouble)?))
    }
}
