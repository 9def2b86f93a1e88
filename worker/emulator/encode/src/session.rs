//! A session: the card it is on, and everything the client was given in it.
#![allow(unsafe_code, reason = "reads and writes through the client's pointers")]

use std::collections::{HashMap, VecDeque};
use std::ffi::{CString, c_void};
use std::mem::offset_of as at;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use card::{Card, violation};
use nvidia_video_codec_sdk::sys::nvEncodeAPI::NV_ENC_OPEN_ENCODE_SESSION_EX_PARAMS as Open;

use crate::buffers::{Input, Output};
use crate::cuda::cuda;
use crate::given::{Given, answer};
use crate::registry::{self, Kind, explain};
use crate::resources::{Mapped, Registered};
use crate::setup::Encoder;
use crate::status::*;
use crate::versions::{self, OPEN};

/// Sessions of a card without a limit of its own: far more than a test opens on purpose.
const MANY_SESSIONS: u32 = 64;

/// An open session.
pub struct Session {
    /// What the client calls it.
    pub handle: usize,
    /// The CUDA context that it was opened with.
    pub context: usize,
    /// The API number that the client said it speaks.
    pub api: u32,
    /// The card that the context is on.
    pub card: &'static Card,
    /// Something went wrong that was not the client's fault alone: it may tear down what is in flight.
    pub broken: AtomicBool,
    /// Somebody is in `NvEncEncodePicture`.
    pub encoding: AtomicBool,
    /// An output was filled.
    pub filled: Condvar,
    state: Mutex<State>,
    _counted: card::Session,
}

/// What changes.
#[derive(Default)]
pub struct State {
    /// `None` before `NvEncInitializeEncoder`.
    pub encoder: Option<Encoder>,
    /// Buffers made here for pictures.
    pub inputs: HashMap<usize, Input>,
    /// Buffers for packets.
    pub outputs: HashMap<usize, Output>,
    /// Memory of the client's.
    pub registered: HashMap<usize, Registered>,
    /// The same in use.
    pub mapped: HashMap<usize, Mapped>,
    /// Outputs without a packet, in the order of their submission.
    pub empty: VecDeque<usize>,
    /// Inputs whose pictures have no packet that was read, each with its bytes, by the number of the submission.
    pub sources: HashMap<u64, (usize, Vec<u8>)>,
    /// Time stamp and duration of pictures without a packet, by the number of their submission.
    pub times: HashMap<u64, (u64, u64)>,
    /// Pictures submitted so far.
    pub submitted: u64,
    /// Packets made so far.
    pub coded: u32,
    /// The end of the stream was said and nothing came since.
    pub ended: bool,
    /// The stream that pictures are written on.
    pub stream: Option<usize>,
    /// What was said to be wrong, the latest last. Texts stay where they are as long as the session: the client holds
    /// pointers to them.
    errors: Vec<CString>,
}

impl Session {
    /// The state, for this call alone.
    pub fn state(&self) -> MutexGuard<'_, State> {
        registry::lock(&self.state)
    }

    /// What `NvEncGetLastErrorString` gives from now on.
    pub fn say(&self, text: &str) {
        self.state().errors.push(CString::new(text.replace('\0', "")).unwrap_or_default());
    }

    /// The latest of these texts.
    pub fn last_error(&self) -> *const std::ffi::c_char {
        self.state().errors.last().map_or(c"Success.".as_ptr(), |text| text.as_ptr())
    }

    /// Sees whether the session's context is current on this thread, as it must be for calls that touch the card.
    pub fn on_its_thread(&self, function: &str) -> Answer {
        let cuda = cuda().map_err(|error| Refusal::saying(DEVICE_NOT_EXIST, error))?;
        match cuda.current() {
            Ok(context) if context == self.context => Ok(()),
            Ok(context) => {
                violation!(function, "context {context:#x} is current and not the session's {:#x}", self.context);
                Ok(())
            }
            Err(status) => Err(Refusal::saying(DEVICE_NOT_EXIST, format!("cuCtxGetCurrent answers {status}"))),
        }
    }

    /// Complains of a handle that is none of this session's.
    pub fn complain(&self, function: &str, handle: usize, wanted: Kind) {
        if handle != 0 {
            violation!(function, "{}", explain(handle, wanted, self.handle));
        }
    }

    /// Whether the client may tear down what is in flight.
    pub fn may_tear_down(&self, state: &State) -> bool {
        state.ended || self.broken.load(Ordering::Relaxed)
    }
}

