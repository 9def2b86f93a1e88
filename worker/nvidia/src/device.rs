//! One GPU: what it is, memory on it, and the stream that everything asked of it goes through.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::sync::Arc;

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::{CudaContext, CudaStream, sys};

use crate::load::{self, Lack};

/// Reads one attribute of a device.
macro_rules! attribute {
    ($context:expr, $name:ident) => {
        $context.attribute(sys::CUdevice_attribute_enum::$name).map_err(Fault::of(stringify!($name)))
    };
}

/// A GPU. Clones are the same GPU with the same stream.
#[derive(Debug, Clone)]
pub struct Device(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    facts: Facts,
    stream: Arc<CudaStream>, // before the context, which it belongs to
    context: Arc<CudaContext>,
}

/// What a GPU says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// As NVIDIA sells it.
    pub name: String,
    /// `GPU-…`, or `MIG-…` for a part of one; what a card is known by after a reboot.
    pub uuid: String,
    /// `domain:bus:device.function`.
    pub pci_bus_id: String,
    /// Major and minor.
    pub compute_capability: (u32, u32),
    /// All there is, in bytes.
    pub memory_bytes: u64,
    /// The newest CUDA that the driver knows, major and minor.
    pub cuda: (u32, u32),
    /// The kernel module's version, where the system tells it.
    pub driver: Option<String>,
    /// A part of a GPU that was divided.
    pub mig: bool,
}

/// A call of CUDA that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{call} failed with CUDA status {code}{}", self.meaning())]
pub struct Fault {
    /// What was asked for.
    pub call: &'static str,
    /// `CUresult`, as an integer: newer drivers have statuses that no list of ours knows.
    pub code: u32,
}

impl Fault {
    /// For `map_err`: the fault of a call.
    pub(crate) fn of(call: &'static str) -> impl FnOnce(DriverError) -> Self {
        move |error| Self { call, code: error.0 as u32 }
    }

    /// The device has no memory left (or the driver has not): others may have taken it, nothing is broken.
    pub fn out_of_memory(&self) -> bool {
        self.code == 2
    }

    /// The context is lost with all that is in it: only the end of the process cleans up.
    pub fn sticky(&self) -> bool {
        matches!(self.code, 46 | 214 | 220 | 700 | 702 | 709 | 710 | 714..=721 | 999)
    }

