//! The way in: every call passes here before a service sees it.
//!
//! ```text
//! path → row of RPCS → who calls, with which scope → deadline → the one who decides ─┬─ here: the services
//!                                                                                    └─ elsewhere: forwarded as it is
//! ```
//!
//! Health and reflection pass as they are: they say nothing of anybody's jobs.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use shared::task::TenantId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{self, HeaderMap};
use tonic::transport::CertificateDer;
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
use tower::{Layer, Service, ServiceExt};

use super::auth::{Callers, Identity, Scope};
use super::error;
use super::leader::{Forward, Leader};
use super::metered::Watch;
use crate::job::JobView;
use crate::run::Handle;

/// Time for a call that names none.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);
/// Most time a call gets, streams apart.
pub const LONGEST_DEADLINE: Duration = Duration::from_secs(600);
/// Streams that one process serves at once.
pub const MOST_STREAMS: usize = 4_096;

/// A method of the control API.
#[derive(Debug, Clone, Copy)]
pub struct Rpc {
    /// As in HTTP/2's `:path`, without the leading slash.
    pub path: &'static str,
    /// What a caller needs.
    pub scope: Scope,
    /// It answers with a stream.
    pub stream: bool,
}

/// Every method. What has no row here is not served; a test holds the table against the descriptors.
pub const RPCS: [Rpc; 21] = [
    unary("farm.v1.JobService/CreateJob", Scope::Submit),
    unary("farm.v1.JobService/GetJob", Scope::Read),
    unary("farm.v1.JobService/ListJobs", Scope::Read),
    Rpc { stream: true, ..unary("farm.v1.JobService/WatchJob", Scope::Read) },
    unary("farm.v1.JobService/UpdateJob", Scope::Submit),
    unary("farm.v1.JobService/CancelJob", Scope::Submit),
    unary("farm.v1.JobService/RetryJob", Scope::Submit),
    unary("farm.v1.JobService/DeleteJob", Scope::Submit),
    unary("farm.v1.JobService/ExplainJob", Scope::Read),
    unary("farm.v1.ProbeService/Probe", Scope::Read),
    unary("farm.v1.ProfileService/ListProfiles", Scope::Read),
    unary("farm.v1.ProfileService/GetProfile", Scope::Read),
    unary("farm.v1.ProfileService/ValidateProfile", Scope::Read),
    unary("farm.v1.ProfileService/ResolveLadder", Scope::Read),
    unary("farm.v1.FleetService/ListWorkers", Scope::Operate),
    unary("farm.v1.FleetService/GetWorker", Scope::Operate),
    unary("farm.v1.FleetService/CordonWorker", Scope::Operate),
    unary("farm.v1.FleetService/UncordonWorker", Scope::Operate),
    unary("farm.v1.FleetService/DrainWorker", Scope::Operate),
    unary("farm.v1.FleetService/GetScaleSignal", Scope::Operate),
    Rpc { stream: true, ..unary("farm.v1.EventService/Subscribe", Scope::Read) },
];

impl Rpc {
    /// Its own name; no two services have methods of one name.
    pub fn name(&self) -> &'static str {
        self.path.rsplit_once('/').map_or(self.path, |(_, name)| name)
    }
}

const fn unary(path: &'static str, scope: Scope) -> Rpc {
    Rpc { path, scope, stream: false }
}

/// What a service knows of a call besides its message.
#[derive(Clone)]
pub struct Call {
    /// Who calls.
    pub identity: Identity,
    /// The one who decides.
    pub handle: Handle,
    /// When the caller stops waiting; `None`: never.
    pub until: Option<Instant>,
    /// Held by a stream as long as it is served.
    pub stream: Option<Arc<StreamPermit>>,
}

/// Room for a stream: one of its tenant's, and one of all.
#[derive(Debug)]
pub struct StreamPermit {
    _of_tenant: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Call {
    /// The call that this request is.
    ///
    /// # Errors
    /// `INTERNAL` for a request that did not come through the door.
    pub fn of<T>(request: &tonic::Request<T>) -> Result<Self, Status> {
        request.extensions().get::<Self>().cloned().ok_or_else(|| error::internal("the call did not come by the door"))
    }

    /// Whether the caller may know of this job.
    pub fn owns(&self, view: &JobView) -> bool {
        view.tenant == self.identity.tenant && !view.terms.is_probe()
    }
}

/// The door, for every service behind it.
#[derive(Clone)]
pub struct Door {
    callers: Arc<Callers>,
    leader: watch::Receiver<Option<Leader>>,
    forward: Forward,
    streams: Arc<Streams>,
    watch: Watch,
}

/// Room for streams.
struct Streams {
    all: Arc<Semaphore>,
    most_of_tenant: usize,
    /// As many as there are tenants in the configuration.
    of_tenants: Mutex<HashMap<TenantId, Arc<Semaphore>>>,
}

impl Streams {
    fn enter(&self, tenant: &TenantId) -> Result<StreamPermit, Status> {
        let own = {
            let mut tenants = self.of_tenants.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || Arc::new(Semaphore::new(self.most_of_tenant));
            tenants.entry(tenant.clone()).or_insert_with(new).clone()
        };
        let full = |code, text| move |_| error::exhausted(code, text);
        let too_many = format!("{MOST_STREAMS} streams are served already");
        let _of_all = self.all.clone().try_acquire_owned().map_err(full("TOO_MANY_STREAMS", too_many))?;
        let too_many = format!("{} streams of this tenant are served already: end some first", self.most_of_tenant);
        let _of_tenant = own.try_acquire_owned().map_err(full("TOO_MANY_STREAMS_OF_TENANT", too_many))?;
        Ok(StreamPermit { _of_tenant, _of_all })
    }
}

impl Door {
    /// A door for those who are known, to whoever decides. Each tenant may have so many streams at once.
    pub fn new(
        callers: Callers,
        most_of_tenant: usize,
        leader: watch::Receiver<Option<Leader>>,
        forward: Forward,
    ) -> Self {
        let most_of_tenant = most_of_tenant.min(MOST_STREAMS);
        let (all, of_tenants) = (Arc::new(Semaphore::new(MOST_STREAMS)), Mutex::default());
        let streams = Arc::new(Streams { all, most_of_tenant, of_tenants });
        Self { callers: Arc::new(callers), leader, forward, streams, watch: Watch::default() }
    }

