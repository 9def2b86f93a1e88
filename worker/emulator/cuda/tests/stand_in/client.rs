//! A small client of the stand-in: the calls that tests make, with the library loaded by its path.
#![allow(unsafe_code)]
#![expect(clippy::too_many_arguments, reason = "cuLaunchKernel has eleven")]

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::ptr::null;

use card::Library;

/// The stand-in, loaded. Dropping it unloads it.
pub struct Cuda(libloading::Library);

/// A function of the library as a method that gives its status.
macro_rules! functions {
    ($($method:ident = $symbol:literal ($($name:ident: $type:ty),*);)*) => {
        impl Cuda {
            $(
                pub fn $method(&self, $($name: $type),*) -> i32 {
                    let symbol = concat!($symbol, "\0").as_bytes();
                    // SAFETY: this is the signature that cuda.h gives the function.
                    let function = unsafe { self.0.get::<unsafe extern "C" fn($($type),*) -> i32>(symbol) }.unwrap();
                    // SAFETY: pointers are those of live variables, or wrong ones that the stand-in is to find.
                    unsafe { function($($name),*) }
                }
            )*
        }
    };
}

functions! {
    init = "cuInit"(flags: c_uint);
    count = "cuDeviceGetCount"(count: *mut c_int);
    retain = "cuDevicePrimaryCtxRetain"(context: *mut u64, device: c_int);
    release = "cuDevicePrimaryCtxRelease_v2"(device: c_int);
    create_context = "cuCtxCreate_v2"(context: *mut u64, flags: c_uint, device: c_int);
    destroy_context = "cuCtxDestroy_v2"(context: u64);
    set_current = "cuCtxSetCurrent"(context: u64);
    pop = "cuCtxPopCurrent_v2"(context: *mut u64);
    allocate = "cuMemAlloc_v2"(address: *mut u64, bytes: usize);
    free = "cuMemFree_v2"(address: u64);
    allocate_pinned = "cuMemAllocHost_v2"(place: *mut *mut u8, bytes: usize);
    free_pinned = "cuMemFreeHost"(place: *mut u8);
    up = "cuMemcpyHtoD_v2"(to: u64, from: *const u8, bytes: usize);
    down = "cuMemcpyDtoH_v2"(to: *mut u8, from: u64, bytes: usize);
    down_on = "cuMemcpyDtoHAsync_v2"(to: *mut u8, from: u64, bytes: usize, stream: u64);
    fill = "cuMemsetD8_v2"(address: u64, byte: u8, bytes: usize);
    fill_on = "cuMemsetD8Async"(address: u64, byte: u8, bytes: usize, stream: u64);
    create_stream = "cuStreamCreate"(stream: *mut u64, flags: c_uint);
    destroy_stream = "cuStreamDestroy_v2"(stream: u64);
    synchronize = "cuStreamSynchronize"(stream: u64);
    wait_event = "cuStreamWaitEvent"(stream: u64, event: u64, flags: c_uint);
    create_event = "cuEventCreate"(event: *mut u64, flags: c_uint);
    destroy_event = "cuEventDestroy_v2"(event: u64);
    record = "cuEventRecord"(event: u64, stream: u64);
    synchronize_event = "cuEventSynchronize"(event: u64);
    load_module = "cuModuleLoadData"(module: *mut u64, image: *const c_char);
    unload_module = "cuModuleUnload"(module: u64);
    function = "cuModuleGetFunction"(function: *mut u64, module: u64, name: *const c_char);
    error_name = "cuGetErrorName"(status: i32, name: *mut *const c_char);
    launch_raw = "cuLaunchKernel"(
        function: u64, grid_x: c_uint, grid_y: c_uint, grid_z: c_uint, block_x: c_uint, block_y: c_uint, block_z: c_uint,
        shared: c_uint, stream: u64, parameters: *const *const c_void, extra: *const c_void
    );
}

/// What the kernel `split` is given: pairs of bytes, and the two planes to make of them.
#[repr(C)]
pub struct Split {
    pub pairs: u64,
    pub first: u64,
    pub second: u64,
    pub pairs_pitch: c_int,
    pub plane_pitch: c_int,
    pub width: c_int,
    pub height: c_int,
}

impl Cuda {
    /// Loads it from where cargo put it.
    pub fn load() -> Self {
        let path = card::folder::built().unwrap().join(Library::Cuda.built_as());
        // SAFETY: its initialisers touch nothing.
        Self(unsafe { libloading::Library::new(path) }.unwrap())
    }

    /// Loads and starts it, with the primary context of device 0 current.
    pub fn ready() -> Self {
        let cuda = Self::load();
        assert_eq!(cuda.init(0), 0);
        let context = cuda.made(|place| cuda.retain(place, 0));
        assert_eq!(cuda.set_current(context), 0);
        cuda
    }

    /// What a call writes when it succeeds.
    pub fn made(&self, call: impl FnOnce(*mut u64) -> i32) -> u64 {
        let mut value = 0;
        assert_eq!(call(&raw mut value), 0);
        value
    }

    /// So much device memory.
    pub fn memory(&self, bytes: usize) -> u64 {
        self.made(|place| self.allocate(place, bytes))
    }

    /// The kernel `split` of the checked-in PTX, and its module.
    pub fn split(&self) -> (u64, u64) {
        let ptx = concat!(include_str!("../../../../nvidia/kernels/scale.ptx"), "\0");
        let module = self.made(|place| self.load_module(place, ptx.as_ptr().cast()));
        (module, self.made(|place| self.function(place, module, c"split".as_ptr())))
    }

    /// Launches it over one block of 16 by 16.
    pub fn launch(&self, function: u64, stream: u64, split: &Split) -> i32 {
        let parameters = [(&raw const *split).cast::<c_void>()];
        self.launch_raw(function, 1, 1, 1, 16, 16, 1, 0, stream, parameters.as_ptr(), null())
    }
}
