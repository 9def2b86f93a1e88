//! `NvEncInitializeEncoder` and `NvEncReconfigureEncoder`. A card refuses little; what a careful client must not ask for is
//! written down here although it is taken.
#![allow(unsafe_code, reason = "reads and writes through the client's pointers")]

use std::collections::{HashSet, VecDeque};
use std::mem::offset_of as at;
use std::sync::atomic::Ordering;

use card::{Codec, Encodes, violation};
use nvidia_video_codec_sdk::sys::nvEncodeAPI::*;

use crate::caps::{self, PRESETS};
use crate::encode::{Waiting, drain};
use crate::engine::Engine;
use crate::given::Given;
use crate::order::{Order, Turn};
use crate::presets;
use crate::session::{Session, State};
use crate::settings::Settings;
use crate::status::*;
use crate::versions::{CONFIG, INITIALIZE, RECONFIGURE};

/// What was initialised.
pub struct Encoder {
    /// How to encode.
    pub settings: Settings,
    /// Largest size that may be reconfigured to.
    pub largest: (u32, u32),
    /// When pictures have their turn.
    pub order: Order,
    /// The encoder inside; `None` between streams.
    pub engine: Option<Engine>,
    /// Parameter sets.
    pub headers: Vec<u8>,
    /// Pictures that were submitted and are not inside yet.
    pub waiting: VecDeque<Waiting>,
    /// Those among them whose turn it is.
    pub due: Vec<Turn>,
    /// Pictures that parameter sets come with.
    pub with_headers: HashSet<u64>,
    /// No picture was coded yet.
    pub first: bool,
}

impl Encoder {
    fn new(settings: Settings, largest: (u32, u32)) -> Answer<Self> {
        let engine = Engine::open(&settings).map_err(|error| Refusal::saying(GENERIC, error))?;
        let headers = engine.headers().to_vec();
        let group = if card::faults().encode_burst { settings.interval } else { 1 };
        // What the encoder inside keeps back counts as looked ahead.
        let reorders = engine.reorders();
        let order = Order::new(settings.period, group, reorders, settings.ahead.saturating_sub(engine.delay()));
        Ok(Self {
            settings,
            largest,
            order,
            engine: Some(engine),
            headers,
            waiting: VecDeque::new(),
            due: Vec::new(),
            with_headers: HashSet::new(),
            first: true,
        })
    }
}

/// `NvEncInitializeEncoder`.
///
/// # Safety
/// Pointers are null or valid for what they point to, those inside the struct too.
pub unsafe fn initialize(session: &Session, given: *mut NV_ENC_INITIALIZE_PARAMS) -> Answer {
    const FUNCTION: &str = "NvEncInitializeEncoder";
    session.on_its_thread(FUNCTION)?;
    // SAFETY: handed on from the caller.
    let given = unsafe { Given::take(given) }?;
    // SAFETY: handed on from the caller.
    let (settings, largest) = unsafe { asked(FUNCTION, session, &given) }?;
    let mut state = session.state();
    if state.encoder.is_some() {
        violation!(FUNCTION, "a second time; a card takes it");
    }
    state.encoder = Some(Encoder::new(settings, largest)?);
    Ok(())
}

/// `NvEncReconfigureEncoder`. With `resetEncoder` or `forceIDR` the pictures on their way are coded as they were, and the
/// next one starts anew with the new settings. Without, nothing changes here, where a card would change its rate.
///
/// # Safety
/// As [`initialize`].
pub unsafe fn reconfigure(session: &Session, given: *mut NV_ENC_RECONFIGURE_PARAMS) -> Answer {
    const FUNCTION: &str = "NvEncReconfigureEncoder";
    session.on_its_thread(FUNCTION)?;
    // SAFETY: handed on from the caller.
    let outer = unsafe { Given::take(given) }?;
    for mistake in RECONFIGURE.check(&outer, session.api)? {
        violation!(FUNCTION, "{mistake}");
    }
    let inner = at!(NV_ENC_RECONFIGURE_PARAMS, reInitEncodeParams);
    // SAFETY: it lies within the struct above.
    let given = unsafe { Given::take(outer.inner::<NV_ENC_INITIALIZE_PARAMS>(inner)) }?;
    // SAFETY: handed on from the caller.
    let (settings, _) = unsafe { asked(FUNCTION, session, &given) }?;
    let flags = at!(NV_ENC_RECONFIGURE_PARAMS, _bitfield_1);
    let anew = outer.flag(flags, 0) || outer.flag(flags, 1);
    let mut state = session.state();
    let Some(encoder) = &state.encoder else {
        violation!(FUNCTION, "before NvEncInitializeEncoder");
        return Err(DEVICE_NOT_EXIST.into());
    };
    let largest = encoder.largest;
    if settings.width > largest.0 || settings.height > largest.1 {
        violation!(
            FUNCTION,
            "{}x{} is larger than was said at first; a card takes it",
            settings.width,
            settings.height
        );
        return Ok(());
    }
    if !anew && (settings.width, settings.height) != (encoder.settings.width, encoder.settings.height) {
        violation!(FUNCTION, "another size without resetEncoder and forceIDR");
    }
    if anew {
        drain(session, &mut state)?;
        state.encoder = Some(Encoder::new(settings, largest)?);
    }
    Ok(())
}

