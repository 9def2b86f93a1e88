//! What the encoders inside are told, in their own words, so that they behave as a card does: nothing decided ahead, an IDR
//! only where told, as many B-frames as asked for, one thread.

use card::Codec;

use crate::settings::{Rate, Settings};

/// An encoder of libavcodec's with its options.
#[derive(Debug, PartialEq)]
pub struct Recipe {
    /// Its name.
    pub encoder: &'static str,
    /// Its options and those of all encoders.
    pub options: Vec<(&'static str, String)>,
    /// B-frames between two P.
    pub b_frames: u32,
    /// Pictures that it keeps back beyond those.
    pub delay: usize,
}

impl Recipe {
    /// How to make what is asked for. `burst`: packets come with their picture, so there are no B-frames.
    pub fn of(settings: &Settings, burst: bool, other_header: bool) -> Self {
        let b_frames = if burst { 0 } else { settings.interval.saturating_sub(1).min(settings.period.unwrap_or(16)) };
        let mut recipe = Self { encoder: "", options: Vec::new(), b_frames, delay: 0 };
        match settings.codec {
            Codec::H264 => recipe.h264(settings, burst, other_header),
            Codec::Hevc => recipe.hevc(settings, other_header),
            _ => recipe.av1(settings, other_header),
        }
        recipe
    }

    fn set(&mut self, name: &'static str, value: impl ToString) {
        self.options.push((name, value.to_string()));
    }

    fn h264(&mut self, settings: &Settings, burst: bool, other_header: bool) {
        self.encoder = "libx264";
        self.set("preset", "veryfast");
        self.set("forced-idr", 1);
        self.rate(settings, 1);
        if let Some(profile) = settings.profile {
            self.set("profile", profile);
        }
        if settings.level > 0 {
            self.set("level", settings.level);
        }
        let (b_pyramid, references) = (self.pyramid(settings), settings.references.clamp(0, 16));
        let references = if references == 0 { 3 } else { references } + u32::from(other_header);
        // Pictures that wait to be shown while a group is decoded take the place of references.
        self.set("refs", if burst { references.max(settings.interval).min(16) } else { references });
        let (id, cabac, delimiters) = (settings.sps_id, u8::from(!settings.cavlc), u8::from(settings.delimiters));
        self.set(
            "x264-params",
            format!(
                "b-adapt=0:rc-lookahead=0:sync-lookahead=0:mbtree=0:scenecut=0:open-gop=0:keyint=infinite:min-keyint=1:\
                 force-cfr=1:stitchable=1:nal-hrd=none:b-pyramid={b_pyramid}:sps-id={id}:cabac={cabac}:aud={delimiters}"
            ),
        );
    }

    fn hevc(&mut self, settings: &Settings, other_header: bool) {
        self.encoder = "libx265";
        self.set("preset", "ultrafast");
        self.set("forced-idr", 1);
        self.rate(settings, 1);
        let references = if settings.references == 0 { 3 } else { settings.references } + u32::from(other_header);
        let (b_frames, delimiters) = (self.b_frames, u8::from(settings.delimiters));
        let b_pyramid = u8::from(self.pyramid(settings) == "normal");
        // x265 wants to see more pictures than it puts between two P.
        let ahead = if b_frames == 0 { 0 } else { b_frames + 1 };
        // Seen: ten pictures go in before the first packet with three B-frames, of which three are theirs.
        self.delay = (ahead + b_frames) as usize;
        let mut parameters = format!(
            "log-level=error:bframes={b_frames}:b-adapt=0:rc-lookahead={ahead}:lookahead-slices=0:scenecut=0:\
             open-gop=0:keyint=-1:min-keyint=1:frame-threads=1:pools=none:wpp=0:cutree=0:repeat-headers=0:info=0:\
             hrd=0:ref={references}:b-pyramid={b_pyramid}:aud={delimiters}"
        );
        if settings.level > 0 {
            // NVIDIA counts in thirtieths of a level, x265 in tenths.
            parameters += &format!(":level-idc={}", settings.level / 3);
        }
        self.set("x265-params", parameters);
    }

    fn av1(&mut self, settings: &Settings, other_header: bool) {
        self.encoder = "libaom-av1";
        self.b_frames = 0;
        self.set("usage", "realtime");
        self.set("cpu-used", 8);
        self.set("lag-in-frames", 0);
        self.set("enable-cdef", u8::from(!other_header));
        // libaom counts quantisers to 63 where NVIDIA counts to 51 for quality, and to 255 for constants.
        match settings.rate {
            Rate::Constant(quantiser) => self.set("crf", (quantiser / 4).clamp(1, 63)),
            Rate::Quality(quality, _) => self.set("crf", ((quality * 63 / 51) >> 8).clamp(1, 63)),
            Rate::Average(rate, _) => self.set("b", rate),
        }
    }

    fn pyramid(&self, settings: &Settings) -> &'static str {
        if settings.b_references && self.b_frames > 1 { "normal" } else { "none" }
    }

    /// Quantisers below `finest` would change the profile.
    fn rate(&mut self, settings: &Settings, finest: u32) {
        let ceiling = match settings.rate {
            Rate::Constant(quantiser) => return self.set("qp", quantiser.clamp(finest, 51)),
            Rate::Quality(quality, ceiling) => {
                self.set("crf", f64::from(quality) / 256.0);
                ceiling
            }
            Rate::Average(rate, ceiling) => {
                self.set("b", rate);
                ceiling
            }
        };
        if ceiling.rate > 0 {
            self.set("maxrate", ceiling.rate);
            self.set("bufsize", if ceiling.buffer > 0 { ceiling.buffer } else { ceiling.rate.saturating_mul(2) });
        }
    }
}
