//! Settings: one TOML file a program, secrets from the environment.
//!
//! The structs are the manual; the files in `deploy/` list every key, and a test holds them to the structs.

use std::fmt;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// After so many complaints a file is not read on.
const MOST_COMPLAINTS: usize = 20;

/// Settings can't be used; everything that is wrong with them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);

/// What must not be seen in logs, or in what `--print-config` prints.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// From an environment variable; empty if it is not set.
    pub fn from_env(name: &str) -> Self {
        Self(variable(name).unwrap_or_default())
    }

    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "none" } else { "hidden" })
    }
}

/// What the environment says under this name, less line ends; `None` if nothing.
pub fn variable(name: &str) -> Option<String> {
    let value = std::env::var_os(name)?;
    Some(value.to_string_lossy().trim_end_matches('\n').to_owned()).filter(|value| !value.is_empty())
}

/// Reads a file, or without one takes the defaults; then `complete` adds what is not in files, and `check` says what is
/// wrong beyond what the types say.
///
/// # Errors
/// All complaints, those of the file with their lines.
pub fn load<T: DeserializeOwned + Default>(
    path: Option<&Path>,
    complete: impl FnOnce(&mut T),
    check: impl FnOnce(&T) -> Vec<String>,
) -> Result<T, ConfigError> {
    let mut config = match path {
        None => T::default(),
        Some(path) => read_file(path)?,
    };
    complete(&mut config);
    let complaints = check(&config);
    if complaints.is_empty() { Ok(config) } else { Err(ConfigError(complaints)) }
}

fn read_file<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let place = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| ConfigError(vec![format!("{place}: {error}")]))?;
    read(&text).map_err(|ConfigError(complaints)| {
        ConfigError(complaints.into_iter().map(|complaint| format!("{place}: {complaint}")).collect())
    })
}

/// Reads TOML. What is complained of is blanked out and the rest read on, so that all complaints come at once.
///
/// # Errors
/// All complaints.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, ConfigError> {
    let mut lines: Vec<&str> = text.lines().collect();
    let mut complaints = Vec::new();
    loop {
        let error = match toml::from_str(&lines.join("\n")) {
            Ok(config) if complaints.is_empty() => return Ok(config),
            Ok(_) => return Err(ConfigError(complaints)),
            Err(error) => error,
        };
        let Some(span) = error.span() else {
            complaints.push(error.message().to_owned());
            return Err(ConfigError(complaints));
        };
        let line_of = |offset: usize| {
            let lengths = lines.iter().scan(0, |end, line| {
                *end += line.len() + 1;
                Some(*end)
            });
            lengths.take_while(|end| *end <= offset).count().min(lines.len().saturating_sub(1))
        };
        let (first, mut last) = (line_of(span.start), line_of(span.end.max(span.start + 1) - 1));
        complaints.push(format!("line {}: {}", first + 1, error.message()));
        if lines[first].trim_start().starts_with('[') {
            // What stands below a header that is not known is not known either.
            let next = lines.iter().skip(first + 1).position(|line| line.trim_start().starts_with('['));
            last = last.max(next.map_or(lines.len() - 1, |next| first + next));
        }
        if complaints.len() == MOST_COMPLAINTS || lines[first..=last].iter().all(|line| line.is_empty()) {
            return Err(ConfigError(complaints));
        }
        lines[first..=last].fill("");
    }
}

/// Settings as a file that says the same, but for logins in URLs.
pub fn print<T: Serialize>(config: &T) -> String {
    without_logins(&toml::to_string(config).expect("settings should be plain data"))
}

/// A text in which no URL shows a login: `scheme://user:password@host` becomes `scheme://…@host`.
pub fn without_logins(text: &str) -> String {
    let mut parts = text.split("://");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(['/', '"', '\'', ',', ' ', '\n', '?', '#']).unwrap_or(part.len());
        let host = part[..end].rfind('@').map_or(0, |at| at);
        shown.push_str(if host > 0 { "://…" } else { "://" });
        shown.push_str(&part[host..]);
    }
    shown
}

