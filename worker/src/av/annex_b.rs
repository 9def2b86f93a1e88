//! H.264 and HEVC as byte streams (Annex B), whatever their container has: what hardware decoders read.

use std::ffi::CStr;
use std::ptr::{self, NonNull};

use ffmpeg_next::packet::Mut;
use ffmpeg_next::{Error, Packet, ffi};

use crate::codec::setup::Setup;

/// One stream's bitstream filter.
pub struct AnnexB(NonNull<ffi::AVBSFContext>);

impl AnnexB {
    /// For a stream of H.264 (`h264`) or HEVC (`hevc`); every other codec is left as it is.
    pub fn open(setup: &Setup) -> Result<Self, Error> {
        let name = match setup.codec.as_str() {
            "h264" => c"h264_mp4toannexb",
            "hevc" => c"hevc_mp4toannexb",
            _ => c"null",
        };
        let mut filter = Self::allocate(name)?;
        let parameters = super::parameters(setup)?;
        // SAFETY: reading the pointer of a live wrapper has no precondition.
        let from = unsafe { parameters.as_ptr() };
        let to = filter.context().par_in;
        // SAFETY: both are live structs of libavcodec's.
        check(unsafe { ffi::avcodec_parameters_copy(to, from) })?;
        // SAFETY: the context is allocated and has its parameters.
        check(unsafe { ffi::av_bsf_init(filter.0.as_ptr()) })?;
        Ok(filter)
    }

    fn allocate(name: &CStr) -> Result<Self, Error> {
        // SAFETY: the name is a string that ends with NUL.
        let kind = unsafe { ffi::av_bsf_get_by_name(name.as_ptr()) };
        if kind.is_null() {
            return Err(Error::BsfNotFound);
        }
        let mut context = ptr::null_mut();
        // SAFETY: the kind is static, and the pointer is ours to be written.
        check(unsafe { ffi::av_bsf_alloc(kind, &raw mut context) })?;
        NonNull::new(context).map(Self).ok_or(Error::Bug)
    }

    fn context(&mut self) -> &mut ffi::AVBSFContext {
        // SAFETY: the context lives as long as this, and nobody else has it.
        unsafe { self.0.as_mut() }
    }

    /// The parameter sets, as they come before the first packet.
    pub fn headers(&mut self) -> Vec<u8> {
        let parameters = self.context().par_out;
        // SAFETY: the filter was initialised, so it has parameters.
        let parameters = unsafe { &*parameters };
        let size = usize::try_from(parameters.extradata_size).unwrap_or(0);
        if parameters.extradata.is_null() || size == 0 {
            return Vec::new();
        }
        // SAFETY: FFmpeg keeps `extradata_size` readable bytes behind `extradata`.
        unsafe { std::slice::from_raw_parts(parameters.extradata, size) }.to_vec()
    }

    /// A packet as a byte stream.
    pub fn convert(&mut self, mut packet: Packet) -> Result<Packet, Error> {
        let filter = self.0.as_ptr();
        // SAFETY: filter and packet are live; the filter takes what the packet refers to.
        check(unsafe { ffi::av_bsf_send_packet(filter, packet.as_mut_ptr()) })?;
        let mut converted = Packet::empty();
        // SAFETY: filter and packet are live; both filters give one packet for one.
        check(unsafe { ffi::av_bsf_receive_packet(filter, converted.as_mut_ptr()) })?;
        Ok(converted)
    }
}

impl Drop for AnnexB {
    fn drop(&mut self) {
        let mut context = self.0.as_ptr();
        // SAFETY: the context was allocated by `av_bsf_alloc`, and nobody has it after this.
        unsafe { ffi::av_bsf_free(&raw mut context) };
    }
}

fn check(said: i32) -> Result<(), Error> {
    if said < 0 { Err(Error::from(said)) } else { Ok(()) }
}
