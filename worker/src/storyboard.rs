//! Tiles to sprite sheets.

use std::fs::File;
use std::os::unix::fs::FileExt;

use shared::error::TaskError;
use shared::storage::sheet_object;
use shared::task::{Progress, StoryboardReceipt, StoryboardTask};

use crate::jpeg;
use crate::meter::Meter;
use crate::task::{Area, Emission, Emit, Inputs};

/// Most pixels of a sheet: 100 tiles of 640x360 fit.
const LARGEST_SHEET_PX: u64 = 32 << 20;

/// Pastes tiles into JPEG sheets `storyboard/000.<hash>.jpg`, … of `columns` x `rows`, row by row. Every
/// sheet is as wide as `columns` tiles; the last is only as tall as it needs to be.
pub fn make_sheets(
    task: &StoryboardTask,
    inputs: &Inputs,
    emit: &mut Emit<'_>,
) -> Result<StoryboardReceipt, TaskError> {
    let meter = Meter::start();
    check(task, inputs)?;
    let mut sheets = Vec::new();
    let per_sheet = (task.columns * task.rows) as usize;
    for (number, tiles) in inputs.tiles.chunks(per_sheet).enumerate() {
        let bytes = make_sheet(task, tiles)?;
        let sheet = sheet_object(number, &bytes);
        emit(Emission::Object { area: Area::Target, key: sheet.key.clone(), bytes })?;
        sheets.push(sheet);
        let frames = (number * per_sheet + tiles.len()) as u64;
        emit(Emission::Progress(Progress { done_ms: 0, frames }))?;
    }
    Ok(StoryboardReceipt { sheets, spent: meter.spent() })
}

fn check(task: &StoryboardTask, inputs: &Inputs) -> Result<(), TaskError> {
    let sizes = [task.tile_width_px, task.tile_height_px, task.columns, task.rows];
    let even = task.tile_width_px.is_multiple_of(2) && task.tile_height_px.is_multiple_of(2);
    let pixels = sizes.iter().try_fold(1u64, |product, size| product.checked_mul(u64::from(*size)));
    if !even || !pixels.is_some_and(|pixels| (1..=LARGEST_SHEET_PX).contains(&pixels)) {
        return Err(TaskError::bug(format!("a storyboard sheet of {sizes:?} can't be made")));
    }
    if inputs.tiles.len() != task.tiles.len() {
        let (given, named) = (inputs.tiles.len(), task.tiles.len());
        return Err(TaskError::bug(format!("the slot was given {given} tiles of {named}")));
    }
    Ok(())
}

