//! Which rungs a source deserves. Pure.
//!
//! Whatever is asked for, a picture keeps its shape and is never made larger than the source; portrait sources turn the
//! boxes ("1080p" is the short side). The dropping rules (short clips, rungs too close together) apply to
//! [`Rungs::Auto`] only.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use shared::rendition::{RateControl, VideoRendition};
use shared::source::VideoStream;

use crate::profile::{Profile, RungProfile, VideoProfile};

/// Which of a profile's rungs are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rungs {
    /// Those that the rules leave.
    #[default]
    Auto,
    /// All that are not larger than the source.
    All,
    /// Those with one of these box heights that are not larger than the source.
    Named(Vec<u32>),
}

impl FromStr for Rungs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let height = |part: &str| {
            let digits = part.trim().trim_end_matches('p');
            digits.parse().map_err(|_| format!("{part:?} is neither auto, all nor a height like 720"))
        };
        match text {
            "auto" => Ok(Self::Auto),
            "all" => Ok(Self::All),
            _ => text.split(',').map(height).collect::<Result<_, _>>().map(Self::Named),
        }
    }
}

/// As it is parsed.
impl fmt::Display for Rungs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::All => f.write_str("all"),
            Self::Named(heights) => f.write_str(&heights.iter().map(u32::to_string).collect::<Vec<_>>().join(",")),
        }
    }
}

impl Rungs {
    /// Complains of heights that the profile does not have.
    pub fn check(&self, profile: &Profile) -> Result<(), String> {
        let Self::Named(heights) = self else { return Ok(()) };
        let known: Vec<u32> = profile.video.iter().flat_map(|video| &video.rungs).map(|rung| rung.height_px).collect();
        match heights.iter().find(|height| !known.contains(height)) {
            None => Ok(()),
            Some(height) => {
                let known: Vec<String> = known.iter().map(u32::to_string).collect();
                let name = &profile.name;
                Err(format!("profile {name} has no rung of height {height}; it has {}", known.join(", ")))
            }
        }
    }
}

/// The video renditions of a job, and what was left out.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Ladder {
    /// Largest first.
    pub video: Vec<VideoRendition>,
    /// In the profile's order.
    pub dropped: Vec<Dropped>,
}

/// A rung of the profile that is not made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// Its name.
    pub rung: String,
    /// A sentence.
    pub reason: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Size {
    width: u32,
    height: u32,
}

