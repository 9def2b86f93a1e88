//! Byte ranges of objects beyond this host, into scratch files at their own offsets.

use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use shared::error::TaskError;

use crate::scratch::{Scratch, ScratchReader};

/// Ranges that lie closer together are fetched as one: asking again takes about as long as this many bytes do.
const LARGEST_HOLE_BYTES: u64 = 512 << 10;
/// Longer ranges are fetched in pieces of this, so that they come in parallel and no request takes long.
const LARGEST_GET_BYTES: u64 = 8 << 20;
/// Requests of one attempt at once.
const PARALLEL_GETS: usize = 4;

/// Fetches the union of `ranges` by `read(offset, len)`, and a little more, into a sparse file without a name.
pub async fn fetch<F>(
    ranges: Vec<Range<u64>>,
    read: impl Fn(u64, u64) -> F,
    scratch: &Arc<Scratch>,
) -> Result<ScratchReader, TaskError>
where
    F: Future<Output = Result<Bytes, TaskError>>,
{
    let file = blocking({
        let scratch = scratch.clone();
        move || scratch.file()
    })
    .await?;
    let (writer, held) = (Arc::new(file.writer.try_clone().map_err(|error| scratch.failure(&error))?), &file.held);
    let pieces = coalesce(ranges).into_iter().map(|range| {
        let (writer, scratch) = (writer.clone(), scratch.clone());
        let read = read(range.start, range.end - range.start);
        async move {
            let bytes = read.await?;
            held.add(bytes.len() as u64);
            blocking(move || writer.write_all_at(&bytes, range.start).map_err(|error| scratch.failure(&error))).await
        }
    });
    let pieces: Vec<_> = pieces.collect();
    futures::stream::iter(pieces).buffer_unordered(PARALLEL_GETS).try_collect::<()>().await?;
    Ok(file.into_reader())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TaskError> + Send + 'static,
) -> Result<T, TaskError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| TaskError::bug(format!("writing scratch: {error}")))?
}

/// What to ask for: in order, without overlaps, small holes closed, long stretches cut.
fn coalesce(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(LARGEST_HOLE_BYTES) => {
                last.end = last.end.max(range.end)
            }
            _ => joined.push(range),
        }
    }
    let cut = |range: Range<u64>| {
        let starts = (range.start..range.end).step_by(LARGEST_GET_BYTES as usize);
        starts.map(move |start| start..range.end.min(start.saturating_add(LARGEST_GET_BYTES)))
    };
    joined.into_iter().flat_map(cut).collect()
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "a list of one range is meant")]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn ranges_are_joined_over_small_holes_and_cut_when_long() {
        const HOLE: u64 = LARGEST_HOLE_BYTES;
        const GET: u64 = LARGEST_GET_BYTES;
        assert_eq!(coalesce(vec![]), []);
        assert_eq!(coalesce(vec![5..5]), []);
        assert_eq!(coalesce(vec![10..20, 0..5, 15..30]), [0..30]);
        assert_eq!(
            coalesce(vec![0..1, 1 + HOLE..2 + HOLE, 3 + 2 * HOLE..4 + 2 * HOLE]),
            [0..2 + HOLE, 3 + 2 * HOLE..4 + 2 * HOLE]
        );
        assert_eq!(coalesce(vec![7..7 + 2 * GET + 1]), [7..7 + GET, 7 + GET..7 + 2 * GET, 7 + 2 * GET..8 + 2 * GET]);
        assert_eq!(coalesce(vec![u64::MAX - 1..u64::MAX]), [u64::MAX - 1..u64::MAX]);
    }

    #[tokio::test]
    async fn a_file_has_what_was_asked_for_where_it_lay() {
        let folder = tempfile::tempdir().unwrap();
        let scratch = Arc::new(Scratch::new(folder.path()));
        let asked = Mutex::new(Vec::new());
        let read = |offset: u64, len: u64| {
            asked.lock().unwrap().push(offset..offset + len);
            async move { Ok(Bytes::from((offset..offset + len).map(|at| at as u8).collect::<Vec<_>>())) }
        };
        let file = fetch(vec![3..5, (9 << 20)..(9 << 20) + 4], read, &scratch).await.unwrap();
        assert_eq!(*asked.lock().unwrap(), [3..5, 9 << 20..(9 << 20) + 4]);
        let mut bytes = [0; 4];
        file.try_clone().unwrap().read_exact_at(&mut bytes, 9 << 20).unwrap();
        assert_eq!(bytes, [0, 1, 2, 3]);
        assert_eq!(scratch.space().unwrap().used, 6);

        let fails = |_, _| async { Err(TaskError::transient("store_failed", "down")) };
        let error = fetch(vec![0..1], fails, &scratch).await.unwrap_err();
        assert_eq!(error.code, "store_failed");
    }
}
