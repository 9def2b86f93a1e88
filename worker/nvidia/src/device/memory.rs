//! Memory of a GPU, and rows in it.

use cudarc::driver::{result, sys};

use super::{Device, Fault};

/// Memory of a device; given back when dropped, after everything asked for before is done.
#[derive(Debug)]
pub struct Memory {
    pub(super) device: Device,
    pub(super) address: u64,
    pub(super) bytes: usize,
}

impl Memory {
    /// `CUdeviceptr`.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// How many bytes there are.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The device that it is on.
    pub fn device(&self) -> &Device {
        &self.device
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let freed = self.device.synchronize().and_then(|()| {
            // SAFETY: it is freed once, and no work that was asked for still uses it.
            unsafe { result::free_sync(self.address) }.map_err(Fault::of("cuMemFree"))
        });
        if let Err(fault) = freed {
            tracing::warn!(%fault, bytes = self.bytes, "device memory is left to the end of the process");
        }
    }
}

/// Rows of bytes in device memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    /// Of the first.
    pub address: u64,
    /// From the beginning of one to that of the next, in bytes.
    pub pitch: usize,
    /// How long each is, in bytes.
    pub bytes: usize,
    /// How many there are.
    pub count: usize,
}

impl Rows {
    /// Whether the host's side can hold as many rows at that distance.
    pub(super) fn fit(&self, len: usize, stride: usize, call: &'static str) -> Result<(), Fault> {
        let end = self.count.saturating_sub(1).checked_mul(stride).and_then(|start| start.checked_add(self.bytes));
        let fits = stride >= self.bytes && self.pitch >= self.bytes && end.is_some_and(|end| end <= len);
        if fits { Ok(()) } else { Err(Fault { call, code: 1 }) }
    }

    /// A copy of as many rows, its two sides still to be named.
    pub(super) fn copy(&self) -> sys::CUDA_MEMCPY2D {
        sys::CUDA_MEMCPY2D {
            srcXInBytes: 0,
            srcY: 0,
            srcMemoryType: sys::CUmemorytype_enum::CU_MEMORYTYPE_HOST,
            srcHost: std::ptr::null(),
            srcDevice: 0,
            srcArray: std::ptr::null_mut(),
            srcPitch: 0,
            dstXInBytes: 0,
            dstY: 0,
            dstMemoryType: sys::CUmemorytype_enum::CU_MEMORYTYPE_HOST,
            dstHost: std::ptr::null_mut(),
            dstDevice: 0,
            dstArray: std::ptr::null_mut(),
            dstPitch: 0,
            WidthInBytes: self.bytes,
            Height: self.count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_do_not_fit_are_refused() {
        let rows = Rows { address: 0, pitch: 512, bytes: 300, count: 3 };
        assert!(rows.fit(900, 300, "upload").is_ok());
        assert!(rows.fit(899, 300, "upload").is_err());
        assert!(rows.fit(2000, 299, "upload").is_err());
        assert!(Rows { count: usize::MAX, ..rows }.fit(900, 300, "upload").is_err());
    }
}
