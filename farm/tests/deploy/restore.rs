//! What is lost with a store, and what a backup brings back; `deploy/UPGRADE.md` says so.

use std::fs;
use std::path::Path;
use std::process::Command;

use proto::v1;
use proto::v1::job_service_client::JobServiceClient;
use shared::testing::{Server, program};

use crate::support::cluster::{Cluster, Parts};
use crate::support::{Presentation, clip, run_with_complaints, transcode};

const SOURCE: &str = "start_131s.ts";

async fn cluster() -> Option<Cluster> {
    program("etcdctl")?;
    let cluster = Parts::default().start()?;
    cluster.put("source.ts", &clip(SOURCE)).await;
    Some(cluster)
}

async fn submit(cluster: &Cluster, name: &str) -> String {
    cluster.client().submit(name, cluster.spec("source.ts", name, "web-3")).await
}

/// The ids of the jobs that the farm knows.
async fn known(cluster: &Cluster) -> Vec<String> {
    let listed = cluster.client().list(v1::ListJobsRequest::default()).await;
    listed.jobs.into_iter().map(|job| job.id).collect()
}

/// The job is known no more; what it has made stays.
async fn delete(cluster: &Cluster, job: &str) {
    let api = cluster.coordinators[cluster.leader()].api;
    let mut client = JobServiceClient::connect(format!("http://127.0.0.1:{api}")).await.unwrap();
    client.delete_job(v1::DeleteJobRequest { job_id: job.to_owned(), erase: false }).await.unwrap();
}

/// The bytes below `name` are those of `farm transcode`.
async fn assert_right(cluster: &Cluster, name: &str) {
    let alone = cluster.folder.path().join("alone");
    if !alone.try_exists().unwrap() {
        assert!(transcode(&clip(SOURCE), &alone, &["--profile", "web-3"]).status.success());
    }
    let (wanted, made) = (Presentation::bytes(&alone), Presentation::bytes(&cluster.fetch(name).await));
    assert!(wanted == made, "{name}: {:?} instead of {:?}", made.keys(), wanted.keys());
}

fn etcdctl(args: &[&str]) {
    run_with_complaints(Command::new(program("etcdctl").unwrap()).env("ETCDCTL_API", "3").args(args));
}

/// Everybody stops, as UPGRADE.md says; `change` is made to etcd's folder, brokers forget everything, and all begin again.
fn bring_back(cluster: &mut Cluster, change: impl FnOnce(&Server)) {
    let programs = cluster.coordinators.iter_mut().chain(&mut cluster.workers);
    programs.for_each(|program| assert!(program.terminate().0.success()));
    cluster.etcd[0].kill();
    change(&cluster.etcd[0]);
    cluster.etcd[0].restart();
    cluster.nats.iter_mut().for_each(Server::kill);
    cluster.nats.iter().for_each(Server::wipe);
    cluster.nats.iter_mut().for_each(Server::restart);
    cluster.coordinators.iter_mut().chain(&mut cluster.workers).for_each(|program| program.restart());
    cluster.coordinators.iter().chain(&cluster.workers).for_each(|program| program.wait_until_ready());
}

/// What `etcdctl snapshot restore` has to be told: the member's name and how it is reached by others.
fn restored(snapshot: &Path, etcd: &Server, command: &str) {
    let of = |flag: &str| command.split('\0').find_map(|part| part.strip_prefix(flag)).unwrap().to_owned();
    let data = etcd.folder().join("data");
    fs::remove_dir_all(&data).unwrap();
    let args = [
        format!("--data-dir={}", data.display()),
        format!("--name={}", of("--name=")),
        format!("--initial-cluster={}", of("--initial-cluster=")),
        format!("--initial-advertise-peer-urls={}", of("--initial-advertise-peer-urls=")),
    ];
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    etcdctl(&[&["snapshot", "restore", snapshot.to_str().unwrap()], &args[..]].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_etcd_brings_back_the_jobs_of_its_time_and_those_under_way_can_be_made_again() {
    let Some(mut cluster) = cluster().await else { return };
    let client = cluster.client();
    let ended = submit(&cluster, "ended").await;
    client.succeeded(&ended).await;
    let running = submit(&cluster, "running").await;
    client.wait_for(&running, v1::JobState::Running).await;
    let snapshot = cluster.folder.path().join("backup.db");
    let endpoint = format!("--endpoints=http://127.0.0.1:{}", cluster.etcd[0].port());
    etcdctl(&["snapshot", "save", snapshot.to_str().unwrap(), &endpoint]);
    client.succeeded(&running).await;
    let later = submit(&cluster, "later").await;
    client.succeeded(&later).await;

    let command = fs::read_to_string(format!("/proc/{}/cmdline", cluster.etcd[0].pid())).unwrap();
    bring_back(&mut cluster, |etcd| restored(&snapshot, etcd, &command));
    let mut known = known(&cluster).await;
    known.sort();
    let mut expected = [ended.clone(), running.clone()];
    expected.sort();
    assert_eq!(known, expected, "what came after the backup is forgotten");
    assert_eq!(client.get(&ended).await.state(), v1::JobState::Succeeded);
    // What its tasks had handed each other was removed when it ended: it can't go on, and has to begin anew.
    if client.wait_for(&running, v1::JobState::Succeeded).await.state() == v1::JobState::Failed {
        delete(&cluster, &running).await;
        client.succeeded(&submit(&cluster, "running").await).await;
    }
    for name in ["ended", "running", "later"] {
        assert_right(&cluster, name).await;
    }
    // What was forgotten is asked for again, into the same place.
    client.succeeded(&submit(&cluster, "later").await).await;
    assert_right(&cluster, "later").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_farm_that_lost_etcd_keeps_its_presentations_and_takes_the_same_jobs_again() {
    let Some(mut cluster) = cluster().await else { return };
    let client = cluster.client();
    client.succeeded(&submit(&cluster, "ended").await).await;
    let running = submit(&cluster, "running").await;
    client.wait_for(&running, v1::JobState::Running).await;
    bring_back(&mut cluster, Server::wipe);
    assert_eq!(known(&cluster).await, [""; 0]);
    assert_right(&cluster, "ended").await;
    for name in ["ended", "running"] {
        client.succeeded(&submit(&cluster, name).await).await;
        assert_right(&cluster, name).await;
    }
}
