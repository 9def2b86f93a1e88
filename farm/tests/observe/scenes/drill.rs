//! The five faults of `deploy/DRILL.md`. They last until they have been seen, by a person too where one looks for them.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::time::Duration;

use proto::v1;
use shared::testing::proxy::Weather;
use tokio_util::sync::CancellationToken;

use crate::load::{SOURCE, profile, spec};
use crate::scene::Scene;
use crate::stage::{ROOM_BYTES, Stage, readers, send};
use crate::support::cluster::Program;

/// What names of files begin with that crash whatever opens them. It says nothing to who reads it.
const POISON: &str = "upload-";
/// Of every request to the store that is slow.
const DELAY: Duration = Duration::from_secs(3);

/// A card that falls off the bus in the middle of each chunk.
pub async fn gpu_that_fails_fast(scene: &mut Scene, stage: &Stage) {
    stage.break_gpu("device_lost@100");
    scene.tells(stage, "A GPU did not").await;
    scene.fires(stage).await;
    scene.shows(stage, ["farm-workers", "Fallbacks"], |share| share > 0.0);
    scene.lasts().await;
    stage.break_gpu("");
}

/// Every request takes three seconds.
pub async fn slow_store(scene: &mut Scene, stage: &Stage) {
    stage.proxy.set(Weather::Slow(DELAY));
    scene.tells(stage, "waiting for storage").await;
    scene.fires(stage).await;
    scene.shows(stage, ["farm-control-plane", "Time of requests to storage"], |seconds| seconds > 1.0);
    scene.lasts().await;
    stage.proxy.set(Weather::Fine);
}

/// The broker is gone, and comes back.
pub async fn nats_down(scene: &mut Scene, stage: &Stage) {
    stage.cluster().nats[0].kill();
    scene.tells(stage, "No worker has been heard").await;
    scene.fires(stage).await;
    let panel = ["farm-control-plane", "Messages that NATS did not take or give"];
    scene.shows(stage, panel, |rate| rate > 0.0);
    scene.lasts().await;
    stage.cluster().nats[0].restart();
}

/// One job after the other of files that crash whatever opens them.
pub async fn poisonous_input(scene: &mut Scene, stage: &Stage) {
    let over = CancellationToken::new();
    let crashing = crash_readers(stage, over.clone());
    for number in 0.. {
        let name = format!("{POISON}{number}");
        let (source, target) = (stage.copy(SOURCE, &name), stage.uri_out(&name));
        // On CPUs: crashes beside a GPU count against the GPU too.
        let job = stage.client.submit(&name, spec(source, target, profile("av1", "13"))).await;
        let ended = stage.client.wait_for(&job, v1::JobState::Succeeded).await;
        if ended.state() != v1::JobState::Failed {
            scene.complain(format!("a poisonous job ended as {:?}", ended.state()));
        }
        scene.explains(stage, &job, "slot_crashed").await;
        stage.load.flows(1).await;
        if scene.is_enough(stage) {
            break;
        }
    }
    over.cancel();
    crashing.join().unwrap();
    scene.fires(stage).await;
    scene.shows(stage, ["farm-workers", "Deaths of child processes"], |rate| rate > 0.0);
    scene.shows(stage, ["farm", "Jobs that did not fail"], |share| share < 0.99);
}

/// Kills every slot that has a poisonous file open, as the file would that makes a decoder write where it must not.
fn crash_readers(stage: &Stage, over: CancellationToken) -> std::thread::JoinHandle<()> {
    let workers: Vec<u32> = stage.cluster().workers.iter().map(Program::pid).collect();
    std::thread::spawn(move || {
        while !over.is_cancelled() {
            readers(&workers, POISON).into_iter().for_each(|slot| send(slot, "SEGV"));
            crate::pause(Duration::from_millis(5));
        }
    })
}

/// No room is left on the disk where a worker keeps what it reads.
pub async fn full_scratch_disk(scene: &mut Scene, stage: &Stage) {
    let Some(scratch) = stage.scratch() else {
        return scene.skip("this system lets nobody mount things in a namespace of their own");
    };
    let ballast = scratch.join("ballast");
    fill(&ballast);
    // At first: it rests longer each time.
    scene.tells(stage, "scratch_full").await;
    scene.fires(stage).await;
    scene.shows(stage, ["farm-workers", "Scratch space that is free"], |share| share < 0.1);
    scene.lasts().await;
    std::fs::remove_file(&ballast).unwrap();
}

/// Leaves no room.
fn fill(ballast: &Path) {
    let mut file = File::create(ballast).unwrap();
    let full = file.write_all(&vec![0; 2 * ROOM_BYTES]).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::StorageFull);
}
