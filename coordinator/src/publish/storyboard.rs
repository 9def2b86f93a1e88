//! The thumbnail track: WebVTT cues that point into storyboard sheets.

use super::PublishError;
use crate::stitch::Storyboard;

/// One cue per tile, with the tile's place on its sheet as a spatial media fragment (W3C Media Fragments 4.2.2). A cue
/// lasts until the next tile; the first one starts at 0, so that there is a picture for every moment.
pub(super) fn thumbnails(storyboard: &Storyboard) -> Result<String, PublishError> {
    let tiles = &storyboard.tiles;
    let per_sheet = (storyboard.columns.max(1) as usize) * (storyboard.rows.max(1) as usize);
    let (expected, found) = (tiles.len().div_ceil(per_sheet), storyboard.sheets.len());
    if expected != found {
        return Err(PublishError::Sheets { tiles: tiles.len(), expected, found });
    }
    let start_ms = |tile: u64| tile.saturating_mul(u64::from(storyboard.tile_interval_ms));
    let mut text = "WEBVTT\n".to_owned();
    for (position, tile) in tiles.iter().enumerate() {
        let start = if position == 0 { 0 } else { start_ms(*tile) };
        let end = tiles.get(position + 1).map_or(storyboard.duration_ms, |next| start_ms(*next));
        let place = position % per_sheet;
        let (column, row) = (place % storyboard.columns.max(1) as usize, place / storyboard.columns.max(1) as usize);
        let (width, height) = (storyboard.tile_width_px, storyboard.tile_height_px);
        let (x, y) = (column * width as usize, row * height as usize);
        let sheet = &storyboard.sheets[position / per_sheet].key;
        // A cue must end after it starts (WebVTT 4.1), also when the last tile shows the last frame.
        let (start, end) = (clock(start), clock(end.max(start + 1)));
        text.push_str(&format!("\n{start} --> {end}\n{sheet}#xywh={x},{y},{width},{height}\n"));
    }
    Ok(text)
}

/// `HH:MM:SS.mmm`; hours may need more digits.
fn clock(ms: u64) -> String {
    let (seconds, minutes) = (ms / 1000, ms / 60_000);
    format!("{:02}:{:02}:{:02}.{:03}", minutes / 60, minutes % 60, seconds % 60, ms % 1000)
}
