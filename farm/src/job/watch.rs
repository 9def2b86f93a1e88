//! A job being watched: a bar for each rendition on a terminal, lines elsewhere, JSON for scripts.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use coordinator::job::Problem;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use proto::v1;
use tonic::{Code, Status};

use super::table::state;
use crate::client::{Remote, jobs};
use crate::exit::{Exit, Failure};

/// Between two tries to reach a farm that has gone.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a farm that has gone is tried to be reached.
const PATIENCE: Duration = Duration::from_secs(60);

/// Watches until the job has ended, through changes of the leader and restarts of the farm.
///
/// # Errors
/// What the farm refuses; `unreachable` if it stays away; how the job failed.
pub(super) async fn run(remote: &Remote, id: String, bars: MultiProgress) -> Result<Exit, Failure> {
    let mut screen = Screen::new(remote.json, bars);
    let mut after_sequence = 0;
    let mut last: Option<v1::Job> = None;
    // Since when the farm is gone, while it is.
    let mut gone: Option<Instant> = None;
    loop {
        let request = v1::WatchJobRequest { job_id: id.clone(), after_sequence, view: v1::JobView::Full.into() };
        let lost = match follow(remote, request, |job| {
            after_sequence = job.sequence;
            gone = None;
            screen.show(&job)?;
            last = Some(job);
            Ok(())
        })
        .await
        {
            Ok(()) => break,
            Err(failure) => failure,
        };
        if lost.exit != Exit::Unreachable || last.is_none() {
            return Err(lost);
        }
        match gone {
            // Another leader, or a restart, is there at once.
            None => gone = Some(Instant::now()),
            Some(since) if since.elapsed() > PATIENCE => {
                return Err(lost.help(format!("the job goes on: `farm job watch {id}` when the farm can be reached")));
            }
            Some(_) => screen.miss(),
        }
        tokio::time::sleep(PAUSE).await;
    }
    screen.end();
    let job = last.ok_or_else(|| Failure::internal("the farm said nothing about the job"))?;
    end(&job, remote.json)
}

/// One stream, to its end.
async fn follow(
    remote: &Remote,
    request: v1::WatchJobRequest,
    mut see: impl FnMut(v1::Job) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut changes = jobs(remote.connect().await?).watch_job(request).await?.into_inner();
    // A connection that breaks shows itself as any code.
    let broken = |status: Status| match status.code() {
        Code::Unknown | Code::Internal | Code::Cancelled => Status::unavailable(status.message()).into(),
        _ => Failure::from(status),
    };
    while let Some(update) = changes.message().await.map_err(broken)? {
        update.job.map(&mut see).transpose()?;
    }
    Ok(())
}

/// How a command ends that has watched a job.
fn exit_of(job: &v1::Job) -> Exit {
    let fatal = job.problems.iter().rfind(|problem| problem.fatal);
    // A source that is gone or was replaced is not a corrupt one.
    let away = fatal.is_some_and(|problem| Problem::is_source_away(&problem.code));
    match (job.state(), job.verdict(), fatal.map(v1::Problem::class)) {
        (v1::JobState::Succeeded, ..) => Exit::Done,
        (v1::JobState::Cancelled, ..) => Exit::Interrupted,
        _ if away => Exit::Storage,
        (_, v1::Verdict::Unsupported, _) | (_, _, Some(v1::ProblemClass::Worker)) => Exit::Unsupported,
        (_, _, Some(v1::ProblemClass::Input)) => Exit::Corrupt,
        (_, _, Some(v1::ProblemClass::Storage)) => Exit::Storage,
        _ => Exit::Internal,
    }
}

/// Ends a command by how the job has; says why it failed, unless that was printed as JSON.
pub(super) fn end(job: &v1::Job, json: bool) -> Result<Exit, Failure> {
    let exit = exit_of(job);
    match job.problems.iter().rfind(|problem| problem.fatal) {
        Some(problem) if !json => {
            let text = format!("{}: {} ({})", job.id, problem.text, problem.scope);
            Err(Failure::new(exit, &problem.code, text).help(problem.advice.as_str()))
        }
        _ => Ok(exit),
    }
}

struct Screen {
    json: bool,
    terminal: bool,
    all: MultiProgress,
    bars: BTreeMap<String, ProgressBar>,
    said: Option<(v1::JobState, u32)>,
    /// It was said that the farm is gone.
    missed: bool,
}

impl Screen {
    fn new(json: bool, all: MultiProgress) -> Self {
        Self { json, terminal: io::stderr().is_terminal(), all, bars: BTreeMap::new(), said: None, missed: false }
    }

    fn show(&mut self, job: &v1::Job) -> Result<(), Failure> {
        if self.json {
            crate::progress::print_json(&crate::client::json("Job", job)?);
            return Ok(());
        }
        self.missed = false;
        let percent = job.progress.map_or(0, |progress| progress.percent);
        let news = (job.state(), percent / 10);
        if self.said.is_none_or(|said| said.0 != news.0 || (!self.terminal && said.1 != news.1)) {
            let hint = match (job.state(), &job.output) {
                (v1::JobState::Playable | v1::JobState::Succeeded, Some(output)) => format!("  {}", output.hls),
                _ => String::new(),
            };
            self.say(&format!("{:11} {percent:3} %{hint}", state(job)));
            self.said = Some(news);
        }
        if self.terminal {
            self.draw(job);
        }
        Ok(())
    }

    /// Says once that the farm is gone.
    fn miss(&mut self) {
        if !self.json && !std::mem::replace(&mut self.missed, true) {
            self.say(&format!("the farm can't be reached; trying for {} s", PATIENCE.as_secs()));
        }
    }

    fn draw(&mut self, job: &v1::Job) {
        for rendition in &job.renditions {
            let bar = self.bars.entry(rendition.name.clone()).or_insert_with(|| {
                let style = ProgressStyle::with_template("{prefix:14} {wide_bar:.cyan/238} {percent:>3} %")
                    .expect("the template should be well-formed: it is a constant");
                let bar = self.all.add(ProgressBar::new(0).with_style(style));
                bar.set_prefix(rendition.name.clone());
                bar
            });
            bar.set_length(rendition.total_ms.unwrap_or(rendition.done_ms).max(1));
            bar.set_position(rendition.done_ms);
        }
    }

    fn say(&self, text: &str) {
        self.all.suspend(|| {
            // A closed standard error must not end the watching.
            let _ = writeln!(io::stderr(), "{text}");
        });
    }

    fn end(&mut self) {
        std::mem::take(&mut self.bars).into_values().for_each(|bar| bar.finish_and_clear());
    }
}
