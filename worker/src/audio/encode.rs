//! Samples to coded audio frames.

use ffmpeg_next::codec::{self, Flags, threading};
use ffmpeg_next::error::EAGAIN;
use ffmpeg_next::format::Sample;
use ffmpeg_next::format::sample::Type;
use ffmpeg_next::{Dictionary, Error, Packet, Rational, encoder, frame};
use shared::cmaf::DecoderConfig;
use shared::error::{ErrorKind, TaskError};
use shared::rendition::{AudioCodec, AudioRendition};

use super::mix::layout_of;
use super::samples::Samples;
use crate::av;
use crate::task::ffmpeg_error;

/// The rendition's encoder. Single-threaded and bit-exact: the same samples give the same bytes.
pub struct Encoding {
    encoder: encoder::audio::Encoder,
    name: &'static str,
    config: DecoderConfig,
    channels: u32,
    waiting: Samples, // less than a frame
    taken: i64,
}

impl Encoding {
    /// Opens FFmpeg's own AAC-LC encoder or libopus.
    pub fn open(rendition: &AudioRendition) -> Result<Self, TaskError> {
        let name = match rendition.codec {
            AudioCodec::Aac => "aac",
            AudioCodec::Opus => "libopus",
        };
        let encoder = open_encoder(name, rendition).map_err(|error| match error {
            Error::EncoderNotFound => TaskError::unsupported("audio_encoder", format!("no encoder {name:?} here")),
            error => ffmpeg_error(ErrorKind::Unsupported, "audio_encoder", &format!("opening {name}"), error),
        })?;
        let headers = av::extradata(&encoder);
        let config = match rendition.codec {
            AudioCodec::Aac => DecoderConfig::from_aac(&headers),
            AudioCodec::Opus => DecoderConfig::from_opus(&headers),
        };
        let config = config.map_err(|error| TaskError::bug(format!("headers of {name}: {error}")))?;
        let channels = rendition.channels;
        Ok(Self { encoder, name, config, channels, waiting: Samples::silence(channels, 0), taken: 0 })
    }

    /// What a player needs first.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Encoder and version.
    pub fn name(&self) -> String {
        format!("{} (FFmpeg {})", self.name, av::codec_version())
    }

    /// Samples a coded frame lasts.
    pub fn frame_size(&self) -> u32 {
        self.encoder.frame_size()
    }

    /// Samples that come out of a decoder before the first that went in.
    pub fn priming(&self) -> u64 {
        av::initial_padding(&self.encoder).into()
    }

    /// Samples that went in so far.
    pub fn taken(&self) -> u64 {
        self.taken.unsigned_abs() + self.waiting.len() as u64
    }

    /// Takes samples, returns the coded frames that are ready.
    pub fn push(&mut self, samples: &Samples) -> Result<Vec<Vec<u8>>, TaskError> {
        self.waiting.append(samples);
        let size = self.frame_size() as usize;
        let mut coded = Vec::new();
        while self.waiting.len() >= size {
            let frame = self.waiting.take_front(size);
            self.send(&frame)?;
            self.receive(&mut coded)?;
        }
        Ok(coded)
    }

    /// Drains. Nothing may be pushed after it.
    pub fn finish(&mut self) -> Result<Vec<Vec<u8>>, TaskError> {
        let mut coded = Vec::new();
        let rest = self.waiting.take_front(usize::MAX);
        if rest.len() > 0 {
            self.send(&rest)?;
            self.receive(&mut coded)?;
        }
        self.encoder.send_eof().map_err(|error| self.failed(error))?;
        self.receive(&mut coded)?;
        Ok(coded)
    }

    fn send(&mut self, samples: &Samples) -> Result<(), TaskError> {
        let mut frame = frame::Audio::new(self.encoder.format(), samples.len(), layout_of(self.channels));
        frame.set_rate(self.encoder.rate());
        frame.set_pts(Some(self.taken));
        if frame.is_planar() {
            for (channel, values) in samples.channels().iter().enumerate() {
                frame.plane_mut::<f32>(channel).copy_from_slice(values);
            }
        } else {
            let room = frame.plane_mut::<f32>(0);
            for (channel, values) in samples.channels().iter().enumerate() {
                for (place, value) in room.iter_mut().skip(channel).step_by(self.channels as usize).zip(values) {
                    *place = *value;
                }
            }
        }
        self.taken += samples.len() as i64;
        self.encoder.send_frame(&frame).map_err(|error| self.failed(error))
    }

    fn receive(&mut self, coded: &mut Vec<Vec<u8>>) -> Result<(), TaskError> {
        loop {
            let mut packet = Packet::empty();
            match self.encoder.receive_packet(&mut packet) {
                Ok(()) => coded.push(packet.data().unwrap_or_default().to_vec()),
                Err(Error::Eof) => return Ok(()),
                Err(Error::Other { errno }) if errno == EAGAIN => return Ok(()),
                Err(error) => return Err(self.failed(error)),
            }
        }
    }

    fn failed(&self, error: Error) -> TaskError {
        let at = format!("encoding with {} at sample {}", self.name, self.taken);
        ffmpeg_error(ErrorKind::Bug, "audio_encode", &at, error)
    }
}

fn open_encoder(name: &str, rendition: &AudioRendition) -> Result<encoder::audio::Encoder, Error> {
    let codec = encoder::find_by_name(name).ok_or(Error::EncoderNotFound)?;
    let mut context = codec::Context::new_with_codec(codec);
    // Bit-exact keeps the library's version out of the first frame, where a decoder update would change every hash.
    context.set_flags(Flags::GLOBAL_HEADER | Flags::BITEXACT);
    context.set_threading(threading::Config { kind: threading::Type::None, count: 1, ..Default::default() });
    let (rate, format, options) = match rendition.codec {
        AudioCodec::Aac => (rendition.sample_rate_hz, Sample::F32(Type::Planar), vec![("profile", "aac_low")]),
        AudioCodec::Opus => (48_000, Sample::F32(Type::Packed), vec![("application", "audio"), ("vbr", "on")]),
    };
    let mut settings = context.encoder().audio()?;
    settings.set_rate(i32::try_from(rate).map_err(|_| Error::InvalidData)?);
    settings.set_format(format);
    settings.set_channel_layout(layout_of(rendition.channels));
    settings.set_bit_rate(rendition.bitrate_bps as usize);
    settings.set_time_base(Rational(1, rate as i32));
    let options: Dictionary = options.into_iter().collect();
    settings.open_with(options)
}
