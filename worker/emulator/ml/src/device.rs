//! The cards, and what each tells of itself.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_uint, c_ulonglong};

use card::Card;

use crate::driver::{
    INVALID_ARGUMENT, NOT_SUPPORTED, Status, UNINITIALIZED, VERSION_MISMATCH, answer, answer_text, call, refuse,
};
use crate::reading;

/// A card's handle: its ordinal and 1, so that none is null.
pub type Device = usize;

/// `nvmlMemory_v2_t`.
#[repr(C)]
pub struct Memory {
    version: c_uint,
    total: c_ulonglong,
    reserved: c_ulonglong,
    free: c_ulonglong,
    used: c_ulonglong,
}
const _: () = assert!(size_of::<Memory>() == 40);

/// `nvmlUtilization_t`.
#[repr(C)]
pub struct Utilization {
    gpu: c_uint,
    memory: c_uint,
}

/// The card with this handle.
pub fn card(function: &str, device: Device) -> Result<&'static Card, Status> {
    let card = device.checked_sub(1).and_then(|ordinal| card::machine().get(ordinal));
    card.ok_or_else(|| {
        card::violation!(function, "{device} is no device's handle");
        INVALID_ARGUMENT
    })
}

/// # Safety
///
/// `count` is null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetCount_v2(count: *mut c_uint) -> Status {
    let function = "nvmlDeviceGetCount";
    let cards = c_uint::try_from(card::machine().len()).unwrap_or(c_uint::MAX);
    // SAFETY: the caller keeps it.
    call(function, || unsafe { answer(function, count, cards) })
}

/// # Safety
///
/// `device` is null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByIndex_v2(index: c_uint, device: *mut Device) -> Status {
    let function = "nvmlDeviceGetHandleByIndex";
    call(function, || {
        let handle = usize::try_from(index).map_err(|_| UNINITIALIZED)? + 1;
        card(function, handle)?;
        // SAFETY: the caller keeps it.
        unsafe { answer(function, device, handle) }
    })
}

/// # Safety
///
/// `uuid` is null or has room for `bytes`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetUUID(device: Device, uuid: *mut c_char, bytes: c_uint) -> Status {
    let function = "nvmlDeviceGetUUID";
    call(function, || {
        let mut text = "GPU".to_owned();
        for (position, byte) in card(function, device)?.uuid.iter().enumerate() {
            let dash = if matches!(position, 0 | 4 | 6 | 8 | 10) { "-" } else { "" };
            text += &format!("{dash}{byte:02x}");
        }
        // SAFETY: the caller keeps it.
        unsafe { answer_text(function, uuid, bytes, &text) }
    })
}

/// # Safety
///
/// `used` is null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetUtilizationRates(device: Device, used: *mut Utilization) -> Status {
    let function = "nvmlDeviceGetUtilizationRates";
    let (gpu, memory) = reading::COMPUTE;
    call(function, || {
        card(function, device)?;
        // SAFETY: the caller keeps it.
        unsafe { answer(function, used, Utilization { gpu, memory }) }
    })
}

/// # Safety
///
/// `percent` and `microseconds` are null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetEncoderUtilization(
    device: Device,
    percent: *mut c_uint,
    microseconds: *mut c_uint,
) -> Status {
    let function = "nvmlDeviceGetEncoderUtilization";
    call(function, || {
        has_encoder(function, device)?;
        // SAFETY: the caller keeps it.
        unsafe { answer(function, percent, reading::ENCODER) }?;
        // SAFETY: as above.
        unsafe { answer(function, microseconds, 167_000) }
    })
}

/// # Safety
///
/// `percent` and `microseconds` are null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetDecoderUtilization(
    device: Device,
    percent: *mut c_uint,
    microseconds: *mut c_uint,
) -> Status {
    let function = "nvmlDeviceGetDecoderUtilization";
    call(function, || {
        card(function, device)?;
        // SAFETY: the caller keeps it.
        unsafe { answer(function, percent, reading::DECODER) }?;
        // SAFETY: as above.
        unsafe { answer(function, microseconds, 167_000) }
    })
}

/// # Safety
///
/// `memory` is null or can be read and written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMemoryInfo_v2(device: Device, memory: *mut Memory) -> Status {
    /// `NVML_STRUCT_VERSION(Memory, 2)`.
    const VERSION: c_uint = 2 << 24 | 40;
    let function = "nvmlDeviceGetMemoryInfo";
    call(function, || {
        let card = card(function, device)?;
        // SAFETY: the caller keeps it.
        let version = unsafe { memory.as_ref() }.map(|memory| memory.version);
        if version != Some(VERSION) {
            return refuse(function, VERSION_MISMATCH, format_args!("a struct of version {version:x?}"));
        }
        let total = card::faults().memory_mib.map_or(card.memory, |mib| mib << 20);
        let used = reading::MEMORY_USED.min(total);
        let answered = Memory { version: VERSION, total, reserved: 0, free: total - used, used };
        // SAFETY: as above.
        unsafe { answer(function, memory, answered) }
    })
}

/// # Safety
///
/// `degrees` is null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetTemperature(device: Device, sensor: c_uint, degrees: *mut c_uint) -> Status {
    let function = "nvmlDeviceGetTemperature";
    call(function, || {
        card(function, device)?;
        if sensor != 0 {
            return refuse(function, INVALID_ARGUMENT, format_args!("there is no sensor {sensor}"));
        }
        // SAFETY: the caller keeps it.
        unsafe { answer(function, degrees, reading::TEMPERATURE) }
    })
}

/// # Safety
///
/// `milliwatts` is null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetPowerUsage(device: Device, milliwatts: *mut c_uint) -> Status {
    let function = "nvmlDeviceGetPowerUsage";
    call(function, || {
        card(function, device)?;
        // SAFETY: the caller keeps it.
        unsafe { answer(function, milliwatts, reading::POWER) }
    })
}

/// # Safety
///
/// `sessions`, `fps` and `microseconds` are null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetEncoderStats(
    device: Device,
    sessions: *mut c_uint,
    fps: *mut c_uint,
    microseconds: *mut c_uint,
) -> Status {
    let function = "nvmlDeviceGetEncoderStats";
    call(function, || {
        has_encoder(function, device)?;
        // SAFETY: the caller keeps it.
        unsafe { answer(function, sessions, reading::ENCODE_SESSIONS) }?;
        // SAFETY: as above.
        unsafe { answer(function, fps, 240) }?;
        // SAFETY: as above.
        unsafe { answer(function, microseconds, 4_000) }
    })
}

/// # Safety
///
/// `reasons` is null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetCurrentClocksThrottleReasons(
    device: Device,
    reasons: *mut c_ulonglong,
) -> Status {
    let function = "nvmlDeviceGetCurrentClocksThrottleReasons";
    call(function, || {
        card(function, device)?;
        // SAFETY: the caller keeps it.
        unsafe { answer(function, reasons, card::faults().throttled.unwrap_or(reading::THROTTLED)) }
    })
}

fn has_encoder(function: &str, device: Device) -> Result<(), Status> {
    if card(function, device)?.encodes.is_empty() { Err(NOT_SUPPORTED) } else { Ok(()) }
}
