//! One GPU: what it is, memory on it, and the stream that everything asked of it goes through.
#![allow(unsafe_code)]

mod facts;
mod fault;
mod memory;

use std::ffi::c_void;
use std::sync::{Arc, OnceLock};

use cudarc::driver::{CudaContext, CudaStream, result, sys};

pub use self::facts::Facts;
pub use self::fault::Fault;
pub use self::memory::{Memory, Rows};
use crate::kernels::Functions;
use crate::load::{self, Lack};

/// A GPU. Clones are the same GPU with the same stream.
#[derive(Debug, Clone)]
pub struct Device(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    facts: Facts,
    /// Compiled when first asked for.
    functions: OnceLock<Functions>,
    stream: Arc<CudaStream>, // before the context, which it belongs to
    context: Arc<CudaContext>,
}

impl Device {
    /// How many GPUs (or MIG parts) this process may use.
    ///
    /// # Errors
    /// See [`load::cuda_present`].
    pub fn count() -> Result<u32, Lack> {
        load::cuda_present()?;
        let count = CudaContext::device_count().map_err(Fault::of("cuDeviceGetCount"));
        count.map(i32::unsigned_abs).map_err(|fault| lack("the devices", &fault))
    }

    /// Opens the GPU with this number, counted from 0: its primary context, and a stream of its own in it.
    ///
    /// # Errors
    /// There is no driver or no such GPU, or it does not answer.
    pub fn open(ordinal: u32) -> Result<Self, Lack> {
        let count = Self::count()?;
        if ordinal >= count {
            let why = format!("there are {count}, counted from 0");
            return Err(Lack::new(format!("GPU {ordinal}"), why, "see `nvidia-smi -L` for what is there"));
        }
        Self::open_loaded(ordinal).map_err(|fault| lack(&format!("GPU {ordinal}"), &fault))
    }

    fn open_loaded(ordinal: u32) -> Result<Self, Fault> {
        let context = CudaContext::new(ordinal as usize).map_err(Fault::of("cuDevicePrimaryCtxRetain"))?;
        // SAFETY: cudarc's events keep slices in order over several streams; we use no slice and one stream.
        unsafe { context.disable_event_tracking() };
        // A thread that waits sleeps: the processors are for x264.
        context.set_blocking_synchronize().map_err(Fault::of("cuCtxSetFlags"))?;
        let stream = context.new_stream().map_err(Fault::of("cuStreamCreate"))?;
        let facts = Facts::read(&context)?;
        Ok(Self(Arc::new(Inner { facts, functions: OnceLock::new(), stream, context })))
    }

    /// What it says of itself.
    pub fn facts(&self) -> &Facts {
        &self.0.facts
    }

    /// Makes its context current on this thread, as every call of the driver wants it.
    ///
    /// # Errors
    /// The device is lost.
    pub fn bind(&self) -> Result<(), Fault> {
        self.0.context.bind_to_thread().map_err(Fault::of("cuCtxSetCurrent"))
    }

    /// `CUcontext`, for the video libraries. It lives as long as the device.
    pub fn context(&self) -> *mut c_void {
        self.0.context.cu_ctx().cast()
    }

    /// `CUstream`, for the video libraries. It lives as long as the device.
    pub fn stream(&self) -> *mut c_void {
        self.0.stream.cu_stream().cast()
    }

    /// The kernels, compiled for it.
    pub(crate) fn functions(&self) -> Result<&Functions, Fault> {
        if let Some(functions) = self.0.functions.get() {
            return Ok(functions);
        }
        let functions = Functions::load(&self.0.context)?;
        Ok(self.0.functions.get_or_init(|| functions))
    }

    pub(crate) fn cuda_stream(&self) -> &Arc<CudaStream> {
        &self.0.stream
    }

    /// Waits until all that was asked for is done.
    ///
    /// # Errors
    /// Something of it failed: see [`Fault::sticky`].
    pub fn synchronize(&self) -> Result<(), Fault> {
        self.0.stream.synchronize().map_err(Fault::of("cuStreamSynchronize"))
    }

    /// Bytes free, of all processes together.
    ///
    /// # Errors
    /// The device is lost.
    pub fn free_bytes(&self) -> Result<u64, Fault> {
        self.0.context.mem_get_info().map(|(free, _)| free as u64).map_err(Fault::of("cuMemGetInfo"))
    }

    /// Memory of `bytes`, of unknown content.
    ///
    /// # Errors
    /// There is not as much left ([`Fault::out_of_memory`]).
    pub fn allocate(&self, bytes: usize) -> Result<Memory, Fault> {
        self.bind()?;
        // Not from CUDA's pools (cuMemAllocAsync): NVENC registers surfaces, and those take plain memory.
        // SAFETY: nobody reads it before it was written; every user of surfaces and tables sees to that.
        let address = unsafe { result::malloc_sync(bytes.max(1)) }.map_err(Fault::of("cuMemAlloc"))?;
        Ok(Memory { device: self.clone(), address, bytes })
    }

