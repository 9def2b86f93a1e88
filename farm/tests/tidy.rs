//! The house rules, as code. Each failure names every place at once, and says what to do instead.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

#[path = "tidy/lexer.rs"]
mod lexer;
#[path = "tidy/logs.rs"]
mod logs;
#[path = "tidy/metrics.rs"]
mod metrics;
#[path = "tidy/operations.rs"]
mod operations;

use lexer::{functions, has_word, split, without_tests};

const MOST_CODE_LINES: usize = 500;
const MOST_FUNCTION_LINES: usize = 70;
/// The one date that says something about the present.
const UNIX_EPOCH: &str = "1970-01-01";
/// The only places where `unsafe` may stand.
const UNSAFE_FENCES: [&str; 4] = ["worker/src/av.rs", "worker/src/av/", "worker/nvidia/src/", "worker/emulator/"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate should lie in the workspace")
}

/// Tracked and new files with this ending, relative to the root; what git ignores is left out.
fn files(ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && !matches!(name, "target" | "node_modules" | ".git") {
                folders.push(path);
            } else if name.ends_with(ending) {
                found.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn assert_none(complaints: Vec<String>, what_to_do: &str) {
    assert!(complaints.is_empty(), "{what_to_do}:\n  {}", complaints.join("\n  "));
}

/// What `cargo metadata` says of this platform: every package, and the resolved graph.
fn metadata() -> Value {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--filter-platform", &platform])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().expect("cargo metadata should have an array here")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("cargo metadata should have text here")
}

/// Names of all crates that a crate is built from, through dependencies of any depth, itself included. Build and test
/// dependencies do not count.
fn closure(metadata: &Value, of: &str) -> BTreeSet<String> {
    let names: BTreeMap<&str, &str> =
        array(&metadata["packages"]).iter().map(|p| (text(&p["id"]), text(&p["name"]))).collect();
    let nodes: BTreeMap<&str, &Value> =
        array(&metadata["resolve"]["nodes"]).iter().map(|node| (text(&node["id"]), node)).collect();
    let mut seen = BTreeSet::new();
    let mut open: Vec<&str> = names.iter().filter(|(_, name)| **name == of).map(|(id, _)| *id).collect();
    while let Some(id) = open.pop() {
        if seen.insert(id) {
            let normal = |dep: &&Value| array(&dep["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
            open.extend(array(&nodes[id]["deps"]).iter().filter(normal).map(|dep| text(&dep["pkg"])));
        }
    }
    seen.into_iter().map(|id| names[id].to_owned()).collect()
}

#[test]
fn crates_depend_on_each_other_only_as_drawn() {
    let metadata = metadata();
    let media = ["ffmpeg-next", "ffmpeg-sys-next", "cudarc"];
    let networks = ["etcd-client", "async-nats", "tonic"];
    let forbidden: [(&str, Vec<&str>); 4] = [
        ("coordinator", [&media[..], &["worker", "farm"]].concat()),
        ("worker", [&networks[..1], &["coordinator", "farm", "redb"]].concat()),
        ("shared", [&media[..], &networks[..1], &["coordinator", "worker", "farm"]].concat()),
        ("proto", [&media[..], &networks[..2], &["shared"]].concat()),
    ];
    let mut complaints = Vec::new();
    for (from, to) in forbidden {
        let reached = closure(&metadata, from);
        assert!(reached.contains(from), "{from} should be a crate of this workspace");
        complaints.extend(to.iter().filter(|to| reached.contains(**to)).map(|to| format!("{from} reaches {to}")));
    }
    assert_none(complaints, "ARCHITECTURE.md draws who may depend on whom");
}

#[test]
fn one_provider_of_cryptography_serves_all_of_tls() {
    // The graph of `cargo metadata` has edges of features that are not on.
    let mut tree = Command::new(env!("CARGO"));
    tree.args(["tree", "--locked", "--workspace", "--edges=normal", "--prefix=none", "--format={lib}"]);
    let listed = tree.current_dir(root()).output().unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let listed = String::from_utf8(listed.stdout).unwrap();
    let reached: BTreeSet<&str> = listed.split_whitespace().collect();
    assert!(reached.contains("aws_lc_rs"), "it should be this one");
    let others = ["ring", "openssl_sys", "native_tls", "rustls_rustcrypto", "rustls_openssl"];
    let complaints = others.into_iter().filter(|other| reached.contains(other)).map(str::to_owned).collect();
    assert_none(complaints, "choose the features of whoever brings these so that aws-lc-rs is taken");
}

#[test]
fn every_crate_may_be_linked_into_a_gpl_binary() {
    // The same list as in deny.toml, for machines without cargo deny.
    let allowed = ["MIT", "Apache-2.0", "BSD-3-Clause", "CDLA-Permissive-2.0", "ISC", "Unicode-3.0", "WTFPL", "Zlib"];
    let mut complaints = Vec::new();
    for package in array(&metadata()["packages"]) {
        let licence = package["license"].as_str().unwrap_or("none");
        let plain = licence.replace(['(', ')'], "").replace('/', " OR ");
        // `A OR B AND C` is read as the choice it is written as: every AND part of one alternative.
        let fine = licence.contains(") AND ")
            && plain.split(" AND ").all(|all| all.split(" OR ").any(|one| allowed.contains(&one.trim())))
            || plain.split(" OR ").any(|any| any.split(" AND ").all(|one| allowed.contains(&one.trim())));
        if !fine {
            complaints.push(format!("{} {}: {licence}", text(&package["name"]), text(&package["version"])));
        }
    }
    let listed = read(Path::new("deny.toml"));
    complaints
        .extend(allowed.iter().filter(|l| !listed.contains(&format!("\"{l}\""))).map(|l| format!("deny.toml: {l}")));
    assert_none(complaints, "licences that are not on the list");
}

#[test]
fn files_and_functions_fit_the_eye() {
    let mut complaints = Vec::new();
    for path in files(".rs") {
        let code = split(&read(&path)).code;
        let lines = without_tests(&code).lines().filter(|line| !line.trim().is_empty()).count();
        if lines > MOST_CODE_LINES {
            complaints.push(format!("{}: {lines} lines of code, {MOST_CODE_LINES} are allowed", path.display()));
        }
        for f in functions(&code).iter().filter(|f| f.lines > MOST_FUNCTION_LINES) {
            let place = format!("{}:{}", path.display(), f.line);
            complaints.push(format!("{place}: fn {} has {} lines, {MOST_FUNCTION_LINES} are allowed", f.name, f.lines));
        }
    }
    assert_none(complaints, "split these where a name for a part comes easily");
}

#[test]
fn unsafe_stays_behind_its_fences() {
    let mut complaints = Vec::new();
    for path in files(".rs") {
        let fenced = UNSAFE_FENCES.iter().any(|fence| path.to_str().unwrap().starts_with(fence));
        let code = split(&read(&path)).code;
        if !fenced && has_word(&code, "unsafe") {
            complaints.push(format!("{}: unsafe outside a fence", path.display()));
        }
        let is_root = path.ends_with("src/lib.rs");
        if is_root && !code.contains("#![forbid(unsafe_code)]") && !code.contains("#![deny(unsafe_code)]") {
            complaints.push(format!("{}: says nothing about unsafe_code", path.display()));
        }
    }
    assert_none(complaints, "unsafe code lives where FFmpeg or the driver is called, and nowhere else");
}

#[test]
fn nothing_is_left_for_later_or_told_about_the_past() {
    let unfinished = ["todo!", "unimplemented!", "dbg!"];
    let marks = ["FIXME", "XXX", "HACK", "TODO"];
    let past = ["previously", "formerly", "used to be", "used to have", "was renamed", "in the old", "legacy code"];
    let mut complaints = Vec::new();
    for path in files(".rs") {
        let split = split(&read(&path));
        let mut complain =
            |line: usize, what: &str| complaints.push(format!("{}:{}: {what}", path.display(), line + 1));
        for (number, line) in split.code.lines().enumerate() {
            unfinished.iter().filter(|word| line.contains(**word)).for_each(|word| complain(number, word));
        }
        for (number, line) in split.comments.lines().enumerate() {
            let lower = line.to_lowercase();
            marks.iter().filter(|word| has_word(line, word)).for_each(|word| complain(number, word));
            past.iter().filter(|word| lower.contains(**word)).for_each(|word| complain(number, word));
            if has_date(line) {
                complain(number, "a date");
            }
        }
    }
    assert_none(complaints, "finish it or open an issue; comments tell the present, history is in git");
}

/// A year, month and day in digits, or a month's name before a year.
fn has_date(line: &str) -> bool {
    let is_year =
        |word: &str| word.len() == 4 && (word.starts_with("19") || word.starts_with("20")) && all_digits(word);
    let months = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October"];
    let is_month = |word: &str| months.contains(&word) || word == "November" || word == "December";
    let words: Vec<&str> = line.split(|c: char| !c.is_alphanumeric() && c != '-').collect();
    let iso = |word: &&str| {
        let parts: Vec<&str> = word.split('-').collect();
        parts.len() == 3 && is_year(parts[0]) && parts[1..].iter().all(|part| part.len() == 2 && all_digits(part))
    };
    words.iter().filter(|word| **word != UNIX_EPOCH).any(iso)
        || words.windows(2).any(|pair| is_month(pair[0]) && is_year(pair[1]))
}

fn all_digits(word: &str) -> bool {
    word.bytes().all(|b| b.is_ascii_digit())
}

#[test]
fn files_are_named_after_what_they_hold_and_hold_something() {
    let nothing = ["utils", "util", "common", "helpers", "helper", "types", "misc", "manager", "service"];
    let mut complaints = Vec::new();
    for path in files(".rs") {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        if nothing.contains(&stem) || path.parent().is_some_and(|p| nothing.iter().any(|n| p.ends_with(n))) {
            complaints.push(format!("{}: a name for not knowing", path.display()));
        }
        if split(&read(&path)).code.trim().is_empty() {
            complaints.push(format!("{}: no code in it", path.display()));
        }
    }
    for member in array(&metadata()["workspace_members"]) {
        assert!(text(member).contains(root().to_str().unwrap()), "{member} should lie in this folder");
    }
    assert_none(complaints, "a module is what it holds");
}

#[test]
fn links_in_markdown_lead_somewhere() {
    let mut complaints = Vec::new();
    for path in files(".md") {
        let text = read(&path);
        let folder = root().join(&path).parent().unwrap().to_owned();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            if file.contains("://") || file.starts_with("mailto:") {
                continue;
            }
            let file = if file.is_empty() { root().join(&path) } else { folder.join(file) };
            match fs::read_to_string(&file) {
                Ok(text) if !anchor.is_empty() && !anchors(&text).contains(anchor) => {
                    complaints.push(format!("{}: {target}: no such heading", path.display()));
                }
                Err(_) if !file.is_dir() && fs::metadata(&file).is_err() => {
                    complaints.push(format!("{}: {target}: no such file", path.display()));
                }
                _ => {}
            }
        }
    }
    assert_none(complaints, "links that lead nowhere");
}

/// The headings of a Markdown text as a browser spells their anchors.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let slug = |heading: &str| {
        let kept =
            heading.to_lowercase().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>();
        kept.replace(' ', "-")
    };
    headings.map(slug).collect()
}

/// The commands that a help text lists.
fn commands_of(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1);
    let names = lines.take_while(|line| line.starts_with("  ")).filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn the_readme_names_what_a_newcomer_runs() {
    let readme = read(Path::new("README.md"));
    let help = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_farm")).args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let mut complaints = Vec::new();
    for command in ["make demo", "make test"] {
        if !readme.lines().any(|line| line.starts_with(command)) {
            complaints.push(format!("`{command}` is not shown as a command"));
        }
    }
    let general = help(&["--help"]);
    let commands = commands_of(&general);
    assert!(!commands.is_empty(), "farm --help should list commands");
    let mut known = options(&general);
    for command in &commands {
        if !readme.contains(&format!("farm {command}")) {
            complaints.push(format!("`farm {command}` is missing"));
        }
        let general = help(&[command, "--help"]);
        known.extend(options(&general));
        for part in commands_of(&general) {
            if !readme.contains(&format!("`{part}")) && !readme.contains(&format!("{command} {part}")) {
                complaints.push(format!("`farm {command} {part}` is missing"));
            }
            known.extend(options(&help(&[command, &part, "--help"])));
        }
    }
    let told = options(&readme);
    let everywhere = ["--help", "--version"].map(str::to_owned).into();
    let missing: BTreeSet<_> = known.difference(&told).cloned().collect();
    complaints.extend(missing.difference(&everywhere).map(|option| format!("`{option}` is missing")));
    complaints.extend(told.difference(&known).map(|option| format!("no command has `{option}`")));
    if !read(Path::new(".ci/run")).contains("make test") {
        complaints.push(".ci/run does not call make test".to_owned());
    }
    assert_none(complaints, "README.md is the newcomer's page");
}

/// Every `--option` in a text.
fn options(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    words.filter(|word| word.starts_with("--") && word.len() > 2 && !word.ends_with('-')).map(str::to_owned).collect()
}

#[test]
fn every_key_of_a_profile_is_explained() {
    let folder = Path::new("coordinator/src/profiles");
    let manual = read(&folder.join("web.toml"));
    let mut complaints = Vec::new();
    let mut explained = BTreeSet::new();
    for paragraph in manual.split("\n\n") {
        let mut comment = false;
        for line in paragraph.lines() {
            match line.split_once('=') {
                _ if line.starts_with('#') => comment = true,
                Some((key, _)) if comment => {
                    explained.insert(key.trim().to_owned());
                }
                Some((key, _)) if !explained.contains(key.trim()) => {
                    complaints.push(format!("web.toml: {} has no comment", key.trim()));
                }
                _ => {}
            }
        }
    }
    for path in files(".toml").into_iter().filter(|path| path.starts_with(folder)) {
        for line in read(&path).lines().filter(|line| !line.starts_with('#')) {
            let key = line.split_once('=').map_or("", |(key, _)| key.trim());
            if !key.is_empty() && !explained.contains(key) {
                complaints.push(format!("{}: {key} is not explained in web.toml", path.display()));
            }
        }
    }
    let fields = profile_fields(&read(Path::new("coordinator/src/profile.rs")));
    assert!(fields.len() > 10, "profile.rs should have more fields than {fields:?}");
    complaints
        .extend(fields.iter().filter(|f| !has_word(&manual, f)).map(|f| format!("profile.rs: {f} is not in web.toml")));
    assert_none(complaints, "coordinator/src/profiles/web.toml is the manual of profiles");
}

/// Fields of every struct that is read from a profile.
fn profile_fields(source: &str) -> BTreeSet<String> {
    let code = without_tests(&split(source).code);
    let mut fields = BTreeSet::new();
    for part in code.split("struct ").skip(1) {
        let body = part.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(body, _)| body);
        let names = body.lines().filter_map(|line| line.trim().trim_start_matches("pub ").split_once(':'));
        fields.extend(names.map(|(name, _)| name.trim().to_owned()).filter(|name| name != "unknown"));
    }
    fields
}
