//! How the command ends: a stable number for scripts, and for people what went wrong, where, and what to do.

use std::fmt;
use std::process::ExitCode;

use serde::Serialize;
use shared::error::{ErrorKind, TaskError};
use shared::storage::StorageError;

/// Exit codes. They never change meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(into = "u8")]
#[repr(u8)]
pub enum Exit {
    /// What was asked for is there.
    Done = 0,
    /// `farm doctor` has found something that does not work.
    Unfit = 1,
    /// The command line is wrong; clap uses the same number.
    Usage = 2,
    /// The source is broken beyond use.
    Corrupt = 3,
    /// The source is sound, but nothing here reads it or nothing was asked of it that can be made.
    Unsupported = 4,
    /// The source or the output folder can't be read or written.
    Storage = 5,
    /// Stopped on request; what is finished is kept.
    Interrupted = 6,
    /// A fault of the farm itself.
    Internal = 7,
    /// A farm that is served refused what was asked of it.
    Refused = 8,
    /// A farm that is served can't be reached, or nobody decides there at the moment.
    Unreachable = 9,
    /// This machine has too little memory, disk or open files.
    Exhausted = 10,
}

/// The table that `farm --help` ends with.
pub const TABLE: &str = "\
Exit codes:
  0  done
  1  `farm doctor` has found something that does not work
  2  the command line is wrong
  3  the source was refused: corrupt
  4  the source was refused: unsupported
  5  the source or the output folder can't be read or written
  6  interrupted; what is finished is kept, the same command continues
  7  a fault of the farm itself
  8  the farm that was asked refused: no right to, no such thing, or not as it stands
  9  the farm that was asked can't be reached
  10 this machine has too little memory, disk or open files";

impl From<Exit> for u8 {
    fn from(exit: Exit) -> Self {
        exit as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(u8::from(exit))
    }
}

/// Why a command did not do what was asked.
#[derive(Debug, Clone, Serialize)]
pub struct Failure {
    /// The number the process ends with.
    pub exit: Exit,
    /// Stable, `snake_case`: what a script may branch on.
    pub code: String,
    /// What happened and where.
    pub message: String,
    /// What to do about it; may be empty.
    pub help: String,
}

impl Failure {
    /// A failure without advice.
    pub fn new(exit: Exit, code: &str, message: impl Into<String>) -> Self {
        Self { exit, code: code.to_owned(), message: message.into(), help: String::new() }
    }

    /// A file or folder can't be read or written.
    pub fn storage(code: &str, message: impl Into<String>) -> Self {
        Self::new(Exit::Storage, code, message)
    }

    /// A fault of the farm itself.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Exit::Internal, "internal", message).help("please report this with the output of --log-level debug")
    }

    /// Says what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: {}", self.code, self.message)?;
        if !self.help.is_empty() {
            write!(f, "\nhelp: {}", self.help)?;
        }
        Ok(())
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Uri { .. } | StorageError::Config { .. } => {
                Self::new(Exit::Usage, "place", error.to_string())
            }
            StorageError::Store { .. } | StorageError::Short { .. } => Self::storage("storage", error.to_string())
                .help("check that the disk is not full and that the folder may be written"),
        }
    }
}

impl From<ErrorKind> for Exit {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Input => Self::Corrupt,
            ErrorKind::Unsupported => Self::Unsupported,
            ErrorKind::Transient => Self::Storage,
            ErrorKind::Cancelled => Self::Interrupted,
            ErrorKind::Exhausted => Self::Exhausted,
            ErrorKind::Bug => Self::Internal,
        }
    }
}

impl From<TaskError> for Failure {
    fn from(error: TaskError) -> Self {
        let help = match error.kind {
            ErrorKind::Input => "the file is damaged or not what it says: get it again from where it came",
            ErrorKind::Unsupported => "nothing here decodes it: convert it to a common format first",
            ErrorKind::Transient => "run the same command again: it continues where it stopped",
            ErrorKind::Exhausted => "give it more memory or disk, or fewer --slots, and run the same command again",
            ErrorKind::Cancelled => "run the same command again: it continues where it stopped",
            ErrorKind::Bug => "please report this with the output of --log-level debug",
        };
        Self { exit: error.kind.into(), code: error.code, message: error.message, help: help.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_lists_every_exit_code() {
        for exit in [
            Exit::Done,
            Exit::Unfit,
            Exit::Usage,
            Exit::Corrupt,
            Exit::Unsupported,
            Exit::Storage,
            Exit::Interrupted,
            Exit::Internal,
            Exit::Refused,
            Exit::Unreachable,
            Exit::Exhausted,
        ] {
            assert!(TABLE.contains(&format!("\n  {:<3}", exit as u8)), "{exit:?}");
        }
    }

    #[test]
    fn a_failure_says_what_where_and_what_to_do() {
        let failure = Failure::storage("no_source", "clip.mp4: no such file").help("check the name");
        assert_eq!(failure.to_string(), "error[no_source]: clip.mp4: no such file\nhelp: check the name");
    }
}
