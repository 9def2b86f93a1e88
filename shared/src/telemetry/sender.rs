//! Sending spans to a collector: OTLP over gRPC.
//!
//! Nothing that works waits for it: spans wait in a queue, and those that are lost are counted. A collector that is away is
//! asked again and again, and the log says so once.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use prometheus::IntCounter;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tracing::{info, warn};

use super::otlp::{Teller, resource_spans};
use crate::trace::{Span, Tracer};

/// Spans of one request.
const MOST_TOGETHER: usize = 512;
/// For so long spans wait for others to be sent with.
const GATHER: Duration = Duration::from_secs(1);
/// Before a collector that is away is asked again; doubled each time, up to the second.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Time for what is left when the program ends.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The way to the collector.
pub(super) struct Sender {
    collector: TraceServiceClient<Channel>,
    headers: MetadataMap,
    teller: Teller,
    spans: mpsc::Receiver<Span>,
    /// Taken from the queue, and neither sent nor given up.
    batch: Vec<Span>,
    tracer: Tracer,
    sent: IntCounter,
    lost: IntCounter,
    /// The collector has not taken what it was sent last, and the log says so.
    away: bool,
}

impl Sender {
    /// For what `tracer` puts into `spans`; counted by what becomes of it: sent, or lost.
    pub(super) fn new(
        collector: TraceServiceClient<Channel>,
        headers: MetadataMap,
        teller: Teller,
        tracer: Tracer,
        spans: mpsc::Receiver<Span>,
        [sent, lost]: [IntCounter; 2],
    ) -> Self {
        Self { collector, headers, teller, spans, batch: Vec::new(), tracer, sent, lost, away: false }
    }

    /// Sends what comes until `ended`, and what is left then.
    pub(super) async fn run(mut self, ended: CancellationToken) {
        ended.run_until_cancelled(self.send_as_they_come()).await;
        self.spans.close();
        // Whether all is sent can be seen by what is left.
        let _ = tokio::time::timeout(LAST_WORDS, self.send_the_rest()).await;
        let left = self.batch.len() + self.spans.len();
        if left > 0 {
            self.lost.inc_by(left as u64);
            warn!(spans = left, "the collector has not taken the last spans");
        }
    }

    async fn send_as_they_come(&mut self) {
        loop {
            self.gather().await;
            let mut pause = FIRST_PAUSE;
            while !self.send().await {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    async fn send_the_rest(&mut self) {
        loop {
            if !self.batch.is_empty() && !self.send().await {
                return;
            }
            if self.spans.recv_many(&mut self.batch, MOST_TOGETHER).await == 0 {
                return;
            }
        }
    }

    /// Waits for a span, and a moment for others.
    async fn gather(&mut self) {
        self.spans.recv_many(&mut self.batch, MOST_TOGETHER).await;
        let more = async {
            while self.batch.len() < MOST_TOGETHER {
                let room = MOST_TOGETHER - self.batch.len();
                self.spans.recv_many(&mut self.batch, room).await;
            }
        };
        // What has come by then is in the batch.
        let _ = tokio::time::timeout(GATHER, more).await;
    }

    /// Says whether the batch is done with: the collector has taken it, or will never.
    async fn send(&mut self) -> bool {
        self.lost.inc_by(self.tracer.take_lost());
        let resource_spans = vec![resource_spans(&self.teller, &self.batch)];
        let mut request = Request::new(ExportTraceServiceRequest { resource_spans });
        *request.metadata_mut() = self.headers.clone();
        let count = self.batch.len() as u64;
        match self.collector.export(request).await {
            Ok(answer) => {
                let refused = answer.into_inner().partial_success.map_or(0, |partial| partial.rejected_spans);
                let refused = u64::try_from(refused).unwrap_or(0).min(count);
                self.lost.inc_by(refused);
                self.sent.inc_by(count - refused);
                if std::mem::take(&mut self.away) {
                    info!("traces are sent again");
                }
            }
            Err(status) => {
                let (code, message, again) = (status.code(), status.message(), may_pass(&status));
                if !std::mem::replace(&mut self.away, true) {
                    warn!(?code, message, again, "the collector does not take spans");
                }
                if again {
                    return false;
                }
                self.lost.inc_by(count);
            }
        }
        self.batch.clear();
        true
    }
}

/// Whether the same spans may be sent again (OTLP, "Failures").
fn may_pass(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Cancelled
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss
    )
}
