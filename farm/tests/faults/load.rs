//! Jobs that keep a cluster busy while something happens to it: each must end with the bytes of `farm transcode`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use proto::v1;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::cluster::Cluster;
use crate::support::{Presentation, run, transcode};

/// So little work that what happens between the programs is most of what happens.
const PROFILE: &str = "name = \"small\"\nposter = false\n\
    [video]\ncodec = \"h264\"\ncrf = 30\npreset = \"ultrafast\"\n\
    rungs = [{ name = \"small\", width_px = 160, height_px = 90, bitrate_kbps = 200 }]\n\
    [audio]\ncodec = \"aac\"\nbitrate_kbps = 64\nchannels = 1\n";
/// Of the source, in six chunks.
const SECONDS: u32 = 60;
/// Of presentation time: no chunk of the source is longer.
const LONGEST_CHUNK_S: f64 = 12.0;
/// Nothing that a test waits for takes longer.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Streams of jobs, one after another each.
pub struct Load {
    stop: CancellationToken,
    streams: JoinSet<Vec<String>>,
}

impl Load {
    /// Keeps `streams` jobs going.
    pub async fn start(cluster: &Cluster, streams: usize) -> Self {
        let source = source(cluster.folder.path());
        cluster.put("source.mp4", &source).await;
        let stop = CancellationToken::new();
        let specs = |stream: usize| {
            let profile = v1::job_spec::Profile::ProfileToml(PROFILE.to_owned());
            let (source, out) = (cluster.uri("source.mp4"), cluster.uri(&format!("out/{stream}")));
            move |job: usize| v1::JobSpec {
                source: source.clone(),
                target: format!("{out}-{job}"),
                profile: Some(profile.clone()),
                segment: Some(prost_types::Duration { seconds: 2, nanos: 0 }),
                ..Default::default()
            }
        };
        let stream = |stream: usize| {
            let (client, stop, spec) = (cluster.client(), stop.clone(), specs(stream));
            async move {
                let mut made = Vec::new();
                while !stop.is_cancelled() {
                    let name = format!("{stream}-{}", made.len());
                    let job = client.submit(&name, spec(made.len())).await;
                    client.succeeded(&job).await;
                    made.push(format!("out/{name}"));
                }
                made
            }
        };
        let streams = (0..streams).map(stream).collect();
        Self { stop, streams }
    }

    /// Lets the jobs that have begun end; all must have ended well, with the right bytes. How many there were.
    pub async fn finish(self, cluster: &Cluster) -> usize {
        self.stop.cancel();
        let made = self.streams.join_all().await.concat();
        let wanted = alone(cluster.folder.path());
        for name in &made {
            let bytes = Presentation::bytes(&cluster.fetch(name).await);
            assert!(wanted.keys().eq(bytes.keys()), "{name}: {:?}\nalone: {:?}", bytes.keys(), wanted.keys());
            for (file, content) in &wanted {
                assert!(bytes[file] == *content, "{name}/{file} differs");
            }
        }
        made.len()
    }
}

/// Waits until more chunks have been made than workers can have had at hand before, so that tasks and results flow again.
/// How long that took.
pub async fn flowing(cluster: &Cluster, slots: usize) -> Duration {
    let began = Instant::now();
    let enough = encoded_s(cluster) + slots as f64 * LONGEST_CHUNK_S;
    while encoded_s(cluster) <= enough {
        assert!(began.elapsed() < PATIENCE, "nothing is made any more");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    began.elapsed()
}

/// Waits until nothing is left of what jobs keep in between.
pub async fn tidied_up(cluster: &Cluster) {
    let began = Instant::now();
    while !cluster.list("work").await.is_empty() {
        assert!(began.elapsed() < PATIENCE, "{:?}", cluster.list("work").await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Presentation time of all chunks that coordinators were told are made.
fn encoded_s(cluster: &Cluster) -> f64 {
    let made =
        |coordinator: &crate::support::cluster::Program| coordinator.metric("farm_coordinator_encoded_seconds_total");
    cluster.coordinators.iter().filter_map(made).sum()
}

fn source(folder: &Path) -> PathBuf {
    let source = folder.join("load.mp4");
    let picture = format!("testsrc2=size=320x180:rate=25:duration={SECONDS}");
    let sound = format!("sine=duration={SECONDS}");
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-v", "error", "-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &sound]);
    run(ffmpeg.args(["-c:v", "libx264", "-preset", "ultrafast", "-g", "50", "-c:a", "aac"]).arg(&source));
    source
}

/// What `farm transcode` makes of the same.
fn alone(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let (out, profile) = (folder.join("alone"), folder.join("small.toml"));
    std::fs::write(&profile, PROFILE).unwrap();
    let options = ["--profile", profile.to_str().unwrap(), "--segment", "2s"];
    let output = transcode(&folder.join("load.mp4"), &out, &options);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Presentation::bytes(&out)
}
