//! The fence: the few FFmpeg calls that ffmpeg-next has no safe form for. What leaves this module is safe.
#![allow(unsafe_code)]

mod annex_b;

use std::ffi::CString;
use std::ptr;

use ffmpeg_next::codec::{self, Parameters};
use ffmpeg_next::format::stream::Stream;
use ffmpeg_next::{Error, Packet, ffi, filter, frame, media};
use shared::time::Timescale;

pub use annex_b::AnnexB;

use crate::codec::setup::Setup;

/// Geometry and colour of a video stream as the container or the first frames tell them.
#[derive(Debug, Clone, Copy)]
pub struct VideoFacts {
    /// Sample aspect ratio; 0 if unknown.
    pub sample_aspect: (i32, i32),
    /// Pictures are stored as fields.
    pub interlaced: bool,
    /// ISO/IEC 23091-2 code points.
    pub primaries: u8,
    /// ISO/IEC 23091-2 code points.
    pub transfer: u8,
    /// ISO/IEC 23091-2 code points.
    pub matrix: u8,
    /// Full range.
    pub full_range: bool,
}

fn parameters_of(parameters: &Parameters) -> &ffi::AVCodecParameters {
    // SAFETY: reading the pointer of a live wrapper has no precondition.
    let pointer = unsafe { parameters.as_ptr() };
    // SAFETY: the wrapper owns the struct (or keeps its owner alive) for as long as it is borrowed.
    unsafe { &*pointer }
}

/// The codec parameters of a stream as plain integers.
pub fn stream_setup(stream: &Stream) -> Setup {
    let wrapper = stream.parameters();
    let parameters = parameters_of(&wrapper);
    let size = usize::try_from(parameters.extradata_size).unwrap_or(0);
    let extradata = if parameters.extradata.is_null() || size == 0 {
        Vec::new()
    } else {
        // SAFETY: FFmpeg keeps `extradata_size` readable bytes behind `extradata`.
        unsafe { std::slice::from_raw_parts(parameters.extradata, size) }.to_vec()
    };
    let native = parameters.ch_layout.order == ffi::AVChannelOrder::AV_CHANNEL_ORDER_NATIVE;
    // SAFETY: the union holds a mask in native order, and any bit pattern is a valid u64 otherwise.
    let mask = unsafe { parameters.ch_layout.u.mask };
    Setup {
        codec: codec_name(parameters.codec_id),
        tag: parameters.codec_tag,
        extradata,
        format: parameters.format,
        bit_rate: parameters.bit_rate,
        bits_per_coded_sample: parameters.bits_per_coded_sample,
        bits_per_raw_sample: parameters.bits_per_raw_sample,
        profile: parameters.profile,
        level: parameters.level,
        width: parameters.width,
        height: parameters.height,
        video_delay: parameters.video_delay,
        sample_rate: parameters.sample_rate,
        channels: parameters.ch_layout.nb_channels,
        channel_mask: if native { mask } else { 0 },
        block_align: parameters.block_align,
        frame_size: parameters.frame_size,
        initial_padding: parameters.initial_padding,
        trailing_padding: parameters.trailing_padding,
        seek_preroll: parameters.seek_preroll,
        preamble: Vec::new(),
    }
}

fn codec_name(id: ffi::AVCodecID) -> String {
    // SAFETY: returns a static string for every id, known or not.
    let name = unsafe { ffi::avcodec_get_name(id) };
    // SAFETY: the string is static and ends with NUL.
    unsafe { std::ffi::CStr::from_ptr(name) }.to_string_lossy().into_owned()
}

/// Geometry and colour of a video stream.
pub fn video_facts(stream: &Stream) -> VideoFacts {
    use ffi::AVFieldOrder::{AV_FIELD_BB, AV_FIELD_BT, AV_FIELD_TB, AV_FIELD_TT};
    let wrapper = stream.parameters();
    let parameters = parameters_of(&wrapper);
    // SAFETY: reading the pointer of a live wrapper has no precondition.
    let raw = unsafe { stream.as_ptr() };
    // SAFETY: the stream lives as long as its input, which `stream` borrows.
    let container = unsafe { &*raw }.sample_aspect_ratio;
    let sample_aspect = if container.num > 0 { container } else { parameters.sample_aspect_ratio };
    VideoFacts {
        sample_aspect: (sample_aspect.num, sample_aspect.den),
        interlaced: [AV_FIELD_TT, AV_FIELD_BB, AV_FIELD_TB, AV_FIELD_BT].contains(&parameters.field_order),
        primaries: parameters.color_primaries as u8,
        transfer: parameters.color_trc as u8,
        matrix: parameters.color_space as u8,
        full_range: parameters.color_range == ffi::AVColorRange::AVCOL_RANGE_JPEG,
    }
}

