//! What no log says at `debug` and no span: passwords, keys, and what makes a URL one.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use proto::v1;
use proto::v1::job_service_client::JobServiceClient;
use sha2::{Digest, Sha256};
use shared::storage::Storage;
use shared::testing::s3::{BUCKET, S3Server};
use shared::testing::{Server, free_port, servers};
use tempfile::TempDir;
use tonic::Request;
use tonic::transport::Channel;

#[path = "support/collector.rs"]
#[expect(dead_code, reason = "each test binary uses a part of it")]
mod collector;
#[allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]
mod support;

use collector::Collector;
use support::cluster::{Program, Settings, build};
use support::{clip, folder};

const PATIENCE: Duration = Duration::from_secs(60);

const NATS_PASSWORD: &str = "hush-nats";
const ETCD_PASSWORD: &str = "hush-etcd";
const API_KEY: &str = "hush-api-key";
const SIGNATURE: &str = "hush-signature";
const OTLP_TOKEN: &str = "hush-otlp";
/// The one that [`S3Server`] knows.
const S3_SECRET: &str = "farm-secret";
const SECRETS: [&str; 6] = [NATS_PASSWORD, ETCD_PASSWORD, API_KEY, SIGNATURE, OTLP_TOKEN, S3_SECRET];

/// A farm that is given every secret there is, and a store that asks for keys.
struct Farm {
    coordinator: Program,
    worker: Program,
    nats: Server,
    _etcd: Server,
    s3: S3Server,
    collector: Collector,
    folder: TempDir,
}

impl Farm {
    /// `None` if something is not installed.
    async fn start() -> Option<Self> {
        build::build();
        let (nats, etcd, s3) = (nats()?, servers::etcd(1)?.pop()?, S3Server::start()?);
        lock(&etcd).await;
        let (collector, folder) = (Collector::start().await, folder());
        let key: String = shared::hex::encode(&Sha256::digest(API_KEY));
        let [pages, api, worker_pages] = [free_port(), free_port(), free_port()];
        let storage = format!(
            "{{ s3_endpoint = {:?}, allow_http = true, web_allow_private = true, retries = 1 }}",
            s3.config().s3_endpoint
        );
        let both = Settings::from([
            ("log.level", "\"debug\"".to_owned()),
            ("telemetry.otlp_endpoint", collector.endpoint()),
            ("nats.urls", format!("[\"nats://127.0.0.1:{}\"]", nats.port())),
        ]);
        let coordinator = Settings::from([
            ("http_listen", format!("\"127.0.0.1:{pages}\"")),
            ("api.listen", format!("\"127.0.0.1:{api}\"")),
            ("api.keys", format!("[{{ sha256 = {key:?}, tenant = \"t\", scopes = [\"submit\", \"read\"] }}]")),
            ("api.places.sources", format!("[\"https:\", \"s3://{BUCKET}/\"]")),
            ("api.places.targets", format!("[\"s3://{BUCKET}/\", \"s3://no-such-bucket/\"]")),
            ("api.places.work", format!("\"s3://{BUCKET}/work\"")),
            ("etcd.endpoints", format!("[\"http://127.0.0.1:{}\"]", etcd.port())),
            ("etcd.user", "\"root\"".to_owned()),
            ("storage", storage.clone()),
        ]);
        let worker = Settings::from([
            ("http_listen", format!("\"127.0.0.1:{worker_pages}\"")),
            ("worker.slots", "1".to_owned()),
            ("worker.storage", storage),
            ("worker.scratch", format!("{:?}", folder.path().join("scratch"))),
        ]);
        let environment = [
            ("FARM_NATS_USER", "farm"),
            ("FARM_NATS_PASSWORD", NATS_PASSWORD),
            ("FARM_ETCD_PASSWORD", ETCD_PASSWORD),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20hush-otlp"),
            ("AWS_ACCESS_KEY_ID", "farm-key"),
            ("AWS_SECRET_ACCESS_KEY", S3_SECRET),
        ];
        let start = |name, ports, own: Settings| {
            let settings = own.into_iter().chain(both.clone()).collect();
            Program::start(folder.path(), [name, "0"], ports, &settings, &environment)
        };
        let coordinator = start("coordinator", [pages, api], coordinator);
        let worker = start("worker", [worker_pages, 0], worker);
        [&coordinator, &worker].into_iter().for_each(Program::wait_until_ready);
        Some(Self { coordinator, worker, nats, _etcd: etcd, s3, collector, folder })
    }

    /// Asks for a job.
    async fn submit(&self, source: &str, target: &str) {
        let channel = Channel::from_shared(format!("http://127.0.0.1:{}", self.coordinator.api)).unwrap();
        let profile = Some(v1::job_spec::Profile::ProfileName("web-3".into()));
        let spec = v1::JobSpec { source: source.into(), target: target.into(), profile, ..Default::default() };
        let mut request = Request::new(v1::CreateJobRequest { request_id: String::new(), spec: Some(spec) });
        request.metadata_mut().insert("authorization", format!("Bearer {API_KEY}").parse().unwrap());
        JobServiceClient::new(channel.connect().await.unwrap()).create_job(request).await.unwrap();
    }

