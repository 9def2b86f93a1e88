//! Who calls, and what they may.
//!
//! A key's SHA-256 is in the configuration, never the key. A client certificate counts by its DNS names, which the
//! authority that is trusted has vouched for. Without either, everybody who can reach the API is [`Identity::local`]; then
//! it listens on the loopback interface only.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use shared::task::TenantId;
use tonic::Status;
use tonic::codegen::http::HeaderMap;
use tonic::transport::CertificateDer;

use super::{error, leader};

/// What a caller may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Make, change, call off and delete its tenant's jobs.
    Submit,
    /// See its tenant's jobs, profiles, and what a source is.
    Read,
    /// See and hold workers.
    Operate,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 3] = [Self::Submit, Self::Read, Self::Operate];
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Submit => "submit",
            Self::Read => "read",
            Self::Operate => "operate",
        })
    }
}

/// A tenant's API key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyConfig {
    /// SHA-256 of the key, as 64 hexadecimal digits: `printf %s KEY | sha256sum`.
    pub sha256: String,
    /// Whose it is: 1 to 64 of a-z, 0-9 and -.
    pub tenant: TenantId,
    /// What it is good for.
    pub scopes: BTreeSet<Scope>,
}

/// Whom a client certificate stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateConfig {
    /// One of the certificate's DNS names.
    pub name: String,
    /// Whose it is: 1 to 64 of a-z, 0-9 and -.
    pub tenant: TenantId,
    /// What it is good for.
    pub scopes: BTreeSet<Scope>,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Whose jobs are theirs.
    pub tenant: TenantId,
    /// What they may.
    pub scopes: BTreeSet<Scope>,
}

impl Identity {
    /// Everybody, where there are no keys.
    pub fn local() -> Self {
        Self { tenant: TenantId::default(), scopes: Scope::ALL.into() }
    }

    /// Refuses who lacks the scope.
    pub fn require(&self, scope: Scope) -> Result<(), Status> {
        if self.scopes.contains(&scope) { Ok(()) } else { Err(error::forbidden(&scope.to_string())) }
    }
}

/// Everybody who may call.
#[derive(Debug, Default)]
pub struct Callers {
    keys: Vec<([u8; 32], Identity)>,
    certificates: Vec<(String, Identity)>,
    /// Coordinators, by a DNS name of their certificates.
    peers: Vec<String>,
}

impl Callers {
    /// Reads what is configured. The error lists everything that is wrong.
    pub fn new(keys: &[KeyConfig], certificates: &[CertificateConfig], peers: &[String]) -> Result<Self, Vec<String>> {
        let mut complaints = Vec::new();
        let peers = peers.iter().map(|name| name.to_ascii_lowercase()).collect();
        let mut callers = Self { peers, ..Self::default() };
        for (at, key) in keys.iter().enumerate() {
            let identity = identity(&format!("keys[{at}]"), &key.tenant, &key.scopes, &mut complaints);
            match shared::hex::decode(&key.sha256).and_then(|hash| <[u8; 32]>::try_from(hash).ok()) {
                Some(hash) => callers.keys.push((hash, identity)),
                None => complaints.push(format!("keys[{at}].sha256: not 64 hexadecimal digits")),
            }
        }
        for (at, certificate) in certificates.iter().enumerate() {
            let field = format!("certificates[{at}]");
            let identity = identity(&field, &certificate.tenant, &certificate.scopes, &mut complaints);
            if certificate.name.is_empty() {
                complaints.push(format!("{field}.name: empty"));
            }
            callers.certificates.push((certificate.name.to_ascii_lowercase(), identity));
        }
        if complaints.is_empty() { Ok(callers) } else { Err(complaints) }
    }

    /// Nobody is asked who they are.
    pub fn open(&self) -> bool {
        self.keys.is_empty() && self.certificates.is_empty()
    }

    /// Who calls with these headers over a connection with this certificate. A key wins over the certificate.
    ///
    /// # Errors
    /// `UNAUTHENTICATED`.
    pub fn identify(&self, headers: &HeaderMap, certificate: Option<&CertificateDer<'_>>) -> Result<Identity, Status> {
        if self.open() {
            return Ok(Identity::local());
        }
        if let Some(header) = headers.get("authorization") {
            let key = header.to_str().ok().and_then(|text| text.strip_prefix("Bearer "));
            let key = key.ok_or_else(|| error::unauthenticated("authorization is not `Bearer KEY`"))?;
            return self.by_key(key).ok_or_else(|| error::unauthenticated("the key is not known"));
        }
        let certificate =
            certificate.ok_or_else(|| error::unauthenticated("give a key: `authorization: Bearer KEY`"))?;
        let names = dns_names(certificate);
        if names.iter().any(|name| self.peers.contains(name)) {
            return on_behalf(headers)
                .ok_or_else(|| error::unauthenticated("a coordinator did not say for whom it asks"));
        }
        let known = self.certificates.iter().find(|(name, _)| names.contains(name));
        let unknown = || error::unauthenticated("none of the certificate's DNS names is known");
        known.map(|(_, identity)| identity.clone()).ok_or_else(unknown)
    }

