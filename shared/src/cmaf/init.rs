//! Init segments: `ftyp` and `moov` of one track without samples (CMAF header, ISO/IEC 23000-19 7.3.1).

use bytes::Bytes;
use mp4_atom::{
    Atom, Audio, Av01, Avc1, BufMut, Codec, Colr, Dinf, Dops, Dref, Elst, ElstEntry, Encode, Error, Ftyp, Hdlr, Hvc1,
    Mdhd, Mp4a, Mvhd, Opus, Pasp, Smhd, Stco, Stsc, Stsd, Stsz, Stts, Tkhd, Trex, Url, Visual, Vmhd, esds,
};

use super::decoder_config::{read_avcc, read_hvcc};
use super::{CmafError, DecoderConfig, TRACK_ID, av1};
use crate::source::Color;
use crate::time::Timescale;

/// The first object of a track.
#[derive(Debug, Clone, PartialEq)]
pub struct InitSegment {
    /// Video or audio.
    pub kind: InitKind,
    /// Ticks per second of the track, and of its edit list.
    pub timescale: Timescale,
    /// For the sample entry.
    pub config: DecoderConfig,
    /// ISO 639-2/T code of three letters; anything else is written as `und`.
    pub language: String,
}

/// What the sample entry says beside the decoder configuration.
#[derive(Debug, Clone, PartialEq)]
pub enum InitKind {
    /// Pictures of square pixels.
    Video {
        /// Picture width.
        width_px: u32,
        /// Picture height.
        height_px: u32,
        /// Colour description; wholly unspecified ones are left out.
        color: Color,
        /// Ticks by which media time is behind presentation time; see [`reorder_delay`](super::reorder_delay).
        delay: u32,
    },
    /// Sound.
    Audio {
        /// Samples per second.
        sample_rate_hz: u32,
        /// Channel count.
        channels: u32,
        /// Edit list in order of presentation; empty if the whole track is presented from its start.
        edits: Vec<Edit>,
    },
}

/// One entry of an edit list (8.6.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edit {
    /// Media time at which the edit starts, in ticks of the track. `None`: an empty edit, nothing is presented.
    pub media_time: Option<i64>,
    /// Ticks of the track. `None`: the rest of the media, only for the last edit.
    pub duration: Option<u64>,
}

pub(super) type Written = Result<(), Error>;

impl InitSegment {
    /// The bytes of the segment. Fails if a value does not fit its box or the configuration is not well-formed.
    pub fn write(&self) -> Result<Bytes, CmafError> {
        let entry = self.sample_entry()?;
        let edits = self.edit_list()?;
        let mut out = Vec::with_capacity(1024);
        self.boxes(entry, edits, &mut out).map_err(CmafError::in_box("init segment"))?;
        Ok(out.into())
    }

    fn boxes(&self, entry: Codec, edits: Option<Elst>, out: &mut Vec<u8>) -> Written {
        // Brands (ISO/IEC 23000-19 7.2; 14496-12 Annex E; 23009-1).
        Ftyp {
            major_brand: b"iso6".into(),
            minor_version: 0,
            compatible_brands: vec![b"iso6".into(), b"cmfc".into(), b"mp41".into(), b"dash".into()],
        }
        .encode(out)?;
        out.encode_atom(b"moov", |out| {
            self.mvhd().encode(out)?;
            out.encode_atom(b"trak", |out| {
                self.tkhd().encode(out)?;
                if let Some(edits) = edits {
                    out.encode_atom(b"edts", |out| edits.encode(out))?;
                }
                out.encode_atom(b"mdia", |out| {
                    self.mdhd().encode(out)?;
                    self.hdlr().encode(out)?;
                    out.encode_atom(b"minf", |out| self.minf(out, |out| no_samples(entry, out)))
                })
            })?;
            out.encode_atom(b"mvex", |out| trex().encode(out))
        })
    }

    /// Movie and track count in the same ticks, so that edit durations need no rounding (8.2.2).
    fn mvhd(&self) -> Mvhd {
        Mvhd {
            timescale: self.timescale.get(),
            rate: 1.into(),
            volume: 1.into(),
            next_track_id: TRACK_ID + 1,
            ..Mvhd::default()
        }
    }

    /// Durations are 0: unknown here, the fragments say it (8.3.2).
    pub(super) fn tkhd(&self) -> Tkhd {
        let (width, height, volume) = match &self.kind {
            InitKind::Video { .. } => {
                let (width, height) = self.picture().unwrap_or_default();
                (width, height, 0)
            }
            InitKind::Audio { .. } => (0, 0, 1),
        };
        Tkhd {
            track_id: TRACK_ID,
            enabled: true,
            in_movie: true,
            volume: volume.into(),
            width: width.into(),
            height: height.into(),
            ..Tkhd::default()
        }
    }

