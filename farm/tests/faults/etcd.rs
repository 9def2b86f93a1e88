//! What etcd can do to a farm.

use std::time::{Duration, Instant};

use etcd_client::Client;
use shared::testing::Server;

use crate::load::{Load, PATIENCE, flowing};
use crate::support::chance::number;
use crate::support::cluster::{Cluster, LEASE_S, Parts, Program};

const SLOTS: usize = 2;
/// etcd elects in 1 to 2 s and a lease may have run out meanwhile; the rest is for a machine that does other things too.
const FLOWING_LIMIT: Duration = Duration::from_secs(30);

/// Three members of etcd, three coordinators, two workers with a slot each.
fn parts() -> Parts {
    Parts { coordinators: 3, etcd: 3, ..Parts::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_etcd_die_its_leader_too_and_work_goes_on() {
    let Some(mut cluster) = parts().start() else { return };
    let load = Load::start(&cluster, 4).await;
    flowing(&cluster, SLOTS).await;
    let leader = etcd_leader(&cluster).await;
    let mut took = Vec::new();
    for member in [leader, (leader + 1) % 3] {
        cluster.etcd[member].kill();
        took.push(flowing(&cluster, SLOTS).await);
        cluster.etcd[member].restart();
        flowing(&cluster, SLOTS).await;
    }
    let jobs = load.finish(&cluster).await;
    eprintln!("{jobs} jobs, none lost; flowing again {:?} after its leader, {:?} after another died", took[0], took[1]);
    assert!(took.iter().all(|took| *took <= FLOWING_LIMIT), "{took:?}");
}

/// Without a quorum nobody leads for longer than its lease, and nothing is written twice when there is one again: the bytes
/// and the ends of the jobs would show it.
#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_is_lost_and_comes_back_and_nobody_leads_in_between() {
    let Some(mut cluster) = parts().start() else { return };
    let load = Load::start(&cluster, 4).await;
    flowing(&cluster, SLOTS).await;
    let outage = Duration::from_secs(number("FARM_OUTAGE_S", 5));
    let lost = Instant::now();
    cluster.etcd[1..].iter_mut().for_each(Server::kill);
    while leaders(&cluster) > 0 {
        assert!(lost.elapsed() < Duration::from_secs(LEASE_S + 2), "somebody leads without a lease");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let resigned = lost.elapsed();
    while lost.elapsed() < outage {
        assert_eq!(leaders(&cluster), 0);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    cluster.etcd[1..].iter_mut().for_each(Server::restart);
    let took = flowing(&cluster, SLOTS).await;
    assert_eq!(leaders(&cluster), 1);
    let jobs = load.finish(&cluster).await;
    eprintln!(
        "{jobs} jobs, none lost; nobody led {resigned:?} after the quorum was lost; flowing again after {took:?}"
    );
    assert!(took <= FLOWING_LIMIT, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_forgets_its_history_and_tidies_up_while_jobs_run() {
    let Some(cluster) = parts().start() else { return };
    let load = Load::start(&cluster, 4).await;
    let led = cluster.leader();
    for _ in 0..3 {
        flowing(&cluster, SLOTS).await;
        let mut etcd = member(&cluster, 0).await;
        let revision = etcd.status().await.unwrap().header().unwrap().revision();
        etcd.compact(revision, None).await.unwrap();
        for place in 0..3 {
            member(&cluster, place).await.defragment().await.unwrap();
        }
    }
    let took = flowing(&cluster, SLOTS).await;
    let jobs = load.finish(&cluster).await;
    eprintln!("{jobs} jobs, none lost; the next chunks after {took:?}");
    assert_eq!(cluster.leader(), led, "nobody had to follow");
}

/// How many coordinators believe that they lead.
fn leaders(cluster: &Cluster) -> usize {
    let leads = |coordinator: &&Program| coordinator.metric("farm_coordinator_leader") == Some(1.0);
    cluster.coordinators.iter().filter(leads).count()
}

/// The place of the member that leads the others.
async fn etcd_leader(cluster: &Cluster) -> usize {
    let began = Instant::now();
    loop {
        for place in 0..cluster.etcd.len() {
            let status = member(cluster, place).await.status().await.unwrap();
            if status.leader() != 0 && status.header().unwrap().member_id() == status.leader() {
                return place;
            }
        }
        assert!(began.elapsed() < PATIENCE, "etcd elects nobody");
    }
}

/// One member alone.
async fn member(cluster: &Cluster, place: usize) -> Client {
    Client::connect([format!("http://127.0.0.1:{}", cluster.etcd[place].port())], None).await.unwrap()
}