/// A decoder's context for a stream, not yet opened: single-threaded, timed in `timescale`.
pub fn decoder_context(setup: &Setup, timescale: Timescale, max_pixels: u64) -> Result<codec::Context, Error> {
    let mut context = codec::Context::from_parameters(parameters(setup)?)?;
    // SAFETY: reading the pointer of a live wrapper has no precondition.
    let raw = unsafe { context.as_mut_ptr() };
    // SAFETY: the wrapper owns the struct and nobody else has a reference.
    let raw = unsafe { &mut *raw };
    raw.pkt_timebase = ffi::AVRational { num: 1, den: i32::try_from(timescale.get()).unwrap_or(i32::MAX) };
    raw.thread_count = 1;
    raw.max_pixels = i64::try_from(max_pixels).unwrap_or(i64::MAX);
    Ok(context)
}

/// A stream's parameters as libavcodec has them.
fn parameters(setup: &Setup) -> Result<Parameters, Error> {
    let name = CString::new(setup.codec.as_str()).map_err(|_| Error::InvalidData)?;
    // SAFETY: `name` is a valid string for the length of the call.
    let descriptor = unsafe { ffi::avcodec_descriptor_get_by_name(name.as_ptr()) };
    // SAFETY: a descriptor is static; null means that the name is unknown.
    let descriptor = unsafe { descriptor.as_ref() }.ok_or(Error::DecoderNotFound)?;
    let mut parameters = Parameters::new();
    parameters.set_id(descriptor.id.into());
    parameters.set_medium(media::Type::from(descriptor.type_));
    fill(&mut parameters, setup)?;
    Ok(parameters)
}

fn fill(parameters: &mut Parameters, setup: &Setup) -> Result<(), Error> {
    // SAFETY: reading the pointer of a live wrapper has no precondition.
    let raw = unsafe { parameters.as_mut_ptr() };
    // SAFETY: the wrapper owns the struct and nobody else has a reference.
    let raw = unsafe { &mut *raw };
    raw.codec_tag = setup.tag;
    raw.format = setup.format;
    raw.bit_rate = setup.bit_rate;
    raw.bits_per_coded_sample = setup.bits_per_coded_sample;
    raw.bits_per_raw_sample = setup.bits_per_raw_sample;
    raw.profile = setup.profile;
    raw.level = setup.level;
    raw.width = setup.width;
    raw.height = setup.height;
    raw.video_delay = setup.video_delay;
    raw.sample_rate = setup.sample_rate;
    raw.block_align = setup.block_align;
    raw.frame_size = setup.frame_size;
    raw.initial_padding = setup.initial_padding;
    raw.trailing_padding = setup.trailing_padding;
    raw.seek_preroll = setup.seek_preroll;
    if setup.channel_mask != 0 {
        // SAFETY: `ch_layout` is a live, zeroed layout; an invalid mask is refused by the call.
        let said = unsafe { ffi::av_channel_layout_from_mask(&raw mut raw.ch_layout, setup.channel_mask) };
        if said < 0 {
            return Err(Error::from(said));
        }
    } else if setup.channels > 0 {
        // SAFETY: `ch_layout` is a live, zeroed layout.
        unsafe { ffi::av_channel_layout_default(&raw mut raw.ch_layout, setup.channels) };
    }
    let padding = ffi::AV_INPUT_BUFFER_PADDING_SIZE as usize;
    // SAFETY: allocates zeroed bytes; null is checked below.
    let copy = unsafe { ffi::av_mallocz(setup.extradata.len() + padding) }.cast::<u8>();
    if copy.is_null() {
        return Err(Error::Other { errno: rustix::io::Errno::NOMEM.raw_os_error() });
    }
    // SAFETY: `copy` has room for `extradata` and its padding, and the two can't overlap.
    unsafe { ptr::copy_nonoverlapping(setup.extradata.as_ptr(), copy, setup.extradata.len()) };
    raw.extradata = copy; // freed with the parameters
    raw.extradata_size = i32::try_from(setup.extradata.len()).map_err(|_| Error::InvalidData)?;
    Ok(())
}

