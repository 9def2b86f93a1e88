//! The worker program: settings, logs, the way to the coordinator, and then work until it is asked to end.

#[path = "main/selftest.rs"]
mod selftest;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};
use shared::program::{self, Failure};
use shared::queue::metered::MeteredQueue;
use shared::queue::nats::{NatsConfig, NatsQueue};
use shared::shutdown::Shutdown;
use shared::telemetry::{self, Readiness, Teller};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use worker::config::{Config, GpuUse};
use worker::metrics::{self, Metrics};
use worker::proof::{self, Proof};
use worker::run::Worker;
use worker::scratch::Scratch;

/// Pause before a broker that could not be reached is tried again.
const CONNECT_AGAIN: Duration = Duration::from_secs(1);
/// How often it is looked whether the broker is still there, and for room.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Time for what was said last to reach the broker.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Does the work of a farm: indexes, encodes, stores.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Settings; deploy/worker.toml lists them all
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the settings in force, and end
    #[arg(long)]
    print_config: bool,
    /// Ask the program that runs here with these settings whether it is ready, and end: 0 if it is, else 1
    #[arg(long)]
    check: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run attempts for a worker that is the parent process
    #[command(hide = true)]
    Slot,
    /// Try what the GPUs of this host can do, and tell
    GpuSelftest {
        /// Only the one with this UUID, or number from 0
        #[arg(long, value_name = "UUID")]
        gpu: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(Command::Slot) = args.command {
        return worker::child::run_child(); // blocking code: no runtime, no thread besides
    }
    if let Err(error) = worker::slot::hide_from_slots() {
        eprintln!("credentials can't be kept from slots: {error}");
        return ExitCode::FAILURE;
    }
    let config = Config::load(args.config.as_deref());
    if let Some(Command::GpuSelftest { gpu, json }) = args.command {
        return selftest::run(config, gpu.as_deref(), json);
    }
    if args.check {
        return program::check(config.map(|config| config.http_listen));
    }
    program::run(config, args.print_config, |config| &config.log, run)
}

/// From the first socket to the last word.
async fn run(mut config: Config) -> Result<(), Failure> {
    let id = config.id().ok_or("the name of this host can't be that of a worker: set `name`")?;
    let shutdown = Shutdown::on_signals(config.grace_period())?;
    let registry = telemetry::registry(metrics::PROGRAM);
    let metrics = Arc::new(Metrics::new(&registry));
    metrics.look_at_certificates(&config.nats);
    config.worker.storage = config.worker.storage.metered(metrics.storage.clone());
    if config.worker.gpu.enabled == GpuUse::Auto {
        gpu_metrics::expose(&registry);
    }
    let readiness = Readiness::default();
    readiness.lacks("nats", "not connected yet");
    let pages = TcpListener::bind(config.http_listen).await?;
    let ended = CancellationToken::new();
    let teller = Teller { program: "worker", instance: id.to_string() };
    let (tracer, traces) = config.telemetry.start(teller, &registry, &shutdown.tasks, ended.clone())?;
    let pages = shutdown.tasks.spawn(telemetry::serve(pages, registry, readiness.clone(), ended.clone()));
    info!(pages = %config.http_listen, worker = %id, "worker program started");

    let connecting = connect(&config.nats);
    let Some(nats) = shutdown.draining.run_until_cancelled(connecting).await else { return Ok(()) };
    let nats = Arc::new(nats);
    let queue = Arc::new(MeteredQueue::new(nats.clone(), metrics.clone()));
    let worker = Worker::new(config.worker, queue, id, shutdown.draining.clone()).traced(tracer);
    let (proof, scratch) = (worker.proof(), worker.scratch());
    let worked = tokio::select! {
        worked = worker.run(shutdown.abort.clone()) => worked,
        () = look(&nats, &readiness, &shutdown.draining) => Ok(()),
        () = tell_proof(proof, &readiness) => Ok(()),
        () = look_at_scratch(scratch, &metrics) => Ok(()),
    };

    // Every slot has ended, and what was given back is on its way.
    if tokio::time::timeout(LAST_WORDS, nats.finish()).await.is_err() {
        warn!("the broker has not taken the last words: what was given back comes back later by itself");
    }
    ended.cancel();
    pages.await??;
    if let Some(traces) = traces {
        traces.await?;
    }
    info!("worker program stopped");
    Ok(worked?)
}

/// Waits for a broker.
async fn connect(config: &NatsConfig) -> NatsQueue {
    loop {
        match NatsQueue::connect(config).await {
            Ok(queue) => return queue,
            Err(error) => warn!(%error, "trying again"),
        }
        tokio::time::sleep(CONNECT_AGAIN).await;
    }
}

/// Says of each class why it is not claimed; never returns.
async fn tell_proof(mut proof: watch::Receiver<Proof>, readiness: &Readiness) {
    loop {
        for class in proof::tried() {
            match proof.borrow_and_update().lack(class) {
                None => readiness.has(class.as_str()),
                Some(lack) => readiness.lacks(class.as_str(), lack),
            }
        }
        if proof.changed().await.is_err() {
            return std::future::pending().await; // the worker has ended, and so does the program
        }
    }
}

/// Says how much room there is for scratch files; never returns.
async fn look_at_scratch(scratch: Arc<Scratch>, metrics: &Metrics) {
    let mut again = tokio::time::interval(LOOK_AGAIN);
    loop {
        again.tick().await;
        let scratch = scratch.clone();
        match tokio::task::spawn_blocking(move || scratch.space()).await.unwrap_or_else(|gone| Err(gone.into())) {
            Ok(space) => metrics.looked_at_scratch(space),
            Err(error) => warn!(%error, "nobody knows how much room there is for scratch files"),
        }
    }
}

/// Says whether tasks can come here; never returns.
async fn look(nats: &NatsQueue, readiness: &Readiness, draining: &CancellationToken) {
    let mut again = tokio::time::interval(LOOK_AGAIN);
    loop {
        tokio::select! {
            _ = again.tick() => {}
            () = draining.cancelled() => {
                readiness.lacks("worker", "it finishes what runs and ends");
                return std::future::pending().await;
            }
        }
        match nats.check().await {
            Ok(()) => readiness.has("nats"),
            Err(error) => readiness.lacks("nats", error.to_string()),
        }
    }
}