/// What a sample file lacks to be the manual of `T`, whose structs stand in `sources`: every key is there with its default,
/// below a comment. A key without a default, or whose default depends on the machine, stands in a comment with an example.
#[cfg(feature = "testing")]
pub fn sample_complaints<T>(sample: &str, sources: &[&str]) -> Vec<String>
where
    T: DeserializeOwned + Default + PartialEq,
{
    let mut complaints = Vec::new();
    match read::<T>(sample) {
        Ok(config) if config == T::default() => {}
        Ok(_) => complaints.push("a value is not the default".to_owned()),
        Err(ConfigError(all)) => complaints.extend(all),
    }
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'.';
    let is_key = |line: &str| line.split_once(" = ").is_some_and(|(key, _)| !key.is_empty() && key.bytes().all(plain));
    let is_set = |line: &str| line.starts_with('[') || is_key(line);
    let every: Vec<&str> =
        sample.lines().map(|line| line.strip_prefix('#').filter(|l| is_set(l)).unwrap_or(line)).collect();
    complaints.extend(read::<T>(&every.join("\n")).err().into_iter().flat_map(|ConfigError(all)| all));
    let above = std::iter::once(&"").chain(&every);
    for (line, _) in every.iter().zip(above).filter(|(line, above)| is_key(line) && !above.starts_with("# ")) {
        complaints.push(format!("{line} is not explained"));
    }
    let set: Vec<&str> = every.into_iter().filter(|line| is_set(line)).collect();
    let listed = |field: &String| {
        let name = |line: &&str| {
            line.split(" = ").next().unwrap_or(line).trim_matches(['[', ']']).rsplit('.').next() == Some(field)
        };
        set.iter().any(name)
    };
    let fields = sources.iter().flat_map(|source| fields(source));
    complaints.extend(fields.filter(|field| !listed(field)).map(|field| format!("{field} is missing")));
    complaints
}

/// Fields of the structs that are read from a file.
#[cfg(feature = "testing")]
fn fields(source: &str) -> Vec<String> {
    let structs = source.split("#[derive(").filter(|part| part.split(')').next().unwrap_or("").contains("Deserialize"));
    let bodies = structs.filter_map(|part| part.split_once("pub struct ")?.1.split_once('{'));
    let mut fields = Vec::new();
    for (_, body) in bodies {
        let mut skipped = false;
        for line in body.lines().map(str::trim).take_while(|line| *line != "}") {
            match line.strip_prefix("pub ").and_then(|rest| rest.split_once(':')) {
                Some((field, _)) if !std::mem::take(&mut skipped) => fields.push(field.to_owned()),
                _ => skipped |= line == "#[serde(skip)]",
            }
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct Outer {
        pub number: u8,
        pub inner: Inner,
    }

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct Inner {
        pub text: String,
    }

    #[test]
    fn all_complaints_come_at_once_with_their_lines() {
        let text = "number = 256\ntypo = 1\n\n[inner]\ntext = [\n  1,\n]\n[other]\nnumber = 1\n";
        let ConfigError(complaints) = read::<Outer>(text).unwrap_err();
        assert_eq!(complaints.len(), 4, "{complaints:#?}");
        for line in ["line 1: ", "line 2: unknown field `typo`", "line 5: ", "line 8: unknown field `other`"] {
            assert!(complaints.iter().any(|complaint| complaint.starts_with(line)), "{line} {complaints:#?}");
        }
        assert_eq!(read::<Outer>("number = 7").unwrap(), Outer { number: 7, inner: Inner::default() });
        assert!(read::<Outer>("number =").is_err());
    }

    #[test]
    fn logins_in_urls_are_not_printed() {
        let text = "urls = [\"nats://me:p@ss@a:1/x\", \"nats://b:2\"]\nfrom = 'a@b'\n";
        assert_eq!(without_logins(text), "urls = [\"nats://…@a:1/x\", \"nats://b:2\"]\nfrom = 'a@b'\n");
    }

    #[test]
    fn a_file_is_completed_and_then_checked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.toml");
        std::fs::write(&path, "number = 3\n").unwrap();
        let complete = |outer: &mut Outer| outer.inner.text = "secret".to_owned();
        let odd = |outer: &Outer| vec![format!("number: {} is odd", outer.number)];
        let fine = |_: &Outer| Vec::new();
        assert_eq!(load(Some(&path), complete, odd).unwrap_err().to_string(), "number: 3 is odd");
        assert_eq!(load(Some(&path), complete, fine).unwrap().inner.text, "secret");
        assert_eq!(load(None, |_| {}, fine).unwrap(), Outer::default());
        std::fs::write(&path, "number = 300\n").unwrap();
        let error = load(Some(&path), |_| {}, fine).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}: line 1: ", path.display())), "{error}");
        assert!(load(Some(&folder.path().join("none")), |_| {}, fine).is_err());
    }

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(format!("{:?}", Secret("hush".into())), "hidden");
        assert_eq!(Secret("hush".into()).reveal(), "hush");
    }

    #[cfg(feature = "testing")]
    #[test]
    fn a_sample_lists_every_key_explained() {
        let source = include_str!("config.rs").split("mod tests").nth(1).unwrap();
        let right = "# How many.\nnumber = 0\n\n[inner]\n# Words.\n#text = \"\"\n";
        assert_eq!(sample_complaints::<Outer>(right, &[source]), [""; 0]);
        let wrong = "number = 1\n[inner]\n# No.\n#other = 2\n";
        let complaints = sample_complaints::<Outer>(wrong, &[source]);
        let expected =
            ["a value is not the default", "line 4: unknown field", "number = 1 is not explained", "text is missing"];
        for text in expected {
            assert!(complaints.iter().any(|complaint| complaint.contains(text)), "{text}: {complaints:#?}");
        }
    }
}
