//! Starting and stopping, and what all calls begin and end with.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_uint};
use std::fmt::Arguments;
use std::sync::atomic::{AtomicU32, Ordering};

/// How a call ended, by the numbers of `nvmlReturn_t`; 0 is well.
pub type Status = u32;

/// The library was not started.
pub const UNINITIALIZED: Status = 1;
/// An argument is wrong.
pub const INVALID_ARGUMENT: Status = 2;
/// The card has no such thing.
pub const NOT_SUPPORTED: Status = 3;
/// Text has no room.
const INSUFFICIENT_SIZE: Status = 7;
/// Nothing happened in time.
pub const TIMEOUT: Status = 10;
/// A struct is of another version.
pub const VERSION_MISMATCH: Status = 25;

/// How often it was started and not stopped.
static STARTED: AtomicU32 = AtomicU32::new(0);

/// A call: with the fault that was asked for, or as `done` says.
pub fn call(function: &'static str, done: impl FnOnce() -> Result<(), Status>) -> Status {
    if let Some(status) = card::strike(function) {
        return status.unsigned_abs();
    }
    if STARTED.load(Ordering::SeqCst) == 0 {
        card::violation!(function, "called before nvmlInit");
        return UNINITIALIZED;
    }
    done().err().unwrap_or(0)
}

/// A call that a careful client would not have made.
pub fn refuse(function: &str, status: Status, what: Arguments<'_>) -> Result<(), Status> {
    card::write_violation(function, what);
    Err(status)
}

/// Writes an answer.
///
/// # Safety
///
/// `place` is null or can be written to.
pub unsafe fn answer<T>(function: &str, place: *mut T, value: T) -> Result<(), Status> {
    if place.is_null() {
        return refuse(function, INVALID_ARGUMENT, format_args!("no place for the answer"));
    }
    // SAFETY: it is not null, and the caller says that it can be written to.
    unsafe { place.write(value) };
    Ok(())
}

/// Writes text and a zero.
///
/// # Safety
///
/// `place` is null or has room for `bytes`.
pub unsafe fn answer_text(function: &str, place: *mut c_char, bytes: c_uint, text: &str) -> Result<(), Status> {
    if place.is_null() || usize::try_from(bytes).is_ok_and(|bytes| bytes <= text.len()) {
        return refuse(function, INSUFFICIENT_SIZE, format_args!("{bytes} bytes have no room for {text:?}"));
    }
    // SAFETY: there is room for as many bytes and the zero behind them.
    unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), place.cast(), text.len()) };
    // SAFETY: as above.
    let end = unsafe { place.add(text.len()) };
    // SAFETY: as above.
    unsafe { end.write(0) };
    Ok(())
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlInit_v2() -> Status {
    if let Some(status) = card::strike("nvmlInit") {
        return status.unsigned_abs();
    }
    STARTED.fetch_add(1, Ordering::SeqCst);
    0
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlShutdown() -> Status {
    call("nvmlShutdown", || {
        STARTED.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    })
}

/// # Safety
///
/// `version` is null or has room for `bytes`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlSystemGetDriverVersion(version: *mut c_char, bytes: c_uint) -> Status {
    let function = "nvmlSystemGetDriverVersion";
    // SAFETY: the caller keeps it.
    call(function, || unsafe { answer_text(function, version, bytes, "550.54.14") })
}
