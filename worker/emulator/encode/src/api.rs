//! The functions that programs call: two by name, the others through the table that the second one fills.
//!
//! Nothing unwinds into a program: a panic is a violation of this library's own, answered with `NV_ENC_ERR_GENERIC`.
#![allow(unsafe_code, reason = "a C interface")]
#![allow(non_snake_case, reason = "the functions bear the names of the table's fields")]

use std::ffi::{c_char, c_void};
use std::mem::offset_of as at;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use card::violation;
use nvidia_video_codec_sdk::sys::nvEncodeAPI::*;

use crate::given::{Given, answer};
use crate::registry::{self, Kind, explain};
use crate::session::{self, Session};
use crate::status::*;
use crate::versions::FUNCTIONS;
use crate::{buffers, caps, encode, output, presets, resources, sequence, setup};

/// API 13.0, as `NvEncodeAPIGetMaxSupportedVersion` counts.
const NEWEST: u32 = 13 << 4;

/// Makes the fault that was asked for, or does the work; never unwinds.
fn guarded(function: &'static str, work: impl FnOnce() -> Answer) -> u32 {
    if let Some(status) = card::strike(function) {
        return status as u32;
    }
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => SUCCESS,
        Ok(Err(refusal)) => refusal.status,
        Err(_) => {
            violation!(function, "panicked: a mistake in this library");
            GENERIC
        }
    }
}

/// The same for a function of a session: finds it, and keeps what was said to be wrong.
fn within(function: &'static str, handle: *mut c_void, work: impl FnOnce(&Session) -> Answer) -> u32 {
    let Some(session) = registry::session(handle as usize) else {
        return guarded(function, || {
            if !handle.is_null() {
                violation!(function, "{}", explain(handle as usize, Kind::Session, handle as usize));
            }
            Err(INVALID_ENCODER.into())
        });
    };
    let status = guarded(function, || {
        work(&session).inspect_err(|refusal| refusal.text.iter().for_each(|text| session.say(text)))
    });
    let asks = function.starts_with("NvEncGet");
    if !asks && !matches!(status, SUCCESS | NEED_MORE_INPUT | LOCK_BUSY) {
        session.broken.store(true, Ordering::Relaxed);
    }
    status
}

/// Makes the functions of sessions, and the function that puts them into the table.
macro_rules! functions {
    ($($field:ident $name:literal = $kind:ident $path:path $(, $argument:ident: $type:ty)*;)*) => {
        $(
            unsafe extern "C" fn $field(session: *mut c_void $(, $argument: $type)*) -> u32 {
                within($name, session, |session| functions!(@$kind $path, session $(, $argument)*))
            }
        )*

        fn fill(table: &mut Given<NV_ENCODE_API_FUNCTION_LIST>) {
            $(table.put(at!(NV_ENCODE_API_FUNCTION_LIST, $field), $field as *const c_void);)*
        }
    };
    (@plain $path:path, $($argument:ident),*) => { $path($($argument),*) };
    // SAFETY: the program promises what the driver's manual asks of it, and each function says the same.
    (@raw $path:path, $($argument:ident),*) => { unsafe { $path($($argument),*) } };
}

