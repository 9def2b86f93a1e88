//! A day of uploads: a tide that rises and falls, nothing at night, and bursts.

use std::time::Duration;

use benches::chance::Chance;

const HOUR_S: u64 = 3_600;
const MINUTE_MS: i64 = 60_000;
/// Minutes of an ordinary film: the median, and the deviation of the logarithm.
const MEDIAN_FILM: Duration = Duration::from_secs(12 * 60);
const FILM_SIGMA: f64 = 0.8;
const FILM_MS: std::ops::RangeInclusive<i64> = MINUTE_MS..=180 * MINUTE_MS;

/// Someone uploads something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upload {
    pub at_s: u64,
    pub length_ms: i64,
}

/// What comes besides the tide.
struct Burst {
    at_s: u64,
    films: u32,
    /// Over so many seconds.
    within_s: u64,
    minutes: i64,
}

const BURSTS: [Burst; 5] = [
    // Alone in the night, when there is nobody.
    Burst { at_s: 3 * HOUR_S + 700, films: 1, within_s: 1, minutes: 5 },
    // A season of a series.
    Burst { at_s: 9 * HOUR_S + 1_000, films: 12, within_s: 120, minutes: 45 },
    // Clips that everybody sends at noon.
    Burst { at_s: 12 * HOUR_S, films: 100, within_s: 900, minutes: 2 },
    // A very long film.
    Burst { at_s: 15 * HOUR_S + 500, films: 1, within_s: 1, minutes: 180 },
    // An archive.
    Burst { at_s: 21 * HOUR_S, films: 16, within_s: 600, minutes: 60 },
];

/// Films an hour at `hour` of the day, at the top of the tide 30.
fn tide(hour: u64) -> f64 {
    let hour = hour as f64;
    if !(6.0..24.0).contains(&hour) {
        return 0.0;
    }
    30.0 * (std::f64::consts::PI * (hour - 6.0) / 18.0).sin().powi(2)
}

/// The uploads of a day, in order; `scale` times as many as there are by default.
pub fn uploads(seed: u64, scale: f64) -> Vec<Upload> {
    let mut chance = Chance::of("uploads", seed);
    let mut uploads = Vec::new();
    for minute in 0..24 * 60 {
        let expected = tide(minute / 60) / 60.0 * scale;
        for _ in 0..poisson(&mut chance, expected) {
            let length = chance.log_normal(MEDIAN_FILM, FILM_SIGMA);
            let length_ms = (length.as_millis() as i64).clamp(*FILM_MS.start(), *FILM_MS.end());
            uploads.push(Upload { at_s: minute * 60 + chance.below(60), length_ms });
        }
    }
    for burst in &BURSTS {
        let films = (f64::from(burst.films) * scale).ceil() as u32;
        uploads.extend(
            (0..films).map(|_| Upload {
                at_s: burst.at_s + chance.below(burst.within_s),
                length_ms: burst.minutes * MINUTE_MS,
            }),
        );
    }
    uploads.sort_by_key(|upload| upload.at_s);
    uploads
}

/// By Knuth's multiplication of uniform numbers.
fn poisson(chance: &mut Chance, expected: f64) -> u32 {
    let (limit, mut product) = ((-expected).exp(), chance.unit());
    let mut count = 0;
    while product > limit {
        product *= chance.unit();
        count += 1;
    }
    count
}
