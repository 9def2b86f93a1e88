//! A presentation as playlists and manifests see it.

use std::ops::Range;

use bytes::Bytes;
use shared::cmaf::{DecoderConfig, InitSegment};
use shared::task::{SegmentInfo, StoredObject};
use shared::time::Timescale;

use super::{PublishError, init};
use crate::stitch::{AudioTrack, Presentation, VideoTrack};

/// What is worked out once per round.
pub(super) struct Outline<'a> {
    pub(super) presentation: &'a Presentation,
    /// In the order of the presentation's video tracks.
    pub(super) video: Vec<Listing<'a>>,
    /// In the order of the presentation's audio tracks.
    pub(super) audio: Vec<Listing<'a>>,
    /// `EXT-X-TARGETDURATION` of every playlist, in seconds.
    pub(super) target_s: u64,
}

/// One track.
pub(super) struct Listing<'a> {
    pub(super) name: &'a str,
    /// RFC 6381 codecs parameter; empty while there is no segment.
    pub(super) codecs: String,
    /// The init segment's object; without a key while there is no segment.
    pub(super) init: StoredObject,
    /// What is in it.
    pub(super) init_bytes: Bytes,
    /// What players of a growing track may have been given before; empty once it is complete.
    pub(super) outgrown: Vec<Outgrown>,
    pub(super) timescale: Timescale,
    pub(super) segments: &'a [SegmentInfo],
    /// Presentation time and duration of each segment, in ticks, without gaps.
    pub(super) timeline: Vec<(i64, u64)>,
    /// Presentation time until which the last segment counts at least, in ticks; 0: its own end.
    pub(super) until: i64,
}

/// An init segment without the parameter sets of an encoder family that came later.
pub(super) struct Outgrown {
    /// Position of the first segment for which it does not do.
    pub(super) until: usize,
    pub(super) init: StoredObject,
    pub(super) init_bytes: Bytes,
}

impl<'a> Outline<'a> {
    pub(super) fn of(presentation: &'a Presentation) -> Result<Self, PublishError> {
        let video = presentation.video.iter().map(|track| Listing::video(track, presentation.complete));
        let video = video.collect::<Result<Vec<_>, _>>()?;
        let audio = presentation.audio.iter().map(Listing::audio).collect::<Result<Vec<_>, _>>()?;
        let mut outline = Self { presentation, video, audio, target_s: 0 };
        if presentation.complete {
            outline.count_to_the_end();
        }
        outline.target_s = outline.target_duration();
        Ok(outline)
    }

    /// Lets every track that ends well before the longest count to its end. Sound ends with a whole frame, so a few
    /// hundredths are in the nature of things.
    fn count_to_the_end(&mut self) {
        let ends: Vec<_> = self.all().map(|listing| (listing.end(), listing.timescale)).collect();
        for listing in self.video.iter_mut().chain(&mut self.audio) {
            let ends = ends.iter().map(|(end, timescale)| listing.timescale.rescale_nearest(*end, *timescale));
            let longest = ends.max().unwrap_or(0);
            let tenth = i64::from(listing.timescale.get() / 10);
            listing.until = if longest - listing.end() > tenth { longest } else { 0 };
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Listing<'a>> {
        self.video.iter().chain(&self.audio)
    }

    /// Those that have a segment.
    pub(super) fn begun(&self) -> impl Iterator<Item = &Listing<'a>> {
        self.all().filter(|listing| !listing.segments.is_empty())
    }

    /// Length of the longest track.
    pub(super) fn duration_ms(&self) -> u64 {
        let ends = self.all().map(|listing| Timescale::MILLIS.rescale_ceil(listing.end(), listing.timescale));
        ends.max().and_then(|end| u64::try_from(end).ok()).unwrap_or(0)
    }

    /// All playlists must agree on it (RFC 8216 6.2.4), and it must not change while they grow, so it allows for the
    /// longest segment that a grid makes: a tail of less than a second may be merged into the last one. Only a source
    /// with a long still or a track that starts late breaks that. The final playlists carry what is true.
    fn target_duration(&self) -> u64 {
        let longest = self.all().flat_map(|listing| {
            let timescale = u128::from(listing.timescale.get());
            // Rounded to the nearest second (RFC 8216 4.3.3.1).
            let ticks = listing.spans().map(|span| u128::from(span.end.abs_diff(span.start)));
            ticks.map(move |ticks| (ticks * 2 + timescale) / (2 * timescale))
        });
        let longest = longest.max().map_or(0, |seconds| u64::try_from(seconds).unwrap_or(u64::MAX));
        let growing = u64::from(self.presentation.grid.segment_ms()).div_ceil(1000) + 1;
        longest.max(if self.presentation.complete { 1 } else { growing })
    }
}

