//! A look at what an encoder has made: the first picture of a rendition's chunk is decoded again, in software, and compared
//! with what went into the encoder.
//!
//! Of what software makes, a chunk is looked at now and then, for the sake of rates that are far too low. A GPU may go wrong
//! at any time after it has proven itself, and say nothing: each of its chunks is looked at, and one that is nothing like what
//! went in is made again without it ([`strange`]).
//!
//! It does not say how a film looks: the picture is an IDR, on which encoders spend more than on others, and PSNR is no eye.
//! It costs some 15 ms of CPU for a picture of 1080p, half of that for decoding. Of software it stands for the [`EVERY_MS`] of
//! presentation for which x264 (`veryfast`) takes 75 s: 0.02 %. Of a GPU it stands for a chunk.

use ffmpeg_next::{format::Pixel, frame};
use shared::cmaf::DecoderConfig;
use shared::error::TaskError;
use shared::family::Family;
use shared::placement::Stage;
use shared::rendition::VideoRendition;
use shared::source::{Timing, VideoStream};
use shared::task::VideoTask;
use shared::time::Timescale;
use tracing::debug;

use crate::codec::decoder::Decoder;
use crate::codec::gpu::Trouble;
use crate::codec::setup::Setup;
use crate::codec::{Decode, Packet, Picture};
use crate::proof::clip::{self, Coded};

/// The chunk of software at each multiple of this is looked at, the first of every job among them.
const EVERY_MS: i64 = 150_000;
/// Pictures that are the same are no more alike than this, in thousandths of a decibel.
const MOST_MDB: u32 = 100_000;
/// A plane that is less alike is [`strange`] if an even one would do better. The coarsest quantisers leave 20 dB even of an
/// even plane, which no rate control takes them for.
const STRANGE_BELOW_MDB: u32 = 20_000;

/// So many squares of 8-bit samples go into 32 bits: sums in such parts are several times as fast.
const PART: usize = 1 << 14;

/// An even plane that is not quite of the mean is no less alike than one that is by this.
const UNEVEN_MDB: u32 = 1_000;

/// Samples of the three planes, without what pads their rows.
type Planes = [Vec<u8>; 3];

/// The look at one rendition of a chunk.
pub struct Look<'a> {
    task: &'a VideoTask,
    rendition: &'a VideoRendition,
    by_gpu: bool,
    due: bool,
    /// The picture that has gone in and not come out yet.
    wanted: Option<Planes>,
    psnr_mdb: Option<u32>,
}

impl<'a> Look<'a> {
    /// At a rendition of the task that an encoder of this family makes.
    pub fn new(task: &'a VideoTask, rendition: &'a VideoRendition, family: Family) -> Self {
        let by_gpu = !matches!(family, Family::Software | Family::StandIn);
        Self { task, rendition, by_gpu, due: by_gpu || is_due(task), wanted: None, psnr_mdb: None }
    }

    /// A picture is about to go into the encoder.
    pub fn goes_in(&mut self, picture: &Picture) -> Result<(), TaskError> {
        if std::mem::take(&mut self.due) {
            self.wanted = picture.look(|frame| Ok(planes(frame)))?;
        }
        Ok(())
    }

    /// Packets have come out. What can't be compared here is left out: the chunk is no worse for that.
    ///
    /// # Errors
    /// [`Trouble::Fault`] at [`Stage::Encode`]: what a GPU has made is [`strange`].
    pub fn comes_out(&mut self, packets: &[Packet], config: &DecoderConfig) -> Result<(), TaskError> {
        let Some((wanted, packet)) = self.wanted.take_if(|_| !packets.is_empty()).zip(packets.first()) else {
            return Ok(());
        };
        let name = &self.rendition.name;
        let found = match self.decode(packet, config) {
            Ok(found) => found,
            Err(error) => {
                debug!(rendition = name, %error, "nobody looks at what was made");
                return Ok(());
            }
        };
        self.psnr_mdb = Some(psnr_mdb(&wanted[0], &found[0]));
        match self.by_gpu.then(|| strange(&wanted, &found)).flatten() {
            Some(why) => {
                let text = format!("{name}: the picture at {} came out as another: {why}", packet.pts);
                Err(Trouble::Fault.error(Stage::Encode, text))
            }
            None => Ok(()),
        }
    }

    /// How alike the two are, in thousandths of a decibel, if it was looked.
    pub fn psnr_mdb(&self) -> Option<u32> {
        self.psnr_mdb
    }

    /// The picture in a packet; without a sample if the decoder finds none, or complains.
    fn decode(&self, packet: &Packet, config: &DecoderConfig) -> Result<Planes, TaskError> {
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
        let mut decoder = Decoder::open(&stream, &inputs)?;
        let found = decoder.next_frame()?.filter(|_| decoder.errors() == 0);
        Ok(found.as_ref().and_then(planes).unwrap_or_default())
    }
}

