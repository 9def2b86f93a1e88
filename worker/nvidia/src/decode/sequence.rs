//! What a stream says of its pictures, read out of the parser's words.

use nvidia_video_codec_sdk::sys::cuviddec::CUVIDDECODECREATEINFO;
use nvidia_video_codec_sdk::sys::nvcuvid::CUVIDEOFORMAT;

use super::caps::{CHROMA_420, format, number, surface_format};
use super::error::DecodeError;
use crate::codec::Codec;
use crate::raw::{Raw, field};

/// Most decode surfaces that a driver makes.
const MOST_SURFACES: u8 = 32;
/// Decode surfaces over those that the stream needs, so that the engine goes on while pictures are shown.
const SPARE_SURFACES: u8 = 4;
/// Pictures that may be mapped at once: some are still being copied.
pub(super) const MAPPED: usize = 4;
/// `cudaVideoCreate_PreferCUVID`: the engine, not a decoder of kernels.
const ENGINE: u64 = 4;

/// A field of the parser's words.
macro_rules! of {
    ($($path:tt)+) => { field!(CUVIDEOFORMAT, $($path)+) };
}

/// One sequence: as long as it is the same, so is the decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sequence {
    pub(super) codec: Codec,
    /// Bits of a sample.
    pub(super) depth: u8,
    /// Width and height as coded.
    pub(super) coded: (u32, u32),
    /// What is to be seen of it: left, top, right, bottom.
    shown: [u32; 4],
    /// How many pictures the decoder keeps.
    pub(super) surfaces: u8,
}

impl Sequence {
    /// # Errors
    /// [`DecodeError::Unsupported`] for anything but 4:2:0, [`DecodeError::Stream`] for what can't be.
    pub(super) fn read(codec: Codec, words: &Raw<CUVIDEOFORMAT>) -> Result<Self, DecodeError> {
        let chroma = words.get::<u32, _>(of!(chroma_format));
        let luma_depth = words.get::<u8, _>(of!(bit_depth_luma_minus8));
        let chroma_depth = words.get::<u8, _>(of!(bit_depth_chroma_minus8));
        if chroma != CHROMA_420 || luma_depth != chroma_depth {
            let text = format!("chroma format {chroma} of {luma_depth} and {chroma_depth} bits over 8: only 4:2:0 is");
            return Err(DecodeError::Unsupported(text));
        }
        let coded = (words.get(of!(coded_width)), words.get(of!(coded_height)));
        let side = |place| u32::try_from(words.get::<i32, 4>(place)).unwrap_or(u32::MAX);
        let shown = [
            side(of!(display_area.left)),
            side(of!(display_area.top)),
            side(of!(display_area.right)),
            side(of!(display_area.bottom)),
        ];
        let [left, top, right, bottom] = shown;
        let known = words.get::<u32, _>(of!(codec)) == number(codec);
        if !known || left >= right || top >= bottom || right > coded.0 || bottom > coded.1 {
            return Err(DecodeError::Stream(format!("{shown:?} is shown of {coded:?} pixels of {codec}")));
        }
        let least = words.get::<u8, _>(of!(min_num_decode_surfaces));
        let surfaces = least.saturating_add(SPARE_SURFACES).min(MOST_SURFACES);
        Ok(Self { codec, depth: luma_depth.saturating_add(8), coded, shown, surfaces })
    }

    /// Width and height of what is to be seen.
    pub(super) fn size(&self) -> (u32, u32) {
        let [left, top, right, bottom] = self.shown;
        (right - left, bottom - top)
    }

    /// Where in a mapped picture both planes of what is to be seen begin, in bytes: it is put out as coded, with the chroma
    /// plane behind as many rows of luma as are coded, in even numbers.
    pub(super) fn offsets(&self, pitch: u32) -> (u64, u64) {
        let [left, top, ..] = self.shown.map(u64::from);
        let (pitch, bytes) = (u64::from(pitch), format(self.depth).sample_bytes() as u64);
        let chroma_row = u64::from(self.coded.1.next_multiple_of(2)) + top / 2;
        (top * pitch + left * bytes, chroma_row * pitch + left / 2 * 2 * bytes)
    }

    /// What a decoder is made with. It puts out all that is coded, as it is: asked for a part, it might scale to even sizes.
    pub(super) fn create(&self) -> Raw<CUVIDDECODECREATEINFO> {
        macro_rules! of {
            ($field:ident) => {
                field!(CUVIDDECODECREATEINFO, $field)
            };
        }
        let (width, height) = (u64::from(self.coded.0), u64::from(self.coded.1));
        let mut create = Raw::<CUVIDDECODECREATEINFO>::zeroed();
        create.set(of!(ulWidth), width);
        create.set(of!(ulHeight), height);
        create.set(of!(ulMaxWidth), width);
        create.set(of!(ulMaxHeight), height);
        create.set(of!(ulTargetWidth), width);
        create.set(of!(ulTargetHeight), height);
        create.set(of!(ulNumDecodeSurfaces), u64::from(self.surfaces));
        create.set(of!(ulNumOutputSurfaces), MAPPED as u64);
        create.set(of!(CodecType), number(self.codec));
        create.set(of!(ChromaFormat), CHROMA_420);
        create.set(of!(bitDepthMinus8), u64::from(self.depth - 8));
        create.set(of!(OutputFormat), surface_format(format(self.depth)));
        create.set(of!(DeinterlaceMode), 0u32); // both fields as they are
        create.set(of!(ulCreationFlags), ENGINE);
        create
    }
}

