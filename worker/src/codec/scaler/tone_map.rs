//! HDR pictures as SDR ones: a table of colours, which the graph's `haldclut` looks every sample up in.
//!
//! A colour becomes display light in BT.709 primaries; one curve says how bright it is shown. Its three components are
//! scaled alike, so hues stay, and no further than the largest reaches. The curve is drawn through points (parts of the
//! signal's range) and needs no metadata, which is often missing or wrong:
//!
//! | light (ITU-R BT.2408) | PQ | HLG | shown at |
//! |---|---|---|---|
//! | grey card | 0.38 | 0.38 | PQ 0.40, HLG 0.38 |
//! | white paper | 0.58 | 0.75 | PQ 0.67, HLG 0.77 |
//! | 1000 cd/m², peak of most masters | 0.75 | 1.00 | PQ 0.84, HLG 1.00 |
//!
//! HLG is made to be viewable on SDR screens as it is, so its signal is taken for SDR and only lifted a little.

use ffmpeg_next::format::Pixel;
use ffmpeg_next::frame;
use shared::source::DynamicRange;

/// Packed, because FFmpeg 5.1 swaps the components of planar tables.
pub const FORMAT: Pixel = Pixel::RGB48LE;

/// Bytes of a colour in it.
const BYTES: usize = 6;

/// Width and height of the table as a picture: FFmpeg calls this layout a Hald CLUT of level 7.
pub const SIDE_PX: u32 = 7 * 7 * 7;

/// Colours along each edge of the cube.
pub const EDGE: u32 = 7 * 7;

/// Gamma of an SDR screen (ITU-R BT.1886).
const GAMMA: f64 = 2.4;

/// What part of SDR's range is shown for a part of PQ's: its middle a little brighter, its black and white where they are.
const PQ: [(f64, f64); 9] = [
    (0.0, 0.0),
    (0.15, 0.112),
    (0.25, 0.217),
    (0.38, 0.40),
    (0.508, 0.57),
    (0.581, 0.67),
    (0.752, 0.84),
    (0.903, 0.95),
    (1.0, 1.0),
];

/// The same for HLG.
const HLG: [(f64, f64); 5] = [(0.0, 0.0), (0.15, 0.15), (0.38, 0.38), (0.75, 0.77), (1.0, 1.0)];

/// Linear BT.2020 to linear BT.709 (ITU-R BT.2087).
const TO_BT709: [[f64; 3]; 3] =
    [[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]];

/// Luminance of linear BT.709.
const LUMINANCE: [f64; 3] = [0.2126, 0.7152, 0.0722];

/// The table for a dynamic range: red runs fastest, then green, then blue.
pub fn colors(range: DynamicRange) -> Vec<[u16; 3]> {
    let part = |step: u32| f64::from(step) / f64::from(EDGE - 1);
    let rgb = |number: u32| [number % EDGE, number / EDGE % EDGE, number / (EDGE * EDGE)].map(part);
    let color = |number| shown(range, rgb(number)).map(|value| (value * 65535.0).round() as u16);
    (0..EDGE * EDGE * EDGE).map(color).collect()
}

/// The same as a picture.
pub fn table(range: DynamicRange) -> frame::Video {
    let mut picture = frame::Video::new(FORMAT, SIDE_PX, SIDE_PX);
    for (number, color) in colors(range).into_iter().enumerate() {
        let (x, y) = (number % SIDE_PX as usize, number / SIDE_PX as usize);
        let at = y * picture.stride(0) + x * BYTES;
        picture.data_mut(0)[at..at + BYTES].copy_from_slice(color.map(u16::to_le_bytes).as_flattened());
    }
    picture
}

/// R′G′B′ of BT.2020 to R′G′B′ of BT.709, each from 0 to 1.
pub(super) fn shown(range: DynamicRange, rgb: [f64; 3]) -> [f64; 3] {
    let light = rgb.map(|signal| if range == DynamicRange::Pq { pq_light(signal) } else { signal.powf(GAMMA) });
    let light = TO_BT709.map(|row| weigh(row, light));
    // Between the luminance, by which saturated colours would glare, and the largest component, by which they would be
    // too dark.
    let largest = light.into_iter().fold(0.0, f64::max);
    let measure = (weigh(LUMINANCE, light) + largest) / 2.0;
    if measure <= 0.0 {
        return [0.0; 3];
    }
    let signal = if range == DynamicRange::Pq { pq_signal(measure) } else { measure.powf(1.0 / GAMMA) };
    let shown = curve(if range == DynamicRange::Pq { &PQ } else { &HLG }, signal).powf(GAMMA);
    let scale = (shown / measure).min(1.0 / largest);
    light.map(|component| (component * scale).clamp(0.0, 1.0).powf(1.0 / GAMMA))
}

