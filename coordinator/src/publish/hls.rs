//! HLS playlists (RFC 8216 and draft-pantos-hls-rfc8216bis), written as text: playlist libraries keep durations as
//! 32-bit floats and attributes without an order.

use std::collections::HashSet;
use std::ops::Range;

use shared::source::DynamicRange;
use shared::task::SegmentInfo;
use shared::time::Timescale;

use super::outline::{Listing, Outline};
use super::rate::Rate;
use super::{I_FRAME_PLAYLIST, MEDIA_PLAYLIST};
use crate::stitch::{AudioTrack, VideoTrack};

/// `EXT-X-MAP` in playlists that are not I-frame-only asks for 6; 7 is what fragmented MP4 players expect.
const VERSION: u32 = 7;
/// The one group of audio renditions.
const AUDIO_GROUP: &str = "audio";
const MICROS: Timescale = Timescale::new(1_000_000).expect("a million should not be zero");

/// The media playlist of a track.
pub(super) fn media(outline: &Outline, listing: &Listing) -> String {
    playlist(outline, listing, false)
}

/// The I-frame playlist of a video track: the first frame of each segment, as a range from the segment's start.
pub(super) fn i_frames(outline: &Outline, listing: &Listing) -> String {
    playlist(outline, listing, true)
}

fn playlist(outline: &Outline, listing: &Listing, i_frames: bool) -> String {
    let (target_s, complete) = (outline.target_s, outline.presentation.complete);
    let mut text = format!("#EXTM3U\n#EXT-X-VERSION:{VERSION}\n#EXT-X-TARGETDURATION:{target_s}\n");
    text.push_str("#EXT-X-MEDIA-SEQUENCE:0\n");
    text.push_str(if complete { "#EXT-X-PLAYLIST-TYPE:VOD\n" } else { "#EXT-X-PLAYLIST-TYPE:EVENT\n" });
    if i_frames {
        text.push_str("#EXT-X-I-FRAMES-ONLY\n");
    }
    text.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
    if !complete {
        // Without it players take a growing playlist for a live one and start at its end.
        text.push_str("#EXT-X-START:TIME-OFFSET=0\n");
    }
    for (position, (segment, span)) in listing.segments.iter().zip(listing.spans()).enumerate() {
        if let Some(init) = listing.init_from(position) {
            text.push_str(&format!("#EXT-X-MAP:URI=\"{}\"\n", listing.file(init)));
        }
        write_segment(&mut text, listing, segment, span, i_frames);
    }
    if complete {
        text.push_str("#EXT-X-ENDLIST\n");
    }
    text
}

/// Edges are rounded, not durations: over ten hours of segments no error adds up.
fn write_segment(text: &mut String, listing: &Listing, segment: &SegmentInfo, span: Range<i64>, i_frames: bool) {
    let micros = |ticks| MICROS.rescale_nearest(ticks, listing.timescale);
    let length = micros(span.end).saturating_sub(micros(span.start)).max(0);
    text.push_str(&format!("#EXTINF:{}.{:06},\n", length / 1_000_000, length % 1_000_000));
    if i_frames {
        text.push_str(&format!("#EXT-X-BYTERANGE:{}@0\n", segment.first_sample_end));
    }
    text.push_str(listing.file(&segment.object));
    text.push('\n');
}

/// The multivariant playlist. While the presentation grows it promises ceilings, so that it stays the same; then it says
/// what was measured.
pub(super) fn multivariant(outline: &Outline) -> String {
    let mut text = format!("#EXTM3U\n#EXT-X-VERSION:{VERSION}\n#EXT-X-INDEPENDENT-SEGMENTS\n");
    let video: Vec<_> = outline.presentation.video.iter().zip(&outline.video).collect();
    let mut audio: Vec<_> = outline.presentation.audio.iter().zip(&outline.audio).collect();
    audio.sort_by_key(|(track, _)| !track.rendition.default);
    let mut group = String::new();
    if !audio.is_empty() && (!video.is_empty() || audio.len() > 1) {
        audio_group(&mut text, audio.iter().map(|(track, _)| *track));
        group = format!(",AUDIO=\"{AUDIO_GROUP}\"");
    }
    let promise = Promise { outline };
    let sound = audio.iter().map(|(track, listing)| promise.audio(track, listing)).fold(Rate::default(), Rate::max);
    let mut sound_codecs: Vec<&str> = audio.iter().map(|(_, listing)| listing.codecs.as_str()).collect();
    sound_codecs.sort_unstable();
    sound_codecs.dedup();
    for (track, listing) in &video {
        let bandwidths = promise.attributes(promise.video(track, Rate::of(listing, outline.target_s)).plus(sound));
        let codecs = [&[listing.codecs.as_str()], &sound_codecs[..]].concat().join(",");
        let (picture, rate) = (picture(track), track.frame_rate.per_second());
        text.push_str(&format!(
            "#EXT-X-STREAM-INF:{bandwidths},CODECS=\"{codecs}\",{picture},FRAME-RATE={rate:.3}{group}"
        ));
        text.push_str(&format!("\n{}/{MEDIA_PLAYLIST}\n", listing.name));
    }
    if let (true, Some((_, listing))) = (video.is_empty(), audio.first()) {
        let (bandwidths, codecs) = (promise.attributes(sound), sound_codecs.join(","));
        text.push_str(&format!("#EXT-X-STREAM-INF:{bandwidths},CODECS=\"{codecs}\"{group}"));
        text.push_str(&format!("\n{}/{MEDIA_PLAYLIST}\n", listing.name));
    }
    for (track, listing) in &video {
        // An I-frame is a part of its segment, so the segment's ceiling holds for it too.
        let rate = promise.video(track, Rate::of_i_frames(listing, outline.target_s));
        let (bandwidths, codecs, picture) = (promise.attributes(rate), &listing.codecs, picture(track));
        text.push_str(&format!("#EXT-X-I-FRAME-STREAM-INF:{bandwidths},CODECS=\"{codecs}\",{picture}"));
        text.push_str(&format!(",URI=\"{}/{I_FRAME_PLAYLIST}\"\n", listing.name));
    }
    text
}

