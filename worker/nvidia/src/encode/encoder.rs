//! One encoder, from its first picture to its last packet.
//!
//! ```text
//! push ─▶ register (once for each memory) ─▶ map ─▶ encode ─┐ in flight: see `flight.rs`
//! packet ◀─ unmap ◀─ unlock ◀─ copy ◀─ lock (waits) ◀───────┘
//! ```
//!
//! Packets come into the outputs in the order in which these were handed in, but in coding order: so an output is free
//! when its packet was taken, and a picture when the packet with its own time was.
#![allow(unsafe_code)]

use std::ffi::c_void;

use nvidia_video_codec_sdk::sys::nvEncodeAPI::{
    NV_ENC_CONFIG, NV_ENC_CREATE_BITSTREAM_BUFFER, NV_ENC_LOCK_BITSTREAM, NV_ENC_PIC_PARAMS, NV_ENC_PRESET_CONFIG,
    NV_ENC_SEQUENCE_PARAM_PAYLOAD,
};

use super::api::{Nvenc, Versioned, versioned};
use super::caps;
use super::config::{HIGH_QUALITY, Plan};
use super::error::EncodeError;
use super::flight::Flight;
use super::inputs::{Inputs, buffer_format};
use super::session::Session;
use super::settings::EncodeSettings;
use crate::device::Device;
use crate::raw::{Raw, field};
use crate::surface::Surface;

/// Most pictures in flight: twice what any of our settings has. A driver that wants more gives no packets at all.
const MOST_IN_FLIGHT: usize = 64;
/// Longest parameter sets, in bytes; real ones have some 60.
const LONGEST_HEADERS: u32 = 4096;

/// Status of `NvEncEncodePicture`: taken in, but no packet is due before more came.
const NEED_MORE_INPUT: u32 = 17;
/// `NV_ENC_PIC_FLAG_FORCEIDR`.
const FORCE_IDR: u32 = 2;
/// `NV_ENC_PIC_FLAG_EOS`.
const END: u32 = 8;
/// `NV_ENC_PIC_STRUCT_FRAME`.
const FRAME: u32 = 1;
/// `NV_ENC_PIC_TYPE_IDR`, and what AV1's key frames are called too.
const IDR: u32 = 3;

/// An encoded picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Annex B, or one AV1 temporal unit. The first begins with the parameter sets.
    pub data: Vec<u8>,
    /// As its picture was pushed with.
    pub pts: i64,
    /// Begins a closed group of pictures.
    pub idr: bool,
}

/// One NVENC session that encodes one stream. Waits for the card where it must; if the card never answers, neither does
/// this, so somebody has to watch the process from outside.
#[derive(Debug)]
pub struct Encoder {
    session: Session,
    settings: EncodeSettings,
    headers: Vec<u8>,
    /// Bitstream buffers that are to be filled.
    flight: Flight<*mut c_void>,
    /// Bitstream buffers that nothing is written into.
    free: Vec<*mut c_void>,
    /// Pictures that are not encoded yet, by their times. Nobody may write into them meanwhile.
    held: Vec<(i64, Surface)>,
    inputs: Inputs,
    finished: bool,
    /// The card failed: it may never fill a buffer again, and must not be waited for.
    failed: bool,
}

// SAFETY: the pointers are the session's handles, used only through this and with the context bound.
unsafe impl Send for Encoder {}

impl Encoder {
    /// Opens a session and starts it.
    ///
    /// # Errors
    /// See [`EncodeError`].
    pub fn open(device: &Device, nvenc: &Nvenc, settings: &EncodeSettings) -> Result<Self, EncodeError> {
        let codec = caps::guid(settings.codec).ok_or_else(|| caps::never(settings.codec))?;
        let session = Session::open(device, nvenc)?;
        if !session.codecs()?.contains(&codec) {
            return Err(EncodeError::Unsupported(format!("this card encodes no {}", settings.codec)));
        }
        let plan = Plan::new(settings, &caps::ask(&session, settings.codec)?)?;
        initialize(&session, &plan)?;
        let headers = headers(&session, settings.parameter_set)?;
        let flight = Flight::new(plan.depth());
        let settings = plan.settings;
        let (free, held, inputs) = (Vec::new(), Vec::new(), Inputs::default());
        Ok(Self { session, settings, headers, flight, free, held, inputs, finished: false, failed: false })
    }