    fn meaning(&self) -> &'static str {
        match self.code {
            1 => " (invalid value)",
            2 => " (out of memory)",
            46 => " (device not available)",
            100 => " (no device)",
            101 => " (invalid device)",
            201 => " (invalid context)",
            209 => " (no kernel for this device)",
            214 => " (memory error that could not be corrected)",
            218 => " (PTX that the driver can't compile)",
            220 => " (NVLink error)",
            222 => " (PTX newer than the driver)",
            700 => " (address that isn't mapped)",
            702 => " (a kernel ran too long)",
            719 => " (a kernel failed)",
            999 => " (unknown, often a lost device)",
            _ => "",
        }
    }
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
        load::cuda_present()?;
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
        Ok(Self(Arc::new(Inner { facts, stream, context })))
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

    pub(crate) fn cuda_context(&self) -> &Arc<CudaContext> {
        &self.0.context
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

    /// # Safety
    /// Both sides are as long as the copy says.
    unsafe fn copy(&self, copy: &sys::CUDA_MEMCPY2D) -> Result<(), Fault> {
        self.bind()?;
        // SAFETY: the caller keeps the promise, and it is done before this returns.
        let status = unsafe { sys::cuMemcpy2DAsync_v2(copy, self.0.stream.cu_stream()) };
        status.result().map_err(Fault::of("cuMemcpy2DAsync"))?;
        self.synchronize()
    }

    /// Whether both go through one stream.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

fn lack(what: &str, fault: &Fault) -> Lack {
    Lack::new(what, fault.to_string(), "see `nvidia-smi` and the kernel's log for NVRM and Xid")
}

impl Facts {
    fn read(context: &CudaContext) -> Result<Self, Fault> {
        let name = context.name().map_err(Fault::of("cuDeviceGetName"))?;
        let mig = name.contains(" MIG ");
        let uuid = context.uuid().map_err(Fault::of("cuDeviceGetUuid"))?.bytes.map(|byte| byte as u8);
        let domain = attribute!(context, CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID)?;
        let bus = attribute!(context, CU_DEVICE_ATTRIBUTE_PCI_BUS_ID)?;
        let device = attribute!(context, CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID)?;
        let major = attribute!(context, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = attribute!(context, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        let mut version = 0;
        // SAFETY: it writes one integer.
        let status = unsafe { sys::cuDriverGetVersion(&raw mut version) };
        status.result().map_err(Fault::of("cuDriverGetVersion"))?;
        Ok(Self {
            name,
            uuid: uuid_text(mig, uuid),
            pci_bus_id: format!("{domain:04x}:{bus:02x}:{device:02x}.0"),
            compute_capability: (major.unsigned_abs(), minor.unsigned_abs()),
            memory_bytes: context.total_mem().map_err(Fault::of("cuDeviceTotalMem"))? as u64,
            cuda: (version.unsigned_abs() / 1000, version.unsigned_abs() % 1000 / 10),
            driver: std::fs::read_to_string("/proc/driver/nvidia/version").ok().as_deref().and_then(module_version),
            mig,
        })
    }
}

/// As `nvidia-smi -L` writes it.
fn uuid_text(mig: bool, bytes: [u8; 16]) -> String {
    let mut text = String::from(if mig { "MIG" } else { "GPU" });
    for (place, byte) in bytes.into_iter().enumerate() {
        if matches!(place, 0 | 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text += &format!("{byte:02x}");
    }
    text
}

/// The version in `NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 …`.
fn module_version(text: &str) -> Option<String> {
    let dotted = |word: &&str| word.contains('.') && word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.lines().next()?.split_whitespace().find(dotted).map(str::to_owned)
}

/// Memory of a device; given back when dropped, after everything asked for before is done.
#[derive(Debug)]
pub struct Memory {
    device: Device,
    address: u64,
    bytes: usize,
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
    fn fit(&self, len: usize, stride: usize, call: &'static str) -> Result<(), Fault> {
        let end = self.count.saturating_sub(1).checked_mul(stride).and_then(|start| start.checked_add(self.bytes));
        let fits = stride >= self.bytes && self.pitch >= self.bytes && end.is_some_and(|end| end <= len);
        if fits { Ok(()) } else { Err(Fault { call, code: 1 }) }
    }

    /// A copy of as many rows, its two sides still to be named.
    fn copy(&self) -> sys::CUDA_MEMCPY2D {
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
    fn a_uuid_is_written_as_nvidia_smi_does() {
        let bytes = std::array::from_fn(|place| place as u8 * 17);
        assert_eq!(uuid_text(false, bytes), "GPU-00112233-4455-6677-8899-aabbccddeeff");
        assert!(uuid_text(true, bytes).starts_with("MIG-"));
    }

    #[test]
    fn the_modules_version_is_found_in_both_kinds_of_driver() {
        let closed = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\nGCC";
        let open = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build";
        assert_eq!(module_version(closed).as_deref(), Some("535.104.05"));
        assert_eq!(module_version(open).as_deref(), Some("580.65.06"));
        assert_eq!(module_version("nothing"), None);
    }

    #[test]
    fn rows_that_do_not_fit_are_refused() {
        let rows = Rows { address: 0, pitch: 512, bytes: 300, count: 3 };
        assert!(rows.fit(900, 300, "upload").is_ok());
        assert!(rows.fit(899, 300, "upload").is_err());
        assert!(rows.fit(2000, 299, "upload").is_err());
        assert!(Rows { count: usize::MAX, ..rows }.fit(900, 300, "upload").is_err());
    }

    #[test]
    fn a_lost_context_is_told_from_a_full_one() {
        let fault = |code| Fault { call: "cuMemAlloc", code };
        assert!(fault(2).out_of_memory() && !fault(2).sticky());
        assert!([46, 700, 719, 999].into_iter().all(|code| fault(code).sticky()));
        assert!(!fault(801).sticky());
    }
}
