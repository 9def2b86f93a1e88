//! A real Prometheus with the committed configuration, on targets of this test, and what it has seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use shared::testing::{Server, ask, free_port, page};

use crate::files;

/// Alerts of the farm that fire.
const FIRING: &str = "ALERTS{alertname=~\"Farm.+\", alertstate=\"firing\"}";
/// The committed settings.
const SETTINGS: &str = "dashboards/prometheus.yml";
/// How often targets are asked and rules looked at, instead of what the settings say.
const EVERY: &str = "1s";
/// Between two points of a curve, in seconds: a series may be seen but once.
const STEP_S: u64 = 1;
/// So long an alert may be out between two moments that belong together.
const ALERT_GAP_S: f64 = 4.0;
/// Nothing takes Prometheus longer.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(200);

/// What is asked of Prometheus: the server of this test.
pub struct Prometheus {
    server: Server,
}

/// One curve: its labels, and its values in order of time.
#[derive(Debug, Clone)]
pub struct Series {
    pub labels: BTreeMap<String, String>,
    pub values: Vec<f64>,
}

/// An alert that fired for a while.
#[derive(Debug, Clone)]
pub struct Spell {
    /// As `NAME/SIGN`.
    pub alert: String,
    /// In seconds of UNIX time.
    pub from: f64,
}

/// From a moment to now.
#[derive(Debug, Clone, Copy)]
pub struct Since(SystemTime);

impl Since {
    pub fn now() -> Self {
        Self(SystemTime::now())
    }

    /// Seconds since then.
    pub fn elapsed_s(self) -> f64 {
        self.0.elapsed().unwrap_or_default().as_secs_f64()
    }

    /// The moment in seconds of UNIX time.
    pub fn unix_s(self) -> f64 {
        self.0.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
    }
}

/// Where it keeps what it sees, below `target/observe`, and where the test leaves when it began.
pub const FOLDER: &str = "prometheus";
const BEGAN: &str = "began";

impl Prometheus {
    /// Looks again at what was seen the last time, and since when; `None` if it is not installed.
    pub fn again() -> Option<(Self, Since)> {
        let began = files::left(BEGAN).parse().expect("the test should have left when it began");
        let began = Since(UNIX_EPOCH + Duration::from_millis(began));
        Some((Self::start(&BTreeMap::new(), &files::leaving(FOLDER))?, began))
    }

    /// What counts begins when nothing fires any more, as before the first leader.
    pub fn begin(&self) -> Since {
        let began = Instant::now();
        while !self.firing().is_empty() {
            assert!(began.elapsed() < PATIENCE, "{:?} fire from the beginning", self.firing());
            crate::pause(PAUSE);
        }
        let now = Since::now();
        files::leave(BEGAN, &format!("{:.0}", now.unix_s() * 1000.0));
        now
    }

    /// Starts it on these targets, ports of this host by their jobs, and waits until all were seen. What it sees is kept in
    /// `folder`. `None` if it is not installed.
    pub fn start(targets: &BTreeMap<&str, Vec<u16>>, folder: &Path) -> Option<Self> {
        let port = free_port();
        let server = Server::start("prometheus", port, |at| {
            let settings = settings(at, targets);
            let args = [
                format!("--config.file={}", settings.display()),
                format!("--storage.tsdb.path={}", folder.display()),
                format!("--web.listen-address=127.0.0.1:{port}"),
                "--log.level=warn".to_owned(),
            ];
            args.to_vec()
        })?;
        let began = Instant::now();
        while !page(port, "/-/ready").contains(" 200 OK") {
            assert!(began.elapsed() < PATIENCE, "Prometheus does not get ready: {}", page(port, "/-/ready"));
            crate::pause(PAUSE);
        }
        let prometheus = Self { server };
        let all = targets.values().map(Vec::len).sum::<usize>() as f64;
        while all > 0.0 && prometheus.now("sum(up)").first().and_then(|series| series.values.last()) != Some(&all) {
            assert!(began.elapsed() < PATIENCE, "not all of {targets:?} are up: {:?}", prometheus.now("up"));
            crate::pause(PAUSE);
        }
        Some(prometheus)
    }

