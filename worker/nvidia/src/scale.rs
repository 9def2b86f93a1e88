//! One decoded picture to one picture per rung: scaled, its depth and range converted, HDR shown as SDR, turned. The same
//! on a GPU ([`Scaler`]) and on the host ([`Reference`]), bit by bit.
//!
//! Each rung is made from the next larger one, as the software path does it.
#![allow(unsafe_code)]

mod cascade;
mod filter;
mod pass;
mod reference;
mod tone;

use self::cascade::Cascade;
pub use self::reference::{Picture, Reference};
use crate::device::{Device, Fault};
use crate::kernels::OnDevice;
use crate::surface::{Format, Layout, Pool, Surface};

/// The longest side of a picture, in luma samples.
pub const LONGEST_SIDE: u32 = 16384;

/// The most colours along an edge of a table.
const LONGEST_EDGE: u32 = 129;

/// What the decoder gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// How samples lie.
    pub format: Format,
    /// Of a sample: 8, or 10 or 12 in the upper bits of 16.
    pub bits: u32,
    /// Width and height of its surfaces, in luma samples.
    pub size: Size,
    /// What of it is shown.
    pub window: Window,
    /// Samples use the whole range of their bits.
    pub full_range: bool,
    /// Where its chroma samples lie.
    pub siting: Siting,
}

/// In luma samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Size {
    /// From left to right.
    pub width: u32,
    /// From top to bottom.
    pub height: u32,
}

/// A part of a picture, in luma samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// From the picture's left edge.
    pub left: u32,
    /// From the picture's upper edge.
    pub top: u32,
    /// How large it is.
    pub size: Size,
}

/// Where the chroma sample of four luma samples lies (ITU-T H.264 annex E, `chroma_sample_loc_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Siting {
    /// On the left column, between the rows (type 0): what nearly all video has.
    Left,
    /// In the middle (type 1), as in JPEG.
    Center,
    /// On the upper left sample (type 2), as UHD discs have it.
    TopLeft,
}

/// How much a picture is turned clockwise, to be shown upright.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Not at all.
    None,
    /// By 90 degrees.
    Quarter,
    /// By 180 degrees.
    Half,
    /// By 270 degrees.
    ThreeQuarters,
}

impl Turn {
    /// Whether width and height change places.
    pub fn swaps(self) -> bool {
        matches!(self, Self::Quarter | Self::ThreeQuarters)
    }
}

/// What becomes of every picture besides its size.
#[derive(Debug, Clone)]
pub struct Transform {
    /// First it is turned,
    pub turn: Turn,
    /// then left and right change places.
    pub mirror: bool,
    /// For PQ and HLG in BT.2020: what R′G′B′ is shown as in BT.709.
    pub tone: Option<Lut3>,
}

impl Transform {
    /// Leaves a picture as it is.
    pub const NONE: Self = Self { turn: Turn::None, mirror: false, tone: None };
}

/// A cube of colours: what red, green and blue become. Between its colours the kernel interpolates (in tetrahedra).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lut3 {
    edge: u32,
    colors: Vec<[u16; 3]>,
}

impl Lut3 {
    /// `edge` colours along each edge, red running fastest, then green, then blue; `None` if there are not as many.
    pub fn new(edge: u32, colors: Vec<[u16; 3]>) -> Option<Self> {
        let whole = (2..=LONGEST_EDGE).contains(&edge) && colors.len() == (edge as usize).pow(3);
        whole.then_some(Self { edge, colors })
    }
}

/// Why a picture could not be scaled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScaleError {
    /// What was asked for makes no sense.
    #[error("a picture can't be scaled so: {0}")]
    Unfit(String),
    /// The device did not do it.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Scales on a GPU. Pictures are NV12, 8 bit, limited range, chroma samples at the left.
#[derive(Debug)]
pub struct Scaler {
    cascade: Cascade<OnDevice>,
    source: Source,
    pools: Vec<Pool>,
}

impl Scaler {
    /// For pictures of `source`, to be made in these sizes, largest first.
    ///
    /// # Errors
    /// Sizes or formats that make no sense; a driver that can't compile the kernels; no memory.
    pub fn new(device: &Device, source: &Source, transform: &Transform, targets: &[Size]) -> Result<Self, ScaleError> {
        check(source, targets).map_err(ScaleError::Unfit)?;
        let cascade = Cascade::new(OnDevice::load(device)?, source, transform, targets)?;
        let pools = targets.iter().map(|size| Pool::new(device, Format::Nv12, size.width, size.height)).collect();
        Ok(Self { cascade, source: source.clone(), pools })
    }

    /// Asks the device for the pictures of one moment, largest first; they are there for whoever asks it next.
    ///
    /// # Errors
    /// The picture is not what was declared; the device is lost; no memory.
    pub fn push(&mut self, picture: &Surface) -> Result<Vec<Surface>, ScaleError> {
        let layout = picture.layout();
        check_picture(layout, &self.source)?;
        if !picture.device().is(self.cascade.machine().device()) {
            return Err(ScaleError::Unfit("the picture is on another device".to_owned()));
        }
        let surfaces = self.pools.iter_mut().map(Pool::take).collect::<Result<Vec<_>, Fault>>()?;
        let targets: Vec<_> = surfaces.iter().map(|surface| *surface.layout()).collect();
        // SAFETY: the picture is of the declared size, the others come from pools of theirs; all stay until this is done,
        // because the memory of surfaces is used again and freed in the order of the device's stream.
        unsafe { self.cascade.run(layout, &targets) }?;
        Ok(surfaces)
    }
}

/// Whether a picture is what was declared.
fn check_picture(picture: &Layout, source: &Source) -> Result<(), ScaleError> {
    let size = Size { width: picture.width, height: picture.height };
    if (picture.format, size) == (source.format, source.size) {
        return Ok(());
    }
    Err(ScaleError::Unfit(format!("{:?} {size:?} is not {:?} {:?}", picture.format, source.format, source.size)))
}

/// What kernels take for granted.
fn check(source: &Source, targets: &[Size]) -> Result<(), String> {
    let bits = match source.format {
        Format::Nv12 => source.bits == 8,
        Format::P016 => matches!(source.bits, 10 | 12),
    };
    if !bits {
        return Err(format!("{:?} does not hold {} bits", source.format, source.bits));
    }
    let sides = |size: &Size| (1..=LONGEST_SIDE).contains(&size.width) && (1..=LONGEST_SIDE).contains(&size.height);
    let window = &source.window;
    let within = |start: u32, length: u32, whole: u32| start.checked_add(length).is_some_and(|end| end <= whole);
    if !sides(&source.size)
        || !sides(&window.size)
        || !within(window.left, window.size.width, source.size.width)
        || !within(window.top, window.size.height, source.size.height)
    {
        return Err(format!("no window {window:?} in {:?}", source.size));
    }
    let even = |size: &Size| size.width.is_multiple_of(2) && size.height.is_multiple_of(2);
    match targets.iter().find(|size| !sides(size) || !even(size)) {
        Some(size) => Err(format!("sizes must be even and up to {LONGEST_SIDE}: {size:?}")),
        None if targets.is_empty() => Err("no size is asked for".to_owned()),
        None => Ok(()),
    }
}
