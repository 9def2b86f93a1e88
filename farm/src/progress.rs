//! A run as people watch it: bars on a terminal, lines elsewhere, JSON for scripts.

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use coordinator::job::{JobState, JobView};
use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};
use shared::source::Verdict;

use crate::events::{Advance, Event, Pace, Rate, Watcher, advance, describe};
use crate::exit::Failure;

/// How a run is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// A bar per rendition, on standard error.
    Bars,
    /// A line per event, on standard error.
    Lines,
    /// A JSON object per event, on standard output.
    Json,
}

impl Look {
    /// JSON if it is asked for, bars if somebody is looking.
    pub fn choose(json: bool) -> Self {
        match (json, io::stderr().is_terminal()) {
            (true, _) => Self::Json,
            (false, true) => Self::Bars,
            (false, false) => Self::Lines,
        }
    }
}

/// Shows a run.
pub struct Screen {
    out: PathBuf,
    look: Look,
    watcher: Watcher,
    started: Instant,
    bars: Bars,
}

impl Screen {
    /// `bars` is shared with the log, which steps aside for it.
    pub fn new(look: Look, bars: MultiProgress, out: &Path) -> Self {
        let pace = if look == Look::Json { Pace::Seconds } else { Pace::Tenths };
        let bars = Bars { all: bars, index: None, renditions: HashMap::new() };
        Self { out: out.to_path_buf(), look, watcher: Watcher::new(pace), started: Instant::now(), bars }
    }

    /// Shows what is new.
    pub fn update(&mut self, view: &JobView, read_bytes: u64) {
        let now = self.started.elapsed();
        for event in self.watcher.see(view, read_bytes, now) {
            self.tell(&event);
        }
        if self.look == Look::Bars {
            self.bars.update(view, read_bytes, now);
        }
    }

    /// Shows an event that no view tells of.
    pub fn tell(&mut self, event: &Event) {
        match self.look {
            Look::Json => print_json(event),
            Look::Lines => self.say(&line(event, &self.out)),
            Look::Bars => match event {
                Event::Indexing { .. } | Event::Progress { .. } | Event::Rendition { .. } | Event::Publishing => {}
                event => self.say(&line(event, &self.out)),
            },
        }
    }

    /// A line for people, above the bars.
    pub fn say(&self, text: &str) {
        if self.look == Look::Json || text.is_empty() {
            return;
        }
        self.bars.all.suspend(|| {
            // A closed standard error must not end the run.
            let _ = writeln!(io::stderr(), "{text}");
        });
    }

    /// Since the start of this run.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Takes the bars away.
    pub fn end(&mut self) {
        self.bars.end();
    }
}

/// One line of JSON on standard output; a reader that has gone is no failure of the run.
pub fn print_json(value: &impl serde::Serialize) {
    let line = serde_json::to_string(value).expect("plain data should serialise");
    let _ = writeln!(io::stdout(), "{line}");
}

/// Text on standard output. Whoever stops reading (`farm probe clip.mp4 | head -1`) has read enough.
///
/// # Errors
/// `stdout` if it can't be written.
pub fn print_text(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::storage("stdout", format!("standard output: {error}")).help("see where it leads"))
        }
        _ => Ok(()),
    }
}

fn line(event: &Event, out: &Path) -> String {
    match event {
        Event::Started { source, out, continued: false } => format!("transcoding {source} to {out}"),
        Event::Started { source, out, continued: true } => format!("continuing {source} to {out}"),
        Event::Indexing { bytes, bytes_per_second } => {
            format!("indexing    {}, {}/s", HumanBytes(*bytes), HumanBytes(*bytes_per_second))
        }
        Event::Source { verdict, container } => format!("source      {}: {container}", verdict_word(*verdict)),
        Event::Finding(finding) => format!("finding     {}: {}; {}", finding.code, finding.text, finding.handling),
        Event::Rendition { name, text } => format!("making      {name} {text}").trim_end().to_owned(),
        Event::Dropped { rung, reason } => format!("leaving out {rung}: {reason}"),
        Event::AwaitsGpus => "waiting     until the GPUs of this machine have been tried, a minute at most".to_owned(),
        Event::Playable { after_seconds } => {
            format!("playable    after {after_seconds:.1} s: farm play {}", out.display())
        }
        Event::Progress { advance, .. } => format!("encoding    {}", progress_text(advance)),
        Event::Problem(problem) => format!("problem     {}: {} ({})", problem.code, problem.text, problem.scope),
        Event::Draining => "stopping    what has begun is finished first; Ctrl-C again stops at once".to_owned(),
        Event::Publishing => "publishing".to_owned(),
    }
}

