//! Packets to frames. What a decoder complains about is counted; the timeline fills what is missing.

use std::ops::RangeInclusive;

use ffmpeg_next::codec::packet::Flags;
use ffmpeg_next::error::EAGAIN;
use ffmpeg_next::{Error, Packet, decoder, frame};
use shared::error::{ErrorKind, TaskError};
use shared::index::{PacketEntry, PacketList, SideData};
use shared::source::AudioStream;

use super::frames;
use crate::av;
use crate::codec::setup::Setup;
use crate::task::{Objects, ffmpeg_error};

/// Sample rates that are believed; a frame that claims another is damaged. Speech begins at 8 kHz, PCM ends at 384 kHz.
const RATES_HZ: RangeInclusive<u32> = 1_000..=768_000;

/// Most channels that are believed.
const MOST_CHANNELS: u16 = 64;

/// Largest packet that is read, in bytes: a second of 16 channels of 32-bit samples at 192 kHz, and some.
const LARGEST_PACKET: u32 = 16 << 20;

/// Times a decoder may refuse to give or take before it is taken for stuck.
const MOST_REFUSALS: u32 = 64;

/// What came out of the decoder.
pub enum Decoded {
    /// A frame whose shape is believable.
    Frame(frame::Audio),
    /// Nothing where there should have been something.
    Lost,
}

/// A stream's decoder.
pub struct Decoding<'a> {
    stream: &'a AudioStream,
    decoder: decoder::Audio,
    errors: u64,
}

impl<'a> Decoding<'a> {
    /// Opens the stream's decoder.
    pub fn open(stream: &'a AudioStream) -> Result<Self, TaskError> {
        Ok(Self { stream, decoder: open_decoder(stream, None)?, errors: 0 })
    }

    /// Complaints so far.
    pub fn errors(&self) -> u64 {
        self.errors
    }

    /// Takes over the codec headers of a list, if it has its own. Returns what was still in the decoder.
    pub fn begin(&mut self, list: &PacketList) -> Result<Vec<Decoded>, TaskError> {
        let Some(extradata) = &list.extradata else { return Ok(Vec::new()) };
        let rest = self.finish()?;
        self.decoder = open_decoder(self.stream, Some(extradata))?;
        Ok(rest)
    }

    /// Reads and decodes one packet.
    pub fn decode(
        &mut self,
        entry: &PacketEntry,
        side: &[SideData],
        objects: &Objects,
    ) -> Result<Vec<Decoded>, TaskError> {
        let mut decoded = Vec::new();
        if entry.size > LARGEST_PACKET {
            self.note(Err(Error::InvalidData), &mut decoded)?;
            return Ok(decoded);
        }
        let data = objects.read(entry)?;
        for (number, frame) in frames::split(&self.stream.codec, &data).into_iter().enumerate() {
            // What follows the first frame has no time of its own, and nothing to skip.
            let (pts, side) = if number == 0 { (Some(entry.pts), side) } else { (None, &[][..]) };
            let packet = build_packet(entry, pts, side, frame)
                .map_err(|error| ffmpeg_error(ErrorKind::Bug, "audio_packet", "building an audio packet", error))?;
            self.send(&packet, &mut decoded)?;
        }
        Ok(decoded)
    }

    fn send(&mut self, packet: &Packet, decoded: &mut Vec<Decoded>) -> Result<(), TaskError> {
        for _ in 0..MOST_REFUSALS {
            let sent = self.decoder.send_packet(packet);
            let refused = is_again(&sent);
            if !refused {
                self.note(sent, decoded)?;
            }
            self.drain(decoded)?;
            if !refused {
                return Ok(());
            }
        }
        self.note(Err(Error::InvalidData), decoded)
    }

    /// What the decoder still holds after the last packet.
    pub fn finish(&mut self) -> Result<Vec<Decoded>, TaskError> {
        let mut decoded = Vec::new();
        let sent = self.decoder.send_eof();
        self.note(sent, &mut decoded)?;
        self.drain(&mut decoded)?;
        Ok(decoded)
    }

    fn drain(&mut self, decoded: &mut Vec<Decoded>) -> Result<(), TaskError> {
        let mut refusals = 0;
        while refusals < MOST_REFUSALS {
            let mut frame = frame::Audio::empty();
            match self.decoder.receive_frame(&mut frame) {
                Ok(()) if is_believable(&frame) => {
                    self.errors += u64::from(frame.is_corrupt() || frame.has_decode_errors());
                    decoded.push(Decoded::Frame(frame));
                }
                Ok(()) if frame.samples() == 0 => {}
                Ok(()) => self.note(Err(Error::InvalidData), decoded)?,
                Err(Error::Eof) => return Ok(()),
                again if is_again(&again) => return Ok(()),
                failed => {
                    self.note(failed, decoded)?;
                    refusals += 1;
                }
            }
        }
        Ok(())
    }

    /// Counts an error of the source; one of the machine ends the attempt.
    fn note(&mut self, result: Result<(), Error>, decoded: &mut Vec<Decoded>) -> Result<(), TaskError> {
        match result {
            Ok(()) => Ok(()),
            Err(error) => match ffmpeg_error(ErrorKind::Input, "audio_decode", "decoding audio", error) {
                error if error.kind == ErrorKind::Exhausted => Err(error),
                _ => {
                    self.errors += 1;
                    decoded.push(Decoded::Lost);
                    Ok(())
                }
            },
        }
    }
}

fn is_again(result: &Result<(), Error>) -> bool {
    matches!(result, Err(Error::Other { errno }) if *errno == EAGAIN)
}

fn is_believable(frame: &frame::Audio) -> bool {
    frame.samples() > 0 && RATES_HZ.contains(&frame.rate()) && (1..=MOST_CHANNELS).contains(&frame.channels())
}

fn open_decoder(stream: &AudioStream, extradata: Option<&[u8]>) -> Result<decoder::Audio, TaskError> {
    let mut setup = Setup::open(&stream.setup)?;
    if let Some(extradata) = extradata {
        setup.extradata = extradata.to_vec();
    }
    let opened = av::decoder_context(&setup, stream.timescale, 0).and_then(|context| context.decoder().audio());
    opened.map_err(|error| match error {
        Error::DecoderNotFound => {
            TaskError::unsupported("audio_codec", format!("no decoder for audio codec {:?} here", stream.codec))
        }
        error => {
            let what = format!("opening the {} decoder", stream.codec);
            ffmpeg_error(ErrorKind::Input, "audio_undecodable", &what, error)
        }
    })
}

fn build_packet(entry: &PacketEntry, pts: Option<i64>, side: &[SideData], data: &[u8]) -> Result<Packet, Error> {
    let mut packet = Packet::copy(data);
    packet.set_pts(pts);
    packet.set_dts(pts.map(|_| entry.dts));
    packet.set_duration(entry.duration.into());
    if entry.key {
        packet.set_flags(Flags::KEY);
    }
    if entry.discard {
        av::discard(&mut packet);
    }
    for side in side {
        av::attach_side_data(&mut packet, side.kind, &side.data)?;
    }
    Ok(packet)
}
