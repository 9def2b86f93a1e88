//! Contexts: one primary for each device, others, and the stack of current ones that each thread has.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::{c_int, c_uint};

use crate::device;
use crate::driver::{Driver, Handle, Out, call, call_in_context};
use crate::status::{self, Status};

/// A context.
pub struct Context {
    /// The device's ordinal.
    pub device: c_int,
    flags: c_uint,
}

/// A device's primary context.
pub struct Primary {
    /// Its handle, the same for ever.
    pub context: Handle,
    retained: u32,
    flags: c_uint,
}

/// How deep the stack of a thread may be. An array: a thread's destructors would keep the library from being unloaded.
const DEEPEST: usize = 32;

thread_local! {
    static STACK: Cell<([Handle; DEEPEST], usize)> = const { Cell::new(([0; DEEPEST], 0)) };
}

/// The context on top of this thread's stack; 0: none.
fn top() -> Handle {
    let (stack, depth) = STACK.get();
    if depth == 0 { 0 } else { stack[depth - 1] }
}

fn push(driver: &Driver, context: Handle) -> Result<(), Status> {
    let (mut stack, depth) = STACK.get();
    if depth == DEEPEST {
        return driver.refuse(status::INVALID_VALUE, format_args!("{DEEPEST} contexts were pushed and not popped"));
    }
    stack[depth] = context;
    STACK.set((stack, depth + 1));
    Ok(())
}

fn pop() -> Option<Handle> {
    let (stack, depth) = STACK.get();
    STACK.set((stack, depth.checked_sub(1)?));
    Some(stack[depth - 1])
}

/// The context that a call works in.
pub fn current(driver: &Driver) -> Result<Handle, Status> {
    match top() {
        0 => driver.refuse(status::INVALID_CONTEXT, format_args!("no context is current on this thread")),
        context if driver.contexts.contains_key(&context) => Ok(context),
        context => driver.refuse(status::CONTEXT_IS_DESTROYED, format_args!("context {context:#x} was destroyed")),
    }
}

/// The device of a context that is known to live.
pub fn device_of(driver: &Driver, context: Handle) -> Result<c_int, Status> {
    driver.contexts.get(&context).map(|context| context.device).ok_or(status::INVALID_CONTEXT)
}

fn known(driver: &Driver, context: Handle) -> Result<(), Status> {
    if driver.contexts.contains_key(&context) {
        return Ok(());
    }
    driver.refuse(status::INVALID_CONTEXT, format_args!("{context:#x} is no context, or was destroyed"))
}

/// Takes the context and all that was made in it away.
fn destroy(driver: &mut Driver, context: Handle) {
    driver.finish_all();
    driver.contexts.remove(&context);
    let streams = driver.streams.values().filter(|stream| stream.context == context).count();
    let events = driver.events.values().filter(|event| event.context == context).count();
    let modules = driver.modules.values().filter(|module| module.context == context).count();
    let memory = driver.memory.free_all_of(context);
    for (count, what) in
        [(memory, "allocations of device memory"), (streams, "streams"), (events, "events"), (modules, "modules")]
    {
        if count > 0 {
            card::violation!(driver.function, "{count} {what} of the context were never given back");
        }
    }
    driver.streams.retain(|_, stream| stream.context != context);
    driver.events.retain(|_, event| event.context != context);
    driver.modules.retain(|_, module| module.context != context);
    let modules = &driver.modules;
    driver.functions.retain(|_, function| modules.contains_key(&function.module));
}

fn primary(driver: &mut Driver, device: c_int) -> Result<&mut Primary, Status> {
    device::card(driver, device)?;
    let ordinal = usize::try_from(device).map_err(|_| status::INVALID_DEVICE)?;
    if !driver.primaries.contains_key(&ordinal) {
        let context = driver.new_handle();
        driver.primaries.insert(ordinal, Primary { context, retained: 0, flags: 0 });
    }
    driver.primaries.get_mut(&ordinal).ok_or(status::INVALID_DEVICE)
}