    /// Takes as long for every key.
    fn by_key(&self, key: &str) -> Option<Identity> {
        let given: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        let mut found = None;
        for (hash, identity) in &self.keys {
            if same(hash, &given) {
                found = Some(identity);
            }
        }
        found.cloned()
    }
}

/// In lower case; none if the certificate can't be read.
fn dns_names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let names =
        |certificate: webpki::EndEntityCert<'_>| certificate.valid_dns_names().map(str::to_ascii_lowercase).collect();
    webpki::EndEntityCert::try_from(certificate).map(names).unwrap_or_default()
}

/// For whom another coordinator asks. Only its certificate makes that believable.
fn on_behalf(headers: &HeaderMap) -> Option<Identity> {
    let text = |name| headers.get(name)?.to_str().ok();
    let scope = |word: &str| Scope::ALL.into_iter().find(|scope| scope.to_string() == word);
    let scopes = text(leader::SCOPES)?.split(',').map(scope).collect::<Option<_>>()?;
    Some(Identity { tenant: TenantId::new(text(leader::TENANT)?)?, scopes })
}

fn identity(field: &str, tenant: &TenantId, scopes: &BTreeSet<Scope>, complaints: &mut Vec<String>) -> Identity {
    if scopes.is_empty() {
        complaints.push(format!("{field}.scopes: none, so it is good for nothing"));
    }
    Identity { tenant: tenant.clone(), scopes: scopes.clone() }
}

/// In the same time wherever they differ.
fn same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    let differing = one.iter().zip(other).fold(0, |bits, (one, other)| std::hint::black_box(bits | (one ^ other)));
    differing == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(key: &str, tenant: &str, scopes: &[Scope]) -> KeyConfig {
        let sha256 = shared::hex::encode(&Sha256::digest(key.as_bytes()));
        KeyConfig { sha256, tenant: TenantId::new(tenant).unwrap(), scopes: scopes.iter().copied().collect() }
    }

    fn bearer(key: &str) -> HeaderMap {
        HeaderMap::from_iter([("authorization".parse().unwrap(), format!("Bearer {key}").parse().unwrap())])
    }

    #[test]
    fn a_key_stands_for_its_tenant_and_its_scopes() {
        let keys = [key("red-key", "red", &[Scope::Read]), key("blue-key", "blue", &[Scope::Submit, Scope::Read])];
        let callers = Callers::new(&keys, &[], &[]).unwrap();
        let red = callers.identify(&bearer("red-key"), None).unwrap();
        assert_eq!(red.tenant.as_str(), "red");
        assert!(red.require(Scope::Read).is_ok());
        assert_eq!(red.require(Scope::Submit).unwrap_err().code(), tonic::Code::PermissionDenied);
        assert_eq!(callers.identify(&bearer("blue-key"), None).unwrap().tenant.as_str(), "blue");
        for headers in [bearer("green-key"), bearer(""), HeaderMap::new()] {
            assert_eq!(callers.identify(&headers, None).unwrap_err().code(), tonic::Code::Unauthenticated);
        }
        let basic = HeaderMap::from_iter([("authorization".parse().unwrap(), "Basic cmVkLWtleQ==".parse().unwrap())]);
        assert_eq!(callers.identify(&basic, None).unwrap_err().code(), tonic::Code::Unauthenticated);
    }

    #[test]
    fn without_keys_everybody_is_the_local_tenant() {
        assert_eq!(Callers::default().identify(&HeaderMap::new(), None).unwrap(), Identity::local());
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        let bad = KeyConfig { sha256: "12".into(), tenant: TenantId::default(), scopes: BTreeSet::new() };
        assert_eq!(Callers::new(&[bad], &[], &[]).unwrap_err().len(), 2);
    }

    #[test]
    fn hashes_are_compared_whole() {
        let mut other = [7; 32];
        assert!(same(&[7; 32], &other));
        other[31] ^= 0x80;
        assert!(!same(&[7; 32], &other));
    }
}
