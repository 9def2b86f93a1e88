//! The coordinator program: settings, logs, the API, and while this one leads, the farm.
//!
//! Any number of coordinators may run. Each serves the API; one leads and decides, the others forward calls to it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use coordinator::api::{Api, Leader};
use coordinator::config::Config;
use coordinator::lead::{Candidate, Term, follow};
use coordinator::metrics::{self, Metrics};
use coordinator::run::{Coordinator, CoordinatorConfig};
use coordinator::store::etcd::{Etcd, EtcdStore};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use shared::program::{self, Failure};
use shared::queue::metered::MeteredQueue;
use shared::queue::nats::NatsQueue;
use shared::shutdown::Shutdown;
use shared::telemetry::{self, Readiness, Teller};
use shared::trace::Tracer;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Pause after a term that ended badly, so that another coordinator can try.
const PAUSE: Duration = Duration::from_secs(1);
/// Time for what was said last to reach the broker.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Decides what the workers of a farm do, and answers its API.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Settings; deploy/coordinator.toml lists them all
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the settings in force, and end
    #[arg(long)]
    print_config: bool,
    /// Ask the program that runs here with these settings whether it is ready, and end: 0 if it is, else 1
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    // What else this user runs is not to read credentials from its memory or environment.
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        eprintln!("credentials can't be kept from other processes: {error}");
        return ExitCode::FAILURE;
    }
    let config = Config::load(args.config.as_deref());
    if args.check {
        return program::check(config.map(|config| config.http_listen));
    }
    program::run(config, args.print_config, |config| &config.log, run)
}

/// From the first socket to the last lease.
async fn run(config: Config) -> Result<(), Failure> {
    let shutdown = Shutdown::on_signals(config.grace_period())?;
    let registry = telemetry::registry(metrics::PROGRAM);
    let metrics = Arc::new(Metrics::new(&registry));
    metrics.look_at_certificates(&config);
    let readiness = Readiness::default();
    readiness.lacks("leader", "not known yet");

    let ended = CancellationToken::new();
    let teller = Teller { program: "coordinator", instance: config.advertised() };
    let (tracer, traces) = config.telemetry.start(teller, &registry, &shutdown.tasks, ended.clone())?;

    // Sockets first: whoever can't have them should not lead.
    let pages = TcpListener::bind(config.http_listen).await?;
    let (leader, known) = watch::channel(None);
    let api = Api::bind(&config.api, known, shutdown.draining.clone()).await?;
    let api = api.metered(metrics.api.clone()).traced(tracer.clone());
    let etcd = Etcd::connect(&config.etcd, metrics.lead.etcd_errors.clone(), metrics.lead.etcd_seconds.clone()).await?;
    let (address, found) = watch::channel(None);
    let pages = telemetry::serve(pages, registry, readiness.clone(), ended.clone());
    let pages = shutdown.tasks.spawn(ending(shutdown.clone(), pages));
    let api = shutdown.tasks.spawn(ending(shutdown.clone(), api.serve()));
    let candidate = Candidate::new(etcd.clone(), config.advertised(), config.etcd.lease());
    info!(api = %config.api.listen, pages = %config.http_listen, "coordinator started");
    let program = Program { config, shutdown, metrics, readiness, leader, found, tracer, etcd: etcd.clone() };

    tokio::select! {
        () = program.lead_again_and_again(candidate) => {}
        () = program.follow_others() => {}
        () = follow(etcd, address) => {}
    }
    // Nothing is decided here any more; calls that are under way have the rest of the grace period.
    tokio::select! {
        served = api => served??,
        () = program.shutdown.abort.cancelled() => {}
    }
    ended.cancel();
    pages.await??;
    if let Some(traces) = traces {
        traces.await?;
    }
    info!("coordinator stopped");
    Ok(())
}

/// What ends unasked ends the program.
async fn ending<T>(shutdown: Shutdown, part: impl Future<Output = T>) -> T {
    let ended = part.await;
    if !shutdown.draining.is_cancelled() {
        shutdown.draining.cancel();
        shutdown.abort.cancel();
    }
    ended
}

