//! `farm doctor`: what this host can do, what is missing, and what to do about it.

mod codecs;
mod host;
mod services;

use std::path::PathBuf;

use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::progress::{print_json, print_text};

/// Say what this host can do for a farm, and what is missing
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  farm doctor                                          codecs, memory, scratch space, limits
  farm doctor --nats nats://10.0.0.5 --etcd http://10.0.0.6:2379 --storage s3://media/farm

Codecs are proven by using them, as a worker does before it takes a task; rights by writing and deleting an object or a key.
Credentials come from the environment, as for the programs. It ends with 1 if anything is bad.")]
pub struct Args {
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

/// Looks at everything.
///
/// # Errors
/// `stdout`; a finding is none.
pub async fn run(args: Args) -> Result<Exit, Failure> {
    let mut bad = false;
    let mut tell = |finding: Finding| {
        bad |= finding.grade == Grade::Bad;
        if args.json {
            print_json(&finding);
            return Ok(());
        }
        let grade = format!("{:?}", finding.grade).to_lowercase();
        let mut line = format!("{grade:5} {:18} {}\n", finding.what, finding.text);
        if !finding.advice.is_empty() {
            line.push_str(&format!("{:24} → {}\n", "", finding.advice));
        }
        print_text(&line)
    };
    let scratch = args.scratch.clone().unwrap_or_else(std::env::temp_dir);
    host::look(&scratch).into_iter().try_for_each(&mut tell)?;
    for finding in codecs::look().await {
        tell(finding)?;
    }
    for url in &args.nats {
        tell(services::nats(url).await)?;
    }
    for url in &args.etcd {
        tell(services::etcd(url).await)?;
    }
    for uri in &args.storage {
        tell(services::storage(uri, &args.s3_endpoint).await)?;
    }
    Ok(if bad { Exit::Unfit } else { Exit::Done })
}
