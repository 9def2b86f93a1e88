//! One thing that goes wrong: which alerts fire, which panels show it, what the farm says of a job.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::alerts::counts;
use crate::panels;
use crate::prometheus::{Since, Spell};
use crate::report::Row;
use crate::stage::Stage;

/// How long an alert may take to fire, or to end when its cause has.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks.
pub const PAUSE: Duration = Duration::from_millis(250);
/// So long after its cause is gone, an alert may still begin to fire, in seconds.
const AFTER_S: f64 = 60.0;

/// What is expected of a scene.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    pub name: &'static str,
    /// Alerts that must fire.
    pub fires: &'static [&'static str],
    /// It is part of `deploy/DRILL.md`.
    pub drill: bool,
    /// Alerts that follow from the same fault if it lasts; they may fire too.
    may_fire: &'static [&'static str],
}

impl Expected {
    /// That these alerts fire, and no other.
    pub const fn of(name: &'static str, fires: &'static [&'static str]) -> Self {
        Self { name, fires, drill: false, may_fire: &[] }
    }

    /// It is part of `deploy/DRILL.md`.
    pub const fn in_drill(self) -> Self {
        Self { drill: true, ..self }
    }

    /// These alerts may follow.
    pub const fn perhaps(self, may_fire: &'static [&'static str]) -> Self {
        Self { may_fire, ..self }
    }

    fn knows(&self, alert: &str) -> bool {
        self.fires.contains(&alert) || self.may_fire.contains(&alert)
    }
}

/// A scene that is being played, or has been.
pub struct Scene {
    expected: Expected,
    since: Since,
    began: Instant,
    /// When its cause was gone.
    over: Option<Since>,
    /// Cancelled when its cause need not last any longer.
    enough: CancellationToken,
    row: Row,
}

impl Scene {
    /// Nothing is wrong yet. What it lets fire must be silent. Its cause lasts until `enough`, and until it is seen.
    pub async fn begin(expected: Expected, stage: &Stage, enough: CancellationToken) -> Self {
        let silent = silence(stage, |alert| expected.fires.contains(&alert)).await;
        let row = Row { name: expected.name, drill: expected.drill, ..Row::default() };
        let mut scene = Self { expected, since: Since::now(), began: Instant::now(), over: None, enough, row };
        silent.unwrap_or_else(|firing| scene.complain(format!("{firing:?} fire before it begins")));
        scene
    }

    /// Waits until all alerts fire that must.
    pub async fn fires(&mut self, stage: &Stage) {
        if self.await_all(stage, self.expected.fires).await {
            self.row.fired_after = Some(self.began.elapsed());
        }
    }

    /// Waits until one of them fires.
    pub async fn fires_one(&mut self, stage: &Stage, alert: &str) {
        self.await_all(stage, &[alert]).await;
    }

    /// Says whether they fire in time.
    async fn await_all(&self, stage: &Stage, alerts: &[&str]) -> bool {
        let began = Instant::now();
        while !self.have_fired(stage, alerts) {
            if began.elapsed() > PATIENCE {
                return false;
            }
            tokio::time::sleep(PAUSE).await;
        }
        true
    }

    fn have_fired(&self, stage: &Stage, alerts: &[&str]) -> bool {
        let fired = stage.prometheus.fired(self.since);
        alerts.iter().all(|alert| fired.contains(*alert))
    }

    /// A panel must have shown such a value since the scene began.
    pub fn shows(&mut self, stage: &Stage, [dashboard, panel]: [&str; 2], right: impl Fn(f64) -> bool) {
        let queries = panels::of(&stage.queries, dashboard, panel);
        let series = queries.iter().flat_map(|query| stage.prometheus.since(self.since, &query.text));
        let values: Vec<f64> = series.flat_map(|series| series.values).filter(|value| value.is_finite()).collect();
        match values.iter().rfind(|value| right(**value)) {
            Some(value) => self.row.panels.push((panel.to_owned(), *value)),
            None => self.complain(format!("{dashboard}: {panel} shows {values:?}")),
        }
    }

    /// What the farm says of a job must have these words in it.
    pub async fn explains(&mut self, stage: &Stage, job: &str, words: &str) {
        let told = stage.farm(&["job", "explain", job]).await;
        match told.lines().find(|line| line.contains(words)) {
            Some(line) => self.row.explained = line.trim().to_owned(),
            None => self.complain(format!("no {words:?} in what is told of the job:\n{told}")),
        }
    }

    /// Waits until the farm says these words of a job of the load.
    pub async fn tells(&mut self, stage: &Stage, words: &str) {
        let began = Instant::now();
        let mut told = Vec::new();
        while began.elapsed() < PATIENCE {
            told.clear();
            for job in stage.load.under_way() {
                told.push(stage.farm(&["job", "explain", &job]).await);
            }
            if let Some(line) = told.iter().flat_map(|told| told.lines()).rfind(|line| line.contains(words)) {
                self.row.explained = line.trim().to_owned();
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.complain(format!("no {words:?} in what is told of jobs:\n{}", told.join("\n")));
    }

    /// Waits until its cause need not last any longer.
    pub async fn lasts(&self) {
        self.enough.cancelled().await;
    }

    /// Whether its cause need not last any longer, and all alerts have fired that must, or take too long.
    pub fn is_enough(&self, stage: &Stage) -> bool {
        let fires = || self.have_fired(stage, self.expected.fires);
        self.enough.is_cancelled() && (fires() || self.began.elapsed() > PATIENCE)
    }

    /// It can't be played here, and nothing is expected of it.
    pub fn skip(&mut self, why: &str) {
        self.row.skipped = why.to_owned();
        self.expected.fires = &[];
    }

    pub fn complain(&mut self, what: String) {
        self.row.complaints.push(what);
    }

    /// The cause is gone.
    pub fn over(&mut self) {
        self.over = Some(Since::now());
        self.row.took = self.began.elapsed();
    }

    /// What is wrong with it so far.
    pub fn complaints(&self) -> &[String] {
        &self.row.complaints
    }

    /// Whether an alert may have fired because of this.
    pub fn explains_spell(&self, Spell { alert, from }: &Spell) -> bool {
        let until = self.over.map_or(f64::INFINITY, |over| over.unix_s() + AFTER_S);
        self.expected.knows(alert) && (self.since.unix_s()..until).contains(from)
    }

    /// What came of it, by all that fired while scenes were played.
    pub fn judged(mut self, spells: &[Spell]) -> Row {
        let fired = spells.iter().filter(|spell| self.explains_spell(spell)).map(|spell| spell.alert.clone());
        self.row.fired = fired.collect();
        self.row.must_fire = self.expected.fires;
        for name in self.expected.fires.iter().filter(|name| !self.row.fired.contains(**name)) {
            self.row.complaints.push(format!("{name} did not fire"));
        }
        self.row
    }
}

/// Waits until none of these alerts fires; those that still do, if it takes too long.
pub async fn silence(stage: &Stage, of: impl Fn(&str) -> bool) -> Result<(), BTreeSet<String>> {
    let began = Instant::now();
    loop {
        let firing = stage.prometheus.firing();
        let firing: BTreeSet<String> = firing.into_iter().filter(|alert| counts(alert) && of(alert)).collect();
        if firing.is_empty() {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            return Err(firing);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
