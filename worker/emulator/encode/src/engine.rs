//! The encoder inside: one of libavcodec's.
#![allow(unsafe_code, reason = "calls into libavcodec")]

use std::ffi::CString;
use std::ptr::{NonNull, null, null_mut};

use card::Codec;
use ffmpeg_sys_next as av;

use crate::headers::{parameter_sets, picture_alone};
use crate::opening;
use crate::picture::Planar;
use crate::recipe::Recipe;
use crate::settings::Settings;

/// A packet.
#[derive(Clone, Debug)]
pub struct Coded {
    /// Its bytes, without parameter sets.
    pub data: Vec<u8>,
    /// The number of its picture.
    pub number: u64,
    /// What kind of picture it is.
    pub kind: Kind,
    /// Its mean quantiser.
    pub quantiser: u32,
}

/// `NV_ENC_PIC_TYPE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// Predicted from pictures before it.
    P = 0,
    /// Predicted from both sides.
    B = 1,
    /// Starts anew.
    Idr = 3,
}

/// An open encoder.
pub struct Engine {
    context: NonNull<av::AVCodecContext>,
    codec: Codec,
    size: (u32, u32),
    headers: Vec<u8>,
    delay: usize,
}

// SAFETY: the encoders inside work on whatever thread calls; they are called by one at a time, under the session's lock.
unsafe impl Send for Engine {}

impl Engine {
    /// Opens the encoder that these settings ask for.
    pub fn open(settings: &Settings) -> Result<Self, String> {
        let mut engine = Self::bare(settings)?;
        if settings.codec == Codec::Av1 {
            // libaom tells its sequence header with the first packet: another one is asked for that.
            let grey = Planar::grey(settings.width as usize, settings.height as usize, settings.deep);
            let mut other = Self::bare(settings)?;
            let packets = other.encode(&grey, 0, true)?;
            let first = packets.first().ok_or("libaom keeps its first packet back")?;
            engine.headers = parameter_sets(Codec::Av1, &first.data);
        }
        Ok(engine)
    }

    fn bare(settings: &Settings) -> Result<Self, String> {
        let faults = card::faults();
        let recipe = Recipe::of(settings, faults.encode_burst, faults.encode_header);
        let name = CString::new(recipe.encoder).map_err(|error| error.to_string())?;
        // SAFETY: the name is a C string; the answer is a static or null.
        let encoder = unsafe { av::avcodec_find_encoder_by_name(name.as_ptr()) };
        if encoder.is_null() {
            return Err(format!("libavcodec has no {}", recipe.encoder));
        }
        // SAFETY: the encoder is one of libavcodec's.
        let context = unsafe { av::avcodec_alloc_context3(encoder) };
        let context = NonNull::new(context).ok_or("no memory for an encoder")?;
        let mut engine = Self {
            context,
            codec: settings.codec,
            size: (settings.width, settings.height),
            headers: Vec::new(),
            delay: recipe.delay,
        };
        engine.configure(settings, &recipe);
        for (name, value) in &recipe.options {
            engine.set(name, value)?;
        }
        let open = if settings.codec == Codec::H264 { av::avcodec_open2 } else { opening::open()? };
        // SAFETY: the context was made for this encoder and is not open yet.
        let status = unsafe { open(context.as_ptr(), encoder, null_mut()) };
        worked(status, recipe.encoder)?;
        engine.headers = parameter_sets(settings.codec, engine.extradata());
        Ok(engine)
    }

    fn context(&mut self) -> &mut av::AVCodecContext {
        // SAFETY: the context lives as long as this engine, which nobody else has.
        unsafe { self.context.as_mut() }
    }