    pub(super) fn mdhd(&self) -> Mdhd {
        let known = self.language.len() == 3 && self.language.bytes().all(|byte| byte.is_ascii_lowercase());
        let language = if known { self.language.clone() } else { "und".to_owned() };
        Mdhd { timescale: self.timescale.get(), language, ..Mdhd::default() }
    }

    pub(super) fn hdlr(&self) -> Hdlr {
        match self.kind {
            InitKind::Video { .. } => Hdlr { handler: b"vide".into(), name: "VideoHandler".into() },
            InitKind::Audio { .. } => Hdlr { handler: b"soun".into(), name: "SoundHandler".into() },
        }
    }

    pub(super) fn minf(&self, out: &mut Vec<u8>, stbl: impl FnOnce(&mut Vec<u8>) -> Written) -> Written {
        match self.kind {
            InitKind::Video { .. } => Vmhd::default().encode(out)?,
            InitKind::Audio { .. } => Smhd::default().encode(out)?,
        }
        Dinf { dref: Dref { entries: vec![Url::default().into()] } }.encode(out)?; // media is in this file (8.7.2)
        out.encode_atom(b"stbl", stbl)
    }

    /// Width and height, if they fit their 16-bit fields.
    fn picture(&self) -> Option<(u16, u16)> {
        match self.kind {
            InitKind::Video { width_px, height_px, .. } => {
                Some((u16::try_from(width_px).ok()?, u16::try_from(height_px).ok()?))
            }
            InitKind::Audio { .. } => None,
        }
    }

    pub(super) fn sample_entry(&self) -> Result<Codec, CmafError> {
        match (&self.kind, &self.config) {
            (InitKind::Video { color, .. }, config) => {
                let (width, height) = self
                    .picture()
                    .filter(|(width, height)| *width > 0 && *height > 0)
                    .ok_or(CmafError::invalid("sample entry", "picture size is not 1 to 65535 pixels"))?;
                video_entry(width, height, *color, config)
            }
            (InitKind::Audio { sample_rate_hz, channels, .. }, config) => {
                audio_entry(*sample_rate_hz, *channels, config)
            }
        }
    }

    fn edit_list(&self) -> Result<Option<Elst>, CmafError> {
        let edits = match &self.kind {
            InitKind::Video { delay: 0, .. } => &[],
            InitKind::Video { delay, .. } => &[Edit { media_time: Some((*delay).into()), duration: None }][..],
            InitKind::Audio { edits, .. } => edits,
        };
        if edits.is_empty() {
            return Ok(None);
        }
        let last = edits.len() - 1;
        let entries = edits.iter().enumerate().map(|(index, edit)| {
            let media_time = edit.media_time.map(u64::try_from).transpose();
            let media_time = media_time.map_err(|_| CmafError::invalid("elst", "a media time is negative"))?;
            let open = edit.duration.is_none_or(|ticks| ticks == 0);
            if open && (index != last || media_time.is_none()) {
                return Err(CmafError::invalid("elst", "only the last edit, and no empty one, may be open-ended"));
            }
            // In a fragmented file, 0 is "until the end of the media" (8.6.6.1).
            Ok(ElstEntry { segment_duration: edit.duration.unwrap_or(0), media_time, media_rate: 1.into() })
        });
        Ok(Some(Elst { entries: entries.collect::<Result<_, _>>()? }))
    }
}

/// Tables without an entry: the samples are in fragments (8.5.1).
fn no_samples(entry: Codec, out: &mut Vec<u8>) -> Written {
    Stsd { codecs: vec![entry] }.encode(out)?;
    Stts::default().encode(out)?;
    Stsc::default().encode(out)?;
    Stsz::default().encode(out)?;
    Stco::default().encode(out)
}

/// Every default is 0: fragments say all of it themselves (8.8.3).
fn trex() -> Trex {
    Trex { track_id: TRACK_ID, default_sample_description_index: 1, ..Trex::default() }
}

/// `VisualSampleEntry` (12.1.3) with `colr` (12.1.5) and `pasp` (12.1.4).
fn video_entry(width: u16, height: u16, color: Color, config: &DecoderConfig) -> Result<Codec, CmafError> {
    let visual = Visual { data_reference_index: 1, width, height, ..Visual::default() };
    let unspecified = [color.primaries, color.transfer, color.matrix] == [2; 3] && !color.full_range;
    let colr = (!unspecified).then_some(Colr::Nclx {
        colour_primaries: color.primaries.into(),
        transfer_characteristics: color.transfer.into(),
        matrix_coefficients: color.matrix.into(),
        full_range_flag: color.full_range,
    });
    let pasp = Some(Pasp { h_spacing: 1, v_spacing: 1 });
    Ok(match config {
        DecoderConfig::Avc(payload) => Avc1 { visual, avcc: read_avcc(payload)?, colr, pasp, ..Avc1::default() }.into(),
        DecoderConfig::Hevc(payload) => {
            Hvc1 { visual, hvcc: read_hvcc(payload)?, colr, pasp, ..Hvc1::default() }.into()
        }
        DecoderConfig::Av1(payload) => {
            Av01 { visual, av1c: av1::read_config(payload)?, colr, pasp, ..Av01::default() }.into()
        }
        DecoderConfig::Aac(_) | DecoderConfig::Opus(_) => {
            return Err(CmafError::invalid("sample entry", "an audio configuration for video"));
        }
    })
}

