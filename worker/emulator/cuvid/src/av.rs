//! libavcodec: cutting a stream into pictures, and decoding them.
#![allow(unsafe_code)]

use ffmpeg_sys_next as ff;

use card::Codec;

mod frame;
mod software;
mod splitter;

pub use frame::Frame;
pub use software::{Shape, Software};
pub use splitter::Splitter;

/// Bytes of zeros that libavcodec wants behind what it reads.
const PADDING: usize = ff::AV_INPUT_BUFFER_PADDING_SIZE as usize;

/// One coded picture (an access unit, a temporal unit), or one field of it.
pub struct Unit {
    /// Its bytes, with [`PADDING`] behind them.
    padded: Vec<u8>,
    /// What the packet it began in said.
    pub timestamp: Option<i64>,
    /// Where decoding may begin.
    pub key: bool,
    /// 1: top field, 2: bottom field, 3: both together.
    pub structure: u32,
    /// Coded width, coded height and pixel format, where the stream tells them before decoding.
    pub shape: Option<(i32, i32, i32)>,
}

impl Unit {
    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.padded[..self.padded.len() - PADDING]
    }
}

fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut padded = Vec::with_capacity(bytes.len() + PADDING);
    padded.extend_from_slice(bytes);
    padded.resize(bytes.len() + PADDING, 0);
    padded
}

fn id(codec: Codec) -> ff::AVCodecID {
    match codec {
        Codec::H264 => ff::AVCodecID::AV_CODEC_ID_H264,
        Codec::Hevc => ff::AVCodecID::AV_CODEC_ID_HEVC,
        Codec::Vp9 => ff::AVCodecID::AV_CODEC_ID_VP9,
        Codec::Av1 => ff::AVCodecID::AV_CODEC_ID_AV1,
    }
}

/// A codec context that is freed when dropped.
struct Context(*mut ff::AVCodecContext);

// SAFETY: libavcodec's contexts may be used by any thread, one at a time.
unsafe impl Send for Context {}

impl Context {
    fn new(codec: *const ff::AVCodec) -> Option<Self> {
        // SAFETY: the codec is null or one of the library's own.
        let context = unsafe { ff::avcodec_alloc_context3(codec) };
        (!context.is_null()).then_some(Self(context))
    }

    fn fields(&self) -> &ff::AVCodecContext {
        // SAFETY: it lives as long as this.
        unsafe { &*self.0 }
    }

    fn fields_mut(&mut self) -> &mut ff::AVCodecContext {
        // SAFETY: as above, and nobody else has it.
        unsafe { &mut *self.0 }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: it was allocated by the library, and is freed once.
        unsafe { ff::avcodec_free_context(&raw mut self.0) };
    }
}
