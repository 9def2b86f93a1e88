use nvidia_video_codec_sdk::sys::nvEncodeAPI::NV_ENC_RC_PARAMS;

use super::super::caps::tests::H264;
use super::super::settings::tests::settings;
use super::*;

fn card(codec: Codec) -> CodecCapabilities {
    CodecCapabilities { codec, ten_bit: codec != Codec::H264, levels: (0, 186), ..H264 }
}

fn config(settings: &EncodeSettings) -> Raw<NV_ENC_CONFIG> {
    let preset = versioned::<NV_ENC_PRESET_CONFIG>();
    Plan::new(settings, &card(settings.codec)).unwrap().config(&preset)
}

/// A word of bits as the bindings' own accessors leave it.
macro_rules! accessed {
    ($structure:ty, $($set:ident = $value:expr),+) => {{
        // SAFETY: zero is a value of each of the structure's enumerations.
        let mut typed: $structure = unsafe { std::mem::zeroed() };
        $(typed.$set($value);)+
        let word: [u32; 1] = [typed._bitfield_1.get(0, 32) as u32];
        word[0]
    }};
}

#[test]
#[expect(unsafe_code, reason = "the bindings' structures as values, to compare with")]
fn bits_lie_where_the_bindings_have_them() {
    let rate = config(&settings(Codec::H264)).get::<u32, _>(config!(rcParams._bitfield_1));
    let wanted = accessed!(
        NV_ENC_RC_PARAMS,
        set_enableAQ = 1,
        set_enableTemporalAQ = 1,
        set_enableLookahead = 1,
        set_disableIadapt = 1
    );
    assert_eq!(rate, wanted);

    let h264 = config!(encodeCodecConfig).then(field!(NV_ENC_CONFIG_H264, _bitfield_1));
    assert_eq!(config(&settings(Codec::H264)).get::<u32, _>(h264), accessed!(NV_ENC_CONFIG_H264, set_enableVFR = 1));

    let ten = EncodeSettings { format: Format::P016, ..settings(Codec::Hevc) };
    let hevc = config!(encodeCodecConfig).then(field!(NV_ENC_CONFIG_HEVC, _bitfield_1));
    let wanted = accessed!(NV_ENC_CONFIG_HEVC, set_chromaFormatIDC = 1, set_pixelBitDepthMinus8 = 2);
    assert_eq!(config(&ten).get::<u32, _>(hevc), wanted);

    let ten = EncodeSettings { format: Format::P016, ..settings(Codec::Av1) };
    let av1 = config!(encodeCodecConfig).then(field!(NV_ENC_CONFIG_AV1, _bitfield_1));
    let wanted = accessed!(
        NV_ENC_CONFIG_AV1,
        set_repeatSeqHdr = 1,
        set_chromaFormatIDC = 1,
        set_inputPixelBitDepthMinus8 = 2,
        set_pixelBitDepthMinus8 = 2
    );
    assert_eq!(config(&ten).get::<u32, _>(av1), wanted);

    let settings = settings(Codec::Hevc);
    let plan = Plan::new(&settings, &card(Codec::Hevc)).unwrap();
    let parameters = plan.initialize(&mut config(&settings));
    let wanted = accessed!(NV_ENC_INITIALIZE_PARAMS, set_splitEncodeMode = 15);
    assert_eq!(parameters.get::<u32, _>(field!(NV_ENC_INITIALIZE_PARAMS, _bitfield_1)), wanted);
}

#[test]
#[expect(unsafe_code, reason = "the bindings' structures as values, to compare with")]
fn headers_are_repeated_in_av1_alone_whatever_the_preset() {
    for codec in [Codec::H264, Codec::Hevc, Codec::Av1] {
        let within = config!(encodeCodecConfig);
        let (place, repeats) = match codec {
            Codec::H264 => {
                let place = within.then(field!(NV_ENC_CONFIG_H264, _bitfield_1));
                (place, accessed!(NV_ENC_CONFIG_H264, set_repeatSPSPPS = 1))
            }
            Codec::Hevc => {
                let place = within.then(field!(NV_ENC_CONFIG_HEVC, _bitfield_1));
                (place, accessed!(NV_ENC_CONFIG_HEVC, set_repeatSPSPPS = 1))
            }
            _ => {
                let place = within.then(field!(NV_ENC_CONFIG_AV1, _bitfield_1));
                (place, accessed!(NV_ENC_CONFIG_AV1, set_repeatSeqHdr = 1))
            }
        };
        let mut preset = versioned::<NV_ENC_PRESET_CONFIG>();
        for before in [0, u32::MAX] {
            preset.set(field!(NV_ENC_PRESET_CONFIG, presetCfg).then(place), before);
            let made = Plan::new(&settings(codec), &card(codec)).unwrap().config(&preset);
            assert_eq!(made.get::<u32, _>(place) & repeats != 0, codec == Codec::Av1, "{codec}");
        }
    }
}

