//! The DASH manifest (ISO/IEC 23009-1), written as text: a static MPD over the same segments as HLS.
//!
//! ```text
//! MPD
//! └─ Period
//!    ├─ AdaptationSet video
//!    │  └─ Representation per rendition ─ SegmentList ┬ Initialization
//!    │                                                ├ SegmentTimeline
//!    │                                                └ SegmentURL …
//!    └─ AdaptationSet per audio rendition
//!       └─ Representation ─ SegmentList
//! ```
//!
//! Segment names carry hashes, so there is a list instead of a template, and the profile is "main". Times in the
//! timeline are presentation times, edit lists applied. The first segment counts from 0 even if it starts a little
//! later: dash.js finds no segment for the start of the presentation otherwise and buffers nothing after a seek to it.

use shared::source::{Color, DynamicRange};

use super::outline::{Listing, Outline};
use super::rate::Rate;
use crate::stitch::AudioTrack;

const NAMESPACE: &str = "urn:mpeg:dash:schema:mpd:2011";
const PROFILE: &str = "urn:mpeg:dash:profile:isoff-main:2011";

/// The manifest of a complete presentation.
pub(super) fn manifest(outline: &Outline) -> String {
    let duration_ms = outline.duration_ms();
    let target_s = outline.target_s;
    let mut xml = Xml::new();
    xml.open(
        "MPD",
        &[
            ("xmlns", NAMESPACE.to_owned()),
            ("profiles", PROFILE.to_owned()),
            ("type", "static".to_owned()),
            ("mediaPresentationDuration", format!("PT{}.{:03}S", duration_ms / 1000, duration_ms % 1000)),
            // `bandwidth` is the peak over about this long.
            ("minBufferTime", format!("PT{target_s}S")),
        ],
    );
    xml.open("Period", &[("id", "0".to_owned()), ("start", "PT0S".to_owned())]);
    if !outline.video.is_empty() {
        video_set(&mut xml, outline);
    }
    for (position, (track, listing)) in outline.presentation.audio.iter().zip(&outline.audio).enumerate() {
        audio_set(&mut xml, track, listing, position + 1, target_s);
    }
    xml.close("Period");
    xml.close("MPD");
    xml.text
}

fn video_set(xml: &mut Xml, outline: &Outline) {
    let tracks = &outline.presentation.video;
    xml.open("AdaptationSet", &set_attributes(0, "video", None));
    if let Some(track) = tracks.first() {
        dynamic_range(xml, track.color);
    }
    role(xml, "main");
    for (track, listing) in tracks.iter().zip(&outline.video) {
        let rate = track.frame_rate;
        let frame_rate = match rate.denominator {
            0 | 1 => rate.numerator.to_string(),
            denominator => format!("{}/{denominator}", rate.numerator),
        };
        xml.open(
            "Representation",
            &[
                ("id", track.rendition.name.clone()),
                ("bandwidth", Rate::of(listing, outline.target_s).peak_bps.to_string()),
                ("codecs", listing.codecs.clone()),
                ("width", track.rendition.width_px.to_string()),
                ("height", track.rendition.height_px.to_string()),
                ("frameRate", frame_rate),
                ("sar", "1:1".to_owned()),
            ],
        );
        segment_list(xml, listing);
        xml.close("Representation");
    }
    xml.close("AdaptationSet");
}

fn audio_set(xml: &mut Xml, track: &AudioTrack, listing: &Listing, id: usize, target_s: u64) {
    let rendition = &track.rendition;
    xml.open("AdaptationSet", &set_attributes(id, "audio", Some(&rendition.language)));
    if !rendition.title.trim().is_empty() {
        xml.leaf("Label", &rendition.title);
    }
    role(xml, if rendition.default { "main" } else { "alternate" });
    xml.open(
        "Representation",
        &[
            ("id", rendition.name.clone()),
            ("bandwidth", Rate::of(listing, target_s).peak_bps.to_string()),
            ("codecs", listing.codecs.clone()),
            ("audioSamplingRate", rendition.sample_rate_hz.to_string()),
        ],
    );
    let channels = "urn:mpeg:dash:23003:3:audio_channel_configuration:2011";
    xml.descriptor("AudioChannelConfiguration", channels, &rendition.channels.to_string());
    segment_list(xml, listing);
    xml.close("Representation");
    xml.close("AdaptationSet");
}

