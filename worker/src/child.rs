//! The child side of a slot: receives attempts over its standard input, runs them, hands out what they make.
//!
//! Blocking code. The process is settled once (it dies with its parent, holds nothing but the socket) and limited anew
//! for each attempt; a panic of the media code is reported and ends the process.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use proto::v1::slot_reply::Content;
use proto::v1::{
    SlotArea, SlotFileKind, SlotGpu, SlotLimits, SlotObject, SlotReply, SlotRequest, SlotTrial, SlotTried,
};
use rustix::net::sockopt::socket_peercred;
use rustix::process::{Resource, Rlimit, Signal, getppid, getrlimit, set_parent_process_death_signal, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use shared::error::TaskError;
use shared::index::{PacketList, Place};
use shared::task::{Outcome, Receipt, Spent, Task, TaskReport, WorkerId};
use shared::wire;

use crate::codec::backend::Backend;
use crate::meter::Meter;
use crate::proof;
use crate::slot::request::GpuOrder;
use crate::slot::wire::{FILES_PER_MESSAGE, FrameError, frame, read_frame, receive_files};
use crate::source::ByteSource;
use crate::task::{Area, Emission, Emit, Inputs, execute};

/// The kernel's wish list when memory runs out: slots before the worker, and before most else.
const OOM_SCORE: &str = "600";

/// The socket comes as standard input; what is above the standard streams does not belong here.
const FIRST_OTHER_FD: i32 = 3;

/// Why a slot ends.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// Somebody called the command by hand.
    #[error("this is not for people: the farm starts it with a socket as its standard input")]
    NotASlot,
    /// The process could not be settled or limited.
    #[error("{what}: {source}")]
    Setup {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The worker is gone or does not make sense.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The media code panicked; the process can't be trusted any more.
    #[error("ends after a panic")]
    Panicked,
}

/// Runs the attempts a worker sends over the standard input, until it closes it.
pub fn run_child() -> ExitCode {
    match serve(execute) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("slot: {error}");
            ExitCode::FAILURE
        }
    }
}

/// [`run_child`] with any media code, saying why it ended.
pub fn serve(execute: impl Fn(&Task, &Inputs, &mut Emit<'_>) -> Result<Receipt, TaskError>) -> Result<(), ChildError> {
    let stdin = io::stdin();
    let socket = Socket(stdin.as_fd());
    settle(&socket)?;
    let last_panic = remember_panics();
    while let Some(request) = read_frame(&mut &socket)? {
        let request = SlotRequest::decode(Bytes::from(request)).map_err(FrameError::from)?;
        limit(&request.limits.unwrap_or_default(), request.gpu.is_some())?;
        if let Some(trial) = request.trial {
            try_out(&trial, request.gpu, &socket)?;
            continue;
        }
        let request = Attempt::receive(request, &socket)?;
        let Attempt { task, worker, inputs } = &request;
        let meter = Meter::start();
        let report = |outcome| {
            let report = TaskReport { task: task.id.clone(), attempt: task.attempt, worker: worker.clone(), outcome };
            Content::Report(wire::encode_report(&report))
        };
        let mut emit = |emission| {
            let content = match emission {
                Emission::Object { area, key, bytes } => object(area, key, bytes),
                Emission::Progress(progress) => report(Outcome::Progress(progress)),
                Emission::Index(index) => report(Outcome::Index(index)),
            };
            socket.send(content).map_err(|error| TaskError::bug(format!("the worker does not listen: {error}")))
        };
        let result = match inputs {
            Ok(inputs) => catch_unwind(AssertUnwindSafe(|| execute(task, inputs, &mut emit))),
            Err(error) => Ok(Err(error.clone())),
        };
        let panicked = result.is_err();
        let outcome = match result {
            Ok(Ok(receipt)) => Outcome::Done(with_spent(receipt, meter.spent())),
            Ok(Err(error)) => Outcome::Failed(error),
            Err(_) => {
                let last = last_panic.lock().unwrap_or_else(PoisonError::into_inner).take();
                let text = last.unwrap_or_else(|| "a panic without a word".into());
                Outcome::Failed(TaskError { code: "panic".into(), ..TaskError::bug(text) })
            }
        };
        socket.send(report(outcome))?;
        if panicked {
            return Err(ChildError::Panicked);
        }
    }
    Ok(())
}

/// A trial that panics ends the process, as an attempt would.
fn try_out(trial: &SlotTrial, gpu: Option<SlotGpu>, socket: &Socket<'_>) -> Result<(), ChildError> {
    let tried = catch_unwind(|| match gpu {
        None => proof::try_out(&trial.class, &trial.name).map(|()| String::new()),
        Some(gpu) => proof::gpu::try_out(&trial.name, &gpu_order(gpu)?),
    });
    let answer = match &tried {
        Ok(Ok(found)) => SlotTried { found: found.clone(), ..SlotTried::default() },
        Ok(Err(error)) => SlotTried { lack: error.message.clone(), code: error.code.clone(), ..SlotTried::default() },
        Err(_) => {
            let lack = "it panicked; the log of the worker may say where".to_owned();
            SlotTried { lack, code: "panic".to_owned(), ..SlotTried::default() }
        }
    };
    socket.send(Content::Tried(answer))?;
    tried.map(drop).map_err(|_| ChildError::Panicked)
}

fn gpu_order(gpu: SlotGpu) -> Result<GpuOrder, TaskError> {
    GpuOrder::from_wire(gpu).map_err(|error| TaskError::bug(error.to_string()))
}

/// One attempt as it came in. The inputs are judged apart: a list that is none fails the attempt, not the slot.
struct Attempt {
    task: Task,
    worker: WorkerId,
    inputs: Result<Inputs, TaskError>,
}

impl Attempt {
    fn receive(request: SlotRequest, socket: &Socket<'_>) -> Result<Self, ChildError> {
        let content = |text: String| ChildError::Frame(FrameError::Content(text));
        let task = wire::decode_task(&request.task).map_err(|error| content(error.to_string()))?;
        let worker = WorkerId::try_from(request.worker).map_err(content)?;
        let gpu = request.gpu.map(gpu_order).transpose().map_err(|error| content(error.message))?;
        let mut inputs = Inputs::default();
        for batch in request.files.chunks(FILES_PER_MESSAGE) {
            for (role, fd) in batch.iter().zip(receive_files(socket.0, batch.len())?) {
                let file = File::from(fd);
                match role.kind() {
                    SlotFileKind::Source => drop(inputs.objects.0.insert(Place::Source, file)),
                    SlotFileKind::Packed => drop(inputs.objects.0.insert(Place::Packed(role.number), file)),
                    SlotFileKind::Tile if role.number as usize == inputs.tiles.len() => inputs.tiles.push(file),
                    SlotFileKind::Tile => return Err(content(format!("tile {} is out of order", role.number))),
                    SlotFileKind::Stream => inputs.stream = Some(ByteSource::of_worker(file.into(), role.size)),
                    SlotFileKind::Unspecified => return Err(content("a file without a role".into())),
                }
            }
        }
        let lists: Result<Vec<_>, _> = request.lists.iter().map(|list| PacketList::decode(list)).collect();
        let inputs = match lists {
            Ok(lists) => Ok(Inputs { lists, backend: Backend::new(gpu), ..inputs }),
            Err(error) => Err(TaskError::bug(error.to_string())),
        };
        Ok(Self { task, worker, inputs })
    }
}

/// Once, before anything hostile is read.
fn settle(socket: &Socket<'_>) -> Result<(), ChildError> {
    let worker = socket_peercred(socket.0).map_err(|_| ChildError::NotASlot)?.pid;
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(setup("asking to die with the worker"))?;
    // The worker may have died before the line above; then this process has another parent already.
    if getppid() != Some(worker) {
        return Err(ChildError::NotASlot);
    }
    rustix::thread::set_name(c"farm-slot").map_err(setup("naming the process"))?;
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE) {
        eprintln!("slot: oom_score_adj: {error}; when memory runs out, the worker may be chosen instead");
    }
    limit_to(Resource::Core, 0)?;
    close_inherited().map_err(setup("closing what was inherited"))
}

