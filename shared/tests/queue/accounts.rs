//! The accounts of `deploy/nats`: each role can do its work there, and gets no further.

use std::sync::{Arc, Mutex};

use async_nats::{Client, ConnectOptions, Event};
use shared::fleet::Class;
use shared::queue::nats::{Login, NatsConfig};
use shared::queue::{Incoming, Queue};
use shared::task::Outcome;
use shared::testing::Server;
use shared::testing::servers::nats_with_accounts;

use super::broker::connect;
use super::sample::*;

fn login(role: &str) -> Option<Login> {
    Some(Login { user: role.into(), password: format!("{role}-secret") })
}

fn config(broker: &Server, role: &str) -> NatsConfig {
    NatsConfig { urls: vec![format!("nats://127.0.0.1:{}", broker.port())], login: login(role), ..Default::default() }
}

/// Somebody with a role's password and ideas of its own.
struct Intruder {
    client: Client,
    /// What the broker refused.
    refused: Arc<Mutex<Vec<String>>>,
}

impl Intruder {
    async fn connect(broker: &Server, role: &str) -> Self {
        let refused = Arc::<Mutex<Vec<String>>>::default();
        let heard = refused.clone();
        let options = ConnectOptions::with_user_and_password(role.into(), format!("{role}-secret"));
        let options = options.custom_inbox_prefix(format!("_INBOX.{role}")).event_callback(move |event| {
            if let Event::ServerError(error) = event {
                heard.lock().unwrap().push(error.to_string());
            }
            async {}
        });
        let client = options.connect(format!("127.0.0.1:{}", broker.port())).await.unwrap();
        Self { client, refused }
    }

    /// Of these subjects, those that it may not publish to.
    async fn may_not_publish<'a>(&self, subjects: &[&'a str]) -> Vec<&'a str> {
        for subject in subjects {
            self.client.publish((*subject).to_owned(), "{}".into()).await.unwrap();
        }
        self.refused("Publish", subjects).await
    }

    /// Of these subjects, those that it may not listen to.
    async fn may_not_hear<'a>(&self, subjects: &[&'a str]) -> Vec<&'a str> {
        let mut heard = Vec::new();
        for subject in subjects {
            heard.push(self.client.subscribe((*subject).to_owned()).await.unwrap());
        }
        self.refused("Subscription", subjects).await
    }

    /// Refusals come before the answer to whatever is sent after.
    async fn refused<'a>(&self, what: &str, subjects: &[&'a str]) -> Vec<&'a str> {
        let reply = soon(self.client.request("$JS.API.INFO", "".into())).await.unwrap();
        assert!(!reply.payload.is_empty());
        let refused = self.refused.lock().unwrap();
        let is_refused = |subject: &&&str| {
            refused.iter().any(|said| said.contains(&format!("Permissions Violation for {what} to \"{subject}\"")))
        };
        subjects.iter().filter(is_refused).copied().collect()
    }
}

#[tokio::test]
async fn coordinator_and_worker_can_do_their_work() {
    let Some(broker) = nats_with_accounts() else { return };
    let coordinator = connect(&config(&broker, "coordinator")).await;
    let worker = connect(&config(&broker, "worker")).await;
    assert!(!coordinator.open().await.unwrap());
    coordinator.push(task("a"), NORMAL).await.unwrap();
    pull(&worker).await.give_back().await.unwrap();
    let delivery = pull(&worker).await;
    worker.check().await.unwrap();
    worker.report(report("a", Outcome::Started)).await.unwrap();
    worker.report(result(1)).await.unwrap();
    delivery.ack().await.unwrap();
    assert_eq!(hear_report(&coordinator).await.outcome, Outcome::Started);
    assert_eq!(hear_report(&coordinator).await, result(1));
    worker.beat(heartbeat("w")).await.unwrap();
    hear(&coordinator, |incoming| matches!(incoming, Incoming::Heartbeat(_)).then_some(())).await;
    coordinator.push(task("b"), NORMAL).await.unwrap();
    coordinator.clear(Class::Cpu).await.unwrap();
    coordinator.push(task("c"), NORMAL).await.unwrap();
    assert_eq!(pull_job(&worker).await, "c", "the other was taken back");
    let (opened, pushed) = tokio::join!(worker.open(), worker.push(task("d"), NORMAL));
    assert!(opened.is_err() && pushed.is_err());

    // Another coordinator takes over, with other settings of the streams.
    let next = connect(&NatsConfig { max_tasks: 99, ..config(&broker, "coordinator") }).await;
    assert!(next.open().await.unwrap());
    soon(async { while coordinator.next_incoming().await.is_ok() {} }).await;
    worker.report(result(2)).await.unwrap();
    assert_eq!(hear_report(&next).await, result(2));
}

