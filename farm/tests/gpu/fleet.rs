//! A cluster of real processes whose workers have cards.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::machine::{Machine, assert_made_right, families, hardware, placements, source, until_tried};
use crate::support::Presentation;
use crate::support::cluster::{Cluster, Host, Parts, Program};

/// Attempts at chunks that ended well.
const DONE: &str = "farm_worker_attempts_total{outcome=\"done\",task=\"video\"}";

/// Makes a presentation of a source; it is right.
async fn make(cluster: &Cluster, source: &Path, target: &str) -> Presentation {
    let client = cluster.client();
    let name = source.file_name().unwrap().to_str().unwrap();
    let mut spec = cluster.spec(name, target, "web");
    (spec.segment, spec.rungs) = (Some(prost_types::Duration { seconds: 2, nanos: 0 }), "all".into());
    let job = client.submit(target, spec).await;
    client.succeeded(&job).await;
    let presentation = Presentation::read(&cluster.fetch(target).await);
    assert_made_right(source, &presentation);
    presentation
}

/// A coordinator, and a worker on each machine that has one place for chunks on its card.
fn start(machines: &[Machine]) -> Option<Cluster> {
    let mut parts = Parts { coordinators: 1, workers: machines.len(), ..Parts::default() };
    parts.worker_settings.insert("worker.stall_timeout_ms", "8000".into());
    parts.worker_settings.insert("worker.gpu.slots_per_device", "1".into());
    let host = |machine: &Machine| Host {
        environment: vec![("LD_LIBRARY_PATH", machine.libraries().display().to_string())],
        ..Host::default()
    };
    parts.hosts = machines.iter().map(host).enumerate().collect::<BTreeMap<_, _>>();
    parts.start()
}

/// What programs have counted together.
fn counted<'a>(programs: impl IntoIterator<Item = &'a Program>, metric: &str) -> f64 {
    programs.into_iter().map(|program| program.metric(metric).unwrap()).sum()
}

/// The first job is there before any card has proven itself. Chunks of two generations of cards make one track. In the third
/// job encoders hang: their slots are killed, and what workers and the coordinator count is what `run.json` says.
#[tokio::test]
async fn two_generations_of_cards_make_one_track_and_cards_that_hang_are_left() {
    let machines = [Machine::new("t4", ""), Machine::new("l4", "")];
    let Some(cluster) = start(&machines) else { return };
    let (short, long) = (source(cluster.folder.path(), "1"), source(cluster.folder.path(), "12"));
    let first = make(&cluster, &short, "first").await;
    assert_eq!(placements(&first.out), ["nvdec+cuda+nvenc"]);

    let slots = "farm_worker_slots{class=\"gpu\"}";
    until_tried(|| counted(&cluster.workers, slots) == 2.0);
    let second = make(&cluster, &long, "second").await;
    assert!(placements(&second.out).iter().all(|one| one == "nvdec+cuda+nvenc"), "{:?}", placements(&second.out));
    let made: BTreeSet<String> = families(&second.out).into_iter().flatten().collect();
    assert_eq!(made, BTreeSet::from(["nvenc-ada", "nvenc-turing"].map(str::to_owned)));
    let (by_workers, by_coordinator) = ("farm_worker_gpu_fallbacks_total", "farm_coordinator_gpu_fallbacks_total");
    assert_eq!(counted(&cluster.workers, by_workers), 0.0);
    machines.iter().for_each(Machine::assert_content);

    for (machine, card) in machines.iter().zip(["t4", "l4"]) {
        machine.play(card, "NvEncLockBitstream@5:hang");
    }
    for slot in cluster.workers.iter().flat_map(Program::children) {
        shared::testing::signal(slot, "KILL"); // it has loaded the libraries as they were
    }
    let third = make(&cluster, &short, "third").await;
    assert_eq!(placements(&third.out), ["nvdec+cuda+software"], "{:?}", hardware(&third.out));
    let told = hardware(&third.out)[0]["fallbacks"].as_array().unwrap().len() as f64;
    assert_eq!(told, 2.0, "{:?}", hardware(&third.out));
    assert_eq!((counted(&cluster.workers, by_workers), counted(&cluster.coordinators, by_coordinator)), (told, told));
}

/// Two cards of one generation whose drivers write different headers: each chunk that does not go into the track's init segment is
/// made again, so that it does.
#[tokio::test]
async fn drivers_that_write_different_headers_end_in_one_track() {
    let machines = [Machine::new("t4", ""), Machine::new("t4", "encode:header")];
    let Some(cluster) = start(&machines) else { return };
    let source = source(cluster.folder.path(), "12");
    until_tried(|| counted(&cluster.workers, "farm_worker_slots{class=\"gpu\"}") == 2.0);
    let presentation = make(&cluster, &source, "out").await;
    // No family could be pinned: both chunks are of one.
    let both = cluster.workers.iter().all(|worker| counted([worker], DONE) > 0.0);
    let families = families(&presentation.out);
    assert_eq!(families.iter().flatten().any(|family| family == "software"), both, "{families:?}");
    machines.iter().for_each(Machine::assert_content);
}
