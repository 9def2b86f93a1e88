//! Where each decoded frame belongs, by its presentation time and by what came before it.
//!
//! Sound is a row of samples, but containers only give a time a frame, rounded (to whole milliseconds in Matroska and
//! FLV) and jittered (by up to a frame from live encoders). So samples are counted, and a frame's own time is believed
//! in two cases only:
//!
//! - it is further from the count than [`TOLERANCE_MS`], or
//! - something is known to be missing or to have come twice.
//!
//! Then a gap is filled with silence and an overlap is dropped, exactly.

use shared::time::Timescale;

/// How far a frame's time may be from the count of samples before it is believed: 40 ms.
///
/// More than the jitter of sound sources, 1.5 frames of AAC or MP3 (32 ms at 48 kHz, 39 ms at 44.1 kHz), less than the
/// 45 ms of lead at which a viewer begins to notice (ITU-R BT.1359). The offset never adds up: whatever drift a source
/// has, the sound is at most this far from where it belongs.
pub const TOLERANCE_MS: i64 = 40;

/// What to do with a frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Placement {
    /// Samples of silence that belong before the frame.
    pub silence: u64,
    /// Samples at the frame's start that lie before the presentation's start.
    pub early: usize,
    /// Samples at the frame's start that are dropped because their time is taken.
    pub overlap: usize,
}

/// The count of samples of one stream.
#[derive(Debug)]
pub struct Timeline {
    ticks: Timescale,
    rate: Timescale,
    next: Option<i64>, // position of the next sample, in samples; `None` until one is kept
    start: i64,        // position of a first frame without a time
    last_pts: Option<i64>,
    lost: bool, // the next frame's time is to be believed
}

impl Timeline {
    /// For frames whose times are in `ticks`, with `rate` samples per second.
    pub fn new(ticks: Timescale, rate: Timescale) -> Self {
        Self { ticks, rate, next: None, start: 0, last_pts: None, lost: false }
    }

    /// Samples per second.
    pub fn rate(&self) -> Timescale {
        self.rate
    }

    /// From now on frames have `rate` samples per second.
    pub fn set_rate(&mut self, rate: Timescale) {
        self.next = self.next.map(|next| rate.rescale_nearest(next, self.rate));
        self.start = rate.rescale_nearest(self.start, self.rate);
        self.rate = rate;
    }

    /// The first frames have no times, but `samples` samples after their start comes a frame that has: they lie directly
    /// before it. Decoders that put frames together from several packets begin so.
    pub fn start_before(&mut self, pts: i64, samples: usize) {
        self.start = self.rate.rescale_nearest(pts, self.ticks).saturating_sub(samples as i64);
    }

    /// Something is missing before the next frame: its time is to be believed.
    pub fn note_loss(&mut self) {
        self.lost = true;
    }

    /// Position after the last sample that was kept, in samples from the presentation's start; `None` before the first.
    pub fn position(&self) -> Option<i64> {
        self.next
    }

    /// Places a frame of `samples` samples. A frame without a time follows the one before it.
    pub fn place(&mut self, pts: Option<i64>, samples: usize) -> Placement {
        let length = samples as i64;
        let at = pts.map(|pts| self.rate.rescale_nearest(pts, self.ticks));
        let again = pts.is_some() && pts == self.last_pts;
        self.last_pts = pts.or(self.last_pts);
        let Some(next) = self.next else { return self.place_first(at.unwrap_or(self.start), length) };

        let off = at.map_or(0, |at| at.saturating_sub(next));
        let tolerance = if self.lost || again { self.rounding() } else { self.tolerance() };
        if off > tolerance {
            self.keep(next.saturating_add(off), length);
            Placement { silence: off.unsigned_abs(), ..Placement::default() }
        } else if off < -tolerance {
            let overlap = off.saturating_neg().min(length);
            if overlap < length {
                self.keep(next, length - overlap);
            } else {
                self.lost = true;
            }
            Placement { overlap: overlap as usize, ..Placement::default() }
        } else {
            self.keep(next, length);
            Placement::default()
        }
    }

    fn place_first(&mut self, at: i64, length: i64) -> Placement {
        let early = at.min(0).saturating_neg().min(length);
        if early < length {
            self.keep(at.max(0), length - early);
        } else {
            self.start = at.saturating_add(length);
        }
        Placement { early: early as usize, ..Placement::default() }
    }

    fn keep(&mut self, at: i64, length: i64) {
        self.next = Some(at.saturating_add(length));
        self.lost = false;
    }

    fn tolerance(&self) -> i64 {
        self.rate.rescale_floor(TOLERANCE_MS, Timescale::MILLIS).max(self.rounding())
    }

