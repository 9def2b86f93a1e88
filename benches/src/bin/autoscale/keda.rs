//! What KEDA and the HorizontalPodAutoscaler make of a ScaledObject, as they document it.
//!
//! KEDA looks every `pollingInterval` and decides between nothing and something: work wakes the class, and `cooldownPeriod`
//! after the last of it the class goes. Between one and many the HPA decides, every 15 s: `ceil(signal ÷ threshold)` unless
//! that is within a tenth of what there is; of falling figures the highest of a window counts.

use std::collections::VecDeque;

use crate::policy::Policy;

/// Between two decisions of the HPA (`--horizontal-pod-autoscaler-sync-period`).
const HPA_SYNC_S: u64 = 15;
/// How far off the figure may be (`--horizontal-pod-autoscaler-tolerance`).
const TOLERANCE: f64 = 0.1;
/// For which `scaleDownPercent` counts.
const RATE_S: u64 = 60;

/// The state of one ScaledObject and its HPA.
#[derive(Debug)]
pub struct Scaler {
    policy: Policy,
    /// When KEDA looks next.
    poll_s: u64,
    /// When the HPA decides next.
    sync_s: u64,
    /// When there last was work.
    active_s: u64,
    /// What was wanted lately: when, and how many.
    wanted: VecDeque<(u64, u32)>,
    /// How many went lately: when, and how many.
    gone: VecDeque<(u64, u32)>,
}

impl Scaler {
    pub fn new(policy: Policy) -> Self {
        Self { policy, poll_s: 0, sync_s: 0, active_s: 0, wanted: VecDeque::new(), gone: VecDeque::new() }
    }

    /// So many stay without work.
    pub fn least(&self) -> u32 {
        self.policy.min_replicas
    }

    /// How many there should be, of which there are `replicas`. `signal` is what a query gets now.
    pub fn look(&mut self, now_s: u64, signal: f64, replicas: u32) -> u32 {
        let Policy { min_replicas, polling_s, cooldown_s, .. } = self.policy;
        let mut replicas = replicas.max(min_replicas);
        if self.poll_s <= now_s {
            self.poll_s = now_s + polling_s;
            if signal > 0.0 {
                self.active_s = now_s;
                replicas = replicas.max(1);
            } else if min_replicas == 0 && self.active_s + cooldown_s <= now_s {
                return 0;
            }
        }
        if replicas == 0 || now_s < self.sync_s {
            return replicas;
        }
        self.sync_s = now_s + HPA_SYNC_S;
        self.decide(now_s, signal, replicas)
    }

    /// The HPA's part.
    fn decide(&mut self, now_s: u64, signal: f64, replicas: u32) -> u32 {
        let Policy { min_replicas, max_replicas, scale_down_window_s, scale_down_percent, .. } = self.policy;
        let threshold = self.policy.threshold();
        let off = signal / (threshold * f64::from(replicas)) - 1.0;
        let wanted = if off.abs() <= TOLERANCE { replicas } else { (signal / threshold).ceil() as u32 };
        let wanted = wanted.clamp(min_replicas.max(1), max_replicas);
        self.wanted.push_back((now_s, wanted));
        self.wanted.retain(|(at_s, _)| at_s + scale_down_window_s > now_s);
        if wanted >= replicas {
            return wanted;
        }
        let highest = self.wanted.iter().map(|(_, count)| *count).max().unwrap_or(wanted);
        self.gone.retain(|(at_s, _)| at_s + RATE_S > now_s);
        let before = replicas + self.gone.iter().map(|(_, count)| count).sum::<u32>();
        let least = (f64::from(before) * (1.0 - f64::from(scale_down_percent) / 100.0)).ceil() as u32;
        let next = highest.max(least).min(replicas);
        if next < replicas {
            self.gone.push_back((now_s, replicas - next));
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy {
            min_replicas: 0,
            max_replicas: 10,
            slots: 2,
            finish_s: 50,
            polling_s: 10,
            cooldown_s: 100,
            scale_down_window_s: 60,
            scale_down_percent: 100,
        }
    }

    #[test]
    fn work_wakes_and_silence_ends_it() {
        let mut scaler = Scaler::new(policy());
        assert_eq!(scaler.look(1_000, 0.0, 0), 0);
        assert_eq!(scaler.look(1_005, 1.0, 0), 0, "nobody looks between two looks");
        assert_eq!(scaler.look(1_010, 1.0, 0), 1);
        assert_eq!(scaler.look(1_100, 0.0, 1), 1);
        assert_eq!(scaler.look(1_110, 0.0, 1), 0);
    }

    #[test]
    fn the_count_follows_the_signal_up_at_once_and_down_after_the_window() {
        let mut scaler = Scaler::new(policy());
        assert_eq!(scaler.look(1_000, 450.0, 1), 5);
        assert_eq!(scaler.look(1_015, 5_000.0, 5), 10, "no more than that");
        assert_eq!(scaler.look(1_030, 950.0, 10), 10, "within a tenth");
        assert_eq!(scaler.look(1_045, 100.0, 10), 10, "the window");
        assert_eq!(scaler.look(1_090, 100.0, 10), 1);
    }

    #[test]
    fn no_more_than_a_part_goes_in_a_minute() {
        let mut scaler = Scaler::new(Policy { scale_down_window_s: 0, scale_down_percent: 50, ..policy() });
        assert_eq!(scaler.look(1_000, 1.0, 8), 4);
        assert_eq!(scaler.look(1_015, 1.0, 4), 4);
        assert_eq!(scaler.look(1_075, 1.0, 4), 2);
    }
}
