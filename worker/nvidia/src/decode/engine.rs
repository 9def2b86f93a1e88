//! One hardware decoder, for one sequence.
#![allow(unsafe_code)]

use std::collections::VecDeque;

use cudarc::driver::CudaEvent;
use cudarc::driver::sys::CUevent_flags;
use nvidia_video_codec_sdk::sys::cuviddec::{CUVIDGETDECODESTATUS, CUVIDPICPARAMS, CUVIDPROCPARAMS};
use nvidia_video_codec_sdk::sys::nvcuvid::CUVIDPARSERDISPINFO;

use super::api::{Cuvid, Handle};
use super::caps::{self, format};
use super::error::DecodeError;
use super::sequence::{MAPPED, Sequence};
use crate::device::{Device, Fault, Rows};
use crate::raw::{Raw, field};
use crate::surface::{Pool, Surface};

/// `cuvidDecodeStatus_Error`: shown as it came out.
const ERROR: u32 = 8;
/// `cuvidDecodeStatus_Error_Concealed`: patched up.
const CONCEALED: u32 = 9;

/// A decoder of the card's. Destroyed when dropped.
#[derive(Debug)]
pub(super) struct Engine {
    cuvid: Cuvid,
    device: Device,
    handle: Handle,
    pub(super) sequence: Sequence,
    pool: Pool,
    /// Pictures that are being copied, oldest first.
    copying: VecDeque<Copying>,
}

/// A mapped picture that is being copied.
#[derive(Debug)]
struct Copying {
    /// The parser's name of it.
    index: i32,
    address: u64,
    /// Happens when it has been copied.
    copied: CudaEvent,
}

impl Engine {
    /// Makes a decoder; the device's context is current.
    pub(super) fn create(device: &Device, cuvid: &Cuvid, sequence: Sequence) -> Result<Self, DecodeError> {
        caps::ask(cuvid, sequence.codec, sequence.depth)?.fits(sequence.coded.0, sequence.coded.1)?;
        let mut create = sequence.create();
        let mut handle = std::ptr::null_mut();
        // SAFETY: the structure is whole.
        let status = unsafe { (cuvid.create)(&raw mut handle, create.pointer()) };
        DecodeError::check("cuvidCreateDecoder", status)?;
        let (width, height) = sequence.size();
        let pool = Pool::new(device, format(sequence.depth), width, height);
        Ok(Self { cuvid: *cuvid, device: device.clone(), handle, sequence, pool, copying: VecDeque::new() })
    }

    /// Decodes one picture, in coding order.
    ///
    /// # Safety
    /// The parser gave the parameters, in the call that is under way.
    pub(super) unsafe fn decode(&mut self, parameters: *mut CUVIDPICPARAMS) -> Result<(), DecodeError> {
        // SAFETY: the caller keeps the promise.
        self.unmap_index(unsafe { (*parameters).CurrPicIdx })?;
        // SAFETY: the caller keeps the promise, and the decoder is one of this sequence.
        DecodeError::check_picture("cuvidDecodePicture", unsafe { (self.cuvid.decode)(self.handle, parameters) })
    }

    /// A picture that is to be shown, copied out, and whether it was decoded without an error.
    pub(super) fn show(&mut self, shown: &Raw<CUVIDPARSERDISPINFO>) -> Result<(Surface, bool), DecodeError> {
        if self.copying.len() >= MAPPED {
            self.unmap_oldest()?;
        }
        let surface = self.pool.take()?;
        let index = shown.get::<i32, _>(field!(CUVIDPARSERDISPINFO, picture_index));
        self.unmap_index(index)?;
        let (address, pitch) = self.map(index, shown)?;
        let copied = self.copy(address, pitch, &surface);
        // Whatever became of the copy, it is unmapped when what was begun of it is done.
        match self.device.cuda_stream().record_event(Some(CUevent_flags::CU_EVENT_BLOCKING_SYNC)) {
            Ok(copied) => self.copying.push_back(Copying { index, address, copied }),
            Err(error) => {
                self.unmap(address)?;
                return Err(Fault::of("cuEventRecord")(error).into());
            }
        }
        copied?;
        Ok((surface, self.decoded_well(index)))
    }

