//! A cluster of real processes: coordinators, workers, NATS and etcd, each on ports and in folders of its own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant, SystemTime};

use shared::testing::{Server, free_port};
use tempfile::TempDir;

/// No part takes longer to begin or to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// Of the leader, in seconds.
pub const LEASE_S: u64 = 2;

/// All processes of a farm, killed with it.
pub struct Cluster {
    pub coordinators: Vec<Program>,
    pub workers: Vec<Program>,
    _servers: [Server; 2],
    pub folder: TempDir,
}

/// A process and where it answers.
pub struct Program {
    child: Child,
    log: PathBuf,
    pages: u16,
    /// Of the API; 0 if it has none.
    pub api: u16,
}

impl Cluster {
    /// Two coordinators and two workers with a slot each, ready; `None` if a server is not installed.
    pub fn start() -> Option<Self> {
        build();
        let folder = super::folder();
        let servers = [etcd()?, nats()?];
        let [etcd, nats] = [servers[0].port(), servers[1].port()];
        let coordinators = (0..2).map(|number| coordinator(folder.path(), number, etcd, nats)).collect();
        let workers = (0..2).map(|number| worker(folder.path(), number, nats)).collect();
        let cluster = Self { coordinators, workers, _servers: servers, folder };
        for program in cluster.coordinators.iter().chain(&cluster.workers) {
            program.wait_for("/readyz", |answer| answer.starts_with("HTTP/1.1 200"));
        }
        Some(cluster)
    }

    /// The place among the coordinators of the one that leads.
    pub fn leader(&self) -> usize {
        let leads = |program: &Program| program.get("/metrics").contains("\nfarm_coordinator_leader 1\n");
        let began = Instant::now();
        loop {
            if let Some(leader) = self.coordinators.iter().position(leads) {
                return leader;
            }
            assert!(began.elapsed() < PATIENCE, "nobody leads");
            pause();
        }
    }
}

impl Program {
    /// What a page says, with its head; empty if nobody answers.
    pub fn get(&self, page: &str) -> String {
        let mut answer = String::new();
        let request = format!("GET {page} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let asked = TcpStream::connect(("127.0.0.1", self.pages)).and_then(|mut stream| {
            stream.write_all(request.as_bytes())?;
            stream.read_to_string(&mut answer)
        });
        asked.map(|_| answer).unwrap_or_default()
    }

    fn wait_for(&self, page: &str, fine: impl Fn(&str) -> bool) {
        let began = Instant::now();
        while !fine(&self.get(page)) {
            assert!(began.elapsed() < PATIENCE, "{page}: {}\n{}", self.get(page), self.said());
            pause();
        }
    }

    /// What it has logged.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; how it ended, and after how long.
    pub fn terminate(&mut self) -> (ExitStatus, Duration) {
        let began = Instant::now();
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, began.elapsed());
            }
            assert!(began.elapsed() < PATIENCE, "it does not end:\n{}", self.said());
            pause();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a process says how it is when it is asked")]
fn pause() {
    std::thread::sleep(Duration::from_millis(10));
}

impl Drop for Program {
    fn drop(&mut self) {
        // Already dead after `kill` and `terminate`.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}:\n{}", self.log.display(), self.said());
        }
    }
}

fn coordinator(folder: &Path, number: usize, etcd: u16, nats: u16) -> Program {
    let (pages, api) = (free_port(), free_port());
    let place = folder.display();
    let config = format!(
        "http_listen = \"127.0.0.1:{pages}\"\n\
         [api]\nlisten = \"127.0.0.1:{api}\"\n\
         [api.places]\nsources = [\"file:{place}/\"]\ntargets = [\"file:{place}/\"]\nwork = \"file:{place}/work\"\n\
         [etcd]\nendpoints = [\"http://127.0.0.1:{etcd}\"]\nlease_s = {LEASE_S}\nrequest_timeout_ms = 1000\n\
         [nats]\nurls = [\"nats://127.0.0.1:{nats}\"]\n"
    );
    spawn(folder, "coordinator", number, [pages, api], &config)
}

fn worker(folder: &Path, number: usize, nats: u16) -> Program {
    let pages = free_port();
    let config = format!(
        "name = \"w{number}\"\nhttp_listen = \"127.0.0.1:{pages}\"\n\
         [nats]\nurls = [\"nats://127.0.0.1:{nats}\"]\n\
         [worker]\nslots = 1\nscratch = \"{}/scratch-{number}\"\n",
        folder.display()
    );
    spawn(folder, "worker", number, [pages, 0], &config)
}

fn spawn(folder: &Path, name: &str, number: usize, [pages, api]: [u16; 2], config: &str) -> Program {
    let file = folder.join(format!("{name}-{number}.toml"));
    std::fs::write(&file, config).unwrap();
    let log = folder.join(format!("{name}-{number}.log"));
    let said = std::fs::File::create(&log).unwrap();
    let child =
        Command::new(program(name)).arg("--config").arg(file).stdin(Stdio::null()).stderr(said).spawn().unwrap();
    Program { child, log, pages, api }
}

fn etcd() -> Option<Server> {
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let (client, peer) = (free_port(), free_port());
    Server::start("etcd", client, |folder| {
        let settings = [
            ("data-dir", folder.join("data").display().to_string()),
            ("listen-client-urls", url(client)),
            ("advertise-client-urls", url(client)),
            ("listen-peer-urls", url(peer)),
            ("initial-advertise-peer-urls", url(peer)),
            ("initial-cluster", format!("default={}", url(peer))),
        ];
        settings.map(|(name, value)| format!("--{name}={value}")).to_vec()
    })
}

fn nats() -> Option<Server> {
    let port = free_port();
    Server::start("nats-server", port, |folder| {
        let store = folder.join("store").display().to_string();
        ["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd", &store].map(str::to_owned).to_vec()
    })
}

/// Beside the farm's own program: cargo puts all of a build there.
fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_farm")).with_file_name(name)
}

/// Builds the programs, unless a build of the whole workspace just has.
fn build() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let sources = ["coordinator", "worker", "shared", "proto"].map(|package| newest(&root.join(package)));
        let sources = sources.into_iter().max().unwrap();
        let fresh = |name| program(name).metadata().and_then(|file| file.modified()).is_ok_and(|made| made > sources);
        if fresh("coordinator") && fresh("worker") {
            return;
        }
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--locked", "--workspace", "--bins"]).current_dir(root);
        if program("farm").parent().is_some_and(|folder| folder.ends_with("release")) {
            cargo.arg("--release");
        }
        assert!(cargo.status().unwrap().success(), "coordinator and worker can't be built");
    });
}

/// When something below `folder` that a program is built from was changed last.
fn newest(folder: &Path) -> SystemTime {
    let mut newest = SystemTime::UNIX_EPOCH;
    let mut folders = vec![folder.join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                newest = newest.max(entry.metadata().unwrap().modified().unwrap());
            }
        }
    }
    newest
}
