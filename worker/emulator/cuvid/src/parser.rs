//! Parsers: a stream's bytes go in, and the client is called: with the sequence, with each picture in coding order to
//! decode it, and with each picture in display order to show it.
//!
//! ```text
//! bytes ─► Splitter ─► arrive: decoded by libavcodec, sequence callback ─► present: decode callback ─► display callback
//!                      when the next picture begins                        H.264: another picture later
//! ```
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::slice;
use std::sync::Arc;

use card::{Codec, violation};

use crate::av::{Frame, Software, Splitter, Unit};
use crate::call::{INVALID_SOURCE, Refusal, UNKNOWN};
use crate::picture::Picture;
use crate::raw::{DisplayInfo, Format, Packet, ParserParameters, PictureParameters, packet};

mod client;
mod entry;
mod indices;
mod sequence;

use client::Client;
use indices::Indices;

/// `CUvideoparser`.
pub struct Parser {
    codec: Codec,
    client: Client,
    splitter: Splitter,
    software: Software,
    /// The last sequence callback's, and whether the client took it.
    format: Option<(Format, bool)>,
    /// Coded size and pixel format of the pictures before.
    shape: Option<(i32, i32, i32)>,
    indices: Indices,
    /// Decoded, but not offered yet.
    arrived: VecDeque<Arrival>,
    /// Offered, but not shown yet, in coding order.
    offered: VecDeque<Offered>,
    /// Shown next, in display order.
    ready: VecDeque<(Offered, Arc<Frame>)>,
    /// Pictures that arrived.
    count: i64,
    /// When the last one was shown.
    clock: Option<i64>,
}

/// A picture, or one field of it, with what came out of libavcodec when it went in.
struct Arrival {
    unit: Unit,
    number: i64,
    frames: Vec<(i64, Frame)>,
    failed: bool,
}

/// A picture in a surface.
struct Offered {
    /// Number of its first and its last unit: fields are two.
    numbers: (i64, i64),
    structure: u32,
    index: usize,
    timestamp: Option<i64>,
    picture: Arc<Picture>,
    failed: bool,
    /// The client took it.
    taken: bool,
}

impl Parser {
    fn new(parameters: &ParserParameters) -> Result<Self, Refusal> {
        let codecs = [Codec::H264, Codec::Hevc, Codec::Vp9, Codec::Av1];
        let codec = codecs.into_iter().find(|codec| codec.cuvid() == parameters.codec).ok_or(INVALID_SOURCE)?;
        let mut splitter = Splitter::new(codec).ok_or(UNKNOWN)?;
        // SAFETY: it is null or what its type says.
        if let Some(given) = unsafe { parameters.header.as_ref() } {
            let bytes = (given.format.header_bytes as usize).min(given.header.len());
            splitter.push(&given.header[..bytes], None);
        }
        Ok(Self {
            codec,
            client: Client(*parameters),
            splitter,
            software: Software::new(codec).ok_or(INVALID_SOURCE)?,
            format: None,
            shape: None,
            indices: Indices::new(parameters.max_decode_surfaces as usize),
            arrived: VecDeque::new(),
            offered: VecDeque::new(),
            ready: VecDeque::new(),
            count: 0,
            clock: None,
        })
    }

    fn parse(&mut self, given: &Packet) {
        let bytes = if given.payload.is_null() { 0 } else { given.bytes as usize };
        // SAFETY: the client says that so many bytes are there.
        let payload = if bytes == 0 { &[] } else { unsafe { slice::from_raw_parts(given.payload, bytes) } };
        let has = |flag| given.flags & flag != 0;
        if has(packet::DISCONTINUITY) {
            self.finish_picture();
        }
        for unit in self.splitter.push(payload, has(packet::TIMESTAMP).then_some(given.timestamp)) {
            self.arrive(unit);
            // A slice is known to be whole when the next one begins: in H.264 only that tells a new picture.
            let later = usize::from(self.codec == Codec::H264);
            self.present_all_but(later);
        }
        if has(packet::END_OF_PICTURE) || has(packet::END_OF_STREAM) {
            self.finish_picture();
        }
        if has(packet::END_OF_STREAM) {
            self.finish_sequence();
            self.format = None;
            if has(packet::NOTIFY_END) {
                self.client.display(None);
            }
        }
    }

    /// Nothing that comes later belongs to the last picture.
    fn finish_picture(&mut self) {
        if let Some(unit) = self.splitter.flush() {
            self.arrive(unit);
        }
        self.present_all_but(0);
    }

    /// Everything that was offered is shown.
    fn finish_sequence(&mut self) {
        self.present_all_but(0);
        let frames = self.software.drain();
        self.match_frames(frames);
        self.show_all_but(0);
        self.offered.drain(..).for_each(|lost| self.indices.release(lost.index));
    }

    /// Decodes a picture, and tells the client of the sequence if it is new.
    fn arrive(&mut self, unit: Unit) {
        if unit.shape.is_some() && unit.shape != self.shape {
            if self.shape.is_some() {
                self.finish_sequence();
            }
            self.shape = unit.shape;
        }
        let number = self.count;
        self.count += 1;
        let (frames, decoded) = self.software.decode(&unit, number);
        if let Some(format) = sequence::format(self.codec, &self.software) {
            self.announce(format);
        }
        self.arrived.push_back(Arrival { unit, number, frames, failed: decoded.is_err() });
    }

