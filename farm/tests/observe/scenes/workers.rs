//! Workers fail, are gone, or are told to hold.

use std::time::{Duration, Instant};

use proto::v1;

use crate::load::{LONG_SOURCE, profile, spec};
use crate::scene::{PAUSE, Scene};
use crate::stage::{BREAKABLE, CARD, COOL, Stage, send};

/// Second attempts that were begun.
const HEDGED: &str = "sum(farm_coordinator_hedges_total{outcome=\"started\"})";
/// How long a slot stands still at most, and how often it is tried: an attempt at a sound track gets no rival.
const STILL: Duration = Duration::from_secs(20);
const MOST_STILL: usize = 4;
/// Jobs that are late: most of those that become playable for a while.
const LATE: usize = 32;
/// Later than every job should be playable.
const TOO_LATE: Duration = Duration::from_secs(65);

/// The system has one encoder session left, so that one of two renditions is encoded in software.
pub async fn sessions_that_others_have_taken(scene: &mut Scene, stage: &Stage) {
    stage.break_gpu("sessions=1");
    scene.fires(stage).await;
    stage.break_gpu("");
}

/// The driver tells of an error of a card, which then is gone.
pub async fn card_with_errors(scene: &mut Scene, stage: &Stage) {
    // That wait for an error, of a second each.
    stage.restart_gpu_worker(CARD, "throttled=4,xid=79@8").await;
    scene.fires_one(stage, "FarmGpuFault/xid").await;
    stage.restart_gpu_worker("none", "").await;
    scene.fires(stage).await;
    stage.restart_gpu_worker(CARD, COOL).await;
}

/// The slots of a worker end at once, whatever they are given.
pub async fn black_hole(scene: &mut Scene, stage: &Stage) {
    stage.break_slots(true);
    scene.fires(stage).await;
    stage.break_slots(false);
    stage.client.release_quarantined().await;
}

/// A slot stands still in the middle of what may be a chunk; if it is one, somebody else makes it.
pub async fn slot_stands_still(scene: &mut Scene, stage: &Stage) {
    let hedged = || stage.prometheus.now(HEDGED).iter().any(|series| series.values != [0.0]);
    for number in 0..MOST_STILL {
        let name = format!("still-{number}");
        let (source, target) = (stage.copy(LONG_SOURCE, &name), stage.uri_out(&name));
        let job = stage.client.submit(&name, spec(source, target, profile("av1", "13"))).await;
        // Others are done by then.
        stage.client.wait_for(&job, v1::JobState::Playable).await;
        let mut stopped = None;
        while stopped.is_none() && stage.client.get(&job).await.end_time.is_none() {
            stopped = stage.readers(&name).first().copied();
        }
        let Some(stopped) = stopped else { continue };
        send(stopped, "STOP");
        let began = Instant::now();
        while !hedged() && began.elapsed() < STILL {
            tokio::time::sleep(PAUSE).await;
        }
        send(stopped, "CONT");
        stage.client.succeeded(&job).await;
        if hedged() {
            return scene.shows(stage, ["farm", "Made twice"], |rate| rate > 0.0);
        }
    }
    scene.complain("no attempt got a rival".to_owned());
}

/// A worker dies and does not come back.
pub async fn one_is_gone(scene: &mut Scene, stage: &Stage) {
    stage.cluster().workers[BREAKABLE].kill();
    scene.fires(stage).await;
    stage.cluster().workers[BREAKABLE].restart();
}

/// A certificate is good for two more days.
pub async fn certificate_near_its_end(scene: &mut Scene, stage: &Stage) {
    stage.certify(2).await;
    scene.fires(stage).await;
    stage.certify_for_long().await;
}

/// All workers hold, and jobs wait.
pub async fn nobody_takes_tasks(scene: &mut Scene, stage: &Stage) {
    let workers: Vec<String> = (0..stage.cluster().workers.len()).map(|number| format!("w{number}")).collect();
    for worker in &workers {
        stage.farm(&["worker", "cordon", worker]).await;
    }
    let mut jobs = Vec::new();
    for number in 0..LATE {
        jobs.push(stage.submit_short(&format!("late-{number}")).await);
    }
    tokio::time::sleep(TOO_LATE).await;
    scene.explains(stage, &jobs[0], "No worker takes tasks").await;
    for worker in &workers {
        stage.farm(&["worker", "uncordon", worker]).await;
    }
    scene.fires(stage).await;
    for job in &jobs {
        stage.client.succeeded(job).await;
    }
}
