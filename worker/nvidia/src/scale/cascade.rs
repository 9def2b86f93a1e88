//! The kernels in their order, for every rung:
//!
//! ```text
//!              one rung after the other, each from the one before
//! source ─▶ columns ─▶ rows ─────────────────────────────▶ [turn] ─▶ rung
//!                        └─▶ (HDR) 10 bit ─▶ show ─▶ mix ─┘
//! ```
//!
//! Tables and scratch memory are made once; running allocates nothing.

use super::filter::Axis;
use super::pass::{Depth, Pass, Plane};
use super::tone::Tone;
use super::{Siting, Size, Source, Transform, Turn, Window};
use crate::kernels::{self, Kernel, Machine};
use crate::surface::{Format, Layout};

/// What is done to each picture, with its tables and scratch memory on a machine.
#[derive(Debug)]
pub(super) struct Cascade<M: Machine> {
    machine: M,
    rungs: Vec<Rung<M>>,
    /// HDR only: the first rung, 10 bit, on its way to being shown.
    tone: Option<Tone<M>>,
    /// Where the first rung is turned from.
    lying: Option<Lying<M>>,
    /// Between the two passes of any plane of any rung.
    middle: M::Memory,
}

/// One picture's planes, each from the picture before.
#[derive(Debug)]
struct Rung<M: Machine> {
    window: Window,
    luma: Pass<M>,
    chroma: Pass<M>,
}

/// The first rung as the camera lay.
#[derive(Debug)]
struct Lying<M: Machine> {
    turn: Turn,
    mirror: bool,
    layout: Layout,
    _memory: M::Memory,
}

impl<M: Machine> Cascade<M> {
    /// Of what [`super::check`] has nothing against.
    pub(super) fn new(machine: M, source: &Source, transform: &Transform, targets: &[Size]) -> Result<Self, M::Fault> {
        let mut rungs = Vec::with_capacity(targets.len());
        let mut from = source.clone();
        for &target in targets {
            let first = rungs.is_empty();
            let size = if first { lying_size(transform, target) } else { target };
            let depth = if first && transform.tone.is_some() { Depth::Ten } else { Depth::Eight };
            rungs.push(Rung::new(&machine, &from, size, depth)?);
            from = rung_as_source(target);
        }
        let largest = rungs.iter().flat_map(|rung| [rung.luma.middle_bytes(), rung.chroma.middle_bytes()]).max();
        let middle = machine.allocate(largest.unwrap_or(0))?;
        let first = lying_size(transform, targets[0]);
        let tone = transform.tone.as_ref().map(|table| Tone::new(&machine, table, first)).transpose()?;
        let turns = transform.turn != Turn::None || transform.mirror;
        let lying = turns.then(|| Lying::new(&machine, transform, first)).transpose()?;
        Ok(Self { machine, rungs, tone, lying, middle })
    }

    pub(super) fn machine(&self) -> &M {
        &self.machine
    }

    /// Makes the pictures of one moment.
    ///
    /// # Safety
    /// `source` is a picture as declared to [`Self::new`], `targets` are pictures of the sizes asked for, NV12, all in this
    /// machine's memory; they live until this is done.
    pub(super) unsafe fn run(&self, source: &Layout, targets: &[Layout]) -> Result<(), M::Fault> {
        let mut from = *source;
        for (number, (rung, target)) in self.rungs.iter().zip(targets).enumerate() {
            let first = number == 0;
            let lying = self.lying.as_ref().filter(|_| first);
            let into = lying.map_or(*target, |lying| lying.layout);
            match self.tone.as_ref().filter(|_| first) {
                None => {
                    // SAFETY: the caller's promise; the lying picture is as large as this rung was made for.
                    unsafe { self.scale(rung, &from, &into) }?;
                }
                Some(tone) => {
                    // SAFETY: the caller's promise; the deep picture is as large as this rung was made for.
                    unsafe { self.scale(rung, &from, &tone.deep) }?;
                    // SAFETY: the picture it is shown in is as large as the deep one.
                    unsafe { tone.run(&self.machine, &into) }?;
                }
            }
            if let Some(lying) = lying {
                // SAFETY: the caller's promise; the lying picture was just written.
                unsafe { lying.run(&self.machine, target) }?;
            }
            from = *target;
        }
        Ok(())
    }

    /// # Safety
    /// The pictures are as large as the rung was made for.
    unsafe fn scale(&self, rung: &Rung<M>, from: &Layout, to: &Layout) -> Result<(), M::Fault> {
        let middle = M::address(&self.middle);
        let (luma, chroma) = rung.window_planes(from);
        let target = Plane { address: to.luma, pitch: to.pitch };
        // SAFETY: the caller's promise; the middle is large enough for every pass.
        unsafe { rung.luma.run(&self.machine, luma, middle, target) }?;
        let target = Plane { address: to.chroma, pitch: to.pitch };
        // SAFETY: as above.
        unsafe { rung.chroma.run(&self.machine, chroma, middle, target) }
    }
}

/// The first rung's size before it is turned.
fn lying_size(transform: &Transform, target: Size) -> Size {
    if transform.turn.swaps() { Size { width: target.height, height: target.width } } else { target }
}

