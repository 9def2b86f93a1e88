//! Profiles: what a job is to be made into, whatever its source.
//!
//! A profile is a TOML file; the built-in ones are embedded and `profiles/web.toml` explains every key. What was written
//! ([`RawProfile`]) becomes what is meant ([`Profile`]) once, with all complaints at once.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use shared::rendition::{AudioCodec, VideoCodec};

/// Most rungs a profile may have.
pub const MOST_RUNGS: usize = 12;
const LONGEST_SIDE_PX: u32 = 8192;
const DEFAULT_MAX_PIXELS: u64 = 8192 * 4320;
const DEFAULT_BUFFER_SECONDS: f32 = 2.0;
const DEFAULT_CLOSEST_PIXEL_RATIO: f64 = 0.7;

const BUILT_IN: [(&str, &str); 5] = [
    ("web", include_str!("profiles/web.toml")),
    ("web-3", include_str!("profiles/web-3.toml")),
    ("hevc", include_str!("profiles/hevc.toml")),
    ("av1", include_str!("profiles/av1.toml")),
    ("audio", include_str!("profiles/audio.toml")),
];

/// Speeds that x264 and x265 know, fastest first.
const X26X_PRESETS: [&str; 9] =
    ["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"];

/// What a job is to be made into.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// `[a-z0-9-]+`.
    pub name: String,
    /// Largest coded picture of a source that is accepted.
    pub max_pixels: u64,
    /// Make a poster image.
    pub poster: bool,
    /// `None`: the video is left out.
    pub video: Option<VideoProfile>,
    /// `None`: the audio is left out. Never `None` together with `video`.
    pub audio: Option<AudioProfile>,
    /// `None`: no sprite sheets are made.
    pub storyboard: Option<StoryboardProfile>,
}

/// The video half of a profile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VideoProfile {
    /// Largest box first; at least one.
    pub rungs: Vec<RungProfile>,
    /// Decoder buffer, in seconds at the ceiling bitrate.
    pub buffer_seconds: f32,
    /// A rung with more than this share of the pixels of the next larger one is dropped.
    pub closest_pixel_ratio: f64,
    /// The rule for short clips, if there is one.
    pub short_clip: Option<ShortClip>,
}

/// A box that a picture is fitted into, and how it is encoded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RungProfile {
    /// Name of the rendition, `[a-z0-9-]+`, unique in the profile.
    pub name: String,
    /// Width of the box for a landscape picture; even.
    pub width_px: u32,
    /// Height of the box for a landscape picture; even.
    pub height_px: u32,
    /// Ceiling.
    pub bitrate_kbps: u32,
    /// Codec to encode with.
    pub codec: VideoCodec,
    /// Constant rate factor in the encoder's own scale.
    pub crf: f32,
    /// The encoder's preset by its own name.
    pub preset: String,
}

/// Clips shorter than this get few rungs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShortClip {
    /// A clip of this length is not short.
    pub seconds: u32,
    /// Names of the rungs a short clip gets.
    pub rungs: Vec<String>,
}

/// The audio half of a profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AudioProfile {
    /// Codec to encode with.
    pub codec: AudioCodec,
    /// Average for two channels.
    pub bitrate_kbps: u32,
    /// Most channels: 1 or 2.
    pub channels: u32,
}

/// How sprite sheets look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoryboardProfile {
    /// Even.
    pub tile_width_px: u32,
    /// Tiles in a row.
    pub columns: u32,
    /// Rows in a sheet.
    pub rows: u32,
}

impl Profile {
    /// Names of the built-in profiles, the default first.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// The TOML of a built-in profile, with its comments.
    pub fn text_of(name: &str) -> Option<&'static str> {
        BUILT_IN.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
    }

    /// A built-in profile; `None` if there is none of that name.
    pub fn named(name: &str) -> Option<Self> {
        let text = Self::text_of(name)?;
        Some(Self::from_toml(text).expect("a built-in profile should be valid: a test reads them all"))
    }

    /// Reads a profile. The error lists everything that is wrong with it.
    pub fn from_toml(text: &str) -> Result<Self, Vec<String>> {
        let raw: RawProfile = toml::from_str(text).map_err(|error| vec![error.to_string().trim_end().to_owned()])?;
        let mut complaints = Vec::new();
        let profile = raw.resolve(&mut complaints);
        if complaints.is_empty() { Ok(profile) } else { Err(complaints) }
    }
}

/// Whether `codec`'s encoder knows the preset; if not, what it knows.
pub fn check_preset(codec: VideoCodec, preset: &str) -> Result<(), String> {
    match codec {
        VideoCodec::H264 | VideoCodec::Hevc if X26X_PRESETS.contains(&preset) => Ok(()),
        VideoCodec::H264 | VideoCodec::Hevc => {
            Err(format!("preset {preset:?} is not one of {}", X26X_PRESETS.join(", ")))
        }
        VideoCodec::Av1 if preset.parse().is_ok_and(|speed: u8| speed <= 13) => Ok(()),
        VideoCodec::Av1 => Err(format!("preset {preset:?} is not a number from 0 (slow) to 13 (fast)")),
    }
}

