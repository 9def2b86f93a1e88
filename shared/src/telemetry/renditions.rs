//! What is made, by rung and encoder: presentation time, encoders' time, bytes and likeness.

use prometheus::{CounterVec, HistogramVec, IntCounterVec};

use super::{Declare, seconds};
use crate::cmaf::DecoderConfig;
use crate::family::Family;
use crate::task::{Making, TrackPart};

/// Classes of picture sizes, by the height that each is named after.
const RUNGS: [(u32, &str); 10] = [
    (144, "144p"),
    (240, "240p"),
    (360, "360p"),
    (480, "480p"),
    (540, "540p"),
    (720, "720p"),
    (1080, "1080p"),
    (1440, "1440p"),
    (2160, "2160p"),
    (4320, "4320p"),
];
/// Rounding to even sizes may make a rung so much larger than its class, in percent.
const TOLERANCE_PERCENT: u32 = 5;
/// Decibels of PSNR: below 30 anybody sees it, above 45 nobody does.
const PSNR_DB: [f64; 12] = [20.0, 25.0, 28.0, 30.0, 32.0, 34.0, 36.0, 38.0, 40.0, 42.0, 45.0, 50.0];

/// What is counted of renditions.
#[derive(Debug, Clone)]
pub(super) struct RenditionMetrics {
    seconds: CounterVec,
    encode_seconds: CounterVec,
    bytes: IntCounterVec,
    psnr_db: HistogramVec,
}

impl RenditionMetrics {
    /// Metrics of a program that hears of attempts.
    pub(super) fn new(new: Declare<'_>) -> Self {
        let seconds = "Presentation time made, by rung and encoder: divided by the encoders' time it is their speed.";
        let encode = "Time that encoders worked, by rung and encoder.";
        let bytes = "Bytes of segments, by rung and encoder.";
        let psnr = "Likeness of sampled pictures to what went into the encoder, by rung and encoder.";
        Self {
            seconds: new.counters("rendition_seconds_total", seconds, ["rung", "encoder"], &[]),
            encode_seconds: new.counters("rendition_encode_seconds_total", encode, ["rung", "encoder"], &[]),
            bytes: new.counters("rendition_bytes_total", bytes, ["rung", "encoder"], &[]),
            psnr_db: new.histograms("quality_psnr_db", psnr, &PSNR_DB, ["rung", "encoder"], &[]),
        }
    }

    /// A part of a track was made. What a worker of an earlier version makes has no rung, and is left out.
    pub(super) fn made(&self, part: &TrackPart) {
        let Some(rung) = rung(part) else { return };
        let labels = [rung, encoder(part)];
        self.seconds.with_label_values(&labels).inc_by(seconds(part.duration_ms()));
        self.encode_seconds.with_label_values(&labels).inc_by(seconds(part.making.encode_ms));
        self.bytes.with_label_values(&labels).inc_by(part.bytes());
        if let Some(psnr_mdb) = part.making.psnr_mdb {
            self.psnr_db.with_label_values(&labels).observe(f64::from(psnr_mdb) / 1000.0);
        }
    }
}

/// The class of its size. Pictures count as if they filled 16:9, upright or lying.
fn rung(part: &TrackPart) -> Option<&'static str> {
    let Making { width_px, height_px, .. } = part.making;
    if matches!(part.config, DecoderConfig::Aac(_) | DecoderConfig::Opus(_)) {
        return Some("audio");
    }
    let (short, long) = (width_px.min(height_px), width_px.max(height_px));
    let height = short.max(long.saturating_mul(9) / 16);
    let holds = |class: u32| height <= class + class * TOLERANCE_PERCENT / 100;
    let class = RUNGS.iter().find(|(class, _)| holds(*class)).or(RUNGS.last());
    class.filter(|_| height > 0).map(|(_, name)| *name)
}

/// Which kind of encoder made it.
fn encoder(part: &TrackPart) -> &'static str {
    let software = matches!(part.family, Family::Software | Family::StandIn);
    match (&part.config, software) {
        (DecoderConfig::Avc(_), true) => "x264",
        (DecoderConfig::Hevc(_), true) => "x265",
        (DecoderConfig::Av1(_), true) => "svtav1",
        (DecoderConfig::Avc(_), false) => "nvenc_h264",
        (DecoderConfig::Hevc(_), false) => "nvenc_hevc",
        (DecoderConfig::Av1(_), false) => "nvenc_av1",
        (DecoderConfig::Aac(_), _) => "aac",
        (DecoderConfig::Opus(_), _) => "opus",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timescale;

    fn part(width_px: u32, height_px: u32, config: DecoderConfig) -> TrackPart {
        TrackPart {
            rendition: "any".into(),
            timescale: Timescale::MILLIS,
            config,
            segments: vec![],
            encoder: "any".into(),
            family: Family::Software,
            making: Making { width_px, height_px, ..Making::default() },
        }
    }

    #[test]
    fn a_rung_is_named_after_the_box_that_it_fills() {
        for (width, height, name) in [
            (1920, 1080, Some("1080p")),
            (1080, 1920, Some("1080p")),
            (1920, 800, Some("1080p")),
            (1440, 1080, Some("1080p")),
            (854, 480, Some("480p")),
            (256, 144, Some("144p")),
            (2, 2, Some("144p")),
            (7680, 4320, Some("4320p")),
            (16_384, 16_384, Some("4320p")),
            (0, 0, None),
        ] {
            assert_eq!(rung(&part(width, height, DecoderConfig::Avc(vec![]))), name, "{width}x{height}");
        }
        assert_eq!(rung(&part(0, 0, DecoderConfig::Opus(vec![]))), Some("audio"));
    }

    #[test]
    fn an_encoder_is_told_by_family_and_codec() {
        let ffmpeg = TrackPart { family: Family::FfmpegNvenc, ..part(2, 2, DecoderConfig::Hevc(vec![])) };
        assert_eq!(encoder(&ffmpeg), "nvenc_hevc");
        assert_eq!(encoder(&part(2, 2, DecoderConfig::Av1(vec![]))), "svtav1");
    }
}
