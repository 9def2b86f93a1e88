//! The fence, audio's part: FFmpeg calls that ffmpeg-next has no safe form for.
#![allow(unsafe_code)]

use ffmpeg_next::codec;

/// Samples an opened encoder puts before the signal (`AVCodecContext.initial_padding`).
pub fn initial_padding(context: &codec::Context) -> u32 {
    // SAFETY: reading the pointer of a live wrapper has no precondition.
    let raw = unsafe { context.as_ptr() };
    // SAFETY: the wrapper owns the struct for as long as it is borrowed.
    u32::try_from(unsafe { &*raw }.initial_padding).unwrap_or(0)
}
