//! Workers fail, are gone, or are told to hold.

use std::time::Duration;

use crate::scene::Scene;
use crate::stage::{BREAKABLE, CARD, COOL, Stage};

/// Jobs that are late: most of those that become playable for a while.
const LATE: usize = 32;
/// Later than every job should be playable.
const TOO_LATE: Duration = Duration::from_secs(65);

/// The system has one encoder session left, so that one of two renditions is encoded in software.
pub async fn sessions_that_others_have_taken(scene: &mut Scene, stage: &mut Stage) {
    stage.break_gpu("sessions=1");
    scene.fires(stage).await;
    stage.break_gpu("");
}

/// The driver tells of an error of a card, which then is gone.
pub async fn card_with_errors(scene: &mut Scene, stage: &mut Stage) {
    // That wait for an error, of a second each.
    stage.restart_gpu_worker(CARD, "throttled=4,xid=79@8");
    scene.fires_one(stage, "FarmGpuFault/xid").await;
    stage.restart_gpu_worker("none", "");
    scene.fires(stage).await;
    stage.restart_gpu_worker(CARD, COOL);
}

/// The slots of a worker end at once, whatever they are given.
pub async fn black_hole(scene: &mut Scene, stage: &mut Stage) {
    stage.break_slots(true);
    scene.fires(stage).await;
    stage.break_slots(false);
    stage.client.release_quarantined().await;
}

/// A worker dies and does not come back.
pub async fn one_is_gone(scene: &mut Scene, stage: &mut Stage) {
    stage.cluster.workers[BREAKABLE].kill();
    scene.fires(stage).await;
    stage.cluster.workers[BREAKABLE].restart();
}

/// A certificate is good for two more days.
pub async fn certificate_near_its_end(scene: &mut Scene, stage: &mut Stage) {
    stage.certify(2);
    scene.fires(stage).await;
    stage.certify_for_long();
}

/// All workers hold, and jobs wait.
pub async fn nobody_takes_tasks(scene: &mut Scene, stage: &mut Stage) {
    let workers: Vec<String> = (0..stage.cluster.workers.len()).map(|number| format!("w{number}")).collect();
    for worker in &workers {
        stage.farm(&["worker", "cordon", worker]);
    }
    let mut jobs = Vec::new();
    for number in 0..LATE {
        jobs.push(stage.submit_short(&format!("late-{number}")).await);
    }
    tokio::time::sleep(TOO_LATE).await;
    scene.explains(stage, &jobs[0], "No worker takes tasks");
    for worker in &workers {
        stage.farm(&["worker", "uncordon", worker]);
    }
    for job in &jobs {
        stage.client.succeeded(job).await;
    }
    scene.fires(stage).await;
}