functions! {
    nvEncGetEncodeGUIDCount "NvEncGetEncodeGUIDCount" = raw caps::guid_count, count: *mut u32;
    nvEncGetEncodeProfileGUIDCount "NvEncGetEncodeProfileGUIDCount" =
        raw caps::profile_count, codec: GUID, count: *mut u32;
    nvEncGetEncodeProfileGUIDs "NvEncGetEncodeProfileGUIDs" =
        raw caps::profile_guids, codec: GUID, list: *mut GUID, room: u32, count: *mut u32;
    nvEncGetEncodeGUIDs "NvEncGetEncodeGUIDs" = raw caps::guids, list: *mut GUID, room: u32, count: *mut u32;
    nvEncGetInputFormatCount "NvEncGetInputFormatCount" = raw caps::format_count, codec: GUID, count: *mut u32;
    nvEncGetInputFormats "NvEncGetInputFormats" =
        raw caps::format_list, codec: GUID, list: *mut u32, room: u32, count: *mut u32;
    nvEncGetEncodeCaps "NvEncGetEncodeCaps" =
        raw caps::caps, codec: GUID, asked: *mut NV_ENC_CAPS_PARAM, value: *mut i32;
    nvEncGetEncodePresetCount "NvEncGetEncodePresetCount" = raw caps::preset_count, codec: GUID, count: *mut u32;
    nvEncGetEncodePresetGUIDs "NvEncGetEncodePresetGUIDs" =
        raw caps::preset_guids, codec: GUID, list: *mut GUID, room: u32, count: *mut u32;
    nvEncGetEncodePresetConfigEx "NvEncGetEncodePresetConfigEx" =
        raw presets::config, codec: GUID, preset: GUID, tuning: u32, config: *mut NV_ENC_PRESET_CONFIG;
    nvEncInitializeEncoder "NvEncInitializeEncoder" = raw setup::initialize, given: *mut NV_ENC_INITIALIZE_PARAMS;
    nvEncReconfigureEncoder "NvEncReconfigureEncoder" = raw setup::reconfigure, given: *mut NV_ENC_RECONFIGURE_PARAMS;
    nvEncGetSequenceParams "NvEncGetSequenceParams" =
        raw sequence::sequence_params, given: *mut NV_ENC_SEQUENCE_PARAM_PAYLOAD;
    nvEncCreateInputBuffer "NvEncCreateInputBuffer" =
        raw buffers::create_input, given: *mut NV_ENC_CREATE_INPUT_BUFFER;
    nvEncDestroyInputBuffer "NvEncDestroyInputBuffer" = plain buffers::destroy_input, buffer: *mut c_void;
    nvEncLockInputBuffer "NvEncLockInputBuffer" = raw buffers::lock_input, given: *mut NV_ENC_LOCK_INPUT_BUFFER;
    nvEncUnlockInputBuffer "NvEncUnlockInputBuffer" = plain buffers::unlock_input, buffer: *mut c_void;
    nvEncCreateBitstreamBuffer "NvEncCreateBitstreamBuffer" =
        raw buffers::create_output, given: *mut NV_ENC_CREATE_BITSTREAM_BUFFER;
    nvEncDestroyBitstreamBuffer "NvEncDestroyBitstreamBuffer" = plain buffers::destroy_output, buffer: *mut c_void;
    nvEncRegisterResource "NvEncRegisterResource" = raw resources::register, given: *mut NV_ENC_REGISTER_RESOURCE;
    nvEncUnregisterResource "NvEncUnregisterResource" = plain resources::unregister, resource: *mut c_void;
    nvEncMapInputResource "NvEncMapInputResource" = raw resources::map, given: *mut NV_ENC_MAP_INPUT_RESOURCE;
    nvEncUnmapInputResource "NvEncUnmapInputResource" = plain resources::unmap, resource: *mut c_void;
    nvEncEncodePicture "NvEncEncodePicture" = raw encode::encode, given: *mut NV_ENC_PIC_PARAMS;
    nvEncLockBitstream "NvEncLockBitstream" = raw output::lock, given: *mut NV_ENC_LOCK_BITSTREAM;
    nvEncUnlockBitstream "NvEncUnlockBitstream" = plain output::unlock, buffer: *mut c_void;
    nvEncSetIOCudaStreams "NvEncSetIOCudaStreams" =
        raw session::set_streams, input: *mut c_void, output: *mut c_void;
    nvEncDestroyEncoder "NvEncDestroyEncoder" = plain session::destroy;
    nvEncGetEncodePresetConfig "NvEncGetEncodePresetConfig" =
        plain unsupported, codec: GUID, preset: GUID, config: *mut c_void;
    nvEncGetEncodeStats "NvEncGetEncodeStats" = plain invalid, given: *mut c_void;
    nvEncRegisterAsyncEvent "NvEncRegisterAsyncEvent" = plain unimplemented, given: *mut c_void;
    nvEncUnregisterAsyncEvent "NvEncUnregisterAsyncEvent" = plain unimplemented, given: *mut c_void;
    nvEncInvalidateRefFrames "NvEncInvalidateRefFrames" = plain not_played, timestamp: u64;
    nvEncCreateMVBuffer "NvEncCreateMVBuffer" = plain unimplemented, given: *mut c_void;
    nvEncDestroyMVBuffer "NvEncDestroyMVBuffer" = plain no_pointer, buffer: *mut c_void;
    nvEncRunMotionEstimationOnly "NvEncRunMotionEstimationOnly" = plain no_pointer, given: *mut c_void;
    nvEncGetSequenceParamEx "NvEncGetSequenceParamEx" =
        plain not_played_either, init: *mut c_void, given: *mut c_void;
    nvEncRestoreEncoderState "NvEncRestoreEncoderState" = plain invalid, given: *mut c_void;
    nvEncLookaheadPicture "NvEncLookaheadPicture" = plain invalid, given: *mut c_void;
}

