//! What a card's NVENC can, as it says itself: asked for, never looked up by the card's name.
#![allow(unsafe_code)]

use nvidia_video_codec_sdk::sys::nvEncodeAPI::{
    GUID, NV_ENC_CAPS as Cap, NV_ENC_CAPS_PARAM, NV_ENC_CODEC_AV1_GUID, NV_ENC_CODEC_H264_GUID, NV_ENC_CODEC_HEVC_GUID,
};

use super::api::{Nvenc, versioned};
use super::error::EncodeError;
use super::session::Session;
use crate::codec::Codec;
use crate::device::Device;
use crate::raw::field;

/// What NVENC can with one codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodecCapabilities {
    /// Which.
    pub codec: Codec,
    /// Smallest width and height, in pixels.
    pub smallest: (u32, u32),
    /// Largest width and height, in pixels.
    pub largest: (u32, u32),
    /// Most macroblocks (16 × 16 pixels) of a picture.
    pub macroblocks: u32,
    /// Lowest and highest level, in the codec's own numbers.
    pub levels: (u32, u32),
    /// Most B-frames between two others.
    pub b_frames: u32,
    /// A group's middle B-frame can be a reference.
    pub middle_reference: bool,
    /// It can look ahead.
    pub lookahead: bool,
    /// Adaptive quantisation over time.
    pub temporal_aq: bool,
    /// A buffer model of one's own.
    pub buffer: bool,
    /// 10 bits a sample.
    pub ten_bit: bool,
    /// How many engines the card has.
    pub engines: u32,
}

impl CodecCapabilities {
    /// Whether a picture of this size can be encoded.
    ///
    /// # Errors
    /// It is [`EncodeError::Unsupported`], with the limits.
    pub fn fits(&self, width: u32, height: u32) -> Result<(), EncodeError> {
        let Self { smallest, largest, .. } = self;
        let macroblocks = u64::from(width.div_ceil(16)) * u64::from(height.div_ceil(16));
        let fits = (smallest.0..=largest.0).contains(&width)
            && (smallest.1..=largest.1).contains(&height)
            && macroblocks <= u64::from(self.macroblocks)
            && width.is_multiple_of(2)
            && height.is_multiple_of(2);
        if fits {
            return Ok(());
        }
        Err(EncodeError::Unsupported(format!(
            "{} of {width}x{height}: this card takes even sizes from {}x{} to {}x{} of at most {} macroblocks",
            self.codec, smallest.0, smallest.1, largest.0, largest.1, self.macroblocks
        )))
    }
}

/// What NVENC can on a device, codec by codec. Opens a session for it.
///
/// # Errors
/// [`EncodeError::Unsupported`] where the card has no NVENC.
pub fn capabilities(device: &Device, nvenc: &Nvenc) -> Result<Vec<CodecCapabilities>, EncodeError> {
    let session = Session::open(device, nvenc)?;
    let codecs = session.codecs()?;
    let known = Codec::ALL.into_iter().filter(|codec| guid(*codec).is_some_and(|guid| codecs.contains(&guid)));
    known.map(|codec| ask(&session, codec)).collect()
}

