//! libavcodec: cutting a stream into pictures, and decoding them.
#![allow(unsafe_code)]

use std::ptr::{null, null_mut};
use std::slice;

use ffmpeg_sys_next as ff;

use card::Codec;

/// Bytes of zeros that libavcodec wants behind what it reads.
const PADDING: usize = ff::AV_INPUT_BUFFER_PADDING_SIZE as usize;

/// One coded picture (an access unit, a temporal unit), or one field of it.
pub struct Unit {
    /// Its bytes, with [`PADDING`] behind them.
    padded: Vec<u8>,
    /// What the packet it began in said.
    pub timestamp: Option<i64>,
    /// Where decoding may begin.
    pub key: bool,
    /// 1: top field, 2: bottom field, 3: both together.
    pub structure: u32,
    /// Coded width, coded height and pixel format, where the stream tells them before decoding.
    pub shape: Option<(i32, i32, i32)>,
}

impl Unit {
    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.padded[..self.padded.len() - PADDING]
    }
}

fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut padded = Vec::with_capacity(bytes.len() + PADDING);
    padded.extend_from_slice(bytes);
    padded.resize(bytes.len() + PADDING, 0);
    padded
}

fn id(codec: Codec) -> ff::AVCodecID {
    match codec {
        Codec::H264 => ff::AVCodecID::AV_CODEC_ID_H264,
        Codec::Hevc => ff::AVCodecID::AV_CODEC_ID_HEVC,
        Codec::Vp9 => ff::AVCodecID::AV_CODEC_ID_VP9,
        Codec::Av1 => ff::AVCodecID::AV_CODEC_ID_AV1,
    }
}

/// A codec context that is freed when dropped.
struct Context(*mut ff::AVCodecContext);

// SAFETY: libavcodec's contexts may be used by any thread, one at a time.
unsafe impl Send for Context {}

impl Context {
    fn new(codec: *const ff::AVCodec) -> Option<Self> {
        // SAFETY: the codec is null or one of the library's own.
        let context = unsafe { ff::avcodec_alloc_context3(codec) };
        (!context.is_null()).then_some(Self(context))
    }

    fn fields(&self) -> &ff::AVCodecContext {
        // SAFETY: it lives as long as this.
        unsafe { &*self.0 }
    }

    fn fields_mut(&mut self) -> &mut ff::AVCodecContext {
        // SAFETY: as above, and nobody else has it.
        unsafe { &mut *self.0 }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: it was allocated by the library, and is freed once.
        unsafe { ff::avcodec_free_context(&raw mut self.0) };
    }
}

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

/// A decoded picture.
pub struct Frame(*mut ff::AVFrame);

// SAFETY: nobody writes a frame that came out of the decoder.
unsafe impl Send for Frame {}
// SAFETY: as above.
unsafe impl Sync for Frame {}

impl Frame {
    fn fields(&self) -> &ff::AVFrame {
        // SAFETY: it lives as long as this.
        unsafe { &*self.0 }
    }

    /// Width and height, what is cropped away included.
    pub fn size(&self) -> (usize, usize) {
        let size = |length: i32| usize::try_from(length).unwrap_or(0);
        (size(self.fields().width), size(self.fields().height))
    }

    /// What is cropped away at the left and at the top.
    pub fn crop(&self) -> (usize, usize) {
        (self.fields().crop_left, self.fields().crop_top)
    }

    /// A row of a plane.
    pub fn row(&self, plane: usize, row: usize, bytes: usize) -> &[u8] {
        let frame = self.fields();
        let stride = isize::try_from(frame.linesize[plane]).unwrap_or(0);
        let offset = stride * isize::try_from(row).unwrap_or(0);
        // SAFETY: callers ask for rows within `size`, halved for chroma, and the frame has them.
        let start = unsafe { frame.data[plane].offset(offset) };
        // SAFETY: a row is at least as long as the frame is wide.
        unsafe { slice::from_raw_parts(start, bytes) }
    }

    pub fn is_interlaced(&self) -> bool {
        self.fields().interlaced_frame != 0
    }

    pub fn is_top_field_first(&self) -> bool {
        self.fields().top_field_first != 0
    }

    /// The decoder had to make parts of it up.
    pub fn is_damaged(&self) -> bool {
        self.fields().decode_error_flags != 0 || self.fields().flags & ff::AV_FRAME_FLAG_CORRUPT != 0
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        // SAFETY: it was allocated by the library, and is freed once.
        unsafe { ff::av_frame_free(&raw mut self.0) };
    }
}

/// What a stream is like, once something of it was decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub coded: (i32, i32),
    pub size: (i32, i32),
    /// 8 or more bits of 4:2:0, or 0 for anything else.
    pub depth: u8,
    pub rate: (i32, i32),
    pub aspect: (i32, i32),
    pub progressive: bool,
    pub full_range: bool,
    pub primaries: u8,
    pub transfer: u8,
    pub matrix: u8,
}

