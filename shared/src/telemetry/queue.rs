//! How the broker answers, as the program at its other end sees it.

use std::time::Duration;

use prometheus::{HistogramVec, IntCounter};

use super::{ANSWER_SECONDS, Declare};
use crate::queue::metered::Call;

/// What is counted of a queue.
#[derive(Debug)]
pub struct QueueMetrics {
    seconds: HistogramVec,
    errors: IntCounter,
}

impl QueueMetrics {
    /// Metrics of a program that makes these calls.
    pub fn new(declare: Declare<'_>, calls: &[Call]) -> Self {
        let calls: Vec<[&str; 1]> = calls.iter().map(|call| [call.as_str()]).collect();
        let seconds = "Time until NATS had taken or refused a message, by kind of message.";
        Self {
            seconds: declare.histograms("nats_seconds", seconds, &ANSWER_SECONDS, ["call"], &calls),
            errors: declare.counter("nats_errors_total", "Messages that NATS did not take or give."),
        }
    }

    /// A message was taken or refused after so long.
    pub fn answered(&self, call: Call, time: Duration) {
        self.seconds.with_label_values(&[call.as_str()]).observe(time.as_secs_f64());
    }

    /// A message was not taken or given.
    pub fn failed(&self) {
        self.errors.inc();
    }
}
