//! The command line: arguments, logging, exit code. Every command has a module of its own in the library.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use farm::exit::{self, Exit, Failure};
use farm::{logging, play};
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
    /// Serve a presentation with a player page
    Play(play::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let bars = MultiProgress::new();
    match logging::start(cli.log_level.as_deref(), cli.log_json, &bars) {
        Err(message) => end(Err(Failure::new(Exit::Usage, "log_level", message))),
        Ok(()) => end(run(cli.command)),
    }
}

fn run(command: Command) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| Failure::internal(error.to_string()))?;
    runtime.block_on(async {
        match command {
            Command::Play(args) => play::run(args).await,
        }
    })
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
