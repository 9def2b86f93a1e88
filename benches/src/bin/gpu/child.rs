//! Stages in processes of their own, on this card or on the emulators.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use card::{Library, folder};
use tempfile::TempDir;
use tokio::process::Command;

use crate::findings::Finding;
use crate::{Arguments, Stage};

/// The card that the emulated NVENC plays, where the real card has none to play.
const ENCODER_OF: &str = "l4";

/// How a stage ended, and what it wrote.
struct Ended {
    /// `None`: it took too long.
    status: Option<ExitStatus>,
    output: String,
    errors: String,
}

/// What all stages share: a folder that goes when all is done.
pub struct House {
    arguments: Arguments,
    scratch: TempDir,
}

impl House {
    pub fn new(arguments: &Arguments) -> Result<Self> {
        let scratch = tempfile::Builder::new().prefix("farm-gpu-check-").tempdir()?;
        let house = Self { arguments: arguments.clone(), scratch };
        let nvenc = house.scratch.path().join("nvenc");
        std::fs::create_dir(&nvenc)?;
        let built = built()?;
        folder(&nvenc, &built, &[Library::Encode])?;
        if arguments.on_emulator.is_some() {
            let driver = house.driver();
            std::fs::create_dir(&driver)?;
            folder(&driver, &built, &Library::ALL)?;
        }
        Ok(house)
    }

    /// Why there is nothing to check; `None`: there is a card.
    pub async fn look(&self) -> Result<Option<String>> {
        let ended = self.start(Stage::Look, Stage::Look.limit()).await?;
        let lack = ended.output.trim().to_owned();
        match ended.status {
            Some(status) if status.success() => Ok((!lack.is_empty()).then_some(lack)),
            Some(status) => bail!("looking for a card: {status}: {}", ended.errors.trim()),
            None => bail!("the driver does not answer within {:?}", Stage::Look.limit()),
        }
    }

    /// Runs a stage: what it found, how it ended if not well, and what the emulators have against it.
    pub async fn run(&self, stage: Stage, limit: Duration) -> Result<Vec<Finding>> {
        if limit.is_zero() {
            return Ok(vec![finding("all of it", "left out: the time is up", None)]);
        }
        let ended = self.start(stage, limit).await?;
        let read = |line: &str| serde_json::from_str(line).with_context(|| format!("not a finding: {line}"));
        let mut findings: Vec<Finding> = ended.output.lines().map(read).collect::<Result<_>>()?;
        let told = findings.iter().any(|finding| finding.right == Some(false));
        let end = match ended.status {
            Some(status) if status.success() || told => None,
            Some(status) => Some(format!("{status}: {}", ended.errors.trim())),
            None => Some(format!("stopped: not done within {} s", limit.as_secs())),
        };
        findings.extend(end.map(|end| finding("the stage", &end, Some(false))));
        let held_against = std::fs::read_to_string(self.violations(stage)).unwrap_or_default();
        if !held_against.trim().is_empty() {
            findings.push(finding("calls that the emulators hold to be wrong", held_against.trim(), Some(false)));
        }
        Ok(findings)
    }

    /// A stage that takes too long is killed.
    async fn start(&self, stage: Stage, limit: Duration) -> Result<Ended> {
        let mut command = std::process::Command::new(std::env::current_exe()?);
        let name = clap::ValueEnum::to_possible_value(&stage).context("a stage without a name")?;
        command.args(["--stage", name.get_name()]).arg("--scratch").arg(self.scratch.path());
        command.args(["--device", &self.arguments.device.to_string()]);
        command.args(self.arguments.clips.iter().flat_map(|folder| ["--clips".as_ref(), folder.as_os_str()]));
        if self.arguments.quick || self.arguments.on_emulator.is_some() {
            command.arg("--quick");
        }
        match &self.arguments.on_emulator {
            Some(card) => {
                let card = if stage == Stage::ZeroCopy { ENCODER_OF } else { card };
                card::play(&mut command, &self.driver(), card, &self.arguments.faults, &self.violations(stage));
                // And for the farm's slots, which have no environment.
                card::settings::set(&self.driver(), card, &self.arguments.faults, &self.violations(stage))?;
            }
            None => {
                command.env(card::variable::CARD, ENCODER_OF);
                command.env(card::variable::VIOLATIONS, self.violations(stage));
            }
        }
        // Into files, so that what it wrote before it was killed is kept.
        let [output, errors] = ["output", "errors"].map(|what| self.scratch.path().join(format!("{what}-{stage:?}")));
        command.stdin(Stdio::null()).stdout(File::create(&output)?).stderr(File::create(&errors)?);
        let mut child = Command::from(command).kill_on_drop(true).spawn()?;
        let status = match tokio::time::timeout(limit, child.wait()).await {
            Ok(status) => Some(status?),
            Err(_) => {
                child.kill().await?;
                None
            }
        };
        let text = |file| std::fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Ok(Ended { status, output: text(output)?, errors: text(errors)? })
    }

    fn driver(&self) -> PathBuf {
        self.scratch.path().join("driver")
    }

    fn violations(&self, stage: Stage) -> PathBuf {
        self.scratch.path().join(format!("violations-{stage:?}"))
    }
}

/// Where the emulators lie: beside this program, or where cargo puts what tests need.
fn built() -> Result<PathBuf> {
    let beside = folder::built()?;
    let places = [beside.clone(), beside.join("deps")];
    let found = places.iter().find(|place| place.join(Library::Encode.built_as()).is_file());
    found.cloned().with_context(|| no_emulators(&beside))
}

fn no_emulators(beside: &Path) -> String {
    let file = Library::Encode.built_as();
    format!("no {file} in {}: `cargo build -p emulated-cuda -p emulated-cuvid -p emulated-encode`", beside.display())
}

fn finding(what: &str, found: &str, right: Option<bool>) -> Finding {
    Finding { what: what.to_owned(), found: found.to_owned(), right, figure: None }
}
