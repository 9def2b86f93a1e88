//! What a person reads when all scenes have been played.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use crate::files;

/// One scene.
#[derive(Debug, Default)]
pub struct Row {
    pub name: String,
    pub drill: bool,
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

/// All scenes, and what else was found.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<Row>,
    notes: Vec<String>,
    complaints: Vec<String>,
}

impl Report {
    pub fn add(&mut self, row: Row) {
        eprintln!("  {:.0?}: {:?}, complaints: {:#?}", row.took, row.fired, row.complaints);
        self.rows.push(row);
    }

    /// Something worth knowing.
    pub fn note(&mut self, what: String) {
        eprintln!("{what}");
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
        let mut text = String::new();
        for row in &self.rows {
            let fired: Vec<&str> = row.fired.iter().map(String::as_str).collect();
            let fired = if fired.is_empty() { "no alert".to_owned() } else { fired.join(", ") };
            let after = row.fired_after.map(|after| format!(" after {:.0} s", after.as_secs_f64())).unwrap_or_default();
            let drill = if row.drill { " (drill)" } else { "" };
            let _ = writeln!(text, "{}{drill}, {:.0} s", row.name, row.took.as_secs_f64());
            if !row.skipped.is_empty() {
                let _ = writeln!(text, "    SKIPPED  {}", row.skipped);
            }
            let _ = writeln!(text, "    alerts   {fired}{after}");
            for (panel, value) in &row.panels {
                let _ = writeln!(text, "    panel    {panel}: {value:.3}");
            }
            if !row.explained.is_empty() {
                let _ = writeln!(text, "    explain  {}", row.explained);
            }
            for complaint in &row.complaints {
                let _ = writeln!(text, "    WRONG    {complaint}");
            }
        }
        for note in &self.notes {
            let _ = writeln!(text, "{note}");
        }
        for complaint in &self.complaints {
            let _ = writeln!(text, "WRONG {complaint}");
        }
        eprintln!("\n{text}");
        files::leave("report.txt", &text);
        let in_scenes =
            self.rows.iter().flat_map(|row| row.complaints.iter().map(|what| format!("{}: {what}", row.name)));
        in_scenes.chain(self.complaints.iter().cloned()).collect()
    }
}
