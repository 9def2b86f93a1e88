//! Progressive files: what goes in front of the samples of one or more tracks so that a player can start while it still
//! loads (ISO/IEC 14496-12 8.2).
//!
//! ```text
//! ftyp
//! moov
//! ├─ mvhd
//! └─ trak per track
//!    ├─ tkhd
//!    ├─ edts─elst   when the track is shown, and from which sample on
//!    └─ mdia
//!       ├─ mdhd
//!       ├─ hdlr
//!       └─ minf
//!          ├─ vmhd | smhd
//!          ├─ dinf─dref─url
//!          └─ stbl
//!             └─ stsd stts ctts stss stsc stsz co64
//! mdat              each segment's samples are a chunk, those of different tracks interleaved by time
//! ```
//!
//! Samples are those of media segments, untouched; only tables are made.

use bytes::Bytes;
use mp4_atom::{
    BufMut, Co64, Codec, Ctts, CttsEntry, Edts, Elst, ElstEntry, Encode, Ftyp, Mdhd, Mvhd, Stsc, StscEntry, Stsd, Stss,
    Stsz, StszSamples, Stts, SttsEntry, Tkhd,
};

use super::init::Written;
use super::{CmafError, InitSegment, SegmentSummary};
use crate::time::Timescale;

/// Bytes of an `mdat` header with a 64-bit size (4.2).
const MDAT_HEADER_BYTES: u64 = 16;

/// The tracks of a file.
#[derive(Debug, Clone)]
pub struct Movie {
    /// The first one wins where chunks begin at the same time.
    pub tracks: Vec<MovieTrack>,
}

/// One track: the tables of its samples.
#[derive(Debug, Clone)]
pub struct MovieTrack {
    init: InitSegment,
    shown: Shown,
    chunks: Vec<Chunk>,
    sizes: Vec<u32>,
    durations: Vec<u32>,
    compositions: Vec<i32>,
    sync: Vec<u32>, // numbers from 1
    end: u64,       // decode time after the last sample
}

/// Which part of a track is shown when, in ticks of the track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// Between the presentation's start and the track's.
    pub after: u64,
    /// Media time of what is shown first; media time counts from the first sample's decode time.
    pub from: u64,
    /// How long.
    pub duration: u64,
}

/// The samples of one segment.
#[derive(Debug, Clone, Copy)]
struct Chunk {
    decode_time: u64,
    samples: u32,
    bytes: u64,
}

/// What a file begins with, and what has to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovieHead {
    /// Everything in front of the first sample.
    pub bytes: Bytes,
    /// Track and segment, both counted from 0: the data of these segments, in this order, is the rest of the file.
    pub order: Vec<(usize, usize)>,
}

impl MovieTrack {
    /// A track without samples. Of `init` everything but its edit list is used.
    pub fn new(init: InitSegment, shown: Shown) -> Self {
        Self {
            init,
            shown,
            chunks: Vec::new(),
            sizes: Vec::new(),
            durations: Vec::new(),
            compositions: Vec::new(),
            sync: Vec::new(),
            end: 0,
        }
    }

    /// Adds the next segment. The last sample so far lasts until it starts.
    pub fn push(&mut self, segment: &SegmentSummary) -> Result<(), CmafError> {
        if let Some(last) = self.durations.last_mut() {
            let gap = segment.decode_time.checked_sub(self.end);
            let gap = gap.ok_or(CmafError::invalid("tfdt", "a segment starts before the one before it ends"))?;
            let longer = u32::try_from(gap).ok().and_then(|gap| last.checked_add(gap));
            *last = longer.ok_or(CmafError::invalid("tfdt", "a gap does not fit a sample's duration"))?;
        }
        self.end = segment.decode_time;
        for sample in &segment.samples {
            self.sizes.push(sample.size);
            self.durations.push(sample.duration);
            self.compositions.push(sample.composition);
            self.end = self.end.saturating_add(sample.duration.into());
            if sample.sync {
                let number = u32::try_from(self.sizes.len());
                self.sync.push(number.map_err(|_| CmafError::invalid("stss", "more samples than can be numbered"))?);
            }
        }
        self.chunks.push(Chunk {
            decode_time: segment.decode_time,
            samples: u32::try_from(segment.samples.len())
                .map_err(|_| CmafError::invalid("stsc", "more samples than a chunk can have"))?,
            bytes: segment.data.len() as u64,
        });
        Ok(())
    }