/// Whether a VP9 frame is a key frame (VP9 6.2: a marker, two bits of profile, a reserved one in profile 3, no frame that
/// is only shown again, 0 for a key frame), or an AV1 temporal unit has a sequence header (AV1 5.3: another one begins with
/// a key frame). What refers to pictures of another size needs their decoder, of any other codec there is no such thing.
pub(super) fn begins_anew(codec: Codec, packet: &[u8]) -> bool {
    match (codec, packet) {
        (Codec::Vp9, [first, ..]) if first >> 4 & 3 == 3 => first & 0b110 == 0,
        (Codec::Vp9, [first, ..]) => first & 0b1100 == 0,
        (Codec::Av1, unit) => has_sequence_header(unit),
        _ => true,
    }
}

/// Whether one of these OBUs, each with its size, is a sequence header.
fn has_sequence_header(mut unit: &[u8]) -> bool {
    while let [first, rest @ ..] = unit {
        if first >> 3 & 0xf == 1 {
            return true;
        }
        let sized = first & 2 != 0;
        let Some(rest) = rest.get(usize::from(first >> 2 & 1)..).filter(|_| sized) else { return false };
        let bytes = rest.iter().take(8).take_while(|byte| *byte & 0x80 != 0).count() + 1;
        let size = rest.iter().take(bytes).rev().fold(0, |size, byte| size << 7 | usize::from(byte & 0x7f));
        unit = bytes.checked_add(size).and_then(|end| rest.get(end..)).unwrap_or(&[]);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_frames_are_told_from_what_refers_to_others() {
        let vp9 = |first: u8| begins_anew(Codec::Vp9, &[first, 0x49]);
        assert!(vp9(0b1000_0010), "key frame of profile 0");
        assert!(vp9(0b1001_0010), "key frame of profile 2");
        assert!(!vp9(0b1000_0110) && !vp9(0b1001_0110), "frames with references");
        assert!(!vp9(0b1000_1000), "a frame shown again");
        assert!(vp9(0b1011_0000) && !vp9(0b1011_0010), "profile 3");
        assert!(begins_anew(Codec::Av1, &[0x12, 0, 0x0a, 3, 7, 8, 9, 0x32, 2, 1, 1]));
        assert!(!begins_anew(Codec::Av1, &[0x12, 0, 0x32, 0x82, 0, 1, 1]));
        for torn in [&[0x32, 0xff, 0xff][..], &[0x12], &[0x30, 0x0a], &[0x36], &[]] {
            assert!(!begins_anew(Codec::Av1, torn), "{torn:?}");
        }
        assert!(begins_anew(Codec::H264, &[0]));
    }

    fn words(coded: (u32, u32), shown: [i32; 4]) -> Raw<CUVIDEOFORMAT> {
        let mut words = Raw::zeroed();
        words.set(of!(codec), 10u32);
        words.set(of!(chroma_format), 1u32);
        words.set(of!(min_num_decode_surfaces), 6u8);
        words.set(of!(coded_width), coded.0);
        words.set(of!(coded_height), coded.1);
        words.set(of!(display_area.left), shown[0]);
        words.set(of!(display_area.top), shown[1]);
        words.set(of!(display_area.right), shown[2]);
        words.set(of!(display_area.bottom), shown[3]);
        words
    }

    #[test]
    fn what_is_shown_is_cut_out_and_never_scaled() {
        let sequence = Sequence::read(Codec::Vp9, &words((1920, 1088), [0, 0, 1920, 1080])).unwrap();
        assert_eq!((sequence.size(), sequence.surfaces, sequence.depth), ((1920, 1080), 10, 8));
        assert_eq!(sequence.offsets(2048), (0, 2048 * 1088));
        let odd = Sequence::read(Codec::Vp9, &words((863, 487), [2, 4, 855, 483])).unwrap();
        assert_eq!((odd.size(), odd.offsets(1024)), ((853, 479), (4 * 1024 + 2, (488 + 2) * 1024 + 2)));
        let create = odd.create();
        assert_eq!(create.get::<u64, _>(field!(CUVIDDECODECREATEINFO, ulTargetWidth)), 863);
        assert_eq!(create.get::<u64, _>(field!(CUVIDDECODECREATEINFO, ulTargetHeight)), 487);
    }

    #[test]
    fn what_can_not_be_shown_is_refused() {
        let read = |words: &Raw<CUVIDEOFORMAT>| Sequence::read(Codec::Vp9, words);
        for shown in [[0, 0, 0, 0], [10, 0, 10, 480], [-2, 0, 640, 480], [0, 0, 642, 480]] {
            assert!(matches!(read(&words((640, 480), shown)), Err(DecodeError::Stream(_))), "{shown:?}");
        }
        assert!(matches!(Sequence::read(Codec::H264, &words((64, 64), [0, 0, 64, 64])), Err(DecodeError::Stream(_))));
        let mut full = words((64, 64), [0, 0, 64, 64]);
        full.set(of!(chroma_format), 3u32);
        assert!(matches!(read(&full), Err(DecodeError::Unsupported(_))));
        full.set(of!(chroma_format), 0x7fff_ffffu32);
        assert!(
            matches!(read(&full), Err(DecodeError::Unsupported(_))),
            "a newer driver's own number should be no trap"
        );
    }
}
