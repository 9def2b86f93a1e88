//! Where chunks are cut. Pure and incremental: GOPs go in as the index finds them, chunks come out.
//!
//! ```text
//! GOPs      |-----------|----------|---------|-------------|----------|---
//! grid      0     1     2     3     4     5     6     7     8     9     10
//! chunks    [  0  ][        1        ][            2           ][ ...
//! ```
//!
//! * Chunk edges are grid points; the first chunk is one segment, so that something can be played soon.
//! * A chunk is decoded from the random access point at or before its start. What lies between is decoded for nothing
//!   (*preroll*), so edges just behind a random access point are preferred, and in very long GOPs there are few edges.
//! * Where the end is known or declared, chunks get shorter towards it: the last ones decide when the job is done.
//! * The plan is a function of the GOPs and the declared duration. Each decision is taken at the first GOP that makes it
//!   possible, so neither batching nor the number of slots changes it.

pub mod audio;
pub mod tasks;

use std::collections::VecDeque;

use shared::index::{Gop, ListRef};
use shared::source::Timing;
use shared::time::{MediaTime, SegmentGrid, Timescale};

/// No chunk but the first and the last is shorter: opening decoder and encoders costs about half a second of encoding.
const SHORTEST_MS: u32 = 12_000;
/// The length chunks are drawn to.
const PREFERRED_MS: u32 = 21_000;
/// Longer only where a GOP is.
const LONGEST_MS: u32 = 36_000;
/// A chunk is at most this fraction of what is left.
const TAIL_DIVISOR: i64 = 4;
/// Decoding 1080p costs about 15 % of decoding it and encoding the default ladder.
const PREROLL_WEIGHT: i128 = 15;
/// What a second off the preferred length counts, on the same scale.
const LENGTH_WEIGHT: i128 = 5;
/// Most preroll of all chunks together, in percent of the presentation.
const MOST_PREROLL_PERCENT: i64 = 35;

/// A whole number of segments of source time, and what to decode for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Counted from 0.
    pub number: u32,
    /// First shown time, in ticks of the stream: a grid point.
    pub start: i64,
    /// End (exclusive); `None` for the last chunk.
    pub end: Option<i64>,
    /// From the random access point at or before `start` to the first list that shows a frame at or after `end`.
    pub lists: Vec<ListRef>,
    /// Segments of the whole presentation; known for the last chunk only.
    pub segment_count: Option<u64>,
    /// Packets of the lists.
    pub bytes: u64,
    /// Ticks decoded for nothing before `start`.
    pub preroll: i64,
}

/// Makes chunks of GOPs.
#[derive(Debug)]
pub struct Planner {
    grid: SegmentGrid,
    timescale: Timescale,
    timing: Timing,
    declared: Option<i64>,
    gops: VecDeque<Gop>, // from the first one that the next chunk needs
    number: u32,
    segment: u64,       // first one of the next chunk
    begin: Option<i64>, // first shown time of the stream
    seen: i64,          // end of the frame shown last, so far
    reach: i64,         // every random access point before it is known
    preroll: i64,       // of all edges chosen so far, in ticks
    end: Option<i64>,   // end of the stream, once known
}

/// Where the next chunk ends.
enum Cut {
    Before(u64), // this segment
    Nowhere,     // it is the last one
}

impl Planner {
    /// For one video stream. `declared_ms` only shapes the plan; it need not be true.
    pub fn new(grid: SegmentGrid, timescale: Timescale, timing: Timing, declared_ms: Option<u64>) -> Self {
        let declared = declared_ms.and_then(|ms| i64::try_from(ms).ok());
        Self {
            grid,
            timescale,
            timing,
            declared: declared.map(|ms| timescale.rescale_floor(ms, Timescale::MILLIS)),
            gops: VecDeque::new(),
            number: 0,
            segment: 0,
            begin: None,
            seen: 0,
            reach: i64::MIN,
            preroll: 0,
            end: None,
        }
    }

