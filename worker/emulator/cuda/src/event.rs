//! Events: places on streams that others wait for.
#![allow(unsafe_code)]

use std::ffi::c_uint;
use std::time::Instant;

use crate::driver::{Driver, Handle, Out, call_in_context};
use crate::status::{self, Status};

/// `CU_EVENT_DISABLE_TIMING`.
const WITHOUT_TIME: c_uint = 2;

/// An event that was created.
pub struct Event {
    pub context: Handle,
    timed: bool,
    /// Stream, place on it, and when.
    recorded: Option<(Handle, u64, Instant)>,
}

impl Driver {
    fn event(&self, event: Handle) -> Result<&Event, Status> {
        match self.events.get(&event) {
            Some(event) => Ok(event),
            None => self.refuse(status::INVALID_HANDLE, format_args!("{event:#x} is no event, or was destroyed")),
        }
    }

    /// Where the event was recorded, if it was.
    pub fn recorded(&self, event: Handle) -> Result<Option<(Handle, u64)>, Status> {
        Ok(self.event(event)?.recorded.map(|(stream, place, _)| (stream, place)))
    }
}

/// # Safety
///
/// `event` is null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuEventCreate(event: Out<Handle>, flags: c_uint) -> Status {
    call_in_context("cuEventCreate", |driver, context| {
        let handle = driver.new_handle();
        driver.events.insert(handle, Event { context, timed: flags & WITHOUT_TIME == 0, recorded: None });
        driver.answer(event, handle)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventDestroy_v2(event: Handle) -> Status {
    call_in_context("cuEventDestroy", |driver, _| {
        driver.event(event)?;
        driver.events.remove(&event);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventRecord(event: Handle, stream: Handle) -> Status {
    call_in_context("cuEventRecord", |driver, context| {
        driver.known_stream(stream, context)?;
        if driver.event(event)?.context != context {
            return driver.refuse(status::INVALID_HANDLE, format_args!("the event belongs to another context"));
        }
        let recorded = Some((stream, driver.place(), Instant::now()));
        driver.events.entry(event).and_modify(|event| event.recorded = recorded);
        Ok(())
    })
}

fn wait(driver: &mut Driver, event: Handle) -> Result<(), Status> {
    if let Some((stream, place)) = driver.recorded(event)? {
        driver.finish_up_to(stream, place);
    }
    Ok(())
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventSynchronize(event: Handle) -> Status {
    call_in_context("cuEventSynchronize", |driver, _| wait(driver, event))
}

/// What waits is done at once, as in `cuStreamQuery`.
#[unsafe(no_mangle)]
pub extern "C" fn cuEventQuery(event: Handle) -> Status {
    call_in_context("cuEventQuery", |driver, _| wait(driver, event))
}

/// # Safety
///
/// `milliseconds` is null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuEventElapsedTime(milliseconds: Out<f32>, start: Handle, end: Handle) -> Status {
    call_in_context("cuEventElapsedTime", |driver, _| {
        let (first, second) = (driver.event(start)?, driver.event(end)?);
        if !(first.timed && second.timed) {
            return driver.refuse(status::INVALID_HANDLE, format_args!("an event without time"));
        }
        let (Some((.., from)), Some((.., to))) = (first.recorded, second.recorded) else {
            return driver.refuse(status::INVALID_HANDLE, format_args!("an event that was never recorded"));
        };
        driver.answer(milliseconds, to.saturating_duration_since(from).as_secs_f32() * 1000.0)
    })
}
