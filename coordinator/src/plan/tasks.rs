//! From chunks and runs to tasks: what each worker is told. Pure.

use std::collections::BTreeMap;

use shared::index::{AudioRun, ListRef};
use shared::rendition::VideoRendition;
use shared::source::{AudioStream, Color, DynamicRange, SourceInfo, VideoStream};
use shared::task::{AudioTask, ImagePlan, StoryboardTask, Transform, VideoReceipt, VideoTask};
use shared::time::{MediaTime, SegmentGrid, Timescale};

use super::Chunk;
use super::audio::planned_rate;
use crate::profile::{Profile, StoryboardProfile};
use shared::rendition::AudioRendition;

/// The poster is taken this far into the presentation, in percent ...
const POSTER_PERCENT: i64 = 10;
/// ... but no later than this.
const LATEST_POSTER_MS: u32 = 10_000;
/// Tile interval that switches the storyboard off: only tile 0 comes, and nobody asks for it.
const NO_TILES_MS: u32 = u32::MAX;

/// What the tasks of one job's chunks have in common.
#[derive(Debug)]
pub struct VideoPlan {
    stream: VideoStream,
    grid: SegmentGrid,
    renditions: Vec<VideoRendition>,
    images: Option<ImagePlan>, // with the place of the poster, whatever chunk that is in
}

impl VideoPlan {
    /// For a job whose ladder is `renditions`. `None` iff there is no video to make.
    pub fn new(
        source: &SourceInfo,
        profile: &Profile,
        renditions: &[VideoRendition],
        grid: SegmentGrid,
    ) -> Option<Self> {
        let stream = source.video.clone()?;
        let images = image_plan(&stream, profile, source.declared_ms);
        (!renditions.is_empty()).then(|| Self { stream, grid, renditions: renditions.to_vec(), images })
    }

    /// The task that makes `chunk`. `seen` is the end of what the index has shown so far.
    pub fn task(&self, chunk: Chunk, seen: i64) -> VideoTask {
        let (start, end) = (chunk.start, chunk.end);
        // A source may be shorter than it declares; its last chunk then has the poster.
        let poster_at = |at: i64| if end.is_none() && at >= seen { start } else { at };
        let here = |at: &i64| *at >= start && end.is_none_or(|end| *at < end);
        let images =
            self.images.map(|images| ImagePlan { poster_at: images.poster_at.map(poster_at).filter(here), ..images });
        let tone_map = self.stream.color.dynamic_range() != DynamicRange::Sdr;
        VideoTask {
            lists: chunk.lists,
            start,
            end,
            grid: self.grid,
            segment_count: chunk.segment_count,
            transform: Transform {
                rotation: self.stream.rotation,
                mirror: self.stream.mirrored,
                deinterlace: self.stream.interlaced,
                tone_map,
            },
            color: encoded_color(self.stream.color),
            renditions: self.renditions.clone(),
            images,
            pins: BTreeMap::new(),
            stream: self.stream.clone(),
        }
    }
}

/// The colour description of what is encoded: limited range, BT.709 where the source is mapped to it or is not YCbCr in
/// a way that every decoder knows.
fn encoded_color(source: Color) -> Color {
    const IDENTITY: u8 = 0;
    const YCGCO: u8 = 8;
    if source.dynamic_range() != DynamicRange::Sdr {
        return Color { primaries: 1, transfer: 1, matrix: 1, full_range: false };
    }
    let matrix = if matches!(source.matrix, IDENTITY | YCGCO) { 1 } else { source.matrix };
    Color { matrix, full_range: false, ..source }
}

