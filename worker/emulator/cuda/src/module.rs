//! Modules and launches. A module is what its PTX says it is; its kernels are run as they were built for the host.
#![allow(unsafe_code)]

use std::collections::BTreeSet;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

use crate::driver::{Driver, Handle, Out, call_in_context};
use crate::memory::Memory;
use crate::status::{self, Status};

/// A kernel of the host, as `kernel.h` has it.
#[repr(C)]
struct HostKernel {
    name: *const c_char,
    argument_bytes: c_uint,
    run: Option<unsafe extern "C" fn(*const c_void, c_uint, c_uint)>,
}

unsafe extern "C" {
    /// All of them; the last has no name.
    static nvidia_kernels: HostKernel;
}

/// A module that was loaded.
pub struct Module {
    pub context: Handle,
    /// Names after `.entry`.
    kernels: BTreeSet<String>,
}

/// A kernel that was asked for.
#[derive(Clone, Copy)]
pub struct Function {
    pub module: Handle,
    bytes: usize,
    run: unsafe extern "C" fn(*const c_void, c_uint, c_uint),
}

/// A kernel of the host by its name: bytes of its argument, and where it begins.
fn on_host(name: &str) -> Option<(usize, unsafe extern "C" fn(*const c_void, c_uint, c_uint))> {
    let mut place = &raw const nvidia_kernels;
    loop {
        // SAFETY: the list goes on up to a kernel without a name.
        let kernel = unsafe { &*place };
        if kernel.name.is_null() {
            return None;
        }
        // SAFETY: it is a literal of the list.
        let known = unsafe { CStr::from_ptr(kernel.name) };
        if known.to_bytes() == name.as_bytes() {
            return Some((kernel.argument_bytes as usize, kernel.run?));
        }
        // SAFETY: this was not the last.
        place = unsafe { place.add(1) };
    }
}

fn load(driver: &mut Driver, context: Handle, module: Out<Handle>, image: *const c_char) -> Result<(), Status> {
    if image.is_null() {
        return driver.refuse(status::INVALID_VALUE, format_args!("no image"));
    }
    // SAFETY: the caller says that it is PTX, which ends with a zero.
    let ptx = unsafe { CStr::from_ptr(image) }.to_string_lossy();
    if !ptx.contains(".version") || !ptx.contains(".target") {
        return driver.refuse(status::INVALID_IMAGE, format_args!("the image is no PTX"));
    }
    let named =
        |rest: &str| rest.trim_start().split(|c: char| !c.is_alphanumeric() && c != '_').next().map(str::to_owned);
    let kernels = ptx.split(".entry").skip(1).filter_map(named).collect();
    let handle = driver.new_handle();
    driver.modules.insert(handle, Module { context, kernels });
    driver.answer(module, handle)
}

/// # Safety
///
/// `module` is null or can be written to, `image` is null or PTX.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleLoadData(module: Out<Handle>, image: *const c_char) -> Status {
    call_in_context("cuModuleLoadData", |driver, context| load(driver, context, module, image))
}

/// # Safety
///
/// As `cuModuleLoadData`; the options are not looked at.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleLoadDataEx(
    module: Out<Handle>,
    image: *const c_char,
    _count: c_uint,
    _options: *const c_int,
    _values: *const *mut c_void,
) -> Status {
    call_in_context("cuModuleLoadDataEx", |driver, context| load(driver, context, module, image))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuModuleUnload(module: Handle) -> Status {
    call_in_context("cuModuleUnload", |driver, _| {
        driver.finish_all();
        if driver.modules.remove(&module).is_none() {
            let what = format_args!("{module:#x} is no module, or was unloaded");
            return driver.refuse(status::INVALID_HANDLE, what);
        }
        driver.functions.retain(|_, function| function.module != module);
        Ok(())
    })
}

/// # Safety
///
/// `function` is null or can be written to, `name` is null or text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleGetFunction(function: Out<Handle>, module: Handle, name: *const c_char) -> Status {
    call_in_context("cuModuleGetFunction", |driver, _| {
        if name.is_null() {
            return driver.refuse(status::INVALID_VALUE, format_args!("no name"));
        }
        // SAFETY: the caller says that it is text.
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
        let Some(known) = driver.modules.get(&module) else {
            return driver.refuse(status::INVALID_HANDLE, format_args!("{module:#x} is no module, or was unloaded"));
        };
        if !known.kernels.contains(&*name) {
            return Err(status::NOT_FOUND);
        }
        let (bytes, run) = on_host(&name).ok_or(status::NOT_FOUND)?;
        let handle = driver.new_handle();
        driver.functions.insert(handle, Function { module, bytes, run });
        driver.answer(function, handle)
    })
}

