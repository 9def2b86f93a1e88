//! `deploy/METRICS.md` and the metrics that the programs declare are the same, and every one is recorded.

use std::collections::BTreeSet;
use std::path::Path;

use super::{assert_none, read};

/// Where metrics are declared, and what their names begin with; `""` for what both programs have.
const DECLARED: [(&str, &str); 4] = [
    ("shared/src/telemetry/attempts.rs", ""),
    ("worker/src/metrics.rs", "farm_worker_"),
    ("worker/gpu-metrics/src/lib.rs", "farm_worker_"),
    ("coordinator/src/metrics.rs", "farm_coordinator_"),
];
/// What a declaration begins with.
const MAKERS: [&str; 6] = ["opts(\"", "gauge(\"", "gauges(\"", "counter(\"", "by_class(\"", "answers(\""];
/// Where metrics are recorded, besides where they are declared.
const RECORDED: [&str; 2] = ["coordinator/src/main.rs", "worker/gpu-metrics/src/nvml.rs"];

/// Names that a source declares, without what they begin with.
fn declared(source: &str) -> BTreeSet<String> {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let names = MAKERS.iter().flat_map(|maker| code.split(maker).skip(1));
    names.filter_map(|rest| rest.split('"').next()).filter(|name| !name.contains('{')).map(str::to_owned).collect()
}

/// Fields of the struct that holds the metrics.
fn fields(source: &str) -> Vec<String> {
    let body = source.split("Metrics {\n").nth(1).and_then(|rest| rest.split("\n}").next()).unwrap_or_default();
    let fields = body.lines().filter_map(|line| line.trim().trim_start_matches("pub ").split_once(": "));
    fields.map(|(name, _)| name.to_owned()).filter(|name| !name.starts_with("//")).collect()
}

#[test]
fn every_metric_is_recorded_and_in_the_table() {
    let table = read(Path::new("deploy/METRICS.md"));
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let listed: BTreeSet<String> = rows.map(str::to_owned).collect();
    let (mut known, mut complaints) = (BTreeSet::new(), Vec::new());
    for (path, prefix) in DECLARED {
        let source = read(Path::new(path));
        let used = RECORDED.iter().fold(source.clone(), |all, other| all + &read(Path::new(other)));
        for field in fields(&source) {
            let recorded = [".", ",", ")", "]", " "]
                .iter()
                .any(|end| ["self.", "metrics."].iter().any(|from| used.contains(&format!("{from}{field}{end}"))));
            if !recorded {
                complaints.push(format!("{path}: {field} is never recorded"));
            }
        }
        let names = declared(&source);
        assert!(names.len() > 3, "{path} declares metrics in another way");
        for name in names {
            let full = format!("{prefix}{name}");
            if !listed.contains(&full) && !listed.contains(&name) {
                complaints.push(format!("{path}: {full} is not in the table"));
            }
            known.extend([full, name]);
        }
    }
    complaints.extend(listed.difference(&known).map(|name| format!("{name} is in the table and nowhere else")));
    assert_none(complaints, "deploy/METRICS.md lists every metric, and no other");
}
