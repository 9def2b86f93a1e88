//! One thing that goes wrong: which alerts fire, which panels show it, what the farm says of a job.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::alerts::counts;
use crate::panels;
use crate::prometheus::Since;
use crate::report::{Report, Row};
use crate::stage::Stage;

/// How long an alert may take to fire, or to end when its cause has.
const PATIENCE: Duration = Duration::from_secs(90);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);

/// What is expected of a scene.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    pub name: &'static str,
    /// Alerts that must fire.
    fires: &'static [&'static str],
    /// It is part of `deploy/DRILL.md`.
    drill: bool,
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
}

/// A scene that is being played.
pub struct Scene {
    expected: Expected,
    since: Since,
    began: Instant,
    row: Row,
}

impl Scene {
    /// Nothing is wrong yet.
    pub fn begin(expected: Expected) -> Self {
        eprintln!("· {}", expected.name);
        Self { expected, since: Since::now(), began: Instant::now(), row: Row::default() }
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

    /// Whether all alerts have fired that must.
    pub fn all_fire(&self, stage: &Stage) -> bool {
        self.have_fired(stage, self.expected.fires)
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
            Some(value) => self.row.panels.push((format!("{dashboard}: {panel}"), *value)),
            None => self.complain(format!("{dashboard}: {panel} shows {values:?}")),
        }
    }

    /// What the farm says of a job must have these words in it.
    pub fn explains(&mut self, stage: &Stage, job: &str, words: &str) {
        let told = stage.farm(&["job", "explain", job]);
        match told.lines().find(|line| line.contains(words)) {
            Some(line) => self.row.explained = line.trim().to_owned(),
            None => self.complain(format!("no {words:?} in what is told of the job:\n{told}")),
        }
    }

    /// Asks for jobs, until the farm says these words of one while it is made.
    pub async fn tells(&mut self, stage: &Stage, words: &str) {
        let began = Instant::now();
        let mut told = String::new();
        for number in 0.. {
            let name = format!("{}-{number}", self.expected.name.replace(' ', "-"));
            let job = stage.submit(&name).await;
            while stage.client.get(&job).await.end_time.is_none() && began.elapsed() < PATIENCE {
                told = stage.farm(&["job", "explain", &job]);
                if let Some(line) = told.lines().find(|line| line.contains(words)) {
                    self.row.explained = line.trim().to_owned();
                    return;
                }
                tokio::time::sleep(PAUSE).await;
            }
            if began.elapsed() >= PATIENCE {
                return self.complain(format!("no {words:?} in what is told of jobs:\n{told}"));
            }
        }
    }

    /// It can't be played here, and nothing is expected of it.
    pub fn skip(&mut self, why: &str) {
        self.row.skipped = why.to_owned();
        self.expected.fires = &[];
    }

    pub fn complain(&mut self, what: String) {
        self.row.complaints.push(what);
    }

    /// The cause is gone: waits until nothing fires any more, and says what fired that should not have, or did not.
    pub async fn end(mut self, stage: &mut Stage, report: &mut Report) {
        let began = Instant::now();
        loop {
            self.row.complaints.extend(stage.load.failed());
            let firing: BTreeSet<String> = stage.prometheus.firing().into_iter().filter(|name| counts(name)).collect();
            if firing.is_empty() {
                break;
            }
            if began.elapsed() > PATIENCE {
                self.complain(format!("{firing:?} fire still"));
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        let fired: BTreeSet<String> =
            stage.prometheus.fired(self.since).into_iter().filter(|name| counts(name)).collect();
        for name in self.expected.fires.iter().filter(|name| !fired.contains(**name)) {
            self.row.complaints.push(format!("{name} did not fire"));
        }
        let Expected { fires, may_fire, .. } = self.expected;
        let known = |name: &str| fires.contains(&name) || may_fire.contains(&name);
        for name in fired.iter().filter(|name| !known(name)) {
            self.row.complaints.push(format!("{name} fired"));
        }
        let Expected { name, drill, .. } = self.expected;
        report.add(Row { name: name.to_owned(), drill, fired, took: self.began.elapsed(), ..self.row });
    }
}
