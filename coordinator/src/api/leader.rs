//! The one who decides: here, or at another address to which calls are forwarded as they came.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use http_body::{Body as _, Frame};
use http_body_util::{BodyStream, StreamBody};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{self, HeaderMap, HeaderValue};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tower::ServiceExt;

use super::auth::Identity;
use super::error;
use crate::run::Handle;

const CONNECT: Duration = Duration::from_secs(2);
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Connections for streams, and as many for other calls. They take turns: one carries [`CALLS_PER_CONNECTION`] calls, and
/// what is more waits, so that all connections together carry what one process serves.
///
/// [`CALLS_PER_CONNECTION`]: super::CALLS_PER_CONNECTION
const CONNECTIONS: usize = super::door::MOST_STREAMS / super::CALLS_PER_CONNECTION as usize;
/// On a call that has been forwarded: it is not forwarded again.
const FORWARDED: &str = "farm-forwarded";
/// On a forwarded call of somebody known by a certificate, which only the first coordinator saw.
pub(super) const TENANT: &str = "farm-tenant";
pub(super) const SCOPES: &str = "farm-scopes";

/// Who decides.
#[derive(Clone)]
pub enum Leader {
    /// This process.
    Here(Handle),
    /// Another one, by the URI of its API.
    At(String),
}

impl fmt::Debug for Leader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here(_) => f.write_str("Here"),
            Self::At(address) => f.debug_tuple("At").field(address).finish(),
        }
    }
}

/// The way to another coordinator.
#[derive(Clone, Default)]
pub struct Forward {
    tls: Option<ClientTlsConfig>,
    known: Arc<Mutex<Option<Known>>>,
}

/// The coordinator that calls go to.
struct Known {
    address: String,
    streams: Turns,
    calls: Turns,
}

/// Connections that are made when they are first used.
struct Turns {
    channels: Vec<Channel>,
    next: usize,
}

impl Turns {
    fn new(endpoint: &Endpoint) -> Self {
        Self { channels: (0..CONNECTIONS).map(|_| endpoint.connect_lazy()).collect(), next: 0 }
    }

    fn take(&mut self) -> Channel {
        self.next = (self.next + 1) % CONNECTIONS;
        self.channels[self.next].clone()
    }
}

impl Forward {
    /// With TLS, if coordinators talk so.
    pub fn new(tls: Option<ClientTlsConfig>) -> Self {
        Self { tls, known: Arc::default() }
    }

    /// Hands the call on and the answer back.
    pub(super) async fn to(
        &self,
        address: &str,
        stream: bool,
        identity: &Identity,
        mut request: http::Request<Body>,
    ) -> Result<http::Response<Body>, Status> {
        if request.headers().contains_key(FORWARDED) {
            return Err(error::unavailable("NO_LEADER", "the leader has changed"));
        }
        mark(request.headers_mut(), identity);
        let failed = |why: &dyn fmt::Display| {
            error::unavailable("LEADER_UNREACHABLE", format!("the leader at {address} can't be reached: {why}"))
        };
        let channel = self.channel(address, stream).map_err(|error| failed(&error))?;
        let answer = channel.oneshot(request).await.map_err(|error| failed(&error))?;
        Ok(answer.map(|body| or_cut(body, address)))
    }

    fn channel(&self, address: &str, stream: bool) -> Result<Channel, tonic::transport::Error> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = match known.take().filter(|known| known.address == address) {
            Some(same) => known.insert(same),
            None => known.insert(self.open(address)?),
        };
        Ok(if stream { known.streams.take() } else { known.calls.take() })
    }

    fn open(&self, address: &str) -> Result<Known, tonic::transport::Error> {
        let mut endpoint = Endpoint::from_shared(address.to_owned())?
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_while_idle(true);
        if let Some(tls) = &self.tls {
            endpoint = endpoint.tls_config(tls.clone())?;
        }
        let (streams, calls) = (Turns::new(&endpoint), Turns::new(&endpoint));
        Ok(Known { address: address.to_owned(), streams, calls })
    }
}

/// An answer whose leader dies before its end ends as one that can be asked for again, not as a broken connection.
fn or_cut(body: Body, address: &str) -> Body {
    if body.is_end_stream() {
        return body; // nothing follows: its head says all, and clients read it only if it says that too (Trailers-Only)
    }
    let text = format!("the leader at {address} went away in the middle of its answer");
    let frames = BodyStream::new(body).map(move |frame| {
        frame.or_else(|why| {
            tracing::warn!(%why, text);
            let mut trailers = HeaderMap::new();
            error::unavailable("LEADER_UNREACHABLE", text.as_str()).add_header(&mut trailers)?;
            Ok::<_, Status>(Frame::trailers(trailers))
        })
    });
    Body::new(StreamBody::new(frames))
}

/// Says that the call is forwarded and, if no key says it, for whom.
fn mark(headers: &mut HeaderMap, identity: &Identity) {
    headers.insert(FORWARDED, HeaderValue::from_static("1"));
    headers.remove(TENANT);
    headers.remove(SCOPES);
    if headers.contains_key("authorization") {
        return;
    }
    let scopes: Vec<String> = identity.scopes.iter().map(ToString::to_string).collect();
    for (name, value) in [(TENANT, identity.tenant.as_str()), (SCOPES, scopes.join(",").as_str())] {
        let value = HeaderValue::from_str(value).expect("tenants and scopes should be plain words: they are checked");
        headers.insert(name, value);
    }
}
