//! Where sources may be read and presentations written. A request names places; the configuration says which are allowed.

use serde::{Deserialize, Serialize};
use shared::task::TenantId;

/// Longest URI, in bytes.
pub const LONGEST_URI: usize = 2048;

/// In a prefix, stands for the name of the tenant who asks.
const TENANT: &str = "{tenant}";

/// What is allowed. `{tenant}` in a prefix stands for the name of the tenant who asks; without it all tenants may read the
/// same sources and write the same targets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlacesConfig {
    /// Prefixes of URIs below which sources may be, such as `s3://uploads/` or `file:/srv/in/`. `https:` allows all
    /// hosts that the workers' own guard lets pass.
    pub sources: Vec<String>,
    /// Prefixes of URIs below which presentations may be written.
    pub targets: Vec<String>,
    /// Prefix for presentations of jobs that name no target: a folder for each job. Empty: they must name one.
    pub default_target: String,
    /// Prefix for what is removed with the job. Workers read and write it.
    pub work: String,
}

impl Default for PlacesConfig {
    fn default() -> Self {
        Self { sources: vec!["https:".into()], targets: Vec::new(), default_target: String::new(), work: String::new() }
    }
}

impl PlacesConfig {
    /// The URI of a source as the farm writes it.
    ///
    /// # Errors
    /// Why it can't be one, or may not.
    pub fn source(&self, uri: &str, tenant: &TenantId) -> Result<String, String> {
        allowed(uri, &self.sources, tenant)
    }

    /// The prefix of a job's presentation.
    ///
    /// # Errors
    /// As [`Self::source`].
    pub fn target(&self, uri: &str, tenant: &TenantId, job: &str) -> Result<String, String> {
        match (uri, self.default_target.trim_end_matches('/')) {
            ("", "") => Err("empty, and this farm has no place of its own for presentations".to_owned()),
            ("", own) => Ok(format!("{}/{job}", own.replace(TENANT, tenant.as_str()))),
            (uri, _) => allowed(uri.trim_end_matches('/'), &self.targets, tenant),
        }
    }

    /// The prefix of what is removed with a job.
    pub fn work(&self, job: &str) -> String {
        format!("{}/{job}", self.work.trim_end_matches('/'))
    }
}

fn allowed(uri: &str, prefixes: &[String], tenant: &TenantId) -> Result<String, String> {
    let uri = plain(uri)?;
    if prefixes.iter().any(|prefix| is_below(&uri, &prefix.replace(TENANT, tenant.as_str()))) {
        return Ok(uri);
    }
    Err(format!("{uri:?} is not below any place that this farm allows"))
}

/// A prefix ends where a name ends.
fn is_below(uri: &str, prefix: &str) -> bool {
    let prefix = plain_path(prefix);
    uri.strip_prefix(prefix.as_str())
        .is_some_and(|rest| rest.is_empty() || prefix.ends_with(['/', ':']) || rest.starts_with('/'))
}

/// A URI that means the same to everybody who reads it, or why it is none.
fn plain(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("empty".to_owned());
    }
    if text.len() > LONGEST_URI {
        return Err(format!("{} bytes long, the most is {LONGEST_URI}", text.len()));
    }
    if text.chars().any(|c| c.is_control() || c == '\\') {
        return Err("has control characters or backslashes".to_owned());
    }
    let uri = plain_path(text);
    let (scheme, rest) = uri.split_once(':').ok_or("is neither a URI nor an absolute path")?;
    let path = match scheme {
        "file" if rest.starts_with('/') => rest,
        "file" => return Err("a file: URI needs an absolute path".to_owned()),
        "https" | "s3" | "gs" | "az" => {
            let rest = rest.strip_prefix("//").ok_or_else(|| format!("{scheme}: is followed by //"))?;
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            let plain = |b: u8| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b);
            if host.is_empty() || !host.bytes().all(plain) {
                return Err(format!("{host:?} is no plain name of a host or bucket"));
            }
            path
        }
        _ => return Err(format!("scheme {scheme:?} is none of file, s3, gs, az and https")),
    };
    // Signed links have their signature in the query; nothing else reads one.
    let path = if scheme == "https" { path.split(['?', '#']).next().unwrap_or_default() } else { path };
    let path = path.trim_start_matches('/').trim_end_matches('/');
    let odd = |name: &str| matches!(name, "" | "." | "..") || dots(name);
    if !path.is_empty() && path.split('/').any(odd) {
        return Err("has empty, `.` or `..` parts".to_owned());
    }
    Ok(uri)
}

