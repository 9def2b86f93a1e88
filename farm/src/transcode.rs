//! `farm transcode`: a source file in, a presentation out, on this machine.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use coordinator::job::{JobSpec, JobState, JobView, Problem};
use coordinator::run::SubmitError;
use indicatif::MultiProgress;
use serde::Serialize;
use shared::source::{Finding, Verdict};
use shared::task::Places;
use shared::time::SegmentGrid;
use tokio::sync::watch;

use crate::engine::Engine;
use crate::events::Event;
use crate::exit::{Exit, Failure};
use crate::interrupts::Interrupts;
use crate::order::{Order, Source, other_order, uri};
use crate::presentation::{Contents, Folder};
use crate::probe::verdict_of;
use crate::progress::{Look, Screen, print_json, print_text};
use crate::recipe::Recipe;
use crate::summary::{Share, Summary};

/// The screen is drawn at least so often, for clocks and speeds.
const REFRESH: Duration = Duration::from_millis(500);

/// Make HLS and DASH of a video file; the same command again continues what was interrupted
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  farm transcode holiday.mov out/
  farm transcode film.mkv out/ --profile hevc --rungs 1080,720 --segment 4s --slots 8

Ctrl-C once finishes what has begun and keeps it, twice stops at once; the same command continues either way.
Exit codes: see `farm --help`.")]
pub struct Args {
    /// Video or audio file
    #[arg(value_name = "SOURCE")]
    source: PathBuf,
    /// Folder for the presentation; made if it is missing
    #[arg(value_name = "OUT")]
    out: PathBuf,
    #[command(flatten)]
    recipe: Recipe,
    /// Segment duration, 2s to 10s
    #[arg(long, default_value = "6s", value_parser = milliseconds)]
    segment: u32,
    /// Make one MP4 file of each rendition too, with its sound, for downloads and old players
    #[arg(long)]
    mp4: bool,
    /// SOURCE is still being written: start now, and take it for whole once it has not grown for so long (1s to 15s)
    #[arg(long, value_name = "TIME", value_parser = quiet)]
    growing: Option<NonZeroU32>,
    /// Attempts at a time, each in a process of its own [default: the number of CPUs]
    #[arg(long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1024))]
    slots: Option<u16>,
    /// Remove what an earlier run made in OUT, and start over
    #[arg(long)]
    fresh: bool,
    /// Print one JSON object a line: what happens, and at last what was made
    #[arg(long)]
    json: bool,
}

/// A slot that reads nothing for longer is taken for stuck.
const LONGEST_QUIET_MS: u32 = 15_000;

/// `6s`, `2500ms` or `6`.
fn duration_ms(text: &str) -> Option<u32> {
    let (number, unit_ms) = match text.strip_suffix("ms") {
        Some(number) => (number, 1),
        None => (text.strip_suffix('s').unwrap_or(text), 1000),
    };
    number.trim().parse::<u32>().ok().and_then(|number| number.checked_mul(unit_ms))
}

fn quiet(text: &str) -> Result<NonZeroU32, String> {
    let ms = duration_ms(text).filter(|ms| (1_000..=LONGEST_QUIET_MS).contains(ms));
    ms.and_then(NonZeroU32::new).ok_or_else(|| format!("give 1s to {}s", LONGEST_QUIET_MS / 1000))
}

/// Within what a segment may last.
pub(crate) fn milliseconds(text: &str) -> Result<u32, String> {
    let ms = duration_ms(text);
    let (least, most) = (SegmentGrid::SHORTEST_MS, SegmentGrid::LONGEST_MS);
    ms.filter(|ms| SegmentGrid::new(*ms).is_some())
        .ok_or_else(|| format!("give {}s to {}s, or milliseconds such as {least}ms", least / 1000, most / 1000))
}

/// Makes the presentation, or what is left of it to make.
///
/// # Errors
/// Everything in the table of `farm --help`.
pub async fn run(args: Args, bars: MultiProgress) -> Result<Exit, Failure> {
    let json = args.json;
    let result = transcode(args, bars).await;
    if let (true, Err(refusal)) = (json, &result) {
        print_json(&Failed { event: "failed", refusal });
    }
    result.map_err(|refusal| refusal.failure)
}

