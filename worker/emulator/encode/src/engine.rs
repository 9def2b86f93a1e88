//! The encoder inside: one of libavcodec's.
#![allow(unsafe_code, reason = "calls into libavcodec")]

use std::collections::HashMap;
use std::ffi::CString;
use std::ptr::{NonNull, null, null_mut};

use card::Codec;
use ffmpeg_sys_next as av;

use crate::frame::{Frame, pixel_format};
use crate::headers::{annex_b, nals, parameter_sets};
use crate::opening;
use crate::order::Turn;
use crate::packet::Packet;
use crate::picture::Planar;
use crate::recipe::Recipe;
use crate::reorder;
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
    /// Pictures come in coding order, and display order is written in afterwards: places of those that are inside.
    places: Option<Places>,
}

/// What [`reorder`] needs to know.
struct Places {
    frame_number_bits: u32,
    /// Place and whether it is shown between others, by the picture's number.
    of: HashMap<u64, (u32, bool)>,
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
            let packets = other.encode(&grey, Turn { number: 0, idr: true, place: 0, between: false })?;
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
            places: None,
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
        if faults.encode_burst && settings.codec == Codec::H264 && settings.interval > 1 {
            engine.reorder_headers()?;
        }
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

    fn reorder_headers(&mut self) -> Result<(), String> {
        let mut sets: Vec<Vec<u8>> = nals(&self.headers).into_iter().map(<[u8]>::to_vec).collect();
        let sequence = sets.first_mut().ok_or("libx264 gives no parameter sets")?;
        self.places = Some(Places { frame_number_bits: reorder::frame_number_bits(sequence), of: HashMap::new() });
        *sequence = reorder::parameter_set(sequence).ok_or("parameter sets are not those that libx264 writes")?;
        self.headers = annex_b(&sets);
        Ok(())
    }

    /// Whether the last picture of a group is to be given first.
    pub fn reorders(&self) -> bool {
        self.places.is_some()
    }

    /// Writes display order into a packet of pictures that came in coding order.
    fn reorder(&mut self, coded: &mut Coded) {
        let Some(places) = &mut self.places else { return };
        let (place, between) = places.of.remove(&coded.number).unwrap_or_default();
        let bits = places.frame_number_bits;
        let is_slice = |nal: &[u8]| matches!(nal.first().map(|first| first & 0x1f), Some(1 | 5));
        let units = nals(&coded.data).into_iter();
        let units = units.map(|nal| if is_slice(nal) { reorder::slice(nal, place, bits) } else { nal.to_vec() });
        coded.data = annex_b(&units.collect::<Vec<_>>());
        if between {
            coded.kind = Kind::B;
        }
    }

    /// Puts a picture in; gives the packets that came out.
    pub fn encode(&mut self, picture: &Planar, turn: Turn) -> Result<Vec<Coded>, String> {
        if let Some(places) = &mut self.places {
            places.of.insert(turn.number, (turn.place, turn.between));
        }
        let mut frame = Frame::new(self.size, picture)?;
        let fields = frame.fields();
        fields.pts = turn.number as i64;
        fields.pict_type =
            if turn.idr { av::AVPictureType::AV_PICTURE_TYPE_I } else { av::AVPictureType::AV_PICTURE_TYPE_NONE };
        // SAFETY: context and frame are open and ours.
        let status = unsafe { av::avcodec_send_frame(self.context.as_ptr(), frame.pointer()) };
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
            let status = unsafe { av::avcodec_receive_packet(self.context.as_ptr(), packet.pointer()) };
            if status == av::AVERROR(av::EAGAIN) || status == av::AVERROR_EOF {
                return Ok(coded);
            }
            worked(status, "a packet")?;
            let mut one = packet.read(self.codec);
            self.reorder(&mut one);
            coded.push(one);
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

/// An error in words, if there is one.
pub fn worked(status: i32, what: &str) -> Result<(), String> {
    if status >= 0 { Ok(()) } else { Err(format!("libavcodec refuses {what}: {status}")) }
}
