//! The metrics that `deploy/METRICS.md` lists, against what Prometheus has seen.

use crate::files;
use crate::prometheus::{Prometheus, Since};

/// What does not move here, and why.
const EXEMPT: [(&str, &str); 0] = [];

const LIST: &str = "deploy/METRICS.md";
/// All that both programs tell.
const OURS: &str = "count by (__name__) ({__name__=~\"farm_.+\", job=~\"farm-.+\"})";

/// A metric that should be there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Listed {
    name: String,
    kind: String,
}

impl Listed {
    /// Of its series.
    fn names(&self) -> Vec<String> {
        let ends: &[&str] = if self.kind == "histogram" { &["_bucket", "_count", "_sum"] } else { &[""] };
        ends.iter().map(|end| format!("{}{end}", self.name)).collect()
    }
}

/// Names and kinds in the tables, those of both programs once for each.
fn listed() -> Vec<Listed> {
    let table = files::committed(LIST);
    let rows = table.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split('|');
        Some((cells.next()?.trim().trim_end_matches('`').to_owned(), cells.next()?.trim().to_owned()))
    });
    rows.flat_map(|(name, kind)| {
        let programs: &[&str] = if name.starts_with("farm_") { &[""] } else { &["farm_worker_", "farm_coordinator_"] };
        programs.iter().map(move |program| Listed { name: format!("{program}{name}"), kind: kind.clone() })
    })
    .collect()
}

/// What is wrong with what was seen: metrics that were not recorded, have never moved, or are not listed.
pub fn complaints(prometheus: &Prometheus, since: Since) -> Vec<String> {
    let listed = listed();
    assert!(listed.len() > 40, "{LIST} lists metrics in another way: {listed:?}");
    let mut complaints = Vec::new();
    for metric in &listed {
        let exempt = EXEMPT.iter().any(|(name, _)| *name == metric.name);
        complaints.extend(complaint(prometheus, since, metric, !exempt));
    }
    let named = |name: &str| listed.iter().any(|metric| metric.name == name);
    complaints.extend(EXEMPT.iter().filter(|(name, _)| !named(name)).map(|(name, _)| format!("there is no {name}")));
    let known = |name: &str| listed.iter().any(|metric| metric.names().contains(&name.to_owned()));
    let seen = prometheus.since(since, OURS).into_iter().filter_map(|mut series| series.labels.remove("__name__"));
    complaints.extend(seen.filter(|name| !known(name)).map(|name| format!("{name} is not in {LIST}")));
    complaints
}

/// `moves`: one that counts must have counted something.
fn complaint(prometheus: &Prometheus, since: Since, Listed { name, kind }: &Listed, moves: bool) -> Option<String> {
    let (series, counts) = match kind.as_str() {
        "histogram" => (format!("{name}_count"), true),
        "counter" => (name.clone(), true),
        "gauge" => (name.clone(), false),
        _ => return Some(format!("{name}: {kind:?} is no kind of metric")),
    };
    let most = prometheus.since(since, &format!("max({series})"));
    let values = || most.iter().flat_map(|series| &series.values);
    match values().count() {
        0 => Some(format!("{name} was never seen")),
        _ if counts && moves && !values().any(|value| *value > 0.0) => Some(format!("{name} has never moved")),
        _ => None,
    }
}
