//! `NvEncEncodePicture`: a picture goes in, packets come out into the outputs that wait longest.
#![allow(unsafe_code, reason = "reads through the client's pointers")]

use std::mem::offset_of as at;
use std::sync::atomic::{AtomicBool, Ordering};

use card::{Codec, violation};
use nvidia_video_codec_sdk::sys::nvEncodeAPI::*;

use crate::buffers::Stage;
use crate::cuda::cuda;
use crate::engine::{Coded, Engine};
use crate::given::Given;
use crate::order::Turn;
use crate::picture::{Planar, Surface};
use crate::registry::Kind;
use crate::session::{Session, State};
use crate::setup::{Encoder, initialized};
use crate::status::*;
use crate::versions::{PICTURE, SHORTEST_PICTURE};

type Picture = NV_ENC_PIC_PARAMS;

const FUNCTION: &str = "NvEncEncodePicture";
/// `NV_ENC_PIC_FLAG_FORCEINTRA`.
const FORCE_INTRA: u32 = 1;
/// `NV_ENC_PIC_FLAG_FORCEIDR`.
const FORCE_IDR: u32 = 2;
/// `NV_ENC_PIC_FLAG_OUTPUT_SPSPPS`.
const OUTPUT_HEADERS: u32 = 4;
/// `NV_ENC_PIC_FLAG_EOS`.
const END: u32 = 8;

/// A picture that waits for its turn inside.
pub struct Waiting {
    /// The number it was submitted under.
    pub number: u64,
    /// Its samples.
    pub picture: Planar,
    /// Parameter sets come with it.
    pub headers: bool,
}

/// Somebody is in the function, until this is dropped.
struct Alone<'a>(&'a AtomicBool);

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// `NvEncEncodePicture`.
///
/// # Safety
/// The pointer is null or valid for its struct.
pub unsafe fn encode(session: &Session, given: *mut Picture) -> Answer {
    session.on_its_thread(FUNCTION)?;
    // SAFETY: handed on from the caller.
    let given = unsafe { Given::take_first(given, SHORTEST_PICTURE) }?;
    for mistake in PICTURE.check(&given, session.api)? {
        violation!(FUNCTION, "{mistake}");
    }
    if session.encoding.swap(true, Ordering::Acquire) {
        violation!(FUNCTION, "two threads at once in one session");
    }
    let _alone = Alone(&session.encoding);
    let mut state = session.state();
    initialized(FUNCTION, session, &state)?;
    let flags = given.u32(at!(Picture, encodePicFlags));
    if flags & END != 0 {
        if given.address(at!(Picture, inputBuffer)) != 0 {
            violation!(FUNCTION, "a picture together with the end of the stream");
        }
        drain(session, &mut state)?;
        state.ended = true;
        return Ok(());
    }
    if std::mem::replace(&mut state.ended, false) {
        violation!(FUNCTION, "a picture after the end of the stream; a card begins a new one");
    }
    submit(session, &mut state, &given, flags)?;
    let before = state.coded;
    advance(&mut state)?;
    if state.coded == before {
        return Err(NEED_MORE_INPUT.into());
    }
    promise(session, &mut state);
    Ok(())
}

/// Codes all that is on its way, as the end of a stream does.
pub fn drain(session: &Session, state: &mut State) -> Answer {
    let Some(encoder) = &mut state.encoder else { return Ok(()) };
    let turns = encoder.order.finish();
    take_turns(state, &turns)?;
    let engine = state.encoder.as_mut().and_then(|encoder| encoder.engine.take());
    if let Some(mut engine) = engine {
        let packets = engine.finish().map_err(|error| Refusal::saying(GENERIC, error))?;
        fill(state, packets);
    }
    if !state.empty.is_empty() {
        return Err(Refusal::saying(GENERIC, format!("{} pictures came to nothing", state.empty.len())));
    }
    promise(session, state);
    Ok(())
}

