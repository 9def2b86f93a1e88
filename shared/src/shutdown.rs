//! How a program ends: first it takes nothing new, then it has no more time.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

/// Two tokens, and everything that runs beside the main path.
#[derive(Debug, Clone)]
pub struct Shutdown {
    /// Take nothing new, finish what runs. Cancelled by SIGTERM or SIGINT, or by whoever is told to drain.
    pub draining: CancellationToken,
    /// Stop what runs. Cancelled when the grace period is over, or by a second signal.
    pub abort: CancellationToken,
    /// What runs beside the main path.
    pub tasks: TaskTracker,
}

impl Shutdown {
    /// From now on signals don't end the process at once. A process that was only told to drain has as long as it needs;
    /// the grace period begins with a signal.
    ///
    /// # Errors
    /// If the system lets nobody listen to signals.
    pub fn on_signals(grace_period: Duration) -> io::Result<Self> {
        let mut signals =
            Signals { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? };
        let shutdown =
            Self { draining: CancellationToken::new(), abort: CancellationToken::new(), tasks: TaskTracker::new() };
        let (draining, abort) = (shutdown.draining.clone(), shutdown.abort.clone());
        shutdown.tasks.spawn(async move {
            signals.next().await;
            info!(grace_period_s = grace_period.as_secs(), "asked to end: nothing new is begun");
            draining.cancel();
            tokio::select! {
                () = signals.next() => info!("asked again to end: what runs is stopped"),
                () = tokio::time::sleep(grace_period) => info!("the grace period is over: what runs is stopped"),
            }
            abort.cancel();
        });
        Ok(shutdown)
    }
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
