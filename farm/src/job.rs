//! `farm job`: jobs of a farm that is served, here or elsewhere.

mod table;
mod watch;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Subcommand;
use indicatif::MultiProgress;
use proto::v1;
use shared::time::SegmentGrid;

use crate::client::{Connection, Remote, jobs};
use crate::exit::{Exit, Failure};
use crate::transcode::milliseconds;

/// Longest single wait of `farm job get --wait-for`; it asks again.
const WAIT: Duration = Duration::from_secs(300);

/// Jobs: one source becomes one presentation
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  farm serve &                                    a farm on this machine
  farm job submit film.mov --watch                makes it, and shows how
  farm job submit s3://in/film.mov --target s3://out/film --label team=red --request-id film-7
  farm job list --filter 'state = FAILED AND labels.team = red'
  farm job explain ID                             why it is where it is

`submit --watch` and `watch` end as the job does: 0 succeeded, 3 corrupt source, 4 unsupported source, 5 storage,
6 called off, 7 a fault of the farm. All end with 8 if the farm refuses, 9 if it can't be reached.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Ask for a job, and print its id
    Submit(Box<Submit>),
    /// Say how a job stands
    #[command(visible_alias = "show")]
    Get {
        /// Which job
        id: String,
        /// Wait until it stands so, or has ended: playable, succeeded, …
        #[arg(long, value_name = "STATE", value_parser = state)]
        wait_for: Option<v1::JobState>,
        #[command(flatten)]
        remote: Remote,
    },
    /// List jobs, the newest first
    List {
        /// Such as 'state = RUNNING AND labels.team = red'
        #[arg(long, default_value = "", hide_default_value = true)]
        filter: String,
        /// create_time, end_time or priority, with ' desc' for the highest first
        #[arg(long, default_value = "", hide_default_value = true)]
        order_by: String,
        /// Most jobs to list
        #[arg(long, default_value_t = 50)]
        limit: u32,
        #[command(flatten)]
        remote: Remote,
    },
    /// Show a job until it has ended
    Watch {
        /// Which job
        id: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Change priority, deadline or labels
    Update {
        /// Which job
        id: String,
        #[command(flatten)]
        terms: Terms,
        #[command(flatten)]
        remote: Remote,
    },
    /// Call a job off; what it has published is taken away
    Cancel(One),
    /// Make again what failed, and only that
    Retry(One),
    /// Forget a job; one under way is called off first
    Delete {
        /// Which job
        id: String,
        /// Remove what it has made too
        #[arg(long)]
        erase: bool,
        #[command(flatten)]
        remote: Remote,
    },
    /// Say why a job is where it is
    Explain(One),
}

#[derive(Debug, clap::Args)]
struct One {
    /// Which job
    id: String,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, clap::Args)]
