//! What the control API is asked for, on this coordinator, whether it answers or forwards.

use std::time::Duration;

use prometheus::{HistogramVec, IntCounterVec, IntGauge};
use shared::telemetry::{ANSWER_SECONDS, Declare, pairs};
use tonic::Code;

use crate::api::door::RPCS;
use crate::api::metered::{ApiMeter, UNKNOWN};

/// What a caller sees of a call's end.
const CODES: [(Code, &str); 17] = [
    (Code::Ok, "OK"),
    (Code::Cancelled, "CANCELLED"),
    (Code::Unknown, "UNKNOWN"),
    (Code::InvalidArgument, "INVALID_ARGUMENT"),
    (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
    (Code::NotFound, "NOT_FOUND"),
    (Code::AlreadyExists, "ALREADY_EXISTS"),
    (Code::PermissionDenied, "PERMISSION_DENIED"),
    (Code::ResourceExhausted, "RESOURCE_EXHAUSTED"),
    (Code::FailedPrecondition, "FAILED_PRECONDITION"),
    (Code::Aborted, "ABORTED"),
    (Code::OutOfRange, "OUT_OF_RANGE"),
    (Code::Unimplemented, "UNIMPLEMENTED"),
    (Code::Internal, "INTERNAL"),
    (Code::Unavailable, "UNAVAILABLE"),
    (Code::DataLoss, "DATA_LOSS"),
    (Code::Unauthenticated, "UNAUTHENTICATED"),
];
/// Those that are there from the start: how calls should end, and what alerts look for.
const FROM_START: [&str; 3] = ["OK", "INTERNAL", "UNAVAILABLE"];

/// What is counted of calls.
#[derive(Debug)]
pub struct ApiMetrics {
    requests: IntCounterVec,
    seconds: HistogramVec,
    streams: IntGauge,
}

impl ApiMetrics {
    /// Metrics of an API that nobody has called.
    pub fn new(new: Declare<'_>) -> Self {
        let requests = "Calls that have ended, by method and gRPC's code.";
        let seconds = "Time until the answer to a call began.";
        let streams = "Streams that are served or forwarded.";
        let methods: Vec<&str> = RPCS.iter().map(|rpc| rpc.name()).chain([UNKNOWN]).collect();
        let each: Vec<[&str; 1]> = methods.iter().map(|method| [*method]).collect();
        let known = pairs(&methods, &FROM_START);
        Self {
            requests: new.counters("api_requests_total", requests, ["method", "code"], &known),
            seconds: new.histograms("api_seconds", seconds, &ANSWER_SECONDS, ["method"], &each),
            streams: new.gauge("api_streams", streams),
        }
    }
}

impl ApiMeter for ApiMetrics {
    fn answered(&self, method: &'static str, time: Duration) {
        self.seconds.with_label_values(&[method]).observe(time.as_secs_f64());
    }

    fn ended(&self, method: &'static str, code: Code) {
        let name = CODES.iter().find(|(known, _)| *known == code).map_or("UNKNOWN", |(_, name)| name);
        self.requests.with_label_values(&[method, name]).inc();
    }

    fn streaming(&self, more: i64) {
        self.streams.add(more);
    }
}
