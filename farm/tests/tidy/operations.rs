//! What operators are given holds together: metrics, dashboards, alerts, their tests and the runbook.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{anchors, assert_none, commands_of, files, options, read};

const ALERTS: &str = "dashboards/alerts.yml";
const RUNBOOK: &str = "deploy/RUNBOOK.md";
const TESTS: [&str; 2] = ["dashboards/alerts.test.yml", "dashboards/objectives.test.yml"];
const PROGRAMS: [&str; 2] = ["farm_worker_", "farm_coordinator_"];
/// What a section of the runbook says, in this order.
const PARTS: [&str; 3] = ["**What it means.**", "**Look here.**", "**Do this.**"];

fn dashboards() -> Vec<Value> {
    let paths = files(".json").into_iter().filter(|path| path.starts_with("dashboards/grafana"));
    let dashboards: Vec<Value> = paths.map(|path| serde_json::from_str(&read(&path)).unwrap()).collect();
    assert!(!dashboards.is_empty(), "dashboards/grafana should have dashboards");
    dashboards
}

/// Panels of all dashboards, those of closed rows too.
fn panels(dashboards: &[Value]) -> Vec<&Value> {
    let upper: Vec<&Value> = dashboards.iter().filter_map(|value| value["panels"].as_array()).flatten().collect();
    let lower: Vec<&Value> = upper.iter().filter_map(|panel| panel["panels"].as_array()).flatten().collect();
    [upper, lower].concat()
}

/// Metrics of ours that queries and rules name, without what Prometheus adds to the names of histograms.
fn asked(dashboards: &[Value]) -> BTreeSet<String> {
    let targets = panels(dashboards).into_iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let queries = targets.filter_map(|target| target["expr"].as_str()).map(str::to_owned);
    let all = queries.chain([read(Path::new(ALERTS))]).collect::<Vec<_>>().join("\n");
    let words = all.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = words.filter(|word| PROGRAMS.iter().any(|program| word.starts_with(program)));
    ours.map(|name| ["_bucket", "_count", "_sum"].iter().fold(name, |name, end| name.trim_end_matches(end)).to_owned())
        .collect()
}

#[test]
fn every_metric_is_shown_or_watched() {
    let asked = asked(&dashboards());
    let table = read(Path::new("deploy/METRICS.md"));
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let (mut known, mut complaints) = (BTreeSet::new(), Vec::new());
    for name in rows {
        let full: Vec<String> = match PROGRAMS.iter().any(|program| name.starts_with(program)) {
            true => vec![name.to_owned()],
            false => PROGRAMS.map(|program| format!("{program}{name}")).to_vec(),
        };
        if !full.iter().any(|name| asked.contains(name)) {
            complaints.push(format!("{name} is neither shown nor watched"));
        }
        known.extend(full);
    }
    complaints.extend(asked.difference(&known).map(|name| format!("{name} is asked for and not in deploy/METRICS.md")));
    assert_none(complaints, "what nobody is shown nobody needs: dashboards/src has the dashboards and alerts");
}

/// Names of alerts, each once.
fn alerts() -> BTreeSet<String> {
    let rules = read(Path::new(ALERTS));
    let names: BTreeSet<String> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).map(str::to_owned).collect();
    assert!(names.len() > 5, "{ALERTS} has alerts in another way");
    names
}

/// Sections of the runbook whose heading is one word, with their text.
fn sections(runbook: &str) -> Vec<(&str, &str)> {
    let sections = runbook.split("\n## ").skip(1).filter_map(|section| section.split_once('\n'));
    sections.filter(|(heading, _)| heading.starts_with("Farm") && !heading.contains(' ')).collect()
}

