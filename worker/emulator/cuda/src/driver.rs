//! What the driver knows, and what every call begins and ends with.

use std::collections::HashMap;
use std::fmt::Arguments;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use card::violation;

use crate::context::{self, Context, Primary};
use crate::event::Event;
use crate::memory::Memory;
use crate::module::{Function, Module};
use crate::status::{self, Status};
use crate::stream::{Stream, Work};

/// A handle as clients see it. Handles of all kinds are numbers of one row, so one is never taken for another.
pub type Handle = u64;

/// Where a client wants an answer: a pointer that is null or can be written to.
pub type Out<'a, T> = Option<&'a mut MaybeUninit<T>>;

/// Everything that clients made and have not given back.
#[derive(Default)]
pub struct Driver {
    /// `cuInit` was called.
    pub started: bool,
    /// The status that every call ends with since the device was lost or a kernel failed.
    pub broken: Option<Status>,
    /// Contexts, primary ones too.
    pub contexts: HashMap<Handle, Context>,
    /// One for each device that was ever asked for.
    pub primaries: HashMap<usize, Primary>,
    pub memory: Memory,
    pub streams: HashMap<Handle, Stream>,
    pub events: HashMap<Handle, Event>,
    pub modules: HashMap<Handle, Module>,
    pub functions: HashMap<Handle, Function>,
    /// What streams have still to do; empty unless they are lazy.
    pub work: Work,
    /// The function that was called.
    pub function: &'static str,
    calls: u64,
    handles: Handle,
}

static DRIVER: Mutex<Option<Driver>> = Mutex::new(None);

impl Driver {
    /// A number that no other handle has, nor any address.
    pub fn new_handle(&mut self) -> Handle {
        self.handles += 16;
        0x1000_0000 + self.handles
    }

    /// Notes what was wrong with this call, and ends it with that status.
    pub fn refuse<T>(&self, status: Status, what: Arguments<'_>) -> Result<T, Status> {
        violation!(self.function, "{what}");
        Err(status)
    }

    /// Writes an answer, if there is a place for it.
    pub fn answer<T>(&self, place: Out<'_, T>, value: T) -> Result<(), Status> {
        match place {
            Some(place) => {
                place.write(value);
                Ok(())
            }
            None => self.refuse(status::INVALID_VALUE, format_args!("no place for the answer")),
        }
    }

    /// Whether the call may be made at all.
    fn admit(&mut self, function: &'static str) -> Result<(), Status> {
        self.function = function;
        self.calls += 1;
        if card::faults().device_lost.is_some_and(|call| self.calls >= call) {
            self.broken.get_or_insert(status::UNKNOWN);
        }
        if let Some(status) = self.broken {
            return Err(status);
        }
        let before = matches!(function, "cuInit" | "cuDriverGetVersion");
        if self.started || before {
            return Ok(());
        }
        self.refuse(status::NOT_INITIALIZED, format_args!("called before cuInit"))
    }
}

/// Makes a call: counts it, makes the fault that was asked for, refuses it if the device is lost or the driver was never
/// started, and does its work.
pub fn call(function: &'static str, work: impl FnOnce(&mut Driver) -> Result<(), Status>) -> Status {
    let struck = card::strike(function);
    let mut driver = DRIVER.lock().unwrap_or_else(PoisonError::into_inner);
    let driver = driver.get_or_insert_default();
    let done = || match struck {
        Some(0) | None => driver.admit(function).and_then(|()| work(driver)),
        Some(status) => Err(status),
    };
    // A panic of ours must not unwind into the client.
    let done = catch_unwind(AssertUnwindSafe(done)).unwrap_or_else(|_| {
        violation!(function, "the stand-in itself panicked");
        Err(status::UNKNOWN)
    });
    let status = done.err().unwrap_or(0);
    if status::is_sticky(status) {
        driver.broken.get_or_insert(status);
    }
    status
}

/// [`call`], with the current context's handle.
pub fn call_in_context(function: &'static str, work: impl FnOnce(&mut Driver, Handle) -> Result<(), Status>) -> Status {
    call(function, |driver| {
        let context = context::current(driver)?;
        work(driver, context)
    })
}

/// At unload: what was never given back. A process that keeps its primary context to its end has given back enough, and
/// after a loss of the device nothing can be.
pub fn tell_what_is_left() {
    let driver = DRIVER.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(driver) = driver.as_ref().filter(|driver| driver.broken.is_none()) else { return };
    let primary = |handle: &&Handle| driver.primaries.values().any(|primary| primary.context == **handle);
    card::leaked("allocations of device memory", driver.memory.live());
    card::leaked("allocations of pinned memory", driver.memory.pinned());
    card::leaked("streams", driver.streams.len());
    card::leaked("events", driver.events.len());
    card::leaked("modules", driver.modules.len());
    card::leaked("contexts", driver.contexts.keys().filter(|handle| !primary(handle)).count());
}