impl<'a> Listing<'a> {
    fn video(track: &'a VideoTrack, complete: bool) -> Result<Self, PublishError> {
        let (name, timeline) = (&track.rendition.name, track.timeline().collect());
        let listing = Self::new(name, &track.config, init::video(track), &track.segments, timeline)?;
        let outgrown = track.outgrown.iter().filter(|_| !complete).map(|(until, config)| {
            let (init, init_bytes) = written(name, &InitSegment { config: config.clone(), ..init::video(track) })?;
            Ok(Outgrown { until: *until, init, init_bytes })
        });
        Ok(Self { outgrown: outgrown.collect::<Result<_, PublishError>>()?, ..listing })
    }

    fn audio(track: &'a AudioTrack) -> Result<Self, PublishError> {
        let timeline = track.timeline().collect();
        Self::new(&track.rendition.name, &track.config, init::audio(track), &track.segments, timeline)
    }

    fn new(
        name: &'a str,
        config: &DecoderConfig,
        segment: InitSegment,
        segments: &'a [SegmentInfo],
        timeline: Vec<(i64, u64)>,
    ) -> Result<Self, PublishError> {
        let (mut codecs, mut init_bytes) = (String::new(), Bytes::new());
        let mut init = StoredObject { key: String::new(), size: 0, sha256: Vec::new() };
        if !segments.is_empty() {
            codecs = config.codecs().map_err(|source| PublishError::Init { rendition: name.to_owned(), source })?;
            (init, init_bytes) = written(name, &segment)?;
        }
        let (timescale, outgrown) = (segment.timescale, Vec::new());
        Ok(Self { name, codecs, init, init_bytes, outgrown, timescale, segments, timeline, until: 0 })
    }

    /// The init segment to be named before the segment at this position, if another one did before, or none.
    pub(super) fn init_from(&self, position: usize) -> Option<&StoredObject> {
        let passed = match position {
            0 => 0,
            _ => 1 + self.outgrown.iter().position(|outgrown| outgrown.until == position)?,
        };
        Some(self.outgrown.get(passed).map_or(&self.init, |outgrown| &outgrown.init))
    }

    /// Every init segment that playlists lead to, and what is in it.
    pub(super) fn inits(&self) -> impl Iterator<Item = (&StoredObject, &Bytes)> {
        let outgrown = self.outgrown.iter().map(|outgrown| (&outgrown.init, &outgrown.init_bytes));
        outgrown.chain([(&self.init, &self.init_bytes)])
    }

    /// Name of a segment's or the init segment's object inside the rendition's folder.
    pub(super) fn file<'b>(&self, object: &'b StoredObject) -> &'b str {
        let key = object.key.as_str();
        key.strip_prefix(self.name).and_then(|key| key.strip_prefix('/')).unwrap_or(key)
    }

    /// From where to where each segment counts in playlists and the manifest, in ticks. Players add durations up, so the
    /// first one counts from the presentation's start even if the track starts later; and some (Shaka Player, HLS) end
    /// where the first track ends, so the last one counts to the end of the longest track.
    pub(super) fn spans(&self) -> impl Iterator<Item = Range<i64>> {
        let last = self.timeline.len().saturating_sub(1);
        let ends = self.timeline.iter().enumerate().map(move |(position, (start, duration))| {
            let end = start.saturating_add_unsigned(*duration);
            if position == last { end.max(self.until) } else { end }
        });
        ends.scan(0, |from, end| Some(std::mem::replace(from, end)..end))
    }

    /// Presentation time after the last segment, in ticks.
    pub(super) fn end(&self) -> i64 {
        self.timeline.last().map_or(0, |(start, duration)| start.saturating_add_unsigned(*duration))
    }
}

/// An init segment as it is stored.
fn written(rendition: &str, segment: &InitSegment) -> Result<(StoredObject, Bytes), PublishError> {
    let failed = |source| PublishError::Init { rendition: rendition.to_owned(), source };
    let bytes = segment.write().map_err(failed)?;
    Ok((init::object(rendition, &bytes), bytes))
}
