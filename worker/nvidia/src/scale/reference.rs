//! The scaler on the host: what the GPU's pictures must be, bit by bit.

use std::convert::Infallible;

use super::cascade::Cascade;
use super::{ScaleError, Size, Source, Transform, check};
use crate::kernels::{HostMemory, Machine, OnHost};
use crate::surface::{Format, Layout};

/// What [`super::Scaler`] does, slowly, without a GPU.
#[derive(Debug)]
pub struct Reference {
    cascade: Cascade<OnHost>,
    source: Source,
    targets: Vec<Size>,
}

impl Reference {
    /// As [`super::Scaler::new`].
    ///
    /// # Errors
    /// Sizes or formats that make no sense.
    pub fn new(source: &Source, transform: &Transform, targets: &[Size]) -> Result<Self, ScaleError> {
        check(source, targets).map_err(ScaleError::Unfit)?;
        let cascade = Cascade::new(OnHost, source, transform, targets);
        Ok(Self { cascade: never(cascade), source: source.clone(), targets: targets.to_vec() })
    }

    /// As [`super::Scaler::push`].
    ///
    /// # Errors
    /// The picture is not what was declared.
    pub fn push(&mut self, picture: &Picture) -> Result<Vec<Picture>, ScaleError> {
        super::check_picture(&picture.layout, &self.source)?;
        let picture_of = |size: &Size| Picture::new(Format::Nv12, size.width, size.height);
        let pictures: Vec<Picture> = self.targets.iter().map(picture_of).collect();
        let layouts: Vec<Layout> = pictures.iter().map(|picture| picture.layout).collect();
        // SAFETY: all are pictures of the sizes that the cascade was made for, and are kept until it comes back.
        never(unsafe { self.cascade.run(&picture.layout, &layouts) });
        Ok(pictures)
    }
}

/// The host's kernels don't fail.
fn never<T>(result: Result<T, Infallible>) -> T {
    match result {
        Ok(value) => value,
        Err(never) => match never {},
    }
}

/// A picture in the host's memory, laid out as a surface is.
#[derive(Debug)]
pub struct Picture {
    layout: Layout,
    memory: HostMemory,
}

impl Picture {
    /// All zeros.
    pub fn new(format: Format, width: u32, height: u32) -> Self {
        let memory = never(OnHost.allocate(Layout::bytes_of(format, width, height)));
        Self { layout: Layout::at(OnHost::address(&memory), format, width, height), memory }
    }

    /// How large it is.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// From row to row of both planes, in bytes.
    pub fn pitch(&self) -> usize {
        self.layout.pitch
    }

    /// Rows of luma, each [`Self::pitch`] long.
    pub fn luma(&self) -> &[u8] {
        &self.memory.bytes()[..self.chroma_start()]
    }

    /// Rows of chroma, each [`Self::pitch`] long.
    pub fn chroma(&self) -> &[u8] {
        &self.memory.bytes()[self.chroma_start()..]
    }

    /// Both planes, to be written.
    pub fn planes_mut(&mut self) -> (&mut [u8], &mut [u8]) {
        let start = self.chroma_start();
        self.memory.bytes_mut().split_at_mut(start)
    }

    fn chroma_start(&self) -> usize {
        (self.layout.chroma - self.layout.luma) as usize
    }
}

impl PartialEq for Picture {
    /// What is shown of both is the same.
    fn eq(&self, other: &Self) -> bool {
        let shape = |picture: &Self| (picture.layout.format, picture.layout.width, picture.layout.height);
        let rows = |plane: &[u8], rows: &crate::device::Rows| -> Vec<Vec<u8>> {
            plane.chunks(rows.pitch).take(rows.count).map(|row| row[..rows.bytes].to_vec()).collect()
        };
        let shown = |picture: &Self| {
            let (luma, chroma) = (picture.layout.luma_rows(), picture.layout.chroma_rows());
            (rows(picture.luma(), &luma), rows(picture.chroma(), &chroma))
        };
        shape(self) == shape(other) && shown(self) == shown(other)
    }
}
