//! One attempt, inside a slot: plain data and open files in, bytes and a receipt out. Blocking code, no network.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use shared::error::{ErrorKind, TaskError};
use shared::index::{PacketEntry, PacketList, Place};
use shared::task::{IndexReport, IndexTask, Progress, Receipt, Task, Work};

use crate::codec::backend::Backend;
use crate::source::ByteSource;
use crate::{audio, index, storyboard, video};

/// What a slot is given besides the task.
#[derive(Debug, Default)]
pub struct Inputs {
    /// The packet lists the task names, in its order.
    pub lists: Vec<PacketList>,
    /// The objects its packets lie in.
    pub objects: Objects,
    /// The tiles a storyboard task names, in its order.
    pub tiles: Vec<File>,
    /// The source of an index task, if it is not one of the objects.
    pub stream: Option<ByteSource>,
    /// What the stages of a chunk are opened with.
    pub backend: Backend,
}

impl Inputs {
    /// What an index task reads.
    pub fn source(&self, task: &IndexTask) -> Result<ByteSource, TaskError> {
        if let Some(stream) = &self.stream {
            return Ok(stream.clone());
        }
        let file = self.objects.source()?.try_clone();
        let source = match task.growing_ms {
            Some(ms) => file.map(|file| ByteSource::of_growing_file(file, Duration::from_millis(ms.get().into()))),
            None => file.and_then(ByteSource::of_file),
        };
        source.map_err(|error| TaskError::transient("source_read", error.to_string()))
    }
}

/// Open objects, read at any offset.
#[derive(Debug, Default)]
pub struct Objects(pub HashMap<Place, File>);

impl Objects {
    /// The source itself.
    pub fn source(&self) -> Result<&File, TaskError> {
        self.0.get(&Place::Source).ok_or_else(|| TaskError::bug("the slot was given no source"))
    }

    /// The bytes of a packet.
    pub fn read(&self, packet: &PacketEntry) -> Result<Vec<u8>, TaskError> {
        let file = self
            .0
            .get(&packet.place)
            .ok_or_else(|| TaskError::bug(format!("the slot was not given {:?}", packet.place)))?;
        let mut bytes = vec![0; packet.size as usize];
        file.read_exact_at(&mut bytes, packet.offset).map_err(|error| {
            let place = format!("{} bytes at {} of {:?}", packet.size, packet.offset, packet.place);
            TaskError::transient("source_read", format!("{place}: {error}"))
        })?;
        Ok(bytes)
    }
}

/// Which prefix an object belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    /// The presentation.
    Target,
    /// Scratch that lives as long as the job.
    Work,
}

/// What a running attempt hands out, in order.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "handed on at once, never kept in bulk")]
pub enum Emission {
    /// An object to store under `key`; the receipt names it with its hash.
    Object {
        /// Below which prefix.
        area: Area,
        /// Key below the prefix.
        key: String,
        /// All of it.
        bytes: Vec<u8>,
    },
    /// Frames have advanced.
    Progress(Progress),
    /// A piece of the index.
    Index(IndexReport),
}

/// Takes what an attempt hands out. An error ends the attempt.
pub type Emit<'a> = dyn FnMut(Emission) -> Result<(), TaskError> + 'a;

/// Runs one attempt to its end.
pub fn execute(task: &Task, inputs: &Inputs, emit: &mut Emit<'_>) -> Result<Receipt, TaskError> {
    match &task.work {
        Work::Index(work) => index::index_source(work, &inputs.source(work)?, emit).map(Receipt::Index),
        Work::Video(work) => video::encode_chunk(work, inputs, emit).map(Receipt::Video),
        Work::Audio(work) => audio::encode_track(work, inputs, emit).map(Receipt::Audio),
        Work::Storyboard(work) => storyboard::make_sheets(work, inputs, emit).map(Receipt::Storyboard),
    }
}

/// What FFmpeg said, as a task error: running out of memory is this machine's fault, anything else the caller names.
pub fn ffmpeg_error(kind: ErrorKind, code: &str, what: &str, error: ffmpeg_next::Error) -> TaskError {
    let out_of_memory =
        matches!(error, ffmpeg_next::Error::Other { errno } if errno == rustix::io::Errno::NOMEM.raw_os_error());
    let kind = if out_of_memory { ErrorKind::Exhausted } else { kind };
    TaskError::new(kind, code, format!("{what}: {error}"))
}