    /// Every call is told there.
    pub(super) fn watched(self, watch: Watch) -> Self {
        Self { watch, ..self }
    }

    async fn pass<S>(&self, mut request: http::Request<Body>, inside: S) -> Result<http::Response<Body>, Status>
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    {
        let answer = |result: Result<_, Infallible>| result.unwrap_or_else(|never| match never {});
        let path = request.uri().path().trim_start_matches('/');
        if !path.starts_with("farm.") {
            return Ok(answer(inside.oneshot(request).await));
        }
        let rpc = RPCS.iter().find(|rpc| rpc.path == path).ok_or_else(|| Status::unimplemented("no such method"))?;
        let certificate = certificate(&request);
        let identity = self.callers.identify(request.headers(), certificate.as_ref())?;
        identity.require(rpc.scope)?;
        let until = deadline(request.headers(), rpc.stream, Instant::now());
        let leader = self.leader.borrow().clone();
        let work = async {
            match leader {
                Some(Leader::Here(handle)) => {
                    let stream = rpc.stream.then(|| self.streams.enter(&identity.tenant)).transpose()?.map(Arc::new);
                    request.extensions_mut().insert(Call { identity, handle, until, stream });
                    Ok(answer(inside.oneshot(request).await))
                }
                Some(Leader::At(address)) => self.forward.to(&address, rpc.stream, &identity, request).await,
                None => Err(error::unavailable("NO_LEADER", "no coordinator decides at the moment")),
            }
        };
        match until.filter(|_| !rpc.stream) {
            Some(until) => tokio::time::timeout_at(until, work).await.unwrap_or_else(|_| Err(error::too_late())),
            None => work.await,
        }
    }
}

/// The client's certificate, checked by TLS.
fn certificate(request: &http::Request<Body>) -> Option<CertificateDer<'static>> {
    let connection = request.extensions().get::<TlsConnectInfo<TcpConnectInfo>>()?;
    connection.peer_certs()?.first().cloned()
}

fn deadline(headers: &HeaderMap, stream: bool, now: Instant) -> Option<Instant> {
    let wanted = headers.get("grpc-timeout").and_then(|value| timeout(value.to_str().ok()?));
    match (wanted, stream) {
        (wanted, false) => Some(now + wanted.unwrap_or(DEFAULT_DEADLINE).min(LONGEST_DEADLINE)),
        (Some(wanted), true) => now.checked_add(wanted),
        (None, true) => None,
    }
}

/// `grpc-timeout`: at most eight digits and a unit (gRPC over HTTP/2, "Timeout").
fn timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let plain = (1..=8).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit());
    let count: u64 = digits.parse().ok().filter(|_| plain)?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

impl<S> Layer<S> for Door {
    type Service = Guarded<S>;

    fn layer(&self, inside: S) -> Guarded<S> {
        Guarded { door: self.clone(), inside }
    }
}

/// Services behind the door.
#[derive(Clone)]
pub struct Guarded<S> {
    door: Door,
    inside: S,
}

impl<S> Service<http::Request<Body>> for Guarded<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(())) // each call waits for its own copy of what is inside
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let Self { door, inside } = self.clone();
        Box::pin(async move {
            let seen = door.watch.call(request.uri().path());
            let answer = door.pass(request, inside).await.unwrap_or_else(Status::into_http);
            Ok(match seen {
                Some(seen) => seen.answer(answer),
                None => answer,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_read_as_the_protocol_writes_them() {
        let (s, ms) = (Duration::from_secs, Duration::from_millis);
        let right =
            [("30S", s(30)), ("2M", s(120)), ("1H", s(3600)), ("250m", ms(250)), ("7000u", ms(7)), ("9000000n", ms(9))];
        for (text, duration) in right {
            assert_eq!(timeout(text), Some(duration), "{text}");
        }
        for wrong in ["", "S", "123456789S", "-1S", "+1S", "1", "1s", "1Sü", "ü"] {
            assert_eq!(timeout(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_call_gets_thirty_seconds_unless_it_says_otherwise_and_never_more_than_ten_minutes() {
        let with = |text: &str| HeaderMap::from_iter([("grpc-timeout".parse().unwrap(), text.parse().unwrap())]);
        let now = Instant::now();
        let left = |headers: &HeaderMap, stream| deadline(headers, stream, now).map(|until| (until - now).as_secs());
        assert_eq!(left(&HeaderMap::new(), false), Some(30));
        assert_eq!(left(&with("5S"), false), Some(5));
        assert_eq!(left(&with("90M"), false), Some(600));
        assert_eq!(left(&HeaderMap::new(), true), None);
        assert_eq!(left(&with("90M"), true), Some(5400));
    }
}
