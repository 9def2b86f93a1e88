//! The command line: arguments, logging, exit code. Every command has a module of its own in the library.
#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::io::Write;
use std::pin::Pin;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use farm::exit::{self, Exit, Failure};
use farm::{capacity, doctor, fleet, job, ladder, logging, play, probe, recipe, serve, transcode};
use indicatif::MultiProgress;

/// Makes adaptive HLS and DASH out of a video file, on this machine.
#[derive(Debug, Parser)]
#[command(version, after_help = exit::TABLE, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// What to log: error, warn, info, debug, trace, or a filter as in RUST_LOG
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Log one JSON object a line
    #[arg(long, global = true)]
    log_json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make HLS and DASH of a video file
    Transcode(transcode::Args),
    /// Say what a source is, and what is unusual about it
    Probe(probe::Args),
    /// Say what would be made of a source, and why the rest would not
    Ladder(ladder::Args),
    /// Serve a presentation with a player page
    Play(play::Args),
    /// Serve the farm of this machine: an API for programs and for the commands below
    Serve(serve::Args),
    /// Ask a farm that is served for jobs
    Job(job::Args),
    /// Look after the workers of a farm that is served
    Worker(fleet::Args),
    /// Say what this host can do for a farm, and what is missing
    Doctor(doctor::Args),
    /// Say how many cores, cards and nodes a load takes, and what they cost
    Capacity(capacity::Args),
    /// Look at profiles: what can be made of a source
    Profile(recipe::ProfileArgs),
    /// Run attempts for a worker that is the parent process
    #[command(hide = true)]
    Slot,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            return end(Err(wrong_usage(&error)));
        }
        Err(help) => help.exit(),
    };
    let bars = MultiProgress::new();
    if let Err(message) = logging::start(cli.log_level.as_deref(), cli.log_json, &bars) {
        return end(Err(Failure::new(Exit::Usage, "log_level", message)));
    }
    let command: Pin<Box<dyn Future<Output = Result<Exit, Failure>>>> = match cli.command {
        Command::Transcode(args) => Box::pin(transcode::run(args, bars)),
        Command::Probe(args) => Box::pin(probe::run(args, bars)),
        Command::Ladder(args) => Box::pin(ladder::run(args, bars)),
        Command::Play(args) => Box::pin(play::run(args)),
        Command::Serve(args) => Box::pin(serve::run(args)),
        Command::Job(args) => Box::pin(job::run(args, bars)),
        Command::Worker(args) => Box::pin(fleet::run(args)),
        Command::Doctor(args) => Box::pin(doctor::run(args)),
        Command::Capacity(args) => Box::pin(capacity::run(args)),
        Command::Profile(args) => Box::pin(recipe::run(args)),
        Command::Slot => return worker::child::run_child(), // blocking code: no runtime, no thread besides
    };
    match tokio::runtime::Runtime::new() {
        Ok(runtime) => end(runtime.block_on(command)),
        Err(error) => end(Err(Failure::internal(error.to_string()))),
    }
}

/// clap's complaint with a code, as every failure has one.
fn wrong_usage(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let text = text.trim_end().trim_end_matches("For more information, try '--help'.").trim_end();
    Failure::new(Exit::Usage, "usage", text.strip_prefix("error: ").unwrap_or(text)).help("try --help")
}

fn end(result: Result<Exit, Failure>) -> ExitCode {
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => {
            // Who has closed standard error still gets the exit code.
            let _ = writeln!(std::io::stderr(), "{failure}");
            failure.exit.into()
        }
    }
}
