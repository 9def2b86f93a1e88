//! Logs on standard error, without tearing the progress bars.

use std::io::{self, Write};

use indicatif::MultiProgress;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Starts logging. `level` wins over `RUST_LOG`; without either, warnings and errors are shown.
///
/// # Errors
/// Says what is wrong with `level`.
pub fn start(level: Option<&str>, json: bool, bars: &MultiProgress) -> Result<(), String> {
    let from_env = std::env::var(EnvFilter::DEFAULT_ENV).ok();
    let directives = level.or(from_env.as_deref()).unwrap_or("warn");
    let filter = EnvFilter::try_new(directives).map_err(|error| format!("log level {directives:?}: {error}"))?;
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
