//! What a person reads when all scenes have been played.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use crate::files;

/// Where the five faults of the drill are told of, with a table like the one that is printed.
const DRILL: &str = "deploy/DRILL.md";

/// One scene.
#[derive(Debug, Default)]
pub struct Row {
    pub name: &'static str,
    pub drill: bool,
    /// Alerts that had to fire.
    pub must_fire: &'static [&'static str],
    /// Why it was not played.
    pub skipped: String,
    pub fired: BTreeSet<String>,
    /// When all had fired that must.
    pub fired_after: Option<Duration>,
    /// Panels that show it, with a value that does.
    pub panels: Vec<(String, f64)>,
    /// A line of what the farm says of a job.
    pub explained: String,
    pub complaints: Vec<String>,
    pub took: Duration,
}

impl Row {
    fn cells(&self) -> [String; 6] {
        let alerts: Vec<&str> = self.fired.iter().map(String::as_str).collect();
        let panels: Vec<String> = self.panels.iter().map(|(panel, value)| format!("{panel}: {value:.2}")).collect();
        let after = self.fired_after.map_or(String::new(), |after| format!("{:.0} s", after.as_secs_f64()));
        let explained = if self.skipped.is_empty() { &self.explained } else { &self.skipped };
        let name = format!("{}{}", self.name, if self.drill { " (drill)" } else { "" });
        let took = format!("{:.0} s", self.took.as_secs_f64());
        [name, took, alerts.join(", "), after, panels.join(", "), explained.clone()]
    }

    /// What `deploy/DRILL.md` says otherwise.
    fn untold(&self, drill: &str) -> Vec<String> {
        let Some(line) = drill.lines().find(|line| line.starts_with(&format!("| [{}]", self.name))) else {
            return vec![format!("it is not in the table of {DRILL}")];
        };
        let alerts = self.must_fire.iter().map(|alert| alert.split('/').next().unwrap_or_default());
        let panels = self.panels.iter().map(|(panel, _)| panel.as_str());
        let missing = alerts.chain(panels).filter(|name| !line.contains(name));
        let mut wrong: Vec<String> = missing.map(|name| format!("{DRILL} does not speak of {name}")).collect();
        let told = line.rsplit('"').nth(1).unwrap_or_default();
        let mut rest = self.explained.as_str();
        for part in told.split('…').map(str::trim) {
            match rest.split_once(part) {
                Some((_, after)) => rest = after,
                None => wrong.push(format!("{DRILL} says {told:?}, and not {:?}", self.explained)),
            }
        }
        wrong
    }
}

/// All scenes, and what else was found.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<Row>,
    notes: Vec<String>,
    complaints: Vec<String>,
}

impl Report {
    pub fn add(&mut self, mut row: Row) {
        if row.drill && row.skipped.is_empty() {
            row.complaints.extend(row.untold(&files::committed(DRILL)));
        }
        self.rows.push(row);
    }

    /// Something worth knowing.
    pub fn note(&mut self, what: String) {
        self.notes.push(what);
    }

    /// Something that is wrong.
    pub fn complain(&mut self, what: impl IntoIterator<Item = String>) {
        self.complaints.extend(what);
    }

    /// Names of alerts that have fired in some scene.
    pub fn fired(&self) -> BTreeSet<String> {
        self.rows.iter().flat_map(|row| row.fired.clone()).collect()
    }

    /// Prints the table, leaves it in a file, and says what is wrong.
    pub fn finish(self) -> Vec<String> {
        let head = ["scene", "played", "alerts", "after", "panels", "`farm job explain`"].map(str::to_owned);
        let mut text = String::new();
        for cells in [head, ["---"; 6].map(str::to_owned)].into_iter().chain(self.rows.iter().map(Row::cells)) {
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
        for note in &self.notes {
            let _ = writeln!(text, "\n{note}");
        }
        let in_scenes = self.rows.iter().flat_map(|row| row.complaints.iter().map(|what| (row.name, what)));
        let in_scenes = in_scenes.map(|(name, what)| format!("{name}: {what}"));
        let complaints: Vec<String> = in_scenes.chain(self.complaints.iter().cloned()).collect();
        for complaint in &complaints {
            let _ = writeln!(text, "WRONG {complaint}");
        }
        eprintln!("\n{text}");
        files::leave("report.md", &text);
        complaints
    }
}
