//! The decoder.

use std::ptr::{null, null_mut};

use ffmpeg_sys_next as ff;

use card::Codec;

use super::{Context, Frame, Unit, id};

/// What a stream is like, once something of it was decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub coded: (i32, i32),
    pub size: (i32, i32),
    /// Bits of a sample.
    pub depth: u8,
    /// As in `cudaVideoChromaFormat`: 0 for none, then 4:2:0, 4:2:2, 4:4:4.
    pub chroma: u32,
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

    /// What the stream is like; none before anything was decoded.
    pub fn shape(&self) -> Option<Shape> {
        let fields = self.0.fields();
        // SAFETY: it takes any number.
        let described = unsafe { ff::av_pix_fmt_desc_get(fields.pix_fmt) };
        // SAFETY: it is null or one of the library's own, which stay.
        let described = unsafe { described.as_ref() }?;
        let chroma = match (described.nb_components, described.log2_chroma_w, described.log2_chroma_h) {
            (..=2, ..) => 0,
            (_, 1, 1) => 1,
            (_, 1, 0) => 2,
            _ => 3,
        };
        let byte = |number: u32| u8::try_from(number).unwrap_or(2);
        Some(Shape {
            coded: (fields.coded_width, fields.coded_height),
            size: (fields.width, fields.height),
            depth: u8::try_from(described.comp[0].depth).unwrap_or(0),
            chroma,
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
        })
    }

    /// By how many pictures coding runs ahead of display, and how many references there may be.
    pub fn delay_and_references(&self) -> (usize, usize) {
        let count = |number: i32| usize::try_from(number).unwrap_or(0);
        (count(self.0.fields().has_b_frames), count(self.0.fields().refs))
    }
}
