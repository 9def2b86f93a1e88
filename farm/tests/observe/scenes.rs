//! The scenes, in their order: the one without a fault, the five of `deploy/DRILL.md`, and one for each other alert.

mod control;
mod drill;
mod workers;

use std::pin::Pin;
use std::time::Duration;

use crate::panels;
use crate::report::Report;
use crate::scene::{Expected, Scene};
use crate::stage::Stage;

/// Without a fault.
const QUIET: Duration = Duration::from_secs(45);

/// Chunks that a GPU has encoded.
const BY_GPU: &str = "sum(farm_coordinator_chunks_total{placement=~\".+nvenc\"})";

/// Causes a fault, waits until it is seen, and ends it.
type Play = for<'a> fn(&'a mut Scene, &'a mut Stage) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

/// What is expected of each scene.
const SCENES: [(Expected, Play); 18] = [
    (Expected::of("nothing is wrong", &[]), |scene, stage| Box::pin(quiet(scene, stage))),
    // Chunks wait for a minute until they go on to CPUs: long, where times are a twentieth.
    (
        Expected::of("a GPU fails fast", &["FarmGpuFault/resting"]).in_drill().perhaps(&["FarmBacklogOld/waits"]),
        |scene, stage| Box::pin(drill::gpu_that_fails_fast(scene, stage)),
    ),
    (Expected::of("a slow store", &["FarmStorageTrouble/late"]).in_drill(), |scene, stage| {
        Box::pin(drill::slow_store(scene, stage))
    }),
    (Expected::of("NATS is down", &["FarmNatsTrouble/errors"]).in_drill(), |scene, stage| {
        Box::pin(drill::nats_down(scene, stage))
    }),
    (Expected::of("a poisonous input", &["FarmJobsFailing/burns_fast"]).in_drill(), |scene, stage| {
        Box::pin(drill::poisonous_input(scene, stage))
    }),
    (Expected::of("a full scratch disk", &["FarmScratchFull/full"]).in_drill(), |scene, stage| {
        Box::pin(drill::full_scratch_disk(scene, stage))
    }),
    (Expected::of("encoder sessions are taken by others", &["FarmGpuFallbacks/often"]), |scene, stage| {
        Box::pin(workers::sessions_that_others_have_taken(scene, stage))
    }),
    (
        Expected::of("a card reports an error and is gone", &["FarmGpuFault/xid", "FarmGpuFault/missing"])
            .perhaps(&["FarmGpuFault/resting"]),
        |scene, stage| Box::pin(workers::card_with_errors(scene, stage)),
    ),
    (
        Expected::of(
            "a worker fails whatever it takes",
            &["FarmBlackHoleWorker/quarantined", "FarmWorkersQuarantined/held"],
        ),
        |scene, stage| Box::pin(workers::black_hole(scene, stage)),
    ),
    (Expected::of("a worker is gone", &["FarmTargetDown/down"]), |scene, stage| {
        Box::pin(workers::one_is_gone(scene, stage))
    }),
    (
        Expected::of("a certificate is near its end", &["FarmCertificateExpires/soon", "FarmCertificateExpires/now"]),
        |scene, stage| Box::pin(workers::certificate_near_its_end(scene, stage)),
    ),
    (Expected::of("nobody takes tasks", &["FarmBacklogOld/waits", "FarmPlayableSlow/burns_fast"]), |scene, stage| {
        Box::pin(workers::nobody_takes_tasks(scene, stage))
    }),
    (Expected::of("the store is down", &["FarmStorageTrouble/errors"]), |scene, stage| {
        Box::pin(control::store_is_down(scene, stage))
    }),
    (Expected::of("NATS is slow", &["FarmNatsTrouble/late"]), |scene, stage| {
        Box::pin(control::nats_is_slow(scene, stage))
    }),
    (Expected::of("etcd is slow", &["FarmEtcdTrouble/late"]), |scene, stage| {
        Box::pin(control::etcd_is_slow(scene, stage))
    }),
    (
        Expected::of("etcd stands still", &["FarmEtcdTrouble/errors", "FarmNoLeader/none"]).perhaps(&[
            "FarmEtcdTrouble/late",
            "FarmFencedWrites/refused",
            "FarmTargetDown/down",
        ]),
        |scene, stage| Box::pin(control::etcd_stands_still(scene, stage)),
    ),
    (Expected::of("all coordinators are gone", &["FarmNoLeader/none", "FarmTargetDown/down"]), |scene, stage| {
        Box::pin(control::nobody_leads(scene, stage))
    }),
    (
        Expected::of(
            "leaders are deposed again and again",
            &["FarmFencedWrites/refused", "FarmEtcdTrouble/leaders_change"],
        )
        .perhaps(&["FarmNoLeader/none"]),
        |scene, stage| Box::pin(control::leaders_are_deposed(scene, stage)),
    ),
];

/// Plays those with any of these words in their names.
pub async fn play(stage: &mut Stage, words: &str, report: &mut Report) {
    let wanted = |expected: &Expected| words.split(',').any(|words| expected.name.contains(words));
    for (expected, play) in SCENES.into_iter().filter(|(expected, _)| wanted(expected)) {
        let mut scene = Scene::begin(expected);
        play(&mut scene, stage).await;
        scene.end(stage, report).await;
    }
}

/// Nothing is wrong, no alert fires, and no panel is empty that should not be.
async fn quiet(scene: &mut Scene, stage: &mut Stage) {
    while stage.prometheus.now(BY_GPU).iter().all(|series| series.values == [0.0]) {
        stage.load.flows(1).await;
    }
    tokio::time::sleep(QUIET).await;
    let full = stage.queries.iter().filter(|query| !query.may_be_empty);
    panels::empty(full, &stage.prometheus, stage.began).for_each(|empty| scene.complain(empty));
}
