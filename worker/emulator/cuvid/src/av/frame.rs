//! Decoded pictures.

use std::slice;

use ffmpeg_sys_next as ff;

/// A decoded picture.
pub struct Frame(pub(super) *mut ff::AVFrame);

// SAFETY: nobody writes a frame that came out of the decoder.
unsafe impl Send for Frame {}
// SAFETY: as above.
unsafe impl Sync for Frame {}

impl Frame {
    pub(super) fn fields(&self) -> &ff::AVFrame {
        // SAFETY: it lives as long as this.
        unsafe { &*self.0 }
    }

    /// Width and height, what is cropped away included.
    pub fn size(&self) -> (usize, usize) {
        let size = |length: i32| usize::try_from(length).unwrap_or(0);
        (size(self.fields().width), size(self.fields().height))
    }

    /// What is cropped away at the left and at the top.
    pub fn crop(&self) -> (usize, usize) {
        (self.fields().crop_left, self.fields().crop_top)
    }

    /// A row of a plane.
    pub fn row(&self, plane: usize, row: usize, bytes: usize) -> &[u8] {
        let frame = self.fields();
        let stride = isize::try_from(frame.linesize[plane]).unwrap_or(0);
        let offset = stride * isize::try_from(row).unwrap_or(0);
        // SAFETY: callers ask for rows within `size`, halved for chroma, and the frame has them.
        let start = unsafe { frame.data[plane].offset(offset) };
        // SAFETY: a row is at least as long as the frame is wide.
        unsafe { slice::from_raw_parts(start, bytes) }
    }

    pub fn is_interlaced(&self) -> bool {
        self.fields().interlaced_frame != 0
    }

    pub fn is_top_field_first(&self) -> bool {
        self.fields().top_field_first != 0
    }

    /// The decoder had to make parts of it up.
    pub fn is_damaged(&self) -> bool {
        self.fields().decode_error_flags != 0 || self.fields().flags & ff::AV_FRAME_FLAG_CORRUPT != 0
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        // SAFETY: it was allocated by the library, and is freed once.
        unsafe { ff::av_frame_free(&raw mut self.0) };
    }
}
