//! The defaults of the presets, as a card gives them (RTX 3060, driver 595).
#![allow(unsafe_code, reason = "answers through the client's pointers")]

use std::mem::offset_of as at;

use card::{Codec, violation};
use nvidia_video_codec_sdk::sys::nvEncodeAPI::*;

use crate::caps::{self, PRESETS};
use crate::given::Given;
use crate::session::Session;
use crate::settings::{AV1_OUTPUT_DEPTH, DepthFields, HEVC_OUTPUT_DEPTH};
use crate::status::{Answer, INVALID_PARAM, INVALID_VERSION, UNSUPPORTED_PARAM};
use crate::versions;

/// What the presets differ in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// Pictures from one IDR to the next.
    pub gop: u32,
    /// Pictures from one P to the next.
    pub interval: i32,
    /// `NV_ENC_PARAMS_RC_MODE`.
    pub rate_control: u32,
    /// Constant quantisers of P, B and intra pictures.
    pub quantisers: [u32; 3],
}

const HIGH_QUALITY: u32 = NV_ENC_TUNING_INFO::NV_ENC_TUNING_INFO_HIGH_QUALITY as u32;
const LOSSLESS: u32 = NV_ENC_TUNING_INFO::NV_ENC_TUNING_INFO_LOSSLESS as u32;

/// The defaults of preset P1 to P7 with this tuning; `None` for a tuning that there is not.
pub fn defaults(codec: Codec, preset: usize, tuning: u32) -> Option<Defaults> {
    let reordering = match (codec, preset, tuning) {
        (Codec::H264, 0 | 1, _) => 1,
        (Codec::H264, 2, HIGH_QUALITY) => 2,
        (Codec::H264, 2, _) => 1,
        (_, 0..=3, _) => preset as i32 + 1,
        _ => 4,
    };
    let (gop, interval, rate_control, quantisers) = match tuning {
        HIGH_QUALITY => (250, reordering, 1, [28, 31, 25]),
        2 | 3 => (NVENC_INFINITE_GOPLENGTH, 1, 2, [28, 31, 25]),
        LOSSLESS => (250, reordering, 0, [0; 3]),
        _ => return None,
    };
    Some(Defaults { gop, interval, rate_control, quantisers })
}

/// `NvEncGetEncodePresetConfigEx`.
///
/// # Safety
/// The pointer is null or valid for its struct.
pub unsafe fn config(
    session: &Session,
    codec: GUID,
    preset: GUID,
    tuning: u32,
    config: *mut NV_ENC_PRESET_CONFIG,
) -> Answer {
    // SAFETY: handed on from the caller.
    let given = unsafe { Given::take(config) }?;
    let mistakes = versions::PRESET.check(&given, session.api)?;
    mistakes.iter().for_each(|mistake| violation!("NvEncGetEncodePresetConfigEx", "{mistake}"));
    let inside = at!(NV_ENC_PRESET_CONFIG, presetCfg);
    let version = given.u32(inside + at!(NV_ENC_CONFIG, version));
    if !versions::CONFIG.takes(version) {
        return Err(INVALID_VERSION.into());
    }
    let codec = caps::encodes(session, codec).ok_or(INVALID_PARAM)?.codec;
    let preset = PRESETS.iter().position(|guid| *guid == preset).ok_or(UNSUPPORTED_PARAM)?;
    let defaults = defaults(codec, preset, tuning).ok_or(UNSUPPORTED_PARAM)?;
    // SAFETY: the config lies within the struct that was checked above.
    let mut config = unsafe { Given::take(given.inner::<NV_ENC_CONFIG>(inside)) }?;
    write(&mut config, codec, &defaults, session.api);
    Ok(())
}

