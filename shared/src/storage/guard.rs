//! Keeps sources of web servers from reaching into the inside (server-side request forgery).
//!
//! Whoever submits a job names a URL, and workers stand where he does not. So every URL, and every one that a server sends on
//! to, is checked before it is asked for; names are resolved by a resolver that checks each address, and the connection goes
//! to an address that it returned: there is no second look-up whose answer could differ (DNS rebinding). No proxy is used, as
//! it would resolve names by itself.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use futures::future::BoxFuture;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::StorageConfig;

/// Why a URL is not asked for.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Refused(pub(super) String);

/// How names become addresses.
pub(super) type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, std::io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// What may be asked for.
#[derive(Clone)]
pub(super) struct Guard {
    hosts: Vec<String>,
    allow_http: bool,
    allow_private: bool,
    lookup: Lookup,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

impl Guard {
    pub(super) fn new(config: &StorageConfig) -> Self {
        let lookup: Lookup =
            Arc::new(|name| Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) }));
        Self {
            hosts: config.web_hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            allow_http: config.web_allow_http,
            allow_private: config.web_allow_private,
            lookup,
        }
    }

    /// Reads a URL that may be asked for, as far as it tells by itself.
    pub(super) fn check(&self, text: &str) -> Result<Url, Refused> {
        let url = Url::parse(text).map_err(|error| Refused(error.to_string()))?;
        self.check_url(&url)?;
        // Readers of URLs differ: `http://2130706433/` is 127.0.0.1 to some, and `https:///a` leads to the host `a`.
        let (written, read) = (written_host(text).unwrap_or_default(), url.host_str().unwrap_or_default());
        if written.is_empty() || (url.domain().is_none() && !written.eq_ignore_ascii_case(read)) {
            return Err(Refused("its host is written in an unusual way".to_owned()));
        }
        Ok(url)
    }

    /// What a server sends on to was read by the same reader that will ask for it.
    pub(super) fn check_url(&self, url: &Url) -> Result<(), Refused> {
        let refused = |why: &str| Err(Refused(why.to_owned()));
        match url.scheme() {
            "https" => {}
            "http" if self.allow_http => {}
            "http" => return refused("it is not https: (web_allow_http)"),
            _ => return refused("it is neither https: nor http:"),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refused("it contains a user name or a password");
        }
        let Some(host) = url.host_str() else { return refused("it has no host") };
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let listed = |allowed: &String| match allowed.strip_prefix('.') {
            Some(domain) => host.strip_suffix(domain).is_some_and(|below| below.ends_with('.')),
            None => host == *allowed,
        };
        if !self.hosts.is_empty() && !self.hosts.iter().any(listed) {
            return refused("its host is not on the list (web_hosts)");
        }
        match host.trim_start_matches('[').trim_end_matches(']').parse() {
            Ok(address) => self.check_address(address),
            Err(_) => Ok(()),
        }
    }

    fn check_address(&self, address: IpAddr) -> Result<(), Refused> {
        if self.allow_private || is_public(address) {
            return Ok(());
        }
        Err(Refused(format!("{address} is not a public address (web_allow_private)")))
    }
}

