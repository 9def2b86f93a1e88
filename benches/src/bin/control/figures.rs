//! What was measured, against what was meant to be.

use serde::Serialize;

/// What a figure should be.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

/// One line of the table.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    scenario: &'static str,
    name: &'static str,
    unit: &'static str,
    value: f64,
    goal: Option<Goal>,
    /// `None` where there is no goal.
    reached: Option<bool>,
}

/// All figures of a scenario, and under what circumstances they were made.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    scenario: &'static str,
    pub setting: String,
    pub figures: Vec<Figure>,
}

impl Figures {
    pub fn new(scenario: &'static str, setting: String) -> Self {
        Self { scenario, setting, figures: Vec::new() }
    }

    /// Adds a figure that has no goal.
    pub fn add(&mut self, name: &'static str, value: f64, unit: &'static str) {
        self.figures.push(Figure { scenario: self.scenario, name, unit, value, goal: None, reached: None });
    }

    /// Adds a figure that has one.
    pub fn judge(&mut self, name: &'static str, value: f64, unit: &'static str, goal: Goal) {
        let reached = match goal {
            Goal::AtLeast(least) => value >= least,
            Goal::AtMost(most) => value <= most,
        };
        let (goal, reached) = (Some(goal), Some(reached));
        self.figures.push(Figure { scenario: self.scenario, name, unit, value, goal, reached });
    }
}

/// As a table in Markdown.
pub fn print(all: &[Figures]) {
    println!("| scenario | figure | measured | goal | reached |\n|---|---|---|---|---|");
    for Figure { scenario, name, unit, value, goal, reached } in all.iter().flat_map(|one| &one.figures) {
        let goal = match goal {
            None => String::new(),
            Some(Goal::AtLeast(least)) => format!("≥ {least}"),
            Some(Goal::AtMost(most)) => format!("≤ {most}"),
        };
        let reached = reached.map_or("", |reached| if reached { "yes" } else { "**no**" });
        println!("| {scenario} | {name} | {} | {goal} | {reached} |", with_unit(*value, unit));
    }
    println!();
    all.iter().for_each(|one| println!("{}: {}", one.scenario, one.setting));
}

fn with_unit(value: f64, unit: &str) -> String {
    let digits = if value.abs() >= 100.0 { 0 } else { 2 };
    let number = format!("{value:.digits$}");
    if unit.is_empty() { number } else { format!("{number} {unit}") }
}

/// The value that so many per thousand are below or at; 0 if there are none.
pub fn quantile(values: &[f64], per_mille: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = (sorted.len() * per_mille).div_ceil(1000).saturating_sub(1);
    sorted.get(place).copied().unwrap_or(0.0)
}
