//! What a program is around its work: settings, logs, a runtime, and how it ends.

use std::process::ExitCode;

use serde::Serialize;
use tracing::error;

use crate::config::{self, ConfigError};
use crate::telemetry::LogConfig;

/// The program could not begin, or could not go on.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Ends with 2 if the settings can't be used; prints them if that was asked for; otherwise logs as they say and does the
/// program's work, to end with 1 if that fails.
pub fn run<C: Serialize, W: Future<Output = Result<(), Failure>>>(
    settings: Result<C, ConfigError>,
    print: bool,
    log: impl FnOnce(&C) -> &LogConfig,
    work: impl FnOnce(C) -> W,
) -> ExitCode {
    let settings = match settings {
        Ok(settings) => settings,
        Err(complaints) => {
            eprintln!("{complaints}");
            return ExitCode::from(2);
        }
    };
    if print {
        print!("{}", config::print(&settings));
        return ExitCode::SUCCESS;
    }
    log(&settings).start();
    let runtime = tokio::runtime::Runtime::new();
    match runtime.map_err(Failure::from).and_then(|runtime| runtime.block_on(work(settings))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            error!(%failure, "the program can't go on");
            ExitCode::FAILURE
        }
    }
}
