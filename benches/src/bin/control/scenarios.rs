//! What is done to the farm, and what is made of what is seen.

pub mod fleets;
pub mod latency;
pub mod memory;
pub mod volume;

use std::time::Duration;

use shared::testing::synthetic::Source;

/// No scenario takes longer.
const PATIENCE: Duration = Duration::from_secs(300);

/// A source that is cut into about so many chunks: the first is a segment, the others are drawn to 21 s, the last ones are
/// shorter.
fn source_of(chunks: usize) -> Source {
    let length_ms = 6_000 + i64::try_from(chunks.saturating_sub(1)).unwrap_or(0) * 18_000;
    Source { length_ms, gops_a_piece: 64, ..Source::default() }
}