    /// Waits until one of the programs has said all these words in one line.
    async fn said(&self, words: &[&str]) {
        let began = Instant::now();
        let line = |line: &str| words.iter().all(|word| line.contains(word));
        while ![&self.coordinator, &self.worker].iter().any(|program| program.said().lines().any(line)) {
            assert!(began.elapsed() < PATIENCE, "nobody says {words:?}\n{}", self.worker.said());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// `farm ARGS` against it, with the key in its environment.
    fn asked(&self, args: &[&str]) -> String {
        let server = format!("http://127.0.0.1:{}", self.coordinator.api);
        let mut command = Command::new(env!("CARGO_BIN_EXE_farm"));
        command.args(args).args(["--server", &server, "--log-level", "debug"]).env("FARM_KEY", API_KEY);
        let output = command.env_remove("RUST_LOG").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stderr).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_and_spans_hold_no_secret() {
    let Some(mut farm) = Farm::start().await else { return };
    let (source, target) = (format!("s3://{BUCKET}/clip.mp4"), format!("s3://{BUCKET}/made"));
    let content = std::fs::read(clip("odd_size_321x241.mp4")).unwrap();
    let storage = Storage::open(&format!("s3://{BUCKET}/"), &farm.s3.config()).unwrap();
    storage.put("clip.mp4", content.into()).await.unwrap();
    farm.submit(&source, &target).await;
    farm.said(&["job settled", "completed"]).await;
    farm.submit(&source, "s3://no-such-bucket/made").await;
    farm.said(&["became=\"failed\""]).await;
    // Nobody listens there.
    let signed = format!("https://127.0.0.1:{}/clip.mp4?X-Amz-Signature={SIGNATURE}", free_port());
    farm.submit(&signed, &format!("s3://{BUCKET}/other")).await;
    farm.said(&["attempt failed", "source_unavailable"]).await;
    // Everybody says what they lost, and whom they look for again.
    farm.nats.kill();
    let began = Instant::now();
    while farm.worker.get("/readyz").starts_with("HTTP/1.1 200") {
        assert!(began.elapsed() < PATIENCE, "nobody misses the broker");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    farm.nats.restart();
    farm.worker.wait_until_ready();
    let asked = farm.asked(&["job", "list"]);
    for program in [&mut farm.worker, &mut farm.coordinator] {
        assert!(program.terminate().0.success(), "{}", program.said());
    }

    let files = ["coordinator-0.toml", "worker-0.toml"].map(|name| farm.folder.path().join(name));
    let printed = ["coordinator", "worker"].into_iter().zip(&files).map(|(name, file)| print_config(name, file));
    let spans = format!("{:?}", farm.collector.spans());
    let texts =
        [("coordinator", farm.coordinator.said()), ("worker", farm.worker.said()), ("farm", asked), ("spans", spans)];
    for (who, text) in texts.into_iter().chain(printed) {
        assert!(who == "farm" || text.len() > 1_000, "{who} says little: {text}");
        for secret in SECRETS {
            let line = text.lines().find(|line| line.contains(secret));
            assert!(line.is_none(), "{who} tells {secret}: {}", line.unwrap_or_default());
        }
    }
    let headers = farm.collector.headers();
    let token = headers[0].get("authorization").expect("the collector should get its header");
    assert_eq!(token, &format!("Bearer {OTLP_TOKEN}"));
}

/// What a program says its settings are.
fn print_config(name: &'static str, file: &Path) -> (&'static str, String) {
    let mut command = Command::new(build::program(name));
    let output =
        command.args(["--print-config", "--config"]).arg(file).env("FARM_ETCD_PASSWORD", ETCD_PASSWORD).output();
    (name, String::from_utf8(output.unwrap().stdout).unwrap())
}

/// A broker that asks for a password.
fn nats() -> Option<Server> {
    let port = free_port();
    Server::start("nats-server", port, |folder| {
        let settings = format!(
            "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: {:?}, sync_interval: always }}\n\
             authorization {{ user: farm, password: {NATS_PASSWORD:?} }}\n",
            folder.join("data"),
        );
        let file = folder.join("nats.conf");
        std::fs::write(&file, settings).unwrap();
        vec!["-c".to_owned(), file.display().to_string()]
    })
}

/// From now on etcd asks for a password.
async fn lock(etcd: &Server) {
    let mut client = etcd_client::Client::connect([format!("127.0.0.1:{}", etcd.port())], None).await.unwrap();
    client.user_add("root", ETCD_PASSWORD, None).await.unwrap();
    client.role_add("root").await.unwrap();
    client.user_grant_role("root", "root").await.unwrap();
    client.auth_enable().await.unwrap();
}
