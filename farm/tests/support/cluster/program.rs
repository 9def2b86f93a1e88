//! A coordinator or a worker: a process that can die, stand still and come back.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use shared::testing::{page, signal};

use super::super::processes::children;
use super::build::programs;
use super::{PATIENCE, pause};

/// Lines of a log that a failed test shows.
const SHOWN: usize = 30;

/// A process and where it answers.
pub struct Program {
    command: Command,
    child: Child,
    log: PathBuf,
    /// Of its metrics and health.
    pub pages: u16,
    /// Of the API; 0 if it has none.
    pub api: u16,
}

/// What stands in a configuration file: TOML values by dotted keys.
pub type Settings = BTreeMap<&'static str, String>;

impl Program {
    /// Starts the program `name` of this build in `folder`, with the settings in a file and `environment` around it.
    pub fn start(
        folder: &Path,
        name: [&str; 2],
        ports: [u16; 2],
        settings: &Settings,
        environment: &[(&str, &str)],
    ) -> Self {
        Self::start_one_of(&programs(), folder, name, ports, settings, environment)
    }

    /// The same with the program of this name in the folder `programs`, which may become another one before a restart.
    pub fn start_one_of(
        programs: &Path,
        folder: &Path,
        [name, place]: [&str; 2],
        ports: [u16; 2],
        settings: &Settings,
        environment: &[(&str, &str)],
    ) -> Self {
        let file = folder.join(format!("{name}-{place}.toml"));
        let lines = settings.iter().map(|(key, value)| format!("{key} = {value}\n"));
        fs::write(&file, lines.collect::<String>()).unwrap();
        let log = folder.join(format!("{name}-{place}.log"));
        let mut command = Command::new(programs.join(name));
        command.arg("--config").arg(file).stdin(Stdio::null()).env_remove("RUST_LOG").envs(environment.iter().copied());
        let child = spawn(&mut command, &log);
        let [pages, api] = ports;
        Self { command, child, log, pages, api }
    }

    /// What a page says, with its head; empty if nobody answers.
    pub fn get(&self, path: &str) -> String {
        page(self.pages, path)
    }

    /// The value of a metric, the sum over its labels; `None` if nobody answers. A counter that stands at 0 may be missing.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let text = self.get("/metrics");
        let of = |line: &str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let value = |line: &str| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap();
        (!text.is_empty()).then(|| text.lines().filter(|line| of(line)).map(value).sum())
    }

    pub fn is_ready(&self) -> bool {
        self.get("/readyz").starts_with("HTTP/1.1 200")
    }

    pub fn wait_until_ready(&self) {
        let began = Instant::now();
        while !self.is_ready() {
            assert!(began.elapsed() < PATIENCE, "{}\n{}", self.get("/readyz"), self.said());
            pause();
        }
    }

    /// What it has logged.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Processes that it has started and that live: a worker's slots.
    pub fn children(&self) -> Vec<u32> {
        children(self.pid())
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sets a variable of the environment in which it is started from now on.
    pub fn set(&mut self, variable: &str, value: &str) {
        self.command.env(variable, value);
    }

    /// Starts it again after [`Self::kill`] or [`Self::terminate`], with the same settings and ports.
    pub fn restart(&mut self) {
        self.child = spawn(&mut self.command, &self.log);
    }

    /// It stands still until [`Self::proceed`] (SIGSTOP).
    pub fn stop(&self) {
        signal(self.pid(), "STOP");
    }

    /// It goes on after [`Self::stop`].
    pub fn proceed(&self) {
        signal(self.pid(), "CONT");
    }

    /// SIGTERM.
    pub fn ask_to_end(&self) {
        signal(self.pid(), "TERM");
    }

    /// SIGTERM; how it ended, and after how long.
    pub fn terminate(&mut self) -> (ExitStatus, Duration) {
        self.ask_to_end();
        self.ended()
    }

    /// Whether it has ended by itself, or because it was asked to.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until it ends by itself; how, and after how long.
    pub fn ended(&mut self) -> (ExitStatus, Duration) {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, began.elapsed());
            }
            assert!(began.elapsed() < PATIENCE, "it does not end:\n{}", self.said());
            pause();
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Already dead after `kill` and `terminate`.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let said = self.said();
            let lines: Vec<&str> = said.lines().collect();
            eprintln!("{}, at last:\n{}", self.log.display(), lines[lines.len().saturating_sub(SHOWN)..].join("\n"));
        }
    }
}

fn spawn(command: &mut Command, log: &Path) -> Child {
    let said = fs::File::options().create(true).append(true).open(log).unwrap();
    command.stderr(said).spawn().unwrap()
}
