//! The way to a farm: where it is, which key, and what its refusals mean for people and scripts.

use std::path::PathBuf;
use std::time::Duration;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use proto::v1;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;
use tracing::warn;

use crate::exit::{Exit, Failure};
use crate::progress::{print_json, print_text};

/// Where `farm serve` listens.
pub const DEFAULT_SERVER: &str = "http://127.0.0.1:7600";
const SERVER_VARIABLE: &str = "FARM_SERVER";
const KEY_VARIABLE: &str = "FARM_KEY";
const CONNECT: Duration = Duration::from_secs(5);
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Longest answer that is read: a page of whole jobs.
const LARGEST_ANSWER: usize = 16 << 20;

/// Which farm, and how to speak to it.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Server")]
pub struct Remote {
    /// The farm's API; FARM_SERVER if it is not given, else http://127.0.0.1:7600. The key, if it wants one, comes by
    /// FARM_KEY alone
    #[arg(long, value_name = "URI")]
    pub server: Option<String>,
    /// Certificate authority of an https: server, as PEM; the public ones if it is not given
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Client certificate, as PEM
    #[arg(long, value_name = "FILE", requires = "client_key")]
    client_cert: Option<PathBuf>,
    /// Its private key, as PEM
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    client_key: Option<PathBuf>,
    /// Print JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

/// Puts the key on every call.
#[derive(Clone)]
pub struct Key(Option<MetadataValue<Ascii>>);

impl Interceptor for Key {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// A connection that calls go over.
pub type Connection = InterceptedService<Channel, Key>;

impl Remote {
    /// Whether a server was named, by option or environment.
    pub fn is_named(&self) -> bool {
        self.server.is_some() || std::env::var_os(SERVER_VARIABLE).is_some()
    }

    fn address(&self) -> String {
        let named = self.server.clone().or_else(|| std::env::var_os(SERVER_VARIABLE)?.into_string().ok());
        let address = named.unwrap_or_else(|| DEFAULT_SERVER.to_owned());
        if address.contains("://") { address } else { format!("http://{address}") }
    }

    /// Connects.
    ///
    /// # Errors
    /// `server` if the address or the key is none, `unreachable` if nobody answers there.
    pub async fn connect(&self) -> Result<Connection, Failure> {
        let address = self.address();
        let wrong = |text: String| Failure::new(Exit::Usage, "server", text).help("give --server http://HOST:PORT");
        let mut endpoint = Endpoint::from_shared(address.clone())
            .map_err(|error| wrong(format!("{address:?}: {error}")))?
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(KEEP_ALIVE);
        if address.starts_with("https:") {
            endpoint = endpoint.tls_config(self.tls()?).map_err(|error| wrong(error.to_string()))?;
        }
        let key = std::env::var_os(KEY_VARIABLE).map(|key| {
            let header = key.to_str().map(|key| format!("Bearer {key}"));
            let header = header.and_then(|header| header.parse().ok());
            header.ok_or_else(|| wrong(format!("{KEY_VARIABLE} is no key: it has characters that none has")))
        });
        let key = Key(key.transpose()?);
        if key.0.is_some() && is_in_clear(&address) {
            warn!(
                variable = KEY_VARIABLE,
                address, "the key goes there unencrypted: anybody on the way can use it; give an https: server"
            );
        }
        let channel = endpoint.connect().await.map_err(|error| unreachable(&address, &chain(&error)))?;
        Ok(InterceptedService::new(channel, key))
    }

    fn tls(&self) -> Result<ClientTlsConfig, Failure> {
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|error| Failure::storage("tls", format!("{}: {error}", path.display())))
        };
        let mut tls = ClientTlsConfig::new();
        tls = match &self.ca {
            Some(ca) => tls.ca_certificate(Certificate::from_pem(read(ca)?)),
            None => tls.with_webpki_roots(),
        };
        if let (Some(certificate), Some(key)) = (&self.client_cert, &self.client_key) {
            tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
        }
        Ok(tls)
    }

    /// Prints an answer: as JSON if that is wanted, else as `text`.
    ///
    /// # Errors
    /// `stdout`.
    pub fn show(&self, name: &str, message: &impl Message, text: impl FnOnce() -> String) -> Result<(), Failure> {
        if !self.json {
            return print_text(&text());
        }
        print_json(&json(name, message)?);
        Ok(())
    }
}