/// All that waits may be locked from now on.
fn promise(session: &Session, state: &mut State) {
    for output in state.outputs.values_mut().filter(|output| output.stage == Stage::Waiting) {
        output.stage = Stage::Promised;
    }
    for output in state.outputs.values_mut().filter(|output| output.stage == Stage::Promised) {
        if output.packet.is_some() {
            output.stage = Stage::Filled;
        }
    }
    session.filled.notify_all();
}

/// Checks the picture, reads it, and puts it at the end of the queue.
fn submit(session: &Session, state: &mut State, given: &Given<Picture>, flags: u32) -> Answer {
    let output = given.address(at!(Picture, outputBitstream));
    if given.address(at!(Picture, inputBuffer)) == 0 || output == 0 {
        return Err(INVALID_PARAM.into());
    }
    if given.u32(at!(Picture, pictureStruct)) != 1 {
        return Err(Refusal::saying(INVALID_PARAM, "Invalid value for NV_ENC_PIC_STRUCT."));
    }
    match state.outputs.get(&output).map(|output| output.stage) {
        Some(Stage::Free) => {}
        Some(stage) => {
            violation!(FUNCTION, "output {output:#x} is in flight ({stage:?}): it was not read yet");
            return Err(INVALID_PARAM.into());
        }
        None => {
            session.complain(FUNCTION, output, Kind::Output);
            return Err(INVALID_PARAM.into());
        }
    }
    if flags & FORCE_INTRA != 0 {
        violation!(FUNCTION, "FORCEINTRA is not played: nothing but an IDR starts anew, and that is FORCEIDR");
    }
    let (surface, packed) = read(session, state, given)?;
    let number = state.submitted;
    state.submitted += 1;
    state.times.insert(number, (given.u64(at!(Picture, inputTimeStamp)), given.u64(at!(Picture, inputDuration))));
    let picture = Planar::of(surface.format, surface.width, surface.height, &packed);
    let input = given.address(at!(Picture, inputBuffer));
    if let Some(output) = state.outputs.get_mut(&output) {
        output.stage = Stage::Waiting;
        output.number = Some(number);
    }
    state.sources.insert(number, (input, packed));
    state.empty.push_back(output);
    let Some(encoder) = &mut state.encoder else { return Err(DEVICE_NOT_EXIST.into()) };
    encoder.waiting.push_back(Waiting { number, picture, headers: flags & OUTPUT_HEADERS != 0 });
    encoder.due.extend(encoder.order.push(number, flags & FORCE_IDR != 0));
    Ok(())
}

/// The samples of the input that is given, from a buffer or from the device.
fn read(session: &Session, state: &mut State, given: &Given<Picture>) -> Answer<(Surface, Vec<u8>)> {
    let handle = given.address(at!(Picture, inputBuffer));
    let stream = state.stream;
    let (surface, packed) = if let Some(input) = state.inputs.get_mut(&handle) {
        if input.locked {
            violation!(FUNCTION, "input {handle:#x} is locked: the client writes to it");
        }
        input.flying += 1;
        (input.surface, input.surface.pack(&input.memory))
    } else if let Some(mapped) = state.mapped.get_mut(&handle) {
        let packed = download(session, stream, &mapped.surface, mapped.device)?;
        mapped.flying += 1;
        (mapped.surface, packed)
    } else {
        session.complain(FUNCTION, handle, Kind::Input);
        return Err(INVALID_PARAM.into());
    };
    let said = (given.u32(at!(Picture, inputWidth)), given.u32(at!(Picture, inputHeight)));
    let is = (surface.width as u32, surface.height as u32);
    // FFmpeg leaves the size at 0 where it gives memory of the device.
    if said != is && said != (0, 0) {
        violation!(FUNCTION, "{}x{} said of an input of {}x{}; a card takes it", said.0, said.1, is.0, is.1);
    }
    let format = given.u32(at!(Picture, bufferFmt));
    if format != surface.format.number() {
        violation!(FUNCTION, "format {format:#x} said of an input in {:?}; a card takes it", surface.format);
    }
    let pitch = given.u32(at!(Picture, inputPitch)) as usize;
    if pitch != surface.pitch && pitch != 0 {
        violation!(FUNCTION, "a pitch of {pitch} said of an input with {}", surface.pitch);
    }
    Ok((surface, packed))
}

