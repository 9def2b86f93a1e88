//! Decode times of reordered video.
//!
//! A segment knows nothing of its neighbours, so its first frame is decoded at its presentation time, and frames shown
//! out of order would have to be decoded after they are shown. Media time is therefore presentation time + a delay, and
//! an edit list takes the delay back (ISO/IEC 14496-12 8.6.6):
//!
//! ```text
//! shown      I0  B1  B2  P3        decode time        0  1  2  3
//! decoded    I0  P3  B1  B2        + composition      2  4  1  1      = media time, delay 2
//! ```
//!
//! Offsets that are negative would say the same without a delay, but FFmpeg's reader moves such a track by its lowest
//! offset, away from the audio.

use crate::time::{FrameRate, Timescale};

/// Frames by which H.264 and H.265 encoders with B-pyramids decode ahead (`max_num_reorder_frames`).
const REORDERED_FRAMES: u64 = 2;

/// Ticks by which media time is behind presentation time: the time of [`REORDERED_FRAMES`] average frames, at most a
/// second, and enough ticks to tell those frames apart. Coordinator and workers compute it alone.
pub fn reorder_delay(timescale: Timescale, rate: FrameRate) -> u32 {
    let second = u64::from(timescale.get());
    let ticks = (REORDERED_FRAMES * u64::from(rate.denominator) * second).div_ceil(u64::from(rate.numerator.max(1)));
    ticks.min(second).max(REORDERED_FRAMES) as u32
}

/// Decode times of one segment's frames, whose presentation times are given in decode order.
///
/// They increase, the first is the first frame's presentation time, and none is later than its frame's presentation
/// time + `delay`. At a constant rate they are the sorted presentation times; where a gap makes reordering take longer
/// than `delay`, some are earlier.
///
/// `None` if the first frame is not the first shown, or if frames are too near to each other for that.
pub fn decode_times(pts: &[i64], delay: u32) -> Option<Vec<i64>> {
    let mut times = pts.to_vec();
    times.sort_unstable();
    let mut latest = i64::MAX;
    for (time, pts) in times.iter_mut().zip(pts).rev() {
        *time = latest.min(*time).min(pts.saturating_add(delay.into()));
        latest = time.saturating_sub(1);
    }
    (times.first() == pts.iter().min() && times.first() == pts.first()).then_some(times)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(numerator: u32, denominator: u32) -> FrameRate {
        FrameRate { numerator, denominator }
    }

    #[test]
    fn the_delay_is_two_frames_and_never_more_than_a_second() {
        let ticks = |timescale, rate| reorder_delay(Timescale::new(timescale).unwrap(), rate);
        assert_eq!(ticks(12_800, rate(25, 1)), 1_024);
        assert_eq!(ticks(90_000, rate(30_000, 1_001)), 6_006);
        assert_eq!(ticks(1_000, rate(30_000, 1_001)), 67);
        assert_eq!(ticks(1_000, rate(1, 1)), 1_000);
        assert_eq!(ticks(1_000, rate(0, 1)), 1_000);
        assert_eq!(ticks(25, rate(50, 1)), 2);
    }

    #[test]
    fn constant_rates_are_decoded_at_that_rate() {
        let pts = [0, 4, 2, 1, 3, 8, 6, 5, 7].map(|frame| 3_003 * frame);
        let times = decode_times(&pts, 6_006).unwrap();
        assert_eq!(times, [0, 1, 2, 3, 4, 5, 6, 7, 8].map(|frame| 3_003 * frame));
    }

    #[test]
    fn frames_around_a_gap_are_decoded_before_it() {
        let times = decode_times(&[0, 10_000, 50, 25, 9_000], 50).unwrap();
        assert_eq!(times, [0, 25, 50, 75, 9_050]);
        let times = decode_times(&[0, 10_000, 9_000, 25, 50], 50).unwrap();
        assert_eq!(times, [0, 25, 50, 75, 100]);
    }

    #[test]
    fn frames_at_one_time_and_a_late_first_frame_are_refused() {
        assert_eq!(decode_times(&[0, 0], 50), None);
        assert_eq!(decode_times(&[5, 0], 50), None);
    }

    proptest! {
        #[test]
        fn no_frame_is_decoded_late(steps in proptest::collection::vec(3i64..5_000, 1..60), swaps: u64, delay in 3u32..9_000) {
            let mut pts: Vec<i64> = steps.iter().scan(0, |time, step| { *time += step; Some(*time) }).collect();
            // Reordered as with B-pyramids: in groups of 5, the last is decoded first, then the middle one.
            for (group, frames) in pts[1..].chunks_mut(5).enumerate() {
                if swaps >> (group % 64) & 1 == 1 {
                    frames.rotate_right(1);
                    let (_, rest) = frames.split_at_mut(1);
                    let middle = rest.len().div_ceil(2);
                    rest[..middle].rotate_right(middle.min(1));
                }
            }
            let times = decode_times(&pts, delay).unwrap();
            prop_assert_eq!(times[0], pts[0]);
            prop_assert!(times.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(times.iter().zip(&pts).all(|(time, pts)| *time <= pts + i64::from(delay)));
        }
    }
}