    /// Parameter sets in Annex B, or the AV1 sequence header. The same for the encoder's whole life.
    pub fn headers(&self) -> &[u8] {
        &self.headers
    }

    /// Takes a picture of the settings' size and format out of a pool, written or about to be by what was asked of the
    /// device before; `idr` begins a closed group. Returns the packets that are due, in coding order.
    ///
    /// # Errors
    /// See [`EncodeError`]. After one, this encoder is of no more use.
    pub fn push(&mut self, surface: Surface, pts: i64, idr: bool) -> Result<Vec<Packet>, EncodeError> {
        self.session.device.bind()?;
        self.check(&surface)?;
        let packets = self.begin(surface, pts, idr).and_then(|()| self.collect());
        self.noting(packets)
    }

    /// Drains: the remaining packets. Nothing may be pushed after it.
    ///
    /// # Errors
    /// See [`EncodeError`].
    pub fn finish(&mut self) -> Result<Vec<Packet>, EncodeError> {
        if self.finished {
            return Ok(Vec::new());
        }
        self.session.device.bind()?;
        let packets = self.end().and_then(|()| self.collect());
        self.noting(packets)
    }

    /// Remembers a failure of the card.
    fn noting<T>(&mut self, result: Result<T, EncodeError>) -> Result<T, EncodeError> {
        self.failed |= matches!(result, Err(EncodeError::Fault(_)));
        result
    }

    /// Puts a picture in flight.
    fn begin(&mut self, surface: Surface, pts: i64, idr: bool) -> Result<(), EncodeError> {
        let output = self.output()?;
        match self.submit(output, &surface, pts, idr) {
            Ok(success) => {
                self.flight.begin(output);
                self.held.push((pts, surface));
                if success {
                    self.flight.success();
                }
                Ok(())
            }
            Err(error) => {
                self.free.push(output);
                Err(error)
            }
        }
    }

    /// What the driver would take in silence, and encode something else.
    fn check(&self, surface: &Surface) -> Result<(), EncodeError> {
        let (layout, settings) = (surface.layout(), &self.settings);
        let wanted = (settings.format, settings.width, settings.height);
        let chroma = layout.luma + layout.pitch as u64 * u64::from(settings.height);
        let wrong = if self.finished {
            "a picture after the last".to_owned()
        } else if (layout.format, layout.width, layout.height) != wanted || layout.chroma != chroma {
            format!("a picture {layout:?} for an encoder of {wanted:?}")
        } else if !surface.device().is(&self.session.device) {
            "a picture of another device".to_owned()
        } else {
            return Ok(());
        };
        Err(EncodeError::Config(wrong))
    }

    /// A bitstream buffer that nothing is written into.
    fn output(&mut self) -> Result<*mut c_void, EncodeError> {
        if let Some(output) = self.free.pop() {
            return Ok(output);
        }
        if self.flight.len() >= MOST_IN_FLIGHT {
            let text = format!("the driver took {MOST_IN_FLIGHT} pictures in and gave no packet");
            return Err(EncodeError::Fault(text));
        }
        let mut parameters = versioned::<NV_ENC_CREATE_BITSTREAM_BUFFER>();
        // SAFETY: the session is open, and the parameters are whole.
        let status = unsafe { (self.session.nvenc.create_output)(self.session.handle, parameters.pointer()) };
        self.session.check("NvEncCreateBitstreamBuffer", status)?;
        Ok(parameters.get(field!(NV_ENC_CREATE_BITSTREAM_BUFFER, bitstreamBuffer)))
    }