fn weigh(weights: [f64; 3], values: [f64; 3]) -> f64 {
    weights.iter().zip(values).map(|(weight, value)| weight * value).sum()
}

/// The smooth, rising line through the points: cubic pieces whose slope at a point is the harmonic mean of the slopes
/// to its neighbours (Fritsch and Butland, 1984).
fn curve(points: &[(f64, f64)], x: f64) -> f64 {
    let slope = |piece: usize| (points[piece + 1].1 - points[piece].1) / (points[piece + 1].0 - points[piece].0);
    let last = points.len() - 2;
    let piece = points.iter().rposition(|point| point.0 <= x).unwrap_or(0).min(last);
    let tangent = |point: usize| match point {
        0 => slope(0),
        point if point > last => slope(last),
        point => 2.0 / (1.0 / slope(point - 1) + 1.0 / slope(point)),
    };
    let ((x0, y0), (x1, y1)) = (points[piece], points[piece + 1]);
    let (width, t) = (x1 - x0, ((x - x0) / (x1 - x0)).clamp(0.0, 1.0));
    let (from, to) = (tangent(piece) * width, tangent(piece + 1) * width);
    let rest = 1.0 - t;
    rest * rest * (y0 * (1.0 + 2.0 * t) + from * t) + t * t * (y1 * (3.0 - 2.0 * t) - to * rest)
}

/// PQ's constants (ITU-R BT.2100 table 4).
const M1: f64 = 2610.0 / 16384.0;
const M2: f64 = 2523.0 / 4096.0 * 128.0;
const C1: f64 = 3424.0 / 4096.0;
const C2: f64 = 2413.0 / 4096.0 * 32.0;
const C3: f64 = 2392.0 / 4096.0 * 32.0;

/// Light of a PQ signal, 1 for 10,000 cd/m².
fn pq_light(signal: f64) -> f64 {
    let power = signal.powf(1.0 / M2);
    ((power - C1).max(0.0) / (C2 - C3 * power)).powf(1.0 / M1)
}

/// The reverse of [`pq_light`].
fn pq_signal(light: f64) -> f64 {
    let power = light.powf(M1);
    ((C1 + C2 * power) / (1.0 + C3 * power)).powf(M2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(range: DynamicRange, signal: f64) -> f64 {
        let [red, green, blue] = shown(range, [signal; 3]);
        assert!((red - green).abs() < 0.002 && (green - blue).abs() < 0.002, "grey is tinted");
        green
    }

    #[test]
    fn greys_of_known_light_are_shown_where_they_look_right() {
        let pq = |nits: f64| grey(DynamicRange::Pq, pq_signal(nits / 10_000.0));
        for (nits, wanted) in [(0.0, 0.0), (26.0, 0.40), (203.0, 0.67), (1000.0, 0.84), (10_000.0, 1.0)] {
            assert!((pq(nits) - wanted).abs() < 0.005, "{nits} cd/m2 is shown at {}", pq(nits));
        }
        for (signal, wanted) in [(0.0, 0.0), (0.38, 0.38), (0.75, 0.77), (1.0, 1.0)] {
            let shown = grey(DynamicRange::Hlg, signal);
            assert!((shown - wanted).abs() < 0.005, "HLG {signal} is shown at {shown}");
        }
    }

    #[test]
    fn more_light_is_never_shown_darker() {
        for range in [DynamicRange::Pq, DynamicRange::Hlg] {
            let shown: Vec<f64> = (0..=1000).map(|step| grey(range, f64::from(step) / 1000.0)).collect();
            assert!(shown.is_sorted());
        }
    }

    #[test]
    fn no_colour_leaves_the_range() {
        for range in [DynamicRange::Pq, DynamicRange::Hlg] {
            for number in 0..9 * 9 * 9 {
                let rgb = [number % 9, number / 9 % 9, number / 81].map(|step| f64::from(step) / 8.0);
                let out = shown(range, rgb);
                assert!(out.iter().all(|value| (0.0..=1.0).contains(value)), "{range:?} {rgb:?} becomes {out:?}");
            }
        }
    }

    #[test]
    fn a_hue_stays_whatever_its_brightness() {
        for brightness in [0.001, 0.01, 0.02] {
            let skin = [1.0, 0.7, 0.55].map(|part| part * brightness); // linear BT.2020
            let [red, green, blue] = TO_BT709.map(|row| weigh(row, skin));
            let out = shown(DynamicRange::Pq, skin.map(pq_signal)).map(|signal| signal.powf(GAMMA));
            assert!((out[1] / out[0] - green / red).abs() < 0.001 && (out[2] / out[0] - blue / red).abs() < 0.001);
        }
    }
}