/// `AudioSampleEntry` (12.2.3).
fn audio_entry(sample_rate_hz: u32, channels: u32, config: &DecoderConfig) -> Result<Codec, CmafError> {
    let channel_count = u16::try_from(channels).ok().filter(|channels| *channels > 0);
    let audio = Audio {
        data_reference_index: 1,
        channel_count: channel_count.ok_or(CmafError::invalid("sample entry", "channels are not 1 to 65535"))?,
        sample_size: 16,
        // Rates that the field can't hold are 0 here; the decoder configuration says them.
        sample_rate: u16::try_from(sample_rate_hz).unwrap_or(0).into(),
    };
    Ok(match config {
        DecoderConfig::Aac(specific) => Mp4a { audio, esds: esds_of(specific), btrt: None, taic: None }.into(),
        DecoderConfig::Opus(payload) => {
            let dops = Dops::decode_body(&mut payload.as_slice()).map_err(CmafError::in_box("dOps"))?;
            Opus { audio, dops, btrt: None }.into()
        }
        _ => return Err(CmafError::invalid("sample entry", "a video configuration for audio")),
    })
}

/// `ESDBox` of MPEG-4 audio (ISO/IEC 14496-14 6.7.2; descriptors of 14496-1 7.2.6). `ES_ID` is 0 as in every file.
fn esds_of(specific: &[u8]) -> mp4_atom::Esds {
    mp4_atom::Esds {
        es_desc: esds::EsDescriptor {
            dec_config: esds::DecoderConfig {
                object_type_indication: 0x40, // ISO/IEC 14496-3
                stream_type: 5,               // AudioStream
                dec_specific: Some(esds::DecoderSpecific { raw: specific.to_vec(), ..Default::default() }),
                ..Default::default()
            },
            ..Default::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use mp4_atom::{Decode, Moov};
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::hex;

    const AVCC: &str = "0164000cffe1001a6764000cacd941419f9f011000000300100000030320f142996001000668ebe3cb22c0fdf8f800";
    const BT709: Color = Color { primaries: 1, transfer: 1, matrix: 1, full_range: false };

    fn video() -> InitSegment {
        InitSegment {
            kind: InitKind::Video { width_px: 320, height_px: 180, color: BT709, delay: 1_024 },
            timescale: Timescale::new(12_800).unwrap(),
            config: DecoderConfig::Avc(hex::decode(AVCC).unwrap()),
            language: String::new(),
        }
    }

    fn audio(edits: Vec<Edit>) -> InitSegment {
        InitSegment {
            kind: InitKind::Audio { sample_rate_hz: 48_000, channels: 2, edits },
            timescale: Timescale::new(48_000).unwrap(),
            config: DecoderConfig::Aac(vec![0x11, 0x90, 0x56, 0xe5, 0x00]),
            language: "deu".to_owned(),
        }
    }

    fn read(bytes: &[u8]) -> (Ftyp, Moov) {
        let mut rest = bytes;
        let boxes = (Ftyp::decode(&mut rest).unwrap(), Moov::decode(&mut rest).unwrap());
        assert!(rest.is_empty());
        boxes
    }

    /// Kinds of all boxes in the order of the bytes, those of containers with their depth.
    fn tree(mut rest: &[u8], depth: usize, found: &mut Vec<String>) {
        while let [a, b, c, d, kind @ ..] = rest {
            let size = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
            let kind = String::from_utf8_lossy(&kind[..4]).into_owned();
            found.push(format!("{}{kind}", " ".repeat(depth)));
            let skip = match kind.as_str() {
                "moov" | "trak" | "edts" | "mdia" | "minf" | "dinf" | "stbl" | "mvex" => Some(8),
                "stsd" | "dref" => Some(16),
                "avc1" => Some(86),
                "mp4a" => Some(36),
                _ => None,
            };
            if let Some(skip) = skip {
                tree(&rest[skip..size], depth + 1, found);
            }
            rest = &rest[size..];
        }
    }

    #[test]
    fn boxes_stand_in_the_order_that_the_specification_recommends() {
        let mut found = Vec::new();
        tree(&video().write().unwrap(), 0, &mut found);
        let expected = "ftyp,moov, mvhd, trak,  tkhd,  edts,   elst,  mdia,   mdhd,   hdlr,   minf,    vmhd,    dinf,     dref,      url ,    stbl,     stsd,      avc1,       avcC,       colr,       pasp,     stts,     stsc,     stsz,     stco, mvex,  trex";
        assert_eq!(found.join(","), expected);

        let mut found = Vec::new();
        let edit = Edit { media_time: Some(1024), duration: None };
        tree(&audio(vec![edit]).write().unwrap(), 0, &mut found);
        assert_eq!(found[3..7], [" trak", "  tkhd", "  edts", "   elst"]);
        assert!(found.contains(&"       esds".to_owned()));
    }

    #[test]
    fn bytes_stay_the_same() {
        let hash = |segment: &InitSegment| hex::encode(&Sha256::digest(segment.write().unwrap())[..8]);
        assert_eq!(hash(&video()), "6c6a23a45e033c97");
        assert_eq!(hash(&audio(vec![Edit { media_time: Some(1024), duration: None }])), "f35a50edf87f672d");
    }

    #[test]
    fn video_is_read_back_as_it_was_meant() {
        let (ftyp, moov) = read(&video().write().unwrap());
        assert!(ftyp.compatible_brands.contains(&b"cmfc".into()));
        let trak = &moov.trak[0];
        assert_eq!((moov.mvhd.timescale, trak.mdia.mdhd.timescale), (12_800, 12_800));
        assert_eq!(trak.mdia.mdhd.language, "und");
        let edit = ElstEntry { segment_duration: 0, media_time: Some(1_024), media_rate: 1.into() };
        assert_eq!(trak.edts.as_ref().unwrap().elst.as_ref().unwrap().entries, [edit]);
        assert_eq!((trak.tkhd.width.integer(), trak.tkhd.height.integer()), (320, 180));
        let [Codec::Avc1(entry)] = trak.mdia.minf.stbl.stsd.codecs.as_slice() else { panic!("not one avc1") };
        assert_eq!((entry.visual.width, entry.visual.height), (320, 180));
        assert_eq!(entry.colr, Some(Colr::new(1, 1, 1, false).unwrap()));
        assert_eq!(entry.avcc, read_avcc(&hex::decode(AVCC).unwrap()).unwrap());
        assert_eq!(moov.mvex.unwrap().trex, [trex()]);
    }

    #[test]
    fn audio_is_read_back_as_it_was_meant() {
        let late = [Edit { media_time: None, duration: Some(4_800) }, Edit { media_time: Some(1_024), duration: None }];
        let (_, moov) = read(&audio(late.to_vec()).write().unwrap());
        let trak = &moov.trak[0];
        assert_eq!(trak.mdia.mdhd.language, "deu");
        let edits = trak.edts.as_ref().unwrap().elst.as_ref().unwrap();
        let entry = |segment_duration, media_time| ElstEntry { segment_duration, media_time, media_rate: 1.into() };
        assert_eq!(edits.entries, [entry(4_800, None), entry(0, Some(1_024))]);
        let [Codec::Mp4a(entry)] = trak.mdia.minf.stbl.stsd.codecs.as_slice() else { panic!("not one mp4a") };
        assert_eq!((entry.audio.channel_count, entry.audio.sample_rate.integer()), (2, 48_000));
        let specific = entry.esds.es_desc.dec_config.dec_specific.as_ref().unwrap();
        assert_eq!(specific.raw, [0x11, 0x90, 0x56, 0xe5, 0x00]);
    }

    #[test]
    fn unspecified_colours_are_left_out() {
        let mut segment = video();
        let color = Color { primaries: 2, transfer: 2, matrix: 2, full_range: false };
        segment.kind = InitKind::Video { width_px: 320, height_px: 180, color, delay: 0 };
        let (_, moov) = read(&segment.write().unwrap());
        let [Codec::Avc1(entry)] = moov.trak[0].mdia.minf.stbl.stsd.codecs.as_slice() else { panic!("not one avc1") };
        assert_eq!(entry.colr, None);
    }

    #[test]
    fn what_no_player_could_follow_is_refused() {
        let open = Edit { media_time: Some(0), duration: None };
        assert!(audio(vec![open, open]).write().is_err(), "an open edit before another");
        assert!(audio(vec![Edit { media_time: None, duration: None }]).write().is_err(), "an open empty edit");
        assert!(audio(vec![Edit { media_time: Some(-1), duration: None }]).write().is_err(), "negative media time");
        let wide = InitKind::Video { width_px: 65_536, height_px: 2, color: BT709, delay: 1_024 };
        assert!(InitSegment { kind: wide, ..video() }.write().is_err());
        assert!(InitSegment { config: audio(vec![]).config, ..video() }.write().is_err());
        assert!(InitSegment { config: video().config, ..audio(vec![]) }.write().is_err());
    }
}
