//! A chunk's packets to frames, in presentation order, with the times the packet lists give them.

use std::collections::VecDeque;

use ffmpeg_next::{Error, Packet, decoder, frame};
use shared::error::{ErrorKind, TaskError};
use shared::index::{PacketEntry, PacketList};
use shared::source::{Timing, VideoStream};

use super::setup::Setup;
use super::{Decode, Picture};
use crate::av;
use crate::task::{Inputs, Objects, ffmpeg_error};

/// Largest coded picture a decoder may be asked for inside a stream that began smaller.
const MAX_PIXELS: u64 = 8192 * 8192;

/// A software decoder fed from packet lists: no container in here.
pub struct Decoder<'a> {
    decoder: decoder::Video,
    rows: VecDeque<Row<'a>>,
    objects: &'a Objects,
    timing: Timing,
    next_by_order: i64,
    frame_duration: i64,
    drained: bool,
    errors: u64,
    sent: u64,
}

struct Row<'a> {
    packet: &'a PacketEntry,
    list: &'a PacketList,
    row: u32,
}

impl<'a> Decoder<'a> {
    /// Opens a decoder of all packets in the lists. Who wants only some of their frames stops asking: a decoder that is
    /// drained in the middle of a stream may lose frames it would have shown had it seen what follows.
    pub fn open(stream: &VideoStream, inputs: &'a Inputs) -> Result<Self, TaskError> {
        let failed = |error| ffmpeg_error(ErrorKind::Unsupported, "video_decoder", &stream.codec, error);
        let mut setup = Setup::open(&stream.setup)?;
        if let Some(extradata) = inputs.lists.first().and_then(|list| list.extradata.clone()) {
            setup.extradata = extradata;
        }
        let context = av::decoder_context(&setup, stream.timescale, MAX_PIXELS).map_err(failed)?;
        let mut decoder = context.decoder().video().map_err(failed)?;
        if !setup.preamble.is_empty() {
            // It shows nothing, which the decoder reports as an error.
            let _ = decoder.send_packet(&Packet::copy(&setup.preamble));
        }
        let rows = inputs.lists.iter().flat_map(rows_of).collect();
        let frame_duration = i64::from(stream.frame_rate.denominator);
        let objects = &inputs.objects;
        Ok(Self {
            decoder,
            rows,
            objects,
            timing: stream.timing,
            next_by_order: 0,
            frame_duration,
            drained: false,
            errors: 0,
            sent: 0,
        })
    }

    /// Packets fed so far.
    pub fn packets_sent(&self) -> u64 {
        self.sent
    }

    /// The next frame in presentation order; `None` at the end. Damage is counted, not fatal.
    pub fn next_frame(&mut self) -> Result<Option<frame::Video>, TaskError> {
        let mut frame = frame::Video::empty();
        loop {
            match self.decoder.receive_frame(&mut frame) {
                Ok(()) => {
                    self.set_time(&mut frame);
                    return Ok(Some(frame));
                }
                Err(Error::Eof) => return Ok(None),
                Err(Error::Other { errno }) if errno == ffmpeg_next::error::EAGAIN => self.feed()?,
                Err(error) => self.count(error)?,
            }
        }
    }

    fn feed(&mut self) -> Result<(), TaskError> {
        let Some(row) = self.rows.pop_front() else {
            if self.drained {
                return Err(TaskError::bug("the decoder asks for packets after its end"));
            }
            self.drained = true;
            return self.decoder.send_eof().or_else(|error| self.count(error));
        };
        let mut packet = Packet::copy(&self.objects.read(row.packet)?);
        packet.set_pts(Some(row.packet.pts));
        packet.set_dts(Some(row.packet.dts));
        packet.set_duration(i64::from(row.packet.duration));
        if row.packet.key {
            packet.set_flags(ffmpeg_next::packet::Flags::KEY);
        }
        if row.packet.discard {
            av::discard(&mut packet);
        }
        for side in row.list.side.iter().filter(|side| side.packet == row.row) {
            av::attach_side_data(&mut packet, side.kind, &side.data)
                .map_err(|error| ffmpeg_error(ErrorKind::Bug, "side_data", "side data", error))?;
        }
        self.sent += 1;
        self.decoder.send_packet(&packet).or_else(|error| self.count(error))
    }

    /// Damage in the source is counted; running out of memory ends the attempt.
    fn count(&mut self, error: Error) -> Result<(), TaskError> {
        let error = ffmpeg_error(ErrorKind::Input, "decode", "decoder", error);
        if error.kind == ErrorKind::Exhausted {
            return Err(error);
        }
        self.errors += 1;
        Ok(())
    }

    fn set_time(&mut self, frame: &mut frame::Video) {
        let time = match self.timing {
            Timing::Packets => frame.pts().or(frame.timestamp()),
            Timing::Decoder => frame.timestamp(),
            Timing::Order => Some(self.next_by_order),
        };
        self.next_by_order += self.frame_duration;
        frame.set_pts(time);
    }
}

impl Decode for Decoder<'_> {
    fn next_picture(&mut self) -> Result<Option<Picture>, TaskError> {
        Ok(self.next_frame()?.map(Picture::Host))
    }

    fn errors(&self) -> u64 {
        self.errors
    }
}

fn rows_of(list: &PacketList) -> impl Iterator<Item = Row<'_>> {
    list.packets.iter().enumerate().map(move |(row, packet)| Row { packet, list, row: row as u32 })
}
