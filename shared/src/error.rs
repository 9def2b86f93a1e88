//! Why a task failed, reduced to what is done about it.

use serde::{Deserialize, Serialize};

/// The whole retry policy hangs on this; the table lives in `coordinator/src/retry.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The source is broken or not what it says.
    Input,
    /// This machine can't do it.
    Unsupported,
    /// Network, store or time-out.
    Transient,
    /// Memory, encoder sessions or disk ran out.
    Exhausted,
    /// It was asked for.
    Cancelled,
    /// A broken invariant, a panic or a crash.
    Bug,
}

/// What crosses the wire when a task fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message} ({code})")]
pub struct TaskError {
    /// What is done about it.
    pub kind: ErrorKind,
    /// Stable, `snake_case`: what a script may branch on.
    pub code: String,
    /// What happened and where, for people.
    pub message: String,
}

impl TaskError {
    /// A failure of `kind`, known to scripts as `code`.
    pub fn new(kind: ErrorKind, code: &str, message: impl Into<String>) -> Self {
        Self { kind, code: code.to_owned(), message: message.into() }
    }

    /// The source is broken or not what it says.
    pub fn input(code: &str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Input, code, message)
    }

    /// This machine can't do it.
    pub fn unsupported(code: &str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, code, message)
    }

    /// Network, store or time-out.
    pub fn transient(code: &str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Transient, code, message)
    }

    /// A broken invariant.
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Bug, "bug", message)
    }

    /// It was asked for.
    pub fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "cancelled", "cancelled")
    }
}
