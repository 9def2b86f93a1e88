//! How much of what workers did was for nothing, by what they have logged of every attempt.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use prost_types::Timestamp;
use serde_json::Value;

use super::support::cluster::Program;

/// Wall time of attempts.
#[derive(Debug, Default)]
pub struct Work {
    /// Attempts that made what counts.
    pub useful: Duration,
    /// All others: killed, failed, given back, or at what was made already.
    pub wasted: Duration,
    pub attempts: usize,
}

impl Work {
    /// Adds up what all workers did. `kills` are those of a worker, by its number.
    pub fn of(workers: &[Program], kills: &[(usize, SystemTime)]) -> Self {
        let mut work = Self::default();
        let mut made = BTreeSet::new();
        for (number, worker) in workers.iter().enumerate() {
            let deaths = kills.iter().filter(|(killed, _)| *killed == number).map(|(_, moment)| *moment);
            work.add(&worker.said(), &mut made, deaths.collect());
        }
        work
    }

    /// In percent of all.
    pub fn waste_percent(&self) -> f64 {
        100.0 * self.wasted.as_secs_f64() / (self.useful + self.wasted).as_secs_f64().max(0.001)
    }

    fn add(&mut self, log: &str, made: &mut BTreeSet<String>, deaths: Vec<SystemTime>) {
        let mut running: BTreeMap<(String, u64), SystemTime> = BTreeMap::new();
        for line in log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let (fields, now) = (&line["fields"], moment(&line));
            let (Some(task), Some(attempt)) = (fields["task"].as_str(), fields["attempt"].as_u64()) else { continue };
            let key = (task.to_owned(), attempt);
            match fields["message"].as_str() {
                Some("attempt started") => {
                    self.attempts += 1;
                    // One of the same number that ran before has died with the worker.
                    if let Some(began) = running.insert(key, now) {
                        self.wasted += until_death(began, &deaths, now);
                    }
                }
                Some("attempt done") => {
                    let took = lasted(running.remove(&key).unwrap_or(now), now);
                    let counts = made.insert(task.to_owned());
                    *(if counts { &mut self.useful } else { &mut self.wasted }) += took;
                }
                Some("attempt failed" | "attempt given back") => {
                    self.wasted += lasted(running.remove(&key).unwrap_or(now), now);
                }
                _ => {}
            }
        }
        self.wasted += running.into_values().map(|began| until_death(began, &deaths, began)).sum::<Duration>();
    }
}

/// From `began` to the first death after it; without one, to `otherwise`.
fn until_death(began: SystemTime, deaths: &[SystemTime], otherwise: SystemTime) -> Duration {
    let death = deaths.iter().filter(|death| **death > began).min().copied();
    lasted(began, death.unwrap_or(otherwise))
}

fn lasted(began: SystemTime, ended: SystemTime) -> Duration {
    ended.duration_since(began).unwrap_or_default()
}

fn moment(line: &Value) -> SystemTime {
    let moment: Timestamp = line["timestamp"].as_str().unwrap().parse().unwrap();
    moment.try_into().unwrap()
}
