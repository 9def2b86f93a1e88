//! What may be set about a worker: this struct is the manual.

mod gpu;
#[cfg(feature = "cluster")]
mod program;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::storage::StorageConfig;

#[cfg(feature = "cluster")]
pub use program::Config;

pub use gpu::{GpuConfig, GpuUse};

/// No time-out is longer, whatever was asked for: a year.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);

/// A worker's settings. Whatever is not given keeps its default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkerConfig {
    /// Attempts that run at the same time, each in its own child process. Default: the number of CPUs.
    pub slots: NonZeroUsize,
    /// The program that slots run. Default: this one, as `slot`.
    pub slot_program: SlotProgram,
    /// Tasks after which a slot is replaced, so that what a media library leaks stays small. Default: 64.
    pub slot_tasks: u32,
    /// Address space of a slot, in bytes (`RLIMIT_AS`). Default: 4 GiB. An attempt that needs more fails as `exhausted`.
    pub slot_memory_bytes: u64,
    /// Files a slot may hold open (`RLIMIT_NOFILE`). Default: 16384, enough for the storyboard of a day.
    pub slot_files: u64,
    /// CPU time of one attempt, in seconds, over all its threads (`RLIMIT_CPU`). Default: 14400 (4 h).
    pub attempt_cpu_s: u64,
    /// Elapsed time of one attempt, in milliseconds. Default: 3600000 (1 h).
    pub attempt_timeout_ms: u64,
    /// Time in which an attempt must advance by a frame, an object or a piece of the index, in milliseconds; one that
    /// does not is killed. Default: 20000.
    pub stall_timeout_ms: u64,
    /// Shortest time between two reports of progress of an attempt, in milliseconds; the last is always sent.
    /// Default: 250.
    pub progress_interval_ms: u64,
    /// Folder for what an attempt reads of object stores; what a worker that was killed leaves there, the next one removes.
    /// Default: `farm-scratch-` and the user's number, in `TMPDIR` or else `/tmp`.
    pub scratch: PathBuf,
    /// How object stores are reached.
    pub storage: StorageConfig,
    /// How GPUs are used.
    pub gpu: GpuConfig,
}

/// A program and its first arguments. It is started without environment, in `/`, with a socket as its standard input,
/// and must call [`crate::child::run_child`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotProgram {
    /// Absolute path.
    pub path: PathBuf,
    /// In order.
    pub args: Vec<String>,
}

impl Default for SlotProgram {
    fn default() -> Self {
        // Not the path it was started by: there may be another version by now.
        Self { path: "/proc/self/exe".into(), args: vec!["slot".into()] }
    }
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            slots: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            slot_program: SlotProgram::default(),
            slot_tasks: 64,
            slot_memory_bytes: 4 << 30,
            slot_files: 16_384,
            attempt_cpu_s: 4 * 3600,
            attempt_timeout_ms: 3_600_000,
            stall_timeout_ms: 20_000,
            progress_interval_ms: 250,
            scratch: std::env::temp_dir().join(format!("farm-scratch-{}", rustix::process::getuid().as_raw())),
            storage: StorageConfig::default(),
            gpu: GpuConfig::default(),
        }
    }
}

impl WorkerConfig {
    /// Elapsed time of one attempt.
    pub fn attempt_timeout(&self) -> Duration {
        Duration::from_millis(self.attempt_timeout_ms).min(LONGEST_TIMEOUT)
    }

    /// Time in which an attempt must advance.
    pub fn stall_timeout(&self) -> Duration {
        Duration::from_millis(self.stall_timeout_ms).min(LONGEST_TIMEOUT)
    }

    /// Shortest time between two reports of progress.
    pub fn progress_interval(&self) -> Duration {
        Duration::from_millis(self.progress_interval_ms).min(LONGEST_TIMEOUT)
    }
}