/// Whoever started the worker may have left files open for all its descendants.
fn close_inherited() -> io::Result<()> {
    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd >= FIRST_OTHER_FD)
        .collect();
    for fd in open {
        match nix::unistd::close(fd) {
            Ok(()) | Err(nix::errno::Errno::EBADF) => {} // the folder that was read is closed already
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Before each attempt. CUDA reserves more addresses than there is memory, so what uses a GPU is limited in what it may
/// write to instead (`RLIMIT_DATA`), which is nearly the same.
fn limit(limits: &SlotLimits, gpu: bool) -> Result<(), ChildError> {
    limit_to(if gpu { Resource::Data } else { Resource::As }, limits.memory_bytes)?;
    limit_to(Resource::Nofile, limits.files)?;
    // Only the soft limit, as the next attempt moves it on; passing it ends the process by SIGXCPU.
    let until = cpu_time().as_secs().saturating_add(1).saturating_add(limits.cpu_s);
    let maximum = getrlimit(Resource::Cpu).maximum;
    let current = Some(maximum.map_or(until, |maximum| until.min(maximum)));
    setrlimit(Resource::Cpu, Rlimit { current, maximum }).map_err(setup("limiting CPU time"))
}

/// For good: neither this process nor what it becomes can raise it again.
fn limit_to(resource: Resource, value: u64) -> Result<(), ChildError> {
    let value = getrlimit(resource).maximum.map_or(value, |maximum| value.min(maximum));
    setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) }).map_err(setup("limiting a resource"))
}

fn setup<E: Into<io::Error>>(what: &'static str) -> impl Fn(E) -> ChildError {
    move |source| ChildError::Setup { what, source: source.into() }
}

/// Keeps the text of the last panic, with its place, besides printing it.
fn remember_panics() -> Arc<Mutex<Option<String>>> {
    let last = Arc::new(Mutex::new(None));
    let (kept, print) = (last.clone(), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |info| {
        *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(info.to_string().replace('\n', " "));
        print(info);
    }));
    last
}

/// CPU time of all threads so far.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap_or_default()
}

fn object(area: Area, key: String, bytes: Vec<u8>) -> Content {
    let area = match area {
        Area::Target => SlotArea::Target,
        Area::Work => SlotArea::Work,
    };
    Content::Object(SlotObject { area: area.into(), key, bytes: bytes.into() })
}

fn with_spent(mut receipt: Receipt, spent: Spent) -> Receipt {
    let stages = receipt.spent().stages;
    *receipt.spent_mut() = Spent { stages, ..spent };
    receipt
}

/// The standard input as what it is, without a second descriptor for it.
struct Socket<'a>(BorrowedFd<'a>);

impl Socket<'_> {
    fn send(&self, content: Content) -> Result<(), FrameError> {
        let bytes = frame(&SlotReply { content: Some(content) })?;
        Ok((&mut &*self).write_all(&bytes)?)
    }
}

impl Read for &Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(self.0, buffer)?)
    }
}

impl Write for &Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(self.0, bytes, rustix::net::SendFlags::NOSIGNAL)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
