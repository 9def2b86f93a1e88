//! What decides is in trouble.

use std::time::Duration;

use etcd_client::Client;
use shared::testing::proxy::Weather;
use shared::testing::signal;

use crate::scene::Scene;
use crate::stage::{FORBIDDEN, Stage};

/// Jobs whose sources the store does not let the farm read: enough of them to be told of.
const REFUSED: usize = 8;

/// How long a server that hesitates stands still each time, and answers: less than anybody waits for an answer.
const STILL: Duration = Duration::from_millis(800);
const MOVING: Duration = Duration::from_millis(50);

/// etcd takes connections and says nothing.
pub async fn etcd_stands_still(scene: &mut Scene, stage: &Stage) {
    stage.cluster().etcd[0].stop();
    scene.fires(stage).await;
    stage.cluster().etcd[0].proceed();
}

/// Every second answer of etcd comes late.
pub async fn etcd_is_slow(scene: &mut Scene, stage: &Stage) {
    let etcd = stage.cluster().etcd[0].pid();
    hesitating(etcd, scene.fires(stage)).await;
}

/// NATS takes its time.
pub async fn nats_is_slow(scene: &mut Scene, stage: &Stage) {
    let nats = stage.cluster().nats[0].pid();
    hesitating(nats, scene.fires(stage)).await;
}

/// While something is waited for, a process stands still most of the time.
async fn hesitating(process: u32, until: impl Future<Output = ()>) {
    let hesitate = async {
        loop {
            signal(process, "STOP");
            tokio::time::sleep(STILL).await;
            signal(process, "CONT");
            tokio::time::sleep(MOVING).await;
        }
    };
    tokio::select! {
        () = until => signal(process, "CONT"),
        () = hesitate => {}
    }
}

/// Nobody answers for the object store.
pub async fn store_is_down(scene: &mut Scene, stage: &Stage) {
    stage.proxy.set(Weather::Down);
    scene.fires(stage).await;
    stage.proxy.set(Weather::Fine);
}

/// The store does not let the farm read some sources.
pub async fn store_refuses(scene: &mut Scene, stage: &Stage) {
    for number in 0..REFUSED {
        stage.submit(&format!("{FORBIDDEN}{number}.mp4"), &format!("refused-{number}")).await;
    }
    scene.fires(stage).await;
    scene.shows(stage, ["farm-control-plane", "Requests to storage that failed"], |rate| rate > 0.0);
}

/// All coordinators are gone.
pub async fn nobody_leads(scene: &mut Scene, stage: &Stage) {
    for coordinator in &mut stage.cluster().coordinators {
        coordinator.kill();
    }
    scene.fires(stage).await;
    for coordinator in &mut stage.cluster().coordinators {
        coordinator.restart();
    }
}

/// Somebody has taken the leader's key away while it led.
pub async fn leaders_are_deposed(scene: &mut Scene, stage: &Stage) {
    let etcd = format!("http://127.0.0.1:{}", stage.cluster().etcd[0].port());
    let mut etcd = Client::connect([etcd], None).await.unwrap();
    for _ in 0..4 {
        etcd.delete("/farm/leader", None).await.unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    scene.fires(stage).await;
}