/// Reads what is asked for, and refuses it as a card does. Gives the settings and the largest size to come.
///
/// # Safety
/// The pointer to the config inside is null or valid.
unsafe fn asked(
    function: &str,
    session: &Session,
    init: &Given<NV_ENC_INITIALIZE_PARAMS>,
) -> Answer<(Settings, (u32, u32))> {
    for mistake in INITIALIZE.check(init, session.api)? {
        violation!(function, "{mistake}");
    }
    let guid = init.guid(at!(NV_ENC_INITIALIZE_PARAMS, encodeGUID));
    let encodes = caps::encodes(session, guid).ok_or_else(|| {
        let known = [Codec::H264, Codec::Hevc, Codec::Av1].map(caps::guid_of).contains(&guid);
        if known { Refusal::saying(INVALID_PARAM, "EncodeAPI Internal Error.") } else { UNSUPPORTED_PARAM.into() }
    })?;
    let at = init.address(at!(NV_ENC_INITIALIZE_PARAMS, encodeConfig)) as *mut NV_ENC_CONFIG;
    // SAFETY: handed on from the caller.
    let config = if at.is_null() { None } else { Some(unsafe { Given::take(at) }?) };
    if let Some(config) = &config {
        for mistake in CONFIG.check(config, session.api)? {
            violation!(function, "{mistake}");
        }
    }
    check_frame(init, encodes)?;
    let preset = preset(init)?;
    let tuning = init.u32(at!(NV_ENC_INITIALIZE_PARAMS, tuningInfo));
    let defaults = presets::defaults(encodes.codec, preset, tuning).ok_or(match tuning {
        0 => "Presets P1-P7 are only supported with valid NV_ENC_INITIALIZE_PARAMS::tuningInfo\n",
        _ => "Invalid Tuning Info",
    });
    let defaults = defaults.map_err(|text| Refusal::saying(INVALID_PARAM, text))?;
    let settings = match &config {
        None => Settings::of_preset(encodes.codec, init, &defaults),
        Some(config) => {
            check_config(config, tuning)?;
            note_what_is_taken_silently(function, config, encodes);
            Settings::of_config(encodes.codec, init, config, &defaults)
        }
    };
    if card::faults().encode_plain && (settings.interval > 1 || settings.ahead > 0) {
        return Err(Refusal::saying(UNSUPPORTED_PARAM, "B-frames and look-ahead are not done here."));
    }
    note_odd_settings(function, init, &settings, encodes);
    let most = |offset, at_least| init.u32(offset).max(at_least);
    let largest = (
        most(at!(NV_ENC_INITIALIZE_PARAMS, maxEncodeWidth), settings.width),
        most(at!(NV_ENC_INITIALIZE_PARAMS, maxEncodeHeight), settings.height),
    );
    if settings.width % 2 == 1 || settings.height % 2 == 1 {
        violation!(function, "{}x{}: a card takes odd sizes, this one does not", settings.width, settings.height);
        return Err(UNSUPPORTED_PARAM.into());
    }
    Ok((settings, largest))
}

fn preset(init: &Given<NV_ENC_INITIALIZE_PARAMS>) -> Answer<usize> {
    let guid = init.guid(at!(NV_ENC_INITIALIZE_PARAMS, presetGUID));
    PRESETS.iter().position(|preset| *preset == guid).ok_or_else(|| {
        Refusal::saying(INVALID_PARAM, "NV_ENC_RC_PARAMS::lowDelayKeyFrameScale is supported with P1-P7 presets\n")
    })
}

