//! A trial decode of a stream's first packets: which leading pictures does a decoder show that starts here, and are
//! pictures shown in another order than they are stored, or of two packets each?

use ffmpeg_next::{Error, Packet, frame};
use shared::error::{ErrorKind, TaskError};
use shared::source::{Timing, VideoStream};

use super::access::x264_note;
use super::gops::begins;
use super::timeline::RawPacket;
use super::{LONGEST_WAIT_PACKETS, REORDER_PACKETS};
use crate::av;
use crate::codec::setup::Setup;
use crate::task::ffmpeg_error;

/// The first packets of the video stream, from where decoding can start.
#[derive(Default)]
pub struct Trial {
    packets: Vec<Packet>,
}

impl Trial {
    /// Keeps a packet if it is one of the first.
    pub fn keep(&mut self, packet: &Packet, raw: &RawPacket) {
        let begun = !self.packets.is_empty() || begins(raw);
        if begun && self.packets.len() < REORDER_PACKETS {
            self.packets.push(packet.clone());
        }
    }

    /// Gives the stream's decoders what only its first packet says.
    pub fn add_preamble(&self, video: &mut VideoStream) -> Result<(), TaskError> {
        let first = self.packets.first().and_then(|packet| packet.data());
        if let Some(note) = first.and_then(|data| x264_note(video, data)) {
            let setup = Setup::open(&video.setup)?;
            video.setup = Setup { preamble: note, ..setup }.seal();
        }
        Ok(())
    }

    /// Whether it takes two packets to make a frame.
    pub fn pairs(&self, video: &VideoStream) -> Result<bool, TaskError> {
        Ok(self.decode(video)?.len() * 2 <= self.packets.len() + 2)
    }

    /// Whether pictures are shown in another order than they are stored.
    pub fn reorders(&self, video: &VideoStream) -> Result<bool, TaskError> {
        Ok(!self.decode(video)?.is_sorted())
    }

    /// Marks the pictures shown before the first random access point that no decoder could show; returns how many.
    pub fn hide_undecodable(&self, video: &VideoStream, waiting: &mut [RawPacket]) -> Result<u64, TaskError> {
        let of_video = waiting.iter_mut().filter(|packet| packet.stream == video.index);
        let mut first: Vec<&mut RawPacket> = of_video.skip_while(|packet| !begins(packet)).collect();
        debug_assert!(first.len() <= LONGEST_WAIT_PACKETS);
        let start = first.first().and_then(|packet| packet.pts);
        let leads = |packet: &RawPacket| !packet.discard && packet.pts < start;
        if video.timing != Timing::Packets || !first.iter().any(|packet| leads(packet)) {
            return Ok(0);
        }
        let shown = self.decode(video)?;
        let mut hidden = 0;
        for (ordinal, packet) in first.iter_mut().enumerate() {
            if leads(packet) && !shown.contains(&(ordinal as i64)) {
                packet.discard = true;
                hidden += 1;
            }
        }
        Ok(hidden)
    }

    /// Positions of the packets whose frames came out, in the order in which they did.
    fn decode(&self, video: &VideoStream) -> Result<Vec<i64>, TaskError> {
        let failed = |error| ffmpeg_error(ErrorKind::Unsupported, "video_decoder", &video.codec, error);
        let setup = Setup::open(&video.setup)?;
        let context = av::decoder_context(&setup, video.timescale, u64::MAX >> 1).map_err(failed)?;
        let mut decoder = context.decoder().video().map_err(failed)?;
        let mut shown = Vec::new();
        let mut frame = frame::Video::empty();
        for (ordinal, mut packet) in self.packets.iter().cloned().enumerate() {
            packet.set_pts(Some(ordinal as i64));
            packet.set_dts(None);
            // Damage shows as a frame that does not come out.
            let _ = decoder.send_packet(&packet);
            while decoder.receive_frame(&mut frame).is_ok() {
                shown.extend(frame.pts());
            }
        }
        match decoder.send_eof() {
            Ok(()) | Err(Error::Eof) => {}
            Err(error) => return Err(failed(error)),
        }
        while decoder.receive_frame(&mut frame).is_ok() {
            shown.extend(frame.pts());
        }
        Ok(shown)
    }
}
