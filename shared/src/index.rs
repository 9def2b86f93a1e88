//! Packet lists: where the bytes of a GOP or of a run of audio packets lie and when they are shown.
//!
//! A chunk is a packet list, not a file. The index task writes lists into list objects; a [`ListRef`] points at one
//! list. Times count from the presentation's start, in ticks of the stream's timescale.

use prost::Message;
use serde::{Deserialize, Serialize};

/// Most packets one list may hold; longer ones are refused before anything is allocated.
pub const LONGEST_LIST: usize = 1 << 20;

/// Where a packet's bytes lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// In the source object itself.
    Source,
    /// In the packed object with this number, of this list's stream.
    Packed(u32),
}

/// One packet of a source stream, in decode order within its list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketEntry {
    /// The object that holds the bytes.
    pub place: Place,
    /// First byte in that object.
    pub offset: u64,
    /// Bytes.
    pub size: u32,
    /// Presentation time.
    pub pts: i64,
    /// Decode time.
    pub dts: i64,
    /// Ticks until the next frame, as the container says; 0 if it does not.
    pub duration: u32,
    /// Decoding may start here.
    pub key: bool,
    /// Decoded for the sake of others, never shown (edit lists, undecodable leading pictures).
    pub discard: bool,
}

/// Side data that travels with one packet, by FFmpeg's number of its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SideData {
    /// Position of the packet in its list.
    pub packet: u32,
    /// `AVPacketSideDataType`.
    pub kind: u32,
    /// As FFmpeg lays it out.
    pub data: Vec<u8>,
}

/// A run of packets of one stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PacketList {
    /// In decode order.
    pub packets: Vec<PacketEntry>,
    /// Sparse.
    pub side: Vec<SideData>,
    /// Codec parameters in force at the first packet, if they differ from the stream's.
    pub extradata: Option<Vec<u8>>,
}

/// One list inside a list object: `<work>/index/<stream>-<part:06>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListRef {
    /// Index of the source stream.
    pub stream: u32,
    /// Number of the list object of that stream.
    pub part: u32,
    /// First byte in the object.
    pub offset: u64,
    /// Bytes.
    pub len: u32,
}

impl ListRef {
    /// Key of the list object, below the job's work prefix.
    pub fn key(self) -> String {
        format!("index/{}-{:06}", self.stream, self.part)
    }
}

/// Key of a packed object, below the job's work prefix.
pub fn packed_key(stream: u32, number: u32) -> String {
    format!("packed/{stream}-{number:06}")
}

/// What the planner needs to know of a GOP: a run of packets that starts where decoding can start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gop {
    /// Presentation time of the random access point. Frames at or after it decode without what came before.
    pub start: i64,
    /// Earliest presentation time of a shown frame; below `start` in open GOPs.
    pub first: i64,
    /// Latest presentation time of a shown frame.
    pub last: i64,
    /// End of the frame shown last.
    pub end: i64,
    /// Shown frames.
    pub frames: u32,
    /// Size of the packets.
    pub bytes: u64,
    /// Where the list lies.
    pub list: ListRef,
}

/// What the planner needs to know of a run of audio packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioRun {
    /// Presentation time of the first sample.
    pub start: i64,
    /// Presentation time after the last sample.
    pub end: i64,
    /// Where the list lies.
    pub list: ListRef,
}

/// A packet list's bytes are not one.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// Not the protobuf message.
    #[error("packet list: {0}")]
    Decode(#[from] prost::DecodeError),
    /// Columns of different lengths, or too long.
    #[error("packet list: column {column} has {found} rows, expected {expected}")]
    Rows {
        /// Which column.
        column: &'static str,
        /// Its rows.
        found: usize,
        /// Rows of the first column.
        expected: usize,
    },
}

impl PacketList {
    /// Compact form: columns of varint deltas (`farm.v1.PacketList`).
    pub fn encode(&self) -> Vec<u8> {
        let mut wire = proto::v1::PacketList { extradata: self.extradata.clone(), ..Default::default() };
        let (mut offset, mut dts) = (0u64, 0i64);
        for packet in &self.packets {
            let place = match packet.place {
                Place::Source => 0,
                Place::Packed(number) => number + 1,
            };
            wire.place.push(place);
            wire.offset_delta.push(packet.offset.wrapping_sub(offset) as i64);
            wire.size.push(packet.size);
            wire.dts_delta.push(packet.dts.wrapping_sub(dts));
            wire.composition.push(packet.pts.wrapping_sub(packet.dts));
            wire.duration.push(packet.duration);
            wire.flags.push(u32::from(packet.key) | u32::from(packet.discard) << 1);
            (offset, dts) = (packet.offset + u64::from(packet.size), packet.dts);
        }
        wire.side = self
            .side
            .iter()
            .map(|side| proto::v1::SideData { packet: side.packet, kind: side.kind, data: side.data.clone() })
            .collect();
        wire.encode_to_vec()
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, ListError> {
        let wire = proto::v1::PacketList::decode(bytes)?;
        let rows = wire.place.len();
        let columns = [
            ("place", rows.min(LONGEST_LIST)),
            ("offset", wire.offset_delta.len()),
            ("size", wire.size.len()),
            ("dts", wire.dts_delta.len()),
            ("composition", wire.composition.len()),
            ("duration", wire.duration.len()),
            ("flags", wire.flags.len()),
        ];
        if let Some((column, found)) = columns.into_iter().find(|(_, found)| *found != rows) {
            return Err(ListError::Rows { column, found, expected: rows });
        }
        let (mut offset, mut dts) = (0u64, 0i64);
        let packets = (0..rows)
            .map(|row| {
                let start = offset.wrapping_add(wire.offset_delta[row] as u64);
                dts = dts.wrapping_add(wire.dts_delta[row]);
                offset = start.wrapping_add(u64::from(wire.size[row]));
                PacketEntry {
                    place: wire.place[row].checked_sub(1).map_or(Place::Source, Place::Packed),
                    offset: start,
                    size: wire.size[row],
                    pts: dts.wrapping_add(wire.composition[row]),
                    dts,
                    duration: wire.duration[row],
                    key: wire.flags[row] & 1 != 0,
                    discard: wire.flags[row] & 2 != 0,
                }
            })
            .collect();
        let side = wire.side.into_iter().map(|s| SideData { packet: s.packet, kind: s.kind, data: s.data }).collect();
        Ok(Self { packets, side, extradata: wire.extradata })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_survive_the_wire() {
        let packet = |n: i64, place| PacketEntry {
            place,
            offset: 40 + 1000 * n as u64,
            size: 900,
            pts: 3003 * (n ^ 1) - 6006,
            dts: 3003 * n - 9009,
            duration: 3003,
            key: n == 0,
            discard: n < 2,
        };
        let list = PacketList {
            packets: vec![packet(0, Place::Source), packet(1, Place::Packed(0)), packet(2, Place::Packed(7))],
            side: vec![SideData { packet: 1, kind: 11, data: vec![1, 2] }],
            extradata: Some(vec![1, 100]),
        };
        assert_eq!(PacketList::decode(&list.encode()).unwrap(), list);
    }

    #[test]
    fn columns_of_different_lengths_are_refused() {
        let wire = proto::v1::PacketList { place: vec![0, 0], offset_delta: vec![1], ..Default::default() };
        let error = PacketList::decode(&wire.encode_to_vec()).unwrap_err();
        assert_eq!(error.to_string(), "packet list: column offset has 1 rows, expected 2");
    }
}
