//! Settings as NVENC's structures. Pure: what the card can comes in, bytes go out.
//!
//! The driver refuses little of what is wrong and takes some of it silently, so all is checked here.

use nvidia_video_codec_sdk::sys::nvEncodeAPI::{
    GUID, NV_ENC_AV1_PROFILE_MAIN_GUID, NV_ENC_CONFIG, NV_ENC_CONFIG_AV1, NV_ENC_CONFIG_H264, NV_ENC_CONFIG_HEVC,
    NV_ENC_H264_PROFILE_HIGH_GUID, NV_ENC_HEVC_PROFILE_MAIN_GUID, NV_ENC_HEVC_PROFILE_MAIN10_GUID,
    NV_ENC_INITIALIZE_PARAMS, NV_ENC_PRESET_CONFIG, NV_ENC_PRESET_P1_GUID, NV_ENC_PRESET_P2_GUID,
    NV_ENC_PRESET_P3_GUID, NV_ENC_PRESET_P4_GUID, NV_ENC_PRESET_P5_GUID, NV_ENC_PRESET_P6_GUID, NV_ENC_PRESET_P7_GUID,
    NVENC_INFINITE_GOPLENGTH,
};

use super::api::{Versioned, versioned};
use super::caps::{CodecCapabilities, guid, never};
use super::error::EncodeError;
use super::settings::EncodeSettings;
use crate::codec::Codec;
use crate::raw::{Bits, Raw, bit, field};
use crate::surface::Format;

/// `NV_ENC_TUNING_INFO_HIGH_QUALITY`.
pub(super) const HIGH_QUALITY: u32 = 1;
/// `NV_ENC_PARAMS_RC_VBR`.
const VARIABLE_RATE: u32 = 1;
/// `NV_ENC_TWO_PASS_QUARTER_RESOLUTION`.
const QUARTER_FIRST: u32 = 1;
/// `NV_ENC_BFRAME_REF_MODE_MIDDLE`.
const MIDDLE: u32 = 2;
/// `NV_ENC_SPLIT_DISABLE_MODE`: more chunks at once use the engines better than one picture on two of them.
const NO_SPLIT: u32 = 15;
/// `NV_ENC_LEVEL_AV1_AUTOSELECT`; H.264's and HEVC's is 0. Released drivers start no AV1 session with another level.
const AV1_ANY_LEVEL: u32 = 24;
/// Pictures between two IDRs at most. They come where they are asked for and this never decides; the driver wants
/// `NVENC_INFINITE_GOPLENGTH` only where there are no B-frames.
const LONGEST_GOP: u32 = 10_000;
/// References kept: what the levels are chosen for.
const REFERENCES: u32 = 4;
/// Most B-frames in a row.
const B_FRAMES: u32 = 3;
/// Pictures looked ahead.
const LOOKAHEAD: u16 = 16;

const _: () = assert!(LONGEST_GOP < NVENC_INFINITE_GOPLENGTH);

/// Bits of `NV_ENC_RC_PARAMS`.
mod rate {
    use super::{Bits, bit};
    pub(super) const SPATIAL_AQ: Bits = bit(3);
    pub(super) const LOOKAHEAD: Bits = bit(5);
    pub(super) const NO_I_FRAMES_OF_ITS_OWN: Bits = bit(6);
    pub(super) const TEMPORAL_AQ: Bits = bit(8);
}

/// Bits of `NV_ENC_CONFIG_H264`.
mod h264 {
    use super::{Bits, bit};
    pub(super) const REPEAT_HEADERS: Bits = bit(12);
    pub(super) const VARIABLE_FRAME_RATE: Bits = bit(13);
}

/// Bits of `NV_ENC_CONFIG_HEVC`.
mod hevc {
    use super::{Bits, bit};
    pub(super) const REPEAT_HEADERS: Bits = bit(7);
    pub(super) const CHROMA_FORMAT: Bits = Bits { shift: 9, width: 2 };
    pub(super) const DEPTH_ABOVE_8: Bits = Bits { shift: 11, width: 3 };
}

/// Bits of `NV_ENC_CONFIG_AV1`.
mod av1 {
    use super::{Bits, bit};
    pub(super) const REPEAT_HEADERS: Bits = bit(5);
    pub(super) const CHROMA_FORMAT: Bits = Bits { shift: 7, width: 2 };
    pub(super) const INPUT_DEPTH_ABOVE_8: Bits = Bits { shift: 12, width: 3 };
    pub(super) const DEPTH_ABOVE_8: Bits = Bits { shift: 15, width: 3 };
}

/// Bits of `NV_ENC_INITIALIZE_PARAMS`.
mod initialize {
    use super::Bits;
    pub(super) const SPLIT: Bits = Bits { shift: 5, width: 4 };
}

