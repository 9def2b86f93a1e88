//! Reading packets: `NvEncLockBitstream` and `NvEncUnlockBitstream`.
#![allow(unsafe_code, reason = "reads and writes through the client's pointers")]

use std::ffi::c_void;
use std::mem::offset_of as at;
use std::time::{Duration, Instant};

use card::violation;
use nvidia_video_codec_sdk::sys::nvEncodeAPI::NV_ENC_LOCK_BITSTREAM as Lock;

use crate::buffers::Stage;
use crate::encode::download;
use crate::given::Given;
use crate::registry::Kind;
use crate::session::{Session, State};
use crate::status::*;
use crate::versions::{LOCK_OUTPUT, SHORTEST_LOCK};

/// A lock waits for its packet as the driver does. Where none can come any more the driver waits for ever; this is long
/// enough to know that none comes.
const NONE_COMES: Duration = Duration::from_secs(10);

/// `NvEncLockBitstream`.
///
/// # Safety
/// The pointer is null or valid for its struct, `sliceOffsets` for one number for each slice.
pub unsafe fn lock(session: &Session, given: *mut Lock) -> Answer {
    const FUNCTION: &str = "NvEncLockBitstream";
    session.on_its_thread(FUNCTION)?;
    // SAFETY: handed on from the caller.
    let mut given = unsafe { Given::take_first(given, SHORTEST_LOCK) }?;
    for mistake in LOCK_OUTPUT.check(&given, session.api)? {
        violation!(FUNCTION, "{mistake}");
    }
    let handle = given.address(at!(Lock, outputBitstream));
    let wait = !given.flag(at!(Lock, _bitfield_1), 0);
    let mut state = session.state();
    let gives_up = Instant::now() + NONE_COMES;
    loop {
        let Some(output) = state.outputs.get(&handle) else {
            session.complain(FUNCTION, handle, Kind::Output);
            return Err(INVALID_PARAM.into());
        };
        match output.stage {
            Stage::Filled => break,
            Stage::Promised if !wait => return Err(LOCK_BUSY.into()),
            Stage::Promised => {}
            Stage::Waiting => {
                violation!(FUNCTION, "{handle:#x} needs more input, and nothing submitted since has succeeded");
                return Err(INVALID_PARAM.into());
            }
            Stage::Free => {
                violation!(FUNCTION, "nothing was submitted with {handle:#x}");
                return Err(INVALID_PARAM.into());
            }
            Stage::Locked => {
                violation!(FUNCTION, "{handle:#x} is locked already");
                return Err(LOCK_BUSY.into());
            }
        }
        let left = gives_up.saturating_duration_since(Instant::now());
        if left.is_zero() {
            violation!(FUNCTION, "nothing comes into {handle:#x}: too few pictures are in flight for this lock");
            return Err(LOCK_BUSY.into());
        }
        state = session.filled.wait_timeout(state, left).unwrap_or_else(std::sync::PoisonError::into_inner).0;
    }
    land(session, &mut state, handle)?;
    answer(&mut given, &mut state, handle)
}

/// The input of the picture that is read is the client's again, and so is the one that was submitted with this output: not
/// quite what the header says, but FFmpeg lives on it. With the fault `encode:late` only the first is. It must be as it was.
fn land(session: &Session, state: &mut State, handle: usize) -> Answer {
    let Some(output) = state.outputs.get_mut(&handle) else { return Ok(()) };
    let coded = output.packet.as_ref().map(|packet| packet.number);
    let submitted = output.number.take().filter(|_| !card::faults().encode_late);
    [coded, submitted].into_iter().flatten().try_for_each(|number| give_back(session, state, number))
}

fn give_back(session: &Session, state: &mut State, number: u64) -> Answer {
    const FUNCTION: &str = "NvEncLockBitstream";
    let Some((input, packed)) = state.sources.remove(&number) else { return Ok(()) };
    let stream = state.stream;
    let now = if let Some(input) = state.inputs.get_mut(&input) {
        input.flying = input.flying.saturating_sub(1);
        input.surface.pack(&input.memory)
    } else if let Some(mapped) = state.mapped.get_mut(&input) {
        mapped.flying = mapped.flying.saturating_sub(1);
        download(session, stream, &mapped.surface, mapped.device)?
    } else {
        return Ok(());
    };
    if now != packed {
        violation!(FUNCTION, "the input {input:#x} was overwritten while it was in flight");
    }
    Ok(())
}

fn answer(given: &mut Given<Lock>, state: &mut State, handle: usize) -> Answer {
    let Some(output) = state.outputs.get_mut(&handle) else { return Err(INVALID_PARAM.into()) };
    output.stage = Stage::Locked;
    let Some(packet) = &mut output.packet else { return Err(GENERIC.into()) };
    let (timestamp, duration) = state.times.remove(&packet.number).unwrap_or_default();
    given.put(at!(Lock, frameIdx), packet.number as u32);
    given.put(at!(Lock, hwEncodeStatus), 2u32);
    given.put(at!(Lock, numSlices), 1u32);
    given.put(at!(Lock, bitstreamSizeInBytes), packet.data.len() as u32);
    given.put(at!(Lock, outputTimeStamp), timestamp);
    given.put(at!(Lock, outputDuration), duration);
    given.put(at!(Lock, bitstreamBufferPtr), packet.data.as_mut_ptr());
    given.put(at!(Lock, pictureType), packet.kind as u32);
    given.put(at!(Lock, pictureStruct), 1u32);
    given.put(at!(Lock, frameAvgQP), packet.quantiser);
    let offsets = given.address(at!(Lock, sliceOffsets)) as *mut u32;
    if !offsets.is_null() {
        // SAFETY: the client says that there is room for one number for each slice, and there is one slice.
        unsafe { offsets.write_unaligned(0) };
    }
    Ok(())
}

/// `NvEncUnlockBitstream`.
pub fn unlock(session: &Session, handle: *mut c_void) -> Answer {
    const FUNCTION: &str = "NvEncUnlockBitstream";
    if handle.is_null() {
        return Err(INVALID_PTR.into());
    }
    session.on_its_thread(FUNCTION)?;
    let mut state = session.state();
    let Some(output) = state.outputs.get_mut(&(handle as usize)) else {
        session.complain(FUNCTION, handle as usize, Kind::Output);
        return Err(INVALID_PARAM.into());
    };
    if output.stage == Stage::Locked {
        output.stage = Stage::Free;
        output.packet = None;
    } else {
        violation!(FUNCTION, "{handle:?} is not locked; a card takes it");
    }
    Ok(())
}
