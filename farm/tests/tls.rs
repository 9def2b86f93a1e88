//! Everybody proves who they are: coordinators, workers, NATS, etcd and clients, with certificates of one authority. Who
//! can't is turned away and told why.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use shared::testing::certificates::Authority;
use shared::testing::{Server, free_port};
use tempfile::TempDir;

#[allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]
mod support;

use support::cluster::{Program, Settings};
use support::{Presentation, clip, folder, transcode};

const PATIENCE: Duration = Duration::from_secs(30);

/// Two coordinators and a worker, and nothing between them in the clear.
struct Farm {
    coordinators: Vec<Program>,
    worker: Program,
    etcd: Server,
    nats: Server,
    authority: Authority,
    folder: TempDir,
}

impl Farm {
    /// `None` if something is not installed.
    fn start() -> Option<Self> {
        support::cluster::build::build();
        let folder = folder();
        let authority = Authority::new(folder.path(), "ca")?;
        ["etcd", "nats", "coordinator", "worker", "alice", "stranger"].iter().for_each(|name| authority.issue(name));
        let (etcd, nats) = (etcd(&authority)?, nats(&authority)?);
        let settings = |number| coordinator(&authority, folder.path(), &etcd, &nats, number);
        let coordinators: Vec<Program> = (0..2).map(settings).collect();
        let worker = worker(&authority, folder.path(), &nats, "0", "worker");
        coordinators.iter().chain([&worker]).for_each(Program::wait_until_ready);
        Some(Self { coordinators, worker, etcd, nats, authority, folder })
    }

    /// `farm job ARGS` asked of a coordinator, with the certificate of `who`.
    fn job(&self, coordinator: usize, who: Option<&str>, args: &[&str]) -> Output {
        let mut command = self.farm(coordinator, args);
        command.arg("--ca").arg(self.authority.pem("ca"));
        if let Some(who) = who {
            command.arg("--client-cert").arg(self.authority.pem(who));
            command.arg("--client-key").arg(self.authority.key(who));
        }
        command.output().unwrap()
    }

    fn farm(&self, coordinator: usize, args: &[&str]) -> Command {
        let server = format!("https://127.0.0.1:{}", self.coordinators[coordinator].api);
        let mut command = Command::new(env!("CARGO_BIN_EXE_farm"));
        command.arg("job").args(args).args(["--server", &server]).env_remove("RUST_LOG");
        command
    }
}

#[test]
fn a_farm_of_certificates_works_and_strangers_are_told_why_they_are_turned_away() {
    let Some(farm) = Farm::start() else { return };
    let source = clip("edit_list.mp4");
    std::fs::copy(&source, farm.folder.path().join("source.mp4")).unwrap();
    let place = |name: &str| format!("file:{}/{name}", farm.folder.path().display());
    // One of the two is not the leader, and hands the call on over TLS.
    for coordinator in [0, 1] {
        let target = format!("made-{coordinator}");
        let submit = ["submit", &place("source.mp4"), "--target", &place(&target), "--profile", "web-3", "--watch"];
        let made = farm.job(coordinator, Some("alice"), &submit);
        assert!(made.status.success(), "{}", said(&made));
    }
    let alone = farm.folder.path().join("alone");
    assert!(transcode(&source, &alone, &["--profile", "web-3"]).status.success());
    let bytes = ["alone", "made-0", "made-1"].map(|name| Presentation::bytes(&farm.folder.path().join(name)));
    assert!(bytes[0] == bytes[1] && bytes[0] == bytes[2]);

    turned_away(&farm);
    neighbours_are_checked(&farm);
}

/// Clients.
fn turned_away(farm: &Farm) {
    let list = &["list"];
    refused(&farm.job(0, None, list), 8, &["no_valid_key", "--client-cert"]);
    refused(&farm.job(0, Some("stranger"), list), 8, &["DNS names"]);
    let mallory = Authority::new(farm.folder.path(), "other").unwrap();
    mallory.issue("mallory");
    refused(&farm.job(0, Some("mallory"), list), 9, &["--client-cert"]);
    refused(&farm.farm(0, list).output().unwrap(), 9, &["certificate", "--ca"]);
    let other = farm.farm(0, list).arg("--ca").arg(mallory.pem("other")).output().unwrap();
    refused(&other, 9, &["certificate", "--ca"]);
    let plain = format!("http://127.0.0.1:{}", farm.coordinators[0].api);
    let plain = Command::new(env!("CARGO_BIN_EXE_farm")).args(["job", "list", "--server", &plain]).output().unwrap();
    refused(&plain, 9, &["https"]);
}

/// Programs.
fn neighbours_are_checked(farm: &Farm) {
    let folder = farm.folder.path().join("others");
    std::fs::create_dir(&folder).unwrap();
    let other = Authority::new(&folder, "ca").unwrap();
    ["coordinator", "worker"].iter().for_each(|name| other.issue(name));
    let lost = worker(&other, &folder, &farm.nats, "0", "worker");
    let cut_off = coordinator(&other, &folder, &farm.etcd, &farm.nats, 0);
    for (program, whom) in [(lost, "no broker"), (cut_off, "etcd can't be asked")] {
        let began = Instant::now();
        while !(program.said().contains("certificate") && program.said().contains(whom)) {
            assert!(began.elapsed() < PATIENCE, "{}", program.said());
            std::thread::yield_now();
        }
        assert!(!program.get("/readyz").starts_with("HTTP/1.1 200"));
    }
    assert!(farm.worker.get("/readyz").starts_with("HTTP/1.1 200"));
}

