//! Starting the driver, and what it says of its devices.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_uint};

use card::Card;

use crate::driver::{Driver, Out, call};
use crate::status::{self, Status};

/// The CUDA version that driver 550 calls its own: 12.4.
const VERSION: c_int = 12_040;

/// The card with this ordinal.
pub fn card(driver: &Driver, device: c_int) -> Result<&'static Card, Status> {
    match usize::try_from(device).ok().and_then(|device| card::cards().get(device)) {
        Some(card) => Ok(card),
        None => driver.refuse(status::INVALID_DEVICE, format_args!("there is no device {device}")),
    }
}

/// Memory of a card in bytes.
pub fn memory(card: &Card) -> u64 {
    card::faults().memory_mib.map_or(card.memory, |mib| mib << 20)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuInit(flags: c_uint) -> Status {
    call("cuInit", |driver| {
        if flags != 0 {
            return driver.refuse(status::INVALID_VALUE, format_args!("flags {flags}"));
        }
        driver.started = true;
        if card::cards().is_empty() { Err(status::NO_DEVICE) } else { Ok(()) }
    })
}

/// # Safety
///
/// `version` is null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDriverGetVersion(version: Out<c_int>) -> Status {
    call("cuDriverGetVersion", |driver| driver.answer(version, VERSION))
}

/// # Safety
///
/// `count` is null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetCount(count: Out<c_int>) -> Status {
    let cards = c_int::try_from(card::cards().len()).unwrap_or(c_int::MAX);
    call("cuDeviceGetCount", |driver| driver.answer(count, cards))
}

/// # Safety
///
/// `device` is null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGet(device: Out<c_int>, ordinal: c_int) -> Status {
    call("cuDeviceGet", |driver| {
        card(driver, ordinal)?;
        driver.answer(device, ordinal)
    })
}

/// # Safety
///
/// `name` is null or can hold `bytes`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetName(name: *mut c_char, bytes: c_int, device: c_int) -> Status {
    call("cuDeviceGetName", |driver| {
        let card = card(driver, device)?;
        let room = usize::try_from(bytes).unwrap_or(0);
        if name.is_null() || room == 0 {
            return driver.refuse(status::INVALID_VALUE, format_args!("no place for the name"));
        }
        let kept = card.name.len().min(room - 1);
        // SAFETY: there is room for as many bytes and the zero behind them.
        unsafe { std::ptr::copy_nonoverlapping(card.name.as_ptr(), name.cast(), kept) };
        // SAFETY: as above.
        let end = unsafe { name.add(kept) };
        // SAFETY: as above.
        unsafe { end.write(0) };
        Ok(())
    })
}

/// # Safety
///
/// `uuid` is null or can hold 16 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetUuid(uuid: Out<[u8; 16]>, device: c_int) -> Status {
    call("cuDeviceGetUuid", |driver| {
        let card = card(driver, device)?;
        driver.answer(uuid, card.whole.unwrap_or(card.uuid))
    })
}

/// # Safety
///
/// `uuid` is null or can hold 16 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetUuid_v2(uuid: Out<[u8; 16]>, device: c_int) -> Status {
    call("cuDeviceGetUuid", |driver| {
        let card = card(driver, device)?;
        driver.answer(uuid, card.uuid)
    })
}

/// # Safety
///
/// `bytes` is null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceTotalMem_v2(bytes: Out<usize>, device: c_int) -> Status {
    call("cuDeviceTotalMem", |driver| {
        let total = memory(card(driver, device)?);
        driver.answer(bytes, usize::try_from(total).unwrap_or(usize::MAX))
    })
}

/// # Safety
///
/// `major` and `minor` are null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceComputeCapability(major: Out<c_int>, minor: Out<c_int>, device: c_int) -> Status {
    call("cuDeviceComputeCapability", |driver| {
        let (first, second) = card(driver, device)?.compute_capability;
        driver.answer(major, first)?;
        driver.answer(minor, second)
    })
}

/// # Safety
///
/// `value` is null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetAttribute(value: Out<c_int>, attribute: c_int, device: c_int) -> Status {
    call("cuDeviceGetAttribute", |driver| {
        let known = attribute_of(card(driver, device)?, attribute);
        match known {
            Some(known) => driver.answer(value, known),
            None => driver.refuse(status::INVALID_VALUE, format_args!("there is no attribute {attribute}")),
        }
    })
}

/// By the numbers of `CUdevice_attribute`.
fn attribute_of(card: &Card, attribute: c_int) -> Option<c_int> {
    Some(match attribute {
        1..=3 => 1024,                   // threads of a block; its largest x and y
        4 => 64,                         // and z
        5 => c_int::MAX,                 // blocks of a grid: x
        6 | 7 => 65_535,                 // y and z
        8 => 49_152,                     // shared memory of a block in bytes
        10 => 32,                        // threads of a warp
        12 => 65_536,                    // registers of a block
        13 => 1_590_000,                 // clock in kHz
        14 => 512,                       // alignment of textures in bytes, which FFmpeg takes for pitches
        15 | 19 | 31 | 41 => 1,          // copies beside kernels; mapped host memory; many kernels; one address space
        16 => card.multiprocessors,      //
        33 => card.pci_bus,              //
        37 => 256,                       // bits of the memory's bus
        39 => 1024,                      // threads of a multiprocessor
        40 => 2,                         // engines for copies
        51 => 32,                        // alignment of a texture's pitch
        75 => card.compute_capability.0, //
        76 => card.compute_capability.1, //
        81 => 65_536,                    // shared memory of a multiprocessor
        82 => 65_536,                    // registers of a multiprocessor
        115 => 1,                        // memory in the order of streams
        0 | ..0 | 150.. => return None,
        _ => 0,
    })
}
