//! Puts packets' bytes where later tasks can read them, and packet lists into list objects.

use std::collections::HashMap;

use ffmpeg_next::Packet;
use shared::error::TaskError;
use shared::index::{AudioRun, ListRef, PacketEntry, PacketList, Place, packed_key};
use shared::source::AudioStream;
use shared::task::IndexReport;
use shared::time::Timescale;

use super::timeline::{Placed, Stored};
use crate::source::ByteSource;
use crate::task::{Area, Emission, Emit};

/// Bytes of a packed object; also what an index task holds per stream.
pub const LARGEST_PACK: usize = 16 << 20;

/// A stream whose first packets don't lie in the source as they are won't be looked for there any more.
const DIRECT_TRIES: u32 = 16;

/// Audio packets in one list: about 90 s of AAC.
const AUDIO_LIST: usize = 4096;

/// Finds packets in the source, or packs them.
pub struct PacketStore {
    source: ByteSource,
    streams: HashMap<u32, Pack>,
    scratch: Vec<u8>,
}

#[derive(Default)]
struct Pack {
    number: u32,
    bytes: Vec<u8>,
    misses: u32,
    direct: bool,
}

impl PacketStore {
    pub fn new(source: ByteSource) -> Self {
        Self { source, streams: HashMap::new(), scratch: Vec::new() }
    }

    /// Where the packet's bytes lie: in the source if they are there byte for byte, else in a packed object.
    pub fn put(&mut self, stream: u32, packet: &Packet, emit: &mut Emit<'_>) -> Result<Stored, TaskError> {
        let data = packet.data().unwrap_or_default();
        let size = u32::try_from(data.len()).map_err(|_| TaskError::input("packet_size", "a packet over 4 GiB"))?;
        let pack = self.streams.entry(stream).or_default();
        if pack.direct || pack.misses < DIRECT_TRIES {
            if let Ok(offset) = u64::try_from(packet.position()) {
                self.scratch.resize(data.len(), 0);
                if self.source.read_exact_at(&mut self.scratch, offset).is_ok() && self.scratch == data {
                    pack.direct = true;
                    return Ok(Stored { place: Place::Source, offset, size });
                }
            }
            pack.misses += 1;
        }
        if pack.bytes.len() + data.len() > LARGEST_PACK {
            pack.flush(stream, emit)?;
        }
        let stored = Stored { place: Place::Packed(pack.number), offset: pack.bytes.len() as u64, size };
        pack.bytes.extend_from_slice(data);
        Ok(stored)
    }

    /// Makes every packet of `stream` put so far readable.
    pub fn flush(&mut self, stream: u32, emit: &mut Emit<'_>) -> Result<(), TaskError> {
        match self.streams.get_mut(&stream) {
            Some(pack) if !pack.bytes.is_empty() => pack.flush(stream, emit),
            _ => Ok(()),
        }
    }
}

impl Pack {
    fn flush(&mut self, stream: u32, emit: &mut Emit<'_>) -> Result<(), TaskError> {
        let object = Emission::Object {
            area: Area::Work,
            key: packed_key(stream, self.number),
            bytes: std::mem::take(&mut self.bytes),
        };
        self.number += 1;
        emit(object)
    }
}

/// The list objects of one stream.
pub struct ListWriter {
    stream: u32,
    part: u32,
    bytes: Vec<u8>,
}

impl ListWriter {
    pub fn new(stream: u32) -> Self {
        Self { stream, part: 0, bytes: Vec::new() }
    }

    pub fn stream(&self) -> u32 {
        self.stream
    }

    /// Adds a list to the current object; it is readable after the next flush.
    pub fn add(&mut self, list: &PacketList) -> ListRef {
        let encoded = list.encode();
        let at = ListRef {
            stream: self.stream,
            part: self.part,
            offset: self.bytes.len() as u64,
            len: encoded.len() as u32,
        };
        self.bytes.extend_from_slice(&encoded);
        at
    }

    pub fn flush(&mut self, emit: &mut Emit<'_>) -> Result<(), TaskError> {
        let key = ListRef { stream: self.stream, part: self.part, offset: 0, len: 0 }.key();
        self.part += 1;
        emit(Emission::Object { area: Area::Work, key, bytes: std::mem::take(&mut self.bytes) })
    }
}

/// A packet as a row of a list; its side data goes beside it.
pub fn add_row(list: &mut PacketList, packet: Placed, pts: i64) {
    let row = list.packets.len() as u32;
    list.side.extend(packet.side.into_iter().map(|mut side| {
        side.packet = row;
        side
    }));
    list.packets.push(PacketEntry {
        place: packet.stored.place,
        offset: packet.stored.offset,
        size: packet.stored.size,
        pts,
        dts: packet.dts.unwrap_or(pts),
        duration: packet.duration,
        key: packet.key,
        discard: packet.discard,
    });
}

/// Lists one audio stream's packets in runs.
pub struct AudioWriter {
    lists: ListWriter,
    list: PacketList,
    runs: Vec<AudioRun>,
    frame: i64, // a packet's length if the container does not say: 1024 samples
    next: Option<i64>,
}

impl AudioWriter {
    pub fn new(stream: &AudioStream) -> Self {
        let rate = Timescale::new(stream.sample_rate_hz).unwrap_or(stream.timescale);
        Self {
            lists: ListWriter::new(stream.index),
            list: PacketList::default(),
            runs: Vec::new(),
            frame: stream.timescale.rescale_nearest(1024, rate),
            next: None,
        }
    }

    pub fn stream(&self) -> u32 {
        self.lists.stream
    }

    pub fn push(&mut self, packet: Placed, store: &mut PacketStore, emit: &mut Emit<'_>) -> Result<(), TaskError> {
        let pts = packet.pts.or(packet.dts).or(self.next).unwrap_or(0);
        let duration = if packet.duration > 0 { i64::from(packet.duration) } else { self.frame };
        self.next = Some(pts.saturating_add(duration));
        add_row(&mut self.list, packet, pts);
        if self.list.packets.len() == AUDIO_LIST { self.close(store, emit) } else { Ok(()) }
    }

    fn close(&mut self, store: &mut PacketStore, emit: &mut Emit<'_>) -> Result<(), TaskError> {
        let list = std::mem::take(&mut self.list);
        let (Some(first), Some(end)) = (list.packets.first(), self.next) else { return Ok(()) };
        self.runs.push(AudioRun { start: first.pts, end, list: self.lists.add(&list) });
        if self.lists.bytes.len() < LARGEST_PACK / 16 {
            return Ok(());
        }
        self.flush(store, emit)
    }

    fn flush(&mut self, store: &mut PacketStore, emit: &mut Emit<'_>) -> Result<(), TaskError> {
        if self.runs.is_empty() {
            return Ok(());
        }
        store.flush(self.lists.stream, emit)?;
        self.lists.flush(emit)?;
        let runs = std::mem::take(&mut self.runs);
        emit(Emission::Index(IndexReport::Audio { stream: self.lists.stream, runs }))
    }

    pub fn finish(&mut self, store: &mut PacketStore, emit: &mut Emit<'_>) -> Result<(), TaskError> {
        self.close(store, emit)?;
        self.flush(store, emit)
    }
}