/// One refused address among several is an attempt, so none of them is used.
impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let found = (guard.lookup)(name.as_str().to_owned()).await?;
            for address in &found {
                guard.check_address(address.ip())?;
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// The host as it was written.
fn written_host(text: &str) -> Option<&str> {
    let authority = text.split_once("://")?.1.split(['/', '?', '#', '\\']).next()?;
    match authority.rfind(']') {
        Some(end) => Some(&authority[..=end]),
        None => authority.split(':').next(),
    }
}

/// Whether anybody on the internet could ask there too (IANA special-purpose address registries).
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = match (a, b, c) {
        (0 | 10 | 127, ..) => true,                                 // this network, private, loopback
        (100, 64..=127, _) => true,                                 // shared between carriers (RFC 6598)
        (169, 254, _) => true,                                      // link-local, and clouds' metadata
        (172, 16..=31, _) | (192, 168, _) => true,                  // private
        (192, 0, 0 | 2) | (192, 88, 99) => true,                    // protocols, examples, 6to4 relays
        (198, 18..=19, _) | (198, 51, 100) | (203, 0, 113) => true, // benchmarks, examples
        (224.., ..) => true,                                        // multicast, reserved, broadcast
        _ => false,
    };
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([w, x], [y, z]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(w, x, y, z))
    };
    match (a, b, c, d, e, f) {
        (0, 0, 0, 0, 0, 0xffff) => embedded(g, h),    // an IPv4 address in disguise
        (0x64, 0xff9b, 0, 0, 0, 0) => embedded(g, h), // NAT64 (RFC 6052)
        (0x2002, ..) => embedded(b, c),               // 6to4 (RFC 3056)
        (0x2001, 0..=0x1ff, ..) | (0x2001, 0xdb8, ..) => false, // Teredo and other protocols, examples
        (0x3fff, 0..=0xfff, ..) => false,             // examples
        (0x2000..=0x3fff, ..) => true,                // global unicast; all else is special or not given out
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn guard(config: StorageConfig) -> Guard {
        Guard::new(&config)
    }

    #[test]
    fn only_addresses_of_everybody_are_public() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::a00:1",
            "2002:a00:1::",
            "2001::1",
            "2001:db8::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "3fff::1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
        for text in ["1.1.1.1", "8.8.8.8", "100.63.0.1", "100.128.0.1", "172.32.0.1", "192.169.0.1", "223.255.255.255"]
        {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
        for text in ["2606:4700::1", "2a00:1450::1", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn urls_that_lead_inside_are_refused() {
        let open = guard(StorageConfig { web_allow_http: true, ..StorageConfig::default() });
        for url in [
            "http://127.0.0.1/a",
            "https://127.1/a",
            "http://2130706433/a",
            "http://0x7f000001/a",
            "http://0177.0.0.1/a",
            "http://134744072/a",
            "http://[::1]/a",
            "http://[::ffff:7f00:1]/a",
            "http://169.254.169.254/latest/meta-data",
            "http://user@media.example/a",
            "https://user:secret@media.example/a",
            "https://media.example@127.0.0.1/a",
            "ftp://media.example/a",
            "file:///etc/passwd",
            "gopher://media.example/",
            "https:///a",
            "http://0/a",
            "http://[fd00:ec2::254]/latest",
            "http://①②⑦.⓪.⓪.①/a",
        ] {
            assert!(open.check(url).is_err(), "{url}");
        }
        for url in [
            "https://media.example/a",
            "https://8.8.8.8/a",
            "http://media.example:8080/a?b#c",
            "https://MEDIA.example/",
        ] {
            assert!(open.check(url).is_ok(), "{url}");
        }
        assert!(guard(StorageConfig::default()).check("http://media.example/a").is_err());
    }

    #[test]
    fn a_list_of_hosts_is_exhaustive() {
        let hosts = vec!["media.example".to_owned(), ".cdn.example".to_owned()];
        let listed = guard(StorageConfig { web_hosts: hosts, ..StorageConfig::default() });
        for url in ["https://media.example/a", "https://Media.Example./a", "https://a.b.cdn.example/"] {
            assert!(listed.check(url).is_ok(), "{url}");
        }
        for url in ["https://x.media.example/", "https://cdn.example/", "https://evilcdn.example/", "https://8.8.8.8/"]
        {
            assert!(listed.check(url).is_err(), "{url}");
        }
    }

    #[tokio::test]
    async fn what_connects_is_what_was_checked() {
        let answers =
            Arc::new(Mutex::new(vec![vec!["8.8.8.8:0"], vec!["127.0.0.1:0"], vec!["8.8.8.8:0", "10.0.0.1:0"]]));
        let lookup: Lookup = Arc::new(move |_| {
            let answer = answers.lock().unwrap().remove(0);
            Box::pin(async move { Ok(answer.iter().map(|address| address.parse().unwrap()).collect()) })
        });
        let guard = Guard { lookup, ..guard(StorageConfig::default()) };
        let resolve = || guard.resolve("rebinding.example".parse().unwrap());
        let addresses: Vec<SocketAddr> = resolve().await.unwrap().collect();
        assert_eq!(addresses, ["8.8.8.8:0".parse().unwrap()]);
        for _ in 0..2 {
            let error = resolve().await.err().unwrap();
            assert!(error.downcast_ref::<Refused>().is_some(), "{error}");
        }
    }
}
