//! What a stage finds, one line at a time, so that what was found before a crash is kept.

use std::fmt::Display;

use serde::{Deserialize, Serialize};

/// One thing that was found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Finding {
    /// What was looked at.
    pub what: String,
    /// What was seen.
    pub found: String,
    /// Whether that is as it should be; `None` where nothing is expected.
    pub right: Option<bool>,
    /// What was measured.
    pub figure: Option<Figure>,
}

/// A measured number.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Figure {
    /// In `unit`.
    pub value: f64,
    /// Such as `fps`.
    pub unit: String,
    /// What NVIDIA publishes for one engine of this generation, in the same unit.
    pub published: Option<f64>,
    /// What of `value` falls to one engine, where that is what is published.
    pub per_engine: Option<f64>,
}

impl Figure {
    /// What was measured of one engine ÷ what is published.
    pub fn ratio(&self) -> Option<f64> {
        self.published.map(|published| self.per_engine.unwrap_or(self.value) / published)
    }
}

/// Tells what is found to whoever started this process.
#[derive(Debug, Default)]
pub struct Findings {
    wrong: usize,
}

impl Findings {
    /// Something that is as it is.
    pub fn note(&mut self, what: impl Display, found: impl Display) {
        self.tell(Finding { what: what.to_string(), found: found.to_string(), right: None, figure: None });
    }

    /// Something that has to be so.
    pub fn check(&mut self, what: impl Display, right: bool, found: impl Display) {
        self.wrong += usize::from(!right);
        self.tell(Finding { what: what.to_string(), found: found.to_string(), right: Some(right), figure: None });
    }

    /// A number.
    pub fn measure(&mut self, what: impl Display, value: f64, unit: &str) {
        self.figure(what, Figure { value, unit: unit.to_owned(), published: None, per_engine: None });
    }

    /// Pictures a second, of `busy` engines together, where one is said to make `published`.
    pub fn engines(&mut self, what: impl Display, fps: f64, busy: u32, published: Option<f64>) {
        let per_engine = Some(fps / f64::from(busy.max(1)));
        self.figure(what, Figure { value: fps, unit: "fps".to_owned(), published, per_engine });
    }

    /// Whether anything was not as it has to be.
    pub fn is_right(&self) -> bool {
        self.wrong == 0
    }

    fn figure(&mut self, what: impl Display, figure: Figure) {
        let digits = if figure.value >= 100.0 { 0 } else { 2 };
        let found = format!("{:.digits$} {}", figure.value, figure.unit);
        self.tell(Finding { what: what.to_string(), found, right: None, figure: Some(figure) });
    }

    #[expect(clippy::unused_self, reason = "who tells a finding counts it")]
    fn tell(&self, finding: Finding) {
        let line = serde_json::to_string(&finding).expect("strings and finite numbers should be JSON");
        println!("{line}");
    }
}
