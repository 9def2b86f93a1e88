//! Media segments: `styp`, one `moof`, one `mdat` (ISO/IEC 23000-19 7.3.2.3), written and read back.

use std::ops::Range;

use mp4_atom::{
    Atom, Decode, Encode, Error, FourCC, Header, Mdat, Mfhd, Moof, Styp, Tfdt, Tfhd, Traf, Trun, TrunEntry, TrunSamples,
};

use super::{CmafError, TRACK_ID};

/// Sample flags (8.8.3.1): `sample_depends_on` = 2, depends on no other sample.
const SYNC: u32 = 0x0200_0000;
/// Sample flags (8.8.3.1): `sample_depends_on` = 1 and `sample_is_non_sync_sample`.
const NON_SYNC: u32 = 0x0101_0000;
/// The bit of [`NON_SYNC`] that a reader goes by.
const IS_NON_SYNC: u32 = 0x0001_0000;
/// Size and kind of a box.
const BOX_HEADER: usize = 8;

/// One coded frame or audio frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// As [`DecoderConfig::sample_data`](super::DecoderConfig::sample_data) makes it; never empty.
    pub data: Vec<u8>,
    /// Ticks until the next sample is decoded.
    pub duration: u32,
    /// Presentation time − decode time, in ticks.
    pub composition: i32,
    /// Decoding may start here.
    pub sync: bool,
}

/// A segment before it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MediaSegment {
    /// Segment number + 1.
    pub sequence: u32,
    /// Decode time of the first sample, in ticks of the track.
    pub decode_time: u64,
    /// In decode order; at least one.
    pub samples: Vec<Sample>,
}

/// A segment as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenSegment {
    /// The whole object.
    pub bytes: Vec<u8>,
    /// Bytes from the segment's start to the end of its first sample.
    pub first_sample_end: u64,
}

impl MediaSegment {
    /// Copies every sample once and lets go of it, so that a segment is not held twice. Fails if there is no sample, an
    /// empty one, or 2 GiB of them.
    pub fn write(self) -> Result<WrittenSegment, CmafError> {
        let invalid = |why| CmafError::invalid("media segment", why);
        let first = self.samples.first().ok_or(invalid("no samples"))?;
        if self.samples.iter().any(|sample| sample.data.is_empty()) {
            return Err(invalid("an empty sample"));
        }
        // Data offsets are signed 32-bit, so no box of ours needs a 64-bit size (4.2.2).
        let payload: usize = self.samples.iter().map(|sample| sample.data.len()).sum();
        let mdat_size = u32::try_from(payload + BOX_HEADER).ok().filter(|size| *size <= 1 << 31);
        let mdat_size = mdat_size.ok_or(invalid("2 GiB or more"))?;

        let in_moof = CmafError::in_box("media segment");
        let mut bytes = Vec::new();
        self.headers(payload, &mut bytes).map_err(in_moof)?;
        bytes.extend_from_slice(&mdat_size.to_be_bytes());
        bytes.extend_from_slice(b"mdat");
        let first_sample_end = (bytes.len() + first.data.len()) as u64;
        for sample in self.samples {
            bytes.extend_from_slice(&sample.data);
        }
        Ok(WrittenSegment { bytes, first_sample_end })
    }

    /// Writes `styp` and `moof`, and makes room for `payload`.
    fn headers(&self, payload: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        let mut moof = self.moof();
        let mut sized = Vec::new();
        moof.encode(&mut sized)?; // the offset has a fixed size: written once to know it, once for good
        let offset = i32::try_from(sized.len() + BOX_HEADER).map_err(|_| Error::TooLarge(Moof::KIND))?;
        moof.traf[0].trun[0].data_offset = Some(offset);
        out.reserve_exact(sized.len() + payload + 64);
        // A DASH media segment that is a CMAF segment (ISO/IEC 23009-1 6.3.4.2; 23000-19 7.3.2.3).
        Styp {
            major_brand: b"msdh".into(),
            minor_version: 0,
            compatible_brands: vec![b"msdh".into(), b"cmfs".into(), b"cmff".into()],
        }
        .encode(out)?;
        moof.encode(out)
    }