/// A rung, as the source of the next.
fn rung_as_source(size: Size) -> Source {
    Source {
        format: Format::Nv12,
        bits: 8,
        size,
        window: Window { left: 0, top: 0, size },
        full_range: false,
        siting: Siting::Left,
    }
}

impl<M: Machine> Rung<M> {
    fn new(machine: &M, source: &Source, target: Size, depth: Depth) -> Result<Self, M::Fault> {
        let Window { left, top, size } = source.window;
        let [down, across] =
            [(size.height, target.height), (size.width, target.width)].map(|(from, to)| luma_axis(from, to));
        let luma = Pass::new(machine, source, [down, across], 1, depth)?;
        let (sited_down, sited_across) = match source.siting {
            Siting::Left => (0.5, 0.0),
            Siting::Center => (0.5, 0.5),
            Siting::TopLeft => (0.0, 0.0),
        };
        let down = chroma_axis(top, size.height, target.height, [sited_down, 0.5]);
        let across = chroma_axis(left, size.width, target.width, [sited_across, 0.0]);
        let chroma = Pass::new(machine, source, [down, across], 2, depth)?;
        Ok(Self { window: source.window, luma, chroma })
    }

    /// Where the window's samples begin.
    fn window_planes(&self, picture: &Layout) -> (Plane, Plane) {
        let bytes = picture.format.sample_bytes() as u64;
        let (left, top) = (u64::from(self.window.left), u64::from(self.window.top));
        let start = |plane: u64, row: u64, sample: u64| plane + row * picture.pitch as u64 + sample * bytes;
        let luma = Plane { address: start(picture.luma, top, left), pitch: picture.pitch };
        let chroma = Plane { address: start(picture.chroma, top / 2, left / 2 * 2), pitch: picture.pitch };
        (luma, chroma)
    }
}

fn luma_axis(source: u32, target: u32) -> Axis {
    Axis { source, target, ratio: f64::from(source) / f64::from(target), offset: 0.0 }
}

/// Chroma along one axis. A chroma sample lies `sited` luma samples after its first luma sample: in the source, in the
/// target. A window that starts at an odd place starts in the middle of a chroma sample.
fn chroma_axis(start: u32, source: u32, target: u32, sited: [f64; 2]) -> Axis {
    let ratio = f64::from(source) / f64::from(target);
    let [before, after] = sited.map(|luma| luma + 0.5);
    let part = f64::from(start % 2) / 2.0;
    Axis {
        source: (start + source).div_ceil(2) - start / 2,
        target: target.div_ceil(2),
        ratio,
        offset: (after - 1.0) / 2.0 * ratio + (1.0 - before) / 2.0 + part,
    }
}

impl<M: Machine> Lying<M> {
    fn new(machine: &M, transform: &Transform, size: Size) -> Result<Self, M::Fault> {
        let memory = machine.allocate(Layout::bytes_of(Format::Nv12, size.width, size.height))?;
        let layout = Layout::at(M::address(&memory), Format::Nv12, size.width, size.height);
        Ok(Self { turn: transform.turn, mirror: transform.mirror, layout, _memory: memory })
    }

    /// # Safety
    /// `target` is as large as the lying picture, turned.
    unsafe fn run(&self, machine: &M, target: &Layout) -> Result<(), M::Fault> {
        for (from, to, bytes, shift) in
            [(self.layout.luma, target.luma, 1, 0), (self.layout.chroma, target.chroma, 2, 1)]
        {
            let (width, height) = (target.width >> shift, target.height >> shift);
            let (last_x, last_y) = ((self.layout.width >> shift) as i32 - 1, (self.layout.height >> shift) as i32 - 1);
            let mut given = kernels::Turn {
                source: from,
                target: to,
                source_pitch: self.layout.pitch as i32,
                target_pitch: target.pitch as i32,
                source_width: last_x + 1,
                source_height: last_y + 1,
                width: width as i32,
                height: height as i32,
                bytes,
                ..kernels::Turn::default()
            };
            match self.turn {
                Turn::None => (given.x_by_x, given.y_by_y) = (1, 1),
                Turn::Quarter => (given.x_by_y, given.from_y, given.y_by_x) = (1, last_y, -1),
                Turn::Half => {
                    (given.from_x, given.x_by_x) = (last_x, -1);
                    (given.from_y, given.y_by_y) = (last_y, -1);
                }
                Turn::ThreeQuarters => (given.from_x, given.x_by_y, given.y_by_x) = (last_x, -1, 1),
            }
            if self.mirror {
                given.from_x += given.x_by_x * (given.width - 1);
                given.from_y += given.y_by_x * (given.width - 1);
                (given.x_by_x, given.y_by_x) = (-given.x_by_x, -given.y_by_x);
            }
            // SAFETY: the caller's promise; indices are checked by the kernel against these sizes.
            unsafe { machine.run(Kernel::Turn, &given, width, height) }?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// All of a picture is shown, limited range.
    pub(in crate::scale) fn source(format: Format, bits: u32, width: u32, height: u32) -> Source {
        let size = Size { width, height };
        Source { format, bits, ..rung_as_source(size) }
    }
}