/// Keys nobody knows, at one level of the file.
type Unknown = BTreeMap<String, toml::Value>;

/// What was written.
#[derive(Deserialize)]
struct RawProfile {
    name: String,
    max_pixels: Option<u64>,
    poster: Option<bool>,
    video: Option<RawVideo>,
    audio: Option<AudioProfile>,
    storyboard: Option<StoryboardProfile>,
    #[serde(flatten)]
    unknown: Unknown,
}

#[derive(Deserialize)]
struct RawVideo {
    codec: VideoCodec,
    crf: f32,
    preset: String,
    buffer_seconds: Option<f32>,
    closest_pixel_ratio: Option<f64>,
    short_clip: Option<ShortClip>,
    rungs: Vec<RawRung>,
    #[serde(flatten)]
    unknown: Unknown,
}

#[derive(Deserialize)]
struct RawRung {
    name: String,
    width_px: u32,
    height_px: u32,
    bitrate_kbps: u32,
    codec: Option<VideoCodec>,
    crf: Option<f32>,
    preset: Option<String>,
    #[serde(flatten)]
    unknown: Unknown,
}

impl RawProfile {
    fn resolve(self, complaints: &mut Vec<String>) -> Profile {
        refuse_unknown("", &self.unknown, complaints);
        if !is_name(&self.name) {
            complaints.push(format!("name {:?} is not 1 to 32 of a-z, 0-9 and -", self.name));
        }
        if self.video.is_none() && self.audio.is_none() {
            complaints.push("neither [video] nor [audio]: nothing would be made".to_owned());
        }
        if let Some(audio) = &self.audio {
            check_range("audio.bitrate_kbps", audio.bitrate_kbps, 16, 512, complaints);
            check_range("audio.channels", audio.channels, 1, 2, complaints);
        }
        if let Some(storyboard) = &self.storyboard {
            check_side("storyboard.tile_width_px", storyboard.tile_width_px, 640, complaints);
            check_range("storyboard.columns", storyboard.columns, 1, 20, complaints);
            check_range("storyboard.rows", storyboard.rows, 1, 20, complaints);
        }
        Profile {
            name: self.name,
            max_pixels: self.max_pixels.unwrap_or(DEFAULT_MAX_PIXELS),
            poster: self.poster.unwrap_or(true),
            video: self.video.map(|video| video.resolve(complaints)),
            audio: self.audio,
            storyboard: self.storyboard,
        }
    }
}

impl RawVideo {
    fn resolve(self, complaints: &mut Vec<String>) -> VideoProfile {
        refuse_unknown("video.", &self.unknown, complaints);
        if !(1..=MOST_RUNGS).contains(&self.rungs.len()) {
            complaints.push(format!("video.rungs: {} of them, expected 1 to {MOST_RUNGS}", self.rungs.len()));
        }
        let names: BTreeSet<&str> = self.rungs.iter().map(|rung| rung.name.as_str()).collect();
        if names.len() < self.rungs.len() {
            complaints.push("video.rungs: two have the same name".to_owned());
        }
        for name in self.short_clip.iter().flat_map(|rule| &rule.rungs).filter(|name| !names.contains(name.as_str())) {
            complaints.push(format!("video.short_clip: there is no rung {name:?}"));
        }
        if self.short_clip.as_ref().is_some_and(|rule| rule.rungs.is_empty()) {
            complaints.push("video.short_clip: no rungs, so short clips would have no picture".to_owned());
        }
        let buffer_seconds = self.buffer_seconds.unwrap_or(DEFAULT_BUFFER_SECONDS);
        check_range("video.buffer_seconds", buffer_seconds, 0.5, 10.0, complaints);
        let closest_pixel_ratio = self.closest_pixel_ratio.unwrap_or(DEFAULT_CLOSEST_PIXEL_RATIO);
        check_range("video.closest_pixel_ratio", closest_pixel_ratio, 0.1, 1.0, complaints);
        let (codec, crf, preset) = (self.codec, self.crf, self.preset);
        let resolve = |rung: RawRung| RungProfile {
            codec: rung.codec.unwrap_or(codec),
            crf: rung.crf.unwrap_or(crf),
            preset: rung.preset.unwrap_or_else(|| preset.clone()),
            name: rung.name,
            width_px: rung.width_px,
            height_px: rung.height_px,
            bitrate_kbps: rung.bitrate_kbps,
        };
        let mut rungs = Vec::new();
        for rung in self.rungs {
            refuse_unknown(&format!("video.rungs.{}.", rung.name), &rung.unknown, complaints);
            rungs.push(resolve(rung));
        }
        rungs.iter().for_each(|rung| check_rung(rung, complaints));
        rungs.sort_by_key(|rung| std::cmp::Reverse(u64::from(rung.width_px) * u64::from(rung.height_px)));
        VideoProfile { rungs, buffer_seconds, closest_pixel_ratio, short_clip: self.short_clip }
    }
}