fn make_sheet(task: &StoryboardTask, tiles: &[File]) -> Result<Vec<u8>, TaskError> {
    let (width, height) = (task.tile_width_px, task.tile_height_px);
    let rows = (tiles.len() as u32).div_ceil(task.columns);
    let mut sheet = jpeg::black(width * task.columns, height * rows);
    let mut tile = vec![0; jpeg::tile_size(width, height)];
    for (position, file) in (0u32..).zip(tiles) {
        file.read_exact_at(&mut tile, 0)
            .map_err(|error| TaskError::transient("tile_read", format!("tile {position} of a sheet: {error}")))?;
        let (column, row) = (position % task.columns, position / task.columns);
        jpeg::paste_tile(&mut sheet, &tile, (width, height), column * width, row * height);
    }
    jpeg::encode_jpeg(&sheet)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use ffmpeg_next::color::{Range, Space};
    use ffmpeg_next::format::Pixel;
    use ffmpeg_next::frame::Video;
    use shared::storage::label::is_content_named;
    use shared::task::StoredObject;

    use super::*;

    /// Limited-range BT.709 pictures of one colour: white, red, green, blue (from the standard's own coefficients).
    const COLOURS: [([u8; 3], [u8; 3]); 4] = [
        ([235, 128, 128], [255, 255, 255]),
        ([63, 102, 240], [255, 0, 0]),
        ([173, 42, 26], [0, 255, 0]),
        ([32, 240, 118], [0, 0, 255]),
    ];

    fn plain_frame(yuv: [u8; 3]) -> Video {
        let mut frame = Video::new(Pixel::YUV420P, 320, 180);
        frame.set_color_space(Space::BT709);
        frame.set_color_range(Range::MPEG);
        for (plane, value) in yuv.into_iter().enumerate() {
            frame.data_mut(plane).fill(value);
        }
        frame
    }

    fn tile_file(yuv: [u8; 3]) -> File {
        let bytes = jpeg::encode_tile(&plain_frame(yuv), 160, 90).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        file
    }

    /// The colour at a point, by a reader of its own: JFIF says full range and BT.601 (T.871).
    fn colour_at(bytes: &[u8], x: usize, y: usize) -> [i32; 3] {
        let picture = decode(bytes);
        let at = |plane: usize, x: usize, y: usize| f64::from(picture.data(plane)[y * picture.stride(plane) + x]);
        let (luma, cb, cr) = (at(0, x, y), at(1, x / 2, y / 2) - 128.0, at(2, x / 2, y / 2) - 128.0);
        [luma + 1.402 * cr, luma - 0.344136 * cb - 0.714136 * cr, luma + 1.772 * cb]
            .map(|value| value.round().clamp(0.0, 255.0) as i32)
    }

    fn decode(bytes: &[u8]) -> Video {
        let codec = ffmpeg_next::decoder::find_by_name("mjpeg").unwrap();
        let mut decoder = ffmpeg_next::codec::Context::new_with_codec(codec).decoder().video().unwrap();
        decoder.send_packet(&ffmpeg_next::Packet::copy(bytes)).unwrap();
        decoder.send_eof().unwrap();
        let mut picture = Video::empty();
        decoder.receive_frame(&mut picture).unwrap();
        picture
    }

    fn close(found: [i32; 3], wanted: [u8; 3]) -> bool {
        found.into_iter().zip(wanted).all(|(found, wanted)| (found - i32::from(wanted)).abs() <= 6)
    }

    fn sheets_of(tiles: &[[u8; 3]], columns: u32, rows: u32) -> (StoryboardReceipt, Vec<(String, Vec<u8>)>) {
        let task = StoryboardTask {
            tiles: (0..tiles.len()).map(|tile| tile.to_string()).collect(),
            tile_width_px: 160,
            tile_height_px: 90,
            columns,
            rows,
        };
        let inputs = Inputs { tiles: tiles.iter().map(|yuv| tile_file(*yuv)).collect(), ..Inputs::default() };
        let mut objects = Vec::new();
        let receipt = make_sheets(&task, &inputs, &mut |emission| {
            if let Emission::Object { area: Area::Target, key, bytes } = emission {
                objects.push((key, bytes));
            }
            Ok(())
        });
        (receipt.unwrap(), objects)
    }

    #[test]
    fn tiles_keep_their_order_and_colours() {
        let tiles: Vec<[u8; 3]> = COLOURS.iter().map(|(yuv, _)| *yuv).collect();
        let (_, objects) = sheets_of(&tiles, 2, 2);
        for (position, (_, rgb)) in COLOURS.into_iter().enumerate() {
            let (x, y) = (160 * (position % 2) + 80, 90 * (position / 2) + 45);
            let found = colour_at(&objects[0].1, x, y);
            assert!(close(found, rgb), "tile {position} is {found:?}, not {rgb:?}");
        }
    }

    #[test]
    fn last_sheet_is_as_tall_as_its_tiles() {
        let (receipt, objects) = sheets_of(&[COLOURS[0].0; 7], 2, 2);
        assert!(objects[0].0.starts_with("storyboard/000.") && objects[1].0.starts_with("storyboard/001."));
        assert!(objects.iter().all(|(key, _)| is_content_named(key)), "caches may keep them for ever");
        let sizes: Vec<(u32, u32)> =
            objects.iter().map(|(_, bytes)| decode(bytes)).map(|p| (p.width(), p.height())).collect();
        assert_eq!(sizes, [(320, 180), (320, 180)]);
        let (_, short) = sheets_of(&[COLOURS[0].0; 5], 2, 2);
        assert_eq!(decode(&short[1].1).height(), 90);
        assert!(close(colour_at(&short[1].1, 300, 45), [0, 0, 0]), "the empty place is not black");
        let described: Vec<StoredObject> =
            objects.iter().map(|(key, bytes)| StoredObject::of(key.as_str(), bytes)).collect();
        assert_eq!(receipt.sheets, described);
    }

    #[test]
    fn same_tiles_give_the_same_bytes() {
        let tiles = [COLOURS[1].0, COLOURS[2].0];
        assert_eq!(sheets_of(&tiles, 2, 1).1, sheets_of(&tiles, 2, 1).1);
    }

    #[test]
    fn short_tile_is_an_error() {
        let task =
            StoryboardTask { tiles: vec!["0".into()], tile_width_px: 160, tile_height_px: 90, columns: 1, rows: 1 };
        let inputs = Inputs { tiles: vec![tempfile::tempfile().unwrap()], ..Inputs::default() };
        assert_eq!(make_sheets(&task, &inputs, &mut |_| Ok(())).unwrap_err().code, "tile_read");
    }

    #[test]
    fn poster_has_the_colours_of_its_frame() {
        for (yuv, rgb) in COLOURS {
            let file = jpeg::encode_jpeg(&plain_frame(yuv)).unwrap();
            assert_eq!(file[6..11], *b"JFIF\0");
            let found = colour_at(&file, 160, 90);
            assert!(close(found, rgb), "{found:?}, not {rgb:?}");
        }
    }
}
