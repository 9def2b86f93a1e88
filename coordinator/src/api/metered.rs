//! Calls, told to whoever counts them: each once, with how it ended and how long its answer let wait.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use http_body::Frame;
use http_body_util::{BodyStream, StreamBody};
use tokio::time::Instant;
use tonic::Code;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Response};

use super::door::RPCS;

/// The method of calls for which there is no row in [`RPCS`]: what callers make up is no label.
pub const UNKNOWN: &str = "unknown";

/// Who is told. Called while calls are served: to be quick.
pub trait ApiMeter: Send + Sync + 'static {
    /// The answer to a call of this method begins after so long.
    fn answered(&self, method: &'static str, time: Duration);
    /// A call of this method has ended so; its caller may have gone before.
    fn ended(&self, method: &'static str, code: Code);
    /// So many more streams are served, or fewer.
    fn streaming(&self, more: i64);
}

/// The way to whoever is told, if anybody is.
#[derive(Clone, Default)]
pub(super) struct Watch(Option<Arc<dyn ApiMeter>>);

impl Watch {
    pub(super) fn new(meter: Arc<dyn ApiMeter>) -> Self {
        Self(Some(meter))
    }

    /// A call begins. Health and reflection are not counted.
    pub(super) fn call(&self, path: &str) -> Option<Seen> {
        let meter = self.0.clone()?;
        let path = path.trim_start_matches('/');
        if path.starts_with("grpc.") {
            return None;
        }
        let rpc = RPCS.iter().find(|rpc| rpc.path == path);
        let stream = rpc.is_some_and(|rpc| rpc.stream);
        if stream {
            meter.streaming(1);
        }
        let method = rpc.map_or(UNKNOWN, |rpc| rpc.name());
        Some(Seen { meter, method, stream, began: Instant::now(), code: Code::Cancelled })
    }
}

/// A call that is under way; it ends when this is dropped.
pub(super) struct Seen {
    meter: Arc<dyn ApiMeter>,
    method: &'static str,
    stream: bool,
    began: Instant,
    code: Code,
}

impl Seen {
    /// The answer, watched until its end.
    pub(super) fn answer(mut self, answer: Response<Body>) -> Response<Body> {
        self.meter.answered(self.method, self.began.elapsed());
        if let Some(code) = code(answer.headers()) {
            self.code = code;
            return answer; // it says so in its head, and has no more to say
        }
        answer.map(|body| {
            let watched = BodyStream::new(body).inspect_ok(move |frame| self.look(frame));
            Body::new(StreamBody::new(watched))
        })
    }

    /// The last frame says how the call has ended.
    fn look(&mut self, frame: &Frame<Bytes>) {
        if let Some(trailers) = frame.trailers_ref() {
            self.code = code(trailers).unwrap_or(Code::Unknown);
        }
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        self.meter.ended(self.method, self.code);
        if self.stream {
            self.meter.streaming(-1);
        }
    }
}

fn code(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|value| Code::from_bytes(value.as_bytes()))
}