async fn transcode(args: Args, bars: MultiProgress) -> Result<Exit, Refusal> {
    let profile = args.recipe.resolve()?;
    let source = Source::open(&args.source)?;
    let order = Order::new(&source, profile, args.segment, args.recipe.rungs, args.recipe.preset, args.mp4)
        .while_growing(args.growing);
    order.check()?;
    let folder = Folder::open(&args.out)?;
    let look = Look::choose(args.json);
    let share = match look_around(&folder, &order, args.fresh)? {
        Share::None => {
            finish(look, &Summary::read(&args.out, Share::None, Duration::ZERO)?)?;
            return Ok(Exit::Done);
        }
        share => share,
    };
    let hidden = folder.prepare(&order)?;
    let places = Places { source: source.uri(), target: uri(folder.path()), work: uri(&hidden.join("work")) };
    let mut screen = Screen::new(look, bars, &args.out);
    screen.tell(&Event::Started {
        source: args.source.display().to_string(),
        out: args.out.display().to_string(),
        continued: share == Share::Rest,
    });
    let mut interrupts = Interrupts::listen()?;
    let mut engine = Engine::start(&hidden, args.slots.map(usize::from).and_then(NonZeroUsize::new))?;
    let watched = watch_job(&mut engine, order.spec(places), &mut screen, &mut interrupts, &args.out).await;
    screen.end();
    let stopped = tokio::select! {
        stopped = engine.stop() => stopped,
        // A round of publishing may take long where large files are made. Each is written whole or not at all.
        () = interrupts.next() => Ok(()),
    };
    match watched? {
        Over::Interrupted => {
            stopped?;
            Err(interrupted(&args.out).into())
        }
        Over::Unwritable(problem) => {
            stopped?;
            Err(unwritable(&args.out, &problem).into())
        }
        Over::Settled(view) if view.state == JobState::Completed => {
            stopped?;
            folder.finish(&order)?;
            finish(look, &Summary::read(&args.out, share, screen.elapsed())?)?;
            Ok(Exit::Done)
        }
        Over::Settled(view) => {
            stopped?;
            folder.abandon()?;
            Err(Refusal::of(&view, &args.source))
        }
    }
}

fn finish(look: Look, summary: &Summary) -> Result<(), Failure> {
    if look != Look::Json {
        return print_text(&summary.text());
    }
    print_json(summary);
    Ok(())
}

/// What is left to make in the folder; makes room if that was asked for.
fn look_around(folder: &Folder, order: &Order, fresh: bool) -> Result<Share, Failure> {
    let contents = folder.contents()?;
    match contents {
        Contents::Foreign => return Err(folder.foreign()),
        Contents::Free => return Ok(Share::Whole),
        Contents::Unfinished | Contents::Complete if fresh => {
            folder.clear()?;
            return Ok(Share::Whole);
        }
        Contents::Unfinished | Contents::Complete => {}
    }
    match (folder.order()?, contents) {
        (Some(earlier), _) if earlier != *order => Err(order.differs(&earlier, folder.path())),
        (Some(_), Contents::Complete) => Ok(Share::None),
        (Some(_), _) => Ok(Share::Rest),
        // Killed before it had noted its order, so before it had done anything.
        (None, Contents::Unfinished) => Ok(Share::Whole),
        (None, _) => Err(other_order(folder.path(), "a presentation that does not say what it was made of")),
    }
}

/// How watching a job ended.
enum Over {
    /// The farm is done with it.
    Settled(Box<JobView>),
    /// Somebody asked to stop.
    Interrupted,
    /// The folder takes nothing more: a disk is full for longer than it is worth trying again.
    Unwritable(Problem),
}

