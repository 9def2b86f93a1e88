//! `farm serve`: the farm of this machine, with the API of a cluster.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use coordinator::api::{Api, ApiConfig, ApiError, Leader};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::engine::{Engine, Fitness};
use crate::exit::{Exit, Failure};
use crate::interrupts::Interrupts;
use crate::order::uri;
use crate::progress::print_text;
use crate::traces::{Settings, Traces};

/// Serve the farm of this machine: the API, a worker and the state, in one process
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  farm serve --data /srv/farm
  farm job submit film.mov --watch        in a second terminal, or from a program by gRPC

It may be killed at any moment, with -9 too: the same command continues what was under way. Ctrl-C once finishes the
attempts that have begun, twice stops at once. Without keys it serves this host alone, and everybody on it; --config has keys,
TLS, and which places sources and presentations may be at.")]
pub struct Args {
    /// Address and port of the API [default: 127.0.0.1:7600]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Folder for state, intermediate objects and presentations that name no target
    #[arg(long, default_value = "farm-data", value_name = "DIR")]
    data: PathBuf,
    /// Attempts at a time, each in a process of its own [default: the number of CPUs]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    slots: Option<u16>,
    /// Folder of profiles besides the built-in ones, NAME.toml each
    #[arg(long, value_name = "DIR")]
    profile_dir: Option<PathBuf>,
    /// TOML of the API, as the table [api] of deploy/coordinator.toml, and with its table [telemetry]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Serves until it is interrupted.
///
/// # Errors
/// `config`, `listen`, `data`, and what the engine's parts end with.
pub async fn run(args: Args) -> Result<Exit, Failure> {
    let data = folder(&args.data)?;
    let (config, settings) = config(&args, &data)?;
    let traces = Traces::start(settings)?;
    let mut interrupts = Interrupts::listen()?;
    let (leader, leaders) = watch::channel(None);
    let down = CancellationToken::new();
    // The address first: a second `farm serve` should hear of the first, and not of its state being locked.
    let api = Api::bind(&config, leaders, down.clone()).await.map_err(api_failure)?.traced(traces.tracer());
    let address = api.address().map_err(|error| Failure::internal(error.to_string()))?;
    let slots = args.slots.map(usize::from).and_then(NonZeroUsize::new);
    let mut engine =
        Engine::start_with(&data, slots, Fitness::Proven, traces.tracer(), |storage| config.archive(storage))?;
    engine.handle().workers().await; // the first answer: by then everything that is remembered is known
    leader.send_replace(Some(Leader::Here(engine.handle().clone())));
    print_text(&hello(address, &args, config.tls.is_some()))?;
    let mut serving = std::pin::pin!(api.serve());
    let mut interrupted = 0;
    let ended = loop {
        tokio::select! {
            served = &mut serving => break served.map_err(api_failure),
            over = engine.over() => break over,
            () = interrupts.next() => {
                interrupted += 1;
                if interrupted == 1 {
                    engine.drain();
                } else {
                    engine.abort();
                }
            }
        }
    };
    down.cancel(); // streams end, calls are answered
    let stopped = engine.stop().await;
    let told = traces.finish().await;
    ended.and(stopped).and(told).map(|()| Exit::Done)
}

/// Made if it is missing, and absolute: jobs name places in it.
fn folder(data: &Path) -> Result<PathBuf, Failure> {
    let failed = |error: std::io::Error| {
        Failure::storage("data", format!("{}: {error}", data.display())).help("choose another --data")
    };
    std::fs::create_dir_all(data).map_err(failed)?;
    let data = std::fs::canonicalize(data).map_err(failed)?;
    match data.to_str() {
        Some(_) => Ok(data),
        None => Err(Failure::storage("data", format!("{}: its name is not UTF-8", data.display())).help("rename it")),
    }
}

/// What the file says, with this machine's places where it says nothing.
fn config(args: &Args, data: &Path) -> Result<(ApiConfig, Settings), Failure> {
    let wrong = |path: &Path, text: String| Failure::new(Exit::Usage, "config", format!("{}: {text}", path.display()));
    let (mut config, settings) = match &args.config {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| wrong(path, error.to_string()))?;
            ApiConfig::from_toml_beside(&text, "telemetry").map_err(|error| wrong(path, error))?
        }
        None => Default::default(),
    };
    config.listen = args.listen.unwrap_or(config.listen);
    config.profile_dir = args.profile_dir.clone().or(config.profile_dir);
    let places = &mut config.places;
    if args.config.is_none() {
        // Whoever reaches it is on this host, and could run `farm transcode`.
        places.sources = vec!["file:/".to_owned()];
        places.targets = vec!["file:/".to_owned()];
    }
    if places.default_target.is_empty() {
        places.default_target = uri(&data.join("out"));
    }
    if places.work.is_empty() {
        places.work = uri(&data.join("work"));
    }
    Ok((config, settings))
}

fn hello(address: SocketAddr, args: &Args, tls: bool) -> String {
    let scheme = if tls { "https" } else { "http" };
    let data = args.data.display();
    let server = match address.port() {
        7600 if address.ip().is_loopback() && !tls => String::new(),
        _ => format!(" --server {scheme}://{address}"),
    };
    format!(
        "serving   {scheme}://{address} (gRPC, with reflection)\n\
         state     {data}\n\
         try it    farm job submit film.mov --watch{server}\n\
         Ctrl-C ends it; the same command continues what was under way.\n"
    )
}

fn api_failure(error: ApiError) -> Failure {
    match &error {
        ApiError::Config(complaints) => Failure::new(Exit::Usage, "config", complaints.join("\n  ")),
        ApiError::Listen { .. } => Failure::new(Exit::Usage, "listen", error.to_string())
            .help("choose another --listen; port 0 takes any. Is a farm being served already?"),
        ApiError::Transport(_) | ApiError::Reflection(_) => Failure::internal(error.to_string()),
    }
}
