//! What was ordered of a folder: the source and the recipe. Tells a run that goes on from one that is something else.

use std::fs::{self, File};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use coordinator::job::JobSpec;
use coordinator::ladder::Rungs;
use coordinator::profile::Profile;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use shared::task::{JobId, Places, TenantId};

use crate::exit::{Exit, Failure};

/// The source file of a command.
#[derive(Debug, Clone)]
pub struct Source {
    /// Absolute.
    path: PathBuf,
    mark: SourceMark,
}

/// What a file is recognised by. Its content is not read for it, as `make` does not read what it compares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SourceMark {
    name: String,
    size_bytes: u64,
    modified_ns: u64,
}

impl Source {
    /// Looks at the file.
    ///
    /// # Errors
    /// `source` if it can't be read or is no file.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let failed =
            |text: &str| Failure::storage("source", format!("{}: {text}", path.display())).help("check the name");
        let meta = fs::metadata(path).map_err(|error| failed(&error.to_string()))?;
        if !meta.is_file() {
            return Err(failed("is not a file")); // before it is opened: a pipe would wait for a writer
        }
        File::open(path).map_err(|error| failed(&error.to_string()))?;
        let path = fs::canonicalize(path).map_err(|error| failed(&error.to_string()))?;
        let Some(text) = path.to_str() else {
            return Err(failed("its name is not UTF-8").help("rename it"));
        };
        let modified = meta.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        let mark = SourceMark {
            name: text.rsplit('/').next().unwrap_or_default().to_owned(),
            size_bytes: meta.len(),
            modified_ns: u64::try_from(modified.as_nanos()).unwrap_or(u64::MAX),
        };
        Ok(Self { path, mark })
    }

    /// Where it is, for [`Places`].
    pub fn uri(&self) -> String {
        uri(&self.path)
    }

    /// Absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes.
    pub fn size_bytes(&self) -> u64 {
        self.mark.size_bytes
    }
}

/// The `file:` URI of an absolute path.
pub fn uri(path: &Path) -> String {
    format!("file:{}", path.display())
}

/// Source and recipe: the same order gives the same presentation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Order {
    farm: String,
    source: SourceMark,
    profile: Profile,
    segment_ms: u32,
    rungs: Rungs,
    preset: Option<String>,
    mp4: bool,
    growing_ms: Option<NonZeroU32>,
}

impl Order {
    /// What this version of the farm is asked to make of `source`.
    pub fn new(
        source: &Source,
        profile: Profile,
        segment_ms: u32,
        rungs: Rungs,
        preset: Option<String>,
        mp4: bool,
    ) -> Self {
        let farm = env!("CARGO_PKG_VERSION").to_owned();
        Self { farm, source: source.mark.clone(), profile, segment_ms, rungs, preset, mp4, growing_ms: None }
    }

    /// The source may still grow, so it is recognised by its name alone.
    pub fn while_growing(mut self, growing_ms: Option<NonZeroU32>) -> Self {
        if growing_ms.is_some() {
            (self.source.size_bytes, self.source.modified_ns) = (0, 0);
        }
        Self { growing_ms, ..self }
    }

    /// Whether it can be made at all, before a folder is touched for it.
    ///
    /// # Errors
    /// `recipe`, with everything that is wrong.
    pub fn check(&self) -> Result<(), Failure> {
        let nowhere = Places { source: String::new(), target: String::new(), work: String::new() };
        let wrong = |complaints: Vec<String>| Failure::new(Exit::Usage, "recipe", complaints.join("\n  "));
        self.spec(nowhere).check().map_err(wrong)
    }

    /// The job: the same for the same order, wherever it is carried out.
    pub fn spec(&self, places: Places) -> JobSpec {
        let text = serde_json::to_vec(self).expect("plain data should serialise");
        let digest = shared::hex::encode(&Sha256::digest(&text)[..8]);
        JobSpec {
            id: JobId::new(digest).expect("hexadecimal digits should be an id"),
            places,
            profile: self.profile.clone(),
            segment_ms: self.segment_ms,
            rungs: self.rungs.clone(),
            preset: self.preset.clone(),
            movies: self.mp4,
            growing_ms: self.growing_ms,
            tenant: TenantId::default(),
            keep_parts_ms: 0,
        }
    }

    /// The failure of finding that a folder was made, or begun, to another order.
    pub fn differs(&self, earlier: &Self, out: &Path) -> Failure {
        let mut what = Vec::new();
        let mut compare = |name: &str, then: String, now: String| {
            if then != now {
                what.push(format!("{name} was {then} and is now {now}"));
            }
        };
        compare("the version", earlier.farm.clone(), self.farm.clone());
        compare("the source", earlier.source.to_string(), self.source.to_string());
        compare("the profile", earlier.profile.name.clone(), self.profile.name.clone());
        compare("the segment duration", format!("{} ms", earlier.segment_ms), format!("{} ms", self.segment_ms));
        compare("--rungs", earlier.rungs.to_string(), self.rungs.to_string());
        let preset = |order: &Self| order.preset.clone().unwrap_or_else(|| "the profile's".to_owned());
        compare("--preset", preset(earlier), preset(self));
        let growing = |order: &Self| order.growing_ms.map_or(0, NonZeroU32::get).to_string();
        compare("--growing, in ms,", growing(earlier), growing(self));
        compare("--mp4", earlier.mp4.to_string(), self.mp4.to_string());
        if what.is_empty() {
            what.push(format!("profile {} has other content", self.profile.name));
        }
        other_order(out, &what.join("; "))
    }
}

/// A folder holds something else than what is asked for.
pub fn other_order(out: &Path, what: &str) -> Failure {
    Failure::new(Exit::Storage, "output_differs", format!("{}: holds something else: {what}", out.display()))
        .help("choose another folder, or --fresh to remove what an earlier run made there")
}

impl std::fmt::Display for SourceMark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} bytes, modified {} s)", self.name, self.size_bytes, self.modified_ns / 1_000_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(source: &Source, segment_ms: u32) -> Order {
        Order::new(source, Profile::named("web").unwrap(), segment_ms, Rungs::Auto, None, false)
    }

    fn id(order: &Order) -> JobId {
        order.spec(Places { source: "s".into(), target: "t".into(), work: "w".into() }).id
    }

    #[test]
    fn the_job_is_known_by_source_and_recipe() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.mp4");
        fs::write(&path, "one").unwrap();
        let first = Source::open(&path).unwrap();
        assert_eq!(id(&order(&first, 6000)), id(&order(&Source::open(&path).unwrap(), 6000)));
        assert_ne!(id(&order(&first, 6000)), id(&order(&first, 2000)));
        fs::write(&path, "other").unwrap();
        let second = Source::open(&path).unwrap();
        assert_ne!(id(&order(&first, 6000)), id(&order(&second, 6000)));

        let failure = order(&second, 2000).differs(&order(&first, 6000), Path::new("out"));
        assert_eq!(failure.code, "output_differs");
        assert!(failure.message.contains("(3 bytes"), "{failure}");
        assert!(failure.message.contains("the segment duration was 6000 ms and is now 2000 ms"), "{failure}");
    }

    #[test]
    fn a_folder_is_no_source() {
        assert_eq!(Source::open(&std::env::temp_dir()).unwrap_err().exit, Exit::Storage);
        assert_eq!(Source::open(Path::new("/nowhere/a.mp4")).unwrap_err().code, "source");
    }
}