    /// Ticks from the first sample's decode time to the end.
    fn duration(&self) -> u64 {
        self.end - self.chunks.first().map_or(self.end, |first| first.decode_time)
    }

    fn in_movie(&self, ticks: u64, movie: Timescale) -> u64 {
        let ticks = i64::try_from(ticks).unwrap_or(i64::MAX);
        movie.rescale_nearest(ticks, self.init.timescale).unsigned_abs()
    }

    /// An edit for what comes before the track, if anything does, and one for the track (8.6.6).
    fn edits(&self, movie: Timescale) -> Edts {
        let after = self.in_movie(self.shown.after, movie);
        let wait = ElstEntry { segment_duration: after, media_time: None, media_rate: 1.into() };
        let show = ElstEntry {
            segment_duration: self.in_movie(self.shown.duration, movie),
            media_time: Some(self.shown.from),
            media_rate: 1.into(),
        };
        let entries = if after > 0 { vec![wait, show] } else { vec![show] };
        Edts { elst: Some(Elst { entries }) }
    }

    /// Ticks of the movie from its start to the track's end.
    fn presented(&self, movie: Timescale) -> u64 {
        self.in_movie(self.shown.after, movie) + self.in_movie(self.shown.duration, movie)
    }

    fn trak(&self, id: u32, movie: Timescale, offsets: Vec<u64>, entry: Codec, out: &mut Vec<u8>) -> Written {
        Tkhd { track_id: id, duration: self.presented(movie), ..self.init.tkhd() }.encode(out)?;
        self.edits(movie).encode(out)?;
        out.encode_atom(b"mdia", |out| {
            Mdhd { duration: self.duration(), ..self.init.mdhd() }.encode(out)?;
            self.init.hdlr().encode(out)?;
            out.encode_atom(b"minf", |out| self.init.minf(out, |out| self.tables(offsets, entry, out)))
        })
    }

    /// The sample tables (8.5 to 8.7).
    fn tables(&self, offsets: Vec<u64>, entry: Codec, out: &mut Vec<u8>) -> Written {
        Stsd { codecs: vec![entry] }.encode(out)?;
        let deltas = runs(&self.durations).map(|(sample_count, sample_delta)| SttsEntry { sample_count, sample_delta });
        Stts { entries: deltas.collect() }.encode(out)?;
        if self.compositions.iter().any(|offset| *offset != 0) {
            let offsets = runs(&self.compositions)
                .map(|(sample_count, offset)| CttsEntry { sample_count, sample_offset: offset.into() });
            Ctts { entries: offsets.collect() }.encode(out)?;
        }
        if self.sync.len() < self.sizes.len() {
            Stss { entries: self.sync.clone() }.encode(out)?;
        }
        let samples: Vec<u32> = self.chunks.iter().map(|chunk| chunk.samples).collect();
        let mut first_chunk = 1;
        let entries = runs(&samples).map(|(chunks, samples_per_chunk)| {
            let entry = StscEntry { first_chunk, samples_per_chunk, sample_description_index: 1 };
            first_chunk += chunks;
            entry
        });
        Stsc { entries: entries.collect() }.encode(out)?;
        Stsz { samples: StszSamples::Different { sizes: self.sizes.clone() } }.encode(out)?;
        Co64 { entries: offsets }.encode(out)
    }
}

/// Equal neighbours: how many, and of what.
fn runs<T: Copy + PartialEq>(values: &[T]) -> impl Iterator<Item = (u32, T)> {
    values.chunk_by(|one, next| one == next).map(|run| (run.len() as u32, run[0]))
}

impl Movie {
    /// Everything in front of the samples. Fails if a value does not fit its box or a configuration is not well-formed.
    pub fn head(&self) -> Result<MovieHead, CmafError> {
        let entries = self.tracks.iter().map(|track| track.init.sample_entry()).collect::<Result<Vec<_>, _>>()?;
        let order = self.order();
        // Offsets have a fixed size, so the first writing tells where the samples will begin.
        let offsets = self.offsets(&order, 0);
        let front = self.boxes(&entries, offsets).map_err(CmafError::in_box("moov"))?;
        let offsets = self.offsets(&order, front.len() as u64 + MDAT_HEADER_BYTES);
        let mut out = self.boxes(&entries, offsets).map_err(CmafError::in_box("moov"))?;
        let data: u64 = self.tracks.iter().flat_map(|track| &track.chunks).map(|chunk| chunk.bytes).sum();
        out.extend(1u32.to_be_bytes()); // the size comes after the type
        out.extend(b"mdat");
        out.extend((data + MDAT_HEADER_BYTES).to_be_bytes());
        Ok(MovieHead { bytes: out.into(), order })
    }

