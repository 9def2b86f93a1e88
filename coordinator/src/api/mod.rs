//! The control API, by gRPC. Parses, asks the core, answers; decides nothing.
//!
//! | module | holds |
//! |---|---|
//! | [`door`] | the way in: who calls, with which right, until when, to whom |
//! | [`auth`] | keys, certificates, tenants, scopes |
//! | [`leader`] | forwarding to the one who decides |
//! | [`metered`] | calls, told to whoever counts them |
//! | [`config`], [`places`] | what the operator says |
//! | [`request`], [`page`] | what callers ask for, checked |
//! | [`answer`], [`sources`] | what they are told |
//! | [`error`] | how they are refused |
//! | [`trace`] | the call that asked for a job, in traces |
//! | [`jobs`], [`watch`], [`events`], [`probe`], [`profiles`], [`fleet`] | the services |

mod answer;
pub mod auth;
pub mod config;
pub mod door;
pub mod error;
mod events;
mod fleet;
mod jobs;
pub mod leader;
pub mod metered;
pub mod page;
pub mod places;
mod probe;
pub mod profiles;
pub mod request;
mod sources;
mod trace;
mod watch;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use proto::v1;
use shared::trace::Tracer;
use tokio::net::TcpListener;
use tokio::sync::watch as latest;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Server, ServerTlsConfig};
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

pub use config::ApiConfig;
pub use leader::Leader;

use door::Door;
use leader::Forward;
use metered::{ApiMeter, Watch};
use places::PlacesConfig;
use profiles::Shelf;

