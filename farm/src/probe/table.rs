//! What an index task found, as a table for people.

use std::fmt::Write;

use shared::source::{DynamicRange, Timing, Verdict};

use super::facts::{AudioReport, ProbeReport, VideoReport};

impl VideoReport {
    fn picture(&self) -> String {
        let mut text = format!("{} × {}", self.width_px, self.height_px);
        if (self.display_width_px, self.display_height_px) != (self.width_px, self.height_px) {
            let _ = write!(text, ", shown as {} × {}", self.display_width_px, self.display_height_px);
        }
        if self.sample_aspect.0 != self.sample_aspect.1 {
            let _ = write!(text, ", sample aspect {}:{}", self.sample_aspect.0, self.sample_aspect.1);
        }
        if self.rotation_degrees != 0 {
            let _ = write!(text, ", turned {}°", self.rotation_degrees);
        }
        if self.mirrored {
            text.push_str(", mirrored");
        }
        text.push_str(if self.interlaced { ", interlaced" } else { ", progressive" });
        text
    }

    fn color(&self) -> String {
        let range = if self.full_range { "full range" } else { "limited range" };
        let dynamic = match self.dynamic_range {
            DynamicRange::Sdr => "SDR",
            DynamicRange::Pq => "HDR (PQ)",
            DynamicRange::Hlg => "HDR (HLG)",
        };
        let name = |code: u8| if code == 2 { "?".to_owned() } else { code.to_string() };
        let codes = format!("{}/{}/{}", name(self.primaries), name(self.transfer), name(self.matrix));
        format!("{dynamic}, {}, {range}, primaries/transfer/matrix {codes}", self.pixel_format)
    }

    fn timing(&self) -> String {
        let how = match self.timing {
            Timing::Packets => "each packet has its time",
            Timing::Decoder => "times come from the decoder: one chunk, no parallel encoding",
            Timing::Order => "timed in output order: one chunk, no parallel encoding",
        };
        let rate = format!("{:.3} frames/s, {} frames, {}", self.frames_per_second, self.frames, clock(self.seconds));
        format!("{rate}, in ticks of 1/{} s; {how}", self.ticks_per_second)
    }
}

impl AudioReport {
    fn text(&self) -> String {
        let mut text = format!(
            "{}, {} Hz, {} channel{}, {}, until {}",
            self.codec,
            self.sample_rate_hz,
            self.channels,
            if self.channels == 1 { "" } else { "s" },
            self.language,
            clock(self.seconds)
        );
        if !self.title.is_empty() {
            let _ = write!(text, ", {:?}", self.title);
        }
        if self.default {
            text.push_str(", default");
        }
        text
    }
}

impl ProbeReport {
    /// The table for people.
    pub fn table(&self) -> String {
        let mut rows: Vec<(String, String)> = vec![("container".into(), self.container_text())];
        if let Some(video) = &self.video {
            let rate = format!("{}, {}", video.codec, bitrate(video.average_bps));
            rows.push((format!("video #{}", video.stream), rate));
            rows.push(("  picture".into(), video.picture()));
            rows.push(("  colour".into(), video.color()));
            rows.push(("  timing".into(), video.timing()));
            rows.push(("  GOPs".into(), format!("{}, the longest {:.1} s", video.gops, video.longest_gop_seconds)));
        }
        rows.extend(self.audio.iter().map(|audio| (format!("audio #{}", audio.stream), audio.text())));
        rows.extend(self.ignored.iter().map(|text| ("ignored".into(), text.clone())));
        rows.push(("verdict".into(), verdict_text(self.verdict).into()));
        for finding in &self.findings {
            rows.push((format!("  {}", finding.code), finding.text.clone()));
            rows.push((String::new(), format!("→ {}", finding.handling)));
        }
        let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        rows.iter().fold(String::new(), |mut table, (name, value)| {
            let _ = writeln!(table, "{name:width$}  {value}");
            table
        })
    }

    fn container_text(&self) -> String {
        let mut text = self.container.clone();
        if let Some(size) = self.size_bytes {
            let _ = write!(text, ", {}", indicatif::HumanBytes(size));
        }
        let _ = write!(text, ", {}", clock(self.seconds));
        if let Some(declared) = self.declared_seconds.filter(|declared| (declared - self.seconds).abs() > 1.0) {
            let _ = write!(text, " (its header says {})", clock(declared));
        }
        text
    }
}

/// The verdict and what it means.
pub fn verdict_text(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Standard => "STANDARD: nothing unusual",
        Verdict::NonStandard => "NON_STANDARD: unusual, handled as said below",
        Verdict::Unsupported => "UNSUPPORTED: no decoder here reads it",
        Verdict::Corrupt => "CORRUPT: broken beyond use",
    }
}

/// Seconds as `h:mm:ss.t`, the hours only if there are any.
pub fn clock(seconds: f64) -> String {
    let tenths = (seconds.max(0.0) * 10.0).round() as u64;
    let (hours, minutes, rest) = (tenths / 36_000, tenths / 600 % 60, tenths % 600);
    let hours = if hours > 0 { format!("{hours}:{minutes:02}") } else { minutes.to_string() };
    format!("{hours}:{:02}.{}", rest / 10, rest % 10)
}

/// Bits per second as people write them.
pub fn bitrate(bps: u64) -> String {
    if bps < 1_000_000 { format!("{} kb/s", bps / 1000) } else { format!("{:.1} Mb/s", bps as f64 / 1e6) }
}