fn set_attributes(id: usize, kind: &str, language: Option<&str>) -> Vec<(&'static str, String)> {
    let mut attributes = vec![
        ("id", id.to_string()),
        ("contentType", kind.to_owned()),
        ("mimeType", format!("{kind}/mp4")),
        ("segmentAlignment", "true".to_owned()),
        ("startWithSAP", "1".to_owned()),
    ];
    attributes.extend(language.map(|language| ("lang", language.to_owned())));
    attributes
}

fn role(xml: &mut Xml, value: &str) {
    xml.descriptor("Role", "urn:mpeg:dash:role:2011", value);
}

/// Code points of ISO/IEC 23091-2. Who can't show PQ must not try; HLG is made to be watchable anywhere.
fn dynamic_range(xml: &mut Xml, color: Color) {
    let element = match color.dynamic_range() {
        DynamicRange::Sdr => return,
        DynamicRange::Pq => "EssentialProperty",
        DynamicRange::Hlg => "SupplementalProperty",
    };
    xml.descriptor(element, "urn:mpeg:mpegB:cicp:ColourPrimaries", &color.primaries.to_string());
    xml.descriptor(element, "urn:mpeg:mpegB:cicp:TransferCharacteristics", &color.transfer.to_string());
    xml.descriptor(element, "urn:mpeg:mpegB:cicp:MatrixCoefficients", &color.matrix.to_string());
}

/// 5.3.9.3; the timeline (5.3.9.6) has no gaps and an entry for each segment: dash.js takes the n-th entry's segment to
/// be the n-th `SegmentURL` and loads it again and again if a run of equal durations is one entry.
fn segment_list(xml: &mut Xml, listing: &Listing) {
    let attributes = [("timescale", listing.timescale.get().to_string()), ("presentationTimeOffset", "0".to_owned())];
    xml.open("SegmentList", &attributes);
    xml.empty("Initialization", &[("sourceURL", listing.init.key.clone())]);
    xml.open("SegmentTimeline", &[]);
    for (position, span) in listing.spans().enumerate() {
        let mut attributes = vec![("d", span.end.abs_diff(span.start).to_string())];
        if position == 0 {
            attributes.insert(0, ("t", span.start.to_string()));
        }
        xml.empty("S", &attributes);
    }
    xml.close("SegmentTimeline");
    for segment in listing.segments {
        xml.empty("SegmentURL", &[("media", segment.object.key.clone())]);
    }
    xml.close("SegmentList");
}

/// Indented XML text.
struct Xml {
    text: String,
    depth: usize,
}

impl Xml {
    fn new() -> Self {
        Self { text: "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned(), depth: 0 }
    }

    fn open(&mut self, name: &str, attributes: &[(&str, String)]) {
        self.tag(name, attributes);
        self.text.push_str(">\n");
        self.depth += 1;
    }

    fn close(&mut self, name: &str) {
        self.depth -= 1;
        self.indent();
        self.text.push_str(&format!("</{name}>\n"));
    }

    fn empty(&mut self, name: &str, attributes: &[(&str, String)]) {
        self.tag(name, attributes);
        self.text.push_str("/>\n");
    }

    fn leaf(&mut self, name: &str, content: &str) {
        self.tag(name, &[]);
        self.text.push('>');
        self.escape(content);
        self.text.push_str(&format!("</{name}>\n"));
    }

    /// A `DescriptorType` element (5.8.2).
    fn descriptor(&mut self, name: &str, scheme: &str, value: &str) {
        self.empty(name, &[("schemeIdUri", scheme.to_owned()), ("value", value.to_owned())]);
    }

    fn tag(&mut self, name: &str, attributes: &[(&str, String)]) {
        self.indent();
        self.text.push('<');
        self.text.push_str(name);
        for (name, value) in attributes {
            self.text.push(' ');
            self.text.push_str(name);
            self.text.push_str("=\"");
            self.escape(value);
            self.text.push('"');
        }
    }

    fn indent(&mut self) {
        self.text.extend(std::iter::repeat_n("  ", self.depth));
    }

    /// Characters that XML 1.0 does not allow at all become blanks.
    fn escape(&mut self, content: &str) {
        for char in content.chars() {
            match char {
                '&' => self.text.push_str("&amp;"),
                '<' => self.text.push_str("&lt;"),
                '>' => self.text.push_str("&gt;"),
                '"' => self.text.push_str("&quot;"),
                '\u{fffe}' | '\u{ffff}' => self.text.push(' '),
                char if char.is_control() => self.text.push(' '),
                char => self.text.push(char),
            }
        }
    }
}
