//! One plane from one size to another: columns, then rows.

use super::Source;
use super::filter::{Axis, Filter};
use crate::kernels::{Columns, Kernel, Machine, Rows};
use crate::surface::Format;

/// Bits behind the point of gains and offsets; `FINE_POINT` in `scale.cu`.
const POINT: u32 = 32;

/// Of a plane's output samples; limited range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    Eight,
    /// In 16 bits, the lower ones.
    Ten,
}

impl Depth {
    fn bits(self) -> u32 {
        match self {
            Self::Eight => 8,
            Self::Ten => 10,
        }
    }
}

/// Where samples are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plane {
    pub(super) address: u64,
    pub(super) pitch: usize,
}

/// What is done to one plane.
#[derive(Debug)]
pub(super) struct Pass<M: Machine> {
    /// Without addresses of pictures.
    columns: Columns,
    rows: Rows,
    /// What both read their weights from.
    _tables: [M::Memory; 2],
}

impl<M: Machine> Pass<M> {
    /// Along the axes `down` and `across`, of `channels` that take turns: 1 for luma, 2 for chroma.
    pub(super) fn new(
        machine: &M,
        source: &Source,
        [down, across]: [Axis; 2],
        channels: u32,
        depth: Depth,
    ) -> Result<Self, M::Fault> {
        let filters = [Filter::new(down), Filter::new(across)];
        let tables = [machine.hold(&filters[0].bytes())?, machine.hold(&filters[1].bytes())?];
        let [down_first, across_first] = [M::address(&tables[0]), M::address(&tables[1])];
        let samples = across.source * channels;
        let deep = source.format == Format::P016;
        let most = if deep { (1 << source.bits) - 1 } else { 0xffff };
        let (gain, offset) = conversion(source, channels == 2, depth);
        let columns = Columns {
            first: down_first,
            weights: down_first + 4 * u64::from(down.target),
            middle_pitch: (2 * samples) as i32,
            width: samples as i32,
            source_height: down.source as i32,
            height: down.target as i32,
            taps: filters[0].taps as i32,
            deep: i32::from(deep),
            shift: 16 - source.bits as i32,
            most,
            ..Columns::default()
        };
        let rows = Rows {
            first: across_first,
            weights: across_first + 4 * u64::from(across.target),
            gain,
            offset,
            middle_pitch: columns.middle_pitch,
            channels: channels as i32,
            source_width: across.source as i32,
            width: across.target as i32,
            height: columns.height,
            taps: filters[1].taps as i32,
            most,
            deep: i32::from(depth == Depth::Ten),
            target_most: (1 << depth.bits()) - 1,
            dither: i32::from(source.bits > depth.bits()),
            ..Rows::default()
        };
        Ok(Self { columns, rows, _tables: tables })
    }

    /// Bytes between the two kernels.
    pub(super) fn middle_bytes(&self) -> usize {
        self.columns.middle_pitch as usize * self.columns.height as usize
    }

    /// # Safety
    /// The planes are as large as this was made for; `middle` is memory of [`Self::middle_bytes`].
    pub(super) unsafe fn run(&self, machine: &M, from: Plane, middle: u64, to: Plane) -> Result<(), M::Fault> {
        let columns = Columns { source: from.address, source_pitch: from.pitch as i32, middle, ..self.columns };
        // SAFETY: the caller's promise; the tables are this pass's own.
        unsafe { machine.run(Kernel::Columns, &columns, columns.width as u32, columns.height as u32) }?;
        let rows = Rows { middle, target: to.address, target_pitch: to.pitch as i32, ..self.rows };
        // SAFETY: as above.
        unsafe { machine.run(Kernel::Rows, &rows, (rows.width * rows.channels) as u32, rows.height as u32) }
    }
}

/// By what the values between the passes are multiplied, and what is added, with [`POINT`] bits behind the point.
/// Full range becomes limited (ITU-T H.273, `VideoFullRangeFlag`).
fn conversion(source: &Source, chroma: bool, depth: Depth) -> (i64, i64) {
    // What one step of an 8 bit sample is, in steps of the source and of the target.
    let source_step = f64::from(1u32 << (source.bits - 8));
    let target_step = f64::from(1u32 << (depth.bits() - 8));
    let most = f64::from((1u32 << source.bits) - 1);
    let (gain, offset) = match (source.full_range, chroma) {
        (false, _) => (target_step / source_step, 0.0),
        (true, false) => (219.0 * target_step / most, 16.0 * target_step),
        (true, true) => {
            let gain = 224.0 * target_step / most;
            (gain, 128.0 * target_step - 128.0 * source_step * gain)
        }
    };
    // 8 bit samples are times 256 between the passes.
    let unit = if source.format == Format::Nv12 { 256.0 } else { 1.0 };
    let point = (1u64 << POINT) as f64;
    ((gain / unit * point).round() as i64, (offset * point).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::super::cascade::tests::source;
    use super::*;

    #[test]
    fn the_ends_and_the_middle_of_each_range_become_those_of_limited_8_bit() {
        for (format, bits) in [(Format::Nv12, 8), (Format::P016, 10), (Format::P016, 12)] {
            for full_range in [false, true] {
                let source = Source { full_range, ..source(format, bits, 16, 16) };
                let scaled = |value: f64| value * f64::from(1u32 << (bits - 8));
                let unit = if bits == 8 { 256 } else { 1 };
                let most = if full_range { f64::from((1u32 << bits) - 1) } else { scaled(235.0) };
                let least = if full_range { 0.0 } else { scaled(16.0) };
                for (chroma, value, wanted) in [(false, least, 16), (false, most, 235), (true, scaled(128.0), 128)] {
                    let (gain, offset) = conversion(&source, chroma, Depth::Eight);
                    let got = (value as i64 * unit * gain + offset + (1 << (POINT - 1))) >> POINT;
                    assert_eq!(got, wanted, "{format:?}, {bits} bits, full range: {full_range}");
                }
            }
        }
    }
}
