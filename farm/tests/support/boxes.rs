//! Our CMAF, read back box by box.

use std::fs;
use std::path::Path;

use mp4_atom::{Any, Decode, Ftyp, Moof, Moov, Styp};

use super::Track;

/// What the boxes of a track say about time.
pub struct Timeline {
    /// Ticks per second.
    pub timescale: u32,
    /// Media time at which the presentation of the track begins; what lies before is skipped.
    pub skipped: i64,
    /// Ticks of silence or nothing before the track's first edit.
    pub delay: i64,
    /// In order.
    pub fragments: Vec<Fragment>,
}

/// One fragment.
pub struct Fragment {
    /// `tfdt`.
    pub decode_time: i64,
    /// Sum of the sample durations.
    pub duration: i64,
    /// Presentation times in decode order.
    pub times: Vec<i64>,
    /// Number of the `mfhd`.
    pub sequence: u32,
}

impl Timeline {
    /// Reads init segment and media segments of a track, and holds them to what CMAF asks for.
    pub fn of(track: &Track) -> Self {
        let (ftyp, moov) = read_init(&track.init);
        for brand in [b"cmfc", b"iso6"] {
            assert!(ftyp.compatible_brands.contains(&brand.into()), "{}: {ftyp:?}", track.uri);
        }
        let [trak] = &moov.trak[..] else { panic!("{}: {} tracks", track.uri, moov.trak.len()) };
        let edits = trak.edts.as_ref().and_then(|edts| edts.elst.as_ref()).map_or(&[][..], |elst| &elst.entries);
        let delays = edits.iter().take_while(|edit| edit.media_time.is_none());
        Self {
            timescale: trak.mdia.mdhd.timescale,
            delay: delays.map(|edit| edit.segment_duration as i64).sum(),
            skipped: edits.iter().find_map(|edit| edit.media_time).unwrap_or(0) as i64,
            fragments: track.segments.iter().map(|(path, _)| read_segment(path)).collect(),
        }
    }

    /// Seconds on the presentation's timeline at which the track's first frame or sample is presented.
    pub fn start_seconds(&self) -> f64 {
        let first = self.fragments[0].times.iter().min().unwrap();
        let presented = (first - self.skipped).max(0) + self.delay;
        presented as f64 / f64::from(self.timescale)
    }

    /// Seconds of media that are presented.
    pub fn presented_seconds(&self) -> f64 {
        let total: i64 = self.fragments.iter().map(|fragment| fragment.duration).sum();
        (total - self.skipped) as f64 / f64::from(self.timescale)
    }
}

/// An init segment's boxes.
pub fn read_init(path: &Path) -> (Ftyp, Moov) {
    let bytes = fs::read(path).unwrap();
    let mut rest = &bytes[..];
    let boxes = (Ftyp::decode(&mut rest).unwrap(), Moov::decode(&mut rest).unwrap());
    assert!(rest.is_empty(), "{}: {} bytes after moov", path.display(), rest.len());
    boxes
}

/// `styp`, `moof`, `mdat` and nothing else (ISO/IEC 23000-19 7.3.2.3).
fn read_segment(path: &Path) -> Fragment {
    let bytes = fs::read(path).unwrap();
    let mut rest = &bytes[..];
    let mut payload = None;
    let mut moof: Option<Moof> = None;
    while !rest.is_empty() {
        match Any::decode(&mut rest).unwrap() {
            Any::Styp(Styp { .. }) if moof.is_none() => {}
            Any::Moof(found) if moof.is_none() => moof = Some(found),
            Any::Mdat(mdat) if moof.is_some() && payload.is_none() => payload = Some(mdat.data.len()),
            other => panic!("{}: {} does not belong here", path.display(), other.kind()),
        }
    }
    let moof = moof.expect("a moof");
    let [traf] = &moof.traf[..] else { panic!("{}: {} tracks", path.display(), moof.traf.len()) };
    assert!(traf.tfhd.default_base_is_moof && traf.tfhd.base_data_offset.is_none(), "{}", path.display());
    let decode_time = traf.tfdt.as_ref().expect("a tfdt").base_media_decode_time as i64;
    let (mut at, mut size, mut times) = (decode_time, 0, Vec::new());
    for sample in traf.trun.iter().flat_map(|trun| trun.samples.iter()) {
        times.push(at + sample.cts.unwrap_or(0));
        at += i64::from(sample.duration.or(traf.tfhd.default_sample_duration).expect("a duration"));
        size += sample.size.or(traf.tfhd.default_sample_size).expect("a size") as usize;
    }
    assert_eq!(Some(size), payload, "{}: samples do not fill mdat", path.display());
    Fragment { decode_time, duration: at - decode_time, times, sequence: moof.mfhd.sequence_number }
}
