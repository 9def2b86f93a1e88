//! What a program is around its work: settings, logs, a runtime, and how it ends.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use tracing::error;

use crate::config::{self, ConfigError};
use crate::telemetry::LogConfig;

/// The program could not begin, or could not go on.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How long a program may take to say whether it is ready.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// Settings that can be used. Says what is wrong with others.
///
/// # Errors
/// 2, with which a program ends then.
pub fn usable<C>(settings: Result<C, ConfigError>) -> Result<C, ExitCode> {
    settings.map_err(|complaints| {
        eprintln!("{complaints}");
        ExitCode::from(2)
    })
}

/// Asks the program that runs on this host with these settings whether it is ready. Ends with 1 if it is not, and with 2 if
/// the settings can't be used; says why.
pub fn check(pages: Result<SocketAddr, ConfigError>) -> ExitCode {
    let pages = match usable(pages) {
        Ok(pages) => pages,
        Err(end) => return end,
    };
    let said = ask(pages).unwrap_or_else(|error| format!("{pages}: {error}"));
    let (head, body) = said.split_once("\r\n\r\n").unwrap_or(("", &said));
    println!("{}", body.trim_end());
    let ready = head.split_ascii_whitespace().nth(1) == Some("200");
    if ready { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn ask(mut pages: SocketAddr) -> io::Result<String> {
    match pages {
        SocketAddr::V4(_) if pages.ip().is_unspecified() => pages.set_ip(Ipv4Addr::LOCALHOST.into()),
        SocketAddr::V6(_) if pages.ip().is_unspecified() => pages.set_ip(Ipv6Addr::LOCALHOST.into()),
        SocketAddr::V4(_) | SocketAddr::V6(_) => {}
    }
    let mut stream = TcpStream::connect_timeout(&pages, ANSWER_TIMEOUT)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    Ok(said)
}

/// Ends with 2 if the settings can't be used; prints them if that was asked for; otherwise logs as they say and does the
/// program's work, to end with 1 if that fails.
pub fn run<C: Serialize, W: Future<Output = Result<(), Failure>>>(
    settings: Result<C, ConfigError>,
    print: bool,
    log: impl FnOnce(&C) -> &LogConfig,
    work: impl FnOnce(C) -> W,
) -> ExitCode {
    let settings = match usable(settings) {
        Ok(settings) => settings,
        Err(end) => return end,
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
