//! Where decoding can start and which packets show nothing, as the bitstream itself says.
//!
//! Containers are not trusted with this for H.264: MPEG-TS demuxing marks every recovery point as a key frame, also
//! those of an intra refresh, where the picture is whole only many frames later; MP4 marks only IDR pictures of an
//! open-GOP stream.

use shared::source::VideoStream;

use crate::codec::setup::Setup;

/// How decoding can start at a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everything from here decodes.
    Clean,
    /// Not here.
    None,
}

/// Reads packets of the video stream.
pub struct AccessReader {
    stream: Option<u32>,
    codec: Codec,
}

enum Codec {
    H264 { length_size: Option<usize> }, // `None`: Annex B
    Vp8,
    Other,
}

impl AccessReader {
    pub fn new(video: Option<&VideoStream>) -> Self {
        let codec = match video.map(|video| video.codec.as_str()) {
            Some("h264") => Codec::H264 { length_size: video.and_then(avc_length_size) },
            Some("vp8") => Codec::Vp8,
            _ => Codec::Other,
        };
        Self { stream: video.map(|video| video.index), codec }
    }

    /// `None` where the container's own key flag is to be believed.
    pub fn classify(&self, stream: u32, data: &[u8]) -> Option<Access> {
        match self.codec {
            Codec::H264 { length_size } if self.stream == Some(stream) => Some(h264_access(data, length_size)),
            _ => None,
        }
    }

    /// The packet is decoded but shows no frame: VP8 alternate references (RFC 6386 9.1, `show_frame`).
    pub fn hides(&self, stream: u32, data: &[u8]) -> bool {
        matches!(self.codec, Codec::Vp8)
            && self.stream == Some(stream)
            && data.first().is_some_and(|tag| tag & 0x10 == 0)
    }
}

/// The SEI NAL unit by which x264 names its version (user data unregistered, ITU-T H.264 D.2.7), as a packet of its own.
pub fn x264_note(video: &VideoStream, data: &[u8]) -> Option<Vec<u8>> {
    const X264: [u8; 16] =
        [0xdc, 0x45, 0xe9, 0xbd, 0xe6, 0xd9, 0x48, 0xb7, 0x96, 0x2c, 0xd8, 0x20, 0xd9, 0x23, 0xee, 0xef];
    if video.codec != "h264" {
        return None;
    }
    let mut note = None;
    let mut look = |nal: &[u8]| {
        if nal.first().is_some_and(|header| header & 0x1f == 6) && nal.windows(16).take(64).any(|id| id == X264) {
            note.get_or_insert_with(|| nal.to_vec());
        }
    };
    match avc_length_size(video) {
        Some(size) => {
            each_prefixed(data, size, &mut look);
            let length = note.as_ref().map_or(0, Vec::len).to_be_bytes();
            note.map(|note| [&length[length.len() - size..], &note].concat())
        }
        None => {
            each_annexb(data, &mut look);
            note.map(|note| [&[0, 0, 1], note.as_slice()].concat())
        }
    }
}

/// `lengthSizeMinusOne` of an `avcC` (ISO/IEC 14496-15 5.3.3.1).
fn avc_length_size(video: &VideoStream) -> Option<usize> {
    let setup = Setup::open(&video.setup).ok()?;
    let is_avcc = setup.extradata.len() >= 7 && setup.extradata[0] == 1;
    is_avcc.then(|| usize::from(setup.extradata[4] & 3) + 1)
}

/// Clean at an IDR picture (NAL unit type 5) and at a recovery point that recovers at once (SEI payload type 6 with
/// `recovery_frame_cnt` 0, ITU-T H.264 D.2.8).
fn h264_access(data: &[u8], length_size: Option<usize>) -> Access {
    let mut access = Access::None;
    let mut look = |nal: &[u8]| match nal.first().map(|header| header & 0x1f) {
        Some(5) => access = Access::Clean,
        Some(6) if recovers_at_once(&nal[1..]) => access = Access::Clean,
        _ => {}
    };
    match length_size {
        Some(size) => each_prefixed(data, size, &mut look),
        None => each_annexb(data, &mut look),
    }
    access
}

fn each_prefixed(mut data: &[u8], length_size: usize, look: &mut dyn FnMut(&[u8])) {
    while let Some((length, rest)) = data.split_at_checked(length_size) {
        let length = length.iter().fold(0usize, |sum, byte| sum << 8 | usize::from(*byte));
        let Some((nal, rest)) = rest.split_at_checked(length) else { return };
        look(nal);
        data = rest;
    }
}

fn each_annexb(data: &[u8], look: &mut dyn FnMut(&[u8])) {
    let starts: Vec<usize> =
        data.windows(3).enumerate().filter(|(_, bytes)| *bytes == [0, 0, 1]).map(|(at, _)| at + 3).collect();
    for (number, start) in starts.iter().enumerate() {
        let end = starts.get(number + 1).map_or(data.len(), |next| next - 3);
        look(&data[*start..end]);
    }
}

/// Walks the payloads of an SEI NAL unit (ITU-T H.264 7.3.2.3.1). The recovery point's first bits are
/// `recovery_frame_cnt` as ue(v): a leading 1 is zero.
fn recovers_at_once(mut sei: &[u8]) -> bool {
    while sei.len() > 2 {
        let Some((kind, rest)) = sei_number(sei) else { return false };
        let Some((size, rest)) = sei_number(rest) else { return false };
        if kind == 6 {
            return rest.first().is_some_and(|byte| byte & 0x80 != 0);
        }
        sei = rest.get(size..).unwrap_or_default();
    }
    false
}

/// A number in SEI coding: 255 for each full byte, then the rest.
fn sei_number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let full = bytes.iter().take_while(|byte| **byte == 255).count();
    let last = bytes.get(full)?;
    Some((full * 255 + usize::from(*last), &bytes[full + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pictures_that_decode_at_once_are_access_points() {
        let annexb = |nals: &[&[u8]]| nals.iter().flat_map(|nal| [&[0, 0, 1][..], nal].concat()).collect::<Vec<u8>>();
        assert_eq!(h264_access(&annexb(&[&[0x67, 1], &[0x68, 1], &[0x65, 9]]), None), Access::Clean);
        assert_eq!(h264_access(&annexb(&[&[0x41, 9]]), None), Access::None);
        let recovery_now = [0x06, 6, 1, 0xc4, 0x80];
        let recovery_later = [0x06, 6, 1, 0x24, 0x80];
        assert_eq!(h264_access(&annexb(&[&recovery_now, &[0x41, 9]]), None), Access::Clean);
        assert_eq!(h264_access(&annexb(&[&recovery_later, &[0x41, 9]]), None), Access::None);
    }

    #[test]
    fn lengths_that_lie_end_the_walk() {
        assert_eq!(h264_access(&[0, 0, 0, 2, 0x65, 1], Some(4)), Access::Clean);
        assert_eq!(h264_access(&[255, 255, 255, 255, 0x65, 1], Some(4)), Access::None);
        assert_eq!(h264_access(&[0, 0], Some(4)), Access::None);
    }
}
