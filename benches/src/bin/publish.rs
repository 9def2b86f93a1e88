//! How long stitching and publishing take at the end of a long job: a film of ten hours in four rungs, five times.

use std::time::{Duration, Instant};

use benches::film::Film;
use coordinator::publish::{Certificate, Publisher};
use coordinator::stitch::{Presentation, check_audio, check_video, stitch_audio, stitch_video};
use shared::storage::{Storage, StorageConfig};

const HOURS: u32 = 10;
const RUNS: u32 = 5;
const LIMIT: Duration = Duration::from_secs(2);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let film = Film::of_hours(HOURS);
    let segments: usize =
        film.chunks.iter().flat_map(|(_, receipt)| &receipt.parts).map(|part| part.segments.len()).sum();
    println!("{HOURS} hours, {} chunks, {segments} video segments", film.chunks.len());
    let mut slowest = Duration::ZERO;
    for run in 1..=RUNS {
        let (stitching, publishing) = end_of_job(&film).await?;
        slowest = slowest.max(stitching + publishing);
        println!("run {run}: check and stitch {stitching:.1?}, certificate and publish {publishing:.1?}");
    }
    println!("slowest {slowest:.1?}, {LIMIT:?} are allowed");
    if slowest > LIMIT { Err("too slow".into()) } else { Ok(()) }
}

async fn end_of_job(film: &Film) -> Result<(Duration, Duration), Box<dyn std::error::Error>> {
    let begin = Instant::now();
    for (task, receipt) in &film.chunks {
        check_video(task, receipt)?;
    }
    check_audio(&film.audio.0, &film.audio.1)?;
    let chunks: Vec<_> = film.chunks.iter().map(|(task, receipt)| (task, receipt)).collect();
    let audio = [(&film.audio.0, &film.audio.1)];
    let presentation = Presentation {
        grid: film.grid,
        video: stitch_video(&chunks)?,
        audio: audio.iter().map(|(task, receipt)| stitch_audio(task, receipt)).collect(),
        poster: None,
        storyboard: None,
        complete: true,
    };
    let stitching = begin.elapsed();
    let folder = tempfile::tempdir()?;
    let target = Storage::open(
        folder.path().to_str().ok_or("the temporary folder should have a plain name")?,
        &StorageConfig::default(),
    )?;
    let begin = Instant::now();
    let document = Certificate::new(&film.source, &film.index, &presentation, &chunks, &audio)?;
    let published = Publisher::new(target).publish(&presentation, Some(&document)).await?;
    assert!(published.multivariant, "a complete presentation should have a multivariant playlist");
    Ok((stitching, begin.elapsed()))
}
