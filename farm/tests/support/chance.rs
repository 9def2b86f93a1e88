//! Moments and victims that are the same in every run.

use std::time::Duration;

/// A sequence that looks random (xorshift64). `FARM_SEED` chooses another one.
pub struct Chance(u64);

impl Chance {
    pub fn new() -> Self {
        Self(number("FARM_SEED", 1))
    }

    /// Below `limit`, which must not be 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    /// Shorter than `span`.
    pub fn within(&mut self, span: Duration) -> Duration {
        Duration::from_micros(self.below(u64::try_from(span.as_micros()).unwrap().max(1)))
    }

    /// One of them, which must be some.
    pub fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }
}

/// How much of something is wanted.
pub fn number(variable: &str, otherwise: u64) -> u64 {
    let text = std::env::var_os(variable);
    text.map_or(otherwise, |text| text.to_str().and_then(|text| text.parse().ok()).expect("a whole number"))
}
