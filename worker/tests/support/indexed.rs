//! An indexed clip, and tasks to make chunks of it.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};

use shared::cmaf::{DecoderConfig, InitKind, InitSegment, reorder_delay};
use shared::error::TaskError;
use shared::index::{Gop, ListRef, PacketList, Place, packed_key};
use shared::rendition::{RateControl, VideoCodec, VideoRendition};
use shared::source::{Color, DynamicRange, SourceInfo, Timing, VideoStream};
use shared::task::{IndexReport, IndexTask, Transform, VideoTask};
use shared::time::{MediaTime, SegmentGrid};
use tempfile::TempDir;
use worker::index::index_source;
use worker::source::ByteSource;
use worker::task::{Emission, Inputs, Objects};

/// A committed clip.
pub fn clip(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../farm/tests/media").join(name)
}

/// A source, and what the index task has found and stored.
pub struct Indexed {
    pub source: PathBuf,
    /// What was stored is in `work`.
    pub folder: TempDir,
    pub info: SourceInfo,
    pub gops: Vec<Gop>,
    /// Of every rendition.
    pub rate: RateControl,
}

/// Indexes in this process.
pub fn index(source: &Path) -> Result<Indexed, TaskError> {
    let folder = tempfile::tempdir().unwrap();
    let (mut info, mut gops) = (None, Vec::new());
    let mut emit = |emission| {
        match emission {
            Emission::Object { key, bytes, .. } => {
                let path = folder.path().join("work").join(key);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, bytes).unwrap();
            }
            Emission::Index(IndexReport::Source(found)) => info = Some(found),
            Emission::Index(IndexReport::Gops(mut more)) => gops.append(&mut more),
            Emission::Index(IndexReport::Audio { .. }) | Emission::Progress(_) => {}
        }
        Ok(())
    };
    let task = IndexTask { max_pixels: 8192 * 8192, growing_ms: None };
    index_source(&task, &ByteSource::of_file(File::open(source).unwrap()).unwrap(), &mut emit)?;
    let rate = RateControl { crf: 23.0, maxrate_bps: 5_000_000, bufsize_bits: 10_000_000 };
    Ok(Indexed { source: source.to_owned(), folder, info: info.expect("a source"), gops, rate })
}

impl Indexed {
    pub fn stream(&self) -> &VideoStream {
        self.info.video.as_ref().expect("a video stream")
    }

    fn stored(&self, key: &str) -> PathBuf {
        self.folder.path().join("work").join(key)
    }

    fn list(&self, list: ListRef) -> PacketList {
        let bytes = std::fs::read(self.stored(&list.key())).unwrap();
        PacketList::decode(&bytes[list.offset as usize..][..list.len as usize]).unwrap()
    }

    /// What a chunk of these lists reads.
    pub fn inputs(&self, lists: &[ListRef]) -> Inputs {
        let lists: Vec<PacketList> = lists.iter().map(|list| self.list(*list)).collect();
        let mut files = HashMap::from([(Place::Source, File::open(&self.source).unwrap())]);
        for place in lists.iter().flat_map(|list| &list.packets).map(|packet| packet.place) {
            if let Place::Packed(number) = place {
                let path = self.stored(&packed_key(self.stream().index, number));
                files.entry(place).or_insert_with(|| File::open(path).unwrap());
            }
        }
        Inputs { lists, objects: Objects(files), ..Inputs::default() }
    }

    /// Segments on the grid: one where times can't be trusted.
    pub fn segments(&self, grid: SegmentGrid) -> u64 {
        let end = self.gops.iter().map(|gop| gop.end).max().unwrap();
        match self.stream().timing {
            Timing::Packets => grid.count_until(MediaTime::new(end, self.stream().timescale)),
            _ => 1,
        }
    }

    /// All of the clip as one chunk.
    pub fn whole(&self, codec: VideoCodec) -> VideoTask {
        let grid = SegmentGrid::new(2000).unwrap();
        let lists = self.gops.iter().map(|gop| gop.list).collect();
        VideoTask { lists, end: None, ..self.chunk(codec, (0, None), (grid, self.segments(grid))) }
    }

    /// A chunk of one segment: the hardest case.
    pub fn segment(&self, number: u64, (grid, count): (SegmentGrid, u64)) -> VideoTask {
        let timescale = self.stream().timescale;
        let start = grid.start_of(number, timescale);
        let end = (number + 1 < count).then(|| grid.start_of(number + 1, timescale));
        self.chunk(VideoCodec::H264, (start, end), (grid, count))
    }

    /// In two sizes.
    fn chunk(
        &self,
        codec: VideoCodec,
        (start, end): (i64, Option<i64>),
        (grid, count): (SegmentGrid, u64),
    ) -> VideoTask {
        let stream = self.stream().clone();
        let from = self.gops.iter().rposition(|gop| gop.start <= start).unwrap_or(0);
        let to = end.and_then(|end| self.gops.iter().position(|gop| gop.frames > 0 && gop.last >= end));
        let lists = self.gops[from..to.map_or(self.gops.len(), |to| to + 1)].iter().map(|gop| gop.list).collect();
        let (width, height) = stream.display_size();
        let rendition = |name: &str, scale: u32| VideoRendition {
            name: name.into(),
            codec,
            width_px: (width / scale) & !1,
            height_px: (height / scale) & !1,
            rate: self.rate,
            preset: if codec == VideoCodec::Av1 { "12" } else { "veryfast" }.into(),
        };
        let tone_map = stream.color.dynamic_range() != DynamicRange::Sdr;
        let color = match tone_map {
            true => Color { primaries: 1, transfer: 1, matrix: 1, full_range: false },
            false => Color { full_range: false, ..stream.color },
        };
        VideoTask {
            lists,
            start,
            end,
            grid,
            segment_count: Some(count),
            transform: Transform {
                rotation: stream.rotation,
                mirror: stream.mirrored,
                deinterlace: stream.interlaced,
                tone_map,
            },
            color,
            renditions: vec![rendition("large", 1), rendition("small", 2)],
            images: None,
            pins: BTreeMap::new(),
            stream,
        }
    }

    /// What a player needs before the segments of a rendition.
    pub fn init(&self, task: &VideoTask, rung: usize, config: DecoderConfig) -> Vec<u8> {
        let (rendition, timescale) = (&task.renditions[rung], task.stream.timescale);
        let kind = InitKind::Video {
            width_px: rendition.width_px,
            height_px: rendition.height_px,
            color: task.color,
            delay: reorder_delay(timescale, task.stream.frame_rate),
        };
        InitSegment { kind, timescale, config, language: "und".into() }.write().unwrap().to_vec()
    }
}
