//! The farm that is watched: two coordinators, three workers of which one has a GPU, NATS, etcd, SeaweedFS behind a network
//! that can be bad, and Prometheus.

use std::cell::{RefCell, RefMut};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use card::variable;
use shared::testing::proxy::Proxy;
use shared::testing::s3::BUCKET;
use tempfile::TempDir;

use crate::collector::Collector;
use crate::files;
use crate::load::{Load, SHORT_SOURCE, profile, spec};
use crate::panels::{self, Query};
use crate::prometheus::{self, Prometheus, Since};
use crate::scene::{PATIENCE, PAUSE};
use crate::support::cluster::client::Client;
use crate::support::cluster::{Cluster, Host, Parts, Program, Settings, build};
use crate::support::processes::children;

/// The worker with the GPU; the others have none.
pub const GPU_WORKER: usize = 0;
/// Whose slots can be broken.
pub const BREAKABLE: usize = 2;
/// Whose certificate can be near its end.
pub const CERTIFIED: usize = 1;
const WORKERS: usize = 3;
/// Below this the store lets nobody read.
pub const FORBIDDEN: &str = "forbidden/";
/// Of the scratch disk that can be filled.
pub const ROOM_BYTES: usize = 32 << 20;
/// The GPU that is played: it encodes H.264 and HEVC, and no AV1.
pub const CARD: &str = "t4";
/// Its clocks are held back by nothing but the power limit.
pub const COOL: &str = "throttled=4";
/// How long a request to the object store is made again: short, as the times of alerts are.
const RETRIES_MS: u32 = 1_000;
/// Of certificates that are good for long, in days.
const LONG: u32 = 400;

/// What scenes are played on. Several may be at once: each changes what is its own.
pub struct Stage {
    cluster: RefCell<Cluster>,
    pub client: Client,
    /// In front of the object store.
    pub proxy: Proxy,
    pub prometheus: Prometheus,
    pub load: Load,
    /// Of the committed dashboards.
    pub queries: Vec<Query>,
    /// When everybody had been seen.
    pub began: Since,
    /// Switches of slots, the libraries of the card, certificates.
    props: TempDir,
    /// Takes the spans of all programs.
    _collector: Collector,
}

impl Stage {
    /// Starts all of it; `None` if a server is not installed.
    pub async fn set() -> Option<Self> {
        let props = tempfile::tempdir().unwrap();
        if crate::inside() {
            fs::create_dir(props.path().join("scratch")).unwrap();
            crate::mount(&props.path().join("scratch"), &ROOM_BYTES.to_string());
        }
        card::folder(props.path(), &card::folder::built().unwrap(), &LIBRARIES).unwrap();
        certify(props.path(), LONG);
        let (proxy, collector) = (Proxy::start(), Collector::start().await);
        let mut cluster = parts(&proxy, &collector, props.path()).start()?;
        proxy.lead_to(cluster.s3.as_mut()?.server().port());
        proxy.forbid(FORBIDDEN);
        let targets = BTreeMap::from([
            ("farm-coordinator", cluster.coordinators.iter().map(|program| program.pages).collect()),
            ("farm-worker", cluster.workers.iter().map(|program| program.pages).collect()),
            ("farm-etcd", cluster.etcd.iter().map(|member| member.port()).collect::<Vec<u16>>()),
        ]);
        let prometheus = Prometheus::start(&targets, &files::emptied(prometheus::FOLDER))?;
        let (began, client, load) = (prometheus.begin(), cluster.client(), Load::start(&cluster).await);
        let (cluster, queries, _collector) = (RefCell::new(cluster), panels::all(), collector);
        Some(Self { cluster, client, proxy, prometheus, load, queries, began, props, _collector })
    }

