//! Traces of `farm serve`. A build without the feature `cluster` has no way to send any, and says so.

#[cfg(feature = "cluster")]
pub use sent::{Settings, Traces};
#[cfg(not(feature = "cluster"))]
pub use unsent::{Settings, Traces};

#[cfg(feature = "cluster")]
mod sent {
    use shared::telemetry::{self, Teller};
    use shared::trace::Tracer;
    use tokio::task::JoinHandle;
    use tokio_util::sync::CancellationToken;
    use tokio_util::task::TaskTracker;

    use crate::exit::{Exit, Failure};

    /// The table `[telemetry]`.
    pub use shared::telemetry::TelemetryConfig as Settings;

    /// The way to the collector, if there is one.
    pub struct Traces {
        tracer: Tracer,
        ended: CancellationToken,
        sending: Option<JoinHandle<()>>,
    }

    impl Traces {
        /// Spans are sent as the settings say.
        ///
        /// # Errors
        /// `config`.
        pub fn start(mut settings: Settings) -> Result<Self, Failure> {
            let wrong = |text: String| Failure::new(Exit::Usage, "config", text);
            settings.read_headers();
            let complaints = settings.complaints();
            if !complaints.is_empty() {
                return Err(wrong(complaints.join("\n  ")));
            }
            let teller = Teller { program: "serve", instance: "local".to_owned() };
            let ended = CancellationToken::new();
            let started =
                settings.start(teller, &telemetry::registry("farm_serve"), &TaskTracker::new(), ended.clone());
            let (tracer, sending) = started.map_err(|error| wrong(error.to_string()))?;
            Ok(Self { tracer, ended, sending })
        }

        /// Where spans go.
        pub fn tracer(&self) -> Tracer {
            self.tracer.clone()
        }

        /// Sends what is left.
        ///
        /// # Errors
        /// `internal`.
        pub async fn finish(self) -> Result<(), Failure> {
            self.ended.cancel();
            match self.sending {
                Some(sending) => sending.await.map_err(|error| Failure::internal(error.to_string())),
                None => Ok(()),
            }
        }
    }
}

#[cfg(not(feature = "cluster"))]
mod unsent {
    use serde::de::IgnoredAny;
    use shared::trace::Tracer;

    use crate::exit::{Exit, Failure};

    /// The table `[telemetry]`, whatever is in it.
    pub type Settings = Option<IgnoredAny>;

    /// No way to any collector.
    pub struct Traces;

    impl Traces {
        /// Nothing is sent.
        ///
        /// # Errors
        /// `config`, if somebody asks for it.
        pub fn start(settings: Settings) -> Result<Self, Failure> {
            let text = "telemetry: this farm was built without the feature `cluster`, and sends no traces";
            settings.map_or(Ok(Self), |_| Err(Failure::new(Exit::Usage, "config", text)))
        }

        /// Off.
        pub fn tracer(&self) -> Tracer {
            Tracer::default()
        }

        /// Nothing is left.
        ///
        /// # Errors
        /// Never.
        pub async fn finish(self) -> Result<(), Failure> {
            Ok(())
        }
    }
}
