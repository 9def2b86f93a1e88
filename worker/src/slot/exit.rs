//! Why a slot ended in the middle of an attempt, as a task error.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::process::Signal;
use shared::error::{ErrorKind, TaskError};

use super::stderr::SlotStderr;
use crate::config::WorkerConfig;

/// Judges an end that was not asked for.
pub fn judge(status: ExitStatus, stderr: &SlotStderr, config: &WorkerConfig) -> TaskError {
    let signal = status.signal().and_then(Signal::from_named_raw);
    if signal == Some(Signal::XCPU) {
        let text = format!("the attempt used more than {} s of CPU time (attempt_cpu_s)", config.attempt_cpu_s);
        return TaskError::input("slot_cpu_limit", text);
    }
    if matches!(signal, Some(Signal::KILL | Signal::TERM)) {
        let text = format!("somebody killed the slot, most likely because the machine ran out of memory: {status}");
        return TaskError::new(ErrorKind::Exhausted, "slot_killed", text);
    }
    if signal == Some(Signal::ABORT) && stderr.tells_of_memory() {
        let text =
            format!("the attempt needs more than {} bytes of memory (slot_memory_bytes)", config.slot_memory_bytes);
        return TaskError::new(ErrorKind::Exhausted, "slot_memory", text);
    }
    let words = stderr.last_words();
    let words = if words.is_empty() { "it said nothing" } else { &words };
    TaskError::new(ErrorKind::Bug, "slot_crashed", format!("the slot ended with {status}: {words}"))
}