    /// What all samples share stands in `tfhd` (8.8.7), the rest in `trun` (8.8.8). Offsets count from the `moof`.
    fn moof(&self) -> Moof {
        let duration = uniform(&self.samples, |sample| sample.duration);
        let sync_only_first = self.samples.iter().skip(1).all(|sample| !sample.sync);
        let flags = match uniform(&self.samples, flags_of) {
            Some(flags) => Some(flags),
            None if sync_only_first => Some(NON_SYNC),
            None => None,
        };
        let composed = self.samples.iter().any(|sample| sample.composition != 0);
        let entries = self.samples.iter().map(|sample| TrunEntry {
            duration: duration.is_none().then_some(sample.duration),
            size: Some(sample.data.len() as u32), // all of them together are below 2 GiB
            flags: Some(flags_of(sample)).filter(|own| flags != Some(*own)),
            cts: composed.then_some(sample.composition.into()),
        });
        let entries: Vec<_> = entries.collect();
        Moof {
            mfhd: Mfhd { sequence_number: self.sequence },
            traf: vec![Traf {
                tfhd: Tfhd {
                    track_id: TRACK_ID,
                    default_sample_duration: duration,
                    default_sample_flags: flags,
                    default_base_is_moof: true,
                    ..Tfhd::default()
                },
                tfdt: Some(Tfdt { base_media_decode_time: self.decode_time }),
                trun: vec![Trun { data_offset: Some(0), samples: entries.into() }],
                ..Traf::default()
            }],
        }
    }
}

fn flags_of(sample: &Sample) -> u32 {
    if sample.sync { SYNC } else { NON_SYNC }
}

fn uniform(samples: &[Sample], value: impl Fn(&Sample) -> u32) -> Option<u32> {
    let first = value(samples.first()?);
    samples.iter().all(|sample| value(sample) == first).then_some(first)
}

/// What a segment's boxes say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentSummary {
    /// Segment number + 1.
    pub sequence: u32,
    /// Decode time of the first sample, in ticks of the track.
    pub decode_time: u64,
    /// In decode order; their sizes add up to the length of `data`.
    pub samples: Vec<SampleSummary>,
    /// Where the samples lie in the segment, one after the other.
    pub data: Range<usize>,
}

/// One sample of a segment that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleSummary {
    /// Bytes; never 0.
    pub size: u32,
    /// Ticks.
    pub duration: u32,
    /// Presentation time − decode time, in ticks.
    pub composition: i32,
    /// Decoding may start here.
    pub sync: bool,
}

/// Reads a segment as [`MediaSegment::write`] writes them; anything else is refused. No input makes it panic, and it
/// allocates in proportion to `bytes`.
pub fn read_segment(bytes: &[u8]) -> Result<SegmentSummary, CmafError> {
    let mut boxes = Boxes { rest: bytes, position: 0 };
    boxes.next::<Styp>("styp")?;
    let moof_start = boxes.position;
    let (mut moof, _) = boxes.body(Moof::KIND, "moof")?;
    let (data, range) = boxes.body(Mdat::KIND, "mdat")?;
    boxes.end("media segment")?;

    let sequence = moof.next::<Mfhd>("mfhd")?.sequence_number;
    let (mut traf, _) = moof.body(Traf::KIND, "traf")?;
    moof.end("moof")?;
    let tfhd = traf.next::<Tfhd>("tfhd")?;
    let decode_time = traf.next::<Tfdt>("tfdt")?.base_media_decode_time;
    let trun = traf.next::<Trun>("trun")?;
    traf.end("traf")?;

    let expected = Tfhd {
        track_id: TRACK_ID,
        default_base_is_moof: true,
        default_sample_duration: tfhd.default_sample_duration,
        default_sample_flags: tfhd.default_sample_flags,
        ..Tfhd::default()
    };
    if tfhd != expected {
        return Err(CmafError::invalid("tfhd", "another track, another base or other defaults than we write"));
    }
    let offset = trun.data_offset.and_then(|offset| usize::try_from(offset).ok());
    if offset.and_then(|offset| offset.checked_add(moof_start)) != Some(range.start) {
        return Err(CmafError::invalid("trun", "the first sample is not where mdat begins"));
    }
    let samples = samples(&tfhd, &trun, data.rest.len())?;
    Ok(SegmentSummary { sequence, decode_time, samples, data: range })
}

