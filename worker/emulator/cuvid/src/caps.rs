//! What the card decodes, and whether a decoder may be made.
#![allow(unsafe_code)]

use card::{Card, Decodes};

use crate::call::{INVALID_VALUE, NOT_SUPPORTED, OUT_OF_MEMORY, Refusal, Status, call};
use crate::cuda::cuda;
use crate::raw::{Caps, CreateInfo};

/// `cudaVideoChromaFormat_420`.
pub const CHROMA_420: u32 = 1;
/// Decode surfaces that a decoder may have.
const SURFACES: std::ops::RangeInclusive<u64> = 1..=32;

/// The card's format for this, if it has one.
pub fn format(card: &Card, codec: u32, chroma: u32, depth: u32) -> Option<&'static Decodes> {
    let fits = |format: &&Decodes| format.codec.cuvid() == codec && u32::from(format.depth) == depth;
    card.decodes.iter().find(fits).filter(|_| chroma == CHROMA_420)
}

/// The format of a decoder that may be made, with the status that a card gives for one that may not.
pub fn admit(card: &Card, info: &CreateInfo) -> Result<&'static Decodes, Refusal> {
    let depth = u32::try_from(info.depth_minus8).unwrap_or(u32::MAX).saturating_add(8);
    if depth > 12 || !SURFACES.contains(&info.decode_surfaces) {
        return Err(INVALID_VALUE.into());
    }
    let Some(format) = format(card, info.codec, info.chroma, depth) else { return Err(NOT_SUPPORTED.into()) };
    size(format, info.width, info.height)?;
    let has_output = info.output_format < 16 && format.outputs >> info.output_format & 1 == 1;
    if !has_output {
        return Err(INVALID_VALUE.into());
    }
    if info.output_format > 1 {
        return Err(Refusal::wrong(NOT_SUPPORTED, format_args!("the stand-in has NV12 and P016 alone")));
    }
    if info.target_width == 0 || info.target_height == 0 {
        return Err(OUT_OF_MEMORY.into());
    }
    Ok(format)
}

/// Whether a coded size is one that the format has.
pub fn size(format: &Decodes, width: u64, height: u64) -> Result<(), Refusal> {
    let (wide, high) = (width.next_multiple_of(16), height.next_multiple_of(16));
    let fits = wide >= u64::from(format.smallest.0)
        && high >= u64::from(format.smallest.1)
        && width <= u64::from(format.largest.0)
        && height <= u64::from(format.largest.1)
        && wide * high / 256 <= u64::from(format.macroblocks);
    if fits { Ok(()) } else { Err(INVALID_VALUE.into()) }
}

/// # Safety
///
/// `caps` is null or what its name says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuvidGetDecoderCaps(caps: Option<&mut Caps>) -> Status {
    call("cuvidGetDecoderCaps", || {
        let Some(caps) = caps else {
            return Err(Refusal::wrong(INVALID_VALUE, format_args!("no place for the answer")));
        };
        let cuda = cuda()?;
        cuda.current()?;
        let card = cuda.card()?;
        let known = format(card, caps.codec, caps.chroma, caps.depth_minus8.saturating_add(8));
        caps.supported = u8::from(known.is_some());
        caps.engines = known.map_or(0, |_| card.decode_engines);
        caps.outputs = known.map_or(0, |format| format.outputs);
        (caps.max_width, caps.max_height) = known.map_or((0, 0), |format| format.largest);
        caps.max_macroblocks = known.map_or(0, |format| format.macroblocks);
        (caps.min_width, caps.min_height) = known.map_or((0, 0), |format| format.smallest);
        caps.histogram = caps.supported;
        (caps.histogram_depth, caps.histogram_bins) = if known.is_some() { (32, 256) } else { (0, 0) };
        Ok(())
    })
}