fn check_rung(rung: &RungProfile, complaints: &mut Vec<String>) {
    let at = |key: &str| format!("video.rungs.{}.{key}", rung.name);
    if !is_name(&rung.name) {
        complaints.push(format!("video.rungs: name {:?} is not 1 to 32 of a-z, 0-9 and -", rung.name));
    }
    if rung.name.starts_with("audio-") || rung.name == "storyboard" {
        complaints.push(format!("video.rungs: the name {:?} is taken by what the farm makes besides", rung.name));
    }
    check_side(&at("width_px"), rung.width_px, LONGEST_SIDE_PX, complaints);
    check_side(&at("height_px"), rung.height_px, LONGEST_SIDE_PX, complaints);
    check_range(&at("bitrate_kbps"), rung.bitrate_kbps, 50, 200_000, complaints);
    let worst = if rung.codec == VideoCodec::Av1 { 63.0 } else { 51.0 };
    check_range(&at("crf"), rung.crf, 1.0, worst, complaints);
    if let Err(complaint) = check_preset(rung.codec, &rung.preset) {
        complaints.push(format!("{}: {complaint}", at("preset")));
    }
}

fn is_name(text: &str) -> bool {
    (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn refuse_unknown(prefix: &str, unknown: &Unknown, complaints: &mut Vec<String>) {
    complaints.extend(unknown.keys().map(|key| format!("{prefix}{key}: there is no such key")));
}

fn check_side(key: &str, value: u32, most: u32, complaints: &mut Vec<String>) {
    check_range(key, value, 16, most, complaints);
    if !value.is_multiple_of(2) {
        complaints.push(format!("{key}: {value} is odd"));
    }
}

fn check_range<T: PartialOrd + std::fmt::Display>(key: &str, value: T, least: T, most: T, to: &mut Vec<String>) {
    if !(value >= least && value <= most) {
        to.push(format!("{key}: {value} is not within {least} to {most}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_profiles_are_valid_and_bear_their_names() {
        for name in Profile::names() {
            assert_eq!(Profile::named(name).unwrap().name, name);
        }
        assert_eq!(Profile::named("nope"), None);
    }

    #[test]
    fn web_has_the_promised_ladder() {
        let video = Profile::named("web").unwrap().video.unwrap();
        let rungs: Vec<_> = video.rungs.iter().map(|r| (r.width_px, r.height_px, r.bitrate_kbps)).collect();
        assert_eq!(rungs, [(1920, 1080, 5000), (1280, 720, 2800), (854, 480, 1400), (640, 360, 800)]);
        let names = |name| Profile::named(name).unwrap().video.map(|video| video.rungs.len());
        assert_eq!((names("web-3"), names("audio")), (Some(3), None));
    }

    #[test]
    fn a_rung_may_have_its_own_codec_and_rungs_are_sorted() {
        let text = r#"
            name = "mixed"
            [video]
            codec = "h264"
            crf = 23
            preset = "fast"
            rungs = [
                { name = "small", width_px = 640, height_px = 360, bitrate_kbps = 800 },
                { name = "big", width_px = 1280, height_px = 720, bitrate_kbps = 900, codec = "av1", crf = 40, preset = "9" },
            ]
        "#;
        let video = Profile::from_toml(text).unwrap().video.unwrap();
        let rungs: Vec<_> = video.rungs.iter().map(|r| (r.name.as_str(), r.codec, r.crf, r.preset.as_str())).collect();
        assert_eq!(rungs, [("big", VideoCodec::Av1, 40.0, "9"), ("small", VideoCodec::H264, 23.0, "fast")]);
        assert_eq!((video.buffer_seconds, video.closest_pixel_ratio, video.short_clip), (2.0, 0.7, None));
    }

    #[test]
    fn all_complaints_come_at_once() {
        let text = r#"
            name = "Bad Name"
            colour = "blue"
            [video]
            codec = "h264"
            crf = 60
            preset = "warp"
            short_clip = { seconds = 10, rungs = ["144p"] }
            [[video.rungs]]
            name = "360p"
            width_px = 641
            height_px = 360
            bitrate_kbps = 0
            speed = 3
        "#;
        let complaints = Profile::from_toml(text).unwrap_err();
        let expected = [
            "colour: there is no such key",
            "name \"Bad Name\" is not",
            "video.short_clip: there is no rung \"144p\"",
            "video.rungs.360p.speed: there is no such key",
            "video.rungs.360p.width_px: 641 is odd",
            "video.rungs.360p.bitrate_kbps: 0 is not within 50 to 200000",
            "video.rungs.360p.crf: 60 is not within 1 to 51",
            "video.rungs.360p.preset: preset \"warp\" is not one of",
        ];
        assert_eq!(complaints.len(), expected.len(), "{complaints:#?}");
        for (complaint, start) in complaints.iter().zip(expected) {
            assert!(complaint.starts_with(start), "{complaint}");
        }
    }

    #[test]
    fn wrong_types_name_the_line() {
        let complaints = Profile::from_toml("name = \"x\"\nmax_pixels = \"many\"\n").unwrap_err();
        assert!(complaints[0].contains("line 2"), "{}", complaints[0]);
    }
}