async fn watch_job(
    engine: &mut Engine,
    spec: JobSpec,
    screen: &mut Screen,
    interrupts: &mut Interrupts,
    out: &Path,
) -> Result<Over, Failure> {
    let mut views = submit(engine, spec, out).await?;
    let mut refresh = tokio::time::interval(REFRESH);
    let mut interrupted = 0;
    let overcome = views.borrow().problems.len(); // by an earlier run
    loop {
        let view = views.borrow_and_update().clone();
        screen.update(&view, engine.read_bytes());
        let unwritable = |problem: &&Problem| ["store_full", "publish_failed"].contains(&problem.code.as_str());
        if let Some(problem) = view.problems.iter().skip(overcome).find(unwritable).filter(|problem| !problem.fatal) {
            engine.abort();
            return Ok(Over::Unwritable(problem.clone()));
        }
        if view.settled && view.state.is_final() {
            return Ok(Over::Settled(Box::new(view)));
        }
        tokio::select! {
            Ok(()) = views.changed() => {}
            _ = refresh.tick() => {}
            over = engine.over() => {
                over?;
                return Ok(Over::Interrupted);
            }
            () = interrupts.next() => {
                interrupted += 1;
                if interrupted == 1 {
                    screen.tell(&Event::Draining);
                    engine.drain();
                } else {
                    engine.abort();
                }
            }
        }
    }
}

async fn submit(engine: &mut Engine, spec: JobSpec, out: &Path) -> Result<watch::Receiver<JobView>, Failure> {
    let handle = engine.handle().clone();
    tokio::select! {
        submitted = handle.submit(spec) => submitted.map_err(|error| match error {
            SubmitError::Wrong(complaints) => Failure::new(Exit::Usage, "recipe", complaints.join("\n  ")),
            SubmitError::Taken(_) | SubmitError::TargetHeld(_) => other_order(out, "a run whose source or folder has since been moved"),
            SubmitError::Closed => Failure::internal(error.to_string()),
        }),
        over = engine.over() => Err(over.err().unwrap_or_else(|| Failure::internal("the worker ended unasked"))),
    }
}

fn interrupted(out: &Path) -> Failure {
    Failure::new(Exit::Interrupted, "interrupted", format!("{}: what is finished is kept", out.display()))
        .help("run the same command again: it continues")
}

fn unwritable(out: &Path, problem: &Problem) -> Failure {
    Failure::storage(&problem.code, format!("{}: {}; what is finished is kept", out.display(), problem.text))
        .help("see that the disk has room and may be written, then run the same command again: it continues")
}

/// Why there is no presentation, with what was found out about the source.
#[derive(Debug, Serialize)]
struct Refusal {
    #[serde(flatten)]
    failure: Failure,
    verdict: Option<Verdict>,
    findings: Vec<Finding>,
}

/// The last line of `--json` when nothing was made.
#[derive(Serialize)]
struct Failed<'a> {
    event: &'static str,
    #[serde(flatten)]
    refusal: &'a Refusal,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self { failure, verdict: None, findings: Vec::new() }
    }
}

impl Refusal {
    fn of(view: &JobView, source: &Path) -> Self {
        let exit = match view.state {
            // A source that is gone or was replaced is not a corrupt one.
            JobState::Failed(_) if view.problems.iter().any(|it| it.fatal && Problem::is_source_away(&it.code)) => {
                Exit::Storage
            }
            JobState::Failed(kind) => Exit::from(kind),
            _ => Exit::Interrupted,
        };
        let gone = |problem: &Problem| ["source_missing", "source_unreadable"].contains(&problem.code.as_str());
        let failure = match view.problems.iter().rfind(|problem| problem.fatal) {
            Some(problem) if gone(problem) => Failure::storage(&problem.code, problem.text.as_str())
                .help("put it back where it was, then run the same command again"),
            Some(problem) => {
                let part = if problem.scope == "the source" { String::new() } else { format!(" {}:", problem.scope) };
                let message = format!("{}:{part} {}", source.display(), problem.text);
                Failure::new(exit, &problem.code, message).help(problem.advice.clone())
            }
            None => Failure::new(exit, "cancelled", format!("{}: the job was called off", source.display())),
        };
        let verdict = verdict_of(failure.exit).or(view.verdict);
        Self { failure, verdict, findings: view.findings.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_durations_are_given_in_seconds_or_milliseconds() {
        assert_eq!(milliseconds("6s"), Ok(6000));
        assert_eq!(milliseconds("2"), Ok(2000));
        assert_eq!(milliseconds("2500ms"), Ok(2500));
        for wrong in ["1s", "11s", "6000", "-6s", "", "six", "4294967295s"] {
            assert!(milliseconds(wrong).is_err(), "{wrong}");
        }
    }
}
