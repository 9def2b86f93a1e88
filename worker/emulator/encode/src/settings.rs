//! How to encode, taken out of the client's structs.

use std::mem::offset_of as at;

use card::Codec;
use nvidia_video_codec_sdk::sys::nvEncodeAPI::*;

use crate::given::Given;
use crate::presets::Defaults;

/// What the encoder inside is set to.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Which codec.
    pub codec: Codec,
    /// Pixels of a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Pictures in a second, as a fraction.
    pub frame_rate: (u32, u32),
    /// Display aspect ratio; zeros are none.
    pub display_aspect: (u32, u32),
    /// Pictures from one IDR to the next; `None`: only where forced.
    pub period: Option<u32>,
    /// Pictures from one P to the next; 1: no B.
    pub interval: u32,
    /// Depth of look-ahead in pictures.
    pub ahead: usize,
    /// Rate control.
    pub rate: Rate,
    /// The profile's name in the encoders inside, if one was asked for.
    pub profile: Option<&'static str>,
    /// NVIDIA's number of the level; 0 is the encoder's choice.
    pub level: u32,
    /// Reference pictures; 0 is the encoder's choice.
    pub references: u32,
    /// Id of the sequence parameter set (H.264).
    pub sps_id: u32,
    /// B-frames are references.
    pub b_references: bool,
    /// CAVLC in place of CABAC (H.264).
    pub cavlc: bool,
    /// 10 bits.
    pub deep: bool,
    /// Access unit delimiters.
    pub delimiters: bool,
    /// Parameter sets before every IDR.
    pub repeat_headers: bool,
    /// No parameter sets in the stream at all.
    pub no_headers: bool,
    /// Primaries, transfer characteristics, matrix by their numbers in ISO/IEC 23091-2; full range.
    pub colour: Option<([u32; 3], bool)>,
}

/// Rate control, bits per second and bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// One quantiser for P pictures.
    Constant(u32),
    /// Constant quality in 1/256, under a ceiling if it is not 0.
    Quality(u32, Ceiling),
    /// An average.
    Average(u32, Ceiling),
}

/// A limit of the rate; 0 is none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ceiling {
    /// Bits per second.
    pub rate: u32,
    /// Bits of the buffer.
    pub buffer: u32,
}

type Init = NV_ENC_INITIALIZE_PARAMS;
type Config = NV_ENC_CONFIG;
type Rc = NV_ENC_RC_PARAMS;
type H264 = NV_ENC_CONFIG_H264;
type Hevc = NV_ENC_CONFIG_HEVC;
type Av1 = NV_ENC_CONFIG_AV1;
type Vui = NV_ENC_CONFIG_H264_VUI_PARAMETERS;

/// How the bits of a sample are said.
pub enum DepthFields {
    /// Until API 12.1: three bits, less 8.
    Bits,
    /// Since: `outputBitDepth`, then `inputBitDepth`, in words that were reserved.
    Words,
}

impl DepthFields {
    /// As it is in a config of this version.
    pub fn of(version: u32) -> Self {
        if version >> 16 & 0xff < 9 { Self::Bits } else { Self::Words }
    }
}

/// `outputBitDepth` of HEVC, since there is one.
pub const HEVC_OUTPUT_DEPTH: usize = at!(Hevc, reserved1) + 8;
/// `outputBitDepth` of AV1, since there is one.
pub const AV1_OUTPUT_DEPTH: usize = at!(Av1, reserved1);

/// Where the codec's part of the config begins.
const INNER: usize = at!(Config, encodeCodecConfig);

impl Settings {
    /// Settings of a client that gave no config: the preset's.
    pub fn of_preset(codec: Codec, init: &Given<Init>, defaults: &Defaults) -> Self {
        let [p, _, _] = defaults.quantisers;
        let unlimited = Ceiling { rate: 0, buffer: 0 };
        Self {
            codec,
            width: init.u32(at!(Init, encodeWidth)),
            height: init.u32(at!(Init, encodeHeight)),
            frame_rate: (init.u32(at!(Init, frameRateNum)), init.u32(at!(Init, frameRateDen))),
            display_aspect: (init.u32(at!(Init, darWidth)), init.u32(at!(Init, darHeight))),
            period: (defaults.gop != NVENC_INFINITE_GOPLENGTH).then_some(defaults.gop),
            interval: defaults.interval.max(1) as u32,
            ahead: 0,
            rate: if defaults.rate_control == 0 { Rate::Constant(p) } else { Rate::Quality(23 << 8, unlimited) },
            profile: None,
            level: 0,
            references: 0,
            sps_id: 0,
            b_references: false,
            cavlc: false,
            deep: false,
            delimiters: false,
            repeat_headers: false,
            no_headers: false,
            colour: None,
        }
    }

    /// Settings of a client that gave a config.
    pub fn of_config(codec: Codec, init: &Given<Init>, config: &Given<Config>, defaults: &Defaults) -> Self {
        let interval = config.i32(at!(Config, frameIntervalP));
        let mut settings = Self {
            interval: interval.max(1) as u32,
            rate: rate(config),
            ahead: ahead(config),
            profile: profile(config.guid(at!(Config, profileGUID))),
            ..Self::of_preset(codec, init, defaults)
        };
        let idr_period = match codec {
            Codec::H264 => settings.read_h264(config),
            Codec::Hevc => settings.read_hevc(config),
            _ => settings.read_av1(config),
        };
        let gop = config.u32(at!(Config, gopLength));
        settings.period = match (interval, idr_period, gop) {
            (..=0, _, _) => Some(1),
            (_, 0, 0 | NVENC_INFINITE_GOPLENGTH) | (_, NVENC_INFINITE_GOPLENGTH, _) => None,
            (_, 0, period) | (_, period, _) => Some(period),
        };
        settings
    }

