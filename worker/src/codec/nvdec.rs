//! The decoder of a GPU, fed from packet lists: pictures stay in its memory.
//!
//! What it can't decode without doubt, it refuses, and the chunk is decoded in software: streams whose packets carry no
//! trustworthy times, parameters that change, and whatever the card calls damaged.

use std::collections::{HashSet, VecDeque};
use std::path::Path;
use std::sync::Arc;

use ffmpeg_next::Packet;
use nvidia::codec::Codec;
use nvidia::decode::{DecodeError, Decoder};
use shared::error::TaskError;
use shared::index::PacketEntry;
use shared::placement::Stage;
use shared::source::{Timing, VideoStream};

use super::Decode;
use super::gpu::{Gpu, Trouble};
use super::picture::{DevicePicture, Picture};
use super::setup::Setup;
use crate::av::AnnexB;
use crate::task::{Inputs, Objects};

/// Bytes of an `av1C` box before the sequence header (AV1-ISOBMFF 2.3.3).
const AV1C_HEAD_BYTES: usize = 4;

/// One chunk's decoder.
pub struct NvdecDecoder<'a> {
    gpu: Arc<Gpu>,
    decoder: Decoder,
    stream: AnnexB,
    /// Comes before the first packet.
    headers: Vec<u8>,
    packets: VecDeque<&'a PacketEntry>,
    objects: &'a Objects,
    /// Times of packets that are decoded for the sake of others.
    hidden: HashSet<i64>,
    ended: bool,
}

/// The codec as NVIDIA's crate names it; `None`: no card decodes it.
pub fn codec(name: &str) -> Option<Codec> {
    match name {
        "h264" => Some(Codec::H264),
        "hevc" => Some(Codec::Hevc),
        "vp9" => Some(Codec::Vp9),
        "av1" => Some(Codec::Av1),
        _ => None,
    }
}

impl<'a> NvdecDecoder<'a> {
    /// Opens a decoder of all packets in the lists, as [`super::decoder::Decoder::open`] does.
    ///
    /// # Errors
    /// [`Trouble`] at [`Stage::Decode`].
    pub fn open(
        gpu: Arc<Gpu>,
        libraries: Option<&Path>,
        stream: &VideoStream,
        inputs: &'a Inputs,
    ) -> Result<Self, TaskError> {
        let codec = codec(&stream.codec).ok_or_else(|| refused(format!("no GPU decodes {}", stream.codec)))?;
        if stream.timing != Timing::Packets {
            return Err(refused("the times of its packets can't be trusted".to_owned()));
        }
        if inputs.lists.iter().any(|list| !list.side.is_empty()) {
            return Err(refused("its parameters change on the way".to_owned()));
        }
        let mut setup = Setup::open(&stream.setup)?;
        if let Some(extradata) = inputs.lists.first().and_then(|list| list.extradata.clone()) {
            setup.extradata = extradata;
        }
        let mut filter = AnnexB::open(&setup).map_err(|error| refused(format!("{}: {error}", stream.codec)))?;
        let headers = match codec {
            Codec::H264 | Codec::Hevc => filter.headers(),
            Codec::Av1 => setup.extradata.get(AV1C_HEAD_BYTES..).unwrap_or_default().to_vec(),
            Codec::Vp9 => Vec::new(),
        };
        let cuvid = gpu.cuvid(libraries)?;
        let decoder = Decoder::open(gpu.device(), &cuvid, codec).map_err(trouble)?;
        let packets: VecDeque<_> = inputs.lists.iter().flat_map(|list| &list.packets).collect();
        let hidden = packets.iter().filter(|packet| packet.discard).map(|packet| packet.pts).collect();
        Ok(Self { gpu, decoder, stream: filter, headers, packets, objects: &inputs.objects, hidden, ended: false })
    }

    fn feed(&mut self) -> Result<(), TaskError> {
        let Some(row) = self.packets.pop_front() else {
            self.ended = true;
            return self.decoder.push(None, 0).map_err(trouble);
        };
        let packet = Packet::copy(&self.objects.read(row)?);
        let packet = self.stream.convert(packet).map_err(|error| refused(format!("packet at {}: {error}", row.pts)))?;
        let mut data = std::mem::take(&mut self.headers);
        data.extend_from_slice(packet.data().unwrap_or_default());
        self.decoder.push(Some(&data), row.pts).map_err(trouble)?;
        match self.decoder.errors() {
            0 => Ok(()),
            errors => Err(refused(format!("{errors} pictures came out with an error"))),
        }
    }
}

impl Decode for NvdecDecoder<'_> {
    fn next_picture(&mut self) -> Result<Option<Picture>, TaskError> {
        loop {
            while let Some(picture) = self.decoder.next_picture() {
                if !self.hidden.remove(&picture.pts) {
                    let (surface, pts) = (picture.surface, Some(picture.pts));
                    return Ok(Some(Picture::Device(DevicePicture { surface, pts, gpu: self.gpu.clone() })));
                }
            }
            if self.ended {
                return Ok(None);
            }
            self.feed()?;
        }
    }

    /// A chunk with errors is decoded in software.
    fn errors(&self) -> u64 {
        0
    }
}

fn refused(why: String) -> TaskError {
    Trouble::Refused.error(Stage::Decode, why)
}

fn trouble(error: DecodeError) -> TaskError {
    let trouble = match error {
        DecodeError::Busy(_) => Trouble::Busy,
        DecodeError::Unsupported(_) | DecodeError::Stream(_) | DecodeError::Config(_) => Trouble::Refused,
        DecodeError::Fault(_) => Trouble::Fault,
    };
    trouble.error(Stage::Decode, error.to_string())
}
