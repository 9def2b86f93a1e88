//! What a broker can do to a farm.

use std::time::{Duration, Instant};

use shared::testing::Server;

use crate::load::{Load, flowing};
use crate::support::chance::number;
use crate::support::cluster::Parts;

/// From the moment the broker is started again.
const FLOWING_LIMIT: Duration = Duration::from_secs(30);
const SLOTS: usize = 2;

/// Three brokers, two coordinators, two workers with a slot each.
fn parts() -> Parts {
    Parts { nats: 3, ..Parts::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_brokers_forget_everything_and_no_job_is_lost() {
    let Some(mut cluster) = parts().start() else { return };
    let load = Load::start(&cluster, 4).await;
    let mut took = Vec::new();
    for _ in 0..number("FARM_WIPES", 1) {
        flowing(&cluster, SLOTS).await;
        cluster.nats.iter_mut().for_each(Server::kill);
        cluster.nats.iter().for_each(Server::wipe);
        let restarted = Instant::now();
        cluster.nats.iter_mut().for_each(Server::restart);
        flowing(&cluster, SLOTS).await;
        took.push(restarted.elapsed());
    }
    let jobs = load.finish(&cluster).await;
    took.sort();
    eprintln!("{jobs} jobs, none lost; flowing again after {took:?}");
    assert!(took.iter().all(|took| *took <= FLOWING_LIMIT), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_broker_of_three_dies_or_stands_still_and_work_goes_on() {
    let Some(mut cluster) = parts().start() else { return };
    let load = Load::start(&cluster, 4).await;
    flowing(&cluster, SLOTS).await;
    cluster.nats[0].kill();
    let killed = flowing(&cluster, SLOTS).await;
    cluster.nats[0].restart();
    flowing(&cluster, SLOTS).await;
    cluster.nats[1].stop();
    let stopped = flowing(&cluster, SLOTS).await;
    cluster.nats[1].proceed();
    let jobs = load.finish(&cluster).await;
    eprintln!("{jobs} jobs, none lost; flowing again {killed:?} after the kill, {stopped:?} after the stop");
    // Clients and the other servers find out by pings and elections that one stands still.
    assert!(killed <= FLOWING_LIMIT && stopped <= 2 * FLOWING_LIMIT, "{killed:?} {stopped:?}");
}