fn picture(track: &VideoTrack) -> String {
    let range = match track.color.dynamic_range() {
        DynamicRange::Sdr => "SDR",
        DynamicRange::Pq => "PQ",
        DynamicRange::Hlg => "HLG",
    };
    format!("RESOLUTION={}x{},VIDEO-RANGE={range}", track.rendition.width_px, track.rendition.height_px)
}

/// `EXT-X-MEDIA` of each audio rendition (RFC 8216 4.3.4.1): names differ, the first is the default, and a player may
/// choose by itself among those whose languages differ.
fn audio_group<'a>(text: &mut String, tracks: impl Iterator<Item = &'a AudioTrack>) {
    let (mut names, mut languages) = (HashSet::new(), HashSet::new());
    for (position, track) in tracks.enumerate() {
        let rendition = &track.rendition;
        let name = unique(&mut names, quotable(&rendition.title, &rendition.name));
        text.push_str(&format!("#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"{AUDIO_GROUP}\",NAME=\"{name}\""));
        let language = quotable(&rendition.language, "und");
        if language != "und" {
            text.push_str(&format!(",LANGUAGE=\"{language}\""));
        }
        let flag = |yes| if yes { "YES" } else { "NO" };
        let (default, auto) = (flag(position == 0), flag(languages.insert(language)));
        text.push_str(&format!(",DEFAULT={default},AUTOSELECT={auto},CHANNELS=\"{}\"", rendition.channels));
        text.push_str(&format!(",URI=\"{}/{MEDIA_PLAYLIST}\"\n", rendition.name));
    }
}

/// `name`, or with a number if `taken` holds it.
fn unique(taken: &mut HashSet<String>, name: String) -> String {
    let numbered = (2..).map(|number| format!("{name} ({number})"));
    let free = [name.clone()].into_iter().chain(numbered).find(|candidate| !taken.contains(candidate));
    let free = free.unwrap_or(name);
    taken.insert(free.clone());
    free
}

/// Text for a quoted string: no quotation marks and no control characters (RFC 8216 4.2).
fn quotable(text: &str, otherwise: &str) -> String {
    let clean = text.replace('"', "'").replace(char::is_control, " ");
    let clean = clean.trim();
    if clean.is_empty() { otherwise.to_owned() } else { clean.to_owned() }
}

/// What `BANDWIDTH` and `AVERAGE-BANDWIDTH` say: ceilings while the presentation grows, what was measured in the end.
struct Promise<'a> {
    outline: &'a Outline<'a>,
}

impl Promise<'_> {
    /// A segment of length `l` takes at most `maxrate · l + bufsize` bits.
    fn video(&self, track: &VideoTrack, measured: Rate) -> Rate {
        let rate = track.rendition.rate;
        let burst = u64::from(rate.bufsize_bits) * 1000 / u64::from(self.outline.presentation.grid.segment_ms());
        self.at_least(measured, u64::from(rate.maxrate_bps) + burst)
    }

    /// AAC at a nominal rate swings by a few percent, and fragment headers take about 3 kbit/s.
    fn audio(&self, track: &AudioTrack, listing: &Listing) -> Rate {
        self.at_least(Rate::of(listing, self.outline.target_s), u64::from(track.rendition.bitrate_bps) * 5 / 4)
    }

    fn at_least(&self, measured: Rate, ceiling_bps: u64) -> Rate {
        if self.outline.presentation.complete {
            return measured;
        }
        Rate { peak_bps: measured.peak_bps.max(ceiling_bps), ..measured }
    }

    fn attributes(&self, rate: Rate) -> String {
        if self.outline.presentation.complete {
            return format!("BANDWIDTH={},AVERAGE-BANDWIDTH={}", rate.peak_bps, rate.average_bps);
        }
        format!("BANDWIDTH={}", rate.peak_bps)
    }
}