/// A software decoder.
pub struct Software(Context);

impl Software {
    pub fn new(codec: Codec) -> Option<Self> {
        // SAFETY: it takes any id.
        let decoder = unsafe { ff::avcodec_find_decoder(id(codec)) };
        if decoder.is_null() {
            return None;
        }
        let mut context = Context::new(decoder)?;
        let fields = context.fields_mut();
        fields.thread_count = 1;
        // Frames come in the order that the level allows for, not in one that is found out on the way.
        fields.strict_std_compliance = ff::FF_COMPLIANCE_STRICT;
        fields.apply_cropping = 0;
        // A card shows what it can make of a stream that begins in the middle.
        fields.flags |= ff::AV_CODEC_FLAG_OUTPUT_CORRUPT as i32;
        // SAFETY: the context is new and of this decoder.
        let opened = unsafe { ff::avcodec_open2(context.0, decoder, null_mut()) };
        (opened >= 0).then_some(Self(context))
    }

    /// Decodes a picture; what comes out, each with the number of the picture it is. `Err`: it could not be read.
    pub fn decode(&mut self, unit: &Unit, number: i64) -> (Vec<(i64, Frame)>, Result<(), i32>) {
        // SAFETY: it takes nothing.
        let mut packet = unsafe { ff::av_packet_alloc() };
        // SAFETY: it is null or was allocated now.
        let Some(fields) = (unsafe { packet.as_mut() }) else { return (Vec::new(), Err(0)) };
        // The packet owns nothing: libavcodec copies what it keeps.
        fields.data = unit.padded.as_ptr().cast_mut();
        fields.size = i32::try_from(unit.bytes().len()).unwrap_or(0);
        fields.pts = number;
        // SAFETY: the context is open; the packet's bytes live and are padded.
        let sent = unsafe { ff::avcodec_send_packet(self.0.0, packet) };
        // SAFETY: it was allocated above, and is freed once.
        unsafe { ff::av_packet_free(&raw mut packet) };
        (self.receive(), if sent < 0 { Err(sent) } else { Ok(()) })
    }

    /// All that is left; afterwards a new stream may begin.
    pub fn drain(&mut self) -> Vec<(i64, Frame)> {
        // SAFETY: the context is open; no packet is the end.
        unsafe { ff::avcodec_send_packet(self.0.0, null()) };
        let frames = self.receive();
        // SAFETY: the context is open.
        unsafe { ff::avcodec_flush_buffers(self.0.0) };
        frames
    }

    fn receive(&mut self) -> Vec<(i64, Frame)> {
        let mut frames = Vec::new();
        loop {
            // SAFETY: it takes nothing.
            let frame = Frame(unsafe { ff::av_frame_alloc() });
            if frame.0.is_null() {
                return frames;
            }
            // SAFETY: the context is open, the frame is empty.
            if unsafe { ff::avcodec_receive_frame(self.0.0, frame.0) } < 0 {
                return frames;
            }
            frames.push((frame.fields().pts, frame));
        }
    }

    /// What the stream is like.
    pub fn shape(&self) -> Shape {
        let fields = self.0.fields();
        let depth = match fields.pix_fmt {
            ff::AVPixelFormat::AV_PIX_FMT_YUV420P | ff::AVPixelFormat::AV_PIX_FMT_YUVJ420P => 8,
            ff::AVPixelFormat::AV_PIX_FMT_YUV420P10LE => 10,
            ff::AVPixelFormat::AV_PIX_FMT_YUV420P12LE => 12,
            _ => 0,
        };
        let byte = |number: u32| u8::try_from(number).unwrap_or(2);
        Shape {
            coded: (fields.coded_width, fields.coded_height),
            size: (fields.width, fields.height),
            depth,
            rate: (fields.framerate.num, fields.framerate.den),
            aspect: (fields.sample_aspect_ratio.num, fields.sample_aspect_ratio.den),
            progressive: matches!(
                fields.field_order,
                ff::AVFieldOrder::AV_FIELD_PROGRESSIVE | ff::AVFieldOrder::AV_FIELD_UNKNOWN
            ),
            full_range: fields.color_range == ff::AVColorRange::AVCOL_RANGE_JPEG,
            primaries: byte(fields.color_primaries as u32),
            transfer: byte(fields.color_trc as u32),
            matrix: byte(fields.colorspace as u32),
        }
    }

    /// By how many pictures coding runs ahead of display, and how many references there may be.
    pub fn delay_and_references(&self) -> (usize, usize) {
        let count = |number: i32| usize::try_from(number).unwrap_or(0);
        (count(self.0.fields().has_b_frames), count(self.0.fields().refs))
    }
}
