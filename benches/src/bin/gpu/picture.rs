//! Pictures in the host's memory: brought there, compared.

use anyhow::Result;
use nvidia::surface::{Format, Layout};
use nvidia::{Fault, Surface};

use crate::ffmpeg::Planes;

/// A card's picture, its planes without gaps between rows: luma, then pairs of U and V.
pub struct Copied {
    pub layout: Layout,
    pub luma: Vec<u8>,
    pub chroma: Vec<u8>,
}

impl Copied {
    /// Waits for the picture and copies it.
    pub fn of(surface: &Surface) -> Result<Self, Fault> {
        let layout = *surface.layout();
        let (luma_rows, chroma_rows) = (layout.luma_rows(), layout.chroma_rows());
        let mut luma = vec![0; luma_rows.bytes * luma_rows.count];
        let mut chroma = vec![0; chroma_rows.bytes * chroma_rows.count];
        surface.download((&mut luma, luma_rows.bytes), (&mut chroma, chroma_rows.bytes))?;
        Ok(Self { layout, luma, chroma })
    }

    /// The largest difference of two samples, if they are as many.
    pub fn difference(&self, wanted: &Planes, depth: u8) -> Option<u16> {
        let Planes([y, u, v]) = wanted;
        let (luma, chroma) =
            (samples(&self.luma, self.layout.format, depth), samples(&self.chroma, self.layout.format, depth));
        let (y, u, v) = (planar(y, depth), planar(u, depth), planar(v, depth));
        if luma.len() != y.len() || chroma.len() != u.len() + v.len() {
            return None;
        }
        let pairs = u.iter().zip(&v).flat_map(|(u, v)| [*u, *v]);
        let of_luma = luma.iter().zip(&y).map(|(got, wanted)| got.abs_diff(*wanted)).max();
        let of_chroma = chroma.iter().zip(pairs).map(|(got, wanted)| got.abs_diff(wanted)).max();
        of_luma.max(of_chroma)
    }
}

/// A card's samples as numbers: of 16 bits the upper ones count.
fn samples(bytes: &[u8], format: Format, depth: u8) -> Vec<u16> {
    match format {
        Format::Nv12 => bytes.iter().map(|byte| u16::from(*byte)).collect(),
        Format::P016 => bytes.as_chunks().0.iter().map(|two| u16::from_le_bytes(*two) >> (16 - depth)).collect(),
    }
}

/// FFmpeg's samples as numbers.
fn planar(bytes: &[u8], depth: u8) -> Vec<u16> {
    match depth {
        8 => bytes.iter().map(|byte| u16::from(*byte)).collect(),
        _ => bytes.as_chunks().0.iter().map(|two| u16::from_le_bytes(*two)).collect(),
    }
}

/// PSNR of 8-bit planes of one size, in dB; equal planes have 100.
pub fn psnr(one: &[u8], other: &[u8]) -> f64 {
    let squares: u64 = one.iter().zip(other).map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)).sum();
    if squares == 0 || one.is_empty() {
        return 100.0;
    }
    let mean = squares as f64 / one.len() as f64;
    (10.0 * (255.0 * 255.0 / mean).log10()).min(100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_bits_lie_in_the_upper_bits_of_sixteen() {
        assert_eq!(samples(&[0xc0, 0xff, 0x40, 0x00], Format::P016, 10), [1023, 1]);
        assert_eq!(planar(&[0xff, 0x03], 10), [1023]);
    }

    #[test]
    fn a_difference_of_one_level_everywhere_is_48_db() {
        assert!((psnr(&[10; 64], &[11; 64]) - 48.13).abs() < 0.01);
        assert!(psnr(&[1, 2], &[1, 2]) > 99.0);
    }
}
