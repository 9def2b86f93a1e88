//! From the source's sample rate to the rendition's.

use ffmpeg_next::frame;
use ffmpeg_next::software::resampling;
use shared::error::{ErrorKind, TaskError};
use shared::time::Timescale;

use super::mix::{PLANAR, layout_of, samples_of};
use super::samples::Samples;
use crate::task::ffmpeg_error;

/// Room beyond the expected output of one call, for what the filter let go late.
const SPARE: i64 = 64;

/// Converts one run of samples; `n` samples become exactly `n` · `to` ÷ `from`, rounded.
pub struct Resampler {
    from: Timescale,
    to: Timescale,
    channels: u32,
    context: Option<resampling::Context>, // `None` iff the rates are equal
    taken: i64,
    given: i64,
}

impl Resampler {
    /// For planar float samples of this many channels.
    pub fn new(from: Timescale, to: Timescale, channels: u32) -> Result<Self, TaskError> {
        let layout = layout_of(channels);
        let context = (from != to)
            .then(|| resampling::Context::get(PLANAR, layout, from.get(), PLANAR, layout, to.get()))
            .transpose()
            .map_err(|error| failed(from, to, error))?;
        Ok(Self { from, to, channels, context, taken: 0, given: 0 })
    }

    /// Takes samples, returns those that are ready.
    pub fn push(&mut self, samples: Samples) -> Result<Samples, TaskError> {
        let Some(context) = &mut self.context else { return Ok(samples) };
        self.taken += samples.len() as i64;
        let layout = layout_of(self.channels);
        let mut input = frame::Audio::new(PLANAR, samples.len(), layout);
        input.set_rate(self.from.get());
        for (channel, values) in samples.channels().iter().enumerate() {
            input.plane_mut::<f32>(channel).copy_from_slice(values);
        }
        let ready = self.to.rescale_ceil(self.taken, self.from) - self.given + SPARE;
        let mut output = frame::Audio::new(PLANAR, ready as usize, layout);
        context.run(&input, &mut output).map_err(|error| failed(self.from, self.to, error))?;
        self.given += output.samples() as i64;
        Ok(samples_of(&output))
    }

    /// The end of the run. The filter's tail is cut, or drawn out with silence, to the exact length.
    pub fn finish(mut self) -> Result<Samples, TaskError> {
        let mut rest = Samples::silence(self.channels, 0);
        let Some(context) = &mut self.context else { return Ok(rest) };
        let missing = (self.to.rescale_nearest(self.taken, self.from) - self.given).max(0);
        let mut output = frame::Audio::new(PLANAR, (missing + SPARE) as usize, layout_of(self.channels));
        context.flush(&mut output).map_err(|error| failed(self.from, self.to, error))?;
        rest.append(&samples_of(&output));
        rest.resize(missing as usize);
        Ok(rest)
    }
}

fn failed(from: Timescale, to: Timescale, error: ffmpeg_next::Error) -> TaskError {
    let what = format!("resampling from {} Hz to {} Hz", from.get(), to.get());
    ffmpeg_error(ErrorKind::Unsupported, "audio_resample", &what, error)
}
