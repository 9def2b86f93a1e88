//! Which files of an output folder a farm made, by their names, so that nobody else's are ever removed.

use std::path::Path;
use std::{fs, io};

use super::{CERTIFICATE, MANIFEST, MULTIVARIANT, RUN_REPORT};

/// The folder of storyboard sheets.
const STORYBOARD: &str = "storyboard";

/// Removes files from `dir` and from the rendition folders below it, then the folders that this empties. `doomed` is
/// given the folder ("" for `dir`) and the name.
pub(super) fn clear_tree(dir: &Path, doomed: &dyn Fn(&str, &str) -> bool) -> io::Result<()> {
    clear_folder(dir, "", doomed)?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| is_plain(name)) else { continue };
        if entry.file_type()?.is_dir() {
            clear_folder(&entry.path(), name, doomed)?;
            match fs::remove_dir(entry.path()) {
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                result => result?,
            }
        }
    }
    Ok(())
}

/// What tells that a folder is a rendition's goes last, so that whoever is killed here can begin again.
fn clear_folder(dir: &Path, folder: &str, doomed: &dyn Fn(&str, &str) -> bool) -> io::Result<()> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            names.extend(entry.file_name().into_string());
        }
    }
    if !(folder.is_empty() || folder == STORYBOARD || names.iter().any(|name| has_hash(name))) {
        return Ok(());
    }
    names.retain(|name| doomed(folder, name));
    names.sort_by_key(|name| has_hash(name));
    names.iter().try_for_each(|name| fs::remove_file(dir.join(name)))
}

/// Whether a farm gives a file this name in this folder: "" is the output folder, others are named after renditions.
pub(super) fn is_ours(folder: &str, name: &str) -> bool {
    let number = |text: &str, digits: usize| text.len() >= digits && text.bytes().all(|b| b.is_ascii_digit());
    match folder {
        "" => [MULTIVARIANT, MANIFEST, CERTIFICATE, RUN_REPORT, "poster.jpg", "storyboard.vtt"].contains(&name),
        STORYBOARD => match name.split_once('.') {
            Some((digits, rest)) if number(digits, 3) => rest.ends_with(".jpg") && has_hash(name),
            _ => false,
        },
        _ => match name.split_once('.') {
            Some(("init", rest)) => rest.ends_with(".mp4") && has_hash(name),
            Some((digits, rest)) if number(digits, 6) => rest.ends_with(".m4s") && has_hash(name),
            Some((stem, "mp4")) if stem == folder => true,
            _ => name == "playlist.m3u8" || name == "iframes.m3u8",
        },
    }
}

/// `<name>.<hash16>.<ext>`, whole or half written: nobody else gives a file such a name.
fn has_hash(name: &str) -> bool {
    let parts: Vec<&str> = name.split('.').collect();
    matches!(parts[..], [_, hash, _] if hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// An object store on disk writes `name#number` and renames it.
pub(super) fn is_half_written(folder: &str, name: &str) -> bool {
    let parts = name.rsplit_once('#');
    parts.is_some_and(|(name, number)| number.bytes().all(|b| b.is_ascii_digit()) && is_ours(folder, name))
}

fn is_plain(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}