/// Copies side data of `kind` (`AVPacketSideDataType`) onto a packet.
pub fn attach_side_data(packet: &mut Packet, kind: u32, data: &[u8]) -> Result<(), Error> {
    use ffi::AVPacketSideDataType::{AV_PKT_DATA_NEW_EXTRADATA, AV_PKT_DATA_PALETTE, AV_PKT_DATA_SKIP_SAMPLES};
    let known = [AV_PKT_DATA_NEW_EXTRADATA, AV_PKT_DATA_PALETTE, AV_PKT_DATA_SKIP_SAMPLES];
    let kind = known.into_iter().find(|known| *known as u32 == kind).ok_or(Error::InvalidData)?;
    let raw = ffmpeg_next::packet::Mut::as_mut_ptr(packet);
    // SAFETY: the packet is live; null is checked below.
    let room = unsafe { ffi::av_packet_new_side_data(raw, kind, data.len()) };
    if room.is_null() {
        return Err(Error::Other { errno: rustix::io::Errno::NOMEM.raw_os_error() });
    }
    // SAFETY: `room` has exactly `data.len()` writable bytes, freshly allocated.
    unsafe { ptr::copy_nonoverlapping(data.as_ptr(), room, data.len()) };
    Ok(())
}

/// The packet is decoded for the sake of others and not shown (edit lists).
pub fn is_discarded(packet: &Packet) -> bool {
    let raw = ffmpeg_next::packet::Ref::as_ptr(packet);
    // SAFETY: the packet is live for as long as it is borrowed.
    let flags = unsafe { &*raw }.flags;
    flags & ffi::AV_PKT_FLAG_DISCARD != 0
}

/// Makes the decoder drop the frame of this packet after decoding it.
pub fn discard(packet: &mut Packet) {
    let raw = ffmpeg_next::packet::Mut::as_mut_ptr(packet);
    // SAFETY: the packet is live and borrowed by nobody else.
    let raw = unsafe { &mut *raw };
    raw.flags |= ffi::AV_PKT_FLAG_DISCARD;
}

/// Another reference to the same picture; nothing is copied.
pub fn share(frame: &frame::Video) -> Result<frame::Video, Error> {
    let mut shared = frame::Video::empty();
    // SAFETY: reading the pointer of a live wrapper has no precondition.
    let (to, from) = (unsafe { shared.as_mut_ptr() }, {
        // SAFETY: as above.
        unsafe { frame.as_ptr() }
    });
    // SAFETY: `to` is a blank frame, `from` a live one.
    match unsafe { ffi::av_frame_ref(to, from) } {
        0 => Ok(shared),
        error => Err(Error::from(error)),
    }
}

/// A frame whose rows begin where vector code may read them, copied if they don't: zimg reads 64 bytes at once with AVX-512
/// and dies of a row that begins between, as those of cropped pictures may.
pub fn aligned(frame: frame::Video) -> Result<frame::Video, Error> {
    const ALIGNMENT: usize = 64;
    let fits = |plane| {
        frame.data(plane).as_ptr().addr().is_multiple_of(ALIGNMENT) && frame.stride(plane).is_multiple_of(ALIGNMENT)
    };
    if (0..frame.planes()).all(fits) {
        return Ok(frame);
    }
    let mut copy = frame::Video::empty();
    copy.set_format(frame.format());
    copy.set_width(frame.width());
    copy.set_height(frame.height());
    let check = |status| if status < 0 { Err(Error::from(status)) } else { Ok(()) };
    // SAFETY: reading the pointer of a live wrapper has no precondition.
    let (to, from) = (unsafe { copy.as_mut_ptr() }, {
        // SAFETY: as above.
        unsafe { frame.as_ptr() }
    });
    // SAFETY: format and size are set, and there are no buffers yet.
    check(unsafe { ffi::av_frame_get_buffer(to, ALIGNMENT as i32) })?;
    // SAFETY: both frames have buffers, of one format and size.
    check(unsafe { ffi::av_frame_copy(to, from) })?;
    // SAFETY: both frames are alive.
    check(unsafe { ffi::av_frame_copy_props(to, from) })?;
    Ok(copy)
}

/// Makes a filter graph run on the calling thread only.
pub fn single_threaded(graph: &mut filter::Graph) {
    // SAFETY: reading the pointer of a live wrapper has no precondition.
    let raw = unsafe { graph.as_mut_ptr() };
    // SAFETY: the wrapper owns the graph and nobody else has a reference.
    unsafe { &mut *raw }.nb_threads = 1;
}

/// The encoder's out-of-band headers; empty if it has none.
pub fn extradata(context: &codec::Context) -> Vec<u8> {
    // SAFETY: reading the pointer of a live wrapper has no precondition.
    let raw = unsafe { context.as_ptr() };
    // SAFETY: the wrapper owns the struct for as long as it is borrowed.
    let raw = unsafe { &*raw };
    let size = usize::try_from(raw.extradata_size).unwrap_or(0);
    if raw.extradata.is_null() || size == 0 {
        return Vec::new();
    }
    // SAFETY: FFmpeg keeps `extradata_size` readable bytes behind `extradata`.
    unsafe { std::slice::from_raw_parts(raw.extradata, size) }.to_vec()
}

