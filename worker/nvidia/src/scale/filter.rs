//! Weights of source samples along one axis: Lanczos with three lobes, made wider when a picture is made smaller so that
//! nothing aliases. Where the filter reaches over an edge, the picture goes on as in a mirror.
//!
//! Positions and weights are those of zimg, with which the software path scales, so that both give nearly the same
//! picture.

use std::f64::consts::PI;

/// What the weights of one output sample add up to; `WEIGHT_BITS` in `scale.cu`.
pub(super) const WEIGHT_SUM: i32 = 1 << 14;

/// Lobes of the filter on each side.
const LOBES: f64 = 3.0;

/// Where output samples lie among source samples, along one axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Axis {
    /// Source samples; at least 1.
    pub(super) source: u32,
    /// Output samples.
    pub(super) target: u32,
    /// Source samples for each output sample.
    pub(super) ratio: f64,
    /// Output sample `n` lies at `(n + ½) × ratio + offset`, source sample `n` at `n + ½`.
    pub(super) offset: f64,
}

/// For each output sample the first source sample it is made of, and the weights of that and the following ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) taps: usize,
    pub(super) first: Vec<i32>,
    /// `taps` for each output sample.
    pub(super) weights: Vec<i16>,
}

impl Filter {
    pub(super) fn new(axis: Axis) -> Self {
        let rows: Vec<(usize, Vec<i16>)> = (0..axis.target).map(|sample| row(axis, sample)).collect();
        let taps = rows.iter().map(|(_, weights)| weights.len()).max().unwrap_or(1);
        let last = (axis.source as usize).saturating_sub(taps);
        let mut filter = Self { taps, first: Vec::new(), weights: Vec::new() };
        for (left, weights) in rows {
            let first = left.min(last);
            let mut padded = vec![0; taps];
            padded[left - first..left - first + weights.len()].copy_from_slice(&weights);
            filter.first.push(i32::try_from(first).expect("an axis should be shorter than 2³¹ samples"));
            filter.weights.extend(padded);
        }
        filter
    }

    /// `first`, then `weights`, as kernels read them.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let first = self.first.iter().flat_map(|number| number.to_ne_bytes());
        first.chain(self.weights.iter().flat_map(|weight| weight.to_ne_bytes())).collect()
    }
}

/// The weights of one output sample, without zeros at the ends, and the source sample of the first.
fn row(axis: Axis, sample: u32) -> (usize, Vec<i16>) {
    let shrink = (1.0 / axis.ratio).min(1.0);
    let reach = (LOBES / shrink).ceil() as i64;
    let position = (f64::from(sample) + 0.5) * axis.ratio + axis.offset;
    let begin = (position - reach as f64).round() as i64;
    let parts: Vec<(usize, f64)> = (begin..begin + 2 * reach)
        .map(|place| (mirrored(place, axis.source), lanczos((place as f64 + 0.5 - position) * shrink)))
        .collect();
    let left = parts.iter().map(|part| part.0).min().unwrap_or(0);
    let right = parts.iter().map(|part| part.0).max().unwrap_or(0);
    let mut folded = vec![0.0; right - left + 1];
    for &(place, weight) in &parts {
        folded[place - left] += weight;
    }
    let total: f64 = parts.iter().map(|part| part.1).sum();
    let weights = rounded(folded.iter().map(|weight| weight / total * f64::from(WEIGHT_SUM)));
    let skip = weights.iter().position(|weight| *weight != 0).unwrap_or(0);
    let end = weights.iter().rposition(|weight| *weight != 0).map_or(1, |last| last + 1);
    (left + skip, weights[skip..end].to_vec())
}

fn lanczos(x: f64) -> f64 {
    let sinc = |x: f64| if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) };
    if x.abs() < LOBES { sinc(x) * sinc(x / LOBES) } else { 0.0 }
}

/// The sample that is seen at a place, which may lie beyond an edge.
fn mirrored(place: i64, samples: u32) -> usize {
    let samples = i64::from(samples);
    let seen = match place {
        before if before < 0 => -before - 1,
        beyond if beyond >= samples => 2 * samples - 1 - beyond,
        within => within,
    };
    seen.clamp(0, samples - 1) as usize
}

/// Whole numbers that add up to [`WEIGHT_SUM`]: each takes over what its neighbour was rounded by, the largest the rest.
fn rounded(weights: impl Iterator<Item = f64>) -> Vec<i16> {
    let mut carried = 0.0;
    let mut whole: Vec<i16> = weights
        .map(|weight| {
            let wanted = weight - carried;
            let given = wanted.round_ties_even();
            carried = given - wanted;
            given as i16
        })
        .collect();
    let rest = WEIGHT_SUM - whole.iter().map(|weight| i32::from(*weight)).sum::<i32>();
    if let Some(largest) = whole.iter_mut().max_by_key(|weight| weight.unsigned_abs()) {
        *largest += rest as i16;
    }
    whole
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(source: u32, target: u32) -> Axis {
        Axis { source, target, ratio: f64::from(source) / f64::from(target), offset: 0.0 }
    }

    proptest! {
        #[test]
        fn weights_add_up_and_stay_in_the_picture(source in 1u32..400, target in 1u32..400, offset in -1.0..1.0f64) {
            let filter = Filter::new(Axis { offset, ..plain(source, target) });
            prop_assert_eq!(filter.first.len(), target as usize);
            prop_assert!(filter.taps <= source as usize);
            for (first, weights) in filter.first.iter().zip(filter.weights.chunks(filter.taps)) {
                prop_assert_eq!(weights.iter().map(|weight| i32::from(*weight)).sum::<i32>(), WEIGHT_SUM);
                prop_assert!(*first >= 0 && *first as usize + filter.taps <= source as usize);
                // 65535 times the positive weights must fit 32 bits with their sign.
                let positive: i64 = weights.iter().map(|weight| i64::from((*weight).max(0))).sum();
                prop_assert!(positive * 65535 + 8192 <= i64::from(i32::MAX));
            }
        }
    }

    #[test]
    fn the_same_size_is_the_same_picture() {
        let filter = Filter::new(plain(17, 17));
        assert_eq!(filter.taps, 1);
        assert!(filter.weights.iter().all(|weight| i32::from(*weight) == WEIGHT_SUM));
        assert_eq!(filter.first, (0..17).collect::<Vec<i32>>());
    }

    #[test]
    fn a_smaller_picture_is_made_of_more_samples() {
        assert!(Filter::new(plain(1280, 1920)).taps <= 6);
        assert!((8..=10).contains(&Filter::new(plain(1920, 1280)).taps));
        assert!((16..=18).contains(&Filter::new(plain(1920, 640)).taps));
    }

    #[test]
    fn the_largest_table_fits_a_kernels_numbers() {
        let filter = Filter::new(plain(16384, 2));
        assert!(filter.taps <= 16384);
        assert_eq!(
            filter.weights.chunks(filter.taps).map(|row| row.iter().map(|w| i32::from(*w)).sum::<i32>()).min(),
            Some(WEIGHT_SUM)
        );
    }
}