fn image_plan(stream: &VideoStream, profile: &Profile, declared_ms: Option<u64>) -> Option<ImagePlan> {
    if profile.storyboard.is_none() && !profile.poster {
        return None;
    }
    let tile_width_px = profile.storyboard.as_ref().map_or(2, |storyboard| storyboard.tile_width_px);
    let (width, height) = stream.display_size();
    let tile_height = u64::from(tile_width_px) * u64::from(height) / u64::from(width.max(1));
    let latest = i64::from(LATEST_POSTER_MS);
    let poster_ms =
        declared_ms.map_or(0, |ms| (i64::try_from(ms).unwrap_or(i64::MAX) / 100 * POSTER_PERCENT).min(latest));
    Some(ImagePlan {
        tile_interval_ms: profile.storyboard.as_ref().map_or(NO_TILES_MS, |_| tile_interval_ms(declared_ms)),
        tile_width_px,
        // A picture a hundred times as high as wide still gets a tile, if a squeezed one.
        tile_height_px: u32::try_from(tile_height).unwrap_or(u32::MAX).clamp(2, 4 * tile_width_px) & !1,
        poster_at: profile.poster.then(|| stream.timescale.rescale_floor(poster_ms, Timescale::MILLIS)),
    })
}

/// About a hundred tiles for a clip, a few hundred for a film.
fn tile_interval_ms(declared_ms: Option<u64>) -> u32 {
    match declared_ms.map(|ms| ms / 1000) {
        Some(0..30) => 1_000,
        Some(30..120) => 2_000,
        Some(120..1800) | None => 5_000,
        Some(1800..) => 10_000,
    }
}

/// The storyboard of finished chunks, in order; with the numbers of its tiles. `None` if there are no tiles.
pub fn storyboard_task<'a>(
    profile: &StoryboardProfile,
    images: ImagePlan,
    receipts: impl IntoIterator<Item = &'a VideoReceipt>,
) -> Option<(StoryboardTask, Vec<u64>)> {
    let mut tiles: Vec<(u64, &str)> = receipts
        .into_iter()
        .flat_map(|receipt| &receipt.tiles)
        .map(|(number, object)| (*number, object.key.as_str()))
        .collect();
    tiles.sort();
    tiles.dedup_by_key(|(number, _)| *number);
    let (numbers, keys): (Vec<u64>, Vec<String>) = tiles.into_iter().map(|(n, key)| (n, key.to_owned())).unzip();
    let task = StoryboardTask {
        tiles: keys,
        tile_width_px: images.tile_width_px,
        tile_height_px: images.tile_height_px,
        columns: profile.columns,
        rows: profile.rows,
    };
    (!numbers.is_empty()).then_some((task, numbers))
}

/// The task that makes one audio track from all runs of its stream. `None` if there are none.
pub fn audio_task(
    stream: &AudioStream,
    rendition: &AudioRendition,
    runs: &[AudioRun],
    grid: SegmentGrid,
) -> Option<AudioTask> {
    let end = runs.iter().map(|run| run.end).max()?;
    let rate = planned_rate(rendition);
    // The encoder's priming delays the signal by less than this; a tail it makes long enough is a segment.
    let samples = rate.rescale_ceil(end, stream.timescale).saturating_add(PRIMING_SAMPLES);
    Some(AudioTask {
        stream: stream.clone(),
        lists: runs.iter().map(|run| run.list).collect::<Vec<ListRef>>(),
        grid,
        segment_count: grid.count_until(MediaTime::new(samples, rate)),
        rendition: rendition.clone(),
    })
}

/// An AAC frame; Opus' pre-skip is shorter.
const PRIMING_SAMPLES: i64 = 1024;

#[cfg(test)]
mod tests {
    use shared::placement::Hardware;
    use shared::source::{DecoderSetup, Timing, Verdict};
    use shared::task::{Spent, StoredObject};
    use shared::time::FrameRate;

    use super::*;
    use crate::ladder::{Rungs, ladder};

