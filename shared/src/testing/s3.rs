//! A real S3 server (SeaweedFS) with three buckets.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{Server, ask, free_port};
use crate::storage::StorageConfig;

/// The bucket that [`S3Server::config`] may use.
pub const BUCKET: &str = "media";
/// A bucket that it may not.
pub const CLOSED_BUCKET: &str = "closed";
/// The bucket that anybody may use who signs nothing.
pub const OPEN_BUCKET: &str = "open";

/// How long the parts of the server may take to find each other.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// Who may do what. Nobody may make buckets.
const IDENTITIES: &str = r#"{"identities":[
  {"name":"farm","credentials":[{"accessKey":"farm-key","secretKey":"farm-secret"}],
   "actions":["Read:media","Write:media","List:media","Tagging:media"]},
  {"name":"owner","credentials":[{"accessKey":"owner-key","secretKey":"owner-secret"}],
   "actions":["Admin","Read","Write","List","Tagging"]},
  {"name":"anonymous","actions":["Read:open","Write:open","List:open","Tagging:open"]}
]}"#;

/// SeaweedFS with its S3 gateway.
#[derive(Debug)]
pub struct S3Server {
    server: Server,
    filer_port: u16,
}

impl S3Server {
    /// Starts it and makes the buckets. `None` if it is not installed.
    ///
    /// # Panics
    /// If it does not get ready in time.
    pub fn start() -> Option<Self> {
        let (s3_port, filer_port) = (free_port(), free_port());
        let server = Server::start("weed", s3_port, |folder| arguments(folder, s3_port, filer_port))?;
        let server = Self { server, filer_port };
        for bucket in [BUCKET, CLOSED_BUCKET, OPEN_BUCKET] {
            server.make_bucket(bucket);
        }
        Some(server)
    }

    /// The settings of somebody who may read and write [`BUCKET`], and nothing else.
    pub fn config(&self) -> StorageConfig {
        let endpoint = format!("http://127.0.0.1:{}", self.server.port());
        let config = StorageConfig { s3_endpoint: endpoint, allow_http: true, ..StorageConfig::default() };
        config.with_s3_key("farm-key", "farm-secret")
    }

    /// The process.
    pub fn server(&mut self) -> &mut Server {
        &mut self.server
    }

    /// A bucket is a folder of the filer, which asks nobody for a key.
    fn make_bucket(&self, name: &str) {
        let request =
            format!("POST /buckets/{name}/ HTTP/1.1\r\nHost: filer\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        let began = Instant::now();
        loop {
            let answer = ask(self.filer_port, &request);
            if answer.starts_with("HTTP/1.1 2") {
                return;
            }
            assert!(began.elapsed() < READY_TIMEOUT, "bucket {name}: {answer}");
            super::pause();
        }
    }
}

/// Every port has a name, as the default ones collide with other programs.
fn arguments(folder: &Path, s3_port: u16, filer_port: u16) -> Vec<String> {
    let identities = folder.join("s3.json");
    std::fs::write(&identities, IDENTITIES).expect("the server's folder should be writable");
    let mut args = vec![
        "server".to_owned(),
        "-ip=127.0.0.1".to_owned(),
        "-ip.bind=127.0.0.1".to_owned(),
        format!("-dir={}", folder.display()),
        "-s3".to_owned(),
        format!("-s3.config={}", identities.display()),
        format!("-s3.port={s3_port}"),
        format!("-filer.port={filer_port}"),
        "-s3.port.iceberg=0".to_owned(),
        "-s3.port.lance=0".to_owned(),
        "-iam=false".to_owned(),
        "-master.volumeSizeLimitMB=64".to_owned(),
        "-volume.max=20".to_owned(),
    ];
    for port in
        ["master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port.grpc", "s3.port.grpc"]
    {
        args.push(format!("-{port}={}", free_port()));
    }
    args
}