/// The word that the certificate uses.
pub fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Standard => "STANDARD",
        Verdict::NonStandard => "NON_STANDARD",
        Verdict::Unsupported => "UNSUPPORTED",
        Verdict::Corrupt => "CORRUPT",
    }
}

fn progress_text(advance: &Advance) -> String {
    let mut text = match advance.percent() {
        Some(percent) => format!("{percent:3} %"),
        None => format!("{} so far", minutes(advance.done_ms / 1000)),
    };
    if advance.speed > 0.0 {
        text.push_str(&format!("  {:.1}x real time", advance.speed));
    }
    if let Some(eta) = advance.eta_seconds.filter(|eta| *eta > 0) {
        text.push_str(&format!("  {} left", minutes(eta)));
    }
    text
}

/// `m:ss` or `h:mm:ss`.
pub fn minutes(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

struct Bars {
    all: MultiProgress,
    index: Option<(ProgressBar, Rate)>,
    renditions: HashMap<String, (ProgressBar, Rate)>,
}

impl Bars {
    fn update(&mut self, view: &JobView, read_bytes: u64, now: Duration) {
        self.update_index(view, read_bytes, now);
        for rendition in &view.renditions {
            let (bar, rate) = self.renditions.entry(rendition.name.clone()).or_insert_with(|| {
                let size = describe(view, &rendition.name);
                let size = size.split(' ').next().unwrap_or_default();
                let bar =
                    self.all.add(ProgressBar::new(0).with_style(style("{prefix:22} {wide_bar:.cyan/238} {msg:34}")));
                bar.set_prefix(format!("{:12} {size}", rendition.name));
                (bar, Rate::default())
            });
            rate.note(now, rendition.done_ms);
            bar.set_length(rendition.total_ms.unwrap_or(rendition.done_ms).max(1));
            bar.set_position(rendition.done_ms);
            let done = rendition.total_ms.is_some_and(|total| rendition.done_ms >= total);
            let advance = advance(rendition.done_ms, rendition.total_ms, rate);
            bar.set_message(if done { "done".to_owned() } else { progress_text(&advance) });
        }
        if view.state == JobState::Publishing
            && let Some((bar, _)) = &self.index
        {
            bar.set_message("publishing");
        }
    }

    fn update_index(&mut self, view: &JobView, read_bytes: u64, now: Duration) {
        let (bar, rate) = self.index.get_or_insert_with(|| {
            let bar = self.all.add(ProgressBar::new_spinner().with_style(style("{spinner:.cyan} {msg}")));
            bar.enable_steady_tick(Duration::from_millis(120));
            (bar, Rate::default())
        });
        rate.note(now, read_bytes);
        let verdict = view.verdict.map_or("source", verdict_word);
        let reading = !view.chunks.complete && !view.state.is_final();
        bar.set_message(if reading {
            let speed = HumanBytes(rate.per_second() as u64);
            format!("{verdict}, indexing: {} read, {speed}/s", HumanBytes(read_bytes))
        } else {
            format!("{verdict}: {} of {} chunks encoded", view.chunks.done, view.chunks.planned)
        });
    }

    fn end(&mut self) {
        let renditions = self.renditions.drain().map(|(_, shown)| shown);
        for (bar, _) in renditions.chain(self.index.take()) {
            bar.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template should be well-formed: it is a constant")
}
