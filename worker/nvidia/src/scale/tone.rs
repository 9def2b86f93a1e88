//! HDR as SDR: each colour is looked up in a table.

use super::{Lut3, Size};
use crate::kernels::{Kernel, Machine, Mix, Show};
use crate::surface::{Format, Layout};

/// Bytes of a colour on its way: red, green, blue and nothing, 16 bits each.
const COLOR_BYTES: usize = 8;

/// A table with the scratch memory of one picture.
#[derive(Debug)]
pub(super) struct Tone<M: Machine> {
    /// The picture to be shown: 10 bit in the lower bits, BT.2020, limited range, chroma at the left.
    pub(super) deep: Layout,
    colors: u64,
    table: u64,
    edge: i32,
    _memory: [M::Memory; 3],
}

impl<M: Machine> Tone<M> {
    pub(super) fn new(machine: &M, table: &Lut3, size: Size) -> Result<Self, M::Fault> {
        let deep = machine.allocate(Layout::bytes_of(Format::P016, size.width, size.height))?;
        let colors = machine.allocate(COLOR_BYTES * size.width as usize * size.height as usize)?;
        let bytes: Vec<u8> = table.colors.as_flattened().iter().flat_map(|part| part.to_ne_bytes()).collect();
        let held = machine.hold(&bytes)?;
        Ok(Self {
            deep: Layout::at(M::address(&deep), Format::P016, size.width, size.height),
            colors: M::address(&colors),
            table: M::address(&held),
            edge: table.edge as i32,
            _memory: [deep, colors, held],
        })
    }

    /// Shows the deep picture in `target`.
    ///
    /// # Safety
    /// `target` is NV12 memory of this machine, of the same size.
    pub(super) unsafe fn run(&self, machine: &M, target: &Layout) -> Result<(), M::Fault> {
        let Layout { width, height, pitch, luma, chroma, .. } = self.deep;
        let colors_pitch = COLOR_BYTES as i32 * width as i32;
        let show = Show {
            luma,
            chroma,
            colors: self.colors,
            table: self.table,
            luma_pitch: pitch as i32,
            chroma_pitch: pitch as i32,
            colors_pitch,
            width: width as i32,
            height: height as i32,
            edge: self.edge,
            ..BT2020
        };
        // SAFETY: scratch memory of that size, and the caller's promise.
        unsafe { machine.run(Kernel::Show, &show, width, height) }?;
        let mix = Mix {
            colors: self.colors,
            luma: target.luma,
            chroma: target.chroma,
            colors_pitch,
            luma_pitch: target.pitch as i32,
            chroma_pitch: target.pitch as i32,
            width: width as i32,
            height: height as i32,
            ..Mix::default()
        };
        // SAFETY: as above.
        unsafe { machine.run(Kernel::Mix, &mix, width.div_ceil(2), height.div_ceil(2)) }
    }
}

/// YCbCr to R′G′B′ (ITU-R BT.2020, non-constant luminance): 65535 parts over 219 or 224 steps of 8 bit, which are four of
/// 10 bit each; chroma is given in eighths of those; times 1024.
const BT2020: Show = Show {
    luma_gain: 76_608,    // 65535 / (4 × 219)
    red_from_v: 13_805,   // 1.4746 × 65535 / (4 × 224 × 8)
    green_from_u: -1_541, // -0.1646
    green_from_v: -5_349, // -0.5714
    blue_from_u: 17_613,  // 1.8814
    black: 64,
    grey: 512,
    luma: 0,
    chroma: 0,
    colors: 0,
    table: 0,
    luma_pitch: 0,
    chroma_pitch: 0,
    colors_pitch: 0,
    width: 0,
    height: 0,
    edge: 0,
    _fill: 0,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrix_is_that_of_bt2020() {
        let (kr, kb) = (0.2627, 0.0593);
        let kg = 1.0 - kr - kb;
        let step = 65535.0 * 1024.0 / (4.0 * 224.0 * 8.0);
        for (ours, exact) in [
            (BT2020.luma_gain, 65535.0 * 1024.0 / (4.0 * 219.0)),
            (BT2020.red_from_v, (2.0 - 2.0 * kr) * step),
            (BT2020.green_from_u, -(2.0 - 2.0 * kb) * kb / kg * step),
            (BT2020.green_from_v, -(2.0 - 2.0 * kr) * kr / kg * step),
            (BT2020.blue_from_u, (2.0 - 2.0 * kb) * step),
        ] {
            assert!((f64::from(ours) - exact).abs() <= 1.0, "{ours}, not {exact}");
        }
    }
}
