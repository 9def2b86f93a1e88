//! The driver's parser, and what it calls: it tells a stream's sequences and pictures, in coding and in showing order.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

use nvidia_video_codec_sdk::sys::cuviddec::CUVIDPICPARAMS;
use nvidia_video_codec_sdk::sys::nvcuvid::{
    CUVIDEOFORMAT, CUVIDPARSERDISPINFO, CUVIDPARSERPARAMS, CUVIDSOURCEDATAPACKET,
};

use super::api::{Cuvid, Handle};
use super::caps::number;
use super::engine::Engine;
use super::error::DecodeError;
use super::sequence::{Sequence, begins_anew};
use crate::codec::Codec;
use crate::device::Device;
use crate::raw::{Raw, field};
use crate::surface::Surface;

/// Ticks per second that the parser is told. Times go through it as they are.
const CLOCK: u32 = 10_000_000;
/// Pictures that are shown this much later than they could be, so that the engine has been through with them.
const DELAY: u32 = 4;
/// Decode also what the parser finds damaged: a picture that is left out would be missed by nobody.
const ALL_PICTURES: u32 = 100;
/// `CUVID_PKT_ENDOFSTREAM`.
const END: u64 = 1;
/// `CUVID_PKT_TIMESTAMP`.
const TIMED: u64 = 2;

/// A decoded picture.
#[derive(Debug, Clone)]
pub struct Picture {
    /// The picture, being written by what was asked of the device.
    pub surface: Surface,
    /// As its packet was pushed with.
    pub pts: i64,
    /// Not of two fields.
    pub progressive: bool,
}

/// One stream's decoder.
#[derive(Debug)]
pub struct Decoder {
    parser: Handle,
    /// Ours; the parser's calls have it while it parses.
    state: NonNull<State>,
    ended: bool,
}

// SAFETY: parser and state are only used through this, one thread at a time, with the context bound.
unsafe impl Send for Decoder {}

#[derive(Debug)]
struct State {
    device: Device,
    cuvid: Cuvid,
    codec: Codec,
    engine: Option<Engine>,
    shown: VecDeque<Picture>,
    errors: u64,
    /// The packet that is being parsed begins with a picture that needs no other.
    key: bool,
    /// Why the parser was told to stop.
    failed: Option<DecodeError>,
}