/// A field of the configuration.
macro_rules! config {
    ($($path:tt)+) => { field!(NV_ENC_CONFIG, $($path)+) };
}

/// Settings that this card can do, and with which of its tools.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    pub(super) settings: EncodeSettings,
    pub(super) codec: GUID,
    pub(super) preset: GUID,
    /// B-frames between two others.
    b_frames: u32,
    /// Pictures looked ahead; 0: it doesn't.
    lookahead: u16,
    middle_reference: bool,
    temporal_aq: bool,
    buffer: bool,
}

impl Plan {
    /// Chooses the card's tools.
    ///
    /// # Errors
    /// [`EncodeError::Unsupported`] for what the card can't, [`EncodeError::Config`] for what nobody can.
    pub(super) fn new(settings: &EncodeSettings, card: &CodecCapabilities) -> Result<Self, EncodeError> {
        card.fits(settings.width, settings.height)?;
        supported(settings, card)?;
        sound(settings)?;
        let plain = settings.plain;
        let b_frames = if plain { 0 } else { card.b_frames.min(B_FRAMES) };
        Ok(Self {
            codec: guid(settings.codec).ok_or_else(|| never(settings.codec))?,
            preset: preset(settings.preset)?,
            b_frames,
            lookahead: if card.lookahead && !plain { LOOKAHEAD } else { 0 },
            middle_reference: card.middle_reference && b_frames > 1,
            temporal_aq: card.temporal_aq && !plain,
            buffer: card.buffer,
            settings: settings.clone(),
        })
    }

    /// How many pictures are in flight before the oldest packet is waited for: as many as the driver may keep before it
    /// gives one, and some for the engine to go on with.
    pub(super) fn depth(&self) -> usize {
        let interval = self.b_frames as usize + 1;
        let looked_ahead = if self.lookahead == 0 { 0 } else { usize::from(self.lookahead) + interval + 5 };
        (4 * interval).max(looked_ahead)
    }

    /// The preset's configuration with the settings put in.
    pub(super) fn config(&self, preset: &Raw<NV_ENC_PRESET_CONFIG>) -> Raw<NV_ENC_CONFIG> {
        let mut config: Raw<NV_ENC_CONFIG> = preset.part(field!(NV_ENC_PRESET_CONFIG, presetCfg));
        config.set(config!(version), NV_ENC_CONFIG::VERSION);
        config.set(config!(profileGUID), self.profile());
        config.set(config!(gopLength), LONGEST_GOP);
        config.set(config!(frameIntervalP), self.b_frames + 1);
        self.rate_control(&mut config);
        match self.settings.codec {
            Codec::H264 => self.h264(&mut config),
            Codec::Hevc => self.hevc(&mut config),
            Codec::Av1 | Codec::Vp9 => self.av1(&mut config),
        }
        config
    }

    fn rate_control(&self, config: &mut Raw<NV_ENC_CONFIG>) {
        let settings = &self.settings;
        let quality = settings.target_quality();
        config.set(config!(rcParams.rateControlMode), VARIABLE_RATE);
        config.set(config!(rcParams.averageBitRate), 0u32);
        config.set(config!(rcParams.maxBitRate), settings.maxrate_bps);
        if self.buffer {
            config.set(config!(rcParams.vbvBufferSize), settings.buffer_bits);
            config.set(config!(rcParams.vbvInitialDelay), settings.initial_fill_bits);
        }
        config.set(config!(rcParams.targetQuality), (quality >> 8) as u8);
        config.set(config!(rcParams.targetQualityLSB), (quality & 0xff) as u8);
        let bits = config!(rcParams._bitfield_1);
        config.set_bits(bits, rate::SPATIAL_AQ, u32::from(!settings.plain));
        config.set_bits(bits, rate::TEMPORAL_AQ, u32::from(self.temporal_aq));
        config.set_bits(bits, rate::LOOKAHEAD, u32::from(self.lookahead > 0));
        config.set_bits(bits, rate::NO_I_FRAMES_OF_ITS_OWN, 1);
        config.set(config!(rcParams.lookaheadDepth), self.lookahead);
        config.set(config!(rcParams.multiPass), if settings.plain { 0 } else { QUARTER_FIRST });
    }

