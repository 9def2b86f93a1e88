//! Real servers on free ports, for tests: each in a folder of its own, killed with its guard.
//!
//! `make servers` puts the programs into `target/servers/bin`; elsewhere they are looked for on the `PATH`. A test whose
//! server is missing is skipped by name, or fails where `FARM_REQUIRE_SERVERS` is set, as `make test` does.

pub mod broker;
pub mod certificates;
pub mod clouds;
#[cfg(feature = "programs")]
pub mod metrics;
pub mod proxy;
pub mod s3;
pub mod servers;
pub mod synthetic;

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::fleet::{Class, GpuShare, Heartbeat, Standing};
use crate::task::WorkerId;

/// How long a server may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// What a worker with two slots says that takes tasks and runs nothing.
///
/// # Panics
/// If that can't be a worker's name.
pub fn heartbeat(worker: &str) -> Heartbeat {
    Heartbeat {
        worker: WorkerId::new(worker).expect("a test should name its workers well"),
        build: "test".to_owned(),
        host: "here".to_owned(),
        classes: vec![Class::Cpu],
        abilities: Vec::new(),
        proofs: 1,
        slots: 2,
        gpu: GpuShare::default(),
        running: Vec::new(),
        standing: Standing::Working,
        speed_ms_per_s: 0,
        started_ms: 0,
    }
}

/// Where a server's program is; `None`, said on standard error, if it is not installed.
///
/// # Panics
/// If it is missing and `FARM_REQUIRE_SERVERS` is set.
pub fn program(name: &str) -> Option<PathBuf> {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/servers/bin").join(name);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::iter::once(ours).chain(std::env::split_paths(&path).map(|folder| folder.join(name)));
    let found = places.find(|place| place.is_file());
    if found.is_none() {
        assert!(std::env::var_os("FARM_REQUIRE_SERVERS").is_none(), "{name} is missing: run `make servers`");
        eprintln!("SKIPPED: {name} is not installed; `make servers` installs it");
    }
    found
}

/// A port of this host that nobody listens on now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("this host should have a free port");
    listener.local_addr().expect("a bound socket should have an address").port()
}

/// Sends a signal such as `TERM` to a process of a test.
///
/// # Panics
/// If there is no such process.
pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status();
    assert!(sent.expect("kill should be installed").success(), "SIG{name} to {pid}");
}

/// What somebody on this host says to a request by HTTP, with the head; empty if nobody answers.
pub fn ask(port: u16, request: &str) -> String {
    let mut answer = Vec::new();
    let asked = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).and_then(|mut stream| {
        stream.write_all(request.as_bytes())?;
        stream.read_to_end(&mut answer)
    });
    asked.map(|_| String::from_utf8_lossy(&answer).into_owned()).unwrap_or_default()
}

/// A page that a program on this host shows by HTTP, with its head; empty if nobody answers.
pub fn page(port: u16, path: &str) -> String {
    ask(port, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
}

/// Between two looks at a server that gets ready.
#[expect(clippy::disallowed_methods, reason = "a server of somebody else can only be asked again and again")]
fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}

/// A server process. Dropping it kills the process and everything it has written.
#[derive(Debug)]
pub struct Server {
    program: PathBuf,
    args: Vec<String>,
    port: u16,
    child: Child,
    folder: tempfile::TempDir,
}

impl Server {
    /// Starts `name` with the arguments made of its folder, and waits until it listens on `port`. `None` if it is not
    /// installed.
    ///
    /// # Panics
    /// If it does not listen in time.
    pub fn start(name: &str, port: u16, args: impl FnOnce(&Path) -> Vec<String>) -> Option<Self> {
        let program = program(name)?;
        let folder = tempfile::tempdir().expect("the temporary folder should be writable");
        let args = args(folder.path());
        let child = spawn(&program, &args, folder.path()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut server = Self { program, args, port, child, folder };
        server.wait_until_it_listens();
        Some(server)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it keeps its data.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child should take a signal");
        self.child.wait().expect("a killed child should end");
    }

    /// Lets it stand still until [`Self::proceed`] (SIGSTOP): connections stay open and nobody answers.
    pub fn stop(&self) {
        signal(self.pid(), "STOP");
    }

    /// Lets it go on after [`Self::stop`].
    pub fn proceed(&self) {
        signal(self.pid(), "CONT");
    }

    /// Empties the folders below its own, where it keeps its data. Between [`Self::kill`] and [`Self::restart`].
    pub fn wipe(&self) {
        let entries = std::fs::read_dir(self.folder()).expect("a server's folder should be readable");
        for path in entries.map(|entry| entry.expect("a server's folder should be readable").path()) {
            if path.is_dir() {
                let emptied = std::fs::remove_dir_all(&path).and_then(|()| std::fs::create_dir(&path));
                emptied.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            }
        }
    }

    /// Starts it again after [`Self::kill`], on the same port and data.
    pub fn restart(&mut self) {
        self.child = spawn(&self.program, &self.args, self.folder.path()).expect("a server should start twice");
        self.wait_until_it_listens();
    }

    fn wait_until_it_listens(&mut self) {
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            let ended = self.child.try_wait().expect("a child should be waited for");
            let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(ended.is_none(), "{} ended: {ended:?}\n{}", self.program.display(), log());
            assert!(began.elapsed() < START_TIMEOUT, "{} does not listen\n{}", self.program.display(), log());
            pause();
        }
    }
}

fn spawn(program: &Path, args: &[String], folder: &Path) -> io::Result<Child> {
    let log = std::fs::File::options().create(true).append(true).open(folder.join("log"))?;
    Command::new(program)
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already dead after `kill`.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