// What is not played answers as a card does that was asked without having been prepared for it.

fn unsupported(_: &Session, _: GUID, _: GUID, _: *mut c_void) -> Answer {
    Err(UNSUPPORTED_PARAM.into())
}

fn invalid(_: &Session, _: *mut c_void) -> Answer {
    Err(INVALID_PARAM.into())
}

fn unimplemented(_: &Session, _: *mut c_void) -> Answer {
    Err(UNIMPLEMENTED.into())
}

fn no_pointer(_: &Session, _: *mut c_void) -> Answer {
    Err(INVALID_PTR.into())
}

fn not_played(_: &Session, _: u64) -> Answer {
    violation!("NvEncInvalidateRefFrames", "is not played: a card forgets a reference");
    Err(UNIMPLEMENTED.into())
}

fn not_played_either(_: &Session, _: *mut c_void, _: *mut c_void) -> Answer {
    violation!("NvEncGetSequenceParamEx", "is not played: a card gives parameter sets of other settings");
    Err(UNIMPLEMENTED.into())
}

unsafe extern "C" fn nvEncOpenEncodeSession(_: *mut c_void, _: u32, _: *mut *mut c_void) -> u32 {
    guarded("NvEncOpenEncodeSession", || Err(UNIMPLEMENTED.into()))
}

unsafe extern "C" fn nvEncOpenEncodeSessionEx(
    given: *mut NV_ENC_OPEN_ENCODE_SESSION_EX_PARAMS,
    handle: *mut *mut c_void,
) -> u32 {
    // SAFETY: the program promises what the driver's manual asks of it.
    guarded("NvEncOpenEncodeSessionEx", || unsafe { session::open(given, handle) })
}

unsafe extern "C" fn nvEncGetLastErrorString(handle: *mut c_void) -> *const c_char {
    match registry::session(handle as usize) {
        Some(session) => session.last_error(),
        None => c"".as_ptr(),
    }
}

/// The newest API that is spoken, major in the upper bits, minor in the lower four.
///
/// # Safety
/// The pointer is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn NvEncodeAPIGetMaxSupportedVersion(version: *mut u32) -> u32 {
    // SAFETY: handed on from the caller.
    guarded("NvEncodeAPIGetMaxSupportedVersion", || unsafe { answer(version, NEWEST) })
}

/// Fills the table of functions.
///
/// # Safety
/// The pointer is null or valid for a whole table.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn NvEncodeAPICreateInstance(table: *mut NV_ENCODE_API_FUNCTION_LIST) -> u32 {
    guarded("NvEncodeAPICreateInstance", || {
        // SAFETY: handed on from the caller.
        let mut table = unsafe { Given::take(table) }?;
        // Any API number is taken: no session has said which one it is to be.
        if !FUNCTIONS.takes(table.u32(0)) {
            return Err(INVALID_VERSION.into());
        }
        fill(&mut table);
        let mut put = |field, function: *const c_void| table.put(field, function);
        put(at!(NV_ENCODE_API_FUNCTION_LIST, nvEncOpenEncodeSession), nvEncOpenEncodeSession as *const c_void);
        put(at!(NV_ENCODE_API_FUNCTION_LIST, nvEncOpenEncodeSessionEx), nvEncOpenEncodeSessionEx as *const c_void);
        put(at!(NV_ENCODE_API_FUNCTION_LIST, nvEncGetLastErrorString), nvEncGetLastErrorString as *const c_void);
        Ok(())
    })
}

card::at_unload!(registry::unload);