/// Reads a surface on the device, behind all that was put on the client's stream.
pub fn download(session: &Session, stream: Option<usize>, surface: &Surface, device: u64) -> Answer<Vec<u8>> {
    let cuda = cuda().map_err(|error| Refusal::saying(DEVICE_NOT_EXIST, error))?;
    let read = cuda.within(session.context, || {
        if let Some(stream) = stream {
            cuda.synchronize(stream)?;
        }
        surface.download(cuda, device)
    });
    read.map_err(|status| {
        if cuda.current().is_ok() {
            violation!(FUNCTION, "the input at {device:#x} can't be read: libcuda answers {status}");
        }
        Refusal::saying(GENERIC, format!("libcuda answers {status}"))
    })
}

/// Codes the pictures whose turn it is.
fn advance(state: &mut State) -> Answer {
    let turns: Vec<Turn> = state.encoder.as_mut().map(|encoder| std::mem::take(&mut encoder.due)).unwrap_or_default();
    take_turns(state, &turns)
}

fn take_turns(state: &mut State, turns: &[Turn]) -> Answer {
    for turn in turns {
        let Some(encoder) = &mut state.encoder else { return Ok(()) };
        let packets = encoder.code(*turn).map_err(|error| Refusal::saying(GENERIC, error))?;
        fill(state, packets);
    }
    Ok(())
}

impl Encoder {
    fn code(&mut self, turn: Turn) -> Result<Vec<Coded>, String> {
        let place = self.waiting.iter().position(|waiting| waiting.number == turn.number);
        let waiting = place.and_then(|place| self.waiting.remove(place)).ok_or("a turn without a picture")?;
        if (turn.idr && self.repeats_headers()) || (waiting.headers && self.settings.codec != Codec::Av1) {
            self.with_headers.insert(turn.number);
        }
        self.first = false;
        let mut picture = waiting.picture;
        if card::faults().encode_corrupt {
            picture.planes.iter_mut().flatten().for_each(|byte| *byte ^= 0x55);
        }
        match (self.settings.deep, picture.deep) {
            (true, _) => picture = picture.deepened(),
            (false, true) => return Err("a picture of 10 bits for an encoder of 8".to_owned()),
            (false, false) => {}
        }
        if self.engine.is_none() {
            self.engine = Some(Engine::open(&self.settings)?);
        }
        let engine = self.engine.as_mut().ok_or("no encoder inside")?;
        let mut packets = engine.encode(&picture, turn)?;
        self.add_headers(&mut packets);
        Ok(packets)
    }

    /// Parameter sets come with every IDR, with the first alone, or never. libaom puts AV1's into every one itself.
    fn repeats_headers(&self) -> bool {
        self.settings.codec != Codec::Av1 && !self.settings.no_headers && (self.settings.repeat_headers || self.first)
    }

    /// Puts the parameter sets before the packets that are to have them.
    pub fn add_headers(&mut self, packets: &mut [Coded]) {
        for packet in packets.iter_mut() {
            if self.with_headers.remove(&packet.number) {
                packet.data.splice(0..0, self.headers.iter().copied());
            }
        }
    }
}

/// Puts packets into the outputs that wait longest.
fn fill(state: &mut State, mut packets: Vec<Coded>) {
    if let Some(encoder) = &mut state.encoder {
        encoder.add_headers(&mut packets);
    }
    for packet in packets {
        state.coded += 1;
        let output = state.empty.pop_front().and_then(|handle| state.outputs.get_mut(&handle));
        // An output that was destroyed on its way takes its packet with it.
        if let Some(output) = output {
            output.packet = Some(packet);
            if output.stage == Stage::Promised {
                output.stage = Stage::Filled;
            }
        }
    }
}
