//! Memory for clients: of the device, and of the host where copies run beside the client.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ffi::{c_uint, c_void};

use crate::context::device_of;
use crate::device;
use crate::driver::{Driver, Handle, Out, call_in_context};
use crate::status::{self, Status};

/// What a row is aligned to, in bytes.
const PITCH: usize = 512;
/// Alignment of pinned memory in bytes.
const PAGE: usize = 4096;

fn allocate(driver: &mut Driver, context: Handle, bytes: usize) -> Result<u64, Status> {
    if bytes == 0 {
        return driver.refuse(status::INVALID_VALUE, format_args!("no bytes are asked for"));
    }
    let device = device_of(driver, context)?;
    let (bytes, total) = (bytes as u64, device::memory(device::card(driver, device)?));
    if driver.memory.used(device).saturating_add(bytes) > total {
        return Err(status::OUT_OF_MEMORY);
    }
    driver.memory.allocate(bytes, context, device).ok_or(status::OUT_OF_MEMORY)
}

fn free(driver: &mut Driver, address: u64) -> Result<(), Status> {
    if address == 0 {
        return Ok(());
    }
    let freed = driver.memory.free(address);
    freed.or_else(|trouble| driver.refuse(status::INVALID_VALUE, format_args!("{trouble}")))
}

/// # Safety
///
/// `address` is null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemAlloc_v2(address: Out<u64>, bytes: usize) -> Status {
    call_in_context("cuMemAlloc", |driver, context| {
        let allocated = allocate(driver, context, bytes)?;
        driver.answer(address, allocated)
    })
}

/// # Safety
///
/// `address` and `pitch` are null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemAllocPitch_v2(
    address: Out<u64>,
    pitch: Out<usize>,
    width: usize,
    height: usize,
    element: c_uint,
) -> Status {
    call_in_context("cuMemAllocPitch", |driver, context| {
        if !matches!(element, 4 | 8 | 16) {
            return driver.refuse(status::INVALID_VALUE, format_args!("elements of {element} bytes"));
        }
        let row = width.checked_next_multiple_of(PITCH).ok_or(status::INVALID_VALUE)?;
        let bytes = row.checked_mul(height).ok_or(status::INVALID_VALUE)?;
        let allocated = allocate(driver, context, bytes)?;
        driver.answer(pitch, row)?;
        driver.answer(address, allocated)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemFree_v2(address: u64) -> Status {
    call_in_context("cuMemFree", |driver, _| {
        driver.finish_all();
        free(driver, address)
    })
}

/// # Safety
///
/// `address` is null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemAllocAsync(address: Out<u64>, bytes: usize, stream: Handle) -> Status {
    call_in_context("cuMemAllocAsync", |driver, context| {
        driver.known_stream(stream, context)?;
        let allocated = allocate(driver, context, bytes)?;
        driver.answer(address, allocated)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemFreeAsync(address: u64, stream: Handle) -> Status {
    call_in_context("cuMemFreeAsync", |driver, context| {
        driver.known_stream(stream, context)?;
        driver.finish(stream);
        free(driver, address)
    })
}

/// # Safety
///
/// `free` and `total` are null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemGetInfo_v2(free: Out<usize>, total: Out<usize>) -> Status {
    call_in_context("cuMemGetInfo", |driver, context| {
        let device = device_of(driver, context)?;
        let all = device::memory(device::card(driver, device)?);
        let left = all.saturating_sub(driver.memory.used(device));
        driver.answer(free, left as usize)?;
        driver.answer(total, all as usize)
    })
}

fn pinned(driver: &mut Driver, place: Out<*mut c_void>, bytes: usize) -> Result<(), Status> {
    let layout = Layout::from_size_align(bytes, PAGE).map_err(|_| status::INVALID_VALUE)?;
    if bytes == 0 {
        return driver.refuse(status::INVALID_VALUE, format_args!("no bytes are asked for"));
    }
    // SAFETY: it is not of size 0.
    let memory = unsafe { alloc_zeroed(layout) };
    if memory.is_null() {
        return Err(status::OUT_OF_MEMORY);
    }
    driver.memory.pinned_host.insert(memory as u64, bytes);
    driver.answer(place, memory.cast())
}

/// # Safety
///
/// `place` is null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemHostAlloc(place: Out<*mut c_void>, bytes: usize, _flags: c_uint) -> Status {
    call_in_context("cuMemHostAlloc", |driver, _| pinned(driver, place, bytes))
}

/// # Safety
///
/// `place` is null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemAllocHost_v2(place: Out<*mut c_void>, bytes: usize) -> Status {
    call_in_context("cuMemAllocHost", |driver, _| pinned(driver, place, bytes))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemFreeHost(place: *mut c_void) -> Status {
    call_in_context("cuMemFreeHost", |driver, _| {
        driver.finish_all();
        let Some(bytes) = driver.memory.pinned_host.remove(&(place as u64)) else {
            return driver.refuse(status::INVALID_VALUE, format_args!("{place:p} is no pinned memory, or was freed"));
        };
        let layout = Layout::from_size_align(bytes, PAGE).map_err(|_| status::INVALID_VALUE)?;
        // SAFETY: it was allocated with this layout and is known no more.
        unsafe { dealloc(place.cast(), layout) };
        Ok(())
    })
}

/// # Safety
///
/// `base` and `bytes` are null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemGetAddressRange_v2(base: Out<u64>, bytes: Out<usize>, address: u64) -> Status {
    call_in_context("cuMemGetAddressRange", |driver, _| match driver.memory.find(address, 1) {
        Ok(allocation) => {
            driver.answer(base, allocation.address)?;
            driver.answer(bytes, allocation.bytes as usize)
        }
        Err(_) => Err(status::NOT_FOUND),
    })
}
