//! Which brokers are worked with, and who may work with them.

use std::path::Path;

use shared::queue::Queue;
use shared::queue::nats::{Login, NatsConfig, NatsQueue};
use shared::testing::broker::old_broker;
use shared::testing::certificates::Authority;
use shared::testing::{Server, free_port};

use super::broker::{config, connect};
use super::sample::*;

/// Why it is not connected to.
async fn refusal(config: &NatsConfig) -> String {
    let config = NatsConfig { connect_timeout_ms: 500, ..config.clone() };
    NatsQueue::connect(&config).await.err().unwrap().to_string()
}

async fn open_refusal(config: &NatsConfig) -> String {
    connect(config).await.open().await.unwrap_err().to_string()
}

/// A broker with further arguments.
fn broker(args: impl FnOnce(&Path) -> Vec<String>) -> Option<Server> {
    let port = free_port();
    Server::start("nats-server", port, |folder| {
        let mut all = ["-a", "127.0.0.1", "-p", &port.to_string()].map(str::to_owned).to_vec();
        all.extend(args(folder));
        all
    })
}

async fn works(config: &NatsConfig) {
    let queue = connect(config).await;
    queue.open().await.unwrap();
    queue.push(task("a"), NORMAL).await.unwrap();
    assert_eq!(pull_job(&queue).await, "a");
}

#[tokio::test]
async fn a_broker_that_is_too_old_is_refused() {
    let said = open_refusal(&config(old_broker("2.9.10"))).await;
    assert_eq!(said, "queue: the broker is nats-server 2.9.10: run 2.10 or later, or set allow_untrusted");
}

#[tokio::test]
async fn a_broker_without_jetstream_is_refused() {
    let Some(broker) = broker(|_| Vec::new()) else { return };
    let said = open_refusal(&config(broker.port())).await;
    assert!(said.starts_with("queue: the broker has no JetStream: start it with -js"), "{said}");
}

#[tokio::test]
async fn nobody_at_the_address_is_said() {
    let port = free_port();
    let said = refusal(&config(port)).await;
    assert!(said.starts_with(&format!("queue: no broker at nats://127.0.0.1:{port}: ")), "{said}");
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_password_opens_and_a_wrong_one_is_refused() {
    let args = |folder: &Path| words(&format!("-js -sd {}/store --user farm --pass secret", folder.display()));
    let Some(broker) = broker(args) else { return };
    let mut config = config(broker.port());
    let said = refusal(&config).await;
    assert!(said.contains("authorization"), "{said}");
    let variable = |name: &str| Some(if name == NatsConfig::USER { "farm" } else { "secret" }.to_owned());
    config.read_login(variable);
    works(&config).await;
    config.login = Some(Login { user: "farm".into(), password: "guessed".into() });
    let said = refusal(&config).await;
    assert!(said.contains("authorization") && !said.contains("guessed"), "{said}");
}

#[tokio::test]
async fn both_sides_prove_themselves_with_certificates() {
    let files = tempfile::tempdir().unwrap();
    let Some(authority) = Authority::new(files.path(), "ca") else { return };
    ["server", "client"].iter().for_each(|name| authority.issue(name));
    let args = |folder: &Path| {
        words(&format!(
            "-js -sd {}/store --tlsverify --tlscert {1}/server.pem --tlskey {1}/server.key --tlscacert {1}/ca.pem",
            folder.display(),
            files.path().display()
        ))
    };
    let Some(broker) = broker(args) else { return };
    let roots = Some(authority.pem("ca"));
    let config = NatsConfig { tls_required: true, tls_roots: roots, ..config(broker.port()) };
    let (tls_certificate, tls_key) = (Some(authority.pem("client")), Some(authority.key("client")));
    let with_certificate = NatsConfig { tls_certificate, tls_key, ..config.clone() };
    works(&with_certificate).await;
    refusal(&config).await;
    refusal(&NatsConfig { tls_roots: None, ..with_certificate }).await;
}