    fn map(&self, index: i32, shown: &Raw<CUVIDPARSERDISPINFO>) -> Result<(u64, u32), DecodeError> {
        let fields = shown.get::<i32, _>(field!(CUVIDPARSERDISPINFO, repeat_first_field));
        let progressive = shown.get::<i32, _>(field!(CUVIDPARSERDISPINFO, progressive_frame));
        let top_first = shown.get::<i32, _>(field!(CUVIDPARSERDISPINFO, top_field_first));
        let mut how = Raw::<CUVIDPROCPARAMS>::zeroed();
        how.set(field!(CUVIDPROCPARAMS, progressive_frame), progressive);
        how.set(field!(CUVIDPROCPARAMS, top_field_first), top_first);
        how.set(field!(CUVIDPROCPARAMS, unpaired_field), i32::from(fields < 0));
        how.set(field!(CUVIDPROCPARAMS, output_stream), self.device.stream());
        let (mut address, mut pitch) = (0, 0);
        // SAFETY: the parser named the picture; the structure is whole, and the stream lives as long as the device.
        let status = unsafe { (self.cuvid.map)(self.handle, index, &raw mut address, &raw mut pitch, how.pointer()) };
        DecodeError::check_picture("cuvidMapVideoFrame", status)?;
        Ok((address, pitch))
    }

    /// Asks for the copy of what is to be seen of a mapped picture.
    fn copy(&self, address: u64, pitch: u32, surface: &Surface) -> Result<(), DecodeError> {
        let (luma, chroma) = self.sequence.offsets(pitch);
        let layout = surface.layout();
        for (offset, to) in [(luma, layout.luma_rows()), (chroma, layout.chroma_rows())] {
            let from = Rows { address: address + offset, pitch: pitch as usize, ..to };
            // SAFETY: what is to be seen lies within what is coded, which is mapped until the copy is done; the surface is
            // alive, and who gets its memory next uses the same stream.
            unsafe { self.device.duplicate(&from, &to) }?;
        }
        Ok(())
    }

    /// What the engine says of a mapped picture; where it says nothing, it is taken for well.
    fn decoded_well(&self, index: i32) -> bool {
        let mut answer = Raw::<CUVIDGETDECODESTATUS>::zeroed();
        // SAFETY: the parser named the picture; it fills the structure.
        let status = unsafe { (self.cuvid.status)(self.handle, index, answer.pointer()) };
        let said = answer.get::<u32, _>(field!(CUVIDGETDECODESTATUS, decodeStatus));
        status != 0 || !matches!(said, ERROR | CONCEALED)
    }

    /// Gives all pictures up to this one back, if it is mapped: the parser names it anew once it was shown, whether it has
    /// been copied or not.
    fn unmap_index(&mut self, index: i32) -> Result<(), DecodeError> {
        while self.copying.iter().any(|copying| copying.index == index) {
            self.unmap_oldest()?;
        }
        Ok(())
    }

    /// Waits for the oldest copy and gives its picture back.
    fn unmap_oldest(&mut self) -> Result<(), DecodeError> {
        let Some(Copying { address, copied, .. }) = self.copying.front() else { return Ok(()) };
        copied.synchronize().map_err(Fault::of("cuEventSynchronize"))?;
        self.unmap(*address)?;
        self.copying.pop_front();
        Ok(())
    }

    fn unmap(&self, address: u64) -> Result<(), DecodeError> {
        // SAFETY: it is mapped, and nothing reads it any more.
        DecodeError::check("cuvidUnmapVideoFrame", unsafe { (self.cuvid.unmap)(self.handle, address) })
    }

    /// Gives everything back to the driver, whatever state it is in, and tells the first thing that went wrong.
    fn destroy(&mut self) -> Result<(), DecodeError> {
        let mut destroyed = self.device.bind().map_err(DecodeError::from);
        for Copying { address, copied, .. } in std::mem::take(&mut self.copying) {
            let copied = copied.synchronize().map_err(Fault::of("cuEventSynchronize"));
            destroyed = destroyed.and(copied.map_err(DecodeError::from)).and(self.unmap(address));
        }
        // SAFETY: nothing reads what it has mapped, and nobody has it after this.
        let status = unsafe { (self.cuvid.destroy)(self.handle) };
        destroyed.and(DecodeError::check("cuvidDestroyDecoder", status))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Err(error) = self.destroy() {
            tracing::warn!(%error, "a decoder was not closed cleanly");
        }
    }
}
