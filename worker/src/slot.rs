//! A slot, seen from the worker: owns one child process and runs attempts in it, one after another.
//!
//! The child gets a socket as its standard input, the files of the attempt, and nothing else: no environment, no
//! network handle, no credentials. It is killed when an attempt stalls, outlives its time or breaks the protocol, and
//! with the slot itself. After any error the slot is spent: close it and open another.

pub(crate) mod exit;
pub mod request;
pub mod sight;
pub mod spawner;
pub(crate) mod stderr;
pub(crate) mod wire;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use proto::v1::slot_reply::Content;
use proto::v1::{SlotArea, SlotObject, SlotReply, SlotRequest, SlotTrial, SlotTried};
use shared::error::{ErrorKind, TaskError};
use shared::fleet::Class;
use shared::task::{AttemptId, IndexReport, Outcome, Progress, Receipt, TaskId, Work};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, warn};

use crate::config::WorkerConfig;
use crate::proof::{TRIAL_TIMEOUT, Trial};
use crate::task::Area;
use request::{GpuOrder, Request};
use sight::Sight;
use spawner::Spawner;
use stderr::SlotStderr;
use wire::{FILES_PER_MESSAGE, FrameError, FrameReader};

/// Makes the C library take every block of more than a few words fresh from the kernel, zeroed, and give it back when
/// freed.
///
/// x264's AVX-512 `mbtree` reads a few bytes past what it has written: with what an earlier attempt left in memory, the
/// same frames gave other bytes. Masking AVX-512 instead costs 13 % CPU at `veryfast`, having the library fill blocks
/// (`MALLOC_PERTURB_`) 110 MB of memory that is never used; this costs neither. What x264 keeps for a row of macroblocks
/// is 448 bytes for the smallest pictures: with a threshold of a page, 3 of some 5,500 segments of 64×36 differed. Where a
/// driver is loaded a page has to do all the same: the kernel gives a process 65,530 mappings, and a driver has many small
/// blocks.
fn fresh_memory(sight: &Sight) -> (&'static str, &'static str) {
    let settings = match sight {
        Sight::Nothing => "glibc.malloc.mmap_threshold=256:glibc.malloc.mmap_max=1000000",
        Sight::All | Sight::One(_) => "glibc.malloc.mmap_threshold=4096:glibc.malloc.mmap_max=32768",
    };
    ("GLIBC_TUNABLES", settings)
}

/// How long the kernel may take to end a child that was killed or has closed its socket.
const EXIT_GRACE: Duration = Duration::from_secs(5);

/// Longest text a slot may put into an error.
const LONGEST_ERROR_BYTES: usize = 4096;

/// Descriptors of a slot besides those of its attempt: standard streams, and what libraries open.
const OWN_FILES: u64 = 32;

/// A child process that runs attempts. Dropping it kills the child.
#[derive(Debug)]
pub struct Slot {
    child: Child,
    socket: UnixStream,
    frames: FrameReader,
    stderr: SlotStderr,
    config: Arc<WorkerConfig>,
    sight: Sight,
    tasks: u32,
    opened_container: bool,
    running: Option<Running>,
    _spawner: Spawner, // the child dies with its thread
}

#[derive(Debug)]
struct Running {
    task: TaskId,
    attempt: AttemptId,
    ends_at: Instant,
    stalls_at: Instant,
    last: Progress,
    advanced: bool, // since the caller was last given something
}

/// What an attempt hands out, in order.
#[derive(Debug)]
pub enum Step {
    /// An object to store.
    Object {
        /// Below which prefix.
        area: Area,
        /// Key below the prefix, as the slot says.
        key: String,
        /// All of it.
        bytes: Bytes,
    },
    /// Frames have advanced.
    Progress(Progress),
    /// A piece of the index.
    Index(IndexReport),
    /// The attempt has succeeded; the slot is free.
    Done(Receipt),
}

/// Keeps slots, and whatever else this user runs, from reading this process's memory and environment, where credentials are.
/// Slots themselves are not kept from anything by it. To be called before there are any.
///
/// # Errors
/// The system doesn't do it.
pub fn hide_from_slots() -> io::Result<()> {
    Ok(rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?)
}

