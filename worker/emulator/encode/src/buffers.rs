//! Buffers that the driver makes: for pictures on the way in, for packets on the way out.
#![allow(unsafe_code, reason = "reads and writes through the client's pointers")]

use std::ffi::c_void;
use std::mem::offset_of as at;

use card::violation;
use nvidia_video_codec_sdk::sys::nvEncodeAPI::*;

use crate::caps;
use crate::engine::Coded;
use crate::given::Given;
use crate::picture::{Format, Surface};
use crate::registry::{self, Kind};
use crate::session::Session;
use crate::setup::initialized;
use crate::status::*;
use crate::versions::{INPUT, LOCK_INPUT, OUTPUT};

/// A buffer for pictures.
pub struct Input {
    /// What lies in it.
    pub surface: Surface,
    /// Its bytes. Never resized: the client has a pointer to them.
    pub memory: Vec<u8>,
    /// The client writes to it.
    pub locked: bool,
    /// How many submissions have not been read out yet.
    pub flying: u32,
}

/// A buffer for packets.
#[derive(Default)]
pub struct Output {
    /// Where it is in its round.
    pub stage: Stage,
    /// The packet, from `Filled` on.
    pub packet: Option<Coded>,
    /// Number of the submission with it, until the packet is read.
    pub number: Option<u64>,
}

/// The round of an output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// Nothing was submitted with it, or all was read.
    #[default]
    Free,
    /// Submitted; the answer was that more input is needed.
    Waiting,
    /// The answer to it or a later one was success, so that it may be locked; the packet comes.
    Promised,
    /// The packet is there.
    Filled,
    /// The client reads it.
    Locked,
}

/// `NvEncCreateInputBuffer`.
///
/// # Safety
/// The pointer is null or valid for its struct.
pub unsafe fn create_input(session: &Session, given: *mut NV_ENC_CREATE_INPUT_BUFFER) -> Answer {
    type Given_ = NV_ENC_CREATE_INPUT_BUFFER;
    const FUNCTION: &str = "NvEncCreateInputBuffer";
    session.on_its_thread(FUNCTION)?;
    // SAFETY: handed on from the caller.
    let mut given = unsafe { Given::take(given) }?;
    for mistake in INPUT.check(&given, session.api)? {
        violation!(FUNCTION, "{mistake}");
    }
    let mut state = session.state();
    let settings = &initialized(FUNCTION, session, &state)?.settings;
    let (width, height) = (given.u32(at!(Given_, width)), given.u32(at!(Given_, height)));
    if width == 0 || height == 0 {
        return Err(OUT_OF_MEMORY.into());
    }
    if (width, height) != (settings.width, settings.height) {
        let encoded = (settings.width, settings.height);
        violation!(FUNCTION, "a buffer of {width}x{height} for an encoder of {}x{}", encoded.0, encoded.1);
    }
    let encodes = caps::encodes(session, caps::guid_of(settings.codec)).ok_or(GENERIC)?;
    let number = given.u32(at!(Given_, bufferFmt));
    let known = caps::formats(encodes).contains(&number);
    let format = Format::of(number).filter(|_| known).ok_or(INVALID_PARAM)?;
    let pitch = format.own_pitch(width as usize);
    let surface = Surface { format, width: width as usize, height: height as usize, pitch };
    let handle = registry::hand_out(Kind::Input, Some(session.handle));
    let memory = vec![0; surface.bytes()];
    state.inputs.insert(handle, Input { surface, memory, locked: false, flying: 0 });
    given.put(at!(Given_, inputBuffer), handle);
    Ok(())
}

/// `NvEncDestroyInputBuffer`.
pub fn destroy_input(session: &Session, handle: *mut c_void) -> Answer {
    const FUNCTION: &str = "NvEncDestroyInputBuffer";
    session.on_its_thread(FUNCTION)?;
    let mut state = session.state();
    let Some(input) = state.inputs.remove(&(handle as usize)) else {
        session.complain(FUNCTION, handle as usize, Kind::Input);
        return Err(INVALID_PARAM.into());
    };
    if (input.flying > 0 || input.locked) && !session.may_tear_down(&state) {
        violation!(FUNCTION, "{handle:?} is in use");
    }
    registry::take_back(handle as usize);
    Ok(())
}

