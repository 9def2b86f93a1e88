//! Certificates for tests, made by `openssl`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::program;

/// What all of them have in common; they are good for two days.
const NEW: &str = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";

/// An authority, with its files and those of the certificates that it signs in one folder: `NAME.pem` and `NAME.key`.
#[derive(Debug)]
pub struct Authority {
    folder: PathBuf,
    name: String,
}

impl Authority {
    /// Makes one. `None` if `openssl` is not installed.
    ///
    /// # Panics
    /// If `openssl` can't do it.
    pub fn new(folder: &Path, name: &str) -> Option<Self> {
        program("openssl")?;
        let authority = Self { folder: folder.to_owned(), name: name.to_owned() };
        authority.openssl(&format!(
            "{NEW} -keyout {name}.key -out {name}.pem -subj /CN={name} -addext keyUsage=keyCertSign"
        ));
        Some(authority)
    }

    /// Makes a certificate for a server on this host, or a client, with `name` as its DNS name.
    ///
    /// # Panics
    /// If `openssl` can't do it.
    pub fn issue(&self, name: &str) {
        let host = format!("-addext subjectAltName=IP:127.0.0.1,DNS:{name}");
        let usage = "-addext basicConstraints=CA:FALSE -addext extendedKeyUsage=serverAuth,clientAuth";
        let signed = format!("-CA {0}.pem -CAkey {0}.key", self.name);
        self.openssl(&format!("{NEW} -keyout {name}.key -out {name}.pem -subj /CN={name} {host} {usage} {signed}"));
    }

    /// The file with the certificate of `name`, or its own.
    pub fn pem(&self, name: &str) -> PathBuf {
        self.folder.join(name).with_extension("pem")
    }

    /// The file with the private key of `name`.
    pub fn key(&self, name: &str) -> PathBuf {
        self.folder.join(name).with_extension("key")
    }

    fn openssl(&self, args: &str) {
        let mut openssl = Command::new("openssl");
        openssl.args(args.split_whitespace()).current_dir(&self.folder).stderr(Stdio::null());
        let status = openssl.status().expect("openssl should start");
        assert!(status.success(), "openssl {args}");
    }
}
