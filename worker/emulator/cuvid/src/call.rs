//! What every call begins and ends with, and the handles that clients hold.

use std::collections::HashMap;
use std::fmt::Arguments;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

use card::violation;

use crate::cuda;
use crate::decoder::Decoder;
use crate::lock::ContextLock;
use crate::parser::Parser;

/// `CUresult`.
pub type Status = i32;

pub const INVALID_VALUE: Status = 1;
pub const OUT_OF_MEMORY: Status = 2;
pub const INVALID_CONTEXT: Status = 201;
pub const MAP_FAILED: Status = 205;
pub const INVALID_SOURCE: Status = 300;
pub const INVALID_HANDLE: Status = 400;
pub const CONTEXT_IS_DESTROYED: Status = 709;
pub const NOT_SUPPORTED: Status = 801;
pub const UNKNOWN: Status = 999;

/// Things that clients hold by numbers.
pub struct Handles<T> {
    known: Mutex<Option<HashMap<u64, Arc<Mutex<T>>>>>,
    what: &'static str,
}

pub static PARSERS: Handles<Parser> = Handles::new("parser");
pub static DECODERS: Handles<Decoder> = Handles::new("decoder");
pub static LOCKS: Handles<ContextLock> = Handles::new("lock");

impl<T> Handles<T> {
    const fn new(what: &'static str) -> Self {
        Self { known: Mutex::new(None), what }
    }

    fn with<R>(&self, work: impl FnOnce(&mut HashMap<u64, Arc<Mutex<T>>>) -> R) -> R {
        work(self.known.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
    }

    /// A handle for a new thing.
    pub fn add(&self, thing: T) -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(0x2000_0000);
        let handle = NEXT.fetch_add(16, Ordering::Relaxed);
        self.with(|known| known.insert(handle, Arc::new(Mutex::new(thing))));
        handle
    }

    /// The thing behind a handle.
    pub fn get(&self, handle: u64) -> Result<Arc<Mutex<T>>, Refusal> {
        self.with(|known| known.get(&handle).cloned()).ok_or_else(|| self.unknown(handle))
    }

    /// Takes the thing away.
    pub fn remove(&self, handle: u64) -> Result<Arc<Mutex<T>>, Refusal> {
        self.with(|known| known.remove(&handle)).ok_or_else(|| self.unknown(handle))
    }

    fn unknown(&self, handle: u64) -> Refusal {
        Refusal::wrong(INVALID_HANDLE, format_args!("{handle:#x} is no {}, or was destroyed", self.what))
    }

    fn count(&self) -> usize {
        self.with(|known| known.len())
    }
}

/// Does something with what is locked; `None` if it is in use, by another thread or further up on this one.
pub fn alone<T, R>(thing: &Mutex<T>, work: impl FnOnce(&mut T) -> R) -> Option<R> {
    match thing.try_lock() {
        Ok(mut thing) => Some(work(&mut thing)),
        Err(TryLockError::Poisoned(poisoned)) => Some(work(&mut poisoned.into_inner())),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// Does something with what is locked, once nobody else does.
pub fn locked<T, R>(thing: &Mutex<T>, work: impl FnOnce(&mut T) -> R) -> R {
    work(&mut thing.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Why a call does not do what was asked for.
pub struct Refusal {
    status: Status,
    /// What the client did wrong, if it did.
    what: Option<String>,
}

impl Refusal {
    /// The client did something wrong.
    pub fn wrong(status: Status, what: Arguments<'_>) -> Self {
        Self { status, what: Some(what.to_string()) }
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self { status, what: None }
    }
}

/// Makes a call: counts it, makes the fault that was asked for, does its work, notes what was wrong.
pub fn call(function: &'static str, work: impl FnOnce() -> Result<(), Refusal>) -> Status {
    if let Some(status) = card::strike(function) {
        return status;
    }
    // A panic of ours must not unwind into the client.
    let done = catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Refusal::wrong(UNKNOWN, format_args!("the stand-in itself panicked"))));
    match done {
        Ok(()) => 0,
        Err(Refusal { status, what }) => {
            if let Some(what) = what {
                violation!(function, "{what}");
            }
            status
        }
    }
}

/// At unload: what was never given back.
pub fn tell_what_is_left() {
    if cuda::is_lost() {
        return;
    }
    card::leaked("parsers", PARSERS.count());
    card::leaked("decoders", DECODERS.count());
    card::leaked("locks", LOCKS.count());
}
