//! A picture in libavcodec's memory.
#![allow(unsafe_code, reason = "calls into libavcodec")]

use std::ptr::NonNull;

use ffmpeg_sys_next as av;

use crate::engine::worked;
use crate::picture::Planar;

/// libavcodec's name for planar 4:2:0 with 8 or 10 bits.
pub const fn pixel_format(deep: bool) -> av::AVPixelFormat {
    if deep { av::AVPixelFormat::AV_PIX_FMT_YUV420P10LE } else { av::AVPixelFormat::AV_PIX_FMT_YUV420P }
}

/// The picture.
pub struct Frame(NonNull<av::AVFrame>);

impl Frame {
    /// Copies the planes of a picture of this width and height.
    pub fn new(size: (u32, u32), picture: &Planar) -> Result<Self, String> {
        // SAFETY: allocates; null is an answer.
        let frame = unsafe { av::av_frame_alloc() };
        let mut frame = Self(NonNull::new(frame).ok_or("no memory for a picture")?);
        let fields = frame.fields();
        (fields.width, fields.height) = (size.0 as i32, size.1 as i32);
        fields.format = pixel_format(picture.deep) as i32;
        // SAFETY: size and format are set, as the function wants.
        worked(unsafe { av::av_frame_get_buffer(frame.0.as_ptr(), 0) }, "a picture's memory")?;
        let bytes = if picture.deep { 2 } else { 1 };
        for (index, plane) in picture.planes.iter().enumerate() {
            let (width, rows) = if index == 0 { size } else { (size.0.div_ceil(2), size.1.div_ceil(2)) };
            frame.write(index, plane, width as usize * bytes, rows as usize)?;
        }
        Ok(frame)
    }

    /// What else there is to say of it.
    pub fn fields(&mut self) -> &mut av::AVFrame {
        // SAFETY: the frame is ours as long as this lives.
        unsafe { self.0.as_mut() }
    }

    /// For libavcodec to read, as long as this lives.
    pub fn pointer(&self) -> *const av::AVFrame {
        self.0.as_ptr()
    }

    fn write(&mut self, index: usize, plane: &[u8], width: usize, rows: usize) -> Result<(), String> {
        if plane.len() < width * rows {
            return Err(format!("a plane of {} bytes for {rows} rows of {width}", plane.len()));
        }
        let fields = self.fields();
        let (to, pitch) = (fields.data[index], fields.linesize[index] as usize);
        for (row, from) in plane.chunks_exact(width).take(rows).enumerate() {
            let to = to.wrapping_add(row * pitch);
            // SAFETY: libavcodec made the plane with so many rows of `pitch` bytes, which are no fewer than `width`.
            unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to, width) };
        }
        Ok(())
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        let mut frame = self.0.as_ptr();
        // SAFETY: it is ours, and nobody uses it after this.
        unsafe { av::av_frame_free(&raw mut frame) };
    }
}
