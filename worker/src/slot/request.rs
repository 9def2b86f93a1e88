//! What a slot is given for an attempt.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use proto::v1::{SlotFileKind, SlotLimits};
use shared::error::{ErrorKind as Kind, TaskError};
use shared::placement::Placement;
use shared::task::{Task, WorkerId};
use shared::wire;

use crate::config::WorkerConfig;
use crate::scratch::ScratchReader;

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
    /// The GPU that it may use; `None`: none.
    pub gpu: Option<GpuOrder>,
}

/// What a slot is to do on a GPU.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GpuOrder {
    /// Which: the slot sees no other.
    pub uuid: String,
    /// Which stages run there.
    pub placement: Placement,
    /// Folder of libnvcuvid and libnvidia-encode; `None`: where the loader looks.
    pub libraries: Option<PathBuf>,
    /// Encoder sessions that it may open; 0: as many as the driver gives.
    pub sessions: u32,
}

impl GpuOrder {
    /// As it crosses to the slot.
    pub fn to_wire(&self) -> proto::v1::SlotGpu {
        let libraries = self.libraries.as_ref().map_or_else(String::new, |path| path.to_string_lossy().into_owned());
        let placement = wire::encode_placement(&self.placement);
        proto::v1::SlotGpu { uuid: self.uuid.clone(), placement, libraries, sessions: self.sessions }
    }

    /// Reads what [`Self::to_wire`] wrote.
    pub fn from_wire(message: proto::v1::SlotGpu) -> Result<Self, wire::WireError> {
        let proto::v1::SlotGpu { uuid, placement, libraries, sessions } = message;
        let libraries = (!libraries.is_empty()).then(|| libraries.into());
        Ok(Self { uuid, placement: wire::decode_placement(&placement)?, libraries, sessions })
    }
}

/// A file a slot gets.
#[derive(Debug, Clone)]
pub struct InputFile {
    /// What it is to the task.
    pub role: FileRole,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where a file comes from.
#[derive(Debug, Clone)]
pub enum Origin {
    /// It lies here, and is opened when it is handed over.
    Path(PathBuf),
    /// It has no name.
    Open(Arc<OwnedFd>),
    /// It was fetched, and has no name either.
    Scratch(Arc<ScratchReader>),
}

/// What a file is to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileRole {
    /// The source.
    Source,
    /// A socket over which reads of the source are answered, and the source's size in bytes.
    Stream(u64),
    /// The packed object with this number.
    Packed(u32),
    /// The tile at this position of a storyboard.
    Tile(u32),
}

impl InputFile {
    /// Opens the file for reading. Anything but a regular file is refused before it is opened, as opening a pipe may
    /// wait for ever.
    pub fn open(&self) -> Result<OwnedFd, TaskError> {
        let path = match &self.origin {
            Origin::Open(file) => return file.try_clone().map_err(|error| self.failure("an open file", &error)),
            Origin::Scratch(file) => {
                let file = file.try_clone().map(OwnedFd::from);
                return file.map_err(|error| self.failure("a scratch file", &error));
            }
            Origin::Path(path) => path,
        };
        let opened = std::fs::metadata(path).and_then(|meta| match meta.is_file() {
            true => File::open(path),
            false => Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file")),
        });
        opened.map(OwnedFd::from).map_err(|error| self.failure(path.display(), &error))
    }

    fn failure(&self, path: impl Display, error: &io::Error) -> TaskError {
        match (self.role, error.kind()) {
            (_, ErrorKind::OutOfMemory) => TaskError::new(Kind::Exhausted, "worker_memory", format!("{path}: {error}")),
            (_, _) if out_of_descriptors(error) => {
                let advice = "raise the worker's limit of open files (ulimit -n)";
                TaskError::new(Kind::Exhausted, "worker_files", format!("{path}: {error}; {advice}"))
            }
            (FileRole::Source, ErrorKind::NotFound) => {
                TaskError::input("source_missing", format!("{path} does not exist; check the path of the source"))
            }
            (FileRole::Source | FileRole::Stream(_), _) => {
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
            let (kind, number, size) = match file.role {
                FileRole::Source => (SlotFileKind::Source, 0, 0),
                FileRole::Stream(size) => (SlotFileKind::Stream, 0, size),
                FileRole::Packed(number) => (SlotFileKind::Packed, number, 0),
                FileRole::Tile(position) => (SlotFileKind::Tile, position, 0),
            };
            proto::v1::SlotFile { kind: kind.into(), number, size }
        };
        proto::v1::SlotRequest {
            task: wire::encode_task(self.task),
            lists: self.lists.clone(),
            files: self.files.iter().map(file).collect(),
            limits: Some(limits(config)),
            worker: self.worker.as_str().to_owned(),
            trial: None,
            gpu: self.gpu.as_ref().map(GpuOrder::to_wire),
        }
    }
}

/// What an attempt or a trial may take.
pub fn limits(config: &WorkerConfig) -> SlotLimits {
    SlotLimits { memory_bytes: config.slot_memory_bytes, cpu_s: config.attempt_cpu_s, files: config.slot_files }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_opened_says_which_and_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let open = |role, path: PathBuf| InputFile { role, origin: Origin::Path(path) }.open().unwrap_err();
        let code = |role, path| open(role, path).code;
        assert_eq!(code(FileRole::Source, folder.path().join("gone.mp4")), "source_missing");
        assert_eq!(code(FileRole::Source, folder.path().into()), "source_unreadable");
        assert_eq!(code(FileRole::Packed(0), folder.path().join("0")), "work_missing");
        let gone = open(FileRole::Source, "/nowhere/clip.mp4".into());
        assert_eq!(gone.message, "/nowhere/clip.mp4 does not exist; check the path of the source");
    }
}
