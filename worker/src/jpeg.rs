//! Pictures for people: JPEG files, and the raw tiles that storyboard sheets are pasted from.
//!
//! Everything in here is in JFIF's colours (T.871): 8-bit 4:2:0, full range, BT.601 matrix. Frames come in any format
//! and colour description; they are converted once, on the way in.

use ffmpeg_next::codec::{Context, Flags, threading};
use ffmpeg_next::color::{Range, Space};
use ffmpeg_next::format::Pixel;
use ffmpeg_next::frame::Video;
use ffmpeg_next::{Dictionary, Packet, Rational, encoder, filter};
use shared::error::{ErrorKind, TaskError};

use crate::task::ffmpeg_error;

/// Quantiser scale of every JPEG, of 1 to 31. 4 is where blocks stop being visible at arm's length; 2 is twice the size.
const QUANTISER: &str = "4";

/// Largest side of a picture: the encoder's limit, a little under the 65535 of the format.
const LONGEST_SIDE: u32 = 65_500;

/// A picture in JFIF's colours.
pub fn to_jfif(frame: &Video, width_px: u32, height_px: u32) -> Result<Video, TaskError> {
    let convert = || -> Result<Video, ffmpeg_next::Error> {
        let mut graph = colour_graph(frame, width_px, height_px)?;
        // The source takes the frame's reference away, and this frame is only borrowed.
        graph.get("in").ok_or(ffmpeg_next::Error::Bug)?.source().add(&frame.clone())?;
        let mut converted = Video::empty();
        graph.get("out").ok_or(ffmpeg_next::Error::Bug)?.sink().frame(&mut converted)?;
        converted.set_color_space(Space::BT470BG);
        converted.set_color_range(Range::JPEG);
        Ok(converted)
    };
    convert().map_err(|error| ffmpeg_error(ErrorKind::Bug, "jpeg_colours", "converting a picture for JPEG", error))
}

fn colour_graph(frame: &Video, width_px: u32, height_px: u32) -> Result<filter::Graph, ffmpeg_next::Error> {
    let format = frame.format().descriptor().ok_or(ffmpeg_next::Error::InvalidData)?.name();
    let (width, height) = (frame.width(), frame.height());
    let mut graph = filter::Graph::new();
    let source = filter::find("buffer").ok_or(ffmpeg_next::Error::FilterNotFound)?;
    let sink = filter::find("buffersink").ok_or(ffmpeg_next::Error::FilterNotFound)?;
    graph.add(&source, "in", &format!("video_size={width}x{height}:pix_fmt={format}:time_base=1/1"))?;
    graph.add(&sink, "out", "")?;
    // Named outright, so that nothing depends on how a filter passes the frame's own description along.
    let matrix = matrix_of(frame);
    let range = if frame.color_range() == Range::JPEG || format.starts_with("yuvj") { "full" } else { "limited" };
    let scale = format!(
        "scale=w={width_px}:h={height_px}:flags=bicubic+accurate_rnd+full_chroma_int+bitexact:\
         in_color_matrix={matrix}:in_range={range}:out_color_matrix=bt601:out_range=full,format=yuv420p"
    );
    graph.output("in", 0)?.input("out", 0)?.parse(&scale)?;
    graph.validate()?;
    Ok(graph)
}

/// The scaler's name of the frame's matrix. Frames that do not say are taken as the world takes them: BT.709 from 720
/// lines or 1280 columns on, BT.601 below.
fn matrix_of(frame: &Video) -> &'static str {
    match frame.color_space() {
        Space::BT709 => "bt709",
        Space::BT2020NCL | Space::BT2020CL => "bt2020",
        Space::SMPTE240M => "smpte240m",
        Space::FCC => "fcc",
        Space::Unspecified if frame.height() >= 720 || frame.width() >= 1280 => "bt709",
        _ => "bt601",
    }
}