impl Decoder {
    /// A decoder that has seen nothing yet; what the card can't shows when the stream says what it is.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn open(device: &Device, cuvid: &Cuvid, codec: Codec) -> Result<Self, DecodeError> {
        device.bind()?;
        let state = State {
            device: device.clone(),
            cuvid: *cuvid,
            codec,
            engine: None,
            shown: VecDeque::new(),
            errors: 0,
            key: false,
            failed: None,
        };
        let state = NonNull::from(Box::leak(Box::new(state)));
        // From here on dropping it frees the state.
        let mut decoder = Self { parser: std::ptr::null_mut(), state, ended: false };
        let mut parameters = parser_parameters(codec, state);
        // SAFETY: the structure is whole, its functions are of the header's signatures, and the state outlives the parser.
        let status = unsafe { (cuvid.create_parser)(&raw mut decoder.parser, parameters.pointer()) };
        DecodeError::check("cuvidCreateVideoParser", status)?;
        Ok(decoder)
    }

    /// Takes a packet: one picture's Annex B bytes (parameter sets before the first), a VP9 frame or an AV1 temporal unit;
    /// nothing at the end, after which nothing may come. Afterwards there may be pictures.
    ///
    /// # Errors
    /// See [`DecodeError`]. After one, this decoder is of no more use.
    pub fn push(&mut self, packet: Option<&[u8]>, pts: i64) -> Result<(), DecodeError> {
        if self.ended {
            return Err(DecodeError::Config("a packet after the last".to_owned()));
        }
        let (device, cuvid, codec) = {
            let state = self.state();
            (state.device.clone(), state.cuvid, state.codec)
        };
        device.bind()?;
        self.state_mut().key = packet.is_some_and(|packet| begins_anew(codec, packet));
        let mut words = Raw::<CUVIDSOURCEDATAPACKET>::zeroed();
        match packet {
            Some(data) => {
                words.set(field!(CUVIDSOURCEDATAPACKET, flags), TIMED);
                words.set(field!(CUVIDSOURCEDATAPACKET, payload_size), data.len() as u64);
                words.set(field!(CUVIDSOURCEDATAPACKET, payload), data.as_ptr().cast_mut());
                words.set(field!(CUVIDSOURCEDATAPACKET, timestamp), pts as u64);
            }
            None => {
                self.ended = true;
                words.set(field!(CUVIDSOURCEDATAPACKET, flags), END);
            }
        }
        // SAFETY: the parser is alive, the packet stays until it returns, and nothing here borrows the state meanwhile.
        let status = unsafe { (cuvid.parse)(self.parser, words.pointer()) };
        if let Some(error) = self.state_mut().failed.take() {
            self.ended = true;
            return Err(error);
        }
        match DecodeError::check("cuvidParseVideoData", status) {
            // The parser's own words for what it can't read; CUDA's are of the device.
            Err(DecodeError::Config(text) | DecodeError::Unsupported(text)) => Err(DecodeError::Stream(text)),
            other => other,
        }
    }

    /// The next picture in showing order, if there is one by now.
    pub fn next_picture(&mut self) -> Option<Picture> {
        self.state_mut().shown.pop_front()
    }

    /// How many pictures so far came out with an error, patched up or not, as the card says.
    pub fn errors(&self) -> u64 {
        self.state().errors
    }

    fn state(&self) -> &State {
        // SAFETY: it lives as long as this, and the parser's calls have it only within `push`.
        unsafe { self.state.as_ref() }
    }

    fn state_mut(&mut self) -> &mut State {
        // SAFETY: as above.
        unsafe { self.state.as_mut() }
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        let state = self.state();
        let (device, cuvid) = (state.device.clone(), state.cuvid);
        if let Err(fault) = device.bind() {
            tracing::warn!(%fault, "a parser is dropped without its device");
        }
        if !self.parser.is_null() {
            // SAFETY: the parser is alive, and nobody has it after this.
            let status = unsafe { (cuvid.destroy_parser)(self.parser) };
            if status != 0 {
                tracing::warn!(status, "a parser does not close");
            }
        }
        // SAFETY: it came out of a box, and the parser that had it too is gone.
        drop(unsafe { Box::from_raw(self.state.as_ptr()) });
    }
}

/// What the parser is made with.
fn parser_parameters(codec: Codec, state: NonNull<State>) -> Raw<CUVIDPARSERPARAMS> {
    type Call<T> = unsafe extern "C" fn(*mut c_void, *mut T) -> c_int;
    let mut parameters = Raw::<CUVIDPARSERPARAMS>::zeroed();
    parameters.set(field!(CUVIDPARSERPARAMS, CodecType), number(codec));
    parameters.set(field!(CUVIDPARSERPARAMS, ulMaxNumDecodeSurfaces), 1u32); // `on_sequence` says how many
    parameters.set(field!(CUVIDPARSERPARAMS, ulClockRate), CLOCK);
    parameters.set(field!(CUVIDPARSERPARAMS, ulErrorThreshold), ALL_PICTURES);
    parameters.set(field!(CUVIDPARSERPARAMS, ulMaxDisplayDelay), DELAY);
    parameters.set(field!(CUVIDPARSERPARAMS, pUserData), state.as_ptr().cast::<c_void>());
    let sequence: Call<CUVIDEOFORMAT> = on_sequence;
    let decode: Call<CUVIDPICPARAMS> = on_decode;
    let display: Call<CUVIDPARSERDISPINFO> = on_display;
    parameters.set(field!(CUVIDPARSERPARAMS, pfnSequenceCallback), sequence as *mut c_void);
    parameters.set(field!(CUVIDPARSERPARAMS, pfnDecodePicture), decode as *mut c_void);
    parameters.set(field!(CUVIDPARSERPARAMS, pfnDisplayPicture), display as *mut c_void);
    parameters
}

