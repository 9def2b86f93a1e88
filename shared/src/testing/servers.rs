//! The servers of a farm: NATS and etcd, alone or three of a kind.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Instant;

use super::{START_TIMEOUT, Server, free_port, page, pause, program};

/// NATS servers with JetStream that keep what they are told on disk before they answer. `None` if they are not installed.
///
/// # Panics
/// If they are not ready in time.
pub fn nats(count: usize) -> Option<Vec<Server>> {
    let ports: Vec<[u16; 3]> = (0..count).map(|_| [free_port(), free_port(), free_port()]).collect();
    let routes: Vec<String> = ports.iter().map(|[_, _, route]| format!("nats://127.0.0.1:{route}")).collect();
    let start = |number: usize| {
        let [port, pages, route] = ports[number];
        Server::start("nats-server", port, |folder| {
            let mut settings = format!(
                "server_name: n{number}\nlisten: \"127.0.0.1:{port}\"\nhttp: \"127.0.0.1:{pages}\"\n\
                 jetstream {{ store_dir: {:?}, sync_interval: always }}\n",
                folder.join("data")
            );
            if count > 1 {
                let routes = routes.join(", ");
                settings += &format!("cluster {{ name: farm, listen: \"127.0.0.1:{route}\", routes: [{routes}] }}\n");
            }
            let file = folder.join("nats.conf");
            std::fs::write(&file, settings).expect("the temporary folder should be writable");
            vec!["-c".to_owned(), file.display().to_string()]
        })
    };
    let servers: Option<Vec<Server>> = (0..count).map(start).collect();
    if servers.is_some() {
        ports.iter().for_each(|[_, pages, _]| wait_for(*pages, "/healthz", "\"status\":\"ok\""));
    }
    servers
}

/// A NATS server with the users of `deploy/nats`; the password of each is `USER-secret`. `None` if it is not installed.
///
/// # Panics
/// If `deploy` is not there.
pub fn nats_with_accounts() -> Option<Server> {
    let nats = program("nats-server")?;
    let accounts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/nats/accounts.conf");
    let port = free_port();
    Server::start("env", port, |folder| {
        let settings = format!(
            "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: {:?}, sync_interval: always }}\n\
             include \"accounts.conf\"\n",
            folder.join("data")
        );
        let file = folder.join("nats.conf");
        std::fs::write(&file, settings).expect("the temporary folder should be writable");
        std::fs::copy(&accounts, folder.join("accounts.conf")).expect("deploy/nats should have accounts");
        let password = |user: &str| format!("FARM_NATS_{}_PASSWORD={user}-secret", user.to_uppercase());
        let command = [nats, "-c".into(), file].map(|part| part.display().to_string());
        ["coordinator", "worker", "monitor", "operator"].map(password).into_iter().chain(command).collect()
    })
}

/// Members of one etcd. `None` if it is not installed.
///
/// # Panics
/// If they are not ready in time.
pub fn etcd(count: usize) -> Option<Vec<Server>> {
    let url = |port: u16| format!("http://{}:{port}", Ipv4Addr::LOCALHOST);
    let ports: Vec<[u16; 2]> = (0..count).map(|_| [free_port(), free_port()]).collect();
    let members: Vec<String> =
        ports.iter().enumerate().map(|(number, [_, peer])| format!("e{number}={}", url(*peer))).collect();
    let start = |number: usize| {
        let [client, peer] = ports[number];
        Server::start("etcd", client, |folder| {
            let settings = [
                ("name", format!("e{number}")),
                ("data-dir", folder.join("data").display().to_string()),
                ("listen-client-urls", url(client)),
                ("advertise-client-urls", url(client)),
                ("listen-peer-urls", url(peer)),
                ("initial-advertise-peer-urls", url(peer)),
                ("initial-cluster", members.join(",")),
            ];
            settings.map(|(name, value)| format!("--{name}={value}")).to_vec()
        })
    };
    let servers: Option<Vec<Server>> = (0..count).map(start).collect();
    if servers.is_some() {
        ports.iter().for_each(|[client, _]| wait_for(*client, "/health", "\"health\":\"true\""));
    }
    servers
}

fn wait_for(port: u16, path: &str, fine: &str) {
    let began = Instant::now();
    while !page(port, path).contains(fine) {
        assert!(began.elapsed() < START_TIMEOUT, "{path}: {}", page(port, path));
        pause();
    }
}