#[tokio::test]
async fn a_task_that_was_handed_out_too_often_is_looked_up_and_taken_out() {
    let Some(broker) = nats_with_accounts() else { return };
    let often = |role| NatsConfig { max_deliver: 2, ack_wait_ms: 500, ..config(&broker, role) };
    let coordinator = connect(&often("coordinator")).await;
    let worker = connect(&often("worker")).await;
    coordinator.open().await.unwrap();
    coordinator.push(task("a"), NORMAL).await.unwrap();
    for _ in 0..2 {
        pull(&worker).await.give_back().await.unwrap();
    }
    // The broker notices when somebody would be next.
    coordinator.push(task("b"), NORMAL).await.unwrap();
    assert_eq!(pull_job(&worker).await, "b");
    let given_up = |incoming| match incoming {
        Incoming::Undeliverable(attempt) => Some(attempt),
        _ => None,
    };
    assert_eq!(hear(&coordinator, given_up).await, attempt("a", 1));
}

#[tokio::test]
async fn a_worker_can_break_nothing_and_hear_nothing_that_is_for_others() {
    let Some(broker) = nats_with_accounts() else { return };
    connect(&config(&broker, "coordinator")).await.open().await.unwrap();
    let worker = Intruder::connect(&broker, "worker").await;
    let deeds = [
        "$JS.API.STREAM.DELETE.farm-tasks",
        "$JS.API.STREAM.PURGE.farm-reports",
        "$JS.API.STREAM.CREATE.mine",
        "$JS.API.STREAM.UPDATE.farm-tasks",
        "$JS.API.STREAM.MSG.GET.farm-tasks",
        "$JS.API.STREAM.MSG.GET.farm-reports",
        "$JS.API.STREAM.MSG.DELETE.farm-tasks",
        "$JS.API.DIRECT.GET.farm-reports",
        "$JS.API.CONSUMER.CREATE.farm-reports.mine",
        "$JS.API.CONSUMER.CREATE.farm-tasks.mine",
        "$JS.API.CONSUMER.DELETE.farm-tasks.cpu-normal",
        "$JS.API.CONSUMER.MSG.NEXT.farm-reports.reader",
        "$JS.ACK.farm-reports.reader.1.1.1.1.1",
        "farm.task.cpu.urgent",
        "farm.direct",
        "_INBOX.coordinator.x",
    ];
    assert_eq!(worker.may_not_publish(&deeds).await, deeds);
    let words = [">", "farm.>", "farm.task.*.*", "farm.report", "farm.life.*", "farm.worker.*", "_INBOX.>", "_INBOX.*"];
    assert_eq!(worker.may_not_hear(&words).await, words);
    assert_eq!(worker.may_not_hear(&["_INBOX.coordinator.>", "$JS.>"]).await, ["_INBOX.coordinator.>", "$JS.>"]);
}

#[tokio::test]
async fn neither_a_coordinator_nor_who_looks_on_can_take_streams_away() {
    let Some(broker) = nats_with_accounts() else { return };
    connect(&config(&broker, "coordinator")).await.open().await.unwrap();
    let deeds = [
        "$JS.API.STREAM.DELETE.farm-tasks",
        "$JS.API.STREAM.PURGE.farm-reports",
        "farm.report",
        "$SYS.REQ.SERVER.PING",
    ];
    let [coordinator, monitor] =
        [Intruder::connect(&broker, "coordinator").await, Intruder::connect(&broker, "monitor").await];
    assert_eq!(coordinator.may_not_publish(&deeds).await, deeds);
    assert_eq!(monitor.may_not_publish(&deeds).await, deeds);
    let more = ["$JS.API.STREAM.PURGE.farm-tasks", "farm.direct", "farm.wake.cpu"];
    assert_eq!(monitor.may_not_publish(&more).await, more);
    assert_eq!(monitor.may_not_publish(&["$JS.API.STREAM.INFO.farm-tasks"]).await, [""; 0]);
    let stranger = NatsConfig { connect_timeout_ms: 500, login: None, ..config(&broker, "worker") };
    assert!(shared::queue::nats::NatsQueue::connect(&stranger).await.is_err());
}