    /// Hands a picture in. Whether packets are due for all that was handed in so far.
    fn submit(&mut self, output: *mut c_void, surface: &Surface, pts: i64, idr: bool) -> Result<bool, EncodeError> {
        type Parameters = NV_ENC_PIC_PARAMS;
        let mut parameters = versioned::<Parameters>();
        parameters.set(field!(Parameters, inputWidth), self.settings.width);
        parameters.set(field!(Parameters, inputHeight), self.settings.height);
        parameters.set(field!(Parameters, inputPitch), surface.layout().pitch as u32);
        parameters.set(field!(Parameters, encodePicFlags), if idr { FORCE_IDR } else { 0 });
        parameters.set(field!(Parameters, inputTimeStamp), pts as u64);
        parameters.set(field!(Parameters, inputBuffer), self.inputs.map(&self.session, surface)?);
        parameters.set(field!(Parameters, outputBitstream), output);
        parameters.set(field!(Parameters, bufferFmt), buffer_format(self.settings.format));
        parameters.set(field!(Parameters, pictureStruct), FRAME);
        // SAFETY: the session is started; input and output are its own, mapped, and in nobody else's hands.
        let status = unsafe { (self.session.nvenc.encode)(self.session.handle, parameters.pointer()) };
        if status == NEED_MORE_INPUT {
            return Ok(false);
        }
        let taken = self.session.check("NvEncEncodePicture", status);
        if taken.is_err() {
            // What the driver refused is not in flight. Its first word is what counts, not what it says of this.
            let _ = self.inputs.unmap(&self.session, surface);
        }
        taken.map(|()| true)
    }

    /// Tells the driver that nothing comes any more.
    fn end(&mut self) -> Result<(), EncodeError> {
        self.finished = true;
        let mut parameters = versioned::<NV_ENC_PIC_PARAMS>();
        parameters.set(field!(NV_ENC_PIC_PARAMS, encodePicFlags), END);
        // SAFETY: the session is started; the end needs no buffers.
        let status = unsafe { (self.session.nvenc.encode)(self.session.handle, parameters.pointer()) };
        if status != NEED_MORE_INPUT {
            self.session.check("NvEncEncodePicture", status)?;
        }
        self.flight.end();
        Ok(())
    }

    /// All packets that are due.
    fn collect(&mut self) -> Result<Vec<Packet>, EncodeError> {
        let mut packets = Vec::new();
        while let Some(output) = self.flight.oldest_due().copied() {
            let packet = self.take(output)?;
            self.flight.land();
            self.free.push(output);
            self.land(packet.pts)?;
            packets.push(packet);
        }
        Ok(packets)
    }

    /// The picture of this time is ours again.
    fn land(&mut self, pts: i64) -> Result<(), EncodeError> {
        let Some(place) = self.held.iter().position(|held| held.0 == pts) else {
            return Err(EncodeError::Fault(format!("the card gave a packet of time {pts}, which no picture had")));
        };
        let (_, surface) = self.held.swap_remove(place);
        self.inputs.unmap(&self.session, &surface)
    }

    /// Waits for a packet and copies it.
    fn take(&self, output: *mut c_void) -> Result<Packet, EncodeError> {
        type Parameters = NV_ENC_LOCK_BITSTREAM;
        let mut parameters = versioned::<Parameters>();
        parameters.set(field!(Parameters, outputBitstream), output);
        // SAFETY: the session is started, and the packet is due: see `flight`.
        let status = unsafe { (self.session.nvenc.lock)(self.session.handle, parameters.pointer()) };
        self.session.check("NvEncLockBitstream", status)?;
        let bytes: *mut u8 = parameters.get(field!(Parameters, bitstreamBufferPtr));
        let count = parameters.get::<u32, _>(field!(Parameters, bitstreamSizeInBytes)) as usize;
        let data = if bytes.is_null() || count == 0 {
            Vec::new()
        } else {
            // SAFETY: while the buffer is locked, so many bytes can be read there.
            unsafe { std::slice::from_raw_parts(bytes, count) }.to_vec()
        };
        // SAFETY: it is locked.
        let status = unsafe { (self.session.nvenc.unlock)(self.session.handle, output) };
        self.session.check("NvEncUnlockBitstream", status)?;
        if data.is_empty() {
            return Err(EncodeError::Fault("the card gave a packet without a byte".to_owned()));
        }
        let pts = parameters.get::<u64, _>(field!(Parameters, outputTimeStamp)) as i64;
        Ok(Packet { data, pts, idr: parameters.get::<u32, _>(field!(Parameters, pictureType)) == IDR })
    }