/// `%2e` and `%2f` in disguise.
fn dots(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.contains("%2f")
        || name.contains("%5c")
        || name.contains("%00")
        || matches!(name.replace("%2e", ".").as_str(), "." | "..")
}

/// One spelling for local paths.
fn plain_path(text: &str) -> String {
    let path = text.strip_prefix("file:").map(|path| path.strip_prefix("//").unwrap_or(path));
    match path {
        Some(path) => format!("file:{path}"),
        None if text.starts_with('/') => format!("file:{text}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> PlacesConfig {
        PlacesConfig {
            sources: ["file:/srv/in", "s3://uploads/", "https:", "/mnt/"].map(String::from).to_vec(),
            targets: vec!["s3://out/vod".into()],
            default_target: "file:/data/out/".into(),
            work: "s3://work".into(),
        }
    }

    fn tenant() -> TenantId {
        TenantId::new("red").unwrap()
    }

    #[test]
    fn what_is_below_an_allowed_place_passes_in_one_spelling() {
        let same = ["s3://uploads/a b/ü.mov", "https://cdn.example/a.mp4?Signature=x/../y", "https://[::1]:8080/a"];
        for uri in same {
            assert_eq!(config().source(uri, &tenant()).as_deref(), Ok(uri));
        }
        for uri in ["/srv/in/a.mov", "file:/srv/in/a.mov", "file:///srv/in/a.mov"] {
            assert_eq!(config().source(uri, &tenant()).as_deref(), Ok("file:/srv/in/a.mov"));
        }
        assert_eq!(config().source("file:/mnt/x", &tenant()).as_deref(), Ok("file:/mnt/x"));
        assert_eq!(config().target("s3://out/vod/7/", &tenant(), "j").as_deref(), Ok("s3://out/vod/7"));
        assert_eq!(config().target("", &tenant(), "j").as_deref(), Ok("file:/data/out/j"));
        assert_eq!(config().work("j"), "s3://work/j");
        assert!(PlacesConfig::default().target("", &tenant(), "j").is_err());
    }

    #[test]
    fn tenants_may_have_places_of_their_own() {
        let config = PlacesConfig {
            sources: vec!["s3://uploads/{tenant}/".into()],
            default_target: "s3://out/{tenant}".into(),
            ..config()
        };
        let red = tenant();
        assert!(config.source("s3://uploads/red/a.mov", &red).is_ok());
        for other in
            ["s3://uploads/blue/a.mov", "s3://uploads/a.mov", "s3://uploads/redder/a.mov", "s3://uploads/{tenant}/a"]
        {
            assert!(config.source(other, &red).is_err(), "{other}");
        }
        assert_eq!(config.target("", &red, "j").as_deref(), Ok("s3://out/red/j"));
    }

    #[test]
    fn what_is_not_is_refused() {
        let long = format!("s3://uploads/{}", "a".repeat(LONGEST_URI));
        let hostile = [
            "",
            "a.mov",
            "../a.mov",
            "file:a.mov",
            "/srv/inner/a",
            "/srv/in/../../etc/passwd",
            "/srv/in//a",
            "/srv/in/./a",
            "file:/etc/passwd",
            "s3://uploads",
            "s3://uploads/../out/a",
            "s3://uploadsx/a",
            "s3:///a",
            "s3:uploads/a",
            "http://example/a",
            "gopher://example/a",
            "concat:a|b",
            "https://user:pw@host/a",
            "https://a b/c",
            "https://host/%2e%2E/a",
            "https://host/a%2fb",
            "s3://uploads/a\n",
            "s3://uploads/a\0b",
            "s3://uploads/a\\b",
            "FILE:/srv/in/a",
            "data:,x",
            "subfile:/srv/in/a",
            &long,
        ];
        for uri in hostile {
            assert!(config().source(uri, &tenant()).is_err(), "{uri:?}");
        }
    }
}
