//! The GPU of an attempt, as the stages share it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use nvidia::decode::Cuvid;
use nvidia::device::{Device, Fault};
use nvidia::encode::Nvenc;
use nvidia::scale::ScaleError;
use nvidia::surface::{Format, Pool, Surface};
use nvidia::{Lack, Planar};
use shared::error::{ErrorKind, TaskError};
use shared::placement::Stage;

/// A device, and what was moved to it and from it.
#[derive(Debug)]
pub struct Gpu {
    device: Device,
    planar: Mutex<Option<Planar>>,
    pools: Mutex<HashMap<(Format, u32, u32), Pool>>,
    nvenc: OnceLock<Result<Nvenc, Lack>>,
    cuvid: OnceLock<Result<Cuvid, Lack>>,
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
    /// The GPU with this UUID, the only one that the slot sees. It stays open for the attempts to come: making its context
    /// takes longer than a short chunk.
    pub fn open(uuid: &str) -> Result<Self, TaskError> {
        static OPEN: Mutex<Option<Device>> = Mutex::new(None);
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let device = match &*open {
            Some(device) => device.clone(),
            None => Self::find(uuid)?,
        };
        if device.facts().uuid != uuid {
            return Err(TaskError::bug(format!("a slot of {} was asked for {uuid}", device.facts().uuid)));
        }
        *open = Some(device.clone());
        Ok(Self {
            device,
            planar: Mutex::default(),
            pools: Mutex::default(),
            nvenc: OnceLock::new(),
            cuvid: OnceLock::new(),
            moved: Moved::default(),
        })
    }

    /// A real driver shows a slot this GPU alone.
    fn find(uuid: &str) -> Result<Device, TaskError> {
        let lost = |lack: Lack| Trouble::Fault.error(Stage::Slot, lack.to_string());
        for ordinal in 0..Device::count().map_err(lost)? {
            let device = Device::open(ordinal).map_err(lost)?;
            if device.facts().uuid == uuid {
                return Ok(device);
            }
        }
        Err(Trouble::Fault.error(Stage::Slot, format!("there is no GPU {uuid} any more")))
    }

    /// The library of its encoder, from a folder or from where the loader looks. It is loaded once.
    pub fn nvenc(&self, libraries: Option<&Path>) -> Result<Nvenc, TaskError> {
        let loaded = self.nvenc.get_or_init(|| Nvenc::load(libraries));
        loaded.clone().map_err(|lack| Trouble::Refused.error(Stage::Encode, lack.to_string()))
    }

    /// The library of its decoder, likewise.
    pub fn cuvid(&self, libraries: Option<&Path>) -> Result<Cuvid, TaskError> {
        let loaded = self.cuvid.get_or_init(|| Cuvid::load(libraries));
        loaded.clone().map_err(|lack| Trouble::Refused.error(Stage::Decode, lack.to_string()))
    }

    /// Does something with what copies pictures of 8 bit.
    pub fn copy<T>(&self, copy: impl FnOnce(&mut Planar) -> Result<T, ScaleError>) -> Result<T, TaskError> {
        let mut planar = self.planar.lock().unwrap_or_else(PoisonError::into_inner);
        let ready = match &mut *planar {
            Some(ready) => ready,
            none => none.insert(
                Planar::new(&self.device).map_err(|fault| self.fault(Stage::Scale, "loading kernels", &fault))?,
            ),
        };
        copy(ready).map_err(|error| match error {
            ScaleError::Unfit(text) => Trouble::Refused.error(Stage::Scale, text),
            ScaleError::Fault(fault) => self.fault(Stage::Scale, "copying a picture", &fault),
        })
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