fn samples(tfhd: &Tfhd, trun: &Trun, mut left: usize) -> Result<Vec<SampleSummary>, CmafError> {
    let invalid = |why| CmafError::invalid("trun", why);
    let TrunSamples::Explicit(entries) = &trun.samples else {
        return Err(invalid("samples without sizes"));
    };
    let mut samples = Vec::with_capacity(entries.len());
    for entry in entries {
        let size = entry.size.filter(|size| *size > 0).ok_or(invalid("a sample without a size"))?;
        left = left.checked_sub(size as usize).ok_or(invalid("samples go beyond mdat"))?;
        let flags = entry.flags.or(tfhd.default_sample_flags).ok_or(invalid("a sample without flags"))?;
        let composition = i32::try_from(entry.cts.unwrap_or(0));
        samples.push(SampleSummary {
            size,
            duration: entry.duration.or(tfhd.default_sample_duration).ok_or(invalid("a sample without a duration"))?,
            composition: composition.map_err(|_| invalid("a composition offset above 31 bits"))?,
            sync: flags & IS_NON_SYNC == 0,
        });
    }
    if left > 0 || samples.is_empty() {
        return Err(invalid("samples do not fill mdat"));
    }
    Ok(samples)
}

/// Boxes one after the other, each of which must be the one that is expected.
struct Boxes<'a> {
    rest: &'a [u8],
    position: usize, // of `rest`, in the segment
}

impl<'a> Boxes<'a> {
    /// The content of the next box and where it lies.
    fn body(&mut self, kind: FourCC, what: &'static str) -> Result<(Self, Range<usize>), CmafError> {
        let mut rest = self.rest;
        let header = Header::decode(&mut rest).map_err(CmafError::in_box(what))?;
        if header.kind != kind {
            return Err(CmafError::invalid(what, "another box is in its place"));
        }
        let size = header.size.filter(|size| *size <= rest.len());
        let size = size.ok_or(CmafError::invalid(what, "goes beyond what holds it"))?;
        let start = self.position + (self.rest.len() - rest.len());
        let body = Self { rest: &rest[..size], position: start };
        *self = Self { rest: &rest[size..], position: start + size };
        Ok((body, start..start + size))
    }

    fn next<T: Atom>(&mut self, what: &'static str) -> Result<T, CmafError> {
        let (mut body, _) = self.body(T::KIND, what)?;
        let atom = T::decode_body(&mut body.rest).map_err(CmafError::in_box(what))?;
        body.end(what)?;
        Ok(atom)
    }

    fn end(&self, what: &'static str) -> Result<(), CmafError> {
        match self.rest {
            [] => Ok(()),
            _ => Err(CmafError::invalid(what, "bytes are left over")),
        }
    }
}

#[cfg(test)]
mod tests {
    use mp4_atom::{Any, DecodeMaybe};
    use proptest::prelude::*;

    use super::*;

    fn sample(size: u8, duration: u32, composition: i32, sync: bool) -> Sample {
        Sample { data: vec![size; size.into()], duration, composition, sync }
    }

    fn video() -> MediaSegment {
        let samples = vec![sample(3, 512, 0, true), sample(2, 512, 1024, false), sample(1, 512, -512, false)];
        MediaSegment { sequence: 4, decode_time: 5_000_000_000, samples }
    }

    #[test]
    fn bytes_are_those_of_the_specification() {
        let written = video().write().unwrap();
        let expected = concat!(
            "0000001c",
            "73747970",
            "6d736468",
            "00000000",
            "6d736468",
            "636d6673",
            "636d6666", // styp msdh
            "0000007c",
            "6d6f6f66", // moof
            "00000010",
            "6d666864",
            "00000000",
            "00000004", // mfhd, sequence 4
            "00000064",
            "74726166", // traf
            "00000018",
            "74666864",
            "00020028",
            "00000001",
            "00000200",
            "01010000", // tfhd, base is moof
            "00000014",
            "74666474",
            "01000000",
            "000000012a05f200", // tfdt, version 1
            "00000030",
            "7472756e",
            "01000a05",
            "00000003",
            "00000084",
            "02000000", // trun, version 1
            "00000003",
            "00000000",
            "00000002",
            "00000400",
            "00000001",
            "fffffe00",
            "0000000e",
            "6d646174",
            "030303020201", // mdat
        );
        assert_eq!(crate::hex::encode(&written.bytes), expected);
        assert_eq!(written.first_sample_end, written.bytes.len() as u64 - 3);
    }

