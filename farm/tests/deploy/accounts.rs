//! A farm whose programs have the accounts of `deploy/nats` and `deploy/etcd`, and no more.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use shared::testing::{Server, free_port, program, servers};
use tempfile::TempDir;

use crate::support::cluster::{Program, Settings, build};
use crate::support::{Presentation, clip, folder, run_with_complaints, transcode};

/// Nothing takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A coordinator and a worker.
struct Farm {
    coordinator: Program,
    worker: Program,
    nats: Server,
    etcd: Vec<Server>,
    folder: TempDir,
}

impl Farm {
    /// `None` if something is not installed.
    fn start() -> Option<Self> {
        build::build();
        let (nats, etcd) = (servers::nats_with_accounts()?, servers::etcd(1)?);
        make_users(&etcd[0])?;
        let folder = folder();
        let coordinator = coordinator(folder.path(), &nats, &etcd[0], "etcd-secret");
        let worker = worker(folder.path(), &nats);
        [&coordinator, &worker].iter().for_each(|program| program.wait_until_ready());
        Some(Self { coordinator, worker, nats, etcd, folder })
    }

    /// A job ends well; it is asked for until somebody leads.
    fn makes(&self, name: &str) {
        let place = |name: &str| format!("file:{}/{name}", self.folder.path().display());
        std::fs::copy(clip("edit_list.mp4"), self.folder.path().join("source.mp4")).unwrap();
        let mut submit = Command::new(env!("CARGO_BIN_EXE_farm"));
        submit.args(["job", "submit", &place("source.mp4"), "--target", &place(name), "--profile", "web-3", "--watch"]);
        submit.args(["--request-id", name, "--server", &format!("http://127.0.0.1:{}", self.coordinator.api)]);
        let began = Instant::now();
        loop {
            let made = submit.env_remove("RUST_LOG").output().unwrap();
            let said = String::from_utf8_lossy(&made.stderr);
            if made.status.success() {
                break;
            }
            assert!(said.contains("no_leader") && began.elapsed() < PATIENCE, "{said}\n{}", self.coordinator.said());
        }
        let alone = self.folder.path().join("alone");
        assert!(transcode(&clip("edit_list.mp4"), &alone, &["--profile", "web-3"]).status.success());
        assert!(Presentation::bytes(&alone) == Presentation::bytes(&self.folder.path().join(name)), "{name}");
    }
}

/// As `deploy/etcd/users.sh` does it.
fn make_users(etcd: &Server) -> Option<()> {
    program("etcdctl")?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/etcd/users.sh");
    let endpoint = format!("http://127.0.0.1:{}", etcd.port());
    let passwords = [("FARM_ETCD_ROOT_PASSWORD", "root-secret"), ("FARM_ETCD_PASSWORD", "etcd-secret")];
    run_with_complaints(Command::new(script).env("ETCDCTL_ENDPOINTS", endpoint).envs(passwords));
    Some(())
}

