//! Measured bit rates, as RFC 8216 4.3.4.2 defines them.

use shared::task::SegmentInfo;

use super::outline::Listing;

/// Bit rates of a track, headers included, rounded up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Rate {
    /// Largest of any run of segments that lasts 0.5 to 1.5 target durations.
    pub(super) peak_bps: u64,
    /// Of all segments.
    pub(super) average_bps: u64,
}

impl Rate {
    /// Of the segments that a listing leads to. `target_s` is the target duration.
    pub(super) fn of(listing: &Listing, target_s: u64) -> Self {
        Self::measure(listing, target_s, |segment| segment.object.size)
    }

    /// Of the ranges that an I-frame playlist leads to.
    pub(super) fn of_i_frames(listing: &Listing, target_s: u64) -> Self {
        Self::measure(listing, target_s, |segment| segment.first_sample_end)
    }

    /// The larger of each.
    pub(super) fn max(self, other: Self) -> Self {
        Self { peak_bps: self.peak_bps.max(other.peak_bps), average_bps: self.average_bps.max(other.average_bps) }
    }

    /// Of both played together.
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            peak_bps: self.peak_bps.saturating_add(other.peak_bps),
            average_bps: self.average_bps.saturating_add(other.average_bps),
        }
    }

    fn measure(listing: &Listing, target_s: u64, size: impl Fn(&SegmentInfo) -> u64) -> Self {
        let ticks_per_second = u128::from(listing.timescale.get());
        let target = u128::from(target_s) * ticks_per_second;
        let pieces: Vec<(u128, u128)> = listing
            .segments
            .iter()
            .zip(&listing.timeline)
            .map(|(segment, (_, duration))| (u128::from(size(segment)) * 8, u128::from(*duration)))
            .collect();
        let bps = |bits: u128, ticks: u128| (bits * ticks_per_second).div_ceil(ticks.max(1));
        let (mut peak, mut all_bits, mut all_ticks) = (0, 0, 0);
        for (first, piece) in pieces.iter().enumerate() {
            (all_bits, all_ticks) = (all_bits + piece.0, all_ticks + piece.1);
            let (mut bits, mut ticks) = (0, 0);
            // Two neighbours last at least one grid step, so this ends after a few.
            for piece in &pieces[first..] {
                (bits, ticks) = (bits + piece.0, ticks + piece.1);
                if ticks * 2 > target * 3 {
                    break;
                }
                if ticks * 2 >= target {
                    peak = peak.max(bps(bits, ticks));
                }
            }
        }
        let average = bps(all_bits, all_ticks);
        let clamp = |bps: u128| u64::try_from(bps).unwrap_or(u64::MAX);
        Self { peak_bps: clamp(peak.max(average)), average_bps: clamp(average) }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use shared::task::StoredObject;
    use shared::time::Timescale;

    use super::*;
    use crate::stitch::fixture::segment;

    #[test]
    fn the_peak_is_that_of_any_run_near_the_target_duration() {
        // Duration in ms and bytes of each segment; peak and average in bits per second, for a target of 6 s.
        type Case = (&'static [(u64, u64)], u64, u64);
        let cases: [Case; 6] = [
            (&[(6000, 750_000)], 1_000_000, 1_000_000),
            (&[(6000, 750_000), (6000, 1_500_000)], 2_000_000, 1_500_000),
            // A tail under 3 s counts only together with what comes before it.
            (&[(6000, 750_000), (1000, 1_000_000)], 2_000_000, 2_000_000),
            (&[(6000, 750_000), (3000, 750_000)], 2_000_000, 1_333_334),
            // Nothing but a tail.
            (&[(1000, 125_000)], 1_000_000, 1_000_000),
            (&[(4000, 1), (4000, 1_000_000), (4000, 1_000_000)], 2_000_000, 1_333_334),
        ];
        for (pieces, peak_bps, average_bps) in cases {
            let segments: Vec<SegmentInfo> =
                pieces.iter().zip(0..).map(|((ms, bytes), number)| segment("v", number, 0, *ms, 1, *bytes)).collect();
            let listing = Listing {
                name: "v",
                codecs: String::new(),
                init: StoredObject::of("", b""),
                init_bytes: Bytes::new(),
                outgrown: Vec::new(),
                timescale: Timescale::MILLIS,
                timeline: pieces.iter().map(|(ms, _)| (0, *ms)).collect(),
                segments: &segments,
                until: 0,
            };
            assert_eq!(Rate::of(&listing, 6), Rate { peak_bps, average_bps }, "{pieces:?}");
        }
    }
}