    fn h264(&self, config: &mut Raw<NV_ENC_CONFIG>) {
        macro_rules! h264 {
            ($($path:tt)+) => { config!(encodeCodecConfig).then(field!(NV_ENC_CONFIG_H264, $($path)+)) };
        }
        let settings = &self.settings;
        config.set_bits(h264!(_bitfield_1), h264::REPEAT_HEADERS, 0);
        config.set_bits(h264!(_bitfield_1), h264::VARIABLE_FRAME_RATE, 1);
        config.set(h264!(level), settings.level.unwrap_or(0));
        config.set(h264!(idrPeriod), LONGEST_GOP);
        config.set(h264!(spsId), settings.parameter_set);
        config.set(h264!(ppsId), settings.parameter_set);
        config.set(h264!(adaptiveTransformMode), 2u32); // 8 × 8 transforms, as High profile has them
        config.set(h264!(entropyCodingMode), 1u32); // CABAC
        config.set(h264!(maxNumRefFrames), REFERENCES);
        config.set(h264!(sliceMode), 3u32); // so many slices a picture:
        config.set(h264!(sliceModeData), 1u32);
        config.set(h264!(chromaFormatIDC), 1u32);
        config.set(h264!(useBFramesAsRef), self.b_references());
        config.set(h264!(h264VUIParameters.videoSignalTypePresentFlag), 1u32);
        config.set(h264!(h264VUIParameters.videoFormat), 5u32); // unspecified
        config.set(h264!(h264VUIParameters.videoFullRangeFlag), u32::from(settings.color.full_range));
        config.set(h264!(h264VUIParameters.colourDescriptionPresentFlag), 1u32);
        config.set(h264!(h264VUIParameters.colourPrimaries), u32::from(settings.color.primaries));
        config.set(h264!(h264VUIParameters.transferCharacteristics), u32::from(settings.color.transfer));
        config.set(h264!(h264VUIParameters.colourMatrix), u32::from(settings.color.matrix));
    }

    fn hevc(&self, config: &mut Raw<NV_ENC_CONFIG>) {
        macro_rules! hevc {
            ($($path:tt)+) => { config!(encodeCodecConfig).then(field!(NV_ENC_CONFIG_HEVC, $($path)+)) };
        }
        let settings = &self.settings;
        config.set_bits(hevc!(_bitfield_1), hevc::REPEAT_HEADERS, 0);
        config.set_bits(hevc!(_bitfield_1), hevc::CHROMA_FORMAT, 1);
        config.set_bits(hevc!(_bitfield_1), hevc::DEPTH_ABOVE_8, self.depth_above_8());
        config.set(hevc!(level), settings.level.unwrap_or(0));
        config.set(hevc!(tier), 0u32);
        config.set(hevc!(idrPeriod), LONGEST_GOP);
        config.set(hevc!(vpsId), settings.parameter_set);
        config.set(hevc!(spsId), settings.parameter_set);
        config.set(hevc!(ppsId), settings.parameter_set);
        config.set(hevc!(maxNumRefFramesInDPB), REFERENCES);
        config.set(hevc!(sliceMode), 3u32); // so many slices a picture:
        config.set(hevc!(sliceModeData), 1u32);
        config.set(hevc!(useBFramesAsRef), self.b_references());
        config.set(hevc!(hevcVUIParameters.videoSignalTypePresentFlag), 1u32);
        config.set(hevc!(hevcVUIParameters.videoFormat), 5u32); // unspecified
        config.set(hevc!(hevcVUIParameters.videoFullRangeFlag), u32::from(settings.color.full_range));
        config.set(hevc!(hevcVUIParameters.colourDescriptionPresentFlag), 1u32);
        config.set(hevc!(hevcVUIParameters.colourPrimaries), u32::from(settings.color.primaries));
        config.set(hevc!(hevcVUIParameters.transferCharacteristics), u32::from(settings.color.transfer));
        config.set(hevc!(hevcVUIParameters.colourMatrix), u32::from(settings.color.matrix));
    }

    fn av1(&self, config: &mut Raw<NV_ENC_CONFIG>) {
        macro_rules! av1 {
            ($($path:tt)+) => { config!(encodeCodecConfig).then(field!(NV_ENC_CONFIG_AV1, $($path)+)) };
        }
        let settings = &self.settings;
        // A sync sample has the sequence header in it (AV1-ISOBMFF 2.4).
        config.set_bits(av1!(_bitfield_1), av1::REPEAT_HEADERS, 1);
        config.set_bits(av1!(_bitfield_1), av1::CHROMA_FORMAT, 1);
        config.set_bits(av1!(_bitfield_1), av1::INPUT_DEPTH_ABOVE_8, self.depth_above_8());
        config.set_bits(av1!(_bitfield_1), av1::DEPTH_ABOVE_8, self.depth_above_8());
        config.set(av1!(level), AV1_ANY_LEVEL);
        config.set(av1!(tier), 0u32);
        config.set(av1!(idrPeriod), LONGEST_GOP);
        config.set(av1!(useBFramesAsRef), self.b_references());
        config.set(av1!(colorPrimaries), u32::from(settings.color.primaries));
        config.set(av1!(transferCharacteristics), u32::from(settings.color.transfer));
        config.set(av1!(matrixCoefficients), u32::from(settings.color.matrix));
        config.set(av1!(colorRange), u32::from(settings.color.full_range));
    }

