//! What the cluster's store promises besides the contract: nobody but the leader writes, and etcd may go and come back.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use coordinator::store::{Store, StoreError};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::rig::{LONG, SHORT, connect, etcd_server, lead};
use crate::{change, commit, conformance, content, entry, noise};

#[tokio::test]
async fn etcd_keeps_the_contract() {
    let Some(server) = etcd_server() else { return };
    let terms = RefCell::new(Vec::new());
    conformance(async || {
        let prefix = format!("/farm-{}", terms.borrow().len());
        let leader = lead(connect(server.port(), &prefix).await, "here", LONG).await;
        terms.borrow_mut().push(leader.term);
        Box::new(leader.store) as Box<dyn Store>
    })
    .await;
}

#[tokio::test]
async fn a_deposed_leader_can_change_nothing() {
    let Some(server) = etcd_server() else { return };
    let etcd = connect(server.port(), "/farm").await;
    let mut old = lead(etcd.clone(), "old", LONG).await;
    let revision = commit(&old.store, vec![change("job/a", None, Some(b"1"))]).await;
    old.candidate.resign().await; // it does not stop writing
    let new = lead(etcd, "new", LONG).await;
    let write = [
        change("job/a", Some(revision), Some(b"2")),
        change("job/a", Some(revision), None),
        change("job/b", None, Some(b"3")),
    ];
    for change in write.clone() {
        let error = old.store.commit(vec![change]).await;
        assert!(matches!(error, Err(StoreError::Deposed { .. })), "{error:?}");
    }
    assert_eq!(old.refusals.get(), 3);
    assert_eq!(content(&new.store).await, [entry("job/a", b"1")]);
    for change in [&write[0], &write[2]] {
        commit(&new.store, vec![change.clone()]).await;
    }
    assert_eq!(new.refusals.get(), 0);
}

#[tokio::test]
async fn what_was_committed_survives_a_killed_etcd_and_the_leader_goes_on() {
    let Some(mut server) = etcd_server() else { return };
    let leader = lead(connect(server.port(), "/farm").await, "here", LONG).await;
    let first = commit(&leader.store, vec![change("job/a", None, Some(b"1"))]).await;
    server.kill();
    let changes = vec![change("job/a", Some(first), Some(b"2")), change("job/b", None, Some(b"3"))];
    let waiting = leader.store.commit(changes);
    tokio::pin!(waiting);
    tokio::select! {
        result = &mut waiting => panic!("{result:?} without an etcd"),
        () = tokio::time::sleep(Duration::from_millis(1_500)) => {}
    }
    server.restart();
    let revisions = waiting.await.unwrap();
    assert_eq!(content(&leader.store).await, [entry("job/a", b"2"), entry("job/b", b"3")]);
    commit(&leader.store, vec![change("job/a", Some(revisions[0]), None)]).await;
}

#[tokio::test]
async fn a_commit_is_given_up_when_the_lease_has_run_out() {
    let Some(mut server) = etcd_server() else { return };
    let leader = lead(connect(server.port(), "/farm").await, "here", SHORT).await;
    server.kill();
    let error = leader.store.commit(vec![change("job/a", None, Some(b"1"))]).await;
    assert!(matches!(error, Err(StoreError::Deposed { .. })), "{error:?}");
    assert_eq!(leader.refusals.get(), 1);
}

#[tokio::test]
async fn compaction_takes_nothing_away() {
    let Some(server) = etcd_server() else { return };
    let leader = lead(connect(server.port(), "/farm").await, "here", LONG).await;
    let first = commit(&leader.store, vec![change("job/a", None, Some(b"1"))]).await;
    let second = commit(&leader.store, vec![change("job/a", Some(first), Some(b"2"))]).await;
    let mut raw = etcd_client::Client::connect([format!("127.0.0.1:{}", server.port())], None).await.unwrap();
    raw.compact(i64::try_from(second.0).unwrap(), None).await.unwrap();
    assert_eq!(content(&leader.store).await, [entry("job/a", b"2")]);
    commit(&leader.store, vec![change("job/a", Some(second), Some(b"3"))]).await;
}

