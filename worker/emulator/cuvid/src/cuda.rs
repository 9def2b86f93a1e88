//! The libcuda that the client has loaded, the stand-in's or a real one: decoded pictures are put into its memory.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use libloading::{Library, Symbol};

use crate::call::{CONTEXT_IS_DESTROYED, INVALID_CONTEXT, Refusal, Status, UNKNOWN};

/// Its functions that are used here.
pub struct Cuda {
    get_current: unsafe extern "C" fn(*mut u64) -> Status,
    push: unsafe extern "C" fn(u64) -> Status,
    pop: unsafe extern "C" fn(*mut u64) -> Status,
    get_device: unsafe extern "C" fn(*mut c_int) -> Status,
    allocate: unsafe extern "C" fn(*mut u64, usize) -> Status,
    free: unsafe extern "C" fn(u64) -> Status,
    copy: unsafe extern "C" fn(u64, *const c_void, usize, usize) -> Status,
    fill: unsafe extern "C" fn(u64, u8, usize) -> Status,
    _library: Library,
}

/// The loaded libcuda.
pub fn cuda() -> Result<&'static Cuda, Refusal> {
    static CUDA: OnceLock<Option<Cuda>> = OnceLock::new();
    CUDA.get_or_init(|| Cuda::load().ok()).as_ref().ok_or_else(|| UNKNOWN.into())
}

/// A call of libcuda ended as all do once the device is lost.
static LOST: AtomicBool = AtomicBool::new(false);

/// Whether the device is lost: nothing can be given back then.
pub fn is_lost() -> bool {
    LOST.load(Ordering::Relaxed)
}

fn done(status: Status) -> Result<(), Refusal> {
    if matches!(status, 46 | 700..=719 | UNKNOWN) && status != CONTEXT_IS_DESTROYED {
        LOST.store(true, Ordering::Relaxed);
    }
    if status == 0 { Ok(()) } else { Err(status.into()) }
}

impl Cuda {
    fn load() -> Result<Self, libloading::Error> {
        // SAFETY: clients have it loaded, its initialisers have run.
        let library = unsafe { Library::new("libcuda.so.1") }?;
        macro_rules! function {
            ($name:literal) => {{
                // SAFETY: the field that it becomes has the signature of cuda.h.
                let symbol: Symbol<'_, _> = unsafe { library.get(concat!($name, "\0").as_bytes()) }?;
                *symbol
            }};
        }
        Ok(Self {
            get_current: function!("cuCtxGetCurrent"),
            push: function!("cuCtxPushCurrent_v2"),
            pop: function!("cuCtxPopCurrent_v2"),
            get_device: function!("cuCtxGetDevice"),
            allocate: function!("cuMemAlloc_v2"),
            free: function!("cuMemFree_v2"),
            copy: function!("cuMemcpyHtoDAsync_v2"),
            fill: function!("cuMemsetD8_v2"),
            _library: library,
        })
    }

    /// The current context.
    pub fn current(&self) -> Result<u64, Refusal> {
        let mut context = 0;
        // SAFETY: the answer has a place.
        done(unsafe { (self.get_current)(&raw mut context) })?;
        if context == 0 {
            return Err(Refusal::wrong(INVALID_CONTEXT, format_args!("no context is current on this thread")));
        }
        Ok(context)
    }

    /// The card that the current context is on.
    pub fn card(&self) -> Result<&'static card::Card, Refusal> {
        let mut device = 0;
        // SAFETY: the answer has a place.
        done(unsafe { (self.get_device)(&raw mut device) })?;
        let ordinal = usize::try_from(device).unwrap_or(0);
        // A machine with real cards may have more of them than are played: those are like the first.
        card::cards().get(ordinal).or(card::cards().first()).ok_or_else(|| UNKNOWN.into())
    }

    /// Does something with a context current.
    pub fn within<R>(&self, context: u64, work: impl FnOnce() -> Result<R, Refusal>) -> Result<R, Refusal> {
        // SAFETY: libcuda knows its contexts.
        done(unsafe { (self.push)(context) })?;
        let result = work();
        let mut popped = 0;
        // SAFETY: the answer has a place.
        done(unsafe { (self.pop)(&raw mut popped) })?;
        result
    }

    pub fn allocate(&self, bytes: usize) -> Result<u64, Refusal> {
        let mut address = 0;
        // SAFETY: the answer has a place.
        done(unsafe { (self.allocate)(&raw mut address, bytes) })?;
        Ok(address)
    }

    pub fn free(&self, address: u64) -> Result<(), Refusal> {
        // SAFETY: it was allocated and is not used any more.
        done(unsafe { (self.free)(address) })
    }

    /// Copies to the device on a stream; the bytes are read before it returns, as they are not pinned.
    pub fn copy(&self, to: u64, from: &[u8], stream: usize) -> Result<(), Refusal> {
        // SAFETY: the slice is as long as it says, and libcuda checks the rest.
        done(unsafe { (self.copy)(to, from.as_ptr().cast(), from.len(), stream) })
    }

    pub fn fill(&self, address: u64, byte: u8, bytes: usize) -> Result<(), Refusal> {
        // SAFETY: libcuda checks it.
        done(unsafe { (self.fill)(address, byte, bytes) })
    }
}