fn refused(output: &Output, exit: i32, words: &[&str]) {
    let said = said(output);
    eprintln!("{exit} {said}");
    assert_eq!(output.status.code(), Some(exit), "{said}");
    assert!(words.iter().all(|word| said.to_lowercase().contains(&word.to_lowercase())), "{words:?}: {said}");
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn coordinator(authority: &Authority, folder: &Path, etcd: &Server, nats: &Server, number: usize) -> Program {
    let [pages, api] = [free_port(), free_port()];
    let place = format!("file:{}/", folder.display());
    let mut settings = Settings::from([
        ("http_listen", format!("\"127.0.0.1:{pages}\"")),
        ("api.listen", format!("\"127.0.0.1:{api}\"")),
        ("api.peers", "[\"coordinator\"]".to_owned()),
        ("api.certificates", "[{ name = \"alice\", tenant = \"alice\", scopes = [\"submit\", \"read\"] }]".to_owned()),
        ("api.tls.certificate", quoted(&authority.pem("coordinator"))),
        ("api.tls.key", quoted(&authority.key("coordinator"))),
        ("api.tls.client_ca", quoted(&authority.pem("ca"))),
        ("api.places.sources", format!("[{place:?}]")),
        ("api.places.targets", format!("[{place:?}]")),
        ("api.places.work", format!("\"{place}work\"")),
        ("etcd.endpoints", format!("[\"https://127.0.0.1:{}\"]", etcd.port())),
        ("etcd.lease_s", "2".to_owned()),
        ("etcd.tls_roots", quoted(&authority.pem("ca"))),
        ("etcd.tls_certificate", quoted(&authority.pem("coordinator"))),
        ("etcd.tls_key", quoted(&authority.key("coordinator"))),
    ]);
    settings.extend(to_nats(authority, nats, "coordinator"));
    Program::start(folder, ["coordinator", &number.to_string()], [pages, api], &settings, &[])
}

fn worker(authority: &Authority, folder: &Path, nats: &Server, number: &str, who: &str) -> Program {
    let pages = free_port();
    let mut settings = Settings::from([
        ("name", format!("\"{who}\"")),
        ("http_listen", format!("\"127.0.0.1:{pages}\"")),
        ("worker.slots", "1".to_owned()),
        ("worker.scratch", quoted(&folder.join("scratch"))),
    ]);
    settings.extend(to_nats(authority, nats, who));
    Program::start(folder, ["worker", number], [pages, 0], &settings, &[])
}

fn to_nats(authority: &Authority, nats: &Server, who: &str) -> Settings {
    Settings::from([
        ("nats.urls", format!("[\"tls://127.0.0.1:{}\"]", nats.port())),
        ("nats.connect_timeout_ms", "2000".to_owned()),
        ("nats.tls_required", "true".to_owned()),
        ("nats.tls_roots", quoted(&authority.pem("ca"))),
        ("nats.tls_certificate", quoted(&authority.pem(who))),
        ("nats.tls_key", quoted(&authority.key(who))),
    ])
}

fn quoted(path: &Path) -> String {
    format!("{path:?}")
}

fn etcd(authority: &Authority) -> Option<Server> {
    let [client, peer] = [free_port(), free_port()].map(|port| format!("https://127.0.0.1:{port}"));
    let port = client.rsplit_once(':').unwrap().1.parse().unwrap();
    Server::start("etcd", port, |folder| {
        let file = |path: std::path::PathBuf| path.display().to_string();
        let tls = ["", "peer-"].map(|prefix| {
            [
                (format!("{prefix}cert-file"), file(authority.pem("etcd"))),
                (format!("{prefix}key-file"), file(authority.key("etcd"))),
                (format!("{prefix}trusted-ca-file"), file(authority.pem("ca"))),
                (format!("{prefix}client-cert-auth"), "true".to_owned()),
            ]
        });
        let places = [
            ("name", "e0".to_owned()),
            ("data-dir", file(folder.join("data"))),
            ("listen-client-urls", client.clone()),
            ("advertise-client-urls", client.clone()),
            ("listen-peer-urls", peer.clone()),
            ("initial-advertise-peer-urls", peer.clone()),
            ("initial-cluster", format!("e0={peer}")),
        ];
        let places = places.map(|(name, value)| (name.to_owned(), value));
        let settings = places.into_iter().chain(tls.into_iter().flatten());
        settings.map(|(name, value)| format!("--{name}={value}")).collect()
    })
}

fn nats(authority: &Authority) -> Option<Server> {
    let port = free_port();
    Server::start("nats-server", port, |folder| {
        let settings = format!(
            "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: {:?}, sync_interval: always }}\n\
             tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}\n",
            folder.join("data"),
            authority.pem("nats"),
            authority.key("nats"),
            authority.pem("ca"),
        );
        let file = folder.join("nats.conf");
        std::fs::write(&file, settings).unwrap();
        vec!["-c".to_owned(), file.display().to_string()]
    })
}