    /// What the session is started with; `config` must stay where it is as long as this is used.
    pub(super) fn initialize(&self, config: &mut Raw<NV_ENC_CONFIG>) -> Raw<NV_ENC_INITIALIZE_PARAMS> {
        macro_rules! of {
            ($($path:tt)+) => { field!(NV_ENC_INITIALIZE_PARAMS, $($path)+) };
        }
        let settings = &self.settings;
        let mut parameters = versioned::<NV_ENC_INITIALIZE_PARAMS>();
        parameters.set(of!(encodeGUID), self.codec);
        parameters.set(of!(presetGUID), self.preset);
        parameters.set(of!(tuningInfo), HIGH_QUALITY);
        parameters.set(of!(encodeWidth), settings.width);
        parameters.set(of!(encodeHeight), settings.height);
        parameters.set(of!(darWidth), settings.width); // pixels are square
        parameters.set(of!(darHeight), settings.height);
        parameters.set(of!(frameRateNum), settings.frame_rate.0);
        parameters.set(of!(frameRateDen), settings.frame_rate.1);
        parameters.set(of!(enablePTD), 1u32); // the driver chooses picture types, but for the IDRs we ask for
        if settings.codec != Codec::H264 {
            parameters.set_bits(of!(_bitfield_1), initialize::SPLIT, NO_SPLIT);
        }
        parameters.set(of!(encodeConfig), config.pointer());
        parameters
    }

    fn profile(&self) -> GUID {
        match (self.settings.codec, self.settings.format) {
            (Codec::H264, _) => NV_ENC_H264_PROFILE_HIGH_GUID,
            (Codec::Hevc, Format::Nv12) => NV_ENC_HEVC_PROFILE_MAIN_GUID,
            (Codec::Hevc, Format::P016) => NV_ENC_HEVC_PROFILE_MAIN10_GUID,
            (Codec::Av1 | Codec::Vp9, _) => NV_ENC_AV1_PROFILE_MAIN_GUID,
        }
    }

    fn depth_above_8(&self) -> u32 {
        match self.settings.format {
            Format::Nv12 => 0,
            Format::P016 => 2,
        }
    }

    fn b_references(&self) -> u32 {
        if self.middle_reference { MIDDLE } else { 0 }
    }
}

/// Whether the card can encode with so many bits and this level.
fn supported(settings: &EncodeSettings, card: &CodecCapabilities) -> Result<(), EncodeError> {
    // API 12.1 has no profile for H.264 of 10 bits, whatever newer cards say.
    if settings.format == Format::P016 && (settings.codec == Codec::H264 || !card.ten_bit) {
        return Err(EncodeError::Unsupported(format!("{} is encoded with 8 bits only here", settings.codec)));
    }
    match settings.level {
        Some(level) if settings.codec != Codec::Av1 && !(card.levels.0..=card.levels.1).contains(&level) => {
            Err(EncodeError::Unsupported(format!(
                "{} at level {level}: this card has levels {} to {}",
                settings.codec, card.levels.0, card.levels.1
            )))
        }
        _ => Ok(()),
    }
}

/// Whether the settings mean anything.
fn sound(settings: &EncodeSettings) -> Result<(), EncodeError> {
    let wrong = |what: String| Err(EncodeError::Config(what));
    match settings {
        EncodeSettings { frame_rate: (0, _) | (_, 0), .. } => {
            wrong(format!("a frame rate of {:?}", settings.frame_rate))
        }
        EncodeSettings { maxrate_bps: 0, .. } | EncodeSettings { buffer_bits: 0, .. } => {
            wrong("a rate or buffer of 0 bits".to_owned())
        }
        EncodeSettings { initial_fill_bits, buffer_bits, .. } if initial_fill_bits > buffer_bits => {
            wrong(format!("{initial_fill_bits} bits in a buffer of {buffer_bits}"))
        }
        EncodeSettings { crf, .. } if !crf.is_finite() => wrong(format!("a rate factor of {crf}")),
        EncodeSettings { parameter_set: 16.., .. } => wrong(format!("parameter set {} of 16", settings.parameter_set)),
        _ => Ok(()),
    }
}

fn preset(number: u8) -> Result<GUID, EncodeError> {
    Ok(match number {
        1 => NV_ENC_PRESET_P1_GUID,
        2 => NV_ENC_PRESET_P2_GUID,
        3 => NV_ENC_PRESET_P3_GUID,
        4 => NV_ENC_PRESET_P4_GUID,
        5 => NV_ENC_PRESET_P5_GUID,
        6 => NV_ENC_PRESET_P6_GUID,
        7 => NV_ENC_PRESET_P7_GUID,
        _ => return Err(EncodeError::Config(format!("there is no preset P{number}"))),
    })
}

#[cfg(test)]
mod tests;
