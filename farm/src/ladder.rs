//! `farm ladder`: what would be made of a source, and why the rest would not.

use std::path::PathBuf;

use coordinator::ladder::{Ladder, ladder};
use coordinator::plan::audio::audio_renditions;
use indicatif::MultiProgress;
use serde::Serialize;
use shared::rendition::AudioRendition;
use shared::source::Verdict;

use crate::exit::{Exit, Failure};
use crate::order::Source;
use crate::probe::{exit_of, index};
use crate::progress::{print_json, print_text};
use crate::recipe::Recipe;

/// What would be made of a source, and why other rungs are left out
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  farm ladder clip.mov --profile web --rungs all")]
pub struct Args {
    /// The file to read, to its end
    #[arg(value_name = "SOURCE")]
    source: PathBuf,
    #[command(flatten)]
    recipe: Recipe,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Plan {
    verdict: Verdict,
    #[serde(flatten)]
    ladder: Ladder,
    audio: Vec<AudioRendition>,
}

/// Indexes the source and prints the ladder.
///
/// # Errors
/// `profile`, `recipe`, and the index task's.
pub async fn run(args: Args, bars: MultiProgress) -> Result<Exit, Failure> {
    let profile = args.recipe.resolve()?;
    let source = Source::open(&args.source)?;
    let facts = index(&source, profile.max_pixels, &bars).await?;
    let (Some(info), Some(receipt)) = (facts.source, facts.receipt) else {
        return Err(Failure::internal("the index ended without a word about the source"));
    };
    let mut made = Ladder::default();
    if let Some(stream) = &info.video {
        made = ladder(&profile, stream, info.declared_ms, &args.recipe.rungs);
        for (rendition, preset) in made.video.iter_mut().zip(std::iter::repeat(&args.recipe.preset)) {
            if let Some(preset) = preset {
                rendition.preset.clone_from(preset);
            }
        }
    }
    let audio = profile.audio.as_ref().map(|audio| audio_renditions(audio, &info.audio)).unwrap_or_default();
    let plan = Plan { verdict: receipt.verdict, ladder: made, audio };
    if args.json {
        print_json(&plan);
    } else {
        print_text(&table(&plan))?;
    }
    Ok(exit_of(plan.verdict))
}

fn table(plan: &Plan) -> String {
    let video = plan.ladder.video.iter().map(|rung| {
        let size = format!("{}x{}", rung.width_px, rung.height_px);
        let codec = format!("{:?} {}", rung.codec, rung.preset).to_lowercase();
        let ceiling = f64::from(rung.rate.maxrate_bps) / 1e6;
        format!("{:14} {size:10} {codec:16} crf {:<4} at most {ceiling:.2} Mb/s\n", rung.name, rung.rate.crf)
    });
    let audio = plan.audio.iter().map(|track| {
        let codec = format!("{:?}", track.codec).to_lowercase();
        let sound = format!("{} Hz, {} ch", track.sample_rate_hz, track.channels);
        let rate = track.bitrate_bps / 1000;
        let default = if track.default { ", default" } else { "" };
        format!("{:14} {sound:16} {codec} {rate} kb/s, {:?} ({}){default}\n", track.name, track.title, track.language)
    });
    let dropped =
        plan.ladder.dropped.iter().map(|dropped| format!("{:14} left out: {}\n", dropped.rung, dropped.reason));
    let table: String = video.chain(audio).chain(dropped).collect();
    if table.is_empty() { "nothing would be made of it\n".to_owned() } else { table }
}
