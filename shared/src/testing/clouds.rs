//! Stand-ins for the object stores of Google and Microsoft.
//!
//! Azure's is Azurite, which is Microsoft's own. Google has none, and those of others answer the JSON API, while
//! object_store speaks the XML API, which is S3's protocol in other words: a PUT gets `invalid uploadType` from
//! fake-gcs-server 1.54, and gcp-storage-emulator 2026.7 has no XML listing, parts or DELETE. So it is SeaweedFS, to which
//! the words are [translated](Proxy::translate). That can't show who is let in, nor what Google says to what is wrong.

use std::process::Command;

use super::proxy::Proxy;
use super::s3::{OPEN_BUCKET, S3Server};
use super::{Server, free_port};
use crate::storage::StorageConfig;

/// The container of [`Cloud::Azure`].
pub const CONTAINER: &str = "media";

/// Azurite's account, which everybody knows.
const ACCOUNT: &str = "devstoreaccount1";
/// Of [`ACCOUNT`].
const ACCOUNT_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// What begins so in a request to Google, and what SeaweedFS understands.
const WORDS: &[(&str, &str)] = &[
    ("x-goog-if-generation-match: 0", "If-None-Match: *"), // only if there is none yet
    ("authorization: bearer", "X-Nobody: asks"),
];

/// Whose object store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cloud {
    /// Google Cloud Storage.
    Google,
    /// Azure Blob Storage.
    Azure,
}

/// A store with one bucket or container.
#[derive(Debug)]
pub struct CloudServer {
    cloud: Cloud,
    settings: Vec<(&'static str, String)>,
    _servers: (Option<Server>, Option<S3Server>),
}

impl CloudServer {
    /// Starts it. `None` if it is not installed.
    ///
    /// # Panics
    /// If it does not get ready in time.
    pub fn start(cloud: Cloud) -> Option<Self> {
        match cloud {
            Cloud::Google => Self::google(),
            Cloud::Azure => Self::azure(),
        }
    }

    fn google() -> Option<Self> {
        let mut s3 = S3Server::start()?;
        let proxy = Proxy::start();
        proxy.lead_to(s3.server().port());
        proxy.translate(WORDS);
        let key = format!(
            r#"{{"gcs_base_url":"http://127.0.0.1:{}","disable_oauth":true,"client_email":"","private_key":"","private_key_id":""}}"#,
            proxy.port()
        );
        let settings = vec![("GOOGLE_SERVICE_ACCOUNT_KEY", key)];
        Some(Self { cloud: Cloud::Google, settings, _servers: (None, Some(s3)) })
    }

    fn azure() -> Option<Self> {
        let port = free_port();
        let azurite = Server::start("azurite-blob", port, |folder| {
            let port = port.to_string();
            let args = ["--blobHost", "127.0.0.1", "--blobPort", &port, "--location", &folder.display().to_string()]
                .map(str::to_owned);
            args.into_iter().chain(["--silent".into(), "--disableTelemetry".into()]).collect()
        })?;
        let made = Command::new("node")
            .args(["-e", include_str!("make_container.js"), "--"])
            .args([&port.to_string(), ACCOUNT, ACCOUNT_KEY, CONTAINER])
            .status();
        assert!(made.expect("what azurite runs on should be there").success(), "the container can't be made");
        let settings = vec![
            ("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT.to_owned()),
            ("AZURE_STORAGE_ACCOUNT_KEY", ACCOUNT_KEY.to_owned()),
            ("AZURE_STORAGE_ENDPOINT", format!("http://127.0.0.1:{port}/{ACCOUNT}")),
        ];
        Some(Self { cloud: Cloud::Azure, settings, _servers: (Some(azurite), None) })
    }

    /// The URI of what has this name there.
    pub fn uri(&self, name: &str) -> String {
        match self.cloud {
            Cloud::Google => format!("gs://{OPEN_BUCKET}/{name}"),
            Cloud::Azure => format!("az://{CONTAINER}/{name}"),
        }
    }

    /// By which programs find it, if they may use `http:`.
    pub fn environment(&self) -> &[(&'static str, String)] {
        &self.settings
    }

    /// The same for this program.
    pub fn config(&self) -> StorageConfig {
        let config = StorageConfig { allow_http: true, ..StorageConfig::default() };
        self.settings.iter().fold(config, |config, (name, value)| config.with(&name.to_ascii_lowercase(), value))
    }
}
