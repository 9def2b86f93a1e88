//! `farm doctor`: what this host can do, what is missing, and what to do about it.

mod codecs;
mod gpus;
mod host;
mod services;
#[cfg(feature = "cluster")]
mod settings;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use shared::storage::StorageConfig;
use worker::config::WorkerConfig;
use worker::slot::spawner::Spawner;

use crate::exit::{Exit, Failure};
use crate::progress::{print_json, print_text};

/// Say what this host can do for a farm, and what is missing
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  farm doctor                                          codecs, GPUs, memory, scratch space, limits
  farm doctor --config worker.toml                     the same, and NATS, as the worker with these settings uses them
  farm doctor --config coordinator.toml                NATS, etcd, storage, certificates and profiles of a coordinator
  farm doctor --nats nats://10.0.0.5 --etcd http://10.0.0.6:2379 --storage s3://media/farm

Codecs and GPUs are proven by using them, as a worker does before it takes a task; rights by writing and deleting an object or
a key. Credentials come from the environment, as for the programs. It ends with 1 if anything is bad; no GPU is not.")]
pub struct Args {
    /// Settings of a coordinator or a worker: look at what that program uses, in its way
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder for intermediate files [default: the system's]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// A NATS server to try; may be given more than once
    #[arg(long, value_name = "URL")]
    nats: Vec<String>,
    /// An etcd server to try; may be given more than once
    #[arg(long, value_name = "URL")]
    etcd: Vec<String>,
    /// A place to try for sources and presentations; may be given more than once
    #[arg(long, value_name = "URI")]
    storage: Vec<String>,
    /// Where S3 is, if it is not Amazon's
    #[arg(long, value_name = "URL", default_value = "", hide_default_value = true)]
    s3_endpoint: String,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// How good something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Grade {
    /// Nothing to do.
    Ok,
    /// It works, and might work better.
    Warn,
    /// It does not work.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    what: String,
    grade: Grade,
    /// What was seen.
    text: String,
    /// What to do about it; empty if there is nothing to do.
    advice: String,
}

impl Finding {
    fn new(what: impl Into<String>, grade: Grade, text: impl Into<String>, advice: &str) -> Self {
        let advice = if grade == Grade::Ok { String::new() } else { advice.to_owned() };
        Self { what: what.into(), grade, text: text.into(), advice }
    }
}

/// Prints what is found, and remembers whether anything was bad.
struct Report {
    json: bool,
    bad: bool,
}

impl Report {
    fn tell(&mut self, finding: Finding) -> Result<(), Failure> {
        self.bad |= finding.grade == Grade::Bad;
        if self.json {
            print_json(&finding);
            return Ok(());
        }
        let grade = format!("{:?}", finding.grade).to_lowercase();
        let mut line = format!("{grade:5} {:18} {}\n", finding.what, finding.text);
        if !finding.advice.is_empty() {
            line.push_str(&format!("{:24} → {}\n", "", finding.advice));
        }
        print_text(&line)
    }

    fn tell_all(&mut self, findings: Vec<Finding>) -> Result<(), Failure> {
        findings.into_iter().try_for_each(|finding| self.tell(finding))
    }
}

/// Looks at everything.
///
/// # Errors
/// `stdout`; a finding is none.
pub async fn run(args: Args) -> Result<Exit, Failure> {
    let mut report = Report { json: args.json, bad: false };
    let storage = match &args.config {
        None => {
            let worker = WorkerConfig::default();
            look_at_worker(&mut report, &worker, args.scratch.as_deref().unwrap_or(&std::env::temp_dir())).await?;
            None
        }
        Some(file) => look_at_program(&mut report, file, &args).await?,
    };
    let endpoint = args.s3_endpoint.clone();
    let on_command_line = StorageConfig {
        allow_http: endpoint.starts_with("http:"),
        s3_endpoint: endpoint,
        retries: 1,
        ..StorageConfig::default()
    };
    let storage = storage.filter(|_| args.s3_endpoint.is_empty()).unwrap_or(on_command_line);
    for url in &args.nats {
        report.tell(services::nats_at(url).await)?;
    }
    for url in &args.etcd {
        report.tell(services::etcd_at(url).await)?;
    }
    for uri in &args.storage {
        report.tell(services::storage(uri, &storage).await)?;
    }
    Ok(if report.bad { Exit::Unfit } else { Exit::Done })
}

/// What a worker needs of its host.
async fn look_at_worker(report: &mut Report, config: &WorkerConfig, scratch: &Path) -> Result<(), Failure> {
    report.tell_all(host::look(scratch, config.slots.get()))?;
    let spawner = match Spawner::start() {
        Ok(spawner) => spawner,
        Err(error) => return report.tell(Finding::new("slots", Grade::Bad, error.to_string(), "see the message")),
    };
    let config = Arc::new(config.clone());
    report.tell_all(codecs::look(&config, &spawner).await)?;
    report.tell_all(gpus::look(&config, &spawner).await)
}

/// What the program with these settings needs; returns how it reaches object stores.
#[cfg(feature = "cluster")]
async fn look_at_program(report: &mut Report, file: &Path, args: &Args) -> Result<Option<StorageConfig>, Failure> {
    use settings::Settings;

    let settings = Settings::read(file);
    report.tell(settings::judge(file, &settings))?;
    match settings {
        Err(_) => Ok(None),
        Ok(Settings::Worker(config)) => {
            let scratch = args.scratch.as_deref().unwrap_or(&config.worker.scratch);
            look_at_worker(report, &config.worker, scratch).await?;
            report.tell(services::nats(&config.nats).await)?;
            Ok(Some(config.worker.storage.clone()))
        }
        Ok(Settings::Coordinator(config)) => {
            report.tell(services::nats(&config.nats).await)?;
            report.tell(services::etcd(&config.etcd).await)?;
            let places = &config.api.places;
            for place in [&places.work, &places.default_target] {
                if !place.is_empty() && !place.contains('{') {
                    report.tell(services::storage(place, &config.storage).await)?;
                }
            }
            Ok(Some(config.storage.clone()))
        }
    }
}

#[cfg(not(feature = "cluster"))]
async fn look_at_program(report: &mut Report, file: &Path, _: &Args) -> Result<Option<StorageConfig>, Failure> {
    report.tell(services::left_out("settings", &file.display().to_string()))?;
    Ok(None)
}
