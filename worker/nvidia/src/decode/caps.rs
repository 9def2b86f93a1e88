//! What a card's NVDEC can, as it says itself: asked for, never looked up by the card's name.
#![allow(unsafe_code)]

use nvidia_video_codec_sdk::sys::cuviddec::CUVIDDECODECAPS;

use super::api::Cuvid;
use super::error::DecodeError;
use crate::codec::Codec;
use crate::device::Device;
use crate::raw::{Raw, field};
use crate::surface::Format;

/// `cudaVideoChromaFormat_420`.
pub(super) const CHROMA_420: u32 = 1;
/// Depths to ask for, in bits a sample.
const DEPTHS: [u8; 3] = [8, 10, 12];

/// What NVDEC can with one codec and depth, 4:2:0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeCapabilities {
    /// Which.
    pub codec: Codec,
    /// Bits of a sample.
    pub depth: u8,
    /// Smallest coded width and height, in pixels.
    pub smallest: (u32, u32),
    /// Largest coded width and height, in pixels.
    pub largest: (u32, u32),
    /// Most macroblocks (16 × 16 pixels) of a picture.
    pub macroblocks: u32,
    /// How many engines can do it.
    pub engines: u32,
}

impl DecodeCapabilities {
    /// Whether pictures of this coded size can be decoded.
    ///
    /// # Errors
    /// It is [`DecodeError::Unsupported`], with the limits.
    pub fn fits(&self, width: u32, height: u32) -> Result<(), DecodeError> {
        let Self { smallest, largest, .. } = self;
        let macroblocks = u64::from(width.div_ceil(16)) * u64::from(height.div_ceil(16));
        let fits = (smallest.0..=largest.0).contains(&width)
            && (smallest.1..=largest.1).contains(&height)
            && macroblocks <= u64::from(self.macroblocks);
        if fits {
            return Ok(());
        }
        Err(DecodeError::Unsupported(format!(
            "{} of {width}x{height}: this card takes {}x{} to {}x{} of at most {} macroblocks",
            self.codec, smallest.0, smallest.1, largest.0, largest.1, self.macroblocks
        )))
    }
}

/// What NVDEC can on a device: a line for each codec and depth.
///
/// # Errors
/// The device does not answer.
pub fn capabilities(device: &Device, cuvid: &Cuvid) -> Result<Vec<DecodeCapabilities>, DecodeError> {
    device.bind()?;
    let mut all = Vec::new();
    for codec in Codec::ALL {
        for depth in DEPTHS {
            match ask(cuvid, codec, depth) {
                Ok(one) => all.push(one),
                Err(DecodeError::Unsupported(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(all)
}

/// What NVDEC can with a codec and depth. The device's context is current.
pub(super) fn ask(cuvid: &Cuvid, codec: Codec, depth: u8) -> Result<DecodeCapabilities, DecodeError> {
    macro_rules! of {
        ($field:ident) => {
            field!(CUVIDDECODECAPS, $field)
        };
    }
    let mut caps = Raw::<CUVIDDECODECAPS>::zeroed();
    caps.set(of!(eCodecType), number(codec));
    caps.set(of!(eChromaFormat), CHROMA_420);
    caps.set(of!(nBitDepthMinus8), u32::from(depth.saturating_sub(8)));
    // SAFETY: it reads and fills the structure.
    DecodeError::check("cuvidGetDecoderCaps", unsafe { (cuvid.caps)(caps.pointer()) })?;
    let outputs = caps.get::<u16, _>(of!(nOutputFormatMask));
    let supported = caps.get::<u8, _>(of!(bIsSupported)) != 0 && outputs & 1 << surface_format(format(depth)) != 0;
    if !supported {
        return Err(DecodeError::Unsupported(format!("this card decodes no {codec} of {depth} bits")));
    }
    let short = |place| u32::from(caps.get::<u16, 2>(place));
    Ok(DecodeCapabilities {
        codec,
        depth,
        smallest: (short(of!(nMinWidth)), short(of!(nMinHeight))),
        largest: (caps.get(of!(nMaxWidth)), caps.get(of!(nMaxHeight))),
        macroblocks: caps.get(of!(nMaxMBCount)),
        engines: u32::from(caps.get::<u8, _>(of!(nNumNVDECs))).max(1),
    })
}

/// What pictures of this depth come out as.
pub(super) fn format(depth: u8) -> Format {
    if depth > 8 { Format::P016 } else { Format::Nv12 }
}

/// `cudaVideoSurfaceFormat`.
pub(super) fn surface_format(format: Format) -> u32 {
    match format {
        Format::Nv12 => 0,
        Format::P016 => 1,
    }
}

/// `cudaVideoCodec`.
pub(super) fn number(codec: Codec) -> u32 {
    match codec {
        Codec::H264 => 4,
        Codec::Hevc => 8,
        Codec::Vp9 => 10,
        Codec::Av1 => 11,
    }
}

#[cfg(test)]
mod tests {
    use nvidia_video_codec_sdk::sys::cuviddec::{cudaVideoChromaFormat, cudaVideoCodec, cudaVideoSurfaceFormat};

    use super::*;

    #[test]
    fn numbers_are_those_of_the_bindings() {
        assert_eq!(number(Codec::H264), cudaVideoCodec::cudaVideoCodec_H264 as u32);
        assert_eq!(number(Codec::Hevc), cudaVideoCodec::cudaVideoCodec_HEVC as u32);
        assert_eq!(number(Codec::Vp9), cudaVideoCodec::cudaVideoCodec_VP9 as u32);
        assert_eq!(number(Codec::Av1), cudaVideoCodec::cudaVideoCodec_AV1 as u32);
        assert_eq!(CHROMA_420, cudaVideoChromaFormat::cudaVideoChromaFormat_420 as u32);
        assert_eq!(surface_format(Format::Nv12), cudaVideoSurfaceFormat::cudaVideoSurfaceFormat_NV12 as u32);
        assert_eq!(surface_format(Format::P016), cudaVideoSurfaceFormat::cudaVideoSurfaceFormat_P016 as u32);
    }

    #[test]
    fn sizes_beyond_the_cards_limits_are_refused_by_name() {
        let card = DecodeCapabilities {
            codec: Codec::H264,
            depth: 8,
            smallest: (48, 16),
            largest: (4096, 4096),
            macroblocks: 65_536,
            engines: 1,
        };
        assert!(card.fits(1920, 1088).is_ok() && card.fits(4096, 4096).is_ok());
        for (width, height) in [(32, 32), (7680, 4320), (64, 8)] {
            let refused = card.fits(width, height).unwrap_err().to_string();
            assert!(refused.contains("48x16") && refused.contains(&format!("{width}x{height}")), "{refused}");
        }
    }
}
