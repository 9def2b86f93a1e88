//! Where pictures begin and end.

use std::ptr::{null, null_mut};
use std::slice;

use ffmpeg_sys_next as ff;

use card::Codec;

use super::{Context, Unit, id, padded};

/// Cuts bytes into pictures.
pub struct Splitter {
    parser: *mut ff::AVCodecParserContext,
    context: Context,
}

// SAFETY: as for contexts.
unsafe impl Send for Splitter {}

impl Splitter {
    pub fn new(codec: Codec) -> Option<Self> {
        let mut context = Context::new(null())?;
        context.fields_mut().codec_id = id(codec);
        // SAFETY: it takes any number.
        let parser = unsafe { ff::av_parser_init(id(codec) as i32) };
        (!parser.is_null()).then_some(Self { parser, context })
    }

    /// The pictures that are whole now. One is when the next one begins.
    pub fn push(&mut self, bytes: &[u8], timestamp: Option<i64>) -> Vec<Unit> {
        let padded = padded(bytes);
        let (mut units, mut at) = (Vec::new(), 0);
        let mut pts = timestamp.unwrap_or(ff::AV_NOPTS_VALUE);
        while at < bytes.len() {
            let (used, unit) = self.parse(&padded[at..bytes.len()], pts);
            // A timestamp belongs to the first picture that begins in its packet.
            pts = ff::AV_NOPTS_VALUE;
            // Nothing used and nothing found would go on for ever.
            if used == 0 && unit.is_none() {
                break;
            }
            units.extend(unit);
            at += used;
        }
        units
    }

    /// The picture that was not known to be whole.
    pub fn flush(&mut self) -> Option<Unit> {
        self.parse(&[], ff::AV_NOPTS_VALUE).1
    }

    /// `bytes` have padding behind them, or there are none.
    fn parse(&mut self, bytes: &[u8], pts: i64) -> (usize, Option<Unit>) {
        let (mut out, mut out_bytes) = (null_mut(), 0);
        let length = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
        let (place, none) = (if bytes.is_empty() { null() } else { bytes.as_ptr() }, ff::AV_NOPTS_VALUE);
        let context = self.context.0;
        // SAFETY: both contexts live, and the bytes are as many as is said, padded.
        let used = unsafe {
            ff::av_parser_parse2(self.parser, context, &raw mut out, &raw mut out_bytes, place, length, pts, none, 0)
        };
        let found = usize::try_from(out_bytes).unwrap_or(0);
        if found == 0 || out.is_null() {
            return (usize::try_from(used).unwrap_or(0), None);
        }
        // SAFETY: the parser says that so many bytes are there until it is called again.
        let bytes = unsafe { slice::from_raw_parts(out, found) };
        // SAFETY: it lives as long as this.
        let parser = unsafe { &*self.parser };
        let unit = Unit {
            padded: padded(bytes),
            timestamp: (parser.pts != ff::AV_NOPTS_VALUE).then_some(parser.pts),
            key: parser.key_frame == 1,
            structure: parser.picture_structure as u32,
            shape: (parser.coded_width > 0).then_some((parser.coded_width, parser.coded_height, parser.format)),
        };
        (usize::try_from(used).unwrap_or(0), Some(unit))
    }
}

impl Drop for Splitter {
    fn drop(&mut self) {
        // SAFETY: it was made by the library, and is closed once.
        unsafe { ff::av_parser_close(self.parser) };
    }
}
