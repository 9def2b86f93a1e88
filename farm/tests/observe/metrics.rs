//! The metrics that `deploy/METRICS.md` lists, against what Prometheus has seen.

use crate::files;
use crate::prometheus::{Prometheus, Since};

/// What can't be seen here, and why.
const EXEMPT: [(&str, &str); 0] = [];

/// A metric that should be there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Listed {
    name: String,
    kind: String,
}

/// Names and kinds in the tables, those of both programs once for each.
fn listed() -> Vec<Listed> {
    let table = files::read("deploy/METRICS.md");
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

/// What is wrong with what was seen: metrics that were not recorded or have never moved. And how many there are.
pub fn complaints(prometheus: &Prometheus, since: Since) -> (usize, Vec<String>) {
    let listed = listed();
    assert!(listed.len() > 40, "deploy/METRICS.md lists metrics in another way: {listed:?}");
    let mut complaints = Vec::new();
    for metric in &listed {
        let wrong = complaint(prometheus, since, metric);
        let exempt = EXEMPT.iter().find(|(name, _)| *name == metric.name);
        match (wrong, exempt) {
            (Some(wrong), None) => complaints.push(wrong),
            (None, Some((_, reason))) => {
                complaints.push(format!("{}: it is there; not exempt ({reason})", metric.name))
            }
            _ => {}
        }
    }
    (listed.len(), complaints)
}

fn complaint(prometheus: &Prometheus, since: Since, Listed { name, kind }: &Listed) -> Option<String> {
    let (series, moves) = match kind.as_str() {
        "histogram" => (format!("{name}_count"), true),
        "counter" => (name.clone(), true),
        "gauge" => (name.clone(), false),
        _ => return Some(format!("{name}: {kind:?} is no kind of metric")),
    };
    let most = prometheus.since(since, &format!("max({series})"));
    let values = || most.iter().flat_map(|series| &series.values);
    match values().count() {
        0 => Some(format!("{name} was never seen")),
        _ if moves && !values().any(|value| *value > 0.0) => Some(format!("{name} has never moved")),
        _ => None,
    }
}
