//! `deploy/METRICS.md` and the metrics that the programs declare are the same, and every one is recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{assert_none, files, read};

/// Where metrics are declared: a file and those in the folder of its name. What their names begin with; `""` for what both
/// programs have.
const DECLARED: [(&str, &str); 4] = [
    ("shared/src/telemetry", ""),
    ("worker/src/metrics", "farm_worker_"),
    ("worker/gpu-metrics/src/lib", "farm_worker_"),
    ("coordinator/src/metrics", "farm_coordinator_"),
];
/// What a declaration begins with, before a parenthesis and the name.
const MAKERS: [&str; 7] = ["opts", "gauge", "gauges", "counter", "counters", "histogram", "histograms"];
/// Where metrics are recorded, besides where they are declared.
const RECORDED: [&str; 2] = ["coordinator/src/main.rs", "worker/gpu-metrics/src/nvml.rs"];

/// Names that a source declares, without what they begin with, and the labels that stand behind them.
fn declared(source: &str) -> BTreeMap<String, BTreeSet<String>> {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let calls = MAKERS.iter().flat_map(|maker| {
        let begins = format!("{maker}(");
        let whole = move |at: &usize| !code[..*at].ends_with(|before: char| before.is_alphanumeric() || before == '_');
        let found: Vec<usize> = code.match_indices(&begins).map(|(at, _)| at).filter(whole).collect();
        found.into_iter().map(move |at| code[at + begins.len()..].trim_start())
    });
    let named = calls.filter_map(|call| {
        let (name, rest) = call.strip_prefix('"')?.split_once('"')?;
        Some((name.to_owned(), labels(rest))).filter(|(name, _)| !name.contains('{'))
    });
    named.collect()
}

/// The first list of words of a call, which has begun with `rest`.
fn labels(rest: &str) -> BTreeSet<String> {
    let call = rest.split(";\n").next().unwrap_or_default().split("),\n").next().unwrap_or_default();
    let list = call.split_once("[\"").and_then(|(_, list)| list.split(']').next()).unwrap_or_default();
    list.split(',').map(|word| word.trim().trim_matches('"').to_owned()).filter(|word| !word.is_empty()).collect()
}

/// Fields of the structs that hold metrics.
fn fields(source: &str) -> Vec<String> {
    let bodies = source.split("Metrics {\n").skip(1).filter_map(|rest| rest.split("\n}").next());
    let lines = bodies.flat_map(str::lines).map(str::trim).filter(|line| line.ends_with(','));
    let fields = lines.filter_map(|line| line.trim_start_matches("pub ").split_once(": "));
    fields
        .map(|(name, _)| name.to_owned())
        .filter(|name| name.chars().all(|c| c.is_alphanumeric() || c == '_'))
        .collect()
}

/// Names in the table, and their labels.
fn listed() -> BTreeMap<String, BTreeSet<String>> {
    let table = read(Path::new("deploy/METRICS.md"));
    let row = |line: &str| {
        let cells: Vec<&str> = line.strip_prefix("| `")?.split('|').map(str::trim).collect();
        let labels = cells.get(2)?.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        Some((cells.first()?.trim_end_matches('`').to_owned(), labels))
    };
    table.lines().filter_map(row).collect()
}

/// The sources of a place in [`DECLARED`].
fn sources(place: &str) -> Vec<PathBuf> {
    let (file, folder) = (PathBuf::from(format!("{place}.rs")), Path::new(place));
    files(".rs").into_iter().filter(|path| *path == file || path.starts_with(folder)).collect()
}

#[test]
fn every_metric_is_recorded_and_in_the_table() {
    let listed = listed();
    let (mut known, mut complaints) = (BTreeSet::new(), Vec::new());
    for (place, prefix) in DECLARED {
        let mut names = BTreeMap::new();
        for path in sources(place) {
            let source = read(&path);
            let used = RECORDED.iter().fold(source.clone(), |all, other| all + &read(Path::new(other)));
            for field in fields(&source) {
                if ![".", ",", ")", "]", " ", ";"].iter().any(|end| used.contains(&format!(".{field}{end}"))) {
                    complaints.push(format!("{}: {field} is never recorded", path.display()));
                }
            }
            names.extend(declared(&source));
        }
        assert!(names.len() > 3, "{place} declares metrics in another way");
        for (name, labels) in names {
            let full = format!("{prefix}{name}");
            match listed.get(&full).or_else(|| listed.get(&name)) {
                None => complaints.push(format!("{place}: {full} is not in the table")),
                Some(listed) if *listed != labels && !place.contains("gpu-metrics") => {
                    complaints.push(format!("{full} has labels {labels:?}, and {listed:?} in the table"));
                }
                Some(_) => {}
            }
            known.extend([full, name]);
        }
    }
    let unknown = listed.keys().filter(|name| !known.contains(*name));
    complaints.extend(unknown.map(|name| format!("{name} is in the table and nowhere else")));
    assert_none(complaints, "deploy/METRICS.md lists every metric with its labels, and no other");
}
