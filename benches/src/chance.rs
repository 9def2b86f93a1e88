//! Numbers that look random and are the same in every run.

use std::time::Duration;

/// SplitMix64 (Steele, Lea and Flood, 2014).
#[derive(Debug)]
pub struct Chance(u64);

impl Chance {
    /// What belongs to a name; another `seed` gives other numbers.
    pub fn of(name: &str, seed: u64) -> Self {
        // FNV-1a: any hash that never changes would do.
        let hash = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Self(hash ^ seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Above 0, at most 1.
    pub fn unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// From 0 to `end`, without it.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// Of the normal distribution with mean 0 and deviation 1 (Box and Muller).
    fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// A time whose logarithm is distributed normally with deviation `sigma`, as encoding times are.
    pub fn log_normal(&mut self, median: Duration, sigma: f64) -> Duration {
        median.mul_f64((sigma * self.normal()).exp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_the_same_in_every_run_and_distributed_as_they_should_be() {
        let time = |n: u32| Chance::of(&n.to_string(), 1).log_normal(Duration::from_secs(1), 0.5);
        assert_eq!(time(7), time(7));
        let mut logs: Vec<f64> = (0..10_000).map(|n| time(n).as_secs_f64().ln()).collect();
        logs.sort_by(f64::total_cmp);
        let spread = (logs[8_413] - logs[1_587]) / 2.0;
        assert!(logs[5_000].abs() < 0.02 && (spread - 0.5).abs() < 0.02, "{} {spread}", logs[5_000]);
    }
}
