//! Workers and their slots are killed at any moment.

use std::time::{Duration, Instant, SystemTime};

use super::support::chance::{Chance, number};
use super::support::cluster::{Cluster, Parts, Settings};
use super::support::load::{Load, real_clips, tiny_clips};
use super::work::Work;

/// Of all work, what may be for nothing.
const MOST_WASTE_PERCENT: f64 = 15.0;
/// From so many on, what they cost can be judged.
const ENOUGH_KILLS: u64 = 20;
/// Some killed workers come back only after they were missed.
const AWAY: Duration = Duration::from_secs(14);

fn parts() -> Parts {
    let worker_settings = Settings::from([("log.json", "true".to_owned())]);
    Parts { workers: 4, slots: 2, worker_settings, ..Parts::default() }
}

/// Kills workers, or slots of theirs, `kills` times, with pauses of up to twice `pause`. Returns when which worker died.
async fn kill(cluster: &mut Cluster, load: &mut Load, kills: u64, pause: Duration) -> Vec<(usize, SystemTime)> {
    let mut chance = Chance::new();
    let mut deaths = Vec::new();
    let mut away: Vec<(usize, SystemTime)> = Vec::new();
    for _ in 0..kills {
        tokio::time::sleep(chance.within(2 * pause)).await;
        load.check();
        // An operator sees that it was not their fault.
        load.client().release_quarantined().await;
        away.retain(|(worker, since)| {
            let back = since.elapsed().is_ok_and(|elapsed| elapsed >= AWAY);
            if back {
                cluster.workers[*worker].restart();
            }
            !back
        });
        let here: Vec<usize> =
            (0..cluster.workers.len()).filter(|one| away.iter().all(|(gone, _)| gone != one)).collect();
        let victim = chance.of(&here);
        let slots = cluster.workers[victim].children();
        if chance.below(2) == 0 && !slots.is_empty() {
            kill_slot(chance.of(&slots));
            continue;
        }
        deaths.push((victim, SystemTime::now()));
        cluster.workers[victim].kill();
        // Half of the farm is always there.
        if chance.below(2) == 0 && here.len() > 2 {
            away.push((victim, SystemTime::now()));
        } else {
            cluster.workers[victim].restart();
        }
    }
    away.iter().for_each(|(worker, _)| cluster.workers[*worker].restart());
    deaths
}

/// It may have ended meanwhile.
fn kill_slot(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

async fn survives(kills: u64, pause: Duration, at_once: usize, real: bool) {
    let Some(mut cluster) = parts().start() else { return };
    let folder = cluster.folder.path();
    let sources = if real { real_clips(folder) } else { tiny_clips(folder) };
    let mut load = Load::start(&cluster, sources, at_once);
    load.flows(1, Duration::from_secs(60)).await;
    let began = Instant::now();
    let deaths = kill(&mut cluster, &mut load, kills, pause).await;
    let span = began.elapsed();
    load.client().release_quarantined().await;
    let jobs = load.finish().await;
    let work = Work::of(&cluster.workers, &deaths);
    let waste = work.waste_percent();
    let workers = deaths.len();
    eprintln!("{kills} kills in {span:.0?}, {workers} of workers; {jobs} jobs; waste {waste:.1} %: {work:.0?}");
    // Two kills among sixteen attempts cost what they happen to hit.
    assert!(waste <= MOST_WASTE_PERCENT || kills < ENOUGH_KILLS, "{waste:.1} %: {work:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_and_slots_that_are_killed_cost_no_job_and_little_work() {
    survives(number("FARM_WORKER_KILLS", 20), Duration::from_millis(500), 6, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_holds_for_real_pictures() {
    survives(number("FARM_REAL_KILLS", 2), Duration::from_secs(6), 2, true).await;
}
