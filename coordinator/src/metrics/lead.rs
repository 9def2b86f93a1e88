//! Who leads, and how the store answers that decides it.

use prometheus::{HistogramVec, IntCounter, IntGauge};
use shared::telemetry::{ANSWER_SECONDS, Declare, each};

/// What is told of leading.
#[derive(Debug)]
pub struct LeadMetrics {
    leader: IntGauge,
    terms: IntCounter,
    /// Writes refused because the term was over.
    pub fenced_writes: IntCounter,
    /// Requests to etcd that failed.
    pub etcd_errors: IntCounter,
    /// Time until etcd had answered, by whether it did what it was asked for.
    pub etcd_seconds: HistogramVec,
}

impl LeadMetrics {
    /// Metrics of a coordinator that does not lead yet.
    pub fn new(new: Declare<'_>) -> Self {
        let outcomes = each(["done", "failed"]);
        let seconds = "Time until etcd had answered, by outcome.";
        Self {
            leader: new.gauge("leader", "1 while this coordinator leads."),
            terms: new.counter("terms_total", "Times this coordinator began to lead."),
            fenced_writes: new.counter("fenced_writes_total", "Writes refused because another coordinator leads."),
            etcd_errors: new.counter("etcd_errors_total", "Requests to etcd that failed; they are made again."),
            etcd_seconds: new.histograms("etcd_seconds", seconds, &ANSWER_SECONDS, ["outcome"], &outcomes),
        }
    }

    /// A term has begun.
    pub fn began(&self) {
        self.leader.set(1);
        self.terms.inc();
    }

    /// It is over.
    pub fn ended(&self) {
        self.leader.set(0);
    }
}
