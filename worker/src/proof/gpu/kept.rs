//! What GPUs have proven, kept for the worker's next start: one file a GPU in the scratch folder.
//!
//! Only what worked is kept, and only for the same GPU, driver and build: what did not work may be mended by then. A fault takes
//! the file away, and whoever starts next proves everything anew.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::card::{Card, Measured, Tried};
use crate::av;
use crate::config::WorkerConfig;
use crate::scratch::{check_folder, make_folder};

/// No proof is as long.
const LONGEST_FILE_BYTES: u64 = 64 << 10;

/// Where proofs are kept; the default keeps none.
#[derive(Debug, Clone, Default)]
pub struct Kept(Option<PathBuf>);

/// A file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Proof {
    of: Key,
    tried: Vec<Tried>,
    measured: Measured,
}

/// What a proof is of.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Key {
    gpu: String,
    driver: String,
    build: String,
    /// Where the driver's libraries were looked for.
    libraries: String,
}

impl Key {
    /// The program that slots run is told apart by length and time of change, beside the versions: the version alone is
    /// the same for all builds between two releases. `None`: it is not there.
    fn of(card: &Card, config: &WorkerConfig) -> Option<Self> {
        let program = fs::metadata(&config.slot_program.path).ok()?;
        let (version, libavcodec) = (env!("CARGO_PKG_VERSION"), av::codec_version());
        let search = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
        let changed = format!("{}.{:09}", program.mtime(), program.mtime_nsec());
        Some(Self {
            gpu: card.uuid.clone(),
            driver: card.driver_words(),
            build: format!("{version}, {} bytes of {changed}, libavcodec {libavcodec}", program.len()),
            libraries: format!("{}:{}", config.gpu.libraries.display(), search.to_string_lossy()),
        })
    }
}

impl Kept {
    /// In the folder of scratch files.
    pub fn below(scratch: &Path) -> Self {
        Self(Some(scratch.to_owned()))
    }

    /// What worked when this GPU was proven last with this driver and this build. A file that is of another, damaged or not
    /// this user's is not believed.
    pub(super) fn recall(&self, card: &Card, config: &WorkerConfig) -> Option<(Vec<Tried>, Measured)> {
        let path = self.path(&card.uuid)?;
        let proof = match read(&path) {
            Ok(proof) => proof,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                warn!(gpu = card.uuid, file = %path.display(), %error, "an earlier proof can't be read: all is tried");
                return None;
            }
        };
        if Some(&proof.of) != Key::of(card, config).as_ref() {
            let Key { driver, build, .. } = &proof.of;
            info!(gpu = card.uuid, driver, build, "proven with another driver or build: all is tried");
            return None;
        }
        Some((proof.tried, proof.measured))
    }

    /// Keeps what worked, in the place of what was kept before.
    pub(super) fn keep(&self, card: &Card, config: &WorkerConfig) {
        let (Some(path), Some(of)) = (self.path(&card.uuid), Key::of(card, config)) else { return };
        let tried: Vec<Tried> = card.tried.iter().filter(|tried| tried.lack.is_none()).cloned().collect();
        if tried.is_empty() {
            return self.forget(&card.uuid);
        }
        if let Err(error) = write(&path, &Proof { of, tried, measured: card.measured }) {
            warn!(gpu = card.uuid, file = %path.display(), %error, "its proof is not kept for the next start");
        }
    }

    /// A GPU has failed, or is to prove itself anew.
    pub fn forget(&self, uuid: &str) {
        let Some(path) = self.path(uuid) else { return };
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                warn!(gpu = uuid, file = %path.display(), %error, "an earlier proof can't be removed");
            }
            _ => {}
        }
    }

    fn path(&self, uuid: &str) -> Option<PathBuf> {
        let plain = !uuid.is_empty() && uuid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let folder = self.0.as_ref().filter(|_| plain)?;
        Some(folder.join(format!("{uuid}.json")))
    }
}