    #[test]
    fn uniform_audio_has_only_sizes_in_its_run() {
        let samples = vec![sample(9, 1024, 0, true); 3];
        let bytes = MediaSegment { sequence: 1, decode_time: 0, samples }.write().unwrap().bytes;
        let mut rest = bytes.as_slice();
        let mut boxes = Vec::new();
        while let Some(atom) = Any::decode_maybe(&mut rest).unwrap() {
            boxes.push(atom);
        }
        let [Any::Styp(_), Any::Moof(moof), Any::Mdat(_)] = boxes.as_slice() else { panic!("{boxes:?}") };
        let entry = TrunEntry { size: Some(9), ..TrunEntry::default() };
        assert_eq!(moof.traf[0].trun[0].samples, vec![entry; 3].into());
        assert_eq!(moof.traf[0].tfhd.default_sample_duration, Some(1024));
        assert_eq!(moof.traf[0].tfhd.default_sample_flags, Some(SYNC));
    }

    #[test]
    fn what_can_not_be_a_segment_is_not_written() {
        assert!(MediaSegment::default().write().is_err());
        let samples = vec![sample(1, 1, 0, true), sample(0, 1, 0, false)];
        assert!(MediaSegment { samples, ..MediaSegment::default() }.write().is_err());
    }

    #[test]
    fn foreign_boxes_are_refused() {
        let bytes = video().write().unwrap().bytes;
        let extra = [bytes.as_slice(), b"\0\0\0\x08free"].concat();
        assert_eq!(read_segment(&extra).unwrap_err().to_string(), "media segment: bytes are left over");
        assert!(read_segment(&bytes[28..]).unwrap_err().to_string().starts_with("styp: another box"));
        for cut in 0..bytes.len() {
            assert!(read_segment(&bytes[..cut]).is_err(), "{cut}");
        }
    }

    fn any_sample() -> impl Strategy<Value = Sample> {
        (1u8..=255, prop_oneof![Just(512), any::<u32>()], prop_oneof![Just(0), any::<i32>()], any::<bool>())
            .prop_map(|(size, duration, composition, sync)| sample(size, duration, composition, sync))
    }

    proptest! {
        #[test]
        fn segments_are_read_as_they_were_written(
            sequence: u32, decode_time: u64, samples in proptest::collection::vec(any_sample(), 1..50),
        ) {
            let segment = MediaSegment { sequence, decode_time, samples };
            let written = segment.clone().write().unwrap();
            let read = read_segment(&written.bytes).unwrap();
            prop_assert_eq!((read.sequence, read.decode_time), (sequence, decode_time));
            prop_assert_eq!(written.first_sample_end, (read.data.start + segment.samples[0].data.len()) as u64);
            let data = segment.samples.iter().flat_map(|sample| sample.data.iter());
            prop_assert!(written.bytes[read.data].iter().eq(data));
            let summary = |sample: &Sample| SampleSummary {
                size: sample.data.len() as u32,
                duration: sample.duration,
                composition: sample.composition,
                sync: sample.sync,
            };
            prop_assert_eq!(read.samples, segment.samples.iter().map(summary).collect::<Vec<_>>());
        }

        #[test]
        fn damaged_segments_never_panic(at in 0usize..144, value: [u8; 4]) {
            let mut bytes = video().write().unwrap().bytes;
            let end = bytes.len().min(at + 4);
            bytes[at..end].copy_from_slice(&value[..end - at]);
            if let Ok(read) = read_segment(&bytes) {
                prop_assert!(read.data.end <= bytes.len());
            }
        }
    }
}