    /// Gives everything back to the driver, whatever state it is in, and tells the first thing that went wrong. The stream
    /// is ended and what is due is waited for, so that no picture is still being read, unless the card failed. The session
    /// follows by itself, and then the pictures that it still had.
    fn release(&mut self) -> Result<(), EncodeError> {
        let mut released = self.session.device.bind().map_err(EncodeError::from);
        if !self.failed {
            if !self.finished {
                released = released.and_then(|()| self.end());
            }
            released = released.and_then(|()| self.collect()).map(|_| ());
        }
        while let Some(output) = self.flight.land() {
            self.free.push(output);
        }
        for (_, surface) in &self.held {
            released = released.and(self.inputs.unmap(&self.session, surface));
        }
        released = released.and(self.inputs.release(&self.session));
        for output in self.free.drain(..) {
            // SAFETY: it is the session's, and nothing is written into it any more.
            let status = unsafe { (self.session.nvenc.destroy_output)(self.session.handle, output) };
            released = released.and(self.session.check("NvEncDestroyBitstreamBuffer", status));
        }
        released
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        if let Err(error) = self.release() {
            tracing::warn!(%error, "an encoder was not closed cleanly");
        }
    }
}

/// Starts a session, on the stream that writes its pictures: so it reads each when it has been written.
fn initialize(session: &Session, plan: &Plan) -> Result<(), EncodeError> {
    let mut preset = versioned::<NV_ENC_PRESET_CONFIG>();
    preset.set(field!(NV_ENC_PRESET_CONFIG, presetCfg.version), NV_ENC_CONFIG::VERSION);
    // SAFETY: the session is open; it fills a structure that is as long as its version says.
    let status =
        unsafe { (session.nvenc.preset)(session.handle, plan.codec, plan.preset, HIGH_QUALITY, preset.pointer()) };
    session.check("NvEncGetEncodePresetConfigEx", status)?;
    let mut config = plan.config(&preset);
    let mut parameters: Raw<_> = plan.initialize(&mut config);
    // SAFETY: the session is open; the parameters are whole and `config`, which they lead to, is alive.
    let status = unsafe { (session.nvenc.initialize)(session.handle, parameters.pointer()) };
    session.check("NvEncInitializeEncoder", status)?;
    let mut stream = session.device.stream();
    let mut output = session.device.stream();
    // SAFETY: the session is started; the streams live as long as the device that it keeps.
    let status = unsafe { (session.nvenc.streams)(session.handle, &raw mut stream, &raw mut output) };
    session.check("NvEncSetIOCudaStreams", status)
}

/// The parameter sets that the session will write.
fn headers(session: &Session, parameter_set: u32) -> Result<Vec<u8>, EncodeError> {
    type Parameters = NV_ENC_SEQUENCE_PARAM_PAYLOAD;
    let mut headers = vec![0u8; LONGEST_HEADERS as usize];
    let mut length = 0u32;
    let mut parameters = versioned::<Parameters>();
    parameters.set(field!(Parameters, inBufferSize), LONGEST_HEADERS);
    parameters.set(field!(Parameters, spsId), parameter_set);
    parameters.set(field!(Parameters, ppsId), parameter_set);
    parameters.set(field!(Parameters, spsppsBuffer), headers.as_mut_ptr());
    parameters.set(field!(Parameters, outSPSPPSPayloadSize), &raw mut length);
    // SAFETY: the session is started; it writes at most as many bytes as it is told, and one integer.
    let status = unsafe { (session.nvenc.headers)(session.handle, parameters.pointer()) };
    session.check("NvEncGetSequenceParams", status)?;
    headers.truncate(length as usize);
    if headers.is_empty() {
        return Err(EncodeError::Fault("the driver gives no parameter sets".to_owned()));
    }
    Ok(headers)
}