#[test]
fn every_alert_has_a_test_and_a_section_that_says_what_to_do() {
    let runbook = read(Path::new(RUNBOOK));
    let (alerts, sections) = (alerts(), sections(&runbook));
    let tests = TESTS.map(|path| read(Path::new(path))).concat();
    let mut complaints = Vec::new();
    for alert in &alerts {
        // Only an alert that is expected to fire is named in this way.
        if !tests.contains(&format!("alertname=\"{alert}\"")) && !tests.contains(&format!("alertname: {alert}\n")) {
            complaints.push(format!("{alert}: no test in which it fires"));
        }
        if !anchors(&runbook).contains(&alert.to_lowercase()) {
            complaints.push(format!("{alert}: no section in {RUNBOOK}"));
        }
    }
    for (heading, text) in sections {
        if !alerts.contains(heading) {
            complaints.push(format!("{RUNBOOK}: {heading} is no alert"));
        }
        if !PARTS.iter().all(|part| text.contains(part)) {
            complaints.push(format!("{RUNBOOK}: {heading} does not say all of {}", PARTS.join(", ")));
        }
    }
    assert_none(complaints, "an alert is as good as what it makes people do");
}

#[test]
fn the_runbook_names_panels_that_are_there() {
    let runbook = read(Path::new(RUNBOOK));
    let dashboards = dashboards();
    let titles: BTreeSet<&str> = panels(&dashboards).iter().filter_map(|panel| panel["title"].as_str()).collect();
    let mut complaints = Vec::new();
    for (heading, text) in sections(&runbook) {
        let look = text.split(PARTS[1]).nth(1).and_then(|rest| rest.split(PARTS[2]).next()).unwrap_or_default();
        let look = look.replace('\n', " ");
        let named = look.split('"').skip(1).step_by(2);
        let missing = named.filter(|title| !titles.contains(title));
        complaints.extend(missing.map(|title| format!("{heading}: no panel {title:?}")));
    }
    assert_none(complaints, "who reads this is in a hurry");
}

/// What people are told to run: `farm …` in sentences, and in examples.
fn commands(text: &str) -> BTreeSet<String> {
    let examples = text.split("```").skip(1).step_by(2).flat_map(str::lines);
    let parts = examples.flat_map(|line| line.split(" #").next().unwrap_or_default().split([';', '&', '|']));
    let shown = parts.filter_map(|part| part.trim().trim_start_matches("do ").strip_prefix("farm ")).map(str::to_owned);
    let sentences = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let named = sentences.split("`farm ").skip(1).filter_map(|rest| rest.split('`').next()).map(str::to_owned);
    shown.chain(named).collect()
}

#[test]
fn what_operators_are_told_to_run_is_there() {
    let folders = ["deploy", "dashboards"];
    let texts = [files(".md"), files(".json"), vec![ALERTS.into()]].concat();
    let texts = texts.into_iter().filter(|path| folders.iter().any(|folder| path.starts_with(folder)));
    let told: BTreeSet<String> = texts.flat_map(|path| commands(&read(&path))).collect();
    assert!(told.len() > 20, "documents show commands in another way: {told:?}");
    let help = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_farm")).args(arguments).arg("--help").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let known: BTreeMap<String, Vec<String>> =
        commands_of(&help(&[])).into_iter().map(|name| (name.clone(), commands_of(&help(&[&name])))).collect();
    let (mut taken, mut complaints) = (BTreeMap::new(), Vec::new());
    for command in told {
        let mut words = command.split_whitespace();
        let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let whole = match known.get(first) {
            Some(parts) if parts.is_empty() => vec![first],
            Some(parts) if parts.iter().any(|part| part == second) => vec![first, second],
            _ => {
                complaints.push(format!("no command `farm {command}`"));
                continue;
            }
        };
        let there = taken.entry(whole.join(" ")).or_insert_with(|| options(&help(&whole)));
        let missing: Vec<String> = options(&command).difference(there).cloned().collect();
        complaints.extend(missing.iter().map(|option| format!("`farm {command}`: there is no {option}")));
    }
    assert_none(complaints, "who reads this is in a hurry");
}