impl Size {
    fn pixels(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// The rungs of `profile` that `stream` deserves. `declared_ms` is the container's word on the duration.
pub fn ladder(profile: &Profile, stream: &VideoStream, declared_ms: Option<u64>, rungs: &Rungs) -> Ladder {
    let mut made = Ladder::default();
    let Some(video) = &profile.video else { return made };
    let (width, height) = stream.display_size();
    let source = Size { width, height };
    let wanted: Vec<&RungProfile> = video
        .rungs
        .iter()
        .filter(|rung| match unwanted(rung, video, declared_ms, rungs) {
            None => true,
            Some(reason) => {
                made.dropped.push(Dropped { rung: rung.name.clone(), reason });
                false
            }
        })
        .collect();
    // Boxes that hold the whole source all give its own size: the smallest of them is enough.
    let whole = wanted.iter().rposition(|rung| holds(rung, source));
    let mut smaller: Option<Size> = None;
    for (position, rung) in wanted.into_iter().enumerate() {
        let size = fit(source, rung);
        let reason = if whole.is_some_and(|last| position < last) {
            Some(format!("The source ({source}) is no larger than the next smaller rung."))
        } else {
            smaller.and_then(|larger| too_close(size, larger, video, rungs))
        };
        match reason {
            Some(reason) => made.dropped.push(Dropped { rung: rung.name.clone(), reason }),
            None => {
                made.video.push(rendition(rung, size, holds(rung, source), video.buffer_seconds));
                smaller = Some(size);
            }
        }
    }
    made
}

/// Why a rung is not considered, whatever the size of the source.
fn unwanted(rung: &RungProfile, video: &VideoProfile, declared_ms: Option<u64>, rungs: &Rungs) -> Option<String> {
    match rungs {
        Rungs::All => None,
        Rungs::Named(heights) => (!heights.contains(&rung.height_px)).then(|| "It was not asked for.".to_owned()),
        Rungs::Auto => {
            let rule = video.short_clip.as_ref()?;
            let short = declared_ms.is_some_and(|ms| ms < u64::from(rule.seconds) * 1000);
            (short && !rule.rungs.contains(&rung.name)).then(|| {
                format!("The clip is shorter than {} s and gets only {}.", rule.seconds, rule.rungs.join(" and "))
            })
        }
    }
}

fn too_close(size: Size, larger: Size, video: &VideoProfile, rungs: &Rungs) -> Option<String> {
    if size == larger {
        return Some(format!("It would be {size}, as the next larger rung is."));
    }
    let ratio = size.pixels() as f64 / larger.pixels() as f64;
    (*rungs == Rungs::Auto && ratio > video.closest_pixel_ratio).then(|| {
        let percent = (ratio * 100.0).round();
        format!("At {size} it has {percent} % of the pixels of the next larger rung ({larger}): too close together.")
    })
}

/// The box, turned as the source is.
fn turned(rung: &RungProfile, source: Size) -> Size {
    if source.height > source.width {
        Size { width: rung.height_px, height: rung.width_px }
    } else {
        Size { width: rung.width_px, height: rung.height_px }
    }
}

fn holds(rung: &RungProfile, source: Size) -> bool {
    let limits = turned(rung, source);
    limits.width >= source.width && limits.height >= source.height
}

/// The largest even size of the source's shape that neither the box nor the source exceeds.
fn fit(source: Size, rung: &RungProfile) -> Size {
    let limits = turned(rung, source);
    let (source_w, source_h) = (u64::from(source.width.max(1)), u64::from(source.height.max(1)));
    let (limit_w, limit_h) = (u64::from(limits.width), u64::from(limits.height));
    let (width, height) = if holds(rung, source) {
        (source.width, source.height)
    } else if limit_w * source_h <= limit_h * source_w {
        (limits.width, nearest_even(source_h * limit_w, source_w))
    } else {
        (nearest_even(source_w * limit_h, source_h), limits.height)
    };
    let even = |value: u32, limit: u32, source: u32| (value.min(limit).min(source) & !1).max(2);
    Size { width: even(width, limits.width, source.width), height: even(height, limits.height, source.height) }
}

/// The even number nearest to a fraction; halfway rounds up.
fn nearest_even(numerator: u64, denominator: u64) -> u32 {
    u32::try_from((numerator + denominator) / (2 * denominator) * 2).unwrap_or(u32::MAX)
}

fn rendition(rung: &RungProfile, size: Size, whole: bool, buffer_seconds: f32) -> VideoRendition {
    let ceiling = f64::from(rung.bitrate_kbps) * 1000.0;
    let box_pixels = f64::from(rung.width_px) * f64::from(rung.height_px);
    // Bits grow more slowly than pixels: a power of 0.75 is the field's rule of thumb.
    let share = if whole { (size.pixels() as f64 / box_pixels).min(1.0).powf(0.75) } else { 1.0 };
    let maxrate_bps = ((ceiling * share / 1000.0).round().max(1.0) * 1000.0) as u32;
    VideoRendition {
        name: rung.name.clone(),
        codec: rung.codec,
        width_px: size.width,
        height_px: size.height,
        rate: RateControl {
            crf: rung.crf,
            maxrate_bps,
            bufsize_bits: (f64::from(maxrate_bps) * f64::from(buffer_seconds)) as u32,
        },
        preset: rung.preset.clone(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared::source::{Color, DecoderSetup, Timing};
    use shared::time::{FrameRate, Timescale};

    use super::*;

    fn stream(width_px: u32, height_px: u32) -> VideoStream {
        VideoStream {
            index: 0,
            codec: "h264".into(),
            setup: DecoderSetup(vec![]),
            timescale: Timescale::new(90_000).unwrap(),
            width_px,
            height_px,
            sample_aspect: (1, 1),
            rotation: 0,
            mirrored: false,
            frame_rate: FrameRate { numerator: 25, denominator: 1 },
            interlaced: false,
            pixel_format: "yuv420p".into(),
            color: Color { primaries: 1, transfer: 1, matrix: 1, full_range: false },
            timing: Timing::Packets,
        }
    }

    fn web(stream: &VideoStream, declared_ms: Option<u64>, rungs: &str) -> Vec<(String, u32, u32, u32)> {
        ladder(&Profile::named("web").unwrap(), stream, declared_ms, &rungs.parse().unwrap())
            .video
            .into_iter()
            .map(|r| (r.name, r.width_px, r.height_px, r.rate.maxrate_bps / 1000))
            .collect()
    }

    fn sizes(stream: &VideoStream, declared_ms: Option<u64>, rungs: &str) -> Vec<(u32, u32)> {
        web(stream, declared_ms, rungs).into_iter().map(|(_, width, height, _)| (width, height)).collect()
    }

    const LONG: Option<u64> = Some(600_000);

    #[test]
    fn full_hd_gets_the_whole_ladder() {
        let made = web(&stream(1920, 1080), LONG, "auto");
        let expected = [("1080p", 1920, 1080, 5000), ("720p", 1280, 720, 2800), ("480p", 854, 480, 1400)];
        assert_eq!(made[..3], expected.map(|(name, w, h, kbps)| (name.to_owned(), w, h, kbps)));
        assert_eq!(made[3], ("360p".to_owned(), 640, 360, 800));
    }

    #[test]
    fn nothing_is_made_larger_than_the_source() {
        assert_eq!(sizes(&stream(1280, 720), LONG, "all"), [(1280, 720), (854, 480), (640, 360)]);
        assert_eq!(sizes(&stream(1000, 562), LONG, "all"), [(1000, 562), (854, 480), (640, 360)]);
        assert_eq!(sizes(&stream(1280, 720), LONG, "1080"), [(1280, 720)]);
    }

    #[test]
    fn a_small_source_gets_one_rung_at_its_own_size_with_a_lower_ceiling() {
        assert_eq!(web(&stream(320, 240), LONG, "auto"), [("360p".to_owned(), 320, 240, 351)]);
        assert_eq!(web(&stream(320, 240), Some(5_000), "auto"), [("360p".to_owned(), 320, 240, 351)]);
        assert_eq!(sizes(&stream(175, 143), LONG, "auto"), [(174, 142)]);
        assert_eq!(sizes(&stream(1, 1), LONG, "all"), [(2, 2)]);
    }

    #[test]
    fn portrait_keeps_its_shape_however_it_is_stored() {
        let expected = [(1080, 1920), (720, 1280), (480, 854), (360, 640)];
        assert_eq!(sizes(&stream(1080, 1920), LONG, "auto"), expected);
        assert_eq!(sizes(&VideoStream { rotation: 90, ..stream(1920, 1080) }, LONG, "auto"), expected);
    }

    #[test]
    fn samples_that_are_not_square_are_stretched_first() {
        let dvd = VideoStream { sample_aspect: (64, 45), ..stream(720, 576) };
        assert_eq!(sizes(&dvd, LONG, "all"), [(1024, 576), (854, 480), (640, 360)]);
    }

    #[test]
    fn wide_pictures_are_bound_by_their_width() {
        assert_eq!(sizes(&stream(3840, 1608), LONG, "auto"), [(1920, 804), (1280, 536), (854, 358), (640, 268)]);
    }

    #[test]
    fn short_clips_get_two_rungs() {
        assert_eq!(sizes(&stream(1920, 1080), Some(119_999), "auto"), [(1280, 720), (640, 360)]);
        assert_eq!(sizes(&stream(1920, 1080), Some(120_000), "auto").len(), 4);
        assert_eq!(sizes(&stream(1920, 1080), None, "auto").len(), 4);
        assert_eq!(sizes(&stream(1920, 1080), Some(10_000), "all").len(), 4);
    }

    #[test]
    fn rungs_too_close_together_are_dropped_with_a_reason() {
        let made = ladder(&Profile::named("web").unwrap(), &stream(960, 540), LONG, &Rungs::Auto);
        let names: Vec<_> = made.video.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names, ["720p", "360p"]);
        let dropped: Vec<_> = made.dropped.iter().map(|d| (d.rung.as_str(), d.reason.as_str())).collect();
        assert_eq!(dropped[0], ("1080p", "The source (960x540) is no larger than the next smaller rung."));
        let reason = "At 854x480 it has 79 % of the pixels of the next larger rung (960x540): too close together.";
        assert_eq!(dropped[1], ("480p", reason));
    }

    #[test]
    fn heights_the_profile_lacks_are_complained_of() {
        let profile = Profile::named("web").unwrap();
        assert_eq!("1080,720p".parse(), Ok(Rungs::Named(vec![1080, 720])));
        assert!("big".parse::<Rungs>().is_err());
        let error = Rungs::Named(vec![720, 721]).check(&profile).unwrap_err();
        assert_eq!(error, "profile web has no rung of height 721; it has 1080, 720, 480, 360");
    }

    proptest! {
        #[test]
        fn every_ladder_keeps_the_rules(
            width in 1u32..8000, height in 1u32..8000, rotation in 0u32..4, rungs in 0usize..3, ms in 0u64..400_000,
        ) {
            let stream = VideoStream { rotation: rotation * 90, ..stream(width, height) };
            let rungs = [Rungs::Auto, Rungs::All, Rungs::Named(vec![1080, 480])][rungs].clone();
            let profile = Profile::named("web").unwrap();
            let made = ladder(&profile, &stream, Some(ms), &rungs);
            let (display_w, display_h) = stream.display_size();
            prop_assert!(!made.video.is_empty());
            prop_assert_eq!(made.video.len() + made.dropped.len(), 4);
            for rung in &made.video {
                prop_assert!(rung.width_px.is_multiple_of(2) && rung.height_px.is_multiple_of(2));
                prop_assert!(rung.width_px <= display_w.max(2) && rung.height_px <= display_h.max(2));
                // The shape is kept to within the rounding to even sizes.
                let exact = f64::from(rung.width_px) * f64::from(display_h) / f64::from(display_w);
                let slack = 2.0 + 2.0 * f64::from(display_h) / f64::from(display_w);
                prop_assert!((exact - f64::from(rung.height_px)).abs() <= slack, "{:?}", rung);
            }
            for pair in made.video.windows(2) {
                prop_assert!(pair[0].width_px * pair[0].height_px > pair[1].width_px * pair[1].height_px);
            }
        }
    }
}