    /// All processes, for a moment: nobody else has them until this is dropped.
    pub fn cluster(&self) -> RefMut<'_, Cluster> {
        self.cluster.borrow_mut()
    }

    /// Faults of the GPU from the next attempt on, as `card::fault` writes them.
    pub fn break_gpu(&self, faults: &str) {
        fs::write(self.props.path().join("faults"), faults).unwrap();
    }

    /// The worker with the GPU begins anew, with this card and a driver that tells of these faults of it.
    pub async fn restart_gpu_worker(&self, card: &str, faults: &str) {
        self.restart(GPU_WORKER, &[(variable::CARD, card), (variable::FAULTS, faults)]).await;
    }

    /// A worker ends what it does and begins anew, with these variables in its environment.
    async fn restart(&self, worker: usize, environment: &[(&'static str, &str)]) {
        self.cluster().workers[worker].ask_to_end();
        until("a worker ends", || self.cluster().workers[worker].has_ended()).await;
        for (variable, value) in environment {
            self.cluster().workers[worker].set(variable, value);
        }
        self.cluster().workers[worker].restart();
        until("a worker is ready", || self.cluster().workers[worker].is_ready()).await;
    }

    /// Slots of a worker end at once, or work again.
    pub fn break_slots(&self, broken: bool) {
        let switch = self.props.path().join("broken");
        if broken { fs::write(switch, "").unwrap() } else { fs::remove_file(switch).unwrap() }
    }

    /// A certificate of a worker is good for so many days, and the worker starts again with it.
    pub async fn certify(&self, days: u32) {
        certify(self.props.path(), days);
        self.restart(CERTIFIED, &[]).await;
    }

    /// The one that was made at first.
    pub async fn certify_for_long(&self) {
        self.certify(LONG).await;
    }

    /// The scratch disk of a worker which is so small that it can be filled; `None`: nothing may be mounted here.
    pub fn scratch(&self) -> Option<PathBuf> {
        crate::inside().then(|| self.props.path().join("scratch"))
    }

    /// The URI of a copy of a source that slots open as a file of this host, under a name that tells them.
    pub fn copy(&self, source: &str, name: &str) -> String {
        let file = self.props.path().join(format!("{name}.mp4"));
        fs::copy(self.cluster().folder.path().join(source), &file).unwrap();
        format!("file:{}", file.display())
    }

    /// Slots that have a file open with this in its name.
    pub fn readers(&self, name: &str) -> Vec<u32> {
        let workers: Vec<u32> = self.cluster().workers.iter().map(Program::pid).collect();
        readers(&workers, name)
    }

    /// Asks for a job that is hardly any work.
    pub async fn submit_short(&self, name: &str) -> String {
        self.submit(SHORT_SOURCE, name).await
    }

    /// Asks for a job of what has this name in the farm's storage.
    pub async fn submit(&self, source: &str, name: &str) -> String {
        let source = self.cluster().uri(source);
        let target = self.uri_out(name);
        self.client.submit(name, spec(source, target, profile("h264", "superfast"))).await
    }

    /// Where a job of this name is to leave what it makes.
    pub fn uri_out(&self, name: &str) -> String {
        self.cluster().uri(&format!("out/{name}"))
    }

    /// What `farm ARGS` says, asked again until a coordinator answers.
    pub async fn farm(&self, args: &[&str]) -> String {
        let apis: Vec<u16> = self.cluster().coordinators.iter().map(|program| program.api).collect();
        let began = Instant::now();
        for api in apis.iter().cycle() {
            let mut farm = Command::new(env!("CARGO_BIN_EXE_farm"));
            farm.args(args).args(["--server", &format!("http://127.0.0.1:{api}")]).env_remove("RUST_LOG");
            let said = tokio::task::spawn_blocking(move || farm.output().unwrap()).await.unwrap();
            if said.status.success() {
                return String::from_utf8(said.stdout).unwrap();
            }
            let complaint = String::from_utf8_lossy(&said.stderr);
            assert!(began.elapsed() < PATIENCE, "farm {args:?}: {complaint}");
            tokio::time::sleep(PAUSE).await;
        }
        unreachable!("there are coordinators")
    }
}

/// Slots of these workers that have a file open with this in its name.
pub fn readers(workers: &[u32], name: &str) -> Vec<u32> {
    let reads = |slot: &u32| {
        let files = fs::read_dir(format!("/proc/{slot}/fd")).into_iter().flatten().flatten();
        files.filter_map(|file| fs::read_link(file.path()).ok()).any(|file| file.to_string_lossy().contains(name))
    };
    workers.iter().flat_map(|worker| children(*worker)).filter(reads).collect()
}

/// Sends a signal to a process that may be dead already.
pub fn send(process: u32, signal: &str) {
    let mut kill = Command::new("kill");
    kill.args([&format!("-{signal}"), &process.to_string()]).stderr(Stdio::null());
    kill.status().expect("kill should be installed");
}

/// Waits until something is so.
async fn until(what: &str, so: impl Fn() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < PATIENCE, "it takes too long until {what}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Of the driver.
const LIBRARIES: [card::Library; 4] =
    [card::Library::Cuda, card::Library::Cuvid, card::Library::Encode, card::Library::Ml];

fn parts(proxy: &Proxy, collector: &Collector, props: &Path) -> Parts {
    let endpoint = format!("\"http://127.0.0.1:{}\"", proxy.port());
    let certificate = toml(&props.join("lasting.pem"));
    let sources = format!("[\"s3://{BUCKET}/\", \"file:{}/\"]", props.display());
    let coordinator_settings = Settings::from([
        ("api.places.sources", sources),
        // As they are by default: a server that is only slow costs nobody the lead.
        ("etcd.lease_s", "5".to_owned()),
        ("etcd.request_timeout_ms", "1500".to_owned()),
        ("storage.s3_endpoint", endpoint.clone()),
        ("storage.retry_timeout_ms", RETRIES_MS.to_string()),
        ("nats.tls_roots", certificate.clone()),
        ("telemetry.otlp_endpoint", collector.endpoint()),
    ]);
    let worker_settings = Settings::from([
        ("worker.storage.s3_endpoint", endpoint),
        ("worker.storage.retry_timeout_ms", RETRIES_MS.to_string()),
        ("nats.tls_roots", certificate),
        ("telemetry.otlp_endpoint", collector.endpoint()),
    ]);
    let hosts = BTreeMap::from([
        (GPU_WORKER, gpu_host(props)),
        (
            CERTIFIED,
            Host { settings: Settings::from([("nats.tls_roots", toml(&props.join("short.pem")))]), ..Host::default() },
        ),
        (BREAKABLE, breakable_host(props)),
    ]);
    Parts { workers: WORKERS, s3: true, coordinator_settings, worker_settings, hosts, ..Parts::default() }
}

/// With a card and its driver, which a file can make fail.
fn gpu_host(props: &Path) -> Host {
    let played = [
        ("LD_LIBRARY_PATH", props.display().to_string()),
        (variable::CARD, CARD.to_owned()),
        (variable::VIOLATIONS, props.join("violations").display().to_string()),
    ];
    let variables: String = played.iter().map(|(name, value)| format!("export {name}='{value}'\n")).collect();
    let faults = format!("if [ -e faults ]; then export {}=\"$(cat faults)\"; fi", variable::FAULTS);
    let mut settings = slots(props, "gpu", &format!("{variables}{faults}"));
    // So that each attempt meets the faults of its time.
    settings.insert("worker.slot_tasks", "1".to_owned());
    settings.insert("worker.gpu.slots_per_device", "1".to_owned());
    let environment = played.into_iter().chain([(variable::FAULTS, COOL.to_owned())]).collect();
    Host { settings, environment, ..Host::default() }
}

/// With slots that a file makes end at once, and a scratch disk that can be filled.
fn breakable_host(props: &Path) -> Host {
    let mut settings = slots(props, "breakable", "if [ -e broken ]; then exit 70; fi");
    settings.insert("worker.slot_tasks", "1".to_owned());
    if crate::inside() {
        settings.insert("worker.scratch", toml(&props.join("scratch")));
    }
    Host { settings, ..Host::default() }
}

/// Settings of a worker whose slots begin with a few lines of shell, in the folder of the props.
fn slots(props: &Path, name: &str, lines: &str) -> Settings {
    let script = props.join(name);
    let worker = build::program("worker");
    fs::write(&script, format!("cd {}\n{lines}\ncd /\nexec {} slot\n", props.display(), worker.display())).unwrap();
    Settings::from([
        ("worker.slot_program.path", "\"/bin/sh\"".to_owned()),
        ("worker.slot_program.args", format!("[{}]", toml(&script))),
    ])
}

fn toml(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}

/// Makes the certificate that ends first, or both where `days` are many.
fn certify(props: &Path, days: u32) {
    for name in ["lasting", "short"].into_iter().filter(|name| days == LONG || *name == "short") {
        let subject = ["-subj", "/CN=observe", "-addext", "subjectAltName=DNS:observe"];
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
        openssl.args(subject).args(["-days", &days.to_string(), "-keyout", "/dev/null", "-out"]);
        run_quietly(openssl.arg(props.join(name).with_extension("pem")));
    }
}

/// A tool that says much and must succeed.
fn run_quietly(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