/// What all parts of the program need.
struct Program {
    config: Config,
    shutdown: Shutdown,
    metrics: Arc<Metrics>,
    readiness: Readiness,
    leader: watch::Sender<Option<Leader>>,
    /// Address of the one who leads, this coordinator's own too.
    found: watch::Receiver<Option<String>>,
    tracer: Tracer,
    etcd: Etcd,
}

impl Program {
    /// Campaigns, leads, and campaigns again, until it is asked to end; then the lease is given back.
    async fn lead_again_and_again(&self, mut candidate: Candidate) {
        let draining = &self.shutdown.draining;
        while !draining.is_cancelled() {
            let term = tokio::select! {
                term = candidate.campaign() => term,
                () = draining.cancelled() => break,
            };
            self.metrics.lead.began();
            let led = self.lead(&term).await;
            self.metrics.forget();
            drop(term);
            self.point_to(self.elsewhere());
            if let Err(failure) = led {
                warn!(%failure, "this coordinator leads no longer");
                candidate.resign().await;
                draining.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
            }
        }
        self.readiness.lacks("process", "it is about to end");
        candidate.resign().await;
    }

    /// Runs the farm until the term is over or the program is asked to end.
    async fn lead(&self, term: &Term) -> Result<(), Failure> {
        let guard = term.guard();
        let store = EtcdStore::new(self.etcd.clone(), guard.clone(), self.metrics.lead.fenced_writes.clone());
        let nats = tokio::select! {
            queue = NatsQueue::connect(&self.config.nats) => Arc::new(queue?),
            () = guard.over() => return Ok(()),
            () = self.shutdown.draining.cancelled() => return Ok(()),
        };
        let queue = Arc::new(MeteredQueue::new(nats.clone(), self.metrics.clone()));
        let settings = CoordinatorConfig {
            silence: self.config.silence(),
            weights: self.config.weights.clone(),
            storage: self.config.storage.clone().metered(self.metrics.storage.clone()),
        };
        let archive = self.config.api.archive(&settings.storage);
        let (coordinator, handle) = Coordinator::with_archive(Arc::new(store), queue, settings, archive);
        let metrics = self.metrics.clone();
        let coordinator = coordinator.counting(move |count| metrics.jobs.count(count)).traced(self.tracer.clone());
        let coordinator = coordinator.awaiting_gpus(self.config.await_gpu());
        let serve = async {
            handle.workers().await; // the first answer: by then everything that is remembered is known
            self.point_to(Some(Leader::Here(handle.clone())));
            self.metrics.watch(&handle).await;
        };
        let stop = self.shutdown.draining.child_token();
        let running = coordinator.run(stop.clone());
        tokio::pin!(running);
        let ended = tokio::select! {
            ended = &mut running => Some(ended),
            () = serve => None,
            () = guard.over() => None,
            () = stop.cancelled() => None,
        };
        stop.cancel();
        let ended = match ended {
            Some(ended) => ended,
            // What is begun may end, if there is time. Another leads soon.
            None => tokio::select! {
                ended = &mut running => ended,
                () = guard.over() => Ok(()),
                () = self.shutdown.abort.cancelled() => Ok(()),
            },
        };
        let said = tokio::time::timeout(LAST_WORDS, nats.finish()).await;
        ended?;
        Ok(said.unwrap_or(Ok(()))?)
    }

    /// Says where the leader is while it is somebody else; ends with the program.
    async fn follow_others(&self) {
        let mut found = self.found.clone();
        loop {
            found.mark_unchanged();
            if !matches!(&*self.leader.borrow(), Some(Leader::Here(_))) {
                self.point_to(self.elsewhere());
            }
            if found.changed().await.is_err() {
                return;
            }
        }
    }

    /// Calls go there from now on.
    fn point_to(&self, leader: Option<Leader>) {
        match &leader {
            Some(_) => self.readiness.has("leader"),
            None => self.readiness.lacks("leader", "nobody leads, or not yet"),
        }
        self.leader.send_replace(leader);
    }

    fn elsewhere(&self) -> Option<Leader> {
        let own = self.config.advertised();
        self.found.borrow().clone().filter(|address| *address != own).map(Leader::At)
    }
}