    /// Memory with this content.
    ///
    /// # Errors
    /// See [`Self::allocate`].
    pub fn hold(&self, content: &[u8]) -> Result<Memory, Fault> {
        let memory = self.allocate(content.len())?;
        if !content.is_empty() {
            let rows = Rows { address: memory.address, pitch: content.len(), bytes: content.len(), count: 1 };
            // SAFETY: the memory was allocated that long.
            unsafe { self.upload(&rows, content, content.len()) }?;
        }
        Ok(memory)
    }

    /// Copies rows from the host; row `n` begins at `n × stride` of `from`. Comes back when they have been read.
    ///
    /// # Errors
    /// `from` is too short, or the device is lost.
    ///
    /// # Safety
    /// The rows are in memory of this device.
    pub unsafe fn upload(&self, to: &Rows, from: &[u8], stride: usize) -> Result<(), Fault> {
        to.fit(from.len(), stride, "upload")?;
        let mut copy = to.copy();
        copy.srcMemoryType = sys::CUmemorytype_enum::CU_MEMORYTYPE_HOST;
        copy.srcHost = from.as_ptr().cast();
        copy.srcPitch = stride;
        copy.dstMemoryType = sys::CUmemorytype_enum::CU_MEMORYTYPE_DEVICE;
        copy.dstDevice = to.address;
        copy.dstPitch = to.pitch;
        // SAFETY: the rows fit on both sides, and the host's stay until the copy is done.
        unsafe { self.copy(&copy) }
    }

    /// Copies rows to the host, when everything asked for before is done; row `n` begins at `n × stride` of `to`.
    ///
    /// # Errors
    /// `to` is too short, or the device is lost.
    ///
    /// # Safety
    /// The rows are in memory of this device and have been written.
    pub unsafe fn download(&self, from: &Rows, to: &mut [u8], stride: usize) -> Result<(), Fault> {
        from.fit(to.len(), stride, "download")?;
        let mut copy = from.copy();
        copy.srcMemoryType = sys::CUmemorytype_enum::CU_MEMORYTYPE_DEVICE;
        copy.srcDevice = from.address;
        copy.srcPitch = from.pitch;
        copy.dstMemoryType = sys::CUmemorytype_enum::CU_MEMORYTYPE_HOST;
        copy.dstHost = to.as_mut_ptr().cast();
        copy.dstPitch = stride;
        // SAFETY: the rows fit on both sides, and the host's stay until the copy is done.
        unsafe { self.copy(&copy) }
    }

    /// Copies rows within the device's memory, in their turn: this comes back before it is done.
    ///
    /// # Errors
    /// The rows differ in number or length, or the device is lost.
    ///
    /// # Safety
    /// Both are in memory of this device, which stays until it is done.
    pub(crate) unsafe fn duplicate(&self, from: &Rows, to: &Rows) -> Result<(), Fault> {
        if (from.bytes, from.count) != (to.bytes, to.count) || from.pitch < from.bytes || to.pitch < to.bytes {
            return Err(Fault { call: "duplicate", code: 1 });
        }
        let mut copy = to.copy();
        copy.srcMemoryType = sys::CUmemorytype_enum::CU_MEMORYTYPE_DEVICE;
        copy.srcDevice = from.address;
        copy.srcPitch = from.pitch;
        copy.dstMemoryType = sys::CUmemorytype_enum::CU_MEMORYTYPE_DEVICE;
        copy.dstDevice = to.address;
        copy.dstPitch = to.pitch;
        // SAFETY: the rows fit on both sides, and the caller keeps them.
        unsafe { self.ask_for(&copy) }
    }

    /// # Safety
    /// Both sides are as long as the copy says.
    unsafe fn copy(&self, copy: &sys::CUDA_MEMCPY2D) -> Result<(), Fault> {
        // SAFETY: the caller keeps the promise, and it is done before this returns.
        unsafe { self.ask_for(copy) }?;
        self.synchronize()
    }

    /// # Safety
    /// Both sides are as long as the copy says, until it is done.
    unsafe fn ask_for(&self, copy: &sys::CUDA_MEMCPY2D) -> Result<(), Fault> {
        self.bind()?;
        // SAFETY: the caller keeps the promise.
        let status = unsafe { sys::cuMemcpy2DAsync_v2(copy, self.0.stream.cu_stream()) };
        status.result().map_err(Fault::of("cuMemcpy2DAsync"))
    }

    /// Whether both go through one stream.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

fn lack(what: &str, fault: &Fault) -> Lack {
    Lack::new(what, fault.to_string(), "see `nvidia-smi` and the kernel's log for NVRM and Xid")
}