/// Samples an opened audio encoder puts before the signal.
pub fn initial_padding(context: &codec::Context) -> u32 {
    // SAFETY: reading the pointer of a live wrapper has no precondition.
    let raw = unsafe { context.as_ptr() };
    // SAFETY: the wrapper owns the struct for as long as it is borrowed.
    u32::try_from(unsafe { &*raw }.initial_padding).unwrap_or(0)
}

/// Colour description an encoder writes into its headers, as ISO/IEC 23091-2 code points; limited range.
pub fn set_color(context: &mut codec::Context, primaries: u8, transfer: u8, matrix: u8) {
    use ffmpeg_next::color::{Primaries, Range, Space, TransferCharacteristic};
    // SAFETY: reading the pointer of a live wrapper has no precondition.
    let raw = unsafe { context.as_mut_ptr() };
    // SAFETY: the wrapper owns the struct and nobody else has a reference.
    let raw = unsafe { &mut *raw };
    raw.color_primaries = match primaries {
        1 => Primaries::BT709,
        4 => Primaries::BT470M,
        5 => Primaries::BT470BG,
        6 => Primaries::SMPTE170M,
        7 => Primaries::SMPTE240M,
        9 => Primaries::BT2020,
        12 => Primaries::SMPTE432,
        _ => Primaries::Unspecified,
    }
    .into();
    raw.color_trc = match transfer {
        1 => TransferCharacteristic::BT709,
        4 => TransferCharacteristic::GAMMA22,
        5 => TransferCharacteristic::GAMMA28,
        6 => TransferCharacteristic::SMPTE170M,
        7 => TransferCharacteristic::SMPTE240M,
        8 => TransferCharacteristic::Linear,
        13 => TransferCharacteristic::IEC61966_2_1,
        14 => TransferCharacteristic::BT2020_10,
        15 => TransferCharacteristic::BT2020_12,
        16 => TransferCharacteristic::SMPTE2084,
        18 => TransferCharacteristic::ARIB_STD_B67,
        _ => TransferCharacteristic::Unspecified,
    }
    .into();
    raw.colorspace = match matrix {
        1 => Space::BT709,
        4 => Space::FCC,
        5 => Space::BT470BG,
        6 => Space::SMPTE170M,
        7 => Space::SMPTE240M,
        9 => Space::BT2020NCL,
        _ => Space::Unspecified,
    }
    .into();
    raw.color_range = Range::MPEG.into();
}

/// FFmpeg's name of a pixel format number; empty if there is none.
pub fn pixel_format_name(format: i32) -> String {
    // Walks the known formats: an enum value must not be made of an unchecked number.
    let mut descriptor = ptr::null();
    loop {
        // SAFETY: null starts the walk, any descriptor it returned continues it.
        descriptor = unsafe { ffi::av_pix_fmt_desc_next(descriptor) };
        // SAFETY: descriptors are static; null ends the walk.
        let Some(known) = (unsafe { descriptor.as_ref() }) else { return String::new() };
        // SAFETY: `descriptor` came from the walk.
        if unsafe { ffi::av_pix_fmt_desc_get_id(descriptor) } as i32 == format {
            // SAFETY: a descriptor's name is a static string that ends with NUL.
            return unsafe { std::ffi::CStr::from_ptr(known.name) }.to_string_lossy().into_owned();
        }
    }
}

/// Version of the libavcodec in use, `major.minor.micro`.
pub fn codec_version() -> String {
    // SAFETY: the call has no precondition.
    let version = unsafe { ffi::avcodec_version() };
    format!("{}.{}.{}", version >> 16, version >> 8 & 0xff, version & 0xff)
}

/// The three planes of a frame of planar 4:2:0 with their strides, all to be written.
pub fn planes_mut(frame: &mut frame::Video) -> [(&mut [u8], usize); 3] {
    let mut plane = |number: usize| {
        let stride = frame.stride(number);
        let bytes = frame.data_mut(number);
        (bytes.as_mut_ptr(), bytes.len(), stride)
    };
    [plane(0), plane(1), plane(2)].map(|(first, bytes, stride)| {
        // SAFETY: the planes of a frame do not overlap, and the frame is borrowed for as long as they are.
        (unsafe { std::slice::from_raw_parts_mut(first, bytes) }, stride)
    })
}
