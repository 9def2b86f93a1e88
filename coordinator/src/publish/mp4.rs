//! Progressive MP4 files, one per rendition: the same samples as in the segments, behind one header.

use bytes::Bytes;
use shared::cmaf::{InitSegment, Movie, MovieTrack, SegmentSummary, Shown, read_segment, reorder_delay};
use shared::storage::Storage;
use shared::task::{SegmentInfo, StoredObject};

use super::{PublishError, init};
use crate::stitch::{AudioTrack, Presentation, VideoTrack};

/// Writes `<rendition>/<rendition>.mp4` for each video rendition, with the default audio track; for each audio rendition if there is
/// no video. Segments are read twice, one at a time: for the tables in front, then for the samples.
///
/// The presentation should be complete. What is written depends on nothing but the segments.
pub async fn write_movies(target: &Storage, presentation: &Presentation) -> Result<Vec<StoredObject>, PublishError> {
    let default = presentation.audio.iter().find(|track| track.rendition.default);
    let mut movies = Vec::new();
    if presentation.video.is_empty() {
        for track in &presentation.audio {
            let name = &track.rendition.name;
            movies.push(write_movie(target, name, &[sound(target, track).await?]).await?);
        }
        return Ok(movies);
    }
    let sound = match default.or(presentation.audio.first()) {
        Some(track) => Some(sound(target, track).await?),
        None => None,
    };
    for track in &presentation.video {
        let pictures = pictures(target, track).await?;
        let tracks: Vec<Source> = [pictures].into_iter().chain(sound.clone()).collect();
        movies.push(write_movie(target, &track.rendition.name, &tracks).await?);
    }
    Ok(movies)
}

/// A track's tables and where its samples are.
#[derive(Clone)]
struct Source<'a> {
    tables: MovieTrack,
    segments: &'a [SegmentInfo],
}

/// The first frame's media time is the delay that its composition offset has.
async fn pictures<'a>(target: &Storage, track: &'a VideoTrack) -> Result<Source<'a>, PublishError> {
    let (first, last) = (track.segments.first(), track.segments.last());
    let after = first.map_or(0, |first| first.start.max(0).unsigned_abs());
    let end = last.map_or(0, |last| last.start.saturating_add_unsigned(last.duration).max(0).unsigned_abs());
    let delay = reorder_delay(track.timescale, track.frame_rate);
    let shown = Shown { after, from: delay.into(), duration: end.saturating_sub(after) };
    tables(target, init::video(track), shown, &track.segments).await
}

/// Priming is in front of what is shown, remainder behind it.
async fn sound<'a>(target: &Storage, track: &'a AudioTrack) -> Result<Source<'a>, PublishError> {
    let shown = Shown { after: track.lead(), from: track.priming, duration: track.samples };
    tables(target, init::audio(track), shown, &track.segments).await
}

async fn tables<'a>(
    target: &Storage,
    init: InitSegment,
    shown: Shown,
    segments: &'a [SegmentInfo],
) -> Result<Source<'a>, PublishError> {
    let mut tables = MovieTrack::new(init, shown);
    for segment in segments {
        let (_, summary) = read(target, &segment.object).await?;
        tables.push(&summary).map_err(|error| wrong(&segment.object, error))?;
    }
    Ok(Source { tables, segments })
}

async fn write_movie(target: &Storage, rendition: &str, tracks: &[Source<'_>]) -> Result<StoredObject, PublishError> {
    let movie = Movie { tracks: tracks.iter().map(|track| track.tables.clone()).collect() };
    let head = movie.head().map_err(|source| PublishError::Init { rendition: rendition.to_owned(), source })?;
    let mut file = target.upload(&key(rendition)).await?;
    file.push(head.bytes).await?;
    for (track, segment) in head.order {
        let (bytes, summary) = read(target, &tracks[track].segments[segment].object).await?;
        file.push(bytes.slice(summary.data)).await?;
    }
    Ok(file.finish().await?)
}

/// Where a rendition's file is stored. Players don't look for it, people do, so its name has no hash.
pub(super) fn key(rendition: &str) -> String {
    super::key(rendition, &format!("{rendition}.mp4"))
}

/// A segment, if it is what its receipt said.
async fn read(target: &Storage, object: &StoredObject) -> Result<(Bytes, SegmentSummary), PublishError> {
    let bytes = target.get(&object.key).await?;
    if StoredObject::of(object.key.as_str(), &bytes) != *object {
        return Err(wrong(object, "the bytes are not those that were checked"));
    }
    let summary = read_segment(&bytes).map_err(|error| wrong(object, error))?;
    Ok((bytes, summary))
}

fn wrong(object: &StoredObject, why: impl std::fmt::Display) -> PublishError {
    PublishError::Segment { key: object.key.clone(), why: why.to_string() }
}
