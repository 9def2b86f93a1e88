//! `farm probe`: what a source is, and what a transcode would do about what is unusual.

mod facts;
mod index;
mod table;

use std::path::PathBuf;

use coordinator::profile::Profile;
use indicatif::MultiProgress;
use serde::Serialize;
use shared::source::Verdict;

use crate::exit::{Exit, Failure};
use crate::order::Source;
use crate::progress::{print_json, print_text};

pub use facts::Facts;
pub use index::index;

/// What is in a source: streams, timing, colour, and whether it can be transcoded
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  farm probe clip.mov\n\nA refused source ends with 3 (corrupt) or 4 (unsupported).")]
pub struct Args {
    /// The file to read, to its end
    #[arg(value_name = "SOURCE")]
    source: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Indexes the source as a transcode would, and prints what was found.
///
/// # Errors
/// As the index task's; a refused source is not an error but an exit code.
pub async fn run(args: Args, bars: MultiProgress) -> Result<Exit, Failure> {
    let source = Source::open(&args.source)?;
    let max_pixels = Profile::named("web").expect("the default profile should be built in").max_pixels;
    let facts = index(&source, max_pixels, &bars).await.inspect_err(|failure| {
        if args.json {
            print_json(&Refusal { verdict: verdict_of(failure.exit), error: failure });
        }
    })?;
    let report = facts.report().ok_or_else(|| Failure::internal("the index ended without a word about the source"))?;
    if args.json {
        print_json(&report);
    } else {
        print_text(&report.table())?;
    }
    Ok(exit_of(report.verdict))
}

/// How a command ends for a source that was judged so.
pub fn exit_of(verdict: Verdict) -> Exit {
    match verdict {
        Verdict::Standard | Verdict::NonStandard => Exit::Done,
        Verdict::Corrupt => Exit::Corrupt,
        Verdict::Unsupported => Exit::Unsupported,
    }
}

/// What a source is that an index task ended so on; `None` if the end says nothing about the source.
pub fn verdict_of(exit: Exit) -> Option<Verdict> {
    match exit {
        Exit::Corrupt => Some(Verdict::Corrupt),
        Exit::Unsupported => Some(Verdict::Unsupported),
        _ => None,
    }
}

#[derive(Serialize)]
struct Refusal<'a> {
    verdict: Option<Verdict>,
    error: &'a Failure,
}