/// How many sessions can be open at once, by opening them; `most` is enough. Others' sessions count where the limit is
/// the machine's, so this is the state of the moment.
///
/// # Errors
/// Anything but [`EncodeError::Busy`], which is the answer.
pub fn sessions(device: &Device, nvenc: &Nvenc, most: usize) -> Result<usize, EncodeError> {
    let mut open = Vec::new();
    while open.len() < most {
        match Session::open(device, nvenc) {
            Ok(session) => open.push(session),
            Err(EncodeError::Busy(_)) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(open.len())
}

/// NVENC's name of a codec, if it can ever encode it.
pub(super) fn guid(codec: Codec) -> Option<GUID> {
    match codec {
        Codec::H264 => Some(NV_ENC_CODEC_H264_GUID),
        Codec::Hevc => Some(NV_ENC_CODEC_HEVC_GUID),
        Codec::Av1 => Some(NV_ENC_CODEC_AV1_GUID),
        Codec::Vp9 => None,
    }
}

/// What this card can with a codec that it encodes.
pub(super) fn ask(session: &Session, codec: Codec) -> Result<CodecCapabilities, EncodeError> {
    let guid = guid(codec).ok_or_else(|| never(codec))?;
    let cap = |cap: Cap| ask_one(session, guid, cap);
    Ok(CodecCapabilities {
        codec,
        smallest: (cap(Cap::NV_ENC_CAPS_WIDTH_MIN)?, cap(Cap::NV_ENC_CAPS_HEIGHT_MIN)?),
        largest: (cap(Cap::NV_ENC_CAPS_WIDTH_MAX)?, cap(Cap::NV_ENC_CAPS_HEIGHT_MAX)?),
        macroblocks: cap(Cap::NV_ENC_CAPS_MB_NUM_MAX)?,
        levels: (cap(Cap::NV_ENC_CAPS_LEVEL_MIN)?, cap(Cap::NV_ENC_CAPS_LEVEL_MAX)?),
        b_frames: cap(Cap::NV_ENC_CAPS_NUM_MAX_BFRAMES)?,
        middle_reference: cap(Cap::NV_ENC_CAPS_SUPPORT_BFRAME_REF_MODE)? & 2 != 0,
        lookahead: cap(Cap::NV_ENC_CAPS_SUPPORT_LOOKAHEAD)? != 0,
        temporal_aq: cap(Cap::NV_ENC_CAPS_SUPPORT_TEMPORAL_AQ)? != 0,
        buffer: cap(Cap::NV_ENC_CAPS_SUPPORT_CUSTOM_VBV_BUF_SIZE)? != 0,
        ten_bit: cap(Cap::NV_ENC_CAPS_SUPPORT_10BIT_ENCODE)? != 0,
        engines: cap(Cap::NV_ENC_CAPS_NUM_ENCODER_ENGINES)?.max(1),
    })
}

fn ask_one(session: &Session, codec: GUID, cap: Cap) -> Result<u32, EncodeError> {
    let mut question = versioned::<NV_ENC_CAPS_PARAM>();
    question.set(field!(NV_ENC_CAPS_PARAM, capsToQuery), cap as u32);
    let mut answer = 0;
    // SAFETY: the session is open; it reads the question and writes one integer.
    let status = unsafe { (session.nvenc.caps)(session.handle, codec, question.pointer(), &raw mut answer) };
    session.check("NvEncGetEncodeCaps", status)?;
    Ok(u32::try_from(answer).unwrap_or(0))
}

/// What no card encodes.
pub(super) fn never(codec: Codec) -> EncodeError {
    EncodeError::Unsupported(format!("NVENC has no {codec}"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What an RTX 3060 said of H.264 under driver 595.
    pub(in crate::encode) const H264: CodecCapabilities = CodecCapabilities {
        codec: Codec::H264,
        smallest: (145, 49),
        largest: (4096, 4096),
        macroblocks: 65_536,
        levels: (10, 62),
        b_frames: 4,
        middle_reference: true,
        lookahead: true,
        temporal_aq: true,
        buffer: true,
        ten_bit: false,
        engines: 1,
    };

    #[test]
    fn sizes_that_the_card_would_refuse_are_refused_by_name() {
        assert!(H264.fits(256, 144).is_ok() && H264.fits(4096, 4096).is_ok());
        for (width, height) in [(144, 256), (256, 48), (4098, 2160), (641, 360)] {
            let refused = H264.fits(width, height).unwrap_err().to_string();
            assert!(refused.contains("145x49") && refused.contains(&format!("{width}x{height}")), "{refused}");
        }
        let small = CodecCapabilities { macroblocks: 8160, ..H264 };
        assert!(small.fits(1920, 1088).is_ok() && small.fits(1920, 1090).is_err());
    }
}