    /// What two rounded times can be apart without meaning anything: a tick, and a sample.
    fn rounding(&self) -> i64 {
        self.rate.rescale_ceil(1, self.ticks) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENT: Placement = Placement { silence: 0, early: 0, overlap: 0 };

    fn scale(value: u32) -> Timescale {
        Timescale::new(value).unwrap()
    }

    fn started(ticks: u32, rate: u32, frames: i64) -> Timeline {
        let mut timeline = Timeline::new(scale(ticks), scale(rate));
        for frame in 0..frames {
            let pts = scale(ticks).rescale_nearest(frame * 1024, scale(rate));
            assert_eq!(timeline.place(Some(pts), 1024), SILENT, "{frame}");
        }
        timeline
    }

    #[test]
    fn milliseconds_never_move_a_sample() {
        let timeline = started(1000, 44_100, 200_000);
        assert_eq!(timeline.position(), Some(200_000 * 1024));
    }

    #[test]
    fn jitter_of_a_frame_never_moves_a_sample() {
        let mut timeline = Timeline::new(scale(48_000), scale(48_000));
        for frame in 0..10_000i64 {
            let jitter = [0, 700, -900, 1024, -300][frame as usize % 5];
            assert_eq!(timeline.place(Some((frame * 1024 + jitter).max(0)), 1024), SILENT, "{frame}");
        }
    }

    #[test]
    fn drift_is_corrected_before_it_is_noticed() {
        let (mut timeline, mut filled) = (Timeline::new(scale(48_000), scale(48_000)), 0);
        for frame in 0..100_000i64 {
            let true_time = frame * 1025; // the source's clock is 0.1 % slow
            filled += timeline.place(Some(true_time), 1024).silence as i64;
            let off = true_time + 1024 - timeline.position().unwrap();
            assert!(off.abs() <= 48 * TOLERANCE_MS, "{off} samples off at frame {frame}");
        }
        assert!((filled - 100_000).abs() <= 48 * TOLERANCE_MS);
    }

    #[test]
    fn gaps_are_filled_exactly() {
        let mut timeline = started(90_000, 48_000, 10);
        let gap = Placement { silence: 48_000, ..SILENT };
        assert_eq!(timeline.place(Some(10 * 1920 + 90_000), 1024), gap);
        assert_eq!(timeline.place(Some(11 * 1920 + 90_000), 1024), SILENT);
    }

    #[test]
    fn overlaps_are_dropped_exactly() {
        let mut timeline = started(48_000, 48_000, 10);
        assert_eq!(timeline.place(Some(10 * 1024 - 2000), 1024), Placement { overlap: 1024, ..SILENT });
        assert_eq!(timeline.place(Some(10 * 1024 - 976), 2048), Placement { overlap: 976, ..SILENT });
        assert_eq!(timeline.position(), Some(10 * 1024 + 1072));
    }

    #[test]
    fn one_lost_frame_is_filled_although_it_is_short() {
        let mut timeline = started(1000, 48_000, 10);
        timeline.note_loss();
        let pts = scale(1000).rescale_nearest(11 * 1024, scale(48_000));
        let silence = timeline.place(Some(pts), 1024).silence;
        assert!(silence.abs_diff(1024) <= 48, "{silence}");
    }

    #[test]
    fn frame_that_comes_twice_is_dropped() {
        let mut timeline = started(90_000, 48_000, 10);
        assert_eq!(timeline.place(Some(9 * 1920), 1024), Placement { overlap: 1024, ..SILENT });
        assert_eq!(timeline.place(Some(10 * 1920), 1024), SILENT);
    }

    #[test]
    fn what_lies_before_the_start_is_cut() {
        let mut timeline = Timeline::new(scale(48_000), scale(48_000));
        assert_eq!(timeline.place(Some(-1324), 1024), Placement { early: 1024, ..SILENT });
        assert_eq!(timeline.place(Some(-300), 1024), Placement { early: 300, ..SILENT });
        assert_eq!(timeline.position(), Some(724));
        assert_eq!(timeline.place(None, 1024), SILENT);
    }

    #[test]
    fn first_frames_without_times_lie_before_the_first_that_has_one() {
        let mut timeline = Timeline::new(scale(1000), scale(48_000));
        timeline.start_before(100, 3 * 1024);
        assert_eq!([0; 3].map(|_| timeline.place(None, 1024)), [SILENT; 3]);
        assert_eq!(timeline.position(), Some(4800));
        assert_eq!(timeline.place(Some(100), 1024), SILENT);

        let mut timeline = Timeline::new(scale(48_000), scale(48_000));
        timeline.start_before(1000, 2 * 1024);
        assert_eq!(timeline.place(None, 1024), Placement { early: 1024, ..SILENT });
        assert_eq!(timeline.place(None, 1024), Placement { early: 24, ..SILENT });
        assert_eq!(timeline.place(Some(1000), 1024), SILENT);
    }

    #[test]
    fn a_change_of_rate_keeps_the_time() {
        let mut timeline = started(90_000, 48_000, 375); // 8 s
        timeline.set_rate(scale(32_000));
        assert_eq!(timeline.position(), Some(256_000));
        assert_eq!(timeline.place(Some(720_000), 1024), SILENT);
    }

    #[test]
    fn absurd_times_do_not_overflow() {
        for pts in [i64::MIN, i64::MAX, 0, i64::MIN + 1, i64::MAX - 1] {
            let mut timeline = started(1, 192_000, 1);
            timeline.place(Some(pts), 1024);
            timeline.place(Some(pts.wrapping_neg()), 1024);
            let mut fresh = Timeline::new(scale(1), scale(192_000));
            fresh.place(Some(pts), 1024);
            fresh.place(None, 1024);
        }
    }
}