fn write(config: &mut Given<NV_ENC_CONFIG>, codec: Codec, defaults: &Defaults, api: u32) {
    config.put(0, [0u8; size_of::<NV_ENC_CONFIG>()]);
    config.put(at!(NV_ENC_CONFIG, version), config.u32(0));
    config.put(at!(NV_ENC_CONFIG, profileGUID), NV_ENC_CODEC_PROFILE_AUTOSELECT_GUID);
    config.put(at!(NV_ENC_CONFIG, gopLength), defaults.gop);
    config.put(at!(NV_ENC_CONFIG, frameIntervalP), defaults.interval);
    config.put(at!(NV_ENC_CONFIG, frameFieldMode), 1u32);
    config.put(at!(NV_ENC_CONFIG, mvPrecision), 3u32);
    let rate = at!(NV_ENC_CONFIG, rcParams);
    config.put(rate + at!(NV_ENC_RC_PARAMS, version), api | 1 << 16 | 7 << 28);
    config.put(rate + at!(NV_ENC_RC_PARAMS, rateControlMode), defaults.rate_control);
    config.put(rate + at!(NV_ENC_RC_PARAMS, constQP), defaults.quantisers);
    let inner = at!(NV_ENC_CONFIG, encodeCodecConfig);
    if let DepthFields::Words = DepthFields::of(config.u32(0)) {
        match codec {
            Codec::Hevc => config.put(inner + HEVC_OUTPUT_DEPTH, [8u32; 2]),
            Codec::Av1 => config.put(inner + AV1_OUTPUT_DEPTH, [8u32; 2]),
            _ => {}
        }
    }
    match codec {
        Codec::H264 => {
            config.put(inner + at!(NV_ENC_CONFIG_H264, idrPeriod), defaults.gop);
            config.put(inner + at!(NV_ENC_CONFIG_H264, sliceMode), [3u32, 1]);
            config.put(inner + at!(NV_ENC_CONFIG_H264, chromaFormatIDC), 1u32);
            write_vui(config, inner + at!(NV_ENC_CONFIG_H264, h264VUIParameters));
        }
        Codec::Hevc => {
            config.put(inner + at!(NV_ENC_CONFIG_HEVC, idrPeriod), defaults.gop);
            config.put(inner + at!(NV_ENC_CONFIG_HEVC, _bitfield_1), 1u32 << 9);
            config.put(inner + at!(NV_ENC_CONFIG_HEVC, sliceMode), [3u32, 1]);
            write_vui(config, inner + at!(NV_ENC_CONFIG_HEVC, hevcVUIParameters));
        }
        _ => {
            config.put(inner + at!(NV_ENC_CONFIG_AV1, level), 24u32);
            config.put(inner + at!(NV_ENC_CONFIG_AV1, _bitfield_1), 1u32 << 7);
            config.put(inner + at!(NV_ENC_CONFIG_AV1, idrPeriod), defaults.gop);
            config.put(inner + at!(NV_ENC_CONFIG_AV1, colorPrimaries), [2u32; 3]);
        }
    }
}

/// Format and colours unspecified.
fn write_vui(config: &mut Given<NV_ENC_CONFIG>, vui: usize) {
    config.put(vui + at!(NV_ENC_CONFIG_H264_VUI_PARAMETERS, videoFormat), 5u32);
    config.put(vui + at!(NV_ENC_CONFIG_H264_VUI_PARAMETERS, colourPrimaries), [2u32; 3]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_a_card() {
        let intervals = |codec, tuning| -> Vec<i32> {
            (0..7).map(|preset| defaults(codec, preset, tuning).unwrap().interval).collect()
        };
        assert_eq!(intervals(Codec::H264, HIGH_QUALITY), [1, 1, 2, 4, 4, 4, 4]);
        assert_eq!(intervals(Codec::H264, LOSSLESS), [1, 1, 1, 4, 4, 4, 4]);
        assert_eq!(intervals(Codec::H264, 2), [1; 7]);
        assert_eq!(intervals(Codec::Hevc, HIGH_QUALITY), [1, 2, 3, 4, 4, 4, 4]);
        assert_eq!(defaults(Codec::H264, 0, 0), None);
        assert_eq!(defaults(Codec::H264, 0, 9), None);
    }
}
