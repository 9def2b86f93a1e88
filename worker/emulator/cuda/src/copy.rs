//! Copies and fills.
#![allow(unsafe_code)]

use std::ffi::{c_uint, c_void};

use crate::driver::{Driver, Handle, call_in_context};
use crate::memory::Memory;
use crate::status::{self, Status};

/// `CUDA_MEMCPY2D`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Rectangle {
    from: Side,
    to: Side,
    width: usize,
    height: usize,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Side {
    x: usize,
    y: usize,
    kind: c_uint,
    host: u64,
    device: u64,
    array: u64,
    pitch: usize,
}

const _: () = assert!(size_of::<Rectangle>() == 128);

/// `CU_MEMORYTYPE_*`.
const HOST: c_uint = 1;
const DEVICE: c_uint = 2;
const UNIFIED: c_uint = 4;

/// Rows of bytes, on either side of a copy.
#[derive(Clone, Copy)]
struct Rows {
    address: u64,
    pitch: usize,
    /// The allocation of the device they lie in; none: they are the host's.
    allocation: Option<u64>,
}

/// A copy that was found right.
#[derive(Clone, Copy)]
struct Copy {
    from: Rows,
    to: Rows,
    width: usize,
    height: usize,
}

impl Driver {
    /// Sees to it that the rows can be there.
    fn rows(&self, address: u64, pitch: usize, width: usize, height: usize, device: bool) -> Result<Rows, Status> {
        let pitch = if height == 1 { width } else { pitch };
        if pitch < width {
            let what = format_args!("rows of {width} bytes with a pitch of {pitch}");
            return self.refuse(status::INVALID_VALUE, what);
        }
        if device {
            let bytes = (pitch as u64).saturating_mul(height as u64 - 1).saturating_add(width as u64);
            return match self.memory.find(address, bytes) {
                Ok(allocation) => Ok(Rows { address, pitch, allocation: Some(allocation.address) }),
                Err(trouble) => self.refuse(status::INVALID_VALUE, format_args!("{trouble}")),
            };
        }
        if address == 0 || Memory::is_device(address) {
            return self.refuse(status::INVALID_VALUE, format_args!("{address:#x} is no memory of the host"));
        }
        Ok(Rows { address, pitch, allocation: None })
    }

    /// A copy from place to place, each of the device if `.1` says so.
    fn plain(&self, to: (u64, bool), from: (u64, bool), bytes: usize) -> Result<Option<Copy>, Status> {
        if bytes == 0 {
            return Ok(None);
        }
        let from = self.rows(from.0, bytes, bytes, 1, from.1)?;
        let to = self.rows(to.0, bytes, bytes, 1, to.1)?;
        Ok(Some(Copy { from, to, width: bytes, height: 1 }))
    }

    fn rectangle(&self, copy: &Rectangle) -> Result<Option<Copy>, Status> {
        if copy.width == 0 || copy.height == 0 {
            return Ok(None);
        }
        let rows = |side: &Side| {
            let (base, device) = match side.kind {
                HOST => (side.host, false),
                DEVICE => (side.device, true),
                UNIFIED => (side.device, Memory::is_device(side.device)),
                kind => return self.refuse(status::INVALID_VALUE, format_args!("memory of type {kind}")),
            };
            let offset = side.y.saturating_mul(side.pitch).saturating_add(side.x);
            self.rows(base.saturating_add(offset as u64), side.pitch, copy.width, copy.height, device)
        };
        Ok(Some(Copy { from: rows(&copy.from)?, to: rows(&copy.to)?, width: copy.width, height: copy.height }))
    }

    /// Copies now, after all that stream 0 waits for.
    fn copy_now(&mut self, copy: Option<Copy>) {
        self.finish_joined();
        if let Some(copy) = copy {
            copy.run(&self.memory);
        }
    }

    /// Copies on a stream. Memory of the host that is not pinned is read before this returns, and written too, as a driver
    /// does it.
    fn copy_on(&mut self, stream: Handle, context: Handle, copy: Option<Copy>) -> Result<(), Status> {
        self.known_stream(stream, context)?;
        let Some(copy) = copy else { return Ok(()) };
        let pageable = |rows: &Rows| rows.allocation.is_none() && !self.memory.is_pinned(rows.address);
        if card::faults().lazy_streams && pageable(&copy.from) {
            let mut kept = vec![0_u8; copy.width * copy.height];
            let to = Rows { address: kept.as_mut_ptr() as u64, pitch: copy.width, allocation: None };
            Copy { to, ..copy }.run(&self.memory);
            self.submit(stream, move |memory| {
                let from = Rows { address: kept.as_ptr() as u64, pitch: copy.width, allocation: None };
                Copy { from, ..copy }.run(memory);
            });
        } else if pageable(&copy.to) {
            self.finish(stream);
            copy.run(&self.memory);
        } else {
            self.submit(stream, move |memory| copy.run(memory));
        }
        Ok(())
    }

