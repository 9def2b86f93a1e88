//! How metrics are declared: by name, what they tell, and which label values are known from the start.

use prometheus::core::{Atomic, Collector, GenericCounter, GenericCounterVec, GenericGauge, GenericGaugeVec};
use prometheus::{Histogram, HistogramOpts, HistogramVec, Opts, Registry};

/// Declares metrics of one program in one registry. Every method panics if the registry has one of that name already, or a
/// name or label is not one: both are mistakes of whoever wrote the call.
///
/// Families with labels take the values that are `known`: these are there with 0 from the start, so that the first increase
/// is seen by whoever compares two moments.
#[derive(Debug, Clone, Copy)]
pub struct Declare<'a> {
    registry: &'a Registry,
    program: &'a str,
}

impl<'a> Declare<'a> {
    /// Metrics of `program`, such as `farm_worker`: the first words of every name.
    pub fn new(registry: &'a Registry, program: &'a str) -> Self {
        Self { registry, program }
    }

    /// One number that grows.
    pub fn counter<P: Atomic + 'static>(self, name: &str, help: &str) -> GenericCounter<P> {
        self.register(GenericCounter::with_opts(self.opts(name, help)))
    }

    /// One number that grows, for each set of label values.
    pub fn counters<P: Atomic + 'static, const N: usize>(
        self,
        name: &str,
        help: &str,
        labels: [&str; N],
        known: &[[&str; N]],
    ) -> GenericCounterVec<P> {
        let family = self.register(GenericCounterVec::new(self.opts(name, help), &labels));
        known.iter().for_each(|values| drop(family.with_label_values(values)));
        family
    }

    /// One number as it is now.
    pub fn gauge<P: Atomic + 'static>(self, name: &str, help: &str) -> GenericGauge<P> {
        self.register(GenericGauge::with_opts(self.opts(name, help)))
    }

    /// One number as it is now, for each set of label values.
    pub fn gauges<P: Atomic + 'static, const N: usize>(
        self,
        name: &str,
        help: &str,
        labels: [&str; N],
        known: &[[&str; N]],
    ) -> GenericGaugeVec<P> {
        let family = self.register(GenericGaugeVec::new(self.opts(name, help), &labels));
        known.iter().for_each(|values| drop(family.with_label_values(values)));
        family
    }

    /// How many values lay below each of `buckets`.
    pub fn histogram(self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        self.register(Histogram::with_opts(self.buckets(name, help, buckets)))
    }

    /// The same, for each set of label values.
    pub fn histograms<const N: usize>(
        self,
        name: &str,
        help: &str,
        buckets: &[f64],
        labels: [&str; N],
        known: &[[&str; N]],
    ) -> HistogramVec {
        let family = self.register(HistogramVec::new(self.buckets(name, help, buckets), &labels));
        known.iter().for_each(|values| drop(family.with_label_values(values)));
        family
    }

    fn opts(self, name: &str, help: &str) -> Opts {
        Opts::new(format!("{}_{name}", self.program), help)
    }

    fn buckets(self, name: &str, help: &str, buckets: &[f64]) -> HistogramOpts {
        HistogramOpts { common_opts: self.opts(name, help), buckets: buckets.to_vec() }
    }

    fn register<M: Collector + Clone + 'static>(self, metric: prometheus::Result<M>) -> M {
        let metric = metric.expect("the name and labels of a metric should be valid");
        self.registry.register(Box::new(metric.clone())).expect("a metric should be registered once");
        metric
    }
}

/// Each value of one label, as [`Declare`] takes them.
pub fn each<const N: usize>(values: [&str; N]) -> [[&str; 1]; N] {
    values.map(|value| [value])
}

/// Every pair of values of two labels.
pub fn pairs<'v>(first: &[&'v str], second: &[&'v str]) -> Vec<[&'v str; 2]> {
    first.iter().flat_map(|one| second.iter().map(|other| [*one, *other])).collect()
}
