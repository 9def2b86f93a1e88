//! Memory of the client's on the device, registered once and mapped for each use.
#![allow(unsafe_code, reason = "reads and writes through the client's pointers")]

use std::ffi::c_void;
use std::mem::offset_of as at;

use card::violation;
use nvidia_video_codec_sdk::sys::nvEncodeAPI::*;

use crate::given::Given;
use crate::picture::{Format, Surface};
use crate::registry::{self, Kind};
use crate::session::Session;
use crate::setup::initialized;
use crate::status::*;
use crate::versions::{MAP, REGISTER};

/// `NV_ENC_INPUT_RESOURCE_TYPE_CUDADEVICEPTR`.
const DEVICE_POINTER: u32 = 1;
/// Rows must begin at multiples of so many bytes.
const PITCH_STEP_BYTES: u32 = 4;

/// Memory that was registered. A card looks at it when it is mapped.
pub struct Registered {
    /// Its address on the device.
    pub device: u64,
    /// What lies there; `None` if that made no sense.
    pub surface: Option<Surface>,
    /// It is mapped now.
    pub mapped: bool,
}

/// Memory that is mapped.
pub struct Mapped {
    /// The registered resource.
    pub registered: usize,
    /// Where and how its picture lies.
    pub device: u64,
    /// The same.
    pub surface: Surface,
    /// How many submissions have not been read out yet.
    pub flying: u32,
}

/// `NvEncRegisterResource`.
///
/// # Safety
/// The pointer is null or valid for its struct.
pub unsafe fn register(session: &Session, given: *mut NV_ENC_REGISTER_RESOURCE) -> Answer {
    type Given_ = NV_ENC_REGISTER_RESOURCE;
    const FUNCTION: &str = "NvEncRegisterResource";
    session.on_its_thread(FUNCTION)?;
    // SAFETY: handed on from the caller.
    let mut given = unsafe { Given::take(given) }?;
    for mistake in REGISTER.check(&given, session.api)? {
        violation!(FUNCTION, "{mistake}");
    }
    let mut state = session.state();
    let settings = &initialized(FUNCTION, session, &state)?.settings;
    let (width, height) = (given.u32(at!(Given_, width)), given.u32(at!(Given_, height)));
    let pitch = given.u32(at!(Given_, pitch));
    let device = given.u64(at!(Given_, resourceToRegister));
    let format = Format::of(given.u32(at!(Given_, bufferFormat)));
    let wrong = if given.u32(at!(Given_, resourceType)) != DEVICE_POINTER {
        Some("a resource that is no CUDA device pointer".to_owned())
    } else if device == 0 {
        Some("a null pointer".to_owned())
    } else if format.is_none() {
        Some(format!("format {:#x} is not played", given.u32(at!(Given_, bufferFormat))))
    } else if format.is_some_and(|format| (pitch as usize) < format.row_bytes(width as usize)) {
        Some(format!("a pitch of {pitch} bytes for rows of {width} pixels"))
    } else if pitch % PITCH_STEP_BYTES != 0 {
        Some(format!("a pitch of {pitch} bytes is no multiple of {PITCH_STEP_BYTES}"))
    } else {
        let (wide, high) = (settings.width, settings.height);
        ((width, height) != (wide, high)).then(|| format!("{width}x{height} for an encoder of {wide}x{high}"))
    };
    if let Some(wrong) = &wrong {
        violation!(FUNCTION, "{wrong}; a card takes it");
    }
    if given.u32(at!(Given_, bufferUsage)) != 0 {
        violation!(FUNCTION, "a use other than as input is not played");
    }
    let surface = format.filter(|_| wrong.is_none()).map(|format| Surface {
        format,
        width: width as usize,
        height: height as usize,
        pitch: pitch as usize,
    });
    let handle = registry::hand_out(Kind::Registered, Some(session.handle));
    state.registered.insert(handle, Registered { device, surface, mapped: false });
    given.put(at!(Given_, registeredResource), handle);
    Ok(())
}

/// `NvEncUnregisterResource`.
pub fn unregister(session: &Session, handle: *mut c_void) -> Answer {
    const FUNCTION: &str = "NvEncUnregisterResource";
    if handle.is_null() {
        return Err(INVALID_PTR.into());
    }
    session.on_its_thread(FUNCTION)?;
    let mut state = session.state();
    let Some(registered) = state.registered.remove(&(handle as usize)) else {
        session.complain(FUNCTION, handle as usize, Kind::Registered);
        return Err(NOT_REGISTERED.into());
    };
    if registered.mapped {
        violation!(FUNCTION, "{handle:?} is still mapped");
    }
    registry::take_back(handle as usize);
    Ok(())
}

/// `NvEncMapInputResource`.
///
/// # Safety
/// The pointer is null or valid for its struct.
pub unsafe fn map(session: &Session, given: *mut NV_ENC_MAP_INPUT_RESOURCE) -> Answer {
    type Given_ = NV_ENC_MAP_INPUT_RESOURCE;
    const FUNCTION: &str = "NvEncMapInputResource";
    session.on_its_thread(FUNCTION)?;
    // SAFETY: handed on from the caller.
    let mut given = unsafe { Given::take(given) }?;
    for mistake in MAP.check(&given, session.api)? {
        violation!(FUNCTION, "{mistake}");
    }
    let handle = given.address(at!(Given_, registeredResource));
    let mut state = session.state();
    let Some(registered) = state.registered.get_mut(&handle) else {
        session.complain(FUNCTION, handle, Kind::Registered);
        return Err(NOT_REGISTERED.into());
    };
    if registered.mapped {
        violation!(FUNCTION, "{handle:#x} is mapped already; a card takes it");
    }
    let surface = registered.surface.ok_or(MAP_FAILED)?;
    registered.mapped = true;
    let device = registered.device;
    let mapped = registry::hand_out(Kind::Mapped, Some(session.handle));
    state.mapped.insert(mapped, Mapped { registered: handle, device, surface, flying: 0 });
    given.put(at!(Given_, mappedResource), mapped);
    given.put(at!(Given_, mappedBufferFmt), surface.format.number());
    Ok(())
}

/// `NvEncUnmapInputResource`.
pub fn unmap(session: &Session, handle: *mut c_void) -> Answer {
    const FUNCTION: &str = "NvEncUnmapInputResource";
    session.on_its_thread(FUNCTION)?;
    let mut state = session.state();
    let Some(mapped) = state.mapped.remove(&(handle as usize)) else {
        session.complain(FUNCTION, handle as usize, Kind::Mapped);
        return Err(NOT_MAPPED.into());
    };
    if mapped.flying > 0 && !session.may_tear_down(&state) {
        violation!(FUNCTION, "{handle:?} is in flight: its output was not read yet");
    }
    if let Some(registered) = state.registered.get_mut(&mapped.registered) {
        registered.mapped = false;
    }
    registry::take_back(handle as usize);
    Ok(())
}