/// # Safety
///
/// `context` is null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDevicePrimaryCtxRetain(context: Out<Handle>, device: c_int) -> Status {
    call("cuDevicePrimaryCtxRetain", |driver| {
        let primary = primary(driver, device)?;
        primary.retained += 1;
        let (handle, flags) = (primary.context, primary.flags);
        driver.contexts.entry(handle).or_insert(Context { device, flags });
        driver.answer(context, handle)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDevicePrimaryCtxRelease(device: c_int) -> Status {
    call("cuDevicePrimaryCtxRelease", |driver| {
        let primary = primary(driver, device)?;
        let Some(retained) = primary.retained.checked_sub(1) else {
            return driver.refuse(status::INVALID_CONTEXT, format_args!("released more often than retained"));
        };
        primary.retained = retained;
        let handle = primary.context;
        if retained == 0 {
            destroy(driver, handle);
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDevicePrimaryCtxRelease_v2(device: c_int) -> Status {
    cuDevicePrimaryCtxRelease(device)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDevicePrimaryCtxSetFlags(device: c_int, flags: c_uint) -> Status {
    call("cuDevicePrimaryCtxSetFlags", |driver| {
        primary(driver, device)?.flags = flags;
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDevicePrimaryCtxSetFlags_v2(device: c_int, flags: c_uint) -> Status {
    cuDevicePrimaryCtxSetFlags(device, flags)
}

/// # Safety
///
/// `flags` and `active` are null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDevicePrimaryCtxGetState(device: c_int, flags: Out<c_uint>, active: Out<c_int>) -> Status {
    call("cuDevicePrimaryCtxGetState", |driver| {
        let primary = primary(driver, device)?;
        let state = (primary.flags, c_int::from(primary.retained > 0));
        driver.answer(flags, state.0)?;
        driver.answer(active, state.1)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDevicePrimaryCtxReset(device: c_int) -> Status {
    call("cuDevicePrimaryCtxReset", |driver| {
        let handle = primary(driver, device)?.context;
        destroy(driver, handle);
        Ok(())
    })
}

/// # Safety
///
/// `context` is null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuCtxCreate_v2(context: Out<Handle>, flags: c_uint, device: c_int) -> Status {
    call("cuCtxCreate", |driver| {
        device::card(driver, device)?;
        let handle = driver.new_handle();
        driver.contexts.insert(handle, Context { device, flags });
        push(driver, handle)?;
        driver.answer(context, handle)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxDestroy_v2(context: Handle) -> Status {
    call("cuCtxDestroy", |driver| {
        known(driver, context)?;
        if driver.primaries.values().any(|primary| primary.context == context) {
            return driver
                .refuse(status::INVALID_CONTEXT, format_args!("a primary context is released, not destroyed"));
        }
        if top() == context {
            pop();
        }
        destroy(driver, context);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxPushCurrent_v2(context: Handle) -> Status {
    call("cuCtxPushCurrent", |driver| {
        known(driver, context)?;
        push(driver, context)
    })
}

/// # Safety
///
/// `context` is null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuCtxPopCurrent_v2(context: Out<Handle>) -> Status {
    call("cuCtxPopCurrent", |driver| match pop() {
        Some(_) if context.is_none() => Ok(()),
        Some(popped) => driver.answer(context, popped),
        None => driver.refuse(status::INVALID_CONTEXT, format_args!("no context was pushed on this thread")),
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxSetCurrent(context: Handle) -> Status {
    call("cuCtxSetCurrent", |driver| {
        if context != 0 {
            known(driver, context)?;
        }
        pop();
        if context == 0 { Ok(()) } else { push(driver, context) }
    })
}

/// # Safety
///
/// `context` is null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuCtxGetCurrent(context: Out<Handle>) -> Status {
    call("cuCtxGetCurrent", |driver| driver.answer(context, top()))
}

/// # Safety
///
/// `device` is null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuCtxGetDevice(device: Out<c_int>) -> Status {
    call_in_context("cuCtxGetDevice", |driver, context| {
        let ordinal = device_of(driver, context)?;
        driver.answer(device, ordinal)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxSynchronize() -> Status {
    call_in_context("cuCtxSynchronize", |driver, _| {
        driver.finish_all();
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxSetFlags(flags: c_uint) -> Status {
    call_in_context("cuCtxSetFlags", |driver, context| {
        driver.contexts.get_mut(&context).ok_or(status::INVALID_CONTEXT)?.flags = flags;
        Ok(())
    })
}

/// # Safety
///
/// `flags` is null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuCtxGetFlags(flags: Out<c_uint>) -> Status {
    call_in_context("cuCtxGetFlags", |driver, context| {
        let set = driver.contexts.get(&context).ok_or(status::INVALID_CONTEXT)?.flags;
        driver.answer(flags, set)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxSetLimit(_limit: c_int, _value: usize) -> Status {
    call_in_context("cuCtxSetLimit", |_, _| Ok(()))
}

/// # Safety
///
/// `least` and `greatest` are null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuCtxGetStreamPriorityRange(least: Out<c_int>, greatest: Out<c_int>) -> Status {
    call_in_context("cuCtxGetStreamPriorityRange", |driver, _| {
        driver.answer(least, 0)?;
        driver.answer(greatest, -5)
    })
}