#[test]
fn quality_is_constant_under_a_cap_as_in_the_software_recipe() {
    let config = config(&settings(Codec::H264));
    let of = |field| config.get::<u32, 4>(field);
    assert_eq!(of(config!(rcParams.rateControlMode)), 1);
    assert_eq!(of(config!(rcParams.averageBitRate)), 0);
    assert_eq!(of(config!(rcParams.maxBitRate)), 2_800_000);
    assert_eq!(of(config!(rcParams.vbvBufferSize)), 5_600_000);
    assert_eq!(of(config!(rcParams.vbvInitialDelay)), 5_040_000);
    assert_eq!(config.get::<u8, _>(config!(rcParams.targetQuality)), 23);
    assert_eq!(config.get::<u8, _>(config!(rcParams.targetQualityLSB)), 128);
}

#[test]
fn everything_that_reaches_the_headers_is_said() {
    let h264 = config(&settings(Codec::H264));
    let of = |field| h264.get::<u32, 4>(config!(encodeCodecConfig).then::<NV_ENC_CONFIG_H264, 4>(field));
    assert_eq!(h264.get::<GUID, _>(config!(profileGUID)), NV_ENC_H264_PROFILE_HIGH_GUID);
    assert_eq!((of(field!(NV_ENC_CONFIG_H264, level)), of(field!(NV_ENC_CONFIG_H264, maxNumRefFrames))), (31, 4));
    assert_eq!((of(field!(NV_ENC_CONFIG_H264, spsId)), of(field!(NV_ENC_CONFIG_H264, ppsId))), (3, 3));
    assert_eq!(of(field!(NV_ENC_CONFIG_H264, h264VUIParameters.colourPrimaries)), 9);
    assert_eq!(of(field!(NV_ENC_CONFIG_H264, h264VUIParameters.transferCharacteristics)), 16);

    let hevc = config(&EncodeSettings { level: Some(120), format: Format::P016, ..settings(Codec::Hevc) });
    let of = |field| hevc.get::<u32, 4>(config!(encodeCodecConfig).then::<NV_ENC_CONFIG_HEVC, 4>(field));
    assert_eq!(hevc.get::<GUID, _>(config!(profileGUID)), NV_ENC_HEVC_PROFILE_MAIN10_GUID);
    assert_eq!(of(field!(NV_ENC_CONFIG_HEVC, level)), 120);
    assert_eq!(of(field!(NV_ENC_CONFIG_HEVC, vpsId)), 3);
    assert_eq!(of(field!(NV_ENC_CONFIG_HEVC, hevcVUIParameters.colourMatrix)), 9);

    let av1 = config(&EncodeSettings { level: Some(200), ..settings(Codec::Av1) });
    let of = |field| av1.get::<u32, 4>(config!(encodeCodecConfig).then::<NV_ENC_CONFIG_AV1, 4>(field));
    assert_eq!(of(field!(NV_ENC_CONFIG_AV1, level)), AV1_ANY_LEVEL);
    assert_eq!(of(field!(NV_ENC_CONFIG_AV1, colorPrimaries)), 9);
}

#[test]
fn tools_are_those_that_the_card_has_and_the_depth_is_theirs() {
    let of = |change: fn(&mut CodecCapabilities), plain| {
        let mut card = card(Codec::H264);
        change(&mut card);
        Plan::new(&EncodeSettings { plain, ..settings(Codec::H264) }, &card).unwrap()
    };
    let full = of(|_| (), false);
    assert_eq!((full.b_frames, full.lookahead, full.middle_reference, full.depth()), (3, 16, true, 25));
    let blind = of(|card| card.lookahead = false, false);
    assert_eq!((blind.lookahead, blind.depth()), (0, 16));
    let turing = of(|card| card.b_frames = 0, false);
    assert_eq!((turing.b_frames, turing.middle_reference, turing.depth()), (0, false, 22));
    let plain = of(|_| (), true);
    assert_eq!((plain.b_frames, plain.lookahead, plain.temporal_aq, plain.depth()), (0, 0, false, 4));
}

#[test]
fn what_the_card_can_not_is_told_from_what_nobody_can() {
    let refused = |change: fn(&mut EncodeSettings)| {
        let mut settings = settings(Codec::H264);
        change(&mut settings);
        Plan::new(&settings, &H264).unwrap_err()
    };
    assert!(matches!(refused(|settings| settings.width = 144), EncodeError::Unsupported(_)));
    assert!(matches!(refused(|settings| settings.format = Format::P016), EncodeError::Unsupported(_)));
    let deep = EncodeSettings { format: Format::P016, ..settings(Codec::H264) };
    let newer = CodecCapabilities { ten_bit: true, ..H264 };
    assert!(matches!(Plan::new(&deep, &newer), Err(EncodeError::Unsupported(text)) if text.contains("H.264")));
    assert!(matches!(refused(|settings| settings.level = Some(63)), EncodeError::Unsupported(_)));
    assert!(matches!(refused(|settings| settings.frame_rate = (30, 0)), EncodeError::Config(_)));
    assert!(matches!(refused(|settings| settings.crf = f32::NAN), EncodeError::Config(_)));
    assert!(matches!(refused(|settings| settings.initial_fill_bits = u32::MAX), EncodeError::Config(_)));
    assert!(matches!(refused(|settings| settings.parameter_set = 16), EncodeError::Config(_)));
    assert!(matches!(refused(|settings| settings.preset = 8), EncodeError::Config(_)));
}
