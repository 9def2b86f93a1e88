//! Pictures in device memory.
//!
//! ```text
//!          ├──────── pitch, a multiple of 512 ───────┤
//! luma ──▶ Y Y Y Y Y Y Y Y Y Y Y Y Y Y Y Y . . . . . .  ┐
//!          Y Y Y Y Y Y Y Y Y Y Y Y Y Y Y Y . . . . . .  │ height, rounded up to even
//!          Y Y Y Y Y Y Y Y Y Y Y Y Y Y Y Y . . . . . .  ┘
//! chroma ▶ U V U V U V U V U V U V U V U V . . . . . .  ┐ half of that
//!          U V U V U V U V U V U V U V U V . . . . . .  ┘
//! ```
#![allow(unsafe_code)]

use std::sync::{Arc, Mutex, PoisonError};

use crate::device::{Device, Fault, Memory, Rows};

/// What a pool may hold at most: a decoder's 32, an encoder's 64, and some between them.
const MOST_SURFACES: usize = 128;

/// What every pitch is a multiple of: what NVDEC maps with, and CUDA's texture alignment.
const PITCH_ALIGNMENT: usize = 512;

/// How samples lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// 4:2:0, 8 bit: a plane of Y, and one of U and V by turns.
    Nv12,
    /// The same with 16 bits a sample, of which the upper 10 or 12 count (FFmpeg's P010, P012, P016).
    P016,
}

impl Format {
    /// Bytes of a sample.
    pub fn sample_bytes(self) -> usize {
        match self {
            Self::Nv12 => 1,
            Self::P016 => 2,
        }
    }
}

/// Where a picture is, and how large. Copied freely; who made it says how long it is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// How samples lie.
    pub format: Format,
    /// In luma samples.
    pub width: u32,
    /// In luma samples.
    pub height: u32,
    /// From row to row, in bytes, for both planes.
    pub pitch: usize,
    /// Address of the first luma sample.
    pub luma: u64,
    /// Address of the first chroma sample.
    pub chroma: u64,
}

impl Layout {
    /// A picture in memory of its own, which begins at `address`.
    pub(crate) fn at(address: u64, format: Format, width: u32, height: u32) -> Self {
        let pitch = (width.next_multiple_of(2) as usize * format.sample_bytes()).next_multiple_of(PITCH_ALIGNMENT);
        let chroma = address + pitch as u64 * u64::from(height.next_multiple_of(2));
        Self { format, width, height, pitch, luma: address, chroma }
    }

    /// How much memory [`Self::at`] wants.
    pub(crate) fn bytes_of(format: Format, width: u32, height: u32) -> usize {
        Self::at(0, format, width, height).pitch * (height.next_multiple_of(2) as usize / 2 * 3)
    }

    /// The rows of luma, without what fills them up.
    pub fn luma_rows(&self) -> Rows {
        let bytes = self.width as usize * self.format.sample_bytes();
        Rows { address: self.luma, pitch: self.pitch, bytes, count: self.height as usize }
    }

    /// The rows of chroma, without what fills them up.
    pub fn chroma_rows(&self) -> Rows {
        let bytes = self.width.next_multiple_of(2) as usize * self.format.sample_bytes();
        Rows { address: self.chroma, pitch: self.pitch, bytes, count: self.height.div_ceil(2) as usize }
    }
}

/// One picture in device memory, shared: the memory is free for the next when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Surface(Arc<Kept>);

#[derive(Debug)]
struct Kept {
    layout: Layout,
    device: Device,
    memory: Arc<Memory>,
    /// Where the memory goes back to.
    free: Arc<Mutex<Vec<Arc<Memory>>>>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&self.memory));
    }
}

impl Surface {
    /// Where it is and how large; true while this or a clone lives.
    pub fn layout(&self) -> &Layout {
        &self.0.layout
    }

    /// The device that it is on.
    pub fn device(&self) -> &Device {
        &self.0.device
    }

    /// Its memory. Who registers it with NVENC keeps this, so that it outlives the registration; the pool gives it out
    /// again all the same.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.0.memory
    }

    /// Copies a picture of the same format and size from the host, plane by plane with their strides in bytes.
    ///
    /// # Errors
    /// A plane is too short, or the device is lost.
    pub fn upload(&self, luma: (&[u8], usize), chroma: (&[u8], usize)) -> Result<(), Fault> {
        let layout = self.layout();
        // SAFETY: the rows are this picture's, which lives.
        unsafe { self.device().upload(&layout.luma_rows(), luma.0, luma.1) }?;
        // SAFETY: as above.
        unsafe { self.device().upload(&layout.chroma_rows(), chroma.0, chroma.1) }
    }

    /// Copies the picture to the host, plane by plane with their strides in bytes, when all that was asked of the device
    /// before is done.
    ///
    /// # Errors
    /// A plane is too short, or the device is lost.
    pub fn download(&self, luma: (&mut [u8], usize), chroma: (&mut [u8], usize)) -> Result<(), Fault> {
        let layout = self.layout();
        // SAFETY: the rows are this picture's, which lives.
        unsafe { self.device().download(&layout.luma_rows(), luma.0, luma.1) }?;
        // SAFETY: as above.
        unsafe { self.device().download(&layout.chroma_rows(), chroma.0, chroma.1) }
    }
}

/// Pictures of one format and size, made when there is no free one.
#[derive(Debug)]
pub struct Pool {
    device: Device,
    format: Format,
    width: u32,
    height: u32,
    made: usize,
    free: Arc<Mutex<Vec<Arc<Memory>>>>,
}

impl Pool {
    /// An empty pool on `device`.
    pub fn new(device: &Device, format: Format, width: u32, height: u32) -> Self {
        Self { device: device.clone(), format, width, height, made: 0, free: Arc::default() }
    }

    /// A picture of unknown content.
    ///
    /// # Errors
    /// No memory is left, or so many pictures are out that somebody must have forgotten to drop them (both
    /// [`Fault::out_of_memory`]).
    pub fn take(&mut self) -> Result<Surface, Fault> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let memory = match free {
            Some(memory) => memory,
            None => self.make()?,
        };
        let layout = Layout::at(memory.address(), self.format, self.width, self.height);
        let (device, free) = (self.device.clone(), Arc::clone(&self.free));
        Ok(Surface(Arc::new(Kept { layout, device, memory, free })))
    }

    fn make(&mut self) -> Result<Arc<Memory>, Fault> {
        if self.made == MOST_SURFACES {
            return Err(Fault { call: "the pool of surfaces", code: 2 });
        }
        let memory = self.device.allocate(Layout::bytes_of(self.format, self.width, self.height))?;
        self.made += 1;
        Ok(Arc::new(memory))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_of_any_size_fit_their_memory_and_do_not_overlap() {
        for format in [Format::Nv12, Format::P016] {
            for (width, height) in [(1, 1), (2, 2), (145, 49), (511, 3), (513, 1081), (4096, 4096)] {
                let layout = Layout::at(4096, format, width, height);
                assert!(layout.pitch.is_multiple_of(512));
                for rows in [layout.luma_rows(), layout.chroma_rows()] {
                    assert!(rows.bytes <= rows.pitch && rows.bytes >= width as usize * format.sample_bytes());
                }
                let end = |rows: Rows| rows.address + (rows.pitch * rows.count) as u64;
                assert!(end(layout.luma_rows()) <= layout.chroma);
                assert!(end(layout.chroma_rows()) <= 4096 + Layout::bytes_of(format, width, height) as u64);
            }
        }
    }
}
