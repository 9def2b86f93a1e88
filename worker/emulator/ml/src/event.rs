//! Sets of events, and waiting for one.
#![allow(unsafe_code)]

use std::ffi::{c_uint, c_ulonglong};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::device::{Device, card};
use crate::driver::{INVALID_ARGUMENT, Status, TIMEOUT, answer, call, refuse};

/// A set's handle: its place in [`SETS`] and 1, so that none is null.
type Set = usize;

/// `nvmlEventTypeXidCriticalError`.
const XID: c_ulonglong = 8;

/// `nvmlEventData_t`.
#[repr(C)]
pub struct Event {
    device: Device,
    kind: c_ulonglong,
    data: c_ulonglong,
    gpu_instance: c_uint,
    compute_instance: c_uint,
}
const _: () = assert!(size_of::<Event>() == 32);

/// The devices of each set that was made; `None`: it was freed.
static SETS: Mutex<Vec<Option<Vec<Device>>>> = Mutex::new(Vec::new());

fn sets() -> MutexGuard<'static, Vec<Option<Vec<Device>>>> {
    SETS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does something with a set's devices.
fn with<T>(function: &str, set: Set, done: impl FnOnce(&mut Option<Vec<Device>>) -> T) -> Result<T, Status> {
    let mut sets = sets();
    match set.checked_sub(1).and_then(|place| sets.get_mut(place)).filter(|devices| devices.is_some()) {
        Some(devices) => Ok(done(devices)),
        None => {
            card::violation!(function, "{set} is no set's handle, or was freed before");
            Err(INVALID_ARGUMENT)
        }
    }
}

/// # Safety
///
/// `set` is null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlEventSetCreate(set: *mut Set) -> Status {
    let function = "nvmlEventSetCreate";
    call(function, || {
        let mut sets = sets();
        sets.push(Some(Vec::new()));
        // SAFETY: the caller keeps it.
        unsafe { answer(function, set, sets.len()) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlEventSetFree(set: Set) -> Status {
    let function = "nvmlEventSetFree";
    call(function, || with(function, set, |devices| *devices = None))
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceRegisterEvents(device: Device, kinds: c_ulonglong, set: Set) -> Status {
    let function = "nvmlDeviceRegisterEvents";
    call(function, || {
        card(function, device)?;
        if kinds != XID {
            return refuse(function, INVALID_ARGUMENT, format_args!("only errors of cards are played, not {kinds:#x}"));
        }
        with(function, set, |devices| devices.get_or_insert_default().push(device))
    })
}

/// # Safety
///
/// `event` is null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlEventSetWait_v2(set: Set, event: *mut Event, milliseconds: c_uint) -> Status {
    /// Waits so far.
    static WAITS: Mutex<u64> = Mutex::new(0);
    let function = "nvmlEventSetWait";
    call(function, || {
        let first = with(function, set, |devices| devices.iter().flatten().next().copied())?;
        let mut waits = WAITS.lock().unwrap_or_else(PoisonError::into_inner);
        *waits += 1;
        let xid = card::faults().xids.iter().find(|(wait, _)| wait == &*waits);
        let (Some((_, data)), Some(device)) = (xid, first) else {
            let never = Condvar::new();
            let waited = never.wait_timeout(waits, Duration::from_millis(milliseconds.into()));
            drop(waited.unwrap_or_else(PoisonError::into_inner));
            return Err(TIMEOUT);
        };
        let whole = c_uint::MAX; // of a card that is not divided
        let happened = Event { device, kind: XID, data: *data, gpu_instance: whole, compute_instance: whole };
        // SAFETY: the caller keeps it.
        unsafe { answer(function, event, happened) }
    })
}