    /// Gives the IDR period, as its brothers do.
    fn read_h264(&mut self, config: &Given<Config>) -> u32 {
        let flags = INNER + at!(H264, _bitfield_1);
        self.delimiters = config.flag(flags, 6);
        self.no_headers = config.flag(flags, 7);
        self.repeat_headers = config.flag(flags, 12);
        self.level = config.u32(INNER + at!(H264, level));
        self.references = config.u32(INNER + at!(H264, maxNumRefFrames));
        self.sps_id = config.u32(INNER + at!(H264, spsId));
        self.b_references = config.u32(INNER + at!(H264, useBFramesAsRef)) != 0;
        self.cavlc = config.u32(INNER + at!(H264, entropyCodingMode)) == 2;
        self.colour = colour(config, INNER + at!(H264, h264VUIParameters));
        config.u32(INNER + at!(H264, idrPeriod))
    }

    fn read_hevc(&mut self, config: &Given<Config>) -> u32 {
        let flags = INNER + at!(Hevc, _bitfield_1);
        self.delimiters = config.flag(flags, 4);
        self.no_headers = config.flag(flags, 6);
        self.repeat_headers = config.flag(flags, 7);
        self.level = config.u32(INNER + at!(Hevc, level));
        self.references = config.u32(INNER + at!(Hevc, maxNumRefFramesInDPB));
        self.b_references = config.u32(INNER + at!(Hevc, useBFramesAsRef)) != 0;
        let depth = match DepthFields::of(config.u32(0)) {
            DepthFields::Bits => 8 + (config.u32(flags) >> 11 & 7),
            DepthFields::Words => config.u32(INNER + HEVC_OUTPUT_DEPTH),
        };
        self.deep = depth == 10 || self.profile == Some("main10");
        self.colour = colour(config, INNER + at!(Hevc, hevcVUIParameters));
        config.u32(INNER + at!(Hevc, idrPeriod))
    }

    fn read_av1(&mut self, config: &Given<Config>) -> u32 {
        let flags = INNER + at!(Av1, _bitfield_1);
        self.no_headers = config.flag(flags, 4);
        self.repeat_headers = config.flag(flags, 5);
        self.level = config.u32(INNER + at!(Av1, level));
        self.deep = match DepthFields::of(config.u32(0)) {
            DepthFields::Bits => config.u32(flags) >> 15 & 7 == 2,
            DepthFields::Words => config.u32(INNER + AV1_OUTPUT_DEPTH) == 10,
        };
        let colours = INNER + at!(Av1, colorPrimaries);
        let numbers = [config.u32(colours), config.u32(colours + 4), config.u32(colours + 8)];
        self.colour = Some((numbers, config.u32(INNER + at!(Av1, colorRange)) == 1));
        config.u32(INNER + at!(Av1, idrPeriod))
    }

    /// Frames in a second as a fraction that an encoder can work with.
    pub fn usable_frame_rate(&self) -> (i32, i32) {
        match self.frame_rate {
            (0, _) | (_, 0) => (25, 1),
            (numerator, denominator) => (numerator as i32, denominator as i32),
        }
    }
}

fn rate(config: &Given<Config>) -> Rate {
    let rc = at!(Config, rcParams);
    let average = config.u32(rc + at!(Rc, averageBitRate));
    let ceiling =
        Ceiling { rate: config.u32(rc + at!(Rc, maxBitRate)), buffer: config.u32(rc + at!(Rc, vbvBufferSize)) };
    let quality =
        u32::from(config.u8(rc + at!(Rc, targetQuality))) << 8 | u32::from(config.u8(rc + at!(Rc, targetQualityLSB)));
    match config.u32(rc + at!(Rc, rateControlMode)) {
        0 => Rate::Constant(config.u32(rc + at!(Rc, constQP))),
        2 => Rate::Average(average, Ceiling { rate: average, ..ceiling }),
        _ if quality > 0 => Rate::Quality(quality, ceiling),
        _ if average == 0 => Rate::Quality(23 << 8, ceiling),
        _ => Rate::Average(average, ceiling),
    }
}

fn ahead(config: &Given<Config>) -> usize {
    let rc = at!(Config, rcParams);
    let enabled = config.flag(rc + at!(Rc, _bitfield_1), 5);
    if enabled { usize::from(config.u16(rc + at!(Rc, lookaheadDepth))) } else { 0 }
}

fn profile(guid: GUID) -> Option<&'static str> {
    match guid {
        NV_ENC_H264_PROFILE_BASELINE_GUID => Some("baseline"),
        NV_ENC_H264_PROFILE_MAIN_GUID | NV_ENC_HEVC_PROFILE_MAIN_GUID => Some("main"),
        NV_ENC_H264_PROFILE_HIGH_GUID => Some("high"),
        NV_ENC_HEVC_PROFILE_MAIN10_GUID => Some("main10"),
        _ => None,
    }
}

fn colour(config: &Given<Config>, vui: usize) -> Option<([u32; 3], bool)> {
    let signalled = config.u32(vui + at!(Vui, videoSignalTypePresentFlag)) == 1;
    let described = config.u32(vui + at!(Vui, colourDescriptionPresentFlag)) == 1;
    let full = config.u32(vui + at!(Vui, videoFullRangeFlag)) == 1;
    let number = |field| if described { config.u32(vui + field) } else { 2 };
    let numbers =
        [number(at!(Vui, colourPrimaries)), number(at!(Vui, transferCharacteristics)), number(at!(Vui, colourMatrix))];
    signalled.then_some((numbers, full))
}