    fn configure(&mut self, settings: &Settings, recipe: &Recipe) {
        let context = self.context();
        let (numerator, denominator) = settings.usable_frame_rate();
        let (width, height) = (settings.width as i32, settings.height as i32);
        context.width = width;
        context.height = height;
        context.time_base = av::AVRational { num: denominator, den: numerator };
        context.framerate = av::AVRational { num: numerator, den: denominator };
        if settings.display_aspect.0 > 0 && settings.display_aspect.1 > 0 {
            let (wide, high) = (i64::from(settings.display_aspect.0), i64::from(settings.display_aspect.1));
            let sample = &mut context.sample_aspect_ratio;
            // SAFETY: the function writes two integers.
            unsafe {
                av::av_reduce(
                    &raw mut sample.num,
                    &raw mut sample.den,
                    wide * i64::from(height),
                    high * i64::from(width),
                    0xffff,
                )
            };
        }
        context.pix_fmt = pixel_format(settings.deep);
        context.thread_count = 1;
        // What it says of itself is not the client's concern: information becomes detail.
        context.log_level_offset = av::AV_LOG_DEBUG - av::AV_LOG_INFO;
        context.max_b_frames = recipe.b_frames as i32;
        context.flags |= av::AV_CODEC_FLAG_GLOBAL_HEADER as i32;
        if self.codec == Codec::Av1 {
            self.context().gop_size = i32::MAX;
        }
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let key = CString::new(name).map_err(|error| error.to_string())?;
        let text = CString::new(value).map_err(|error| error.to_string())?;
        let object = self.context.as_ptr().cast();
        // SAFETY: the context begins with a class, as the function wants; both texts are C strings.
        let status = unsafe { av::av_opt_set(object, key.as_ptr(), text.as_ptr(), av::AV_OPT_SEARCH_CHILDREN) };
        worked(status, &format!("{name}={value}"))
    }

    fn extradata(&mut self) -> &[u8] {
        let context = self.context();
        let (data, size) = (context.extradata, context.extradata_size);
        if data.is_null() {
            return &[];
        }
        // SAFETY: libavcodec says that so many bytes lie there, as long as the context lives.
        unsafe { std::slice::from_raw_parts(data, size as usize) }
    }

    /// Parameter sets, in Annex B, or the sequence header's OBU.
    pub fn headers(&self) -> &[u8] {
        &self.headers
    }

    /// Pictures that it keeps back beyond those that B-frames take.
    pub fn delay(&self) -> usize {
        self.delay
    }

    /// Puts a picture in; gives the packets that came out.
    pub fn encode(&mut self, picture: &Planar, number: u64, idr: bool) -> Result<Vec<Coded>, String> {
        let mut frame = Frame::new(self.size, picture)?;
        let fields = frame.fields();
        fields.pts = number as i64;
        fields.pict_type =
            if idr { av::AVPictureType::AV_PICTURE_TYPE_I } else { av::AVPictureType::AV_PICTURE_TYPE_NONE };
        // SAFETY: context and frame are open and ours.
        let status = unsafe { av::avcodec_send_frame(self.context.as_ptr(), frame.0.as_ptr()) };
        worked(status, "a picture")?;
        self.packets()
    }

    /// Nothing follows: gives all packets that are left.
    pub fn finish(&mut self) -> Result<Vec<Coded>, String> {
        // SAFETY: a null frame is how the end is said.
        let status = unsafe { av::avcodec_send_frame(self.context.as_ptr(), null()) };
        worked(status, "the end")?;
        self.packets()
    }

    fn packets(&mut self) -> Result<Vec<Coded>, String> {
        let mut coded = Vec::new();
        loop {
            let mut packet = Packet::new()?;
            // SAFETY: context and packet are ours.
            let status = unsafe { av::avcodec_receive_packet(self.context.as_ptr(), packet.0.as_ptr()) };
            if status == av::AVERROR(av::EAGAIN) || status == av::AVERROR_EOF {
                return Ok(coded);
            }
            worked(status, "a packet")?;
            coded.push(packet.read(self.codec));
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let mut context = self.context.as_ptr();
        // SAFETY: it is ours, and nobody uses it after this.
        unsafe { av::avcodec_free_context(&raw mut context) };
    }
}

const fn pixel_format(deep: bool) -> av::AVPixelFormat {
    if deep { av::AVPixelFormat::AV_PIX_FMT_YUV420P10LE } else { av::AVPixelFormat::AV_PIX_FMT_YUV420P }
}

fn worked(status: i32, what: &str) -> Result<(), String> {
    if status >= 0 { Ok(()) } else { Err(format!("libavcodec refuses {what}: {status}")) }
}

/// A picture in libavcodec's memory.
struct Frame(NonNull<av::AVFrame>);

impl Frame {
    fn new(size: (u32, u32), picture: &Planar) -> Result<Self, String> {
        // SAFETY: allocates; null is an answer.
        let frame = unsafe { av::av_frame_alloc() };
        let mut frame = Self(NonNull::new(frame).ok_or("no memory for a picture")?);
        let fields = frame.fields();
        (fields.width, fields.height) = (size.0 as i32, size.1 as i32);
        fields.format = pixel_format(picture.deep) as i32;
        // SAFETY: size and format are set, as the function wants.
        worked(unsafe { av::av_frame_get_buffer(frame.0.as_ptr(), 0) }, "a picture's memory")?;
        let bytes = if picture.deep { 2 } else { 1 };
        for (index, plane) in picture.planes.iter().enumerate() {
            let (width, rows) = if index == 0 { size } else { (size.0.div_ceil(2), size.1.div_ceil(2)) };
            frame.write(index, plane, width as usize * bytes, rows as usize)?;
        }
        Ok(frame)
    }

