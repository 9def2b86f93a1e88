//! Between pictures in device memory and the three planes that software decoders and encoders use.
#![allow(unsafe_code)]

use crate::device::{Device, Fault, Memory, Rows};
use crate::kernels::{Kernel, Machine, OnDevice, Pairs};
use crate::scale::ScaleError;
use crate::surface::{Format, Surface};

/// Copies pictures of 8 bit both ways; U and V are told apart, or brought together, on the device.
#[derive(Debug)]
pub struct Planar {
    machine: OnDevice,
    /// U, then V; as large as the largest picture so far wanted.
    scratch: Option<Memory>,
}

/// A plane to be read, and the bytes from row to row.
pub type Plane<'a> = (&'a [u8], usize);

/// A plane to be written, and the bytes from row to row.
pub type PlaneMut<'a> = (&'a mut [u8], usize);

impl Planar {
    /// For pictures on `device`.
    ///
    /// # Errors
    /// The driver can't compile the kernels.
    pub fn new(device: &Device) -> Result<Self, Fault> {
        Ok(Self { machine: OnDevice::load(device)?, scratch: None })
    }

    /// Copies a picture to the planes Y, U and V, when all that was asked of the device before is done.
    ///
    /// # Errors
    /// It isn't NV12, a plane is too short, or the device is lost.
    pub fn download(&mut self, picture: &Surface, planes: [PlaneMut; 3]) -> Result<(), ScaleError> {
        let (given, [first, second]) = self.pairs(picture)?;
        // SAFETY: the surface lives; the scratch memory holds its two planes.
        unsafe { self.machine.run(Kernel::Split, &given, given.width as u32, given.height as u32) }?;
        for (rows, (plane, stride)) in [picture.layout().luma_rows(), first, second].iter().zip(planes) {
            // SAFETY: the rows are the surface's and the scratch memory's, and were just written.
            unsafe { self.machine.device().download(rows, plane, stride) }?;
        }
        Ok(())
    }

    /// Copies the planes Y, U and V to a picture.
    ///
    /// # Errors
    /// It isn't NV12, a plane is too short, or the device is lost.
    pub fn upload(&mut self, picture: &Surface, planes: [Plane; 3]) -> Result<(), ScaleError> {
        let (given, [first, second]) = self.pairs(picture)?;
        for (rows, (plane, stride)) in [picture.layout().luma_rows(), first, second].iter().zip(planes) {
            // SAFETY: the rows are the surface's and the scratch memory's.
            unsafe { self.machine.device().upload(rows, plane, stride) }?;
        }
        // SAFETY: the surface lives; the scratch memory holds its two planes.
        unsafe { self.machine.run(Kernel::Join, &given, given.width as u32, given.height as u32) }?;
        Ok(())
    }

    /// What the kernels are given, and where U and V are.
    fn pairs(&mut self, picture: &Surface) -> Result<(Pairs, [Rows; 2]), ScaleError> {
        let layout = picture.layout();
        if layout.format != Format::Nv12 {
            return Err(ScaleError::Unfit(format!("{:?} is not 8 bit", layout.format)));
        }
        if !picture.device().is(self.machine.device()) {
            return Err(ScaleError::Unfit("the picture is on another device".to_owned()));
        }
        let (width, height) = (layout.width.div_ceil(2) as usize, layout.height.div_ceil(2) as usize);
        let memory = match self.scratch.take() {
            Some(memory) if memory.bytes() >= 2 * width * height => memory,
            _ => self.machine.allocate(2 * width * height)?,
        };
        let plane = |number: usize| Rows {
            address: memory.address() + (number * width * height) as u64,
            pitch: width,
            bytes: width,
            count: height,
        };
        let planes = [plane(0), plane(1)];
        self.scratch = Some(memory);
        let given = Pairs {
            pairs: layout.chroma,
            first: planes[0].address,
            second: planes[1].address,
            pairs_pitch: layout.pitch as i32,
            plane_pitch: width as i32,
            width: width as i32,
            height: height as i32,
        };
        Ok((given, planes))
    }
}
