//! The libcuda that the client has loaded, be it the real one or a stand-in: pictures are read through it, so that this
//! library works on real device memory too.
#![allow(unsafe_code, reason = "calls into libcuda")]

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::OnceLock;

use libloading::os::unix::{Library, RTLD_LAZY, RTLD_LOCAL};

/// `CU_MEMORYTYPE_HOST`.
const HOST: u32 = 1;
/// `CU_MEMORYTYPE_DEVICE`.
const DEVICE: u32 = 2;

/// `CUDA_MEMCPY2D`, version 2.
#[repr(C)]
struct Copy2d {
    from_x: usize,
    from_y: usize,
    from_type: u32,
    from_host: *const c_void,
    from_device: u64,
    from_array: *const c_void,
    from_pitch: usize,
    to_x: usize,
    to_y: usize,
    to_type: u32,
    to_host: *mut c_void,
    to_device: u64,
    to_array: *mut c_void,
    to_pitch: usize,
    width: usize,
    height: usize,
}

const _: () = assert!(size_of::<Copy2d>() == 128, "as in cuda.h for 64 bit machines");

type GetCurrent = unsafe extern "C" fn(*mut *mut c_void) -> c_int;
type Push = unsafe extern "C" fn(*mut c_void) -> c_int;
type Pop = unsafe extern "C" fn(*mut *mut c_void) -> c_int;
type GetDevice = unsafe extern "C" fn(*mut c_int) -> c_int;
type Copy = unsafe extern "C" fn(*const Copy2d) -> c_int;
type Synchronize = unsafe extern "C" fn(*mut c_void) -> c_int;

/// The functions that are used of libcuda. A status that is not 0 is handed on as it is.
pub struct Cuda {
    get_current: GetCurrent,
    push: Push,
    pop: Pop,
    get_device: GetDevice,
    copy: Copy,
    synchronize: Synchronize,
    /// Keeps the functions where they are.
    _library: Library,
}

/// The library, or why there is none.
pub fn cuda() -> Result<&'static Cuda, &'static str> {
    static CUDA: OnceLock<Result<Cuda, String>> = OnceLock::new();
    CUDA.get_or_init(|| Cuda::load().map_err(|error| error.to_string())).as_ref().map_err(String::as_str)
}

impl Cuda {
    fn load() -> Result<Self, libloading::Error> {
        // SAFETY: a client that has a context has run this library's start-up code already.
        let library = unsafe { Library::open(Some("libcuda.so.1"), RTLD_LAZY | RTLD_LOCAL) }?;
        Ok(Self {
            get_current: function(&library, b"cuCtxGetCurrent\0")?,
            push: function(&library, b"cuCtxPushCurrent_v2\0")?,
            pop: function(&library, b"cuCtxPopCurrent_v2\0")?,
            get_device: function(&library, b"cuCtxGetDevice\0")?,
            copy: function(&library, b"cuMemcpy2D_v2\0")?,
            synchronize: function(&library, b"cuStreamSynchronize\0")?,
            _library: library,
        })
    }

    /// The context that is current on this thread; 0 is none.
    pub fn current(&self) -> Result<usize, c_int> {
        let mut context = null_mut();
        // SAFETY: the function writes one pointer.
        let status = unsafe { (self.get_current)(&raw mut context) };
        done(status).map(|()| context as usize)
    }

    /// Does something with the context current on this thread.
    pub fn within<T>(&self, context: usize, work: impl FnOnce() -> Result<T, c_int>) -> Result<T, c_int> {
        // SAFETY: libcuda knows its contexts and refuses what is none.
        done(unsafe { (self.push)(context as *mut c_void) })?;
        let outcome = work();
        let mut popped = null_mut();
        // SAFETY: the function writes one pointer; the context on top is the one pushed above.
        done(unsafe { (self.pop)(&raw mut popped) })?;
        outcome
    }

    /// The ordinal of the current context's device.
    pub fn device(&self) -> Result<usize, c_int> {
        let mut device = 0;
        // SAFETY: the function writes one integer.
        done(unsafe { (self.get_device)(&raw mut device) })?;
        usize::try_from(device).map_err(|_| -1)
    }

    /// Waits for all work on a stream (0 is the default one).
    pub fn synchronize(&self, stream: usize) -> Result<(), c_int> {
        // SAFETY: the stream is the client's, given for this use and valid as long as the session.
        done(unsafe { (self.synchronize)(stream as *mut c_void) })
    }

    /// Appends `rows` of `width` bytes each, `pitch` apart in device memory from `from` on.
    pub fn read(&self, from: u64, pitch: usize, width: usize, rows: usize, into: &mut Vec<u8>) -> Result<(), c_int> {
        let start = into.len();
        into.resize(start + width * rows, 0);
        let copy = Copy2d {
            from_x: 0,
            from_y: 0,
            from_type: DEVICE,
            from_host: null_mut(),
            from_device: from,
            from_array: null_mut(),
            from_pitch: pitch,
            to_x: 0,
            to_y: 0,
            to_type: HOST,
            to_host: into[start..].as_mut_ptr().cast(),
            to_device: 0,
            to_array: null_mut(),
            to_pitch: width,
            width,
            height: rows,
        };
        // SAFETY: the destination has room for these rows; libcuda checks the source.
        done(unsafe { (self.copy)(&raw const copy) })
    }
}

fn function<F: std::marker::Copy>(library: &Library, name: &[u8]) -> Result<F, libloading::Error> {
    // SAFETY: the types above are those of cuda.h for these names.
    unsafe { library.get::<F>(name) }.map(|symbol| *symbol)
}

fn done(status: c_int) -> Result<(), c_int> {
    if status == 0 { Ok(()) } else { Err(status) }
}