    /// Fills device memory with a byte.
    fn fill(&mut self, stream: Option<Handle>, address: u64, byte: u8, bytes: usize) -> Result<(), Status> {
        if bytes == 0 {
            return Ok(());
        }
        let rows = self.rows(address, bytes, bytes, 1, true)?;
        let fill = move |memory: &Memory| {
            let open: Vec<u64> = rows.allocation.into_iter().collect();
            // SAFETY: the bytes were found inside of the allocation, and it is open.
            memory.open(&open, || unsafe { std::ptr::write_bytes(address as *mut u8, byte, bytes) });
        };
        match stream {
            Some(stream) => self.submit(stream, fill),
            None => {
                self.finish_joined();
                fill(&self.memory);
            }
        }
        Ok(())
    }
}

impl Copy {
    fn run(&self, memory: &Memory) {
        let open: Vec<u64> = self.from.allocation.into_iter().chain(self.to.allocation).collect();
        memory.open(&open, || {
            for row in 0..self.height {
                let from = (self.from.address + (row * self.from.pitch) as u64) as *const u8;
                let to = (self.to.address + (row * self.to.pitch) as u64) as *mut u8;
                // SAFETY: rows of the device were found inside of an allocation that is open; for those of the host the
                // client says so.
                unsafe { std::ptr::copy(from, to, self.width) };
            }
        });
    }
}

/// The copies of one row: `to` and `from` are of the device or not.
macro_rules! copies {
    ($($now:ident $later:ident $name:literal $to:ident: $to_type:ty = $to_device:expr,
       $from:ident: $from_type:ty = $from_device:expr;)*) => {
        $(
            /// # Safety
            ///
            /// Memory of the host is as long as `bytes`.
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $now($to: $to_type, $from: $from_type, bytes: usize) -> Status {
                call_in_context($name, |driver, _| {
                    let copy = driver.plain(($to as u64, $to_device), ($from as u64, $from_device), bytes)?;
                    driver.copy_now(copy);
                    Ok(())
                })
            }

            /// # Safety
            ///
            /// Memory of the host is as long as `bytes`, until the stream has come here.
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $later($to: $to_type, $from: $from_type, bytes: usize, stream: Handle) -> Status {
                call_in_context(concat!($name, "Async"), |driver, context| {
                    let copy = driver.plain(($to as u64, $to_device), ($from as u64, $from_device), bytes)?;
                    driver.copy_on(stream, context, copy)
                })
            }
        )*
    };
}

copies! {
    cuMemcpyHtoD_v2 cuMemcpyHtoDAsync_v2 "cuMemcpyHtoD" to: u64 = true, from: *const c_void = false;
    cuMemcpyDtoH_v2 cuMemcpyDtoHAsync_v2 "cuMemcpyDtoH" to: *mut c_void = false, from: u64 = true;
    cuMemcpyDtoD_v2 cuMemcpyDtoDAsync_v2 "cuMemcpyDtoD" to: u64 = true, from: u64 = true;
    cuMemcpy cuMemcpyAsync "cuMemcpy" to: u64 = Memory::is_device(to), from: u64 = Memory::is_device(from);
}

fn given(driver: &Driver, copy: *const Rectangle) -> Result<Rectangle, Status> {
    if copy.is_null() {
        return driver.refuse(status::INVALID_VALUE, format_args!("no copy is described"));
    }
    // SAFETY: it is not null, and the caller says that it is a copy.
    Ok(unsafe { *copy })
}

/// # Safety
///
/// `copy` is null or describes a copy; its memory of the host is as long as it says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpy2D_v2(copy: *const Rectangle) -> Status {
    call_in_context("cuMemcpy2D", |driver, _| {
        let copy = driver.rectangle(&given(driver, copy)?)?;
        driver.copy_now(copy);
        Ok(())
    })
}

/// # Safety
///
/// As `cuMemcpy2D_v2`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpy2DUnaligned_v2(copy: *const Rectangle) -> Status {
    // SAFETY: the caller keeps it.
    unsafe { cuMemcpy2D_v2(copy) }
}

/// # Safety
///
/// As `cuMemcpy2D_v2`, until the stream has come here.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpy2DAsync_v2(copy: *const Rectangle, stream: Handle) -> Status {
    call_in_context("cuMemcpy2DAsync", |driver, context| {
        let copy = driver.rectangle(&given(driver, copy)?)?;
        driver.copy_on(stream, context, copy)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemsetD8_v2(address: u64, byte: u8, bytes: usize) -> Status {
    call_in_context("cuMemsetD8", |driver, _| driver.fill(None, address, byte, bytes))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemsetD8Async(address: u64, byte: u8, bytes: usize, stream: Handle) -> Status {
    call_in_context("cuMemsetD8Async", |driver, context| {
        driver.known_stream(stream, context)?;
        driver.fill(Some(stream), address, byte, bytes)
    })
}