/// Modules here have no variables.
#[unsafe(no_mangle)]
pub extern "C" fn cuModuleGetGlobal_v2(
    _address: *mut u64,
    _bytes: *mut usize,
    _module: Handle,
    _name: *const c_char,
) -> Status {
    call_in_context("cuModuleGetGlobal", |_, _| Err(status::NOT_FOUND))
}

/// As `cuModuleGetGlobal_v2`: FFmpeg asks for the name without the version.
#[unsafe(no_mangle)]
pub extern "C" fn cuModuleGetGlobal(
    address: *mut u64,
    bytes: *mut usize,
    module: Handle,
    name: *const c_char,
) -> Status {
    cuModuleGetGlobal_v2(address, bytes, module, name)
}

/// # Safety
///
/// `value` is null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuFuncGetAttribute(value: Out<c_int>, attribute: c_int, function: Handle) -> Status {
    call_in_context("cuFuncGetAttribute", |driver, _| {
        function_of(driver, function)?;
        // CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK; of the rest kernels here have nothing.
        driver.answer(value, if attribute == 0 { 1024 } else { 0 })
    })
}

fn function_of(driver: &Driver, function: Handle) -> Result<Function, Status> {
    match driver.functions.get(&function) {
        Some(function) => Ok(*function),
        None => driver.refuse(status::INVALID_HANDLE, format_args!("{function:#x} is no function of a loaded module")),
    }
}

/// The allocations that an argument points to: every word that looks like a device address is one.
fn pointed_to(driver: &Driver, context: Handle, argument: &[u64]) -> Result<Vec<u64>, Status> {
    let mut found = Vec::new();
    for address in argument.iter().copied().filter(|word| Memory::is_device(*word)) {
        match driver.memory.find(address, 1) {
            Ok(allocation) if allocation.device == crate::context::device_of(driver, context)? => {
                found.push(allocation.address);
            }
            Ok(_) => {
                let what = format_args!("{address:#x} is memory of another device");
                return driver.refuse(status::ILLEGAL_ADDRESS, what);
            }
            Err(trouble) => {
                return driver.refuse(status::ILLEGAL_ADDRESS, format_args!("the kernel's argument: {trouble}"));
            }
        }
    }
    Ok(found)
}

/// # Safety
///
/// `parameters` is null or points to the address of the kernel's one argument.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuLaunchKernel(
    function: Handle,
    grid_x: c_uint,
    grid_y: c_uint,
    grid_z: c_uint,
    block_x: c_uint,
    block_y: c_uint,
    block_z: c_uint,
    _shared_bytes: c_uint,
    stream: Handle,
    parameters: *const *const u8,
    extra: *const *const c_void,
) -> Status {
    call_in_context("cuLaunchKernel", |driver, context| {
        let Function { module, bytes, run } = function_of(driver, function)?;
        driver.known_stream(stream, context)?;
        if driver.modules.get(&module).is_none_or(|module| module.context != context) {
            return driver.refuse(status::INVALID_HANDLE, format_args!("the kernel belongs to another context"));
        }
        let threads = u64::from(block_x) * u64::from(block_y) * u64::from(block_z);
        let (grid, block) = ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]);
        if grid.contains(&0) || grid_y.max(grid_z) > 65_535 || !(1..=1024).contains(&threads) || grid_z * block_z > 1 {
            return driver.refuse(status::INVALID_VALUE, format_args!("grid {grid:?} of blocks {block:?}"));
        }
        if parameters.is_null() || !extra.is_null() {
            return driver.refuse(status::INVALID_VALUE, format_args!("one argument is wanted"));
        }
        // SAFETY: the caller says that it holds the address of the argument.
        let given = unsafe { parameters.read() };
        let mut argument = vec![0_u64; bytes.div_ceil(8)];
        // SAFETY: the caller says that the argument is as long as the kernel has it, and so are the words.
        unsafe { std::ptr::copy_nonoverlapping(given, argument.as_mut_ptr().cast(), bytes) };
        let open = pointed_to(driver, context, &argument)?;
        let (width, height) = (grid_x.saturating_mul(block_x), grid_y.saturating_mul(block_y));
        driver.submit(stream, move |memory| {
            // SAFETY: the kernel's argument is as long as it wants, and what it points to is open.
            memory.open(&open, || unsafe { run(argument.as_ptr().cast(), width, height) });
        });
        Ok(())
    })
}