fn read(path: &Path) -> io::Result<Proof> {
    check_folder(path.parent().unwrap_or(path))?;
    let mut text = String::new();
    File::open(path)?.take(LONGEST_FILE_BYTES).read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text)?)
}

/// Under another name first, so that nobody ever reads a part of it.
fn write(path: &Path, proof: &Proof) -> io::Result<()> {
    make_folder(path.parent().unwrap_or(path))?;
    let new = path.with_extension(format!("{}.new", std::process::id()));
    let written = File::create(&new).and_then(|mut file| {
        file.write_all(&serde_json::to_vec_pretty(proof)?)?;
        file.sync_data()?;
        fs::rename(&new, path)
    });
    if written.is_err() {
        // The first error says more; what is left of the file is taken away if that can be done at all.
        drop(fs::remove_file(&new));
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SlotProgram;

    fn card() -> Card {
        let tried =
            |name: &str, lack: Option<&str>| Tried { name: name.to_owned(), lack: lack.map(str::to_owned), ms: 7 };
        Card {
            uuid: "GPU-00112233".to_owned(),
            driver: Some("535.104.05".to_owned()),
            tried: vec![tried("kernels", None), tried("encode-av1", Some("this card has no AV1"))],
            measured: Measured { sessions: 3, ..Measured::default() },
            ..Card::default()
        }
    }

    fn config(program: &Path) -> WorkerConfig {
        WorkerConfig {
            slot_program: SlotProgram { path: program.to_owned(), args: Vec::new() },
            ..WorkerConfig::default()
        }
    }

    #[test]
    fn what_worked_is_known_to_the_same_gpu_driver_and_build_alone() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("worker");
        fs::write(&program, "a build").unwrap();
        let (kept, card, config) = (Kept::below(&folder.path().join("scratch")), card(), config(&program));
        assert!(kept.recall(&card, &config).is_none(), "nothing is known at first");
        kept.keep(&card, &config);
        let (tried, measured) = kept.recall(&card, &config).unwrap();
        assert_eq!((tried, measured), (vec![card.tried[0].clone()], card.measured));

        let other = Card { uuid: "GPU-44556677".to_owned(), ..card.clone() };
        let newer = Card { driver: Some("550.54.14".to_owned()), ..card.clone() };
        assert!(kept.recall(&other, &config).is_none() && kept.recall(&newer, &config).is_none());
        let mut elsewhere = config.clone();
        elsewhere.gpu.libraries = "/opt/nvidia".into();
        assert!(kept.recall(&card, &elsewhere).is_none());
        fs::write(&program, "another build").unwrap();
        assert!(kept.recall(&card, &config).is_none());

        fs::write(&program, "a build").unwrap();
        kept.keep(&card, &config);
        kept.forget(&card.uuid);
        kept.forget(&card.uuid);
        assert!(kept.recall(&card, &config).is_none());
        assert!(Kept::default().recall(&card, &config).is_none(), "nowhere is nothing kept");
    }

    #[test]
    fn a_file_that_is_damaged_or_of_somebody_else_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let (kept, card, config) = (Kept::below(folder.path()), card(), config(Path::new("/proc/self/exe")));
        kept.keep(&card, &config);
        let file = folder.path().join("GPU-00112233.json");
        let whole = fs::read_to_string(&file).unwrap();
        for damaged in [&whole[..whole.len() / 2], "", "{}", &whole.replace("measured", "imagined")] {
            fs::write(&file, damaged).unwrap();
            assert!(kept.recall(&card, &config).is_none(), "{damaged:?}");
        }
        kept.keep(&card, &config);
        assert!(kept.recall(&card, &config).is_some(), "it is replaced");
        let link = tempfile::tempdir().unwrap().path().join("link");
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(folder.path(), &link).unwrap();
        assert!(Kept::below(&link).recall(&card, &config).is_none(), "a link may lead to anybody's folder");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left there");

        let named = Card { uuid: "../GPU".to_owned(), ..card };
        kept.keep(&named, &config);
        assert!(kept.recall(&named, &config).is_none(), "a name that is a path is none");
    }
}