struct Submit {
    /// URI the farm can read (file:, s3:, gs:, https:); a path is one of the farm's host
    source: String,
    /// URI or path of the folder for the presentation; a place of the farm's own if it is not given
    #[arg(long, value_name = "URI")]
    target: Option<String>,
    /// Name of a profile of the farm, or a TOML file of yours
    #[arg(long, default_value = "web", value_name = "NAME|FILE")]
    profile: String,
    /// Rungs to make: `auto` by the profile's rules, `all` that are not larger than the source, or heights
    #[arg(long, default_value = "auto", value_name = "auto|all|1080,720,…")]
    rungs: String,
    /// Encoder preset for every rung
    #[arg(long, default_value = "", hide_default_value = true)]
    preset: String,
    /// Segment duration, 2s to 10s
    #[arg(long, default_value = "6s", value_parser = milliseconds)]
    segment: u32,
    /// Make one MP4 file of each rendition too
    #[arg(long)]
    mp4: bool,
    #[command(flatten)]
    terms: Terms,
    /// Sent again with the same id, the same job is meant and no other is made
    #[arg(long, default_value = "", hide_default_value = true, value_name = "ID")]
    request_id: String,
    /// Show the job until it has ended
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, clap::Args)]
struct Terms {
    /// -100 to 100; the higher is done first
    #[arg(long, allow_negative_numbers = true)]
    priority: Option<i32>,
    /// When it should be done, from now: 90s, 15m, 2h
    #[arg(long, value_name = "DURATION", value_parser = from_now)]
    deadline: Option<prost_types::Timestamp>,
    /// For filters; may be given more than once
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("give KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn state(text: &str) -> Result<v1::JobState, String> {
    let name = format!("JOB_STATE_{}", text.to_uppercase());
    v1::JobState::from_str_name(&name).ok_or_else(|| "give a state such as playable or succeeded".to_owned())
}

fn from_now(text: &str) -> Result<prost_types::Timestamp, String> {
    let wrong = || "give a duration such as 90s, 15m or 2h".to_owned();
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let unit = [("s", 1), ("m", 60), ("h", 3600)].into_iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?.1;
    let seconds = number.parse::<u32>().map_err(|_| wrong())?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let then = now.saturating_add(u64::from(seconds) * unit);
    Ok(prost_types::Timestamp { seconds: i64::try_from(then).unwrap_or(i64::MAX), nanos: 0 })
}

/// `farm job`.
///
/// # Errors
/// What the farm refuses; `unreachable`.
pub async fn run(args: Args, bars: MultiProgress) -> Result<Exit, Failure> {
    match args.command {
        Command::Submit(args) => submit(*args, bars).await,
        Command::Get { id, wait_for, remote } => get(&remote, id, wait_for).await,
        Command::List { filter, order_by, limit, remote } => list(&remote, filter, order_by, limit).await,
        Command::Watch { id, remote } => watch::run(&remote, id, bars).await,
        Command::Update { id, terms, remote } => update(&remote, id, terms).await,
        Command::Cancel(One { id, remote }) => {
            let mut client = jobs(remote.connect().await?);
            show(&remote, &client.cancel_job(v1::CancelJobRequest { job_id: id }).await?.into_inner())
        }
        Command::Retry(One { id, remote }) => {
            let mut client = jobs(remote.connect().await?);
            show(&remote, &client.retry_job(v1::RetryJobRequest { job_id: id }).await?.into_inner())
        }
        Command::Delete { id, erase, remote } => {
            let mut client = jobs(remote.connect().await?);
            let request = v1::DeleteJobRequest { job_id: id.clone(), erase };
            let gone = client.delete_job(request).await?.into_inner();
            remote.show("DeleteJobResponse", &gone, || format!("{id} is forgotten\n"))?;
            Ok(Exit::Done)
        }
        Command::Explain(One { id, remote }) => {
            let mut client = jobs(remote.connect().await?);
            let told = client.explain_job(v1::ExplainJobRequest { job_id: id }).await?.into_inner();
            remote.show("ExplainJobResponse", &told, || table::explanation(&told))?;
            Ok(Exit::Done)
        }
    }
}

fn show(remote: &Remote, job: &v1::Job) -> Result<Exit, Failure> {
    remote.show("Job", job, || table::job(job))?;
    Ok(Exit::Done)
}

async fn submit(args: Submit, bars: MultiProgress) -> Result<Exit, Failure> {
    let Submit { source, target, profile, rungs, preset, segment, mp4, terms, request_id, watch, remote } = args;
    let profile = match profile.contains(['/', '.']) {
        true => v1::job_spec::Profile::ProfileToml(read_profile(Path::new(&profile))?),
        false => v1::job_spec::Profile::ProfileName(profile),
    };
    let segment = prost_types::Duration {
        seconds: i64::from(segment / 1000),
        nanos: i32::try_from(segment % 1000 * 1_000_000).unwrap_or(0),
    };
    debug_assert!(segment.seconds * 1000 <= i64::from(SegmentGrid::LONGEST_MS));
    let spec = v1::JobSpec {
        source: place(&source)?,
        target: target.as_deref().map(place).transpose()?.unwrap_or_default(),
        profile: Some(profile),
        segment: Some(segment),
        rungs,
        preset,
        mp4,
        priority: terms.priority.unwrap_or(0),
        deadline: terms.deadline,
        labels: terms.labels.into_iter().collect(),
    };
    let mut client = jobs(remote.connect().await?);
    let job = client.create_job(v1::CreateJobRequest { request_id, spec: Some(spec) }).await?.into_inner();
    if !(watch && remote.json) {
        remote.show("Job", &job, || format!("{}\n", job.id))?;
    }
    if watch { watch::run(&remote, job.id, bars).await } else { Ok(Exit::Done) }
}

/// A relative path is meant from here; everything else is the farm's to read.
fn place(text: &str) -> Result<String, Failure> {
    if text.contains(':') || text.starts_with('/') {
        return Ok(text.to_owned());
    }
    let path = std::path::absolute(text).map_err(|error| Failure::storage("place", format!("{text}: {error}")))?;
    let parts = path.components().filter(|part| !matches!(part, std::path::Component::CurDir));
    let mut plain = std::path::PathBuf::new();
    for part in parts {
        match part {
            std::path::Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    let text = plain.to_str().ok_or_else(|| Failure::storage("place", format!("{text}: its name is not UTF-8")))?;
    Ok(text.to_owned())
}

fn read_profile(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::new(Exit::Usage, "profile", format!("{}: {error}", path.display())))
}

async fn get(remote: &Remote, id: String, wait_for: Option<v1::JobState>) -> Result<Exit, Failure> {
    let mut client = jobs(remote.connect().await?);
    let wanted = wait_for.unwrap_or(v1::JobState::Unspecified);
    loop {
        let message = v1::GetJobRequest { job_id: id.clone(), view: 0, wait_for: wanted.into() };
        let mut request = tonic::Request::new(message);
        request.set_timeout(WAIT);
        let job = client.get_job(request).await?.into_inner();
        if wait_for.is_none_or(|wanted| job.state() >= wanted) || job.end_time.is_some() {
            show(remote, &job)?;
            let missed = wait_for.is_some_and(|wanted| wanted != job.state()) && job.end_time.is_some();
            return if missed { watch::end(&job, remote.json) } else { Ok(Exit::Done) };
        }
    }
}

async fn list(remote: &Remote, filter: String, order_by: String, limit: u32) -> Result<Exit, Failure> {
    let mut client = jobs(remote.connect().await?);
    let (mut left, mut page_token, mut all) = (limit, String::new(), Vec::new());
    while left > 0 {
        let (filter, order_by) = (filter.clone(), order_by.clone());
        let request = v1::ListJobsRequest { filter, order_by, page_size: left.min(500), page_token, view: 0 };
        let page = client.list_jobs(request).await?.into_inner();
        left = left.saturating_sub(u32::try_from(page.jobs.len()).unwrap_or(u32::MAX));
        all.extend(page.jobs);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if remote.json {
        for job in &all {
            remote.show("Job", job, String::new)?;
        }
    } else {
        crate::progress::print_text(&table::jobs(&all))?;
    }
    Ok(Exit::Done)
}

async fn update(remote: &Remote, id: String, terms: Terms) -> Result<Exit, Failure> {
    let Terms { priority, deadline, labels } = terms;
    let named = [("priority", priority.is_some()), ("deadline", deadline.is_some()), ("labels", !labels.is_empty())];
    let paths = named.into_iter().filter(|(_, given)| *given).map(|(name, _)| name.to_owned()).collect();
    let labels: BTreeMap<_, _> = labels.into_iter().collect();
    let spec = v1::JobSpec { priority: priority.unwrap_or(0), deadline, labels, ..Default::default() };
    let update_mask = Some(prost_types::FieldMask { paths });
    let mut client: v1::job_service_client::JobServiceClient<Connection> = jobs(remote.connect().await?);
    let request = v1::UpdateJobRequest { job_id: id, spec: Some(spec), update_mask };
    show(remote, &client.update_job(request).await?.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_path_is_meant_from_here() {
        for uri in ["s3://in/a.mov", "file:/a", "https://host/a?b", "/a/b.mov"] {
            assert_eq!(place(uri).unwrap(), uri);
        }
        let here = std::env::current_dir().unwrap();
        assert_eq!(place("./x/../a.mov").unwrap(), here.join("a.mov").to_str().unwrap());
    }

    #[test]
    fn deadlines_count_from_now() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
        assert!((from_now("2h").unwrap().seconds - now - 7_200).abs() < 5);
        for wrong in ["", "2", "h", "2d", "-1s", "ü"] {
            assert!(from_now(wrong).is_err(), "{wrong}");
        }
    }
}