    /// Chunks by the time at which they are shown.
    fn order(&self) -> Vec<(usize, usize)> {
        let time = |(number, chunk): (usize, usize)| {
            let track = &self.tracks[number];
            let first = track.chunks.first().map_or(0, |first| first.decode_time);
            let ticks = track.chunks[chunk].decode_time.saturating_sub(first).saturating_add(track.shown.after);
            // Nanoseconds: only the order matters, and ties go to the track that comes first.
            u128::from(ticks) * 1_000_000_000 / u128::from(track.init.timescale.get())
        };
        let chunks = |(number, track): (usize, &MovieTrack)| (0..track.chunks.len()).map(move |chunk| (number, chunk));
        let mut order: Vec<(usize, usize)> = self.tracks.iter().enumerate().flat_map(chunks).collect();
        order.sort_by_cached_key(|place| time(*place));
        order
    }

    /// Where each chunk of each track begins, if the samples begin at `start`.
    fn offsets(&self, order: &[(usize, usize)], start: u64) -> Vec<Vec<u64>> {
        let mut offsets = vec![Vec::new(); self.tracks.len()];
        let mut position = start;
        for (track, chunk) in order {
            offsets[*track].push(position);
            position += self.tracks[*track].chunks[*chunk].bytes;
        }
        offsets
    }

