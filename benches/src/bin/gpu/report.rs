//! All findings, for people, for programs, and for `benches/gpu/RESULTS.md`.

use anyhow::Result;
use serde::Serialize;

use crate::Arguments;
use crate::findings::Finding;

/// What one run of all stages found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The card that was played; `None`: a real one.
    pub on_emulator: Option<String>,
    /// Fewer and smaller pictures than it takes to measure.
    pub quick: bool,
    /// How long it took.
    pub seconds: u64,
    pub sections: Vec<Section>,
}

/// What one stage found.
#[derive(Debug, Serialize)]
pub struct Section {
    pub title: String,
    pub findings: Vec<Finding>,
}

impl Report {
    pub fn new(arguments: &Arguments) -> Self {
        let on_emulator = arguments.on_emulator.clone();
        let quick = arguments.quick || on_emulator.is_some();
        Self { on_emulator, quick, seconds: 0, sections: Vec::new() }
    }

    /// Whether all is as it has to be.
    pub fn is_right(&self) -> bool {
        self.wrong() == 0
    }

    fn wrong(&self) -> usize {
        self.sections.iter().flat_map(|section| &section.findings).filter(|one| one.right == Some(false)).count()
    }

    fn checked(&self) -> usize {
        self.sections.iter().flat_map(|section| &section.findings).filter(|one| one.right.is_some()).count()
    }

    /// Prints JSON, or tables and the same as a block for `benches/gpu/RESULTS.md`.
    pub fn print(&self, json: bool) -> Result<()> {
        if json {
            println!("{}", serde_json::to_string_pretty(self)?);
            return Ok(());
        }
        for section in &self.sections {
            println!("\n{}", section.title);
            let width = section.findings.iter().map(|one| one.what.chars().count()).max().unwrap_or(0);
            for one in &section.findings {
                println!("  {} {:<width$}  {}{}", mark(one), one.what, one.found, against(one));
            }
        }
        println!("\n{}\n\nFor benches/gpu/RESULTS.md:\n", self.verdict());
        print!("{}", self.markdown());
        Ok(())
    }

    fn verdict(&self) -> String {
        let (checked, wrong) = (self.checked(), self.wrong());
        let words = match wrong {
            0 => format!("All {checked} checks hold"),
            wrong => format!("{wrong} of {checked} checks do not hold"),
        };
        let emulator = match &self.on_emulator {
            Some(card) => format!(" on the emulator that plays {card}: figures mean nothing"),
            None => String::new(),
        };
        format!("{words}{emulator}. {} s.", self.seconds)
    }

    fn markdown(&self) -> String {
        let mut text = format!("{}\n", self.verdict());
        for section in &self.sections {
            text += &format!("\n### {}\n\n| | | |\n|---|---|---|\n", section.title);
            for one in &section.findings {
                let cell = |words: &str| words.replace('|', "\\|").replace('\n', " ");
                text +=
                    &format!("| {} | {}{} | {} |\n", cell(&one.what), cell(&one.found), against(one), mark(one).trim());
            }
        }
        text
    }
}

fn mark(finding: &Finding) -> &'static str {
    match finding.right {
        Some(true) => "ok   ",
        Some(false) => "WRONG",
        None => "     ",
    }
}

/// A figure against what is published.
fn against(finding: &Finding) -> String {
    let Some(figure) = &finding.figure else { return String::new() };
    match (figure.per_engine, figure.published, figure.ratio()) {
        (Some(own), Some(published), Some(ratio)) => {
            format!(", {own:.0} an engine, {ratio:.2}× of the published {published:.0}")
        }
        (Some(own), ..) => format!(", {own:.0} an engine"),
        _ => String::new(),
    }
}
