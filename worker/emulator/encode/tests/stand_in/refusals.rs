//! What a card refuses is refused with its status and its words, and is no violation: a client may ask.

use std::ptr::null_mut;

use nvidia_video_codec_sdk::sys::nvEncodeAPI::*;

use crate::client::{Asked, Client, blank, call};
use crate::machine::Machine;

/// What is asked for, and the answer of an RTX 3060: status and last error.
type Refusal = (fn(&mut Asked), u32, &'static str);

const SMALL: &str = "Frame Dimension less than the minimum supported value.";
const REFUSALS: &[Refusal] = &[
    (|a| a.init.encodeWidth = 144, 8, SMALL),
    (|a| a.init.encodeHeight = 48, 8, SMALL),
    (|a| a.init.encodeWidth = 4098, 8, "Frame Dimension greater than the maximum supported value."),
    (|a| a.init.maxEncodeWidth = 160, 8, "Encode Width / Height is greater than MaxWidth / MaxHeight."),
    (|a| a.init.enableEncodeAsync = 1, 8, "Async mode not supported."),
    (
        |a| (a.config.gopLength, a.config.frameIntervalP) = (1, 2),
        8,
        "Gop Length should be greater than number of B frames + 1",
    ),
    (|a| a.init.encodeGUID = NV_ENC_CODEC_AV1_GUID, 8, "EncodeAPI Internal Error."),
    (|a| a.init.encodeGUID = NV_ENC_PRESET_P1_GUID, 12, "Success."),
    (|a| a.init.version = 0, 15, "Success."),
    (|a| a.config.version = 0, 15, "Success."),
    (
        |a| a.init.tuningInfo = NV_ENC_TUNING_INFO::NV_ENC_TUNING_INFO_UNDEFINED,
        8,
        "Presets P1-P7 are only supported with valid NV_ENC_INITIALIZE_PARAMS::tuningInfo\n",
    ),
];

#[test]
fn refusals_are_those_of_a_card() {
    let run = Machine::new().child("refusals::refused", "", "rtx3060", "");
    assert!(run.ok && run.ledger.is_empty(), "{run:?}");
}

#[test]
#[ignore = "a child of the test above"]
fn refused() {
    let client = Client::new();
    for (number, (change, status, words)) in REFUSALS.iter().enumerate() {
        let session = client.open();
        let mut asked = client.asked(session, NV_ENC_CODEC_H264_GUID);
        change(&mut asked);
        let answer = call!(client, nvEncInitializeEncoder, session, &mut asked.init);
        assert_eq!((answer, client.last_error(session).as_str()), (*status, *words), "{number}");
        client.destroy(session);
    }
    errors_stay(&client);
    questions(&client);
    client.leave();
}

/// What was said last is said until something else is, however well things go.
fn errors_stay(client: &Client) {
    let session = client.open();
    let mut asked = client.asked(session, NV_ENC_CODEC_H264_GUID);
    asked.init.enableEncodeAsync = 1;
    assert_eq!(call!(client, nvEncInitializeEncoder, session, &mut asked.init), 8);
    asked.init.enableEncodeAsync = 0;
    assert_eq!(call!(client, nvEncInitializeEncoder, session, &mut asked.init), 0);
    assert_eq!(client.last_error(session), "Async mode not supported.");
    client.destroy(session);
}

/// Questions before there is an encoder.
fn questions(client: &Client) {
    let session = client.open();
    let mut count = 77;
    assert_eq!((call!(client, nvEncGetEncodeGUIDCount, session, &mut count), count), (0, 2));
    assert_eq!(call!(client, nvEncGetEncodeGUIDCount, session, null_mut()), 6);
    assert_eq!(call!(client, nvEncGetEncodeGUIDCount, null_mut(), &mut count), 3);
    assert_eq!(call!(client, nvEncGetEncodePresetCount, session, NV_ENC_CODEC_AV1_GUID, &mut count), 8);
    let mut formats = [NV_ENC_BUFFER_FORMAT::NV_ENC_BUFFER_FORMAT_UNDEFINED; 9];
    let codec = NV_ENC_CODEC_HEVC_GUID;
    assert_eq!(call!(client, nvEncGetInputFormats, session, codec, formats.as_mut_ptr(), 9, &mut count), 0);
    assert_eq!((count, formats[3]), (4, NV_ENC_BUFFER_FORMAT::NV_ENC_BUFFER_FORMAT_YUV420_10BIT));
    let mut asked = blank!(NV_ENC_CAPS_PARAM, NV_ENC_CAPS_PARAM_VER);
    asked.capsToQuery = NV_ENC_CAPS::NV_ENC_CAPS_WIDTH_MIN;
    let mut value = 0;
    assert_eq!(call!(client, nvEncGetEncodeCaps, session, codec, &mut asked, &mut value), 0);
    assert_eq!(value, 129);
    let mut preset = blank!(NV_ENC_PRESET_CONFIG, NV_ENC_PRESET_CONFIG_VER);
    preset.presetCfg.version = NV_ENC_CONFIG_VER;
    let none = NV_ENC_TUNING_INFO::NV_ENC_TUNING_INFO_UNDEFINED;
    let config = |preset: &mut NV_ENC_PRESET_CONFIG, guid, tuning| {
        call!(client, nvEncGetEncodePresetConfigEx, session, codec, guid, tuning, preset)
    };
    assert_eq!(config(&mut preset, NV_ENC_PRESET_P4_GUID, none), 12);
    assert_eq!(config(&mut preset, codec, NV_ENC_TUNING_INFO::NV_ENC_TUNING_INFO_HIGH_QUALITY), 12);
    preset.version = 0;
    assert_eq!(config(&mut preset, NV_ENC_PRESET_P4_GUID, none), 15);
    client.destroy(session);
}
