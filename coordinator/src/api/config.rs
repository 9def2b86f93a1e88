//! What the API is told at start: one table of the coordinator's configuration.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shared::storage::StorageConfig;
use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};

use super::auth::{Callers, CertificateConfig, KeyConfig};
use super::places::PlacesConfig;
use super::profiles::Shelf;
use crate::archive::Archive;

/// How the control API is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiConfig {
    /// Address and port. Beyond the loopback interface only with keys or certificates.
    pub listen: SocketAddr,
    /// Who may call, by API key. None, and no certificates: everybody on this host may do everything.
    pub keys: Vec<KeyConfig>,
    /// Who may call, by client certificate; needs `tls.client_ca`.
    pub certificates: Vec<CertificateConfig>,
    /// DNS names in the certificates of other coordinators, which may ask on behalf of those that certificates stand for.
    pub peers: Vec<String>,
    /// TLS; none: plain HTTP/2.
    pub tls: Option<TlsConfig>,
    /// Folder of profiles besides the built-in ones, `NAME.toml` each.
    pub profile_dir: Option<PathBuf>,
    /// How long the parts of a failed job are kept for `RetryJob`, in seconds; after that it starts over.
    pub keep_failed_seconds: u64,
    /// How long a job stays in lists, events and the farm's state after its end, in seconds; then it is put away below
    /// `places.work`, and answers whoever knows its id. 0: for ever.
    pub keep_finished_seconds: u64,
    /// How long jobs that were put away are kept, in days. 0: until somebody else removes them, such as a rule of the bucket.
    pub archive_days: u32,
    /// Jobs of one tenant that may be under way; more are refused.
    pub max_unfinished_jobs: usize,
    /// Probes of one tenant at once; more are refused.
    pub max_probes: usize,
    /// Streams (`WatchJob`, `Subscribe`) of one tenant that a coordinator serves at once; more are refused. All tenants
    /// together get 4096.
    pub max_streams: usize,
    /// Where sources and presentations may be.
    pub places: PlacesConfig,
}

/// Files in PEM, read once at start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The server's certificate, with those between it and its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authority of client certificates, and of other coordinators; none: clients need no certificate, and those of
    /// other coordinators should be of an authority known to browsers.
    pub client_ca: Option<PathBuf>,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7600)),
            keys: Vec::new(),
            certificates: Vec::new(),
            peers: Vec::new(),
            tls: None,
            profile_dir: None,
            keep_failed_seconds: 3_600,
            keep_finished_seconds: 3 * 24 * 3_600,
            archive_days: 30,
            max_unfinished_jobs: 10_000,
            max_probes: 32,
            max_streams: 1_024,
            places: PlacesConfig::default(),
        }
    }
}

impl ApiConfig {
    /// Reads a file that holds nothing else.
    ///
    /// # Errors
    /// What is wrong and where.
    pub fn from_toml(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())
    }

    /// Reads a file that holds nothing else but, perhaps, the table `name` of somebody else.
    ///
    /// # Errors
    /// What is wrong; and where, without that table.
    pub fn from_toml_beside<T: DeserializeOwned + Default>(text: &str, name: &str) -> Result<(Self, T), String> {
        let told = |error: toml::de::Error| error.to_string().trim_end().to_owned();
        let mut table: toml::Table = toml::from_str(text).map_err(told)?;
        let Some(theirs) = table.remove(name) else { return Ok((Self::from_toml(text)?, T::default())) };
        let theirs = theirs.try_into().map_err(|error| format!("{name}: {}", told(error)))?;
        Ok((table.try_into().map_err(told)?, theirs))
    }

    /// Where jobs are put away that ended long ago; `None`: nowhere.
    pub fn archive(&self, storage: &StorageConfig) -> Option<Archive> {
        let place = self.places.work("archive");
        let wanted = self.keep_finished_seconds > 0 && !self.places.work.is_empty();
        wanted.then(|| Archive {
            place,
            keep_finished_ms: self.keep_finished_seconds.saturating_mul(1000),
            days: self.archive_days,
            storage: storage.clone(),
        })
    }

    /// Everything that is wrong with the files that it names.
    pub fn file_complaints(&self) -> Vec<String> {
        let profiles = Shelf::open(self.profile_dir.as_deref()).err().unwrap_or_default();
        let tls = self.tls.as_ref().and_then(|tls| tls.read().err());
        profiles.into_iter().chain(tls).collect()
    }

    /// Who may call. The error lists everything that is wrong with the configuration.
    pub fn callers(&self) -> Result<Callers, Vec<String>> {
        let (callers, mut complaints) = match Callers::new(&self.keys, &self.certificates, &self.peers) {
            Ok(callers) => (callers, Vec::new()),
            Err(complaints) => (Callers::default(), complaints),
        };
        let by_certificate = !self.certificates.is_empty() || !self.peers.is_empty();
        if by_certificate && self.tls.as_ref().is_none_or(|tls| tls.client_ca.is_none()) {
            complaints.push("certificates: they need tls.client_ca, which vouches for them".to_owned());
        }
        if self.keys.is_empty() && self.certificates.is_empty() && !self.listen.ip().is_loopback() {
            let listen = self.listen;
            complaints.push(format!("listen: {listen} is open to others: configure keys, or listen on 127.0.0.1"));
        }
        if complaints.is_empty() { Ok(callers) } else { Err(complaints) }
    }
}

impl TlsConfig {
    /// For serving, and for talking to other coordinators.
    ///
    /// # Errors
    /// The file that can't be read.
    pub fn read(&self) -> Result<(ServerTlsConfig, ClientTlsConfig), String> {
        let read = |path: &PathBuf| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
        let identity = Identity::from_pem(read(&self.certificate)?, read(&self.key)?);
        let server = ServerTlsConfig::new().identity(identity.clone());
        let client = ClientTlsConfig::new().identity(identity);
        let Some(authority) = &self.client_ca else { return Ok((server, client.with_webpki_roots())) };
        let authority = Certificate::from_pem(read(authority)?);
        // Optional: a key does as well.
        let server = server.client_ca_root(authority.clone()).client_auth_optional(true);
        Ok((server, client.ca_certificate(authority)))
    }
}