impl Slot {
    /// Starts a child that sees these GPUs. Call it inside a runtime with I/O and time.
    pub async fn open(config: Arc<WorkerConfig>, spawner: &Spawner, sight: Sight) -> io::Result<Self> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut command = Command::new(&config.slot_program.path);
        command
            .args(&config.slot_program.args)
            .env_clear()
            .envs(sight.variables())
            .envs([fresh_memory(&sight)])
            .env("SVT_LOG", "1") // errors alone: what a slot says last should be why it died
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0) // Ctrl-C is for the worker, which lets its slots finish
            .kill_on_drop(true);
        let mut child = spawner.spawn(command).await?;
        let stderr = SlotStderr::new(child.stderr.take());
        let socket = UnixStream::from_std(ours)?;
        debug!(pid = child.id(), "slot opened");
        Ok(Self {
            child,
            socket,
            frames: FrameReader::default(),
            stderr,
            config,
            sight,
            tasks: 0,
            opened_container: false,
            running: None,
            _spawner: spawner.clone(),
        })
    }

    /// Process id of the child; `None` once it has been reaped.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Which GPUs it sees.
    pub fn sight(&self) -> &Sight {
        &self.sight
    }

    /// Whether it can take another task: it lives, is free, has not had its share of tasks and has opened no container
    /// (what a hostile one did to the process ends with it, as do the 10 MB that demuxers leave behind).
    pub fn is_ready(&mut self) -> bool {
        let lives = matches!(self.child.try_wait(), Ok(None));
        lives && self.running.is_none() && self.tasks < self.config.slot_tasks && !self.opened_container
    }

    /// Hands over an attempt.
    pub async fn begin(&mut self, request: &Request<'_>) -> Result<(), TaskError> {
        if self.running.is_some() {
            return Err(TaskError::bug("the slot has a task already"));
        }
        let files = request.files.len() as u64;
        if files + OWN_FILES > self.config.slot_files {
            let text = format!("the task needs {files} files, slot_files allows {}", self.config.slot_files);
            return Err(TaskError::new(ErrorKind::Exhausted, "slot_files", text));
        }
        let now = Instant::now();
        self.stderr.forget();
        self.tasks += 1;
        self.opened_container = matches!(request.task.work, Work::Index(_));
        self.running = Some(Running {
            task: request.task.id.clone(),
            attempt: request.task.attempt,
            ends_at: now + self.config.attempt_timeout(),
            stalls_at: now,
            last: Progress { done_ms: 0, frames: 0 },
            advanced: true,
        });
        let frame = wire::frame(&request.to_wire(&self.config))
            .map_err(|error| TaskError::new(ErrorKind::Exhausted, "slot_request", error.to_string()))?;
        match timeout(self.config.stall_timeout(), self.send(&frame, request)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(SendError::Task(error))) => Err(error),
            Ok(Err(SendError::Socket(error))) => {
                debug!(%error, "a slot does not take its task");
                Err(self.ended().await)
            }
            Err(_) => Err(self.stalled()),
        }
    }

    async fn send(&mut self, frame: &[u8], request: &Request<'_>) -> Result<(), SendError> {
        self.socket.write_all(frame).await?;
        for batch in request.files.chunks(FILES_PER_MESSAGE) {
            let batch = batch.to_vec();
            let open = move || batch.iter().map(request::InputFile::open).collect::<Result<Vec<_>, _>>();
            let files = tokio::task::spawn_blocking(open)
                .await
                .map_err(|error| TaskError::bug(format!("opening files: {error}")))??;
            let files: Vec<_> = files.iter().map(AsFd::as_fd).collect();
            self.socket.async_io(Interest::WRITABLE, || wire::send_files(self.socket.as_fd(), &files)).await?;
        }
        Ok(())
    }

    /// Waits for what the attempt hands out next. Can be dropped and called again. The time until the next call does
    /// not count as standstill of the attempt.
    pub async fn next(&mut self) -> Result<Step, TaskError> {
        let running = self.running.as_mut().ok_or_else(|| TaskError::bug("the slot has no task"))?;
        if std::mem::take(&mut running.advanced) {
            running.stalls_at = Instant::now() + self.config.stall_timeout();
        }
        loop {
            let running = self.running.as_ref().ok_or_else(|| TaskError::bug("the slot has no task"))?;
            let (ends_at, stalls_at) = (running.ends_at, running.stalls_at);
            tokio::select! {
                frame = self.frames.next(&mut self.socket) => match frame {
                    Ok(Some(frame)) => if let Some(step) = self.understand(frame)? { return Ok(step) },
                    Ok(None) | Err(FrameError::Truncated | FrameError::Io(_)) => return Err(self.ended().await),
                    Err(error) => return Err(nonsense(error)),
                },
                line = self.stderr.line(), if !self.stderr.ended() => if let Some(line) = line {
                    debug!(task = %running.task, line, "slot says");
                },
                () = sleep_until(ends_at) => return Err(self.too_long()),
                () = sleep_until(stalls_at) => return Err(self.stalled()),
            }
        }
    }

    /// `None` for what is of no interest.
    fn understand(&mut self, frame: Bytes) -> Result<Option<Step>, TaskError> {
        let running = self.running.as_mut().ok_or_else(|| nonsense("it speaks without a task"))?;
        let reply = SlotReply::decode(frame).map_err(nonsense)?;
        let report = match reply.content {
            Some(Content::Object(object)) => {
                running.advanced = true;
                return object_step(object).map(Some);
            }
            Some(Content::Report(report)) => report,
            Some(Content::Tried(_)) => return Err(nonsense("the end of a trial")),
            None => return Err(nonsense("a reply without content")),
        };
        let report = shared::wire::decode_report(&report).map_err(nonsense)?;
        if report.task != running.task || report.attempt != running.attempt {
            return Err(nonsense(format!("a report on {} instead of {}", report.task, running.task)));
        }
        match report.outcome {
            Outcome::Started => Err(nonsense("a report that it has started")),
            Outcome::Progress(now) => {
                let advanced = now.frames > running.last.frames || now.done_ms > running.last.done_ms;
                running.last = now;
                running.advanced |= advanced;
                Ok(advanced.then_some(Step::Progress(now)))
            }
            Outcome::Index(report) => {
                running.advanced = true;
                Ok(Some(Step::Index(report)))
            }
            Outcome::Done(receipt) => {
                self.running = None;
                Ok(Some(Step::Done(receipt)))
            }
            Outcome::Failed(error) => Err(credible(error)),
        }
    }

    /// Tries something in the child. After an error the slot is spent.
    pub async fn try_out(&mut self, trial: &Trial) -> Result<(), TaskError> {
        let Trial { class, name, .. } = *trial;
        self.ask(class.as_str(), name, None, TRIAL_TIMEOUT).await.map(drop)
    }

    /// Tries something on a GPU; returns what was found there, as JSON.
    pub async fn try_gpu(&mut self, name: &str, order: &GpuOrder, timeout: Duration) -> Result<String, TaskError> {
        self.ask(Class::Gpu.as_str(), name, Some(order), timeout).await
    }

    async fn ask(
        &mut self,
        class: &str,
        name: &str,
        order: Option<&GpuOrder>,
        longest: Duration,
    ) -> Result<String, TaskError> {
        let trial = SlotTrial { class: class.to_owned(), name: name.to_owned() };
        let (limits, gpu) = (Some(request::limits(&self.config)), order.map(GpuOrder::to_wire));
        let frame = wire::frame(&SlotRequest { trial: Some(trial), limits, gpu, ..SlotRequest::default() });
        let frame = frame.map_err(|error| TaskError::bug(error.to_string()))?;
        let asked = async {
            self.socket.write_all(&frame).await?;
            self.frames.next(&mut self.socket).await
        };
        match timeout(longest, asked).await {
            Ok(Ok(Some(frame))) => match SlotReply::decode(frame).map_err(nonsense)?.content {
                Some(Content::Tried(SlotTried { lack, found, .. })) if lack.is_empty() => Ok(found),
                Some(Content::Tried(SlotTried { lack, code, .. })) => {
                    Err(credible(TaskError::unsupported(&code, lack)))
                }
                _ => Err(nonsense("no end of a trial")),
            },
            Ok(Ok(None) | Err(FrameError::Truncated | FrameError::Io(_))) => Err(self.ended().await),
            Ok(Err(error)) => Err(nonsense(error)),
            Err(_) => {
                let text = format!("no answer in {} s{}", longest.as_secs(), self.words());
                Err(TaskError::new(ErrorKind::Bug, "slot_stalled", text))
            }
        }
    }

    /// What it waits for is not its own doing: standstill counts from now.
    pub fn pardon(&mut self) {
        if let Some(running) = &mut self.running {
            running.stalls_at = Instant::now() + self.config.stall_timeout();
        }
    }

    /// The socket has ended, so the child has or is about to.
    async fn ended(&mut self) -> TaskError {
        match timeout(EXIT_GRACE, self.child.wait()).await {
            Ok(Ok(status)) => {
                if timeout(EXIT_GRACE, self.stderr.drain()).await.is_err() {
                    debug!("a slot's standard error outlives it");
                }
                exit::judge(status, &self.stderr, &self.config)
            }
            Ok(Err(error)) => TaskError::bug(format!("waiting for the slot: {error}")),
            Err(_) => nonsense("it closed its socket and lives on"),
        }
    }

    fn stalled(&self) -> TaskError {
        let text = format!("no frame in {} ms (stall_timeout_ms){}", self.config.stall_timeout_ms, self.words());
        TaskError::new(ErrorKind::Bug, "slot_stalled", text)
    }

    fn too_long(&self) -> TaskError {
        let text = format!("not done in {} ms (attempt_timeout_ms){}", self.config.attempt_timeout_ms, self.words());
        TaskError::new(ErrorKind::Bug, "slot_timeout", text)
    }

    fn words(&self) -> String {
        let words = self.stderr.last_words();
        if words.is_empty() { words } else { format!("; the slot said: {words}") }
    }

    /// Kills the child and waits until it is gone.
    pub async fn close(mut self) {
        let pid = self.child.id();
        match timeout(EXIT_GRACE, self.child.kill()).await {
            Ok(Ok(())) => debug!(pid, "slot closed"),
            Ok(Err(error)) => warn!(pid, %error, "a slot could not be killed"),
            Err(_) => warn!(pid, "a slot was killed and does not end; the kernel holds it"),
        }
    }
}

