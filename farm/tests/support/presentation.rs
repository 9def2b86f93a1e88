//! What lies in an output folder, found the way a player finds it: from the multivariant playlist.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempDir};

use super::{folder, transcode};

/// A presentation that the farm has made.
pub struct Presentation {
    /// Where it lies.
    pub out: PathBuf,
    /// Variants in the order of the multivariant playlist.
    pub video: Vec<Track>,
    /// Members of the audio group, or the variants of a presentation without pictures.
    pub audio: Vec<Track>,
    _folder: Option<TempDir>,
}

/// One media playlist.
pub struct Track {
    /// As the multivariant playlist leads to it.
    pub uri: String,
    /// `LANGUAGE` of an audio rendition, empty if it has none.
    pub language: String,
    /// `CODECS` of a variant, empty for a member of the audio group.
    pub codecs: String,
    /// `RESOLUTION`; 0 × 0 for audio.
    pub size: (u32, u32),
    /// Init segment.
    pub init: PathBuf,
    /// Media segments and their `EXTINF`, in order.
    pub segments: Vec<(PathBuf, String)>,
    joined: NamedTempFile,
}

impl Presentation {
    /// Transcodes `source` into a folder of its own; the command must succeed.
    pub fn of(source: &Path, options: &[&str]) -> Self {
        let folder = folder();
        let out = folder.path().join("out");
        let output = transcode(source, &out, options);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {}: {said}", source.display(), output.status);
        Self::read(&out).in_folder(folder)
    }

    /// Keeps the folder it lies in.
    pub fn in_folder(self, folder: TempDir) -> Self {
        Self { _folder: Some(folder), ..self }
    }

    /// Reads the presentation that lies in `out`.
    pub fn read(out: &Path) -> Self {
        let text = fs::read_to_string(out.join("master.m3u8")).expect("a multivariant playlist");
        assert!(text.starts_with("#EXTM3U\n"), "{text}");
        let (mut video, mut audio) = (Vec::new(), Vec::new());
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some(list) = line.strip_prefix("#EXT-X-STREAM-INF:") {
                let attributes = attributes(list);
                let uri = lines.next().expect("a variant has a URI");
                for required in ["BANDWIDTH", "AVERAGE-BANDWIDTH", "CODECS"] {
                    assert!(attributes.contains_key(required), "{uri} has no {required}");
                }
                let to = if attributes.contains_key("RESOLUTION") { &mut video } else { &mut audio };
                to.push(Track::read(out, uri, &attributes));
            } else if let Some(list) = line.strip_prefix("#EXT-X-MEDIA:") {
                let attributes = attributes(list);
                audio.push(Track::read(out, &attributes["URI"], &attributes));
            }
        }
        Self { out: out.to_owned(), video, audio, _folder: None }
    }

    /// Every file but `run.json`, which tells what the run was like, with its content.
    pub fn bytes(out: &Path) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut folders = vec![out.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(out).unwrap().to_str().unwrap().to_owned();
                if path.is_dir() {
                    folders.push(path);
                } else if name != "run.json" {
                    found.insert(name, fs::read(path).unwrap());
                }
            }
        }
        found
    }
}

impl Track {
    fn read(out: &Path, uri: &str, attributes: &BTreeMap<String, String>) -> Self {
        let playlist = out.join(uri);
        let folder = playlist.parent().unwrap();
        let text = fs::read_to_string(&playlist).unwrap();
        assert!(text.ends_with("#EXT-X-ENDLIST\n"), "{uri} does not end: {text}");
        let (mut init, mut duration, mut segments) = (None, String::new(), Vec::new());
        for line in text.lines() {
            if let Some(list) = line.strip_prefix("#EXT-X-MAP:") {
                init = Some(folder.join(&self::attributes(list)["URI"]));
            } else if let Some(value) = line.strip_prefix("#EXTINF:") {
                duration = value.trim_end_matches(',').to_owned();
            } else if !line.starts_with('#') {
                segments.push((folder.join(line), std::mem::take(&mut duration)));
            }
        }
        let init = init.expect("an init segment");
        let joined = join(&init, &segments);
        let size = attributes.get("RESOLUTION").and_then(|size| size.split_once('x'));
        let size = size.map_or((0, 0), |(width, height)| (width.parse().unwrap(), height.parse().unwrap()));
        let language = attributes.get("LANGUAGE").cloned().unwrap_or_default();
        let codecs = attributes.get("CODECS").cloned().unwrap_or_default();
        Self { uri: uri.to_owned(), language, codecs, size, init, segments, joined }
    }

    /// Init segment and all media segments in one file.
    pub fn joined(&self) -> &Path {
        self.joined.path()
    }

    /// The `EXTINF` of every segment.
    pub fn durations(&self) -> Vec<&str> {
        self.segments.iter().map(|(_, duration)| duration.as_str()).collect()
    }
}

fn join(init: &Path, segments: &[(PathBuf, String)]) -> NamedTempFile {
    let joined = tempfile::Builder::new().suffix(".mp4").tempfile().unwrap();
    let mut bytes = fs::read(init).unwrap();
    for (segment, _) in segments {
        bytes.extend(fs::read(segment).unwrap());
    }
    fs::write(joined.path(), bytes).unwrap();
    joined
}

/// An attribute list (RFC 8216 4.2), quotes removed.
fn attributes(list: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut quoted = false;
    let parts = list.split(|c: char| {
        quoted ^= c == '"';
        c == ',' && !quoted
    });
    for part in parts {
        let (name, value) = part.split_once('=').unwrap_or_else(|| panic!("{part} is not an attribute"));
        found.insert(name.to_owned(), value.trim_matches('"').to_owned());
    }
    found
}
