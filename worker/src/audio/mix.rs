//! Frames of any format and channel layout to planar float in the rendition's layout, at the frame's own rate.

use ffmpeg_next::format::Sample;
use ffmpeg_next::format::sample::Type;
use ffmpeg_next::software::resampling::{self, context::Definition};
use ffmpeg_next::{ChannelLayout, Dictionary, frame};
use shared::error::{ErrorKind, TaskError};

use super::samples::Samples;
use crate::task::ffmpeg_error;

/// What all stages after the mixer work on.
pub const PLANAR: Sample = Sample::F32(Type::Planar);

/// Mono or stereo.
pub fn layout_of(channels: u32) -> ChannelLayout {
    if channels == 1 { ChannelLayout::MONO } else { ChannelLayout::STEREO }
}

/// Mixes frames to one layout; follows a stream that changes its format on the way.
pub struct Mixer {
    target: ChannelLayout,
    context: Option<resampling::Context>,
}

impl Mixer {
    /// A mixer to 1 or 2 channels.
    pub fn new(channels: u32) -> Self {
        Self { target: layout_of(channels), context: None }
    }

    /// All samples of the frame.
    pub fn mix(&mut self, frame: &mut frame::Audio) -> Result<Samples, TaskError> {
        let source = Definition { format: frame.format(), channel_layout: known_layout(frame)?, rate: frame.rate() };
        frame.set_channel_layout(source.channel_layout);
        let failed = |error| {
            let (channels, rate) = (source.channel_layout.channels(), source.rate);
            let what = format!("mixing {channels} channels of {:?} at {rate} Hz", source.format);
            ffmpeg_error(ErrorKind::Unsupported, "audio_mix", &what, error)
        };
        let context = match self.context.take_if(|context| *context.input() == source) {
            Some(context) => self.context.insert(context),
            None => self.context.insert(mixer(&source, self.target).map_err(failed)?),
        };
        let mut mixed = frame::Audio::new(PLANAR, frame.samples(), self.target);
        context.run(frame, &mut mixed).map_err(failed)?;
        Ok(samples_of(&mixed))
    }
}

/// A mixer at an unchanged rate holds nothing back.
///
/// The mixing matrix is swresample's own (ITU-R BS.775: centre and surrounds at −3 dB, no LFE), scaled so that no
/// output can exceed full scale however loud all inputs are: 5.1 to stereo comes out 7.7 dB below the unscaled matrix,
/// evenly, and never clips.
fn mixer(source: &Definition, target: ChannelLayout) -> Result<resampling::Context, ffmpeg_next::Error> {
    let options: Dictionary = [("rematrix_maxval", "1.0")].into_iter().collect();
    let Definition { format, channel_layout, rate } = *source;
    resampling::Context::get_with(format, channel_layout, rate, PLANAR, target, rate, options)
}

/// The frame's layout, or the usual one for its number of channels where it does not say.
fn known_layout(frame: &frame::Audio) -> Result<ChannelLayout, TaskError> {
    let channels = i32::from(frame.channels());
    let usual = || ChannelLayout::default(channels);
    let layout = Some(frame.channel_layout()).filter(|layout| layout.channels() == channels).unwrap_or_else(usual);
    if layout.channels() != channels {
        let text = format!("{channels} channels whose places are not known can't be mixed");
        return Err(TaskError::unsupported("audio_layout", text));
    }
    Ok(layout)
}

/// The samples of a frame in [`PLANAR`].
pub fn samples_of(frame: &frame::Audio) -> Samples {
    Samples::new((0..frame.planes()).map(|channel| frame.plane::<f32>(channel).to_vec()).collect())
}