/// `NvEncOpenEncodeSessionEx`.
///
/// # Safety
/// Pointers are null or valid for what they point to.
pub unsafe fn open(given: *mut Open, handle: *mut *mut c_void) -> Answer {
    const FUNCTION: &str = "NvEncOpenEncodeSessionEx";
    // SAFETY: handed on from the caller.
    let given = unsafe { Given::take(given) }?;
    if handle.is_null() {
        return Err(INVALID_PTR.into());
    }
    let api = given.u32(at!(Open, apiVersion));
    for mistake in OPEN.check(&given, api)? {
        violation!(FUNCTION, "{mistake}");
    }
    if !versions::is_known(api) {
        violation!(FUNCTION, "apiVersion {api:#x}; a card takes it");
    }
    let context = given.address(at!(Open, device));
    if context == 0 {
        return Err(INVALID_PTR.into());
    }
    match given.u32(at!(Open, deviceType)) {
        1 => {}
        2 => return Err(INVALID_DEVICE.into()),
        _ => return Err(UNSUPPORTED_DEVICE.into()),
    }
    let session = Arc::new(Session::on(context, api)?);
    registry::opened(session.clone());
    // SAFETY: handed on from the caller.
    unsafe { answer(handle, session.handle as *mut c_void) }
}

impl Session {
    fn on(context: usize, api: u32) -> Answer<Self> {
        let cuda = cuda().map_err(|_| UNSUPPORTED_DEVICE)?;
        let device = cuda.within(context, || cuda.device()).map_err(|status| {
            violation!("NvEncOpenEncodeSessionEx", "{context:#x} is no context that lives: libcuda answers {status}");
            INVALID_DEVICE
        })?;
        let card = card::cards().get(device).filter(|card| !card.encodes.is_empty()).ok_or(UNSUPPORTED_DEVICE)?;
        let most = card::faults().sessions.or(card.sessions).unwrap_or(MANY_SESSIONS);
        let counted = card::Session::take(most).ok_or(card::faults().no_session.unwrap_or(OUT_OF_MEMORY))?;
        Ok(Self {
            handle: registry::hand_out(Kind::Session, None),
            context,
            api,
            card,
            broken: AtomicBool::new(false),
            encoding: AtomicBool::new(false),
            filled: Condvar::new(),
            state: Mutex::default(),
            _counted: counted,
        })
    }
}

/// `NvEncDestroyEncoder`.
pub fn destroy(session: &Session) -> Answer {
    const FUNCTION: &str = "NvEncDestroyEncoder";
    // The session goes in any case; a device that is lost is no reason to keep it.
    let on_its_thread = session.on_its_thread(FUNCTION);
    let mut state = session.state();
    // To a device that is lost nothing can be given back.
    if on_its_thread.is_ok() {
        tell_what_is_left(session, &state);
    }
    let open = state.inputs.keys().chain(state.outputs.keys());
    open.chain(state.mapped.keys()).chain(state.registered.keys()).for_each(|handle| registry::take_back(*handle));
    state.encoder = None;
    drop(state);
    registry::closed(session.handle);
    on_its_thread
}

fn tell_what_is_left(session: &Session, state: &State) {
    const FUNCTION: &str = "NvEncDestroyEncoder";
    if state.submitted > 0 && !session.may_tear_down(state) {
        violation!(FUNCTION, "pictures were submitted and the end of the stream was not said");
    }
    let left = [
        (state.inputs.len(), Kind::Input),
        (state.outputs.len(), Kind::Output),
        (state.mapped.len(), Kind::Mapped),
        (state.registered.len(), Kind::Registered),
    ];
    for (count, kind) in left.into_iter().filter(|(count, _)| *count > 0) {
        violation!(FUNCTION, "not given back: {count} of kind {kind}");
    }
}

/// `NvEncSetIOCudaStreams`: both are pointers to a `CUstream`.
///
/// # Safety
/// Pointers are null or valid.
pub unsafe fn set_streams(session: &Session, input: *mut c_void, output: *mut c_void) -> Answer {
    const FUNCTION: &str = "NvEncSetIOCudaStreams";
    session.on_its_thread(FUNCTION)?;
    if input.is_null() || output.is_null() {
        violation!(FUNCTION, "a pointer to a stream is null");
        return Err(INVALID_PTR.into());
    }
    // SAFETY: handed on from the caller: it points to a handle of a stream.
    let stream = unsafe { input.cast::<usize>().read_unaligned() };
    let mut state = session.state();
    if state.encoder.is_none() {
        violation!(FUNCTION, "before NvEncInitializeEncoder");
    }
    state.stream = Some(stream);
    Ok(())
}
