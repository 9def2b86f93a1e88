//! `NvEncGetSequenceParams`: parameter sets without a picture.
#![allow(unsafe_code, reason = "answers through the client's pointers")]

use std::mem::offset_of as at;

use card::violation;
use nvidia_video_codec_sdk::sys::nvEncodeAPI::NV_ENC_SEQUENCE_PARAM_PAYLOAD;

use crate::given::{Given, answer};
use crate::session::Session;
use crate::setup::initialized;
use crate::status::*;
use crate::versions::SEQUENCE;

/// `NvEncGetSequenceParams`.
///
/// # Safety
/// Pointers are null or valid for what they point to, those inside the struct too.
pub unsafe fn sequence_params(session: &Session, given: *mut NV_ENC_SEQUENCE_PARAM_PAYLOAD) -> Answer {
    const FUNCTION: &str = "NvEncGetSequenceParams";
    // SAFETY: handed on from the caller.
    let given = unsafe { Given::take(given) }?;
    for mistake in SEQUENCE.check(&given, session.api)? {
        violation!(FUNCTION, "{mistake}");
    }
    let state = session.state();
    let headers = &initialized(FUNCTION, session, &state)?.headers;
    let to = given.address(at!(NV_ENC_SEQUENCE_PARAM_PAYLOAD, spsppsBuffer)) as *mut u8;
    let size = given.address(at!(NV_ENC_SEQUENCE_PARAM_PAYLOAD, outSPSPPSPayloadSize)) as *mut u32;
    if to.is_null() || size.is_null() {
        return Err(INVALID_PARAM.into());
    }
    if headers.len() > given.u32(at!(NV_ENC_SEQUENCE_PARAM_PAYLOAD, inBufferSize)) as usize {
        return Err(OUT_OF_MEMORY.into());
    }
    // SAFETY: the client says that there is room for as many bytes.
    unsafe { std::ptr::copy_nonoverlapping(headers.as_ptr(), to, headers.len()) };
    // SAFETY: handed on from the caller.
    unsafe { answer(size, headers.len() as u32) }
}