fn check_frame(init: &Given<NV_ENC_INITIALIZE_PARAMS>, encodes: &Encodes) -> Answer {
    let refused = |text: &str| Err(Refusal::saying(INVALID_PARAM, text));
    let field = |offset| i64::from(init.u32(offset));
    let cap = |cap: NV_ENC_CAPS| i64::from(encodes.caps[cap as usize]);
    let width = field(at!(NV_ENC_INITIALIZE_PARAMS, encodeWidth));
    let height = field(at!(NV_ENC_INITIALIZE_PARAMS, encodeHeight));
    let h264 = encodes.codec == Codec::H264;
    if width < cap(NV_ENC_CAPS::NV_ENC_CAPS_WIDTH_MIN) || height < cap(NV_ENC_CAPS::NV_ENC_CAPS_HEIGHT_MIN) {
        return refused(if h264 {
            "Frame Dimension less than the minimum supported value."
        } else {
            "Frame dimensions are less than the minimum supported value."
        });
    }
    let too_wide = width > cap(NV_ENC_CAPS::NV_ENC_CAPS_WIDTH_MAX);
    if too_wide || height > cap(NV_ENC_CAPS::NV_ENC_CAPS_HEIGHT_MAX) {
        return refused(match (h264, too_wide) {
            (true, _) => "Frame Dimension greater than the maximum supported value.",
            (false, true) => "Width greater than supported value.",
            (false, false) => "Height greater than supported value.",
        });
    }
    let most = |offset, size| field(offset) != 0 && field(offset) < size;
    if most(at!(NV_ENC_INITIALIZE_PARAMS, maxEncodeWidth), width)
        || most(at!(NV_ENC_INITIALIZE_PARAMS, maxEncodeHeight), height)
    {
        return refused("Encode Width / Height is greater than MaxWidth / MaxHeight.");
    }
    if field(at!(NV_ENC_INITIALIZE_PARAMS, enableEncodeAsync)) != 0 {
        return refused("Async mode not supported.");
    }
    Ok(())
}

fn check_config(config: &Given<NV_ENC_CONFIG>, tuning: u32) -> Answer {
    let gop = config.u32(at!(NV_ENC_CONFIG, gopLength));
    let interval = config.i32(at!(NV_ENC_CONFIG, frameIntervalP)).max(0) as u32;
    if gop != 0 && gop < interval {
        return Err(Refusal::saying(INVALID_PARAM, "Gop Length should be greater than number of B frames + 1"));
    }
    let rate_control = config.u32(at!(NV_ENC_CONFIG, rcParams) + at!(NV_ENC_RC_PARAMS, rateControlMode));
    if tuning == NV_ENC_TUNING_INFO::NV_ENC_TUNING_INFO_LOSSLESS as u32 && rate_control != 0 {
        let text = "With lossless preset, RC Mode / Profile not supported with qpPrimeYZeroTransformBypassFlag.";
        return Err(Refusal::saying(INVALID_PARAM, text));
    }
    Ok(())
}

/// What a card takes and does otherwise than was asked.
fn note_what_is_taken_silently(function: &str, config: &Given<NV_ENC_CONFIG>, encodes: &Encodes) {
    let cap = |cap: NV_ENC_CAPS| encodes.caps[cap as usize];
    let profile = config.guid(at!(NV_ENC_CONFIG, profileGUID));
    if !caps::profiles(encodes.codec).contains(&profile) {
        violation!(function, "profile {profile:x?} is none of {:?}; a card takes it", encodes.codec);
    }
    let rate = at!(NV_ENC_CONFIG, rcParams);
    let mode = config.u32(rate + at!(NV_ENC_RC_PARAMS, rateControlMode));
    if mode > 2 {
        violation!(function, "rate control mode {mode} is none; a card takes it");
    }
    let between = config.i32(at!(NV_ENC_CONFIG, frameIntervalP)) - 1;
    if between > cap(NV_ENC_CAPS::NV_ENC_CAPS_NUM_MAX_BFRAMES) {
        violation!(function, "{between} B-frames are more than the card has; a card takes it");
    }
    let flags = rate + at!(NV_ENC_RC_PARAMS, _bitfield_1);
    if config.flag(flags, 5) && cap(NV_ENC_CAPS::NV_ENC_CAPS_SUPPORT_LOOKAHEAD) == 0 {
        violation!(function, "look-ahead on a card without");
    }
    if config.flag(flags, 8) && cap(NV_ENC_CAPS::NV_ENC_CAPS_SUPPORT_TEMPORAL_AQ) == 0 {
        violation!(function, "temporal AQ on a card without");
    }
}

fn note_odd_settings(function: &str, init: &Given<NV_ENC_INITIALIZE_PARAMS>, settings: &Settings, encodes: &Encodes) {
    if settings.frame_rate.0 == 0 || settings.frame_rate.1 == 0 {
        violation!(function, "a frame rate of {}/{}; a card takes it", settings.frame_rate.0, settings.frame_rate.1);
    }
    if init.u32(at!(NV_ENC_INITIALIZE_PARAMS, enablePTD)) != 1 {
        violation!(function, "enablePTD is off: a client that decides on picture types is not played");
    }
    if settings.deep && encodes.caps[NV_ENC_CAPS::NV_ENC_CAPS_SUPPORT_10BIT_ENCODE as usize] == 0 {
        violation!(function, "10 bits on a card without");
    }
}

/// The encoder, if there is one yet; it is the client's mistake if not, unless initialising was refused.
pub fn initialized<'a>(function: &str, session: &Session, state: &'a State) -> Answer<&'a Encoder> {
    state.encoder.as_ref().ok_or_else(|| {
        if !session.broken.load(Ordering::Relaxed) {
            violation!(function, "before NvEncInitializeEncoder");
        }
        DEVICE_NOT_EXIST.into()
    })
}
