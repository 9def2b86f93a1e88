//! A packet in libavcodec's memory.
#![allow(unsafe_code, reason = "calls into libavcodec")]

use std::ptr::NonNull;

use card::Codec;
use ffmpeg_sys_next as av;

use crate::engine::{Coded, Kind};
use crate::headers::picture_alone;

/// The packet.
pub struct Packet(NonNull<av::AVPacket>);

impl Packet {
    /// An empty one.
    pub fn new() -> Result<Self, String> {
        // SAFETY: allocates; null is an answer.
        let packet = unsafe { av::av_packet_alloc() };
        NonNull::new(packet).map(Self).ok_or_else(|| "no memory for a packet".to_owned())
    }

    /// For libavcodec to write to, as long as this lives.
    pub fn pointer(&mut self) -> *mut av::AVPacket {
        self.0.as_ptr()
    }

    /// What libavcodec wrote.
    pub fn read(&mut self, codec: Codec) -> Coded {
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
