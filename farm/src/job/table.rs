//! Jobs as people read them.

use std::fmt::Write;

use prost_types::Timestamp;
use proto::v1;

use crate::progress::minutes;

/// `playable`, as people write it.
pub(super) fn state(job: &v1::Job) -> String {
    job.state().as_str_name().trim_start_matches("JOB_STATE_").to_lowercase()
}

/// A job in some lines.
pub(super) fn job(job: &v1::Job) -> String {
    let mut text = format!("{}  {}", job.id, state(job));
    if let Some(progress) = &job.progress {
        let _ = write!(text, ", {} %", progress.percent);
    }
    text.push('\n');
    if let Some(spec) = &job.spec {
        let _ = writeln!(text, "source    {}", spec.source);
        let _ = writeln!(text, "target    {}", spec.target);
        let labels: Vec<String> = spec.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        if !labels.is_empty() {
            let _ = writeln!(text, "labels    {}", labels.join(" "));
        }
        let _ = writeln!(text, "made      {}", made(spec));
        if let Some(deadline) = spec.deadline {
            let _ = writeln!(text, "deadline  {}", clock(deadline));
        }
        if spec.priority != 0 {
            let _ = writeln!(text, "priority  {}", spec.priority);
        }
    }
    for (name, time) in [("accepted", job.create_time), ("playable", job.playable_time), ("ended", job.end_time)] {
        if let Some(time) = time {
            let _ = writeln!(text, "{name:9} {}", clock(time));
        }
    }
    if let (Some(_), Some(output)) = (job.playable_time, &job.output) {
        let _ = writeln!(text, "HLS       {}\nDASH      {}", output.hls, output.dash);
    }
    for rendition in &job.renditions {
        let total = rendition.total_ms.map_or_else(|| "?".to_owned(), |ms| minutes(ms / 1000));
        let _ = writeln!(text, "rendition {:12} {} of {total}", rendition.name, minutes(rendition.done_ms / 1000));
    }
    for dropped in &job.dropped {
        let _ = writeln!(text, "left out  {}: {}", dropped.rung, dropped.reason);
    }
    for finding in job.source.iter().flat_map(|source| &source.findings) {
        let _ = writeln!(text, "finding   {}: {}; {}", finding.code, finding.text, finding.handling);
    }
    for problem in &job.problems {
        let _ = writeln!(text, "problem   {}: {} ({}) {}", problem.code, problem.text, problem.scope, problem.advice);
    }
    text
}

/// What is made of the source: `web, rungs 720, segments of 6 s`.
fn made(spec: &v1::JobSpec) -> String {
    let mut parts = match &spec.profile {
        Some(v1::job_spec::Profile::ProfileName(name)) => vec![name.clone()],
        _ => Vec::new(),
    };
    if !spec.rungs.is_empty() {
        parts.push(format!("rungs {}", spec.rungs));
    }
    if let Some(segment) = &spec.segment {
        parts.push(format!("segments of {} s", segment.seconds as f64 + f64::from(segment.nanos) / 1e9));
    }
    if !spec.preset.is_empty() {
        parts.push(format!("preset {}", spec.preset));
    }
    if spec.mp4 {
        parts.push("MP4 files".to_owned());
    }
    parts.join(", ")
}

/// A line for each job.
pub(super) fn jobs(jobs: &[v1::Job]) -> String {
    if jobs.is_empty() {
        return "no jobs\n".to_owned();
    }
    let longest = jobs.iter().map(|job| problem(job).len()).max().unwrap_or(0).max("PROBLEM".len());
    let mut text =
        format!("{:36}  {:10}  {:longest$}  {:>4}  {:20}  SOURCE\n", "ID", "STATE", "PROBLEM", "DONE", "ACCEPTED");
    for job in jobs {
        let percent = job.progress.map_or(0, |progress| progress.percent);
        let accepted = job.create_time.map(clock).unwrap_or_default();
        let source = job.spec.as_ref().map_or("", |spec| spec.source.as_str());
        let (state, problem) = (state(job), problem(job));
        let _ = writeln!(text, "{:36}  {state:10}  {problem:longest$}  {percent:>3}%  {accepted:20}  {source}", job.id);
    }
    text
}

/// The code of what a job has failed of; empty: it has not.
fn problem(job: &v1::Job) -> &str {
    job.problems.iter().rfind(|problem| problem.fatal).map_or("", |problem| &problem.code)
}

/// The timeline of a job.
pub(super) fn explanation(told: &v1::ExplainJobResponse) -> String {
    let mut text = format!("{}\n", told.summary);
    if !told.trace_id.is_empty() {
        let _ = writeln!(text, "trace {}", told.trace_id);
    }
    for entry in &told.timeline {
        let when = entry.time.map_or_else(|| "now".to_owned(), clock);
        let task = if entry.task.is_empty() { "job" } else { &entry.task };
        let _ = writeln!(text, "{when:20}  {task:14}  {}", entry.text);
    }
    text
}

/// UTC, to the second: civil from days, after Howard Hinnant's "chrono-compatible low-level date algorithms".
fn clock(time: Timestamp) -> String {
    let (days, second) = (time.seconds.div_euclid(86_400), time.seconds.rem_euclid(86_400));
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_is_one_line() {
        let profile = Some(v1::job_spec::Profile::ProfileName("web".into()));
        let segment = Some(prost_types::Duration { seconds: 2, nanos: 500_000_000 });
        let spec = v1::JobSpec { profile, segment, rungs: "720".into(), mp4: true, ..v1::JobSpec::default() };
        assert_eq!(made(&spec), "web, rungs 720, segments of 2.5 s, MP4 files");
    }

    #[test]
    fn failed_jobs_are_told_apart_by_what_they_failed_of() {
        let problem = |code: &str, fatal| v1::Problem { code: code.into(), fatal, ..v1::Problem::default() };
        let state = v1::JobState::Failed.into();
        let job = |id: &str, problems| v1::Job { id: id.into(), state, problems, ..v1::Job::default() };
        let failed = job("a", vec![problem("slot_stalled", false), problem("family_unavailable", true)]);
        let listed = jobs(&[failed, job("b", vec![problem("slot_stalled", false)])]);
        let lines: Vec<&str> = listed.lines().collect();
        let at = lines[0].find("PROBLEM").unwrap();
        assert!(lines[1][at..].starts_with("family_unavailable    0%"), "{listed}");
        assert!(lines[2][at..].trim_start().starts_with("0%"), "{listed}");
        assert_eq!(lines[2].find("0%"), lines[1].find("0%"), "{listed}");
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        let at = |seconds| clock(Timestamp { seconds, nanos: 0 });
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(1_795_219_199), "2026-11-20T23:59:59Z");
    }
}
