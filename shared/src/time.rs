//! Media time: integer ticks with a timescale, and the segment grid.
//!
//! No arithmetic crosses timescales without a named rounding. Seconds as `f64` exist only for people and in playlist
//! text.

use std::fmt;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

/// Ticks per second of a track or stream. Never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Timescale(NonZeroU32);

impl Timescale {
    /// Milliseconds.
    pub const MILLIS: Self = Self(NonZeroU32::new(1000).expect("1000 should not be zero"));

    /// `None` iff `ticks_per_second` is zero.
    pub const fn new(ticks_per_second: u32) -> Option<Self> {
        match NonZeroU32::new(ticks_per_second) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    /// Ticks per second.
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    /// Ticks of `self` that lie at or just before `ticks` of `from`.
    pub fn rescale_floor(self, ticks: i64, from: Timescale) -> i64 {
        saturate((i128::from(ticks) * i128::from(self.get())).div_euclid(i128::from(from.get())))
    }

    /// Ticks of `self` that lie at or just after `ticks` of `from`.
    pub fn rescale_ceil(self, ticks: i64, from: Timescale) -> i64 {
        let scaled = i128::from(ticks) * i128::from(self.get());
        saturate(-(-scaled).div_euclid(i128::from(from.get())))
    }

    /// Ticks of `self` nearest to `ticks` of `from`; a half rounds up.
    pub fn rescale_nearest(self, ticks: i64, from: Timescale) -> i64 {
        let scaled = i128::from(ticks) * i128::from(self.get()) * 2 + i128::from(from.get());
        saturate(scaled.div_euclid(2 * i128::from(from.get())))
    }

    /// Seconds, for people and playlist text only.
    pub fn seconds(self, ticks: i64) -> f64 {
        ticks as f64 / f64::from(self.get())
    }
}

fn saturate(value: i128) -> i64 {
    value.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

impl fmt::Display for Timescale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1/{}", self.get())
    }
}

/// A point on the presentation's timeline; zero is the presentation's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaTime {
    /// May be negative for priming and preroll.
    pub ticks: i64,
    /// Ticks per second.
    pub timescale: Timescale,
}

impl MediaTime {
    /// A point `ticks` after the presentation's start.
    pub const fn new(ticks: i64, timescale: Timescale) -> Self {
        Self { ticks, timescale }
    }

    /// Seconds, for people and playlist text only.
    pub fn seconds(self) -> f64 {
        self.timescale.seconds(self.ticks)
    }
}

impl fmt::Display for MediaTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} s", self.seconds())
    }
}

/// Frames per second as a fraction. An average for variable-rate sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameRate {
    /// Frames.
    pub numerator: u32,
    /// Seconds in which `numerator` frames are shown. Never zero.
    pub denominator: u32,
}

impl FrameRate {
    /// Frames per second, for people and playlist text only.
    pub fn per_second(self) -> f64 {
        f64::from(self.numerator) / f64::from(self.denominator.max(1))
    }
}

/// Where segments and GOPs are cut: the same for every rendition of a job.
///
/// Segment number = ⌊presentation time ÷ segment duration⌋, GOP number likewise; both are integer divisions that each
/// worker does alone, and every segment edge is a GOP edge. Numbers start at 0. A tail too short to be a segment of its
/// own belongs to the last segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentGrid {
    segment_ms: u32,
    gops_per_segment: u32,
}

impl SegmentGrid {
    /// Shortest segment that may be asked for, in milliseconds.
    pub const SHORTEST_MS: u32 = 2_000;
    /// Longest segment that may be asked for, in milliseconds.
    pub const LONGEST_MS: u32 = 10_000;
    /// A last segment shorter than this is merged into the one before it, in milliseconds.
    pub const SHORTEST_TAIL_MS: u32 = 1_000;

    /// A grid of `segment_ms` segments, each of GOPs as near to two seconds as divides it.
    /// `None` if the duration is outside [`Self::SHORTEST_MS`]..=[`Self::LONGEST_MS`].
    pub fn new(segment_ms: u32) -> Option<Self> {
        let gops_per_segment = (segment_ms / 2_000).max(1);
        (Self::SHORTEST_MS..=Self::LONGEST_MS).contains(&segment_ms).then_some(Self { segment_ms, gops_per_segment })
    }

    /// Segment duration in milliseconds.
    pub fn segment_ms(self) -> u32 {
        self.segment_ms
    }

    /// GOPs in each segment.
    pub fn gops_per_segment(self) -> u32 {
        self.gops_per_segment
    }

