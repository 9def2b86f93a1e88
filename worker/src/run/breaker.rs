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
    last_fault: String,
    open: Option<Rest>,
}

/// It is not trusted.
#[derive(Debug, Clone, Copy)]
struct Rest {
    since: Instant,
    /// Tests since then, and when the next is due.
    tests: usize,
    test_at: Instant,
}

impl Breaker {
    /// An attempt has failed by the GPU's fault; `what` is for people. Returns whether it was trusted until now, and is not
    /// any more.
    pub fn fault(&mut self, what: &str, now: Instant) -> bool {
        self.last_fault = what.to_owned();
        while self.faults.front().is_some_and(|fault| now.duration_since(*fault) > WINDOW) {
            self.faults.pop_front();
        }
        self.faults.push_back(now);
        if self.open.is_some() || self.faults.len() < MOST_FAULTS {
            return false;
        }
        self.open = Some(Rest { since: now, tests: 0, test_at: now + PAUSES[0] });
        true
    }

    /// Whether attempts may use it.
    pub fn trusts(&self) -> bool {
        self.open.is_none()
    }

    /// When it is to be tested again; `None`: it is trusted.
    pub fn test_at(&self) -> Option<Instant> {
        self.open.map(|rest| rest.test_at)
    }

    /// Why it is not trusted, for people: since when, what it did, and when it is tested again; `None`: it is trusted.
    pub fn rest(&self, now: Instant) -> Option<String> {
        let Rest { since, tests, test_at } = self.open?;
        let failed = if tests > 0 { "; its last test failed too" } else { "" };
        let seconds = now.duration_since(since).as_secs();
        let minutes = WINDOW.as_secs() / 60;
        let next = match test_at.saturating_duration_since(now).as_secs() {
            0 => "it is tested again now".to_owned(),
            seconds => format!("it is tested again in {seconds} s"),
        };
        let last = &self.last_fault;
        Some(format!(
            "rests for {seconds} s, after {MOST_FAULTS} faults within {minutes} min; the last: {last}{failed}; {next}"
        ))
    }

    /// It has been tested.
    pub fn tested(&mut self, passed: bool, now: Instant) {
        self.open = match self.open {
            _ if passed => None,
            Some(rest) => {
                let tests = rest.tests + 1;
                Some(Rest { tests, test_at: now + PAUSES[tests.min(PAUSES.len() - 1)], ..rest })
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
        assert!(!breaker.fault("x", at(0)) && !breaker.fault("x", at(300)));
        assert!(!breaker.fault("x", at(601)), "the first is forgotten");
        assert!(breaker.trusts());
        assert!(breaker.fault("x", at(700)));
        assert!(!breaker.trusts());
        assert!(!breaker.fault("x", at(701)), "it is said once");
    }

    #[test]
    fn what_is_not_trusted_is_tested_after_one_five_and_fifteen_minutes() {
        let start = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..MOST_FAULTS {
            breaker.fault("x", start);
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
        assert!(!breaker.fault("x", start), "it begins anew");
    }

    #[test]
    fn who_rests_says_since_when_why_and_until_when() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut breaker = Breaker::default();
        for fault in ["decode: a", "decode: a", "scale: cuMemAlloc failed with CUDA status 999"] {
            assert_eq!(breaker.rest(start), None);
            breaker.fault(fault, start);
        }
        let why = "after 3 faults within 10 min";
        let last = "the last: scale: cuMemAlloc failed with CUDA status 999";
        let told = |breaker: &Breaker, seconds| breaker.rest(at(seconds)).unwrap();
        assert_eq!(told(&breaker, 20), format!("rests for 20 s, {why}; {last}; it is tested again in 40 s"));
        assert_eq!(told(&breaker, 61), format!("rests for 61 s, {why}; {last}; it is tested again now"));
        breaker.tested(false, at(62));
        let failed = "its last test failed too";
        assert_eq!(told(&breaker, 62), format!("rests for 62 s, {why}; {last}; {failed}; it is tested again in 300 s"));
        breaker.tested(true, at(400));
        assert_eq!(breaker.rest(at(400)), None);
    }
}