/// Whether a multiple of [`EVERY_MS`] lies in the chunk.
fn is_due(task: &VideoTask) -> bool {
    let period = |ticks: i64| Timescale::MILLIS.rescale_floor(ticks, task.stream.timescale).div_euclid(EVERY_MS);
    let last = task.end.map_or(task.start, |end| end - 1);
    task.start <= 0 || period(task.start - 1) != period(last)
}

/// `None` if the samples are not of 8 bits, or chroma is not half as wide and high.
fn planes(frame: &frame::Video) -> Option<Planes> {
    let (width, height) = (frame.width() as usize, frame.height() as usize);
    let plane = |number: usize| {
        let (width, height) = if number == 0 { (width, height) } else { (width.div_ceil(2), height.div_ceil(2)) };
        let rows = frame.data(number).chunks(frame.stride(number)).take(height).map(|row| &row[..width]);
        rows.collect::<Vec<_>>().concat()
    };
    matches!(frame.format(), Pixel::YUV420P | Pixel::YUVJ420P).then(|| [0, 1, 2].map(plane))
}

/// Why what came out can't be what went in, at whatever rate: a plane is less like it than an even one of its mean would be,
/// which is what is left when an encoder leaves out all it can, or there is no picture at all.
fn strange(wanted: &Planes, found: &Planes) -> Option<String> {
    let planes = ["Y", "U", "V"].into_iter().zip(wanted.iter().zip(found));
    planes.into_iter().find_map(|(plane, (wanted, found))| {
        if wanted.len() != found.len() {
            return Some("it can't be decoded".to_owned());
        }
        let psnr = psnr_mdb(wanted, found);
        if psnr >= STRANGE_BELOW_MDB {
            return None;
        }
        let even = likeness_mdb(variance(wanted));
        let decibels = |mdb: u32| f64::from(mdb) / 1000.0;
        (psnr + UNEVEN_MDB < even).then(|| {
            format!("{plane} is like it to {:.1} dB, an even plane to {:.1} dB", decibels(psnr), decibels(even))
        })
    })
}

/// PSNR in thousandths of a decibel; 0 if the two have different sizes.
fn psnr_mdb(wanted: &[u8], found: &[u8]) -> u32 {
    if wanted.len() != found.len() || wanted.is_empty() {
        return 0;
    }
    let parts = wanted.chunks(PART).zip(found.chunks(PART));
    let squares = parts.map(|(a, b)| a.iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(*b)).pow(2)).sum::<u32>());
    likeness_mdb(squares.map(u64::from).sum::<u64>() as f64 / wanted.len() as f64)
}

/// The mean square of what differs, as PSNR in thousandths of a decibel.
fn likeness_mdb(error: f64) -> u32 {
    let psnr_db = 10.0 * (255.0_f64.powi(2) / error).log10(); // infinite if they are the same
    (psnr_db * 1000.0).clamp(0.0, f64::from(MOST_MDB)) as u32
}

/// The mean square by which a plane differs from its mean.
fn variance(plane: &[u8]) -> f64 {
    let sum_of = |term: fn(u32) -> u32| {
        let parts = plane.chunks(PART).map(|part| part.iter().map(|sample| term(u32::from(*sample))).sum::<u32>());
        parts.map(u64::from).sum::<u64>() as f64 / plane.len().max(1) as f64
    };
    (sum_of(|sample| sample.pow(2)) - sum_of(|sample| sample).powi(2)).max(0.0)
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

    /// A picture of even chroma.
    fn grey(luma: impl Fn(usize) -> u8) -> Planes {
        [(0..64 * 64).map(luma).collect(), vec![128; 32 * 32], vec![128; 32 * 32]]
    }

    #[test]
    fn coarse_pictures_are_not_strange() {
        let noise = grey(|n| (n * n * 31 % 251) as u8);
        let blurred = grey(|_| 117);
        assert_eq!(strange(&noise, &blurred), None, "nothing is left but the mean");
        let (black, washed) = (grey(|_| 16), grey(|n| 16 + (n % 40) as u8));
        assert_eq!(strange(&black, &washed), None, "an even plane that came out rough");
    }

    #[test]
    fn what_was_never_there_is_strange() {
        let stripes = grey(|n| if n % 64 < 32 { 60 } else { 190 });
        let turned = grey(|n| if n % 64 < 32 { 190 } else { 60 });
        assert!(strange(&stripes, &turned).unwrap().starts_with("Y is like it to 5.9 dB"));
        let mut green = stripes.clone();
        green[1].fill(0);
        assert!(strange(&stripes, &green).unwrap().starts_with("U is like it to 6.0 dB, an even plane to 100.0 dB"));
        assert_eq!(strange(&stripes, &Planes::default()).unwrap(), "it can't be decoded");
        assert_eq!(strange(&stripes, &stripes), None);
    }
}