/// A frame as a JPEG file. The same frame gives the same bytes.
pub fn encode_jpeg(frame: &Video) -> Result<Vec<u8>, TaskError> {
    let (width, height) = (frame.width(), frame.height());
    if width.max(height) > LONGEST_SIDE {
        return Err(TaskError::input("jpeg_size", format!("a picture of {width}x{height} does not fit into a JPEG")));
    }
    let picture = to_jfif(frame, width, height)?;
    encode(&picture).map_err(|error| ffmpeg_error(ErrorKind::Bug, "jpeg_encode", "encoding a JPEG", error))
}

fn encode(picture: &Video) -> Result<Vec<u8>, ffmpeg_next::Error> {
    let codec = encoder::find_by_name("mjpeg").ok_or(ffmpeg_next::Error::EncoderNotFound)?;
    let mut context = Context::new_with_codec(codec);
    context.set_flags(Flags::BITEXACT);
    context.set_threading(threading::Config { kind: threading::Type::None, count: 1, ..Default::default() });
    let mut settings = context.encoder().video()?;
    settings.set_width(picture.width());
    settings.set_height(picture.height());
    settings.set_format(picture.format());
    settings.set_colorspace(Space::BT470BG);
    settings.set_color_range(Range::JPEG);
    settings.set_time_base(Rational(1, 1));
    // Square pixels said aloud: only then does the encoder write the JFIF header, which settles the colours.
    settings.set_aspect_ratio(Rational(1, 1));
    // Bounding the quantiser from both sides fixes it; the constant-quality flag would need the frame to carry it.
    let options: Dictionary = [("qmin", QUANTISER), ("qmax", QUANTISER)].into_iter().collect();
    let mut encoder = settings.open_with(options)?;
    let mut still = picture.clone();
    still.set_pts(Some(0));
    encoder.send_frame(&still)?;
    encoder.send_eof()?;
    let mut packet = Packet::empty();
    encoder.receive_packet(&mut packet)?;
    Ok(packet.data().unwrap_or_default().to_vec())
}

/// Size in bytes of a raw tile: three planes, without padding, of even width and height.
pub fn tile_size(width_px: u32, height_px: u32) -> usize {
    width_px as usize * height_px as usize * 3 / 2
}

/// A frame as a raw tile of this size, which must be even.
pub fn encode_tile(frame: &Video, width_px: u32, height_px: u32) -> Result<Vec<u8>, TaskError> {
    let picture = to_jfif(frame, width_px, height_px)?;
    let mut bytes = Vec::with_capacity(tile_size(width_px, height_px));
    for (plane, width, height) in planes(width_px as usize, height_px as usize) {
        let stride = picture.stride(plane);
        for row in picture.data(plane).chunks(stride).take(height) {
            bytes.extend_from_slice(&row[..width]);
        }
    }
    Ok(bytes)
}

/// Puts a raw tile into `sheet` with its upper left corner at `x`, `y`, all of them even.
///
/// The tile must be [`tile_size`] bytes long and lie inside the sheet.
pub fn paste_tile(sheet: &mut Video, tile: &[u8], tile_px: (u32, u32), x: u32, y: u32) {
    let mut rows = tile;
    for (plane, width, height) in planes(tile_px.0 as usize, tile_px.1 as usize) {
        let (stride, half) = (sheet.stride(plane), usize::from(plane > 0));
        let (left, top) = (x as usize >> half, y as usize >> half);
        let lines = sheet.data_mut(plane).chunks_mut(stride).skip(top).take(height);
        let (mine, rest) = rows.split_at(width * height);
        for (line, row) in lines.zip(mine.chunks(width)) {
            line[left..left + width].copy_from_slice(row);
        }
        rows = rest;
    }
}

/// A black sheet.
pub fn black(width_px: u32, height_px: u32) -> Video {
    let mut sheet = Video::new(Pixel::YUV420P, width_px, height_px);
    sheet.set_color_space(Space::BT470BG);
    sheet.set_color_range(Range::JPEG);
    for (plane, value) in [(0, 0), (1, 128), (2, 128)] {
        sheet.data_mut(plane).fill(value);
    }
    sheet
}

/// Number, width and height of the planes of a 4:2:0 picture.
fn planes(width: usize, height: usize) -> [(usize, usize, usize); 3] {
    [(0, width, height), (1, width / 2, height / 2), (2, width / 2, height / 2)]
}