#[tokio::test]
async fn a_record_in_many_pieces_is_replaced_and_removed_whole() {
    let Some(server) = etcd_server() else { return };
    let leader = lead(connect(server.port(), "/farm").await, "here", LONG).await;
    let (old, new) = (noise(2_500_000), noise(3_500_000));
    let first =
        commit(&leader.store, vec![change("task/a", None, Some(&old)), change("job/a", None, Some(b"1"))]).await;
    assert!(content(&leader.store).await == [entry("job/a", b"1"), entry("task/a", &old)]);
    let second = commit(&leader.store, vec![change("task/a", Some(first), Some(&new))]).await;
    assert!(content(&leader.store).await == [entry("job/a", b"1"), entry("task/a", &new)]);
    commit(&leader.store, vec![change("task/a", Some(second), None)]).await;
    let mut raw = etcd_client::Client::connect([format!("127.0.0.1:{}", server.port())], None).await.unwrap();
    let left = raw.get("/farm/task", Some(etcd_client::GetOptions::new().with_prefix())).await.unwrap();
    assert_eq!(left.kvs().len(), 0, "its pieces are gone with it");
}

/// The first answer is lost with the connection; the second try is refused, because the first was carried out.
#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_made_once() {
    let Some(server) = etcd_server() else { return };
    let lossy = Lossy::start(server.port()).await;
    let leader = lead(connect(lossy.port, "/farm").await, "here", LONG).await;
    let first =
        commit(&leader.store, vec![change("job/a", None, Some(b"1")), change("hold/w", None, Some(b"1"))]).await;
    lossy.answers.send_replace(false);
    let changes = vec![
        change("job/b", None, Some(b"2")),
        change("job/a", Some(first), Some(b"3")),
        change("hold/w", Some(first), None),
    ];
    let mut raw = etcd_client::Client::connect([format!("127.0.0.1:{}", server.port())], None).await.unwrap();
    let committed = async {
        while raw.get("/farm/job/b", None).await.unwrap().kvs().is_empty() {}
        lossy.answers.send_replace(true);
    };
    let (revisions, ()) = tokio::join!(leader.store.commit(changes), committed);
    let revisions = revisions.unwrap();
    assert_eq!(revisions, [revisions[0]; 3]);
    assert_eq!(content(&leader.store).await, [entry("job/a", b"3"), entry("job/b", b"2")]);
    commit(&leader.store, vec![change("job/a", Some(revisions[1]), Some(b"4"))]).await;
}

/// A way to etcd on which answers can be held back; connections that were, are cut when answers come again.
struct Lossy {
    port: u16,
    answers: Arc<watch::Sender<bool>>,
    _tasks: tokio::task::JoinSet<()>,
}

impl Lossy {
    async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answers = Arc::new(watch::Sender::new(true));
        let told = answers.clone();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            let connections = TaskTracker::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                connections.spawn(pass(client, server, told.subscribe()));
            }
        });
        Self { port, answers, _tasks: tasks }
    }
}

async fn pass(client: TcpStream, server: TcpStream, mut answers: watch::Receiver<bool>) {
    let (mut asked, mut answer) = client.into_split();
    let (mut answered, mut ask) = server.into_split();
    let forth = tokio::io::copy(&mut asked, &mut ask);
    let back = async {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = tokio::io::AsyncReadExt::read(&mut answered, &mut buffer).await.unwrap_or(0);
            if read == 0 || !*answers.borrow_and_update() {
                break;
            }
            if answer.write_all(&buffer[..read]).await.is_err() {
                break;
            }
        }
        let _ = answers.wait_for(|answers| *answers).await;
    };
    tokio::select! {
        _ = forth => {}
        () = back => {}
    }
}
