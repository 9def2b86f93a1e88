//! A look at what an encoder has made: of a chunk now and then, the first picture of each rendition is decoded again, in
//! software, and compared with what went into the encoder.
//!
//! It finds encoders that go wrong, and rates that are far too low. It does not say how a film looks: the picture is an IDR,
//! on which encoders spend more than on others, and PSNR is no eye. It costs some 20 ms of CPU for a picture of 1080p, where
//! x264 (`veryfast`) takes 75 s for the [`EVERY_MS`] of presentation that it stands for: 0.03 %.

use ffmpeg_next::{format::Pixel, frame};
use shared::cmaf::DecoderConfig;
use shared::error::TaskError;
use shared::rendition::VideoRendition;
use shared::source::{Timing, VideoStream};
use shared::task::VideoTask;
use shared::time::Timescale;
use tracing::debug;

use crate::codec::decoder::Decoder;
use crate::codec::setup::Setup;
use crate::codec::{Packet, Picture};
use crate::proof::clip::{self, Coded};

/// The chunk at each multiple of this is looked at, the first of every job among them.
const EVERY_MS: i64 = 150_000;
/// Pictures that are the same are no more alike than this, in thousandths of a decibel.
const MOST_MDB: u32 = 100_000;

/// The look at one rendition of a chunk.
pub struct Look<'a> {
    task: &'a VideoTask,
    rendition: &'a VideoRendition,
    due: bool,
    /// Luma of the picture that has gone in and not come out yet.
    wanted: Option<Vec<u8>>,
    psnr_mdb: Option<u32>,
}

impl<'a> Look<'a> {
    /// At a rendition of the task.
    pub fn new(task: &'a VideoTask, rendition: &'a VideoRendition) -> Self {
        Self { task, rendition, due: is_due(task), wanted: None, psnr_mdb: None }
    }

    /// A picture is about to go into the encoder.
    pub fn goes_in(&mut self, picture: &Picture) -> Result<(), TaskError> {
        if std::mem::take(&mut self.due) {
            self.wanted = picture.look(|frame| Ok(luma(frame)))?;
        }
        Ok(())
    }

    /// Packets have come out. What can't be compared here is left out: the chunk is no worse for that.
    pub fn comes_out(&mut self, packets: &[Packet], config: &DecoderConfig) {
        let Some((wanted, packet)) = self.wanted.take_if(|_| !packets.is_empty()).zip(packets.first()) else { return };
        match self.decode(packet, config) {
            Ok(found) => self.psnr_mdb = Some(psnr_mdb(&wanted, &found)),
            Err(error) => debug!(rendition = self.rendition.name, %error, "nobody looks at what was made"),
        }
    }

    /// How alike the two are, in thousandths of a decibel, if it was looked.
    pub fn psnr_mdb(&self) -> Option<u32> {
        self.psnr_mdb
    }

    /// Luma of the picture in a packet; empty if there is none.
    fn decode(&self, packet: &Packet, config: &DecoderConfig) -> Result<Vec<u8>, TaskError> {
        let VideoRendition { codec, width_px, height_px, .. } = *self.rendition;
        let coded = Coded { data: packet.data.clone(), pts: packet.pts, duration: 1, key: true };
        let inputs = clip::inputs(&[coded], packet.pts)?;
        let setup = Setup {
            codec: codec.as_str().to_owned(),
            extradata: config.payload().to_vec(),
            width: i32::try_from(width_px).unwrap_or(i32::MAX),
            height: i32::try_from(height_px).unwrap_or(i32::MAX),
            ..Setup::default()
        };
        let (codec, timing) = (setup.codec.clone(), Timing::Packets);
        let stream =
            VideoStream { codec, setup: setup.seal(), width_px, height_px, timing, ..self.task.stream.clone() };
        let found = Decoder::open(&stream, &inputs)?.next_frame()?;
        Ok(found.as_ref().and_then(luma).unwrap_or_default())
    }
}

/// Whether a multiple of [`EVERY_MS`] lies in the chunk.
fn is_due(task: &VideoTask) -> bool {
    let period = |ticks: i64| Timescale::MILLIS.rescale_floor(ticks, task.stream.timescale).div_euclid(EVERY_MS);
    let last = task.end.map_or(task.start, |end| end - 1);
    task.start <= 0 || period(task.start - 1) != period(last)
}

/// Rows without what pads them; `None` if its samples are not of 8 bits.
fn luma(frame: &frame::Video) -> Option<Vec<u8>> {
    let (width, height) = (frame.width() as usize, frame.height() as usize);
    let planar = matches!(frame.format(), Pixel::YUV420P | Pixel::YUVJ420P);
    let rows = || frame.data(0).chunks(frame.stride(0)).take(height);
    planar.then(|| rows().flat_map(|row| &row[..width]).copied().collect())
}

/// PSNR in thousandths of a decibel; 0 if the two have different sizes.
fn psnr_mdb(wanted: &[u8], found: &[u8]) -> u32 {
    if wanted.len() != found.len() || wanted.is_empty() {
        return 0;
    }
    let squares = wanted.iter().zip(found).map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2));
    let error = squares.sum::<u64>() as f64 / wanted.len() as f64;
    let psnr_db = 10.0 * (255.0_f64.powi(2) / error).log10(); // infinite if they are the same
    (psnr_db * 1000.0).clamp(0.0, f64::from(MOST_MDB)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likeness_has_two_ends() {
        assert_eq!(psnr_mdb(&[1, 2, 3], &[1, 2, 3]), MOST_MDB);
        assert_eq!(psnr_mdb(&[0, 0], &[255, 255]), 0);
        assert_eq!(psnr_mdb(&[1], &[]), 0);
        assert_eq!(psnr_mdb(&[10, 20], &[11, 19]), 48_130);
    }
}
