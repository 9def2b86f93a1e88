//! Logs on standard error, without tearing the progress bars.

use std::io::{self, Write};

use indicatif::MultiProgress;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// What is logged unless something else is asked for. What worker and coordinator warn of, the commands tell people
/// themselves.
const DEFAULT_FILTER: &str = "warn,worker=error,coordinator=error,coordinator::run::outbox=off";

/// Starts logging. `level` wins over `RUST_LOG`.
///
/// # Errors
/// Says what is wrong with `level` or `RUST_LOG`.
pub fn start(level: Option<&str>, json: bool, bars: &MultiProgress) -> Result<(), String> {
    let filter = match level {
        Some(directives) => {
            EnvFilter::try_new(directives).map_err(|error| format!("--log-level {directives:?}: {error}"))?
        }
        None if std::env::var_os(EnvFilter::DEFAULT_ENV).is_none() => EnvFilter::new(DEFAULT_FILTER),
        None => EnvFilter::try_from_default_env().map_err(|error| format!("RUST_LOG: {error}"))?,
    };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(AroundBars(bars.clone()));
    if json {
        log.json().init()
    } else {
        log.compact().with_target(false).init()
    }
    Ok(())
}

/// Takes the bars away for the moment a line is written.
#[derive(Clone)]
struct AroundBars(MultiProgress);

impl<'a> MakeWriter<'a> for AroundBars {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for AroundBars {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write_all(line))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
