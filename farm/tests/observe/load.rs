//! Jobs that follow one another while scenes are played.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proto::v1;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::support::cluster::Cluster;
use crate::support::run;

/// The source of all jobs, in the farm's storage.
pub const SOURCE: &str = "source.mp4";
/// One that is hardly any work.
pub const SHORT_SOURCE: &str = "short.mp4";
/// One with more chunks.
pub const LONG_SOURCE: &str = "long.mp4";
const LONG_SECONDS: u32 = 80;
/// Of the source, in several chunks.
const SECONDS: u32 = 20;
/// Of the short one.
const SHORT_SECONDS: u32 = 2;
/// Between two jobs of a lane: the machine has other things to do.
const PAUSE: Duration = Duration::from_millis(500);

/// Lanes of jobs: one that GPUs can make, one that they can't.
pub struct Load {
    enough: CancellationToken,
    lanes: Vec<JoinHandle<()>>,
    done: Arc<AtomicUsize>,
    /// Of each lane.
    under_way: Arc<Mutex<BTreeMap<&'static str, String>>>,
    failed: Arc<Mutex<Vec<String>>>,
}

/// So little work that a scene does not wait for it. `codec` and `preset` as profiles write them.
pub fn profile(codec: &str, preset: &str) -> v1::job_spec::Profile {
    v1::job_spec::Profile::ProfileToml(format!(
        "name = \"observe\"\n\
        [video]\ncodec = \"{codec}\"\ncrf = 30\npreset = \"{preset}\"\nclosest_pixel_ratio = 1.0\n\
        rungs = [{{ name = \"180p\", width_px = 320, height_px = 180, bitrate_kbps = 400 }},\n\
        {{ name = \"90p\", width_px = 160, height_px = 90, bitrate_kbps = 200 }}]\n\
        [audio]\ncodec = \"aac\"\nbitrate_kbps = 64\nchannels = 1\n\
        [storyboard]\ntile_width_px = 80\ncolumns = 5\nrows = 5\n"
    ))
}

/// A job of this profile.
pub fn spec(source: String, target: String, profile: v1::job_spec::Profile) -> v1::JobSpec {
    let segment = Some(prost_types::Duration { seconds: 2, nanos: 0 });
    v1::JobSpec { source, target, profile: Some(profile), segment, ..Default::default() }
}

impl Load {
    /// Keeps a job of each lane going until it has been enough.
    pub async fn start(cluster: &Cluster) -> Self {
        for (name, seconds) in [(SOURCE, SECONDS), (SHORT_SOURCE, SHORT_SECONDS), (LONG_SOURCE, LONG_SECONDS)] {
            cluster.put(name, &source(cluster.folder.path(), name, seconds)).await;
        }
        let (enough, done) = (CancellationToken::new(), Arc::<AtomicUsize>::default());
        let under_way = Arc::<Mutex<BTreeMap<&str, String>>>::default();
        let failed = Arc::<Mutex<Vec<String>>>::default();
        let lane = |(name, profile): (&'static str, v1::job_spec::Profile)| {
            let (client, enough) = (cluster.client(), enough.clone());
            let (done, under_way, failed) = (done.clone(), under_way.clone(), failed.clone());
            let (source, out) = (cluster.uri(SOURCE), cluster.uri("out"));
            async move {
                for number in 0.. {
                    let job = format!("{name}-{number}");
                    let spec = spec(source.clone(), format!("{out}/{job}"), profile.clone());
                    let job = client.submit(&job, spec).await;
                    under_way.lock().unwrap().insert(name, job.clone());
                    let ended = client.wait_for(&job, v1::JobState::Succeeded).await;
                    if ended.state() != v1::JobState::Succeeded {
                        let code = ended.problems.iter().rfind(|problem| problem.fatal).map(|problem| &problem.code);
                        let complaint = format!("a job of the load ended as {:?}: {code:?}", ended.state());
                        failed.lock().unwrap().push(complaint);
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                    if enough.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
                        return;
                    }
                }
            }
        };
        let lanes = [("h264", profile("h264", "superfast")), ("av1", profile("av1", "13"))];
        let tasks = TaskTracker::new();
        let lanes = lanes.into_iter().map(|what| tasks.spawn(lane(what))).collect();
        Self { lanes, enough, done, under_way, failed }
    }

    /// Jobs that have ended.
    pub fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    /// Jobs that are being made, or have just been.
    pub fn under_way(&self) -> Vec<String> {
        self.under_way.lock().unwrap().values().cloned().collect()
    }

    /// Waits until so many more have ended.
    pub async fn flows(&self, more: usize) {
        let enough = self.done() + more;
        while self.done() < enough {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What has not ended well since it was asked for last; fails if a lane has ended.
    pub fn failed(&self) -> Vec<String> {
        assert!(!self.lanes.iter().any(JoinHandle::is_finished), "a lane of jobs has ended");
        std::mem::take(&mut *self.failed.lock().unwrap())
    }

    /// Lets the last jobs end. Returns how many there were.
    pub async fn finish(self) -> usize {
        self.enough.cancel();
        for lane in self.lanes {
            lane.await.unwrap();
        }
        self.done.load(Ordering::Relaxed)
    }
}

/// Picture and sound.
fn source(folder: &Path, name: &str, seconds: u32) -> PathBuf {
    let source = folder.join(name);
    let picture = format!("testsrc2=size=320x180:rate=25:duration={seconds}");
    let sound = format!("sine=duration={seconds}");
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-v", "error", "-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &sound]);
    run(ffmpeg.args(["-c:v", "libx264", "-preset", "ultrafast", "-g", "50", "-c:a", "aac"]).arg(&source));
    source
}