    fn announce(&mut self, format: Format) {
        if self.format.is_some_and(|(known, _)| sequence::is_same(&known, &format)) {
            return;
        }
        // Only streams whose pictures are not reordered come here with pictures of the sequence before.
        self.present_all_but(0);
        self.show_all_but(0);
        let surfaces = match self.client.sequence(format) {
            Some(1) | None => self.client.0.max_decode_surfaces as usize,
            Some(surfaces) => usize::try_from(surfaces).unwrap_or(0),
        };
        if (1..usize::from(format.min_decode_surfaces)).contains(&surfaces) {
            let wanted = format.min_decode_surfaces;
            violation!("cuvidParseVideoData", "{surfaces} decode surfaces, {wanted} are needed");
        }
        self.indices.resize(surfaces);
        self.format = Some((format, surfaces > 0));
    }

    fn present_all_but(&mut self, kept: usize) {
        while self.arrived.len() > kept
            && let Some(arrival) = self.arrived.pop_front()
        {
            self.present(arrival);
        }
    }

    /// Offers a picture, and shows what is due.
    fn present(&mut self, arrival: Arrival) {
        if let Some((format, true)) = self.format {
            self.offer(&arrival, &format);
        }
        self.match_frames(arrival.frames);
        self.show_all_but(self.client.0.max_display_delay as usize);
    }

    fn offer(&mut self, arrival: &Arrival, format: &Format) {
        let Arrival { unit, number, failed, .. } = arrival;
        // The second field of the picture before?
        let pair =
            |last: &&mut Offered| last.numbers.0 == last.numbers.1 && sequence::is_pair(last.structure, unit.structure);
        let second = self.offered.back_mut().filter(pair).map(|first| {
            first.numbers.1 = *number;
            (first.index, first.picture.clone())
        });
        let (index, picture) = match &second {
            Some((index, picture)) => (*index, picture.clone()),
            None => (self.free_index(), Arc::default()),
        };
        if *failed {
            picture.fail();
        }
        let offsets = [0];
        let mut parameters = PictureParameters {
            width_in_macroblocks: format.coded_width.div_ceil(16) as i32,
            height_in_macroblocks: format.coded_height.div_ceil(16) as i32,
            index: index as i32,
            field: i32::from(unit.structure == 1 || unit.structure == 2),
            bottom_field: i32::from(unit.structure == 2),
            second_field: i32::from(second.is_some()),
            bytes: unit.bytes().len() as u32,
            bitstream: unit.bytes().as_ptr(),
            slices: 1,
            slice_offsets: offsets.as_ptr(),
            reference: 1,
            intra: i32::from(unit.key),
            reserved: [0; 30],
            codec: [0; 512],
        };
        let taken = picture.offered(unit.bytes(), || self.client.decode(&mut parameters));
        if second.is_none() {
            let (numbers, timestamp) = ((*number, *number), unit.timestamp);
            let structure = unit.structure;
            self.offered.push_back(Offered { numbers, structure, index, timestamp, picture, failed: *failed, taken });
        }
    }

    /// A surface for the next picture: the one that has been free for longest.
    fn free_index(&mut self) -> usize {
        loop {
            if let Some(index) = self.indices.take() {
                return index;
            }
            if !self.ready.is_empty() {
                self.show_all_but(self.ready.len() - 1);
                continue;
            }
            let failed = self.offered.iter().position(|offered| offered.failed);
            if failed.is_none() {
                violation!("cuvidParseVideoData", "no surface is free: {} are too few", self.indices.len());
            }
            match self.offered.remove(failed.unwrap_or(0)) {
                Some(lost) => self.indices.release(lost.index),
                None => return 0,
            }
        }
    }

    /// Gives frames to the pictures that they are.
    fn match_frames(&mut self, frames: Vec<(i64, Frame)>) {
        for (number, frame) in frames {
            let is_it = |offered: &Offered| offered.numbers.0 <= number && number <= offered.numbers.1;
            let Some(offered) = self.offered.iter().position(is_it).and_then(|place| self.offered.remove(place)) else {
                continue;
            };
            offered.picture.fill(frame);
            if let (true, Some(frame)) = (offered.taken, offered.picture.frame()) {
                self.ready.push_back((offered, frame));
            } else {
                self.indices.release(offered.index);
            }
        }
    }

    fn show_all_but(&mut self, kept: usize) {
        while self.ready.len() > kept
            && let Some((offered, frame)) = self.ready.pop_front()
        {
            let timestamp = offered.timestamp.unwrap_or_else(|| self.next_time());
            self.clock = Some(timestamp);
            self.client.display(Some(DisplayInfo {
                index: offered.index as i32,
                progressive: i32::from(!frame.is_interlaced()),
                top_field_first: i32::from(frame.is_top_field_first()),
                repeat_first_field: 0,
                timestamp,
            }));
            self.indices.release(offered.index);
        }
    }

    /// The time of a picture whose packet has none: one frame after the last, in ticks of the client's clock.
    fn next_time(&self) -> i64 {
        let (numerator, denominator) =
            self.format.map_or((30, 1), |(format, _)| (format.rate_numerator.max(1), format.rate_denominator.max(1)));
        let rate = if self.client.0.clock_rate == 0 { 10_000_000 } else { self.client.0.clock_rate };
        let frame = i64::from(rate) * i64::from(denominator) / i64::from(numerator);
        self.clock.map_or(0, |clock| clock.saturating_add(frame))
    }
}
