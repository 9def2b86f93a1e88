//! What the sequence callback is told.

use card::Codec;

use crate::av::{Shape, Software};
use crate::raw::Format;

/// Surfaces that a stream of VP9 or AV1 wants: eight references, the picture itself, and some in flight.
const OF_EIGHT_REFERENCES: usize = 12;

/// The format of what was decoded last; none before anything was.
pub fn format(codec: Codec, software: &Software) -> Option<Format> {
    let shape = software.shape()?;
    let length = |value: i32| u32::try_from(value).ok().filter(|value| *value > 0);
    let depth = shape.depth.saturating_sub(8);
    let (rate_numerator, rate_denominator) = (length(shape.rate.0), length(shape.rate.1));
    let rate = rate_numerator.zip(rate_denominator).unwrap_or((0, 0));
    let (aspect_x, aspect_y) = display_aspect(&shape);
    Some(Format {
        codec: codec.cuvid(),
        rate_numerator: rate.0,
        rate_denominator: rate.1,
        progressive: u8::from(shape.progressive),
        luma_depth_minus8: depth,
        chroma_depth_minus8: depth,
        min_decode_surfaces: u8::try_from(surfaces(codec, software)).unwrap_or(32),
        coded_width: length(shape.coded.0)?,
        coded_height: length(shape.coded.1)?,
        left: 0,
        top: 0,
        right: shape.size.0,
        bottom: shape.size.1,
        chroma: shape.chroma,
        bitrate: 0,
        aspect_x,
        aspect_y,
        // `video_format` 5 is unspecified.
        signal: 5 | u8::from(shape.full_range) << 3,
        primaries: shape.primaries,
        transfer: shape.transfer,
        matrix: shape.matrix,
        header_bytes: 0,
    })
}

/// Whether a new format needs no callback: colours and rates may change without one.
pub fn is_same(known: &Format, new: &Format) -> bool {
    let what = |format: &Format| {
        let sizes = (format.coded_width, format.coded_height, format.right, format.bottom);
        (sizes, format.chroma, format.luma_depth_minus8)
    };
    what(known) == what(new) && new.min_decode_surfaces <= known.min_decode_surfaces
}

/// Whether two units are the fields of one picture: 1 is a top field, 2 a bottom field.
pub fn is_pair(first: u32, second: u32) -> bool {
    matches!((first, second), (1, 2) | (2, 1))
}

fn surfaces(codec: Codec, software: &Software) -> usize {
    let (delay, references) = software.delay_and_references();
    match codec {
        Codec::H264 => delay.max(references) + 1,
        Codec::Hevc => delay.max(references) + 5,
        Codec::Vp9 | Codec::Av1 => OF_EIGHT_REFERENCES,
    }
}

/// Width and height of the display, without common factors; 0:0 if the pixels' shape isn't known.
fn display_aspect(shape: &Shape) -> (i32, i32) {
    let (x, y) =
        (i64::from(shape.size.0) * i64::from(shape.aspect.0), i64::from(shape.size.1) * i64::from(shape.aspect.1));
    let (mut a, mut b) = (x, y);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    if a <= 0 { (0, 0) } else { ((x / a) as i32, (y / a) as i32) }
}