    /// The segment in which a presentation time lies. Negative times belong to segment 0.
    pub fn segment_of(self, time: MediaTime) -> u64 {
        self.divide(time, 1)
    }

    /// The GOP in which a presentation time lies, counted from the presentation's start.
    pub fn gop_of(self, time: MediaTime) -> u64 {
        self.divide(time, self.gops_per_segment)
    }

    fn divide(self, time: MediaTime, parts: u32) -> u64 {
        let scaled = u128::from(time.ticks.max(0) as u64) * 1000 * u128::from(parts);
        (scaled / (u128::from(time.timescale.get()) * u128::from(self.segment_ms))) as u64
    }

    /// The first tick of a segment: the smallest with `segment_of` = `segment`.
    pub fn start_of(self, segment: u64, timescale: Timescale) -> i64 {
        let ms = i64::try_from(segment).unwrap_or(i64::MAX).saturating_mul(i64::from(self.segment_ms));
        timescale.rescale_ceil(ms, Timescale::MILLIS)
    }

    /// The number of segments of a presentation that ends at `end`: at least 1, and a tail shorter than
    /// [`Self::SHORTEST_TAIL_MS`] does not count.
    pub fn count_until(self, end: MediaTime) -> u64 {
        let whole = self.segment_of(end);
        let tail = end.ticks - self.start_of(whole, end.timescale);
        let shortest = end.timescale.rescale_ceil(i64::from(Self::SHORTEST_TAIL_MS), Timescale::MILLIS);
        (if tail >= shortest { whole + 1 } else { whole }).max(1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scale(value: u32) -> Timescale {
        Timescale::new(value).unwrap()
    }

    #[test]
    fn chunks_partition_constant_rate_frames_exactly() {
        for (timescale, duration) in [(30000, 1001), (24000, 1001), (25, 1), (60000, 1001), (90000, 3003)] {
            for segment_ms in [2000, 6000] {
                let grid = SegmentGrid::new(segment_ms).unwrap();
                let mut counts = std::collections::BTreeMap::new();
                for frame in 0..20_000i64 {
                    let time = MediaTime::new(frame * duration, scale(timescale));
                    *counts.entry(grid.segment_of(time)).or_insert(0u32) += 1;
                }
                counts.pop_last();
                let (low, high) = (counts.values().min().unwrap(), counts.values().max().unwrap());
                assert!(high - low <= 1, "{timescale}/{duration} {segment_ms}: {low}..{high}");
                assert!(counts.keys().copied().eq(0..counts.len() as u64), "a segment is empty");
            }
        }
    }

    #[test]
    fn short_tail_belongs_to_the_segment_before() {
        let grid = SegmentGrid::new(6000).unwrap();
        for (end_ms, count) in
            [(0, 1), (10, 1), (5_999, 1), (6_000, 1), (6_999, 1), (7_000, 2), (12_000, 2), (12_999, 2)]
        {
            assert_eq!(grid.count_until(MediaTime::new(end_ms, Timescale::MILLIS)), count, "{end_ms}");
        }
    }

    #[test]
    fn rescaling_names_its_rounding() {
        assert_eq!(scale(3).rescale_floor(-1, scale(2)), -2);
        assert_eq!(scale(3).rescale_ceil(-1, scale(2)), -1);
        assert_eq!(scale(3).rescale_nearest(1, scale(2)), 2);
        assert_eq!(scale(u32::MAX).rescale_floor(i64::MAX, scale(1)), i64::MAX);
    }

    proptest! {
        #[test]
        fn start_of_is_the_first_tick_of_its_segment(segment in 0u64..1_000_000, timescale in 1u32..1_000_000, ms in 2000u32..=10_000) {
            let (grid, timescale) = (SegmentGrid::new(ms).unwrap(), scale(timescale));
            let first = grid.start_of(segment, timescale);
            prop_assert!(grid.segment_of(MediaTime::new(first, timescale)) >= segment);
            prop_assert!(first == 0 || grid.segment_of(MediaTime::new(first - 1, timescale)) < segment);
        }

        #[test]
        fn segment_edges_are_gop_edges(ticks in 0i64..1 << 40, timescale in 1u32..1_000_000, ms in 2000u32..=10_000) {
            let (grid, time) = (SegmentGrid::new(ms).unwrap(), MediaTime::new(ticks, scale(timescale)));
            prop_assert_eq!(grid.gop_of(time) / u64::from(grid.gops_per_segment()), grid.segment_of(time));
        }
    }
}