    fn fields(&mut self) -> &mut av::AVFrame {
        // SAFETY: the frame is ours as long as this lives.
        unsafe { self.0.as_mut() }
    }

    fn write(&mut self, index: usize, plane: &[u8], width: usize, rows: usize) -> Result<(), String> {
        if plane.len() < width * rows {
            return Err(format!("a plane of {} bytes for {rows} rows of {width}", plane.len()));
        }
        let fields = self.fields();
        let (to, pitch) = (fields.data[index], fields.linesize[index] as usize);
        for (row, from) in plane.chunks_exact(width).take(rows).enumerate() {
            let to = to.wrapping_add(row * pitch);
            // SAFETY: libavcodec made the plane with so many rows of `pitch` bytes, which are no fewer than `width`.
            unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to, width) };
        }
        Ok(())
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        let mut frame = self.0.as_ptr();
        // SAFETY: it is ours, and nobody uses it after this.
        unsafe { av::av_frame_free(&raw mut frame) };
    }
}

/// A packet in libavcodec's memory.
struct Packet(NonNull<av::AVPacket>);

impl Packet {
    fn new() -> Result<Self, String> {
        // SAFETY: allocates; null is an answer.
        let packet = unsafe { av::av_packet_alloc() };
        NonNull::new(packet).map(Self).ok_or_else(|| "no memory for a packet".to_owned())
    }

    fn read(&mut self, codec: Codec) -> Coded {
        // SAFETY: the packet is ours and was filled.
        let fields = unsafe { self.0.as_ref() };
        // SAFETY: libavcodec says that so many bytes lie there.
        let data = unsafe { std::slice::from_raw_parts(fields.data, fields.size as usize) };
        let (quality, kind) = self.quality();
        let kind = match kind {
            _ if fields.flags & av::AV_PKT_FLAG_KEY != 0 => Kind::Idr,
            Some(kind) if kind == av::AVPictureType::AV_PICTURE_TYPE_B as u8 => Kind::B,
            _ => Kind::P,
        };
        Coded {
            data: picture_alone(codec, data),
            number: fields.pts as u64,
            kind,
            quantiser: quality / av::FF_QP2LAMBDA as u32,
        }
    }

    /// Quality and kind of the picture, where the encoder tells them.
    fn quality(&self) -> (u32, Option<u8>) {
        let mut size = 0;
        let kind = av::AVPacketSideDataType::AV_PKT_DATA_QUALITY_STATS;
        // SAFETY: the packet is ours; the function writes one size.
        let data = unsafe { av::av_packet_get_side_data(self.0.as_ptr(), kind, &raw mut size) };
        if data.is_null() || size < 5 {
            return (0, None);
        }
        // SAFETY: at least five bytes lie there: the quality in four, the kind of picture in one.
        let stats = unsafe { std::slice::from_raw_parts(data, 5) };
        (u32::from_le_bytes([stats[0], stats[1], stats[2], stats[3]]), Some(stats[4]))
    }
}

impl Drop for Packet {
    fn drop(&mut self) {
        let mut packet = self.0.as_ptr();
        // SAFETY: it is ours, and nobody uses it after this.
        unsafe { av::av_packet_free(&raw mut packet) };
    }
}
