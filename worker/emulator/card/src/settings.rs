//! Where the variables are set: in the environment, or else in a file beside the libraries.
//!
//! Programs that give their children no environment, as the farm does its slots, tell them where libraries lie all the same
//! (`LD_LIBRARY_PATH`). There each process finds the file as it is when its first stand-in asks, so a test may let a card
//! fall ill while its client lives on.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use crate::variable;

/// Lies in the [`folder`](crate::folder) of the libraries: a line `NAME=value` for each variable.
const FILE: &str = "card.env";

/// Sets, for every process that finds its libraries in `folder` and has no environment of its own, the card that is played,
/// its faults, and the ledger; whole at any moment.
///
/// # Errors
///
/// The file can't be written.
pub fn set(folder: &Path, card: &str, faults: &str, ledger: &Path) -> io::Result<()> {
    let lines = [(variable::CARD, card), (variable::FAULTS, faults)].map(|(name, value)| format!("{name}={value}\n"));
    let text = format!("{}{}={}\n", lines.concat(), variable::VIOLATIONS, ledger.display());
    let whole = folder.join(FILE).with_extension("new");
    fs::write(&whole, text)?;
    fs::rename(whole, folder.join(FILE))
}

/// What a variable is set to, if it is and not empty; an error is what it holds that is no text.
pub(crate) fn read(name: &str) -> Result<Option<String>, String> {
    if let Some(value) = env::var_os(name) {
        return match value.into_string() {
            Ok(text) => Ok(Some(text).filter(|text| !text.is_empty())),
            Err(bytes) => Err(format!("{bytes:?}")),
        };
    }
    let folders = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let files: Vec<PathBuf> = env::split_paths(&folders).map(|folder| folder.join(FILE)).collect();
    Ok(files.iter().find_map(|file| fs::read_to_string(file).ok()).and_then(|text| value(&text, name)))
}

fn value(text: &str, name: &str) -> Option<String> {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    let value = pairs.into_iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_owned());
    value.filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_found_and_set_anew() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name| value(&fs::read_to_string(folder.path().join(FILE)).unwrap(), name);
        set(folder.path(), "t4", "sessions=1,NvEncEncodePicture@2=20", Path::new("/tmp/ledger")).unwrap();
        assert_eq!(read(variable::CARD).as_deref(), Some("t4"));
        assert_eq!(read(variable::FAULTS).as_deref(), Some("sessions=1,NvEncEncodePicture@2=20"));
        assert_eq!(read(variable::VIOLATIONS).as_deref(), Some("/tmp/ledger"));
        set(folder.path(), "l4", "", Path::new("/tmp/ledger")).unwrap();
        assert_eq!((read(variable::CARD).as_deref(), read(variable::FAULTS)), (Some("l4"), None));
        assert_eq!(read(variable::SESSIONS), None);
    }
}
