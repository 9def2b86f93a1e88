//! Clips by the ffmpeg command line, indexed as they are, and foreign eyes on what comes out.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use shared::cmaf::{Edit, InitKind, InitSegment};
use shared::error::TaskError;
use shared::index::{ListRef, PacketEntry, PacketList, Place, SideData, packed_key};
use shared::rendition::{AudioCodec, AudioRendition};
use shared::source::AudioStream;
use shared::task::{AudioReceipt, AudioTask, IndexReport, IndexTask};
use shared::time::{SegmentGrid, Timescale};
use worker::source::ByteSource;
use worker::task::{Area, Emission, Inputs, Objects};
use worker::{audio, index};

/// Whether the command line is there; says so if it is not.
pub fn has_ffmpeg(test: &str) -> bool {
    let found = Command::new("ffmpeg").arg("-version").output().is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("skipped: {test}: no ffmpeg command");
    }
    found
}

/// Runs a command to success; its standard output.
pub fn run(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A clip made by `ffmpeg ARGUMENTS… FILE`.
pub fn clip(folder: &Path, name: &str, arguments: &str) -> PathBuf {
    let path = folder.join(name);
    let mut all = vec!["-nostdin", "-v", "error", "-y"];
    all.extend(arguments.split_whitespace());
    all.push(path.to_str().unwrap());
    run("ffmpeg", &all);
    path
}

/// A source as the index task sees it, with all packets in one place so that tests can change them.
pub struct Source {
    pub stream: AudioStream,
    pub list: PacketList,
    pub bytes: Vec<u8>,
}

impl Source {
    /// Indexes a clip with one audio stream.
    pub fn read(path: &Path) -> Self {
        ffmpeg_next::log::set_level(ffmpeg_next::log::Level::Fatal); // damaged clips are meant to be
        let file = File::open(path).unwrap();
        let (mut stored, mut stream, mut refs) = (HashMap::new(), None, Vec::new());
        let task = IndexTask { max_pixels: 1 << 24, growing_ms: None };
        let whole = ByteSource::of_file(file.try_clone().unwrap()).unwrap();
        index::index_source(&task, &whole, &mut |emission| {
            match emission {
                Emission::Object { key, bytes, .. } => drop(stored.insert(key, bytes)),
                Emission::Index(IndexReport::Source(info)) => stream = info.audio.first().cloned(),
                Emission::Index(IndexReport::Audio { runs, .. }) => refs.extend(runs.into_iter().map(|run| run.list)),
                Emission::Index(IndexReport::Gops(_)) | Emission::Progress(_) => {}
            }
            Ok(())
        })
        .unwrap();
        let stream = stream.unwrap();
        let mut objects = Objects([(Place::Source, file)].into());
        let (mut list, mut bytes) = (PacketList::default(), Vec::new());
        for at in refs {
            let part = &stored[&at.key()][at.offset as usize..][..at.len as usize];
            let part = PacketList::decode(part).unwrap();
            for side in part.side {
                list.side.push(SideData { packet: side.packet + list.packets.len() as u32, ..side });
            }
            for entry in part.packets {
                if let Place::Packed(number) = entry.place {
                    let packed = || file_with(&stored[&packed_key(stream.index, number)]);
                    objects.0.entry(entry.place).or_insert_with(packed);
                }
                let offset = bytes.len() as u64;
                bytes.extend(objects.read(&entry).unwrap());
                list.packets.push(PacketEntry { place: Place::Packed(0), offset, ..entry });
            }
        }
        Self { stream, list, bytes }
    }

    /// Moves all packets by milliseconds.
    pub fn delay(mut self, ms: i64) -> Self {
        let ticks = self.stream.timescale.rescale_nearest(ms, Timescale::MILLIS);
        for entry in &mut self.list.packets {
            (entry.pts, entry.dts) = (entry.pts + ticks, entry.dts + ticks);
        }
        self
    }

    /// Encodes the source with segments of two seconds.
    pub fn encode(&self, rendition: AudioRendition) -> Result<Track, TaskError> {
        encode_lists(self, std::slice::from_ref(&self.list), rendition)
    }
}

fn file_with(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// A rendition called `a`.
pub fn rendition(codec: AudioCodec, sample_rate_hz: u32, channels: u32) -> AudioRendition {
    AudioRendition {
        name: "a".into(),
        stream: 0,
        codec,
        bitrate_bps: 64_000 * channels,
        sample_rate_hz,
        channels,
        language: "und".into(),
        title: String::new(),
        default: true,
    }
}

/// What an attempt made.
pub struct Track {
    pub receipt: AudioReceipt,
    pub objects: Vec<(String, Vec<u8>)>,
    channels: u32,
}

/// Encodes lists that all lie in the source's bytes.
pub fn encode_lists(source: &Source, lists: &[PacketList], rendition: AudioRendition) -> Result<Track, TaskError> {
    encode_task(source, lists, 1000, rendition)
}

/// Encodes the source into at most so many segments.
pub fn encode_counted(source: &Source, segment_count: u64, rendition: AudioRendition) -> Result<Track, TaskError> {
    encode_task(source, std::slice::from_ref(&source.list), segment_count, rendition)
}

fn encode_task(
    source: &Source,
    lists: &[PacketList],
    segment_count: u64,
    rendition: AudioRendition,
) -> Result<Track, TaskError> {
    let objects = Objects([(Place::Packed(0), file_with(&source.bytes))].into());
    let inputs = Inputs { lists: lists.to_vec(), objects, ..Inputs::default() };
    let channels = rendition.channels;
    let task = AudioTask {
        stream: source.stream.clone(),
        lists: vec![ListRef { stream: 0, part: 0, offset: 0, len: 0 }; lists.len()],
        grid: SegmentGrid::new(2000).unwrap(),
        segment_count,
        rendition,
    };
    let mut objects = Vec::new();
    let receipt = audio::encode_track(&task, &inputs, &mut |emission| {
        if let Emission::Object { area, key, bytes } = emission {
            assert_eq!(area, Area::Target);
            objects.push((key, bytes));
        }
        Ok(())
    })?;
    Ok(Track { receipt, objects, channels })
}

impl Track {
    /// Init segment and segments in one file, with the edit list as it is published.
    pub fn join(&self, folder: &Path) -> PathBuf {
        let receipt = &self.receipt;
        let start = receipt.start.ticks as u64;
        let skipped = receipt.priming.saturating_sub(start);
        let edits = if skipped > 0 { vec![Edit { media_time: Some(skipped as i64), duration: None }] } else { vec![] };
        let timescale = receipt.part.timescale;
        let kind = InitKind::Audio { sample_rate_hz: timescale.get(), channels: self.channels, edits };
        let config = receipt.part.config.clone();
        let init = InitSegment { kind, timescale, config, language: "und".into() }.write().unwrap();
        let mut joined = init.to_vec();
        for (_, bytes) in &self.objects {
            joined.extend_from_slice(bytes);
        }
        let path = folder.join("joined.mp4");
        std::fs::write(&path, joined).unwrap();
        path
    }

    /// Everything a receipt must keep about itself.
    pub fn check(&self) {
        let receipt = &self.receipt;
        let grid = SegmentGrid::new(2000).unwrap();
        let first = (receipt.start.ticks - receipt.priming as i64).max(0); // priming lies in front where there is room
        let mut time = first;
        for (segment, (key, bytes)) in receipt.part.segments.iter().zip(&self.objects) {
            assert_eq!(segment.object, shared::task::StoredObject::of(key.as_str(), bytes));
            assert_eq!(segment.start, time, "segment {} does not join", segment.number);
            let start = shared::time::MediaTime::new(segment.start, receipt.part.timescale);
            assert_eq!(segment.number, grid.segment_of(start));
            let read = shared::cmaf::read_segment(bytes).unwrap();
            assert_eq!((read.decode_time, read.sequence as u64), (time as u64, segment.number + 1));
            assert_eq!(read.samples.len(), segment.samples as usize);
            time += segment.duration as i64;
        }
        assert_eq!(receipt.part.segments.len(), self.objects.len());
        assert_eq!((time - first) as u64, receipt.priming + receipt.samples, "durations do not add up");
    }
}

/// The left channel as FFmpeg plays it, 16 bits, gaps as silence. Position 0 is the first sample of a source, and
/// presentation time 0 of a track of ours (whose priming has negative times).
pub fn play(path: &Path, options: &str, rate: u32) -> Vec<i16> {
    let filter = format!("aresample={rate}:async=1:first_pts=0,pan=mono|c0=c0");
    let path = path.to_str().unwrap();
    let mut arguments = vec!["-nostdin", "-v", "error"];
    arguments.extend(options.split_whitespace());
    arguments.extend(["-i", path, "-af", &filter, "-f", "s16le", "-"]);
    let raw = run("ffmpeg", &arguments);
    raw.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
}

/// Positions at which sound begins after at least 100 ms of near silence.
pub fn onsets(samples: &[i16], rate: u32) -> Vec<usize> {
    let (mut found, mut quiet_since) = (Vec::new(), 0);
    for (position, value) in samples.iter().enumerate() {
        if value.unsigned_abs() > 4000 {
            if position - quiet_since >= rate as usize / 10 || found.is_empty() {
                found.push(position);
            }
            quiet_since = position;
        }
    }
    found
}

/// One value that ffprobe tells of the first stream.
pub fn probe(path: &Path, entry: &str) -> String {
    let entries = format!("stream={entry}");
    let path = path.to_str().unwrap();
    let text = run("ffprobe", &["-v", "error", "-count_packets", "-show_entries", &entries, "-of", "csv=p=0", path]);
    String::from_utf8(text).unwrap().trim().to_owned()
}
