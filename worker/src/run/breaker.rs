//! When a GPU is trusted: one that has failed several attempts in a short time is left alone, and tested again after a
//! while. Each GPU has a breaker of its own, so a card that dies takes nothing from its neighbours.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// So many faults within [`WINDOW`] are too many.
const MOST_FAULTS: usize = 3;
const WINDOW: Duration = Duration::from_secs(600);
/// Pauses before one that is not trusted is tested again; the last is repeated.
const PAUSES: [Duration; 3] = [Duration::from_secs(60), Duration::from_secs(300), Duration::from_secs(900)];

/// What is remembered of a GPU's faults.
#[derive(Debug, Default)]
pub struct Breaker {
    faults: VecDeque<Instant>,
    /// Tests since it was trusted last, and when the next is due.
    open: Option<(usize, Instant)>,
}

impl Breaker {
    /// An attempt has failed by the GPU's fault. Returns whether it was trusted until now, and is not any more.
    pub fn fault(&mut self, now: Instant) -> bool {
        while self.faults.front().is_some_and(|fault| now.duration_since(*fault) > WINDOW) {
            self.faults.pop_front();
        }
        self.faults.push_back(now);
        if self.open.is_some() || self.faults.len() < MOST_FAULTS {
            return false;
        }
        self.open = Some((0, now + PAUSES[0]));
        true
    }

    /// Whether attempts may use it.
    pub fn trusts(&self) -> bool {
        self.open.is_none()
    }

    /// When it is to be tested again; `None`: it is trusted.
    pub fn test_at(&self) -> Option<Instant> {
        self.open.map(|(_, at)| at)
    }

    /// It has been tested.
    pub fn tested(&mut self, passed: bool, now: Instant) {
        self.open = match self.open {
            _ if passed => None,
            Some((tests, _)) => {
                let tests = tests + 1;
                Some((tests, now + PAUSES[tests.min(PAUSES.len() - 1)]))
            }
            None => None,
        };
        if passed {
            self.faults.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_faults_in_ten_minutes_are_too_many() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut breaker = Breaker::default();
        assert!(!breaker.fault(at(0)) && !breaker.fault(at(300)));
        assert!(!breaker.fault(at(601)), "the first is forgotten");
        assert!(breaker.trusts());
        assert!(breaker.fault(at(700)));
        assert!(!breaker.trusts());
        assert!(!breaker.fault(at(701)), "it is said once");
    }

    #[test]
    fn what_is_not_trusted_is_tested_after_one_five_and_fifteen_minutes() {
        let start = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..MOST_FAULTS {
            breaker.fault(start);
        }
        let mut pauses = Vec::new();
        for _ in 0..4 {
            let due = breaker.test_at().unwrap();
            pauses.push(due.duration_since(start).as_secs());
            breaker.tested(false, start);
        }
        assert_eq!(pauses, [60, 300, 900, 900]);
        breaker.tested(true, start);
        assert!(breaker.trusts() && breaker.test_at().is_none());
        assert!(!breaker.fault(start), "it begins anew");
    }
}
