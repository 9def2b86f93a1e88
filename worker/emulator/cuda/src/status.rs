//! `CUresult`: how calls end, and the two functions that say so in words.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char};

/// How a call ended; 0 is well.
pub type Status = i32;

macro_rules! statuses {
    ($($name:ident = $code:literal, $words:literal;)*) => {
        $(pub const $name: Status = $code;)*

        /// Name and meaning.
        fn words(status: Status) -> Option<(&'static CStr, &'static CStr)> {
            Some(match status {
                $($code => (
                    match CStr::from_bytes_with_nul(concat!("CUDA_ERROR_", stringify!($name), "\0").as_bytes()) {
                        Ok(name) => name,
                        Err(_) => c"",
                    },
                    $words,
                ),)*
                0 => (c"CUDA_SUCCESS", c"no error"),
                _ => return None,
            })
        }
    };
}

statuses! {
    INVALID_VALUE = 1, c"invalid argument";
    OUT_OF_MEMORY = 2, c"out of memory";
    NOT_INITIALIZED = 3, c"initialization error";
    DEVICE_UNAVAILABLE = 46, c"CUDA-capable device(s) is/are busy or unavailable";
    NO_DEVICE = 100, c"no CUDA-capable device is detected";
    INVALID_DEVICE = 101, c"invalid device ordinal";
    INVALID_IMAGE = 200, c"device kernel image is invalid";
    INVALID_CONTEXT = 201, c"invalid device context";
    INVALID_HANDLE = 400, c"invalid resource handle";
    NOT_FOUND = 500, c"named symbol not found";
    ILLEGAL_ADDRESS = 700, c"an illegal memory access was encountered";
    CONTEXT_IS_DESTROYED = 709, c"context is destroyed";
    LAUNCH_FAILED = 719, c"unspecified launch failure";
    NOT_SUPPORTED = 801, c"operation not supported";
    UNKNOWN = 999, c"unknown error";
}

/// Whether nothing works in the process any more after a call has ended so.
pub fn is_sticky(status: Status) -> bool {
    matches!(status, DEVICE_UNAVAILABLE | 214 | ILLEGAL_ADDRESS | 702 | 710 | 714..=718 | LAUNCH_FAILED | UNKNOWN)
}

/// # Safety
///
/// `text` is null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetErrorName(status: Status, text: *mut *const c_char) -> Status {
    // SAFETY: the caller keeps it.
    unsafe { say(text, words(status).map(|(name, _)| name)) }
}

/// # Safety
///
/// `text` is null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetErrorString(status: Status, text: *mut *const c_char) -> Status {
    // SAFETY: the caller keeps it.
    unsafe { say(text, words(status).map(|(_, meaning)| meaning)) }
}

/// # Safety
///
/// `text` is null or can be written to.
unsafe fn say(text: *mut *const c_char, words: Option<&'static CStr>) -> Status {
    if text.is_null() {
        return INVALID_VALUE;
    }
    let said = words.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: it is not null, and the caller says that it can be written to.
    unsafe { text.write(said) };
    if words.is_some() { 0 } else { INVALID_VALUE }
}
