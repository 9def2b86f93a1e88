//! The stand-ins under the names that programs load, and the environment of a program that is to find them.
//!
//! ```ignore
//! let folder = tempfile::tempdir()?;
//! card::folder(folder.path(), &card::folder::built()?, &Library::ALL)?;
//! let mut ffmpeg = Command::new("ffmpeg");
//! card::play(&mut ffmpeg, folder.path(), "t4", "", &ledger);
//! ```
//!
//! A test has the crates that it names among its `[dev-dependencies]`, uses none of their items, and so is not linked with
//! them: cargo builds the libraries, and they lie beside the test's executable.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

use crate::variable;

/// One of the driver's libraries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// `libcuda`: contexts, memory, kernels.
    Cuda,
    /// `libnvcuvid`: NVDEC.
    Cuvid,
    /// `libnvidia-encode`: NVENC.
    Encode,
    /// `libnvidia-ml`: what the driver tells of a card.
    Ml,
}

impl Library {
    /// The three that work is done with.
    pub const ALL: [Self; 3] = [Self::Cuda, Self::Cuvid, Self::Encode];

    /// The name that programs load it by.
    pub const fn soname(self) -> &'static str {
        match self {
            Self::Cuda => "libcuda.so.1",
            Self::Cuvid => "libnvcuvid.so.1",
            Self::Encode => "libnvidia-encode.so.1",
            Self::Ml => "libnvidia-ml.so.1",
        }
    }

    /// The file that cargo makes of its stand-in.
    pub const fn built_as(self) -> &'static str {
        match self {
            Self::Cuda => "libemulated_cuda.so",
            Self::Cuvid => "libemulated_cuvid.so",
            Self::Encode => "libemulated_encode.so",
            Self::Ml => "libemulated_ml.so",
        }
    }
}

/// Where cargo put what this test needs: the folder of its executable.
///
/// # Errors
///
/// The executable's place is unknown.
pub fn built() -> io::Result<PathBuf> {
    let executable = env::current_exe()?;
    Ok(executable.parent().map(Path::to_owned).unwrap_or_default())
}

/// Makes links in a folder, under the names that programs load, to the stand-ins that lie in `built`.
///
/// # Errors
///
/// A stand-in is not there (its crate is not among the test's dependencies), or a link can't be made.
pub fn folder(folder: &Path, built: &Path, libraries: &[Library]) -> io::Result<()> {
    for library in libraries {
        let target = built.join(library.built_as());
        fs::metadata(&target).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}; is its crate a dev-dependency?", target.display()))
        })?;
        std::os::unix::fs::symlink(&target, folder.join(library.soname()))?;
    }
    Ok(())
}

/// Sets a child's environment so that it finds the libraries of `folder` before any other and plays the card with these
/// faults. What it does wrong is appended to `ledger`.
pub fn play(child: &mut Command, folder: &Path, card: &str, faults: &str, ledger: &Path) {
    let mut path = OsString::from(folder);
    if let Some(rest) = env::var_os("LD_LIBRARY_PATH") {
        path.push(":");
        path.push(rest);
    }
    child.env("LD_LIBRARY_PATH", path);
    child.env(variable::CARD, card).env(variable::FAULTS, faults).env(variable::VIOLATIONS, ledger);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_was_not_built_is_named() {
        let (built, made) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(built.path().join(Library::Cuda.built_as()), "a library").unwrap();
        let error = folder(made.path(), built.path(), &Library::ALL).unwrap_err();
        assert!(error.to_string().contains("libemulated_cuvid.so"), "{error}");
        assert_eq!(fs::read_to_string(made.path().join("libcuda.so.1")).unwrap(), "a library");
    }
}
