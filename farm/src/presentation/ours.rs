//! Which files of an output folder a farm made, by their names, so that nobody else's are ever removed.

use std::path::Path;
use std::{fs, io};

use super::{CERTIFICATE, MANIFEST, MULTIVARIANT, RUN_REPORT};

/// Removes files from `dir` and from the rendition folders below it, then the folders that this empties. `doomed` is
/// given the folder ("" for `dir`) and the name.
pub(super) fn clear_tree(dir: &Path, below: &str, doomed: &dyn Fn(&str, &str) -> bool) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let kind = entry.file_type()?;
        if kind.is_file() && doomed(below, name) {
            fs::remove_file(entry.path())?;
        } else if kind.is_dir() && below.is_empty() && is_plain(name) {
            clear_tree(&entry.path(), name, doomed)?;
            match fs::remove_dir(entry.path()) {
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                result => result?,
            }
        }
    }
    Ok(())
}

/// Whether a farm gives a file this name in this folder: "" is the output folder, others are named after renditions.
pub(super) fn is_ours(folder: &str, name: &str) -> bool {
    let stem_of = |end: &str| name.strip_suffix(end);
    if folder.is_empty() {
        let fixed = [MULTIVARIANT, MANIFEST, CERTIFICATE, RUN_REPORT, "poster.jpg", "storyboard.vtt"];
        return fixed.contains(&name);
    }
    let hash = |text: &str| text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let number = |text: &str| text.len() >= 6 && text.bytes().all(|b| b.is_ascii_digit());
    match (stem_of(".m4s").and_then(|stem| stem.split_once('.')), stem_of(".jpg")) {
        (Some((digits, digest)), _) => number(digits) && hash(digest),
        (_, Some(stem)) => folder == "storyboard" && stem.bytes().all(|b| b.is_ascii_hexdigit() || b"-.".contains(&b)),
        _ => name == "playlist.m3u8" || name == "iframes.m3u8" || name.starts_with("init.") && name.ends_with(".mp4"),
    }
}

/// An object store on disk writes `name#number` and renames it.
pub(super) fn is_half_written(folder: &str, name: &str) -> bool {
    let parts = name.rsplit_once('#');
    parts.is_some_and(|(name, number)| number.bytes().all(|b| b.is_ascii_digit()) && is_ours(folder, name))
}

fn is_plain(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}
