//! Streams, and the work that waits on them.
//!
//! Work is done when it is asked for, unless the fault `lazy_streams` is on: then it is kept here, in the order in which it
//! was asked for, until a call waits for its stream. The stream 0 waits for all others and they for it, except those that
//! were created not to.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::ffi::{c_int, c_uint, c_void};

use crate::driver::{Driver, Handle, Out, call_in_context};
use crate::memory::Memory;
use crate::status::{self, Status};

/// The two handles that mean stream 0 of the context, and the one of the thread's own, which is treated like it.
const DEFAULTS: [Handle; 3] = [0, 1, 2];
/// `CU_STREAM_NON_BLOCKING`.
const NON_BLOCKING: c_uint = 1;

/// A stream that was created.
pub struct Stream {
    pub context: Handle,
    /// It and stream 0 do not wait for each other.
    independent: bool,
}

/// Something a stream does.
pub enum Action {
    /// A copy, a fill or a kernel.
    Run(Box<dyn FnOnce(&Memory) + Send>),
    /// First everything up to this place of that stream.
    Wait(Handle, u64),
}

/// What streams have still to do.
#[derive(Default)]
pub struct Work {
    waiting: VecDeque<(Handle, u64, Action)>,
    asked: u64,
}

impl Driver {
    /// The stream is one of this context, or stream 0.
    pub fn known_stream(&self, stream: Handle, context: Handle) -> Result<(), Status> {
        match self.streams.get(&stream) {
            _ if DEFAULTS.contains(&stream) => Ok(()),
            Some(known) if known.context == context => Ok(()),
            Some(_) => {
                self.refuse(status::INVALID_HANDLE, format_args!("stream {stream:#x} belongs to another context"))
            }
            None => self.refuse(status::INVALID_HANDLE, format_args!("{stream:#x} is no stream, or was destroyed")),
        }
    }

    /// Has a stream do something after all that it was asked for before.
    pub fn submit(&mut self, stream: Handle, run: impl FnOnce(&Memory) + Send + 'static) {
        if card::faults().lazy_streams {
            self.enqueue(stream, Action::Run(Box::new(run)));
        } else {
            run(&self.memory);
        }
    }

    /// The place after all that the stream was asked for.
    pub fn place(&self) -> u64 {
        self.work.asked
    }

    fn enqueue(&mut self, stream: Handle, action: Action) {
        let joined = !self.is_independent(stream);
        if joined && DEFAULTS.contains(&stream) {
            self.finish_joined();
        } else if joined {
            self.finish(0);
        }
        self.work.asked += 1;
        self.work.waiting.push_back((stream, self.work.asked, action));
    }

    fn is_independent(&self, stream: Handle) -> bool {
        self.streams.get(&stream).is_some_and(|stream| stream.independent)
    }

    /// Does all that the stream was asked for.
    pub fn finish(&mut self, stream: Handle) {
        self.finish_up_to(stream, u64::MAX);
    }

    /// Does what the stream was asked for up to a place.
    pub fn finish_up_to(&mut self, stream: Handle, place: u64) {
        let due = |(whose, asked, _): &(Handle, u64, Action)| *whose == stream && *asked <= place;
        while let Some(index) = self.work.waiting.iter().position(due) {
            match self.work.waiting.remove(index) {
                Some((_, _, Action::Run(run))) => run(&self.memory),
                Some((_, _, Action::Wait(other, place))) => self.finish_up_to(other, place),
                None => {}
            }
        }
    }

    /// Does what stream 0 waits for.
    pub fn finish_joined(&mut self) {
        let waiting: Vec<Handle> = self.work.waiting.iter().map(|(stream, ..)| *stream).collect();
        for stream in waiting {
            if !self.is_independent(stream) {
                self.finish(stream);
            }
        }
    }

    /// Does all that was asked for.
    pub fn finish_all(&mut self) {
        while let Some((stream, ..)) = self.work.waiting.front() {
            let stream = *stream;
            self.finish(stream);
        }
    }
}

fn create(driver: &mut Driver, context: Handle, stream: Out<Handle>, flags: c_uint) -> Result<(), Status> {
    if flags > NON_BLOCKING {
        return driver.refuse(status::INVALID_VALUE, format_args!("flags {flags:#x}"));
    }
    let handle = driver.new_handle();
    driver.streams.insert(handle, Stream { context, independent: flags == NON_BLOCKING });
    driver.answer(stream, handle)
}

/// # Safety
///
/// `stream` is null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamCreate(stream: Out<Handle>, flags: c_uint) -> Status {
    call_in_context("cuStreamCreate", |driver, context| create(driver, context, stream, flags))
}

/// # Safety
///
/// `stream` is null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamCreateWithPriority(stream: Out<Handle>, flags: c_uint, _priority: c_int) -> Status {
    call_in_context("cuStreamCreateWithPriority", |driver, context| create(driver, context, stream, flags))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamDestroy_v2(stream: Handle) -> Status {
    call_in_context("cuStreamDestroy", |driver, _| {
        if !driver.streams.contains_key(&stream) {
            let what = format_args!("{stream:#x} is no stream, or was destroyed");
            return driver.refuse(status::INVALID_HANDLE, what);
        }
        driver.finish(stream);
        driver.streams.remove(&stream);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamSynchronize(stream: Handle) -> Status {
    call_in_context("cuStreamSynchronize", |driver, context| wait(driver, stream, context))
}

/// What waits is done at once: who asks again and again whether it is shall not ask for ever.
#[unsafe(no_mangle)]
pub extern "C" fn cuStreamQuery(stream: Handle) -> Status {
    call_in_context("cuStreamQuery", |driver, context| wait(driver, stream, context))
}

fn wait(driver: &mut Driver, stream: Handle, context: Handle) -> Result<(), Status> {
    driver.known_stream(stream, context)?;
    if DEFAULTS.contains(&stream) {
        driver.finish_joined();
    }
    driver.finish(stream);
    Ok(())
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamWaitEvent(stream: Handle, event: Handle, _flags: c_uint) -> Status {
    call_in_context("cuStreamWaitEvent", |driver, context| {
        driver.known_stream(stream, context)?;
        if let Some((other, place)) = driver.recorded(event)?
            && card::faults().lazy_streams
        {
            driver.enqueue(stream, Action::Wait(other, place));
        }
        Ok(())
    })
}

type HostFunction = unsafe extern "C" fn(*mut c_void);

/// # Safety
///
/// `function` may be called with `given` from here.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuLaunchHostFunc(
    stream: Handle,
    function: Option<HostFunction>,
    given: *mut c_void,
) -> Status {
    let status = call_in_context("cuLaunchHostFunc", |driver, context| wait(driver, stream, context));
    if let (0, Some(function)) = (status, function) {
        // SAFETY: the caller says so, and the driver is not locked.
        unsafe { function(given) };
    }
    status
}

type Callback = unsafe extern "C" fn(Handle, Status, *mut c_void);

/// # Safety
///
/// `callback` may be called with `given` from here.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamAddCallback(
    stream: Handle,
    callback: Option<Callback>,
    given: *mut c_void,
    _flags: c_uint,
) -> Status {
    let status = call_in_context("cuStreamAddCallback", |driver, context| wait(driver, stream, context));
    if let (0, Some(callback)) = (status, callback) {
        // SAFETY: the caller says so, and the driver is not locked.
        unsafe { callback(stream, status, given) };
    }
    status
}