/// What a user of etcd is told.
fn etcdctl(etcd: &Server, user: &str, args: &[&str]) -> String {
    let mut command = Command::new(program("etcdctl").unwrap());
    let endpoint = format!("http://127.0.0.1:{}", etcd.port());
    command.args(args).env("ETCDCTL_API", "3").env("ETCDCTL_ENDPOINTS", endpoint).env("ETCDCTL_USER", user);
    let output = command.output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn coordinator(folder: &Path, nats: &Server, etcd: &Server, password: &str) -> Program {
    let [pages, api] = [free_port(), free_port()];
    let place = format!("file:{}/", folder.display());
    let settings = Settings::from([
        ("http_listen", format!("\"127.0.0.1:{pages}\"")),
        ("api.listen", format!("\"127.0.0.1:{api}\"")),
        ("api.places.sources", format!("[{place:?}]")),
        ("api.places.targets", format!("[{place:?}]")),
        ("api.places.work", format!("\"{place}work\"")),
        ("etcd.endpoints", format!("[\"http://127.0.0.1:{}\"]", etcd.port())),
        ("etcd.lease_s", "2".to_owned()),
        ("etcd.user", "\"coordinator\"".to_owned()),
        ("nats.urls", format!("[\"nats://127.0.0.1:{}\"]", nats.port())),
    ]);
    let advertised = format!("http://127.0.0.1:{api}");
    let environment = [
        ("FARM_ETCD_PASSWORD", password),
        ("FARM_NATS_USER", "coordinator"),
        ("FARM_NATS_PASSWORD", "coordinator-secret"),
        ("FARM_ADVERTISE", &advertised),
    ];
    Program::start(folder, ["coordinator", &api.to_string()], [pages, api], &settings, &environment)
}

fn worker(folder: &Path, nats: &Server) -> Program {
    let pages = free_port();
    let settings = Settings::from([
        ("name", "\"w\"".to_owned()),
        ("http_listen", format!("\"127.0.0.1:{pages}\"")),
        ("nats.urls", format!("[\"nats://127.0.0.1:{}\"]", nats.port())),
        ("worker.slots", "1".to_owned()),
        ("worker.scratch", format!("{:?}", folder.join("scratch"))),
    ]);
    let environment = [("FARM_NATS_USER", "worker"), ("FARM_NATS_PASSWORD", "worker-secret")];
    Program::start(folder, ["worker", "0"], [pages, 0], &settings, &environment)
}

#[test]
fn a_farm_needs_no_more_than_its_accounts_and_outlives_an_etcd_that_forgets_who_is_there() {
    let Some(mut farm) = Farm::start() else { return };
    farm.makes("made");

    // A member that was started anew knows none of the tokens it has given out.
    farm.etcd[0].kill();
    farm.etcd[0].restart();
    farm.makes("again");

    let said = std::fs::read_to_string(farm.nats.folder().join("log")).unwrap();
    let refused: Vec<&str> = said.lines().filter(|line| line.contains("Violation")).collect();
    assert!(refused.is_empty(), "{refused:#?}");
    assert!(farm.worker.get("/readyz").starts_with("HTTP/1.1 200"));
}

#[test]
fn who_is_to_etcd_what_a_coordinator_is_reads_nothing_else() {
    let Some(farm) = Farm::start() else { return };
    let etcd = &farm.etcd[0];
    let told = |user: &str, args: &[&str]| etcdctl(etcd, user, args);
    assert!(told("coordinator:etcd-secret", &["get", "--prefix", "--keys-only", "/farm/"]).contains("/farm/leader"));
    for deed in [&["get", "/other"][..], &["put", "/farmer", "x"], &["get", "--prefix", ""], &["user", "list"]] {
        assert!(told("coordinator:etcd-secret", deed).contains("permission denied"), "{deed:?}");
    }
    assert!(told("coordinator:guessed", &["get", "/farm/leader"]).contains("authentication failed"));
    let stranger = coordinator(farm.folder.path(), &farm.nats, etcd, "guessed");
    let began = Instant::now();
    while !stranger.said().contains("authentication failed") {
        assert!(began.elapsed() < PATIENCE, "{}", stranger.said());
        std::thread::yield_now();
    }
}

#[test]
fn a_program_says_whether_the_one_that_runs_is_ready() {
    let Some(mut farm) = Farm::start() else { return };
    let config = farm.folder.path().join("worker-0.toml");
    let check = || Command::new(build::program("worker")).arg("--config").arg(&config).arg("--check").output().unwrap();
    let ready = check();
    assert_eq!((ready.status.code(), &*ready.stdout), (Some(0), &b"ready\n"[..]));
    farm.nats.kill();
    let began = Instant::now();
    while check().status.success() {
        assert!(began.elapsed() < PATIENCE);
    }
    let lacks = check();
    assert_eq!(lacks.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&lacks.stdout).starts_with("nats: "), "{lacks:?}");
    farm.worker.kill();
    assert_eq!(check().status.code(), Some(1));
}
