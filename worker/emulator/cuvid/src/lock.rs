//! Locks that clients share with a decoder. Nothing here needs one; they are kept and checked.
#![allow(unsafe_code)]

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use rustix::thread::{Pid, gettid};

use crate::call::{INVALID_VALUE, LOCKS, Refusal, Status, call, locked};

/// `CUvideoctxlock`.
#[derive(Clone, Default)]
pub struct ContextLock(Arc<Held>);

#[derive(Default)]
struct Held {
    /// Who holds it, and how often. By the kernel's number: `std::thread::current` leaves something in each thread that is
    /// dropped when the thread ends, and this library may have been unloaded by then.
    by: Mutex<Option<(Pid, u32)>>,
    given_back: Condvar,
}

impl Held {
    fn take(&self) {
        let me = gettid();
        let mut by = self.by.lock().unwrap_or_else(PoisonError::into_inner);
        while by.is_some_and(|(owner, _)| owner != me) {
            by = self.given_back.wait(by).unwrap_or_else(PoisonError::into_inner);
        }
        *by = Some((me, by.map_or(1, |(_, times)| times + 1)));
    }

    fn give(&self) -> Result<(), Refusal> {
        let mut by = self.by.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((_, times)) = by.filter(|(owner, _)| *owner == gettid()) else {
            return Err(Refusal::wrong(INVALID_VALUE, format_args!("the lock is not held by this thread")));
        };
        *by = (times > 1).then_some((gettid(), times - 1));
        self.given_back.notify_all();
        Ok(())
    }

    fn is_taken(&self) -> bool {
        self.by.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

fn known(lock: u64) -> Result<Arc<Held>, Refusal> {
    Ok(locked(&*LOCKS.get(lock)?, |lock| lock.0.clone()))
}

/// # Safety
///
/// `lock` is null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuvidCtxLockCreate(lock: Option<&mut u64>, _context: u64) -> Status {
    call("cuvidCtxLockCreate", || {
        let place = lock.ok_or_else(|| Refusal::wrong(INVALID_VALUE, format_args!("no place for the answer")))?;
        *place = LOCKS.add(ContextLock::default());
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuvidCtxLockDestroy(lock: u64) -> Status {
    call("cuvidCtxLockDestroy", || {
        let held = known(lock)?;
        LOCKS.remove(lock)?;
        if held.is_taken() { Err(Refusal::wrong(0, format_args!("the lock is still held"))) } else { Ok(()) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuvidCtxLock(lock: u64, _flags: u32) -> Status {
    call("cuvidCtxLock", || known(lock).map(|held| held.take()))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuvidCtxUnlock(lock: u64, _flags: u32) -> Status {
    call("cuvidCtxUnlock", || known(lock)?.give())
}