    /// Where people find it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.server.port())
    }

    /// What a query gives now.
    pub fn now(&self, query: &str) -> Vec<Series> {
        let answer = self.get("query", &[("query", query)]);
        let value = |series: &Value| Series { labels: labels(series), values: vec![number(&series["value"][1])] };
        match answer["resultType"].as_str() {
            Some("scalar") => vec![Series { labels: BTreeMap::new(), values: vec![number(&answer["result"][1])] }],
            _ => answer["result"].as_array().into_iter().flatten().map(value).collect(),
        }
    }

    /// What a query gave from a moment on.
    pub fn since(&self, since: Since, query: &str) -> Vec<Series> {
        let curve = |series: &Value| Series {
            labels: labels(series),
            values: series["values"].as_array().into_iter().flatten().map(|value| number(&value[1])).collect(),
        };
        self.curves(since, query).iter().map(curve).collect()
    }

    fn curves(&self, since: Since, query: &str) -> Vec<Value> {
        let [from, to] = [since, Since::now()].map(|moment| format!("{:.3}", moment.unix_s()));
        let step = STEP_S.to_string();
        let answer = self.get("query_range", &[("query", query), ("start", &from), ("end", &to), ("step", &step)]);
        answer["result"].as_array().cloned().unwrap_or_default()
    }

    /// Alerts that fire now.
    pub fn firing(&self) -> BTreeSet<String> {
        named(self.now(FIRING).iter().map(|series| &series.labels))
    }

    /// Alerts that have fired, from a moment on.
    pub fn fired(&self, since: Since) -> BTreeSet<String> {
        named(self.since(since, FIRING).iter().map(|series| &series.labels))
    }

    /// When alerts fired, from a moment on, in order of time.
    pub fn spells(&self, since: Since) -> Vec<Spell> {
        let mut spells = Vec::new();
        for series in self.curves(since, FIRING) {
            let alert = name(&labels(&series));
            let mut before = f64::NEG_INFINITY;
            for at in series["values"].as_array().into_iter().flatten().filter_map(|value| value[0].as_f64()) {
                if at > before + ALERT_GAP_S {
                    spells.push(Spell { alert: alert.clone(), from: at });
                }
                before = at;
            }
        }
        spells.sort_by(|one, other| one.from.total_cmp(&other.from));
        spells
    }

    /// All alerts that are looked at.
    pub fn alerts(&self) -> BTreeSet<String> {
        let groups = self.get("rules", &[("type", "alert")]);
        let rules = groups["groups"].as_array().into_iter().flatten().flat_map(|group| group["rules"].as_array());
        let named = |rule: &Value| Some(format!("{}/{}", rule["name"].as_str()?, rule["labels"]["sign"].as_str()?));
        rules.flatten().filter_map(named).collect()
    }

    fn get(&self, what: &str, parameters: &[(&str, &str)]) -> Value {
        let query: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        // In this version of HTTP an answer comes in one piece.
        let request = format!("GET /api/v1/{what}?{} HTTP/1.0\r\nHost: x\r\n\r\n", query.join("&"));
        let answer = ask(self.server.port(), &request);
        let body = answer.split_once("\r\n\r\n").unwrap_or_default().1;
        let body: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"));
        assert_eq!(body["status"], "success", "{parameters:?}: {body}");
        body["data"].clone()
    }
}

/// Writes the committed settings with these targets to a folder.
fn settings(folder: &Path, targets: &BTreeMap<&str, Vec<u16>>) -> PathBuf {
    let text = fs::read_to_string(files::path(SETTINGS)).expect("the settings of Prometheus should be committed");
    let quick = |line: &str| match line.split_once("_interval:") {
        Some((name, _)) => format!("{name}_interval: {EVERY}\n"),
        None => format!("{line}\n"),
    };
    let settings = folder.join("prometheus.yml");
    fs::write(&settings, text.lines().map(quick).collect::<String>()).unwrap();
    fs::write(folder.join("alerts.yml"), files::made("alerts.yml")).unwrap();
    fs::create_dir(folder.join("targets")).unwrap();
    for (job, ports) in targets {
        assert!(text.contains(&format!("targets/{job}")), "{SETTINGS} does not know of {job}");
        let hosts: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        fs::write(folder.join(format!("targets/{job}.yml")), json!([{ "targets": hosts }]).to_string()).unwrap();
    }
    settings
}

/// Alerts by their names, and by the sign that lets each fire.
fn named<'a>(alerts: impl Iterator<Item = &'a BTreeMap<String, String>>) -> BTreeSet<String> {
    alerts.map(name).collect()
}

fn name(alert: &BTreeMap<String, String>) -> String {
    format!("{}/{}", alert["alertname"], alert["sign"])
}

fn labels(series: &Value) -> BTreeMap<String, String> {
    let labels = series["metric"].as_object().into_iter().flatten();
    labels.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

/// `NaN` and infinities are numbers too.
fn number(text: &Value) -> f64 {
    text.as_str().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)
}

fn encode(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
    text.bytes().map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