enum SendError {
    Socket(io::Error),
    Task(TaskError),
}

impl From<io::Error> for SendError {
    fn from(error: io::Error) -> Self {
        // Files that are on their way count against the sender's limit.
        if error.raw_os_error() == Some(rustix::io::Errno::TOOMANYREFS.raw_os_error()) {
            let text = format!("{error}; raise the worker's limit of open files (ulimit -n)");
            return Self::Task(TaskError::new(ErrorKind::Exhausted, "worker_files", text));
        }
        Self::Socket(error)
    }
}

impl From<TaskError> for SendError {
    fn from(error: TaskError) -> Self {
        Self::Task(error)
    }
}

fn nonsense(what: impl std::fmt::Display) -> TaskError {
    TaskError::new(ErrorKind::Bug, "slot_protocol", format!("the slot broke the protocol: {what}"))
}

fn object_step(object: SlotObject) -> Result<Step, TaskError> {
    let area = match object.area() {
        SlotArea::Target => Area::Target,
        SlotArea::Work => Area::Work,
        SlotArea::Unspecified => return Err(nonsense("an object without an area")),
    };
    Ok(Step::Object { area, key: object.key, bytes: object.bytes })
}

/// A slot has read hostile bytes: its words are cut to size, and only the worker may say that it was asked to stop.
fn credible(mut error: TaskError) -> TaskError {
    let plain = error.code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if !plain || error.code.len() > 64 || error.kind == ErrorKind::Cancelled {
        return nonsense("an error without a proper kind and code");
    }
    let end = error.message.floor_char_boundary(LONGEST_ERROR_BYTES);
    error.message.truncate(end);
    error
}

#[cfg(test)]
mod tests {
    use rustix::process::{DumpableBehavior, dumpable_behavior};

    #[test]
    fn a_worker_that_hides_is_not_read_by_others() {
        super::hide_from_slots().unwrap();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }
}
