//! What the card can do: codecs, profiles, presets, input formats, capabilities.
#![allow(unsafe_code, reason = "answers through the client's pointers")]

use std::mem::offset_of as at;

use card::{Codec, Encodes, violation};
use nvidia_video_codec_sdk::sys::nvEncodeAPI::*;

use crate::given::{Given, answer, answer_list};
use crate::picture::Format;
use crate::session::Session;
use crate::status::{Answer, INVALID_PARAM, INVALID_PTR};
use crate::versions;

/// The presets from P1 to P7.
pub const PRESETS: [GUID; 7] = [
    NV_ENC_PRESET_P1_GUID,
    NV_ENC_PRESET_P2_GUID,
    NV_ENC_PRESET_P3_GUID,
    NV_ENC_PRESET_P4_GUID,
    NV_ENC_PRESET_P5_GUID,
    NV_ENC_PRESET_P6_GUID,
    NV_ENC_PRESET_P7_GUID,
];

/// NVIDIA's name for a codec.
pub const fn guid_of(codec: Codec) -> GUID {
    match codec {
        Codec::H264 => NV_ENC_CODEC_H264_GUID,
        Codec::Hevc => NV_ENC_CODEC_HEVC_GUID,
        _ => NV_ENC_CODEC_AV1_GUID,
    }
}

/// The codec's profiles, as a card lists them.
pub fn profiles(codec: Codec) -> &'static [GUID] {
    match codec {
        Codec::H264 => &[
            NV_ENC_H264_PROFILE_BASELINE_GUID,
            NV_ENC_H264_PROFILE_MAIN_GUID,
            NV_ENC_H264_PROFILE_HIGH_GUID,
            NV_ENC_H264_PROFILE_STEREO_GUID,
            NV_ENC_H264_PROFILE_HIGH_444_GUID,
            NV_ENC_CODEC_PROFILE_AUTOSELECT_GUID,
        ],
        Codec::Hevc => &[
            NV_ENC_CODEC_PROFILE_AUTOSELECT_GUID,
            NV_ENC_HEVC_PROFILE_MAIN_GUID,
            NV_ENC_HEVC_PROFILE_MAIN10_GUID,
            NV_ENC_HEVC_PROFILE_FREXT_GUID,
        ],
        _ => &[NV_ENC_CODEC_PROFILE_AUTOSELECT_GUID, NV_ENC_AV1_PROFILE_MAIN_GUID],
    }
}

/// The input formats of a codec that are played here.
pub fn formats(encodes: &Encodes) -> Vec<u32> {
    let ten_bits = encodes.caps[NV_ENC_CAPS::NV_ENC_CAPS_SUPPORT_10BIT_ENCODE as usize] == 1;
    let formats = [Format::Nv12, Format::Yv12, Format::Iyuv, Format::P010];
    formats.into_iter().filter(|format| *format != Format::P010 || ten_bits).map(Format::number).collect()
}

/// What the session's card does of this codec.
pub fn encodes(session: &Session, guid: GUID) -> Option<&'static Encodes> {
    session.card.encodes.iter().find(|encodes| guid_of(encodes.codec) == guid)
}

fn known(session: &Session, guid: GUID) -> Answer<&'static Encodes> {
    encodes(session, guid).ok_or_else(|| INVALID_PARAM.into())
}

/// `NvEncGetEncodeGUIDCount`.
///
/// # Safety
/// As for every function here: pointers are null or valid, lists for as many as is said.
pub unsafe fn guid_count(session: &Session, count: *mut u32) -> Answer {
    // SAFETY: handed on from the caller.
    unsafe { answer(count, session.card.encodes.len() as u32) }
}

/// `NvEncGetEncodeGUIDs`.
///
/// # Safety
/// See [`guid_count`].
pub unsafe fn guids(session: &Session, list: *mut GUID, room: u32, count: *mut u32) -> Answer {
    let guids: Vec<GUID> = session.card.encodes.iter().map(|encodes| guid_of(encodes.codec)).collect();
    // SAFETY: handed on from the caller.
    unsafe { answer_list(list, room, count, &guids) }
}

/// `NvEncGetEncodeProfileGUIDCount`.
///
/// # Safety
/// See [`guid_count`].
pub unsafe fn profile_count(session: &Session, codec: GUID, count: *mut u32) -> Answer {
    let profiles = profiles(known(session, codec)?.codec);
    // SAFETY: handed on from the caller.
    unsafe { answer(count, profiles.len() as u32) }
}

/// `NvEncGetEncodeProfileGUIDs`.
///
/// # Safety
/// See [`guid_count`].
pub unsafe fn profile_guids(session: &Session, codec: GUID, list: *mut GUID, room: u32, count: *mut u32) -> Answer {
    let profiles = profiles(known(session, codec)?.codec);
    // SAFETY: handed on from the caller.
    unsafe { answer_list(list, room, count, profiles) }
}

/// `NvEncGetInputFormatCount`.
///
/// # Safety
/// See [`guid_count`].
pub unsafe fn format_count(session: &Session, codec: GUID, count: *mut u32) -> Answer {
    let formats = formats(known(session, codec)?);
    // SAFETY: handed on from the caller.
    unsafe { answer(count, formats.len() as u32) }
}

/// `NvEncGetInputFormats`.
///
/// # Safety
/// See [`guid_count`].
pub unsafe fn format_list(session: &Session, codec: GUID, list: *mut u32, room: u32, count: *mut u32) -> Answer {
    let formats = formats(known(session, codec)?);
    // SAFETY: handed on from the caller.
    unsafe { answer_list(list, room, count, &formats) }
}

/// `NvEncGetEncodePresetCount`.
///
/// # Safety
/// See [`guid_count`].
pub unsafe fn preset_count(session: &Session, codec: GUID, count: *mut u32) -> Answer {
    known(session, codec)?;
    // SAFETY: handed on from the caller.
    unsafe { answer(count, PRESETS.len() as u32) }
}

/// `NvEncGetEncodePresetGUIDs`.
///
/// # Safety
/// See [`guid_count`].
pub unsafe fn preset_guids(session: &Session, codec: GUID, list: *mut GUID, room: u32, count: *mut u32) -> Answer {
    known(session, codec)?;
    // SAFETY: handed on from the caller.
    unsafe { answer_list(list, room, count, &PRESETS) }
}

/// `NvEncGetEncodeCaps`. A card takes any version here.
///
/// # Safety
/// See [`guid_count`].
pub unsafe fn caps(session: &Session, codec: GUID, asked: *mut NV_ENC_CAPS_PARAM, value: *mut i32) -> Answer {
    if value.is_null() {
        return Err(INVALID_PTR.into());
    }
    // SAFETY: handed on from the caller.
    let asked = unsafe { Given::take(asked) }?;
    match versions::CAPS.check(&asked, session.api) {
        Ok(mistakes) => mistakes.iter().for_each(|mistake| violation!("NvEncGetEncodeCaps", "{mistake}")),
        Err(_) => violation!("NvEncGetEncodeCaps", "version {:#x}; the card takes it", asked.u32(0)),
    }
    let caps = &known(session, codec)?.caps;
    let cap = caps.get(asked.u32(at!(NV_ENC_CAPS_PARAM, capsToQuery)) as usize).ok_or(INVALID_PARAM)?;
    // SAFETY: handed on from the caller.
    unsafe { answer(value, *cap) }
}
