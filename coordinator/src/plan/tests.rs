use proptest::prelude::*;

use super::*;

const TICKS: i64 = 1000;

fn timescale() -> Timescale {
    Timescale::new(TICKS as u32).unwrap()
}

fn list(part: u32) -> ListRef {
    ListRef { stream: 0, part, offset: 0, len: 1 }
}

/// GOPs of these lengths, each with frames every 40 ticks.
fn gops(lengths: &[i64], leading: i64) -> Vec<Gop> {
    let mut start = 0;
    let mut made = Vec::new();
    for (index, length) in lengths.iter().enumerate() {
        let first = if index == 0 { start } else { start - leading };
        let end = start + length;
        let last = if index + 1 == lengths.len() { end - 40 } else { end - leading - 40 };
        let frames = ((last - first) / 40 + 1) as u32;
        made.push(Gop { start, first, last, end: last + 40, frames, bytes: 1, list: list(index as u32) });
        start = end;
    }
    made
}

fn plan(gops: &[Gop], declared_ms: Option<u64>) -> Vec<Chunk> {
    let mut planner = Planner::new(SegmentGrid::new(6000).unwrap(), timescale(), Timing::Packets, declared_ms);
    let mut chunks = planner.push(gops.iter().copied());
    chunks.extend(planner.finish());
    chunks
}

fn edges(chunks: &[Chunk]) -> Vec<i64> {
    chunks.iter().map(|chunk| chunk.start / TICKS).collect()
}

#[test]
fn short_gops_make_regular_chunks_without_preroll() {
    let chunks = plan(&gops(&[2000; 150], 0), None);
    assert_eq!(edges(&chunks)[..5], [0, 6, 24, 42, 60]);
    assert!(chunks.iter().all(|chunk| chunk.preroll == 0));
}

#[test]
fn edges_lie_on_random_access_points_where_they_can() {
    let chunks = plan(&gops(&[10_000; 30], 0), None);
    assert_eq!(edges(&chunks)[..7], [0, 6, 30, 60, 90, 120, 150]);
}

#[test]
fn chunks_shrink_towards_the_end() {
    let chunks = plan(&gops(&[2000; 60], 0), Some(120_000));
    assert_eq!(edges(&chunks), [0, 6, 24, 42, 60, 72, 84, 96, 108]);
}

#[test]
fn one_gop_for_all_is_split_once() {
    let chunks = plan(&gops(&[79_000], 0), Some(79_000));
    assert_eq!(edges(&chunks), [0, 6, 18]);
    assert_eq!(chunks.iter().map(|chunk| chunk.lists.len()).collect::<Vec<_>>(), [1, 1, 1]);
    let hour = plan(&gops(&[3_600_000], 0), None);
    assert_eq!(edges(&hour), [0, 6, 1254]);
}

#[test]
fn the_first_chunk_comes_before_the_index_has_ended() {
    let mut planner = Planner::new(SegmentGrid::new(6000).unwrap(), timescale(), Timing::Packets, None);
    let gops = gops(&[2000; 20], 0);
    assert!(planner.push(gops[..6].to_vec()).is_empty());
    let chunks = planner.push(gops[6..7].to_vec());
    assert_eq!((chunks.len(), chunks[0].end, chunks[0].segment_count), (1, Some(6 * TICKS), None));
}

#[test]
fn a_short_tail_belongs_to_the_last_chunk() {
    let chunks = plan(&gops(&[2000, 2000, 2000, 500], 0), None);
    assert_eq!((chunks.len(), chunks[0].end, chunks[0].segment_count), (1, None, Some(1)));
    assert_eq!(chunks[0].lists.len(), 4);
}

#[test]
fn untimed_streams_are_one_chunk() {
    let mut planner = Planner::new(SegmentGrid::new(6000).unwrap(), timescale(), Timing::Order, None);
    assert!(planner.push(gops(&[2000; 50], 0)).is_empty());
    let chunks = planner.finish();
    assert_eq!((chunks.len(), chunks[0].lists.len(), chunks[0].segment_count), (1, 50, Some(17)));
}

#[test]
fn a_picture_that_starts_late_is_in_the_first_chunk() {
    let late: Vec<Gop> = gops(&[2000; 20], 0)
        .into_iter()
        .map(|gop| Gop {
            start: gop.start + 13_000,
            first: gop.first + 13_000,
            last: gop.last + 13_000,
            end: gop.end + 13_000,
            ..gop
        })
        .collect();
    let chunks = plan(&late, None);
    assert_eq!((chunks[0].start, chunks[0].end), (0, Some(18_000)));
}

#[test]
fn no_gops_make_no_chunks() {
    assert!(plan(&[], Some(10_000)).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn chunks_partition_the_presentation(
        lengths in prop::collection::vec((1i64..400).prop_map(|frames| frames * 40), 1..120),
        long in prop::option::of((0usize..120, 400i64..4000)),
        leading in 0i64..3,
        declared_ms in prop::option::of(0u64..2_000_000),
        batch in 1usize..50,
        segment_ms in 2000u32..10_000,
    ) {
        let mut lengths = lengths;
        if let Some((at, frames)) = long {
            let at = at % lengths.len();
            lengths[at] = frames * 40;
        }
        let leading = (leading * 40).min(lengths.iter().min().unwrap() - 40);
        let gops = gops(&lengths, leading);
        let grid = SegmentGrid::new(segment_ms).unwrap();
        let whole = |batch: usize| {
            let mut planner = Planner::new(grid, timescale(), Timing::Packets, declared_ms);
            let mut chunks: Vec<Chunk> = gops.chunks(batch).flat_map(|part| planner.push(part.to_vec())).collect();
            chunks.extend(planner.finish());
            chunks
        };
        let chunks = whole(batch);
        prop_assert_eq!(&chunks, &whole(usize::MAX));

        // They join, at grid points, and only the last one is open.
        prop_assert_eq!(chunks[0].start, 0);
        for (number, chunk) in chunks.iter().enumerate() {
            prop_assert_eq!(chunk.number as usize, number);
            prop_assert_eq!(chunk.end, chunks.get(number + 1).map(|next| next.start));
            let segment = grid.segment_of(MediaTime::new(chunk.start, timescale()));
            prop_assert_eq!(grid.start_of(segment, timescale()), chunk.start);
            prop_assert_eq!(chunk.segment_count.is_some(), chunk.end.is_none());
        }
        let end = gops.iter().map(|gop| gop.end).max().unwrap();
        prop_assert_eq!(chunks.last().unwrap().segment_count, Some(grid.count_until(MediaTime::new(end, timescale()))));

        // Every frame's GOP is in the lists of its chunk, and decoding starts at or before the chunk does.
        for chunk in &chunks {
            let parts: Vec<u32> = chunk.lists.iter().map(|list| list.part).collect();
            prop_assert!(parts.windows(2).all(|pair| pair[0] + 1 == pair[1]));
            prop_assert!(gops[parts[0] as usize].start <= chunk.start);
            let until = chunk.end.unwrap_or(i64::MAX);
            for gop in gops.iter().filter(|gop| gop.first < until && gop.last >= chunk.start) {
                prop_assert!(parts.contains(&gop.list.part));
            }
            if chunk.end.is_some() {
                prop_assert!(gops[*parts.last().unwrap() as usize].last >= until);
            }
        }

        // Little is decoded twice, whatever the GOPs: the first edge is not chosen, the others are paid from the budget.
        let preroll: i64 = chunks.iter().skip(2).map(|chunk| chunk.preroll).sum();
        prop_assert!(preroll <= end * MOST_PREROLL_PERCENT / 100);
    }
}
