//! Queries of the committed dashboards, against what Prometheus has seen.

use serde_json::Value;

use crate::files;
use crate::prometheus::{Prometheus, Since};

/// A query of a panel, with its variables filled in.
pub struct Query {
    pub dashboard: String,
    pub panel: String,
    pub text: String,
    /// It may find nothing in a farm that is well.
    pub may_be_empty: bool,
}

/// Every query of every dashboard.
pub fn all() -> Vec<Query> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let query = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("a query a line");
        let may_be_empty = line["mayBeEmpty"].is_string();
        Query {
            dashboard: text(&line["dashboard"]),
            panel: text(&line["panel"]),
            text: text(&line["expr"]),
            may_be_empty,
        }
    };
    files::made("queries.jsonl").lines().map(query).collect()
}

/// Queries of one panel. It must be there.
pub fn of<'a>(queries: &'a [Query], dashboard: &str, panel: &str) -> Vec<&'a Query> {
    let found: Vec<&Query> =
        queries.iter().filter(|query| query.dashboard == dashboard && query.panel == panel).collect();
    assert!(!found.is_empty(), "no panel {panel:?} in the dashboard {dashboard}");
    found
}

/// Those of these that have not given a single number since then.
pub fn empty<'a>(
    queries: impl Iterator<Item = &'a Query>,
    prometheus: &Prometheus,
    since: Since,
) -> impl Iterator<Item = String> {
    let gives = move |query: &&Query| {
        let series = prometheus.since(since, &query.text);
        series.iter().flat_map(|series| &series.values).any(|value| value.is_finite())
    };
    let told = |query: &Query| format!("empty: {}: {}: {}", query.dashboard, query.panel, query.text);
    queries.filter(move |query| !gives(query)).map(told)
}
