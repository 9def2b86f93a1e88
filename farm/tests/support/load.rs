//! Jobs that follow one another, several at a time. Each is looked at when it has ended, and again when all have.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use proto::v1;
use tokio::task::JoinSet;

use super::cluster::Cluster;
use super::cluster::client::Client;
use super::right::assert_right;
use super::{Presentation, clip, run, transcode};

/// Of all jobs.
pub const PROFILE: &str = "web-3";
/// What lost attempts leave behind must be gone so soon after the last job: the queue may hand one out again after 30 s.
const LEFTOVER_LIMIT: Duration = Duration::from_secs(60);

/// A source, and what is right of it.
pub struct Clip {
    source: PathBuf,
    /// What an undisturbed farm makes of it; `None` where programs of several versions make different bytes.
    wanted: Option<BTreeMap<String, Vec<u8>>>,
}

/// Runs until it is finished.
pub struct Load {
    shared: Arc<Shared>,
    lanes: JoinSet<Vec<(PathBuf, usize)>>,
    client: Client,
}

struct Shared {
    clips: Vec<Clip>,
    folder: PathBuf,
    enough: AtomicBool,
    done: AtomicU64,
    last: Mutex<String>,
}

/// Clips of three lengths, each of many chunks that take no time to encode.
pub fn tiny_clips(folder: &Path) -> Vec<PathBuf> {
    let make = |seconds: u32| {
        let source = folder.join(format!("tiny-{seconds}.mp4"));
        let picture = format!("testsrc2=size=64x36:rate=10:duration={seconds}");
        let sound = format!("sine=frequency={seconds}:duration=15"); // one task, and the longest by far
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-nostdin", "-v", "error", "-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &sound]);
        run(ffmpeg.args(["-preset", "ultrafast", "-g", "40", "-b:a", "32k"]).arg(&source));
        source
    };
    [130, 190, 310].map(make).to_vec()
}

/// 20 seconds of 720p.
pub fn real_clips(folder: &Path) -> Vec<PathBuf> {
    let source = folder.join("real.mp4");
    std::fs::copy(clip("bunny_720p25.mp4"), &source).unwrap();
    vec![source]
}

impl Clip {
    /// Of which every farm makes the same bytes.
    pub fn of(source: PathBuf) -> Self {
        let alone = source.with_extension("alone");
        let output = transcode(&source, &alone, &["--profile", PROFILE]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self { source, wanted: Some(Presentation::bytes(&alone)) }
    }

    /// Of which programs of several versions make different bytes: its presentations are looked at instead.
    pub fn of_many_bytes(source: PathBuf) -> Self {
        Self { source, wanted: None }
    }

    pub fn uri(&self) -> String {
        format!("file:{}", self.source.display())
    }

    /// Every file is there and as it should be, and no file more.
    pub fn assert_right(&self, out: &Path) {
        match &self.wanted {
            Some(wanted) => compare(wanted, out).unwrap_or_else(|why| panic!("{}: {why}", out.display())),
            None => assert_right(&self.source, &Presentation::read(out)),
        }
    }

    /// Whether there are other files in `out` than there should, as far as that is known.
    fn has_others(&self, out: &Path) -> bool {
        self.wanted.as_ref().is_some_and(|wanted| compare(wanted, out).is_err())
    }
}

/// With what an undisturbed farm makes: every file, and no file more.
fn compare(wanted: &BTreeMap<String, Vec<u8>>, out: &Path) -> Result<(), String> {
    let made = Presentation::bytes(out);
    if !wanted.keys().eq(made.keys()) {
        return Err(format!("{:?}\nundisturbed: {:?}", made.keys(), wanted.keys()));
    }
    let wrong: Vec<&String> =
        wanted.iter().filter(|(name, bytes)| made[*name] != **bytes).map(|(name, _)| name).collect();
    if wrong.is_empty() { Ok(()) } else { Err(format!("{wrong:?} differ")) }
}

impl Load {
    /// Keeps so many jobs going on a cluster whose storage is a folder.
    pub fn start(cluster: &Cluster, sources: Vec<PathBuf>, at_once: usize) -> Self {
        Self::of(cluster, sources.into_iter().map(Clip::of).collect(), at_once)
    }

    /// The same with these clips.
    pub fn of(cluster: &Cluster, clips: Vec<Clip>, at_once: usize) -> Self {
        let folder = cluster.folder.path().to_owned();
        let shared =
            Shared { clips, folder, enough: AtomicBool::new(false), done: AtomicU64::new(0), last: Mutex::default() };
        let (shared, client) = (Arc::new(shared), cluster.client());
        let lanes = (0..at_once).map(|lane| shared.clone().run(lane, client.clone())).collect();
        Self { shared, lanes, client }
    }

    /// Jobs that have ended well.
    pub fn done(&self) -> u64 {
        self.shared.done.load(Ordering::Relaxed)
    }

    /// Fails if a job has.
    pub fn check(&mut self) {
        if let Some(ended) = self.lanes.try_join_next() {
            panic!("a lane has ended: {ended:?}");
        }
    }

    /// Waits for more jobs to end.
    pub async fn flows(&mut self, more: u64, limit: Duration) {
        let (before, began) = (self.done(), Instant::now());
        while self.done() < before + more {
            self.check();
            assert!(began.elapsed() < limit, "{} jobs in {limit:?}", self.done() - before);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Lets the last jobs end; nothing is lost, wrong, twice or left over. Returns how many there were.
    pub async fn finish(mut self) -> u64 {
        self.shared.enough.store(true, Ordering::Relaxed);
        let mut made = Vec::new();
        while let Some(lane) = self.lanes.join_next().await {
            made.extend(lane.unwrap());
        }
        let left_over = || {
            let wrong = made.iter().filter(|(out, clip)| self.shared.clips[*clip].has_others(out));
            (wrong.count(), files(&self.shared.folder.join("work")))
        };
        let began = Instant::now();
        while left_over() != (0, Vec::new()) {
            assert!(
                began.elapsed() < LEFTOVER_LIMIT,
                "presentations with more than they should, work: {:?}",
                left_over()
            );
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        self.done()
    }

    /// One that has ended well.
    pub fn last_job(&self) -> String {
        self.shared.last.lock().unwrap().clone()
    }

    pub fn client(&self) -> &Client {
        &self.client
    }
}

/// Files below a folder that may be removed meanwhile.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

impl Shared {
    /// One job after the other; where they are and of which clip.
    async fn run(self: Arc<Self>, lane: usize, client: Client) -> Vec<(PathBuf, usize)> {
        let mut made = Vec::new();
        for number in 0.. {
            if self.enough.load(Ordering::Relaxed) {
                break;
            }
            let (name, clip) = (format!("made-{lane}-{number}"), (lane + number) % self.clips.len());
            let out = self.folder.join(&name);
            let spec = v1::JobSpec {
                source: self.clips[clip].uri(),
                target: format!("file:{}", out.display()),
                profile: Some(v1::job_spec::Profile::ProfileName(PROFILE.into())),
                ..Default::default()
            };
            let job = client.submit(&name, spec).await;
            client.succeeded(&job).await;
            self.clips[clip].assert_right(&out);
            self.done.fetch_add(1, Ordering::Relaxed);
            *self.last.lock().unwrap() = job;
            made.push((out, clip));
        }
        made
    }
}
