//! What a slot is given for an attempt.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

use bytes::Bytes;
use proto::v1::SlotFileKind;
use shared::error::{ErrorKind as Kind, TaskError};
use shared::task::{Task, WorkerId};
use shared::wire;

use crate::config::WorkerConfig;

/// One attempt, ready to be handed to a slot.
#[derive(Debug)]
pub struct Request<'a> {
    /// What to do.
    pub task: &'a Task,
    /// In whose name the slot reports.
    pub worker: &'a WorkerId,
    /// The encoded packet lists the task names, in its order.
    pub lists: Vec<Bytes>,
    /// What to open for it. Tiles in their order.
    pub files: Vec<InputFile>,
}

/// A file a slot gets, opened when it is handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputFile {
    /// What it is to the task.
    pub role: FileRole,
    /// Where it lies.
    pub path: PathBuf,
}

/// What a file is to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileRole {
    /// The source.
    Source,
    /// The packed object with this number.
    Packed(u32),
    /// The tile at this position of a storyboard.
    Tile(u32),
}

impl InputFile {
    /// Opens the file for reading. Anything but a regular file is refused before it is opened, as opening a pipe may
    /// wait for ever.
    pub fn open(&self) -> Result<File, TaskError> {
        let opened = std::fs::metadata(&self.path).and_then(|meta| match meta.is_file() {
            true => File::open(&self.path),
            false => Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file")),
        });
        opened.map_err(|error| self.failure(&error))
    }

    fn failure(&self, error: &io::Error) -> TaskError {
        let path = self.path.display();
        match (self.role, error.kind()) {
            (_, ErrorKind::OutOfMemory) => TaskError::new(Kind::Exhausted, "worker_memory", format!("{path}: {error}")),
            (_, _) if out_of_descriptors(error) => {
                let advice = "raise the worker's limit of open files (ulimit -n)";
                TaskError::new(Kind::Exhausted, "worker_files", format!("{path}: {error}; {advice}"))
            }
            (FileRole::Source, ErrorKind::NotFound) => {
                TaskError::input("source_missing", format!("{path} does not exist; check the path of the source"))
            }
            (FileRole::Source, _) => {
                let advice = "the source must be a regular file that the worker may read";
                TaskError::input("source_unreadable", format!("{path}: {error}; {advice}"))
            }
            (FileRole::Packed(_) | FileRole::Tile(_), _) => {
                TaskError::transient("work_missing", format!("{path}: {error}; it was written by an earlier task"))
            }
        }
    }
}

fn out_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE].map(|errno| Some(errno.raw_os_error())).contains(&error.raw_os_error())
}

impl Request<'_> {
    /// As it crosses to the slot.
    pub fn to_wire(&self, config: &WorkerConfig) -> proto::v1::SlotRequest {
        let file = |file: &InputFile| {
            let (kind, number) = match file.role {
                FileRole::Source => (SlotFileKind::Source, 0),
                FileRole::Packed(number) => (SlotFileKind::Packed, number),
                FileRole::Tile(position) => (SlotFileKind::Tile, position),
            };
            proto::v1::SlotFile { kind: kind.into(), number }
        };
        proto::v1::SlotRequest {
            task: wire::encode_task(self.task),
            lists: self.lists.clone(),
            files: self.files.iter().map(file).collect(),
            limits: Some(proto::v1::SlotLimits {
                memory_bytes: config.slot_memory_bytes,
                cpu_s: config.attempt_cpu_s,
                files: config.slot_files,
            }),
            worker: self.worker.as_str().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_opened_says_which_and_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let code = |role, path: PathBuf| InputFile { role, path }.open().unwrap_err().code;
        assert_eq!(code(FileRole::Source, folder.path().join("gone.mp4")), "source_missing");
        assert_eq!(code(FileRole::Source, folder.path().into()), "source_unreadable");
        assert_eq!(code(FileRole::Packed(0), folder.path().join("0")), "work_missing");
        let gone = InputFile { role: FileRole::Source, path: "/nowhere/clip.mp4".into() }.open().unwrap_err();
        assert_eq!(gone.message, "/nowhere/clip.mp4 does not exist; check the path of the source");
    }
}
