//! The command line: arguments, logging, exit code. Every command has a module of its own in the library.

use std::pin::Pin;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use farm::exit::{self, Exit, Failure};
use farm::{ladder, logging, play, probe, recipe, transcode};
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
    /// Look at profiles: what can be made of a source
    Profile(recipe::ProfileArgs),
    /// Run attempts for a worker that is the parent process
    #[command(hide = true)]
    Slot,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let bars = MultiProgress::new();
    if let Err(message) = logging::start(cli.log_level.as_deref(), cli.log_json, &bars) {
        return end(Err(Failure::new(Exit::Usage, "log_level", message)));
    }
    let command: Pin<Box<dyn Future<Output = Result<Exit, Failure>>>> = match cli.command {
        Command::Transcode(args) => Box::pin(transcode::run(args, bars)),
        Command::Probe(args) => Box::pin(probe::run(args, bars)),
        Command::Ladder(args) => Box::pin(ladder::run(args, bars)),
        Command::Play(args) => Box::pin(play::run(args)),
        Command::Profile(args) => return end(recipe::run(&args)),
        Command::Slot => return worker::child::run_child(), // blocking code: no runtime, no thread besides
    };
    match tokio::runtime::Runtime::new() {
        Ok(runtime) => end(runtime.block_on(command)),
        Err(error) => end(Err(Failure::internal(error.to_string()))),
    }
}

fn end(result: Result<Exit, Failure>) -> ExitCode {
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => {
            eprintln!("{failure}");
            failure.exit.into()
        }
    }
}