    /// Takes the next GOPs in order of decoding; returns the chunks that are decided now.
    pub fn push(&mut self, gops: impl IntoIterator<Item = Gop>) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        for gop in gops {
            self.begin = Some(self.begin.map_or(gop.first, |begin| begin.min(gop.first)));
            self.seen = self.seen.max(gop.end);
            self.reach = self.reach.max(gop.start);
            self.gops.push_back(gop);
            while let Some(Cut::Before(segment)) = self.cut() {
                chunks.push(self.emit(Some(segment)));
            }
        }
        chunks
    }

    /// The index has ended: returns all remaining chunks. None at all iff there were no GOPs.
    pub fn finish(&mut self) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        if self.begin.is_none() || self.end.is_some() {
            return chunks;
        }
        self.end = Some(self.seen);
        while let Some(Cut::Before(segment)) = self.cut() {
            chunks.push(self.emit(Some(segment)));
        }
        chunks.push(self.emit(None));
        chunks
    }

    /// End of the frame shown last, as far as the index has come, in ticks.
    pub fn seen(&self) -> i64 {
        self.seen
    }

    /// `None` until enough is known.
    fn cut(&self) -> Option<Cut> {
        if self.timing != Timing::Packets {
            return self.end.map(|_| Cut::Nowhere);
        }
        let wanted = if self.number == 0 { Some(self.first_edge()) } else { self.choose() };
        let Some(segment) = wanted else { return self.end.map(|_| Cut::Nowhere) };
        match self.end {
            Some(_) if segment >= self.count() => Some(Cut::Nowhere),
            Some(_) => Some(Cut::Before(segment)),
            // One segment must be seen behind the edge: the tail of the stream may be too short for one of its own.
            None => (self.reach >= self.edge(segment + 1)).then_some(Cut::Before(segment)),
        }
    }

    /// Behind the first segment that shows anything.
    fn first_edge(&self) -> u64 {
        self.grid.segment_of(MediaTime::new(self.begin.unwrap_or(0), self.timescale)) + 1
    }

    /// The segment before which the next chunk (not the first) ends. `None` if no edge known so far will do.
    fn choose(&self) -> Option<u64> {
        let (shortest, longest) = self.lengths();
        let last = self.segment + longest;
        if self.end.is_none() && self.reach < self.edge(last + 1) {
            return None;
        }
        let affordable = |segment: &u64| self.preroll + self.preroll_at(*segment) <= self.budget();
        let next = self.gops.iter().map(|gop| gop.start).find(|start| *start > self.edge(self.segment));
        let candidates = self.segment + shortest..=last;
        if next.is_none_or(|next| next > self.edge(last)) {
            // One GOP covers all candidates. Its only useful edge splits it as evenly as the budget allows.
            let behind = next.unwrap_or(self.seen);
            let inside = (self.segment + shortest..).take_while(|s| self.edge(*s) < behind);
            if let Some(split) = inside.take_while(affordable).last() {
                return Some(split);
            }
        } else if let Some(best) = candidates.filter(affordable).min_by_key(|segment| self.cost(*segment)) {
            return Some(best);
        }
        (last + 1..).take_while(|segment| self.edge(*segment) <= self.seen).find(affordable)
    }

    /// Fewest and most segments of the next chunk.
    fn lengths(&self) -> (u64, u64) {
        let segment_ms = u64::from(self.grid.segment_ms());
        let shortest = ((u64::from(SHORTEST_MS) + segment_ms / 2) / segment_ms).max(1);
        let longest = (u64::from(LONGEST_MS) / segment_ms).max(shortest);
        let left = self.end.or(self.declared).map(|end| end - self.edge(self.segment)).filter(|left| *left > 0);
        let share = left.map(|left| self.grid.segment_of(MediaTime::new(left / TAIL_DIVISOR, self.timescale)));
        (shortest, share.map_or(longest, |share| share.clamp(shortest, longest)))
    }

    fn cost(&self, segment: u64) -> i128 {
        let length = i128::from(self.edge(segment) - self.edge(self.segment));
        let preferred = i128::from(self.timescale.rescale_nearest(i64::from(PREFERRED_MS), Timescale::MILLIS));
        PREROLL_WEIGHT * i128::from(self.preroll_at(segment)) + LENGTH_WEIGHT * (length - preferred).abs()
    }

    /// Ticks of preroll that all chunks together may have, by what is known so far.
    fn budget(&self) -> i64 {
        self.seen / 100 * MOST_PREROLL_PERCENT
    }

    /// Ticks from the random access point at or before a segment's start to that start.
    fn preroll_at(&self, segment: u64) -> i64 {
        let edge = self.edge(segment);
        let entry = self.gops.iter().map(|gop| gop.start).filter(|start| *start <= edge).max();
        entry.map_or(0, |start| edge - start)
    }

    fn edge(&self, segment: u64) -> i64 {
        self.grid.start_of(segment, self.timescale)
    }

    fn count(&self) -> u64 {
        self.grid.count_until(MediaTime::new(self.end.unwrap_or(self.seen), self.timescale))
    }

    /// Makes the next chunk; it ends before `segment`.
    fn emit(&mut self, segment: Option<u64>) -> Chunk {
        let (start, end) = (self.edge(self.segment), segment.map(|segment| self.edge(segment)));
        let preroll = self.preroll_at(self.segment);
        let needed = self.needed(end);
        let chunk = Chunk {
            number: self.number,
            start,
            end,
            lists: self.gops.range(..needed).map(|gop| gop.list).collect(),
            segment_count: segment.is_none().then(|| self.count()),
            bytes: self.gops.range(..needed).map(|gop| gop.bytes).sum(),
            preroll,
        };
        self.number += 1;
        match segment {
            Some(segment) => {
                self.segment = segment;
                self.preroll += self.preroll_at(segment);
                self.forget_before(self.edge(segment));
            }
            None => self.gops.clear(),
        }
        chunk
    }

    /// GOPs up to the first that shows a frame at or after `end`, and any later open one that reaches back before it.
    fn needed(&self, end: Option<i64>) -> usize {
        let Some(end) = end else { return self.gops.len() };
        let first_behind = self.gops.iter().position(|gop| gop.last >= end);
        let last_before = self.gops.iter().rposition(|gop| gop.first < end);
        first_behind.max(last_before).map_or(0, |index| index + 1)
    }

    /// Drops the GOPs that a chunk which starts at `start` does not need.
    fn forget_before(&mut self, start: i64) {
        let entry = self.gops.iter().rposition(|gop| gop.start <= start).unwrap_or(0);
        let shown = self.gops.iter().position(|gop| gop.last >= start).unwrap_or(entry);
        self.gops.drain(..entry.min(shown));
    }
}

#[cfg(test)]
mod tests;
