//! Clips as sources have them: what libavcodec makes, in codecs and depths beyond those that are encoded here.

use ffmpeg_next::{Dictionary, Error, Packet, codec, encoder, format, frame, picture};
use shared::error::{ErrorKind, TaskError};

use super::clip::Coded;
use super::video::stripes;
use crate::codec::setup::Setup;
use crate::task::ffmpeg_error;

const TICKS: i32 = 24;

/// A codec and depth that sources come in.
#[derive(Debug)]
pub struct SourceKind {
    /// As trials are named after it.
    pub name: &'static str,
    /// FFmpeg's name.
    pub codec: &'static str,
    deep: bool,
    library: &'static str,
    /// On one thread, and fast.
    options: &'static [(&'static str, &'static str)],
}

const X265: &[(&str, &str)] =
    &[("preset", "ultrafast"), ("x265-params", "log-level=none:pools=none:frame-threads=1:wpp=0")];
const VPX: &[(&str, &str)] = &[("deadline", "realtime"), ("cpu-used", "8")];
const SVT: &[(&str, &str)] = &[("preset", "12"), ("svtav1-params", "lp=1")];

/// All that GPUs are tried with.
pub const SOURCE_KINDS: [SourceKind; 7] = [
    SourceKind { name: "h264", codec: "h264", deep: false, library: "libx264", options: &[("preset", "veryfast")] },
    SourceKind { name: "hevc", codec: "hevc", deep: false, library: "libx265", options: X265 },
    SourceKind { name: "hevc-10", codec: "hevc", deep: true, library: "libx265", options: X265 },
    SourceKind { name: "vp9", codec: "vp9", deep: false, library: "libvpx-vp9", options: VPX },
    SourceKind { name: "vp9-10", codec: "vp9", deep: true, library: "libvpx-vp9", options: VPX },
    SourceKind { name: "av1", codec: "av1", deep: false, library: "libsvtav1", options: SVT },
    SourceKind { name: "av1-10", codec: "av1", deep: true, library: "libsvtav1", options: SVT },
];

impl SourceKind {
    /// What a decoder is told: parameter sets are in the stream.
    pub fn setup(&self, size_px: (u32, u32)) -> Setup {
        let (width, height) = (size_px.0 as i32, size_px.1 as i32);
        Setup { codec: self.codec.to_owned(), width, height, ..Setup::default() }
    }

    /// So many pictures of the stripes.
    pub fn encode(&self, frames: i64, size_px: (u32, u32)) -> Result<Vec<Coded>, TaskError> {
        let failed = |error: Error| {
            let text = format!("{} for a clip of {}", self.library, self.name);
            ffmpeg_error(ErrorKind::Unsupported, "trial", &text, error)
        };
        let library = encoder::find_by_name(self.library).ok_or_else(|| failed(Error::EncoderNotFound))?;
        let mut context = codec::Context::new_with_codec(library);
        context.set_threading(codec::threading::Config::count(1));
        let mut video = context.encoder().video().map_err(failed)?;
        video.set_width(size_px.0);
        video.set_height(size_px.1);
        video.set_format(if self.deep { format::Pixel::YUV420P10LE } else { format::Pixel::YUV420P });
        video.set_time_base((1, TICKS));
        video.set_frame_rate(Some((TICKS, 1)));
        video.set_max_b_frames(2);
        video.set_bit_rate(1_000_000);
        let options: Dictionary<'_> = self.options.iter().copied().collect();
        let mut encoder = video.open_with(options).map_err(failed)?;
        let mut coded = Vec::new();
        for number in 0..frames {
            let picture = stripes(number, size_px);
            let mut picture = if self.deep { deepen(&picture) } else { picture };
            picture.set_kind(if number == 0 { picture::Type::I } else { picture::Type::None });
            encoder.send_frame(&picture).map_err(failed)?;
            receive(&mut encoder, &mut coded).map_err(failed)?;
        }
        encoder.send_eof().map_err(failed)?;
        receive(&mut encoder, &mut coded).map_err(failed)?;
        Ok(coded)
    }
}

fn receive(encoder: &mut encoder::Video, coded: &mut Vec<Coded>) -> Result<(), Error> {
    let mut packet = Packet::empty();
    loop {
        match encoder.receive_packet(&mut packet) {
            Ok(()) => {
                let data = packet.data().unwrap_or_default().to_vec();
                let pts = packet.pts().ok_or(Error::InvalidData)?;
                coded.push(Coded { data, pts, duration: 1, key: packet.is_key() });
            }
            Err(Error::Eof) => return Ok(()),
            Err(Error::Other { errno }) if errno == ffmpeg_next::error::EAGAIN => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// The same with 10 bits a sample, of which the lowest are not all alike.
fn deepen(picture: &frame::Video) -> frame::Video {
    let mut deep = frame::Video::new(format::Pixel::YUV420P10LE, picture.width(), picture.height());
    deep.set_pts(picture.pts());
    for plane in 0..picture.planes() {
        let (from, to) = (picture.stride(plane), deep.stride(plane));
        let rows = picture.data(plane).chunks(from).zip(deep.data_mut(plane).chunks_mut(to));
        for (row, deep) in rows {
            for (x, (sample, deep)) in row.iter().zip(deep.as_chunks_mut::<2>().0).enumerate() {
                *deep = (u16::from(*sample) << 2 | (x & 3) as u16).to_le_bytes();
            }
        }
    }
    deep
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::backend::Backend;
    use crate::proof::video::decodes_alike;

    #[test]
    fn every_kind_of_source_is_made_and_decoded_here() {
        ffmpeg_next::init().unwrap();
        for kind in &SOURCE_KINDS {
            assert_eq!(decodes_alike(kind, &Backend::default()), Ok(()), "{}", kind.name);
        }
    }
}