/// `NvEncLockInputBuffer`.
///
/// # Safety
/// The pointer is null or valid for its struct.
pub unsafe fn lock_input(session: &Session, given: *mut NV_ENC_LOCK_INPUT_BUFFER) -> Answer {
    type Given_ = NV_ENC_LOCK_INPUT_BUFFER;
    const FUNCTION: &str = "NvEncLockInputBuffer";
    session.on_its_thread(FUNCTION)?;
    // SAFETY: handed on from the caller.
    let mut given = unsafe { Given::take(given) }?;
    for mistake in LOCK_INPUT.check(&given, session.api)? {
        violation!(FUNCTION, "{mistake}");
    }
    let handle = given.address(at!(Given_, inputBuffer));
    let mut state = session.state();
    let Some(input) = state.inputs.get_mut(&handle) else {
        session.complain(FUNCTION, handle, Kind::Input);
        return Err(INVALID_PARAM.into());
    };
    if input.flying > 0 {
        violation!(FUNCTION, "{handle:#x} is in flight: its output was not read yet");
    }
    if input.locked {
        violation!(FUNCTION, "{handle:#x} is locked already");
    }
    input.locked = true;
    given.put(at!(Given_, bufferDataPtr), input.memory.as_mut_ptr());
    given.put(at!(Given_, pitch), input.surface.pitch as u32);
    Ok(())
}

/// `NvEncUnlockInputBuffer`.
pub fn unlock_input(session: &Session, handle: *mut c_void) -> Answer {
    const FUNCTION: &str = "NvEncUnlockInputBuffer";
    session.on_its_thread(FUNCTION)?;
    let mut state = session.state();
    let Some(input) = state.inputs.get_mut(&(handle as usize)) else {
        session.complain(FUNCTION, handle as usize, Kind::Input);
        return Err(INVALID_PARAM.into());
    };
    if !std::mem::replace(&mut input.locked, false) {
        violation!(FUNCTION, "{handle:?} is not locked");
    }
    Ok(())
}

/// `NvEncCreateBitstreamBuffer`.
///
/// # Safety
/// The pointer is null or valid for its struct.
pub unsafe fn create_output(session: &Session, given: *mut NV_ENC_CREATE_BITSTREAM_BUFFER) -> Answer {
    const FUNCTION: &str = "NvEncCreateBitstreamBuffer";
    session.on_its_thread(FUNCTION)?;
    // SAFETY: handed on from the caller.
    let mut given = unsafe { Given::take(given) }?;
    for mistake in OUTPUT.check(&given, session.api)? {
        violation!(FUNCTION, "{mistake}");
    }
    let mut state = session.state();
    initialized(FUNCTION, session, &state)?;
    let handle = registry::hand_out(Kind::Output, Some(session.handle));
    state.outputs.insert(handle, Output::default());
    given.put(at!(NV_ENC_CREATE_BITSTREAM_BUFFER, bitstreamBuffer), handle);
    Ok(())
}

/// `NvEncDestroyBitstreamBuffer`.
pub fn destroy_output(session: &Session, handle: *mut c_void) -> Answer {
    const FUNCTION: &str = "NvEncDestroyBitstreamBuffer";
    if handle.is_null() {
        return Err(INVALID_PTR.into());
    }
    session.on_its_thread(FUNCTION)?;
    let mut state = session.state();
    let Some(output) = state.outputs.remove(&(handle as usize)) else {
        session.complain(FUNCTION, handle as usize, Kind::Output);
        return Err(INVALID_PARAM.into());
    };
    state.empty.retain(|empty| *empty != handle as usize);
    if output.stage != Stage::Free && !session.may_tear_down(&state) {
        violation!(FUNCTION, "{handle:?} is in use");
    }
    registry::take_back(handle as usize);
    Ok(())
}