    fn boxes(&self, entries: &[Codec], offsets: Vec<Vec<u64>>) -> Result<Vec<u8>, mp4_atom::Error> {
        // The finest ticks of all tracks, so that edits are rounded least.
        let movie = self.tracks.iter().map(|track| track.init.timescale).max_by_key(|timescale| timescale.get());
        let movie = movie.unwrap_or(Timescale::MILLIS);
        let mut out = Vec::new();
        Ftyp {
            major_brand: b"isom".into(),
            minor_version: 0,
            compatible_brands: vec![b"isom".into(), b"iso6".into(), b"mp41".into()],
        }
        .encode(&mut out)?;
        out.encode_atom(b"moov", |out| {
            Mvhd {
                timescale: movie.get(),
                duration: self.tracks.iter().map(|track| track.presented(movie)).max().unwrap_or(0),
                rate: 1.into(),
                volume: 1.into(),
                next_track_id: self.tracks.len() as u32 + 1,
                ..Mvhd::default()
            }
            .encode(out)?;
            for (((id, track), offsets), entry) in (1..).zip(&self.tracks).zip(offsets).zip(entries) {
                out.encode_atom(b"trak", |out| track.trak(id, movie, offsets, entry.clone(), out))?;
            }
            Ok(())
        })?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use mp4_atom::{Decode, Header, Moov, ReadAtom};

    use super::*;
    use crate::cmaf::{DecoderConfig, InitKind, SampleSummary};

    const HEAD: Shown = Shown { after: 0, from: 0, duration: 0 };

    fn track(shown: Shown) -> MovieTrack {
        let init = InitSegment {
            kind: InitKind::Audio { sample_rate_hz: 48_000, channels: 2, edits: Vec::new() },
            timescale: Timescale::new(48_000).unwrap(),
            config: DecoderConfig::Aac(vec![0x11, 0x90]),
            language: "eng".to_owned(),
        };
        MovieTrack::new(init, shown)
    }

    /// A segment of samples given as (size, duration, composition offset, sync).
    fn segment(decode_time: u64, samples: &[(u32, u32, i32, bool)]) -> SegmentSummary {
        let bytes: u32 = samples.iter().map(|sample| sample.0).sum();
        let sample = |(size, duration, composition, sync): &(u32, u32, i32, bool)| SampleSummary {
            size: *size,
            duration: *duration,
            composition: *composition,
            sync: *sync,
        };
        let samples = samples.iter().map(sample).collect();
        SegmentSummary { sequence: 1, decode_time, samples, data: 100..100 + bytes as usize }
    }

    fn read(head: &MovieHead) -> (Moov, u64) {
        let mut bytes = &head.bytes[..];
        Ftyp::read_atom(&Header::decode(&mut bytes).unwrap(), &mut bytes).unwrap();
        let moov = Moov::read_atom(&Header::decode(&mut bytes).unwrap(), &mut bytes).unwrap();
        assert_eq!((&bytes[..8], bytes.len()), (&b"\0\0\0\x01mdat"[..], 16));
        (moov, u64::from_be_bytes(bytes[8..].try_into().unwrap()))
    }

    #[test]
    fn tables_say_what_the_segments_said() {
        let mut track = track(Shown { after: 480, from: 20, duration: 100 });
        track.push(&segment(1000, &[(10, 20, 40, true), (11, 20, 0, false), (12, 20, 0, false)])).unwrap();
        track.push(&segment(1060, &[(13, 20, 40, true), (14, 25, 0, false), (15, 25, 0, false)])).unwrap();
        track.push(&segment(1130, &[(16, 25, -5, true)])).unwrap();
        let head = Movie { tracks: vec![track] }.head().unwrap();
        let (moov, mdat) = read(&head);
        assert_eq!(mdat, 16 + 91);
        assert_eq!((moov.mvhd.timescale, moov.mvhd.duration, moov.mvhd.next_track_id), (48_000, 580, 2));
        let trak = &moov.trak[0];
        assert_eq!((trak.tkhd.track_id, trak.tkhd.duration, trak.mdia.mdhd.duration), (1, 580, 155));
        let edits = &trak.edts.as_ref().unwrap().elst.as_ref().unwrap().entries;
        let edits: Vec<_> = edits.iter().map(|edit| (edit.segment_duration, edit.media_time)).collect();
        assert_eq!(edits, [(480, None), (100, Some(20))]);
        let stbl = &trak.mdia.minf.stbl;
        let deltas: Vec<_> = stbl.stts.entries.iter().map(|entry| (entry.sample_count, entry.sample_delta)).collect();
        assert_eq!(deltas, [(4, 20), (3, 25)]);
        let offsets = stbl.ctts.as_ref().unwrap().entries.iter();
        let offsets: Vec<_> = offsets.map(|entry| (entry.sample_count, entry.sample_offset)).collect();
        assert_eq!(offsets, [(1, 40), (2, 0), (1, 40), (2, 0), (1, -5)]);
        assert_eq!(stbl.stss.as_ref().unwrap().entries, [1, 4, 7]);
        let chunks: Vec<_> =
            stbl.stsc.entries.iter().map(|entry| (entry.first_chunk, entry.samples_per_chunk)).collect();
        assert_eq!(chunks, [(1, 3), (3, 1)]);
        assert_eq!(stbl.stsz.samples, StszSamples::Different { sizes: (10..17).collect() });
        let start = head.bytes.len() as u64;
        assert_eq!(stbl.co64.as_ref().unwrap().entries, [start, start + 33, start + 75]);
        assert!(moov.mvex.is_none());
    }

    #[test]
    fn chunks_of_different_tracks_are_interleaved_by_time() {
        let (mut one, mut other) = (track(HEAD), track(Shown { after: 48_000, ..HEAD }));
        for number in 0..3 {
            one.push(&segment(96_000 * number, &[(5, 96_000, 0, true)])).unwrap();
            other.push(&segment(500 + 96_000 * number, &[(7, 96_000, 0, true)])).unwrap();
        }
        let head = Movie { tracks: vec![one, other] }.head().unwrap();
        assert_eq!(head.order, [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)]);
        let (moov, mdat) = read(&head);
        assert_eq!(mdat, 16 + 3 * 12);
        let start = head.bytes.len() as u64;
        assert_eq!(moov.trak[1].mdia.minf.stbl.co64.as_ref().unwrap().entries, [start + 5, start + 17, start + 29]);
        assert!(moov.trak[0].mdia.minf.stbl.stss.is_none() && moov.trak[0].mdia.minf.stbl.ctts.is_none());
    }

    #[test]
    fn the_last_sample_before_a_gap_lasts_until_the_next_segment() {
        let mut track = track(HEAD);
        track.push(&segment(0, &[(1, 10, 0, true), (1, 10, 0, true)])).unwrap();
        track.push(&segment(35, &[(1, 10, 0, true)])).unwrap();
        assert_eq!((track.durations.clone(), track.duration()), (vec![10, 25, 10], 45));
        assert!(track.push(&segment(44, &[(1, 10, 0, true)])).is_err(), "segments overlap");
        assert!(track.push(&segment(u64::MAX, &[(1, 10, 0, true)])).is_err(), "a gap of ages");
    }
}