/// A message of the control API as JSON, with the names of the `.proto` file.
///
/// # Errors
/// `internal` if there is no message of that name.
pub fn json(name: &str, message: &impl Message) -> Result<serde_json::Value, Failure> {
    let failed = |error: String| Failure::internal(format!("{name} as JSON: {error}"));
    let pool = DescriptorPool::decode(v1::CONTROL_DESCRIPTORS).map_err(|error| failed(error.to_string()))?;
    let kind = pool.get_message_by_name(&format!("farm.v1.{name}")).ok_or_else(|| failed("unknown".to_owned()))?;
    let bytes = message.encode_to_vec();
    let message = DynamicMessage::decode(kind, bytes.as_slice()).map_err(|error| failed(error.to_string()))?;
    let options =
        SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(false).skip_default_fields(false);
    message.serialize_with_options(serde_json::value::Serializer, &options).map_err(|error| failed(error.to_string()))
}

/// Clients with the limits of this program.
macro_rules! client {
    ($name:ident: $module:ident::$client:ident) => {
        /// A client of the service.
        pub fn $name(connection: Connection) -> v1::$module::$client<Connection> {
            v1::$module::$client::new(connection)
                .max_decoding_message_size(LARGEST_ANSWER)
                .accept_compressed(tonic::codec::CompressionEncoding::Gzip)
        }
    };
}
client!(jobs: job_service_client::JobServiceClient);
client!(fleet: fleet_service_client::FleetServiceClient);
client!(profiles: profile_service_client::ProfileServiceClient);

/// Whether what is sent there can be read on the way.
fn is_in_clear(address: &str) -> bool {
    let uri: Option<tonic::transport::Uri> = address.parse().ok();
    let host = uri.as_ref().and_then(|uri| uri.host()).unwrap_or_default();
    let ip: Option<std::net::IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    address.starts_with("http:") && host != "localhost" && !ip.is_some_and(|ip| ip.is_loopback())
}

fn unreachable(address: &str, why: &str) -> Failure {
    let help = if why.contains("peer certificate") {
        "name the authority that the server's certificate comes from with --ca"
    } else {
        "is the farm up? `farm serve` starts one; --server or FARM_SERVER says where it is"
    };
    Failure::new(Exit::Unreachable, "unreachable", format!("{address}: {why}")).help(help)
}

/// An error and what it comes from.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        // What has a cause on this side is no answer of the farm.
        if let Some(cause) = std::error::Error::source(&status) {
            return Self::new(Exit::Unreachable, "unreachable", format!("the connection broke: {}", chain(cause)))
                .help("does the farm speak https:, and is --client-cert of an authority that it trusts?");
        }
        let info = status.get_details_error_info();
        let code = info.map_or_else(|| format!("{:?}", status.code()), |info| info.reason).to_lowercase();
        let (exit, help) = match status.code() {
            Code::InvalidArgument => (Exit::Usage, "see the command's --help"),
            Code::Unauthenticated => {
                (Exit::Refused, "set FARM_KEY to the key you were given, or show a certificate with --client-cert")
            }
            Code::PermissionDenied => (Exit::Refused, "ask for a key with that scope"),
            Code::NotFound => (Exit::Refused, "`farm job list` and `farm worker list` say what there is"),
            Code::Unavailable | Code::DeadlineExceeded => (Exit::Unreachable, "try again in a moment"),
            Code::Internal | Code::Unknown | Code::DataLoss => (Exit::Internal, "see the farm's log"),
            _ => (Exit::Refused, ""),
        };
        let violations = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
        let lines = violations.iter().map(|wrong| format!("{}: {}", wrong.field, wrong.description));
        let text =
            if violations.is_empty() { status.message().to_owned() } else { lines.collect::<Vec<_>>().join("\n  ") };
        Failure::new(exit, &code, text).help(help)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_this_host_may_hear_a_key_in_clear() {
        for clear in ["http://farm.example:7600", "http://10.0.0.1:7600", "http://[fe80::1]:7600"] {
            assert!(super::is_in_clear(clear), "{clear}");
        }
        for fine in ["https://farm.example", "http://127.0.0.1:7600", "http://[::1]:7600", "http://localhost:7600"] {
            assert!(!super::is_in_clear(fine), "{fine}");
        }
    }
}