    fn source(color: Color, declared_ms: Option<u64>) -> SourceInfo {
        let video = VideoStream {
            index: 0,
            codec: "h264".into(),
            setup: DecoderSetup(vec![]),
            timescale: Timescale::new(1000).unwrap(),
            width_px: 1920,
            height_px: 1080,
            sample_aspect: (1, 1),
            rotation: 90,
            mirrored: false,
            frame_rate: FrameRate { numerator: 25, denominator: 1 },
            interlaced: true,
            pixel_format: "yuv420p".into(),
            color,
            timing: Timing::Packets,
        };
        SourceInfo {
            container: "mov".into(),
            size_bytes: None,
            mark: None,
            declared_ms,
            verdict: Verdict::Standard,
            findings: vec![],
            video: Some(video),
            audio: vec![],
            ignored: vec![],
        }
    }

    const HDR: Color = Color { primaries: 9, transfer: 16, matrix: 9, full_range: false };
    const RGB: Color = Color { primaries: 1, transfer: 13, matrix: 0, full_range: true };

    fn plan(color: Color, declared_ms: Option<u64>) -> VideoPlan {
        let (source, profile) = (source(color, declared_ms), Profile::named("web").unwrap());
        let made = ladder(&profile, source.video.as_ref().unwrap(), declared_ms, &Rungs::All);
        VideoPlan::new(&source, &profile, &made.video, SegmentGrid::new(6000).unwrap()).unwrap()
    }

    fn chunk(start: i64, end: Option<i64>) -> Chunk {
        Chunk { number: 0, start, end, lists: vec![], segment_count: None, bytes: 0, preroll: 0 }
    }

    #[test]
    fn high_dynamic_range_is_mapped_and_said_to_be_bt709() {
        let task = plan(HDR, None).task(chunk(0, None), 5_000);
        assert!(task.transform.tone_map && task.transform.deinterlace);
        assert_eq!(task.color, Color { primaries: 1, transfer: 1, matrix: 1, full_range: false });
        let task = plan(RGB, None).task(chunk(0, None), 5_000);
        assert!(!task.transform.tone_map);
        assert_eq!(task.color, Color { matrix: 1, full_range: false, ..RGB });
    }

    #[test]
    fn the_poster_is_in_the_one_chunk_that_holds_it() {
        let plan = plan(RGB, Some(80_000));
        let at = |chunk, seen| plan.task(chunk, seen).images.unwrap().poster_at;
        assert_eq!(at(chunk(0, Some(6_000)), 20_000), None);
        assert_eq!(at(chunk(6_000, Some(18_000)), 20_000), Some(8_000));
        assert_eq!(at(chunk(18_000, None), 20_000), None);
        assert_eq!(at(chunk(0, None), 3_000), Some(0), "the source is shorter than it declares");
    }

    #[test]
    fn tiles_keep_the_shape_of_the_upright_picture() {
        let images = plan(RGB, Some(80_000)).images.unwrap();
        assert_eq!((images.tile_interval_ms, images.tile_width_px, images.tile_height_px), (2_000, 160, 284));
    }

    #[test]
    fn storyboard_lists_each_tile_once_in_order_of_time() {
        let tile = |n: u64| (n, StoredObject { key: format!("tiles/{n}"), size: 1, sha256: vec![] });
        let receipt = |numbers: &[u64]| VideoReceipt {
            parts: vec![],
            frames_expected: 0,
            frames: 0,
            first_pts: None,
            last_pts: None,
            decode_errors: 0,
            tiles: numbers.iter().map(|n| tile(*n)).collect(),
            poster: None,
            spent: Spent::default(),
            hardware: Hardware::default(),
        };
        let profile = Profile::named("web").unwrap().storyboard.unwrap();
        let images = plan(RGB, None).images.unwrap();
        let receipts = [receipt(&[0, 1, 2]), receipt(&[2, 4])];
        let (task, numbers) = storyboard_task(&profile, images, &receipts).unwrap();
        assert_eq!(numbers, [0, 1, 2, 4]);
        assert_eq!(task.tiles, ["tiles/0", "tiles/1", "tiles/2", "tiles/4"]);
        assert_eq!(storyboard_task(&profile, images, &[receipt(&[])]), None);
    }
}