/// Longest request, in bytes, unpacked.
pub const LARGEST_REQUEST: usize = 1 << 20;
/// Longest answer, in bytes: a page of whole jobs.
pub const LARGEST_ANSWER: usize = 16 << 20;
/// Calls at once over one connection.
pub const CALLS_PER_CONNECTION: u32 = 256;
/// Calls of a connection that may be taken back before anybody looked at them (CVE-2023-44487).
const MOST_PENDING_RESETS: usize = 32;
/// Bytes of a call's headers.
const LARGEST_HEADERS: u32 = 16 << 10;
/// A silent connection is asked whether it lives, and given up if it does not say so.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The API can't be served.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The configuration makes no sense; all reasons.
    #[error("{}", .0.join("; "))]
    Config(Vec<String>),
    /// The address is taken or not ours.
    #[error("can't listen on {address}: {error}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// TLS can't be set up, or serving failed.
    #[error(transparent)]
    Transport(#[from] tonic::transport::Error),
    /// The descriptors can't be served.
    #[error(transparent)]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// What the services share.
struct Shared {
    places: PlacesConfig,
    shelf: Arc<Shelf>,
    keep_parts_ms: u64,
    max_unfinished_jobs: usize,
    max_probes: usize,
    shutdown: CancellationToken,
    tracer: Tracer,
}

/// The API, listening.
pub struct Api {
    listener: TcpListener,
    tls: Option<ServerTlsConfig>,
    door: Door,
    shared: Arc<Shared>,
    health: HealthReporter,
}

impl Api {
    /// Checks the configuration and listens. Calls wait until [`Self::serve`].
    ///
    /// # Errors
    /// Everything that is wrong with the configuration; the address can't be had.
    pub async fn bind(
        config: &ApiConfig,
        leader: latest::Receiver<Option<Leader>>,
        shutdown: CancellationToken,
    ) -> Result<Self, ApiError> {
        let mut complaints = Vec::new();
        let mut take = |more: Vec<String>| complaints.extend(more);
        let callers = config.callers().map_err(&mut take).ok();
        let shelf = Shelf::open(config.profile_dir.as_deref()).map_err(&mut take).ok();
        let tls = config.tls.as_ref().map(config::TlsConfig::read).transpose();
        let tls = tls.map_err(|complaint| take(vec![complaint])).ok();
        let (Some(callers), Some(shelf), Some(tls)) = (callers, shelf, tls) else {
            return Err(ApiError::Config(complaints));
        };
        let failed = |error| ApiError::Listen { address: config.listen, error };
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let (server_tls, client_tls) = tls.unzip();
        let shared = Shared {
            places: config.places.clone(),
            shelf: Arc::new(shelf),
            keep_parts_ms: config.keep_failed_seconds.saturating_mul(1000),
            max_unfinished_jobs: config.max_unfinished_jobs,
            max_probes: config.max_probes,
            shutdown,
            tracer: Tracer::default(),
        };
        let door = Door::new(callers, config.max_streams, leader, Forward::new(client_tls));
        Ok(Self { listener, tls: server_tls, door, shared: Arc::new(shared), health: HealthReporter::new() })
    }

    /// `meter` is told of every call.
    #[must_use]
    pub fn metered(self, meter: Arc<dyn ApiMeter>) -> Self {
        Self { door: self.door.watched(Watch::new(meter)), ..self }
    }

    /// Tells `tracer` who asked for jobs.
    ///
    /// # Panics
    /// If it serves already.
    #[must_use]
    pub fn traced(mut self, tracer: Tracer) -> Self {
        Arc::get_mut(&mut self.shared).expect("an API that does not serve yet should be shared with nobody").tracer =
            tracer;
        self
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// What `grpc.health.v1` says: serving, until somebody says otherwise.
    pub fn health(&self) -> HealthReporter {
        self.health.clone()
    }

    /// Serves until `shutdown`; calls that have begun are answered, streams end.
    ///
    /// # Errors
    /// The connections can't be had any more.
    pub async fn serve(self) -> Result<(), ApiError> {
        let Self { listener, tls, door, shared, health } = self;
        for service in SERVICES {
            health.set_service_status(service, tonic_health::ServingStatus::Serving).await;
        }
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(v1::CONTROL_DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()?;
        let mut server = Server::builder()
            .max_concurrent_streams(CALLS_PER_CONNECTION)
            .http2_max_pending_accept_reset_streams(Some(MOST_PENDING_RESETS))
            .http2_max_header_list_size(LARGEST_HEADERS)
            .http2_keepalive_interval(Some(KEEP_ALIVE))
            .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT));
        if let Some(tls) = tls {
            server = server.tls_config(tls)?;
        }
        // One set of limits for every service; each is a type of its own.
        macro_rules! limited {
            ($module:ident::$server:ident, $service:expr) => {
                v1::$module::$server::new($service)
                    .max_decoding_message_size(LARGEST_REQUEST)
                    .max_encoding_message_size(LARGEST_ANSWER)
                    .accept_compressed(CompressionEncoding::Gzip)
                    .send_compressed(CompressionEncoding::Gzip)
            };
        }
        // An answer is several writes: without this the last ones wait for the client to acknowledge the first, some 40 ms.
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let down = shared.shutdown.clone();
        server
            .layer(door)
            .add_service(limited!(job_service_server::JobServiceServer, jobs::Jobs(shared.clone())))
            .add_service(limited!(probe_service_server::ProbeServiceServer, probe::Probes::new(shared.clone())))
            .add_service(limited!(
                profile_service_server::ProfileServiceServer,
                profiles::Profiles(shared.shelf.clone())
            ))
            .add_service(limited!(fleet_service_server::FleetServiceServer, fleet::Fleet))
            .add_service(limited!(event_service_server::EventServiceServer, events::Events(shared)))
            .add_service(HealthServer::new(HealthService::from_health_reporter(health)))
            .add_service(reflection)
            .serve_with_incoming_shutdown(incoming, down.cancelled_owned())
            .await?;
        Ok(())
    }
}

/// The services, by full name.
pub const SERVICES: [&str; 5] = [
    "farm.v1.JobService",
    "farm.v1.ProbeService",
    "farm.v1.ProfileService",
    "farm.v1.FleetService",
    "farm.v1.EventService",
];