/// Runs what the parser asks for. It is told to stop (0) by an error, which is kept, and by a panic, which goes no further
/// than this: the caller's frames are the driver's.
///
/// # Safety
/// `user` is the state that the parser was made with, and nobody else uses it.
unsafe fn answer(user: *mut c_void, run: impl FnOnce(&mut State) -> Result<c_int, DecodeError>) -> c_int {
    // SAFETY: the caller keeps the promise.
    let state = unsafe { &mut *user.cast::<State>() };
    if state.failed.is_some() {
        return 0;
    }
    let ran = catch_unwind(AssertUnwindSafe(|| run(state)));
    let error = match ran {
        Ok(Ok(answer)) => return answer,
        Ok(Err(error)) => error,
        Err(_) => DecodeError::Fault("a panic in what the parser calls".to_owned()),
    };
    state.failed = Some(error);
    0
}

/// `PFNVIDSEQUENCECALLBACK`: answers with the number of decode surfaces.
unsafe extern "C" fn on_sequence(user: *mut c_void, words: *mut CUVIDEOFORMAT) -> c_int {
    let run = |state: &mut State| {
        // SAFETY: the parser gives one.
        let words = unsafe { Raw::copied(words) };
        let sequence = Sequence::read(state.codec, &words)?;
        if state.engine.as_ref().is_none_or(|engine| engine.sequence != sequence) {
            if state.engine.is_some() && !state.key && matches!(state.codec, Codec::Vp9 | Codec::Av1) {
                let text = format!("{} of another size whose references have the old one", state.codec);
                return Err(DecodeError::Unsupported(text));
            }
            // All pictures of the sequence before have been shown; its memory goes first.
            state.engine = None;
            state.engine = Some(Engine::create(&state.device, &state.cuvid, sequence)?);
        }
        Ok(c_int::from(sequence.surfaces))
    };
    // SAFETY: the parser passes on what it was made with, within `push`.
    unsafe { answer(user, run) }
}

/// `PFNVIDDECODECALLBACK`.
unsafe extern "C" fn on_decode(user: *mut c_void, parameters: *mut CUVIDPICPARAMS) -> c_int {
    let run = |state: &mut State| {
        let engine = state.engine.as_mut().ok_or_else(|| DecodeError::Stream("a picture of no sequence".to_owned()))?;
        // SAFETY: the parser gives them, for this call.
        unsafe { engine.decode(parameters) }?;
        Ok(1)
    };
    // SAFETY: the parser passes on what it was made with, within `push`.
    unsafe { answer(user, run) }
}

/// `PFNVIDDISPLAYCALLBACK`.
unsafe extern "C" fn on_display(user: *mut c_void, shown: *mut CUVIDPARSERDISPINFO) -> c_int {
    let run = |state: &mut State| {
        if shown.is_null() {
            return Ok(1); // the end of the stream, which nobody asked to be told
        }
        // SAFETY: the parser gives one.
        let shown = unsafe { Raw::copied(shown) };
        let engine = state.engine.as_mut().ok_or_else(|| DecodeError::Stream("a picture of no sequence".to_owned()))?;
        let (surface, well) = engine.show(&shown)?;
        let pts = shown.get::<u64, _>(field!(CUVIDPARSERDISPINFO, timestamp)) as i64;
        let progressive = shown.get::<i32, _>(field!(CUVIDPARSERDISPINFO, progressive_frame)) != 0;
        state.errors += u64::from(!well);
        state.shown.push_back(Picture { surface, pts, progressive });
        Ok(1)
    };
    // SAFETY: the parser passes on what it was made with, within `push`.
    unsafe { answer(user, run) }
}
