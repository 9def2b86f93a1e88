//! `farm serve`, and the commands that ask it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use proto::v1::job_service_client::JobServiceClient;
use serde_json::Value;
use tempfile::TempDir;
use tonic::transport::Channel;

use super::folder;
use super::processes::children;

/// A farm being served, and a folder for what it makes.
pub struct Served {
    child: Child,
    /// Of the API.
    pub address: String,
    pub folder: TempDir,
    libraries: Option<PathBuf>,
}

impl Served {
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// With the libraries of a folder before any others.
    pub fn start_with(libraries: Option<&Path>) -> Self {
        let folder = folder();
        let (child, address) = serve(folder.path(), libraries, "127.0.0.1:0");
        Self { child, address, folder, libraries: libraries.map(Path::to_owned) }
    }

    /// `farm ARGS` against it.
    pub fn farm(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// The same, to be started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_farm"));
        command.args(args).env("FARM_SERVER", &self.address).env_remove("RUST_LOG").env_remove("FARM_KEY");
        command
    }

    /// What it prints as JSON, a value a line; the command must succeed.
    pub fn json(&self, args: &[&str]) -> Vec<Value> {
        let output = self.farm(&[args, &["--json"]].concat());
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Ends its slots, which begin anew when there is something to do.
    pub fn kill_slots(&self) {
        children(self.child.id()).into_iter().for_each(|slot| shared::testing::signal(slot, "KILL"));
    }

    /// Asks for a job; returns its id.
    pub fn submit(&self, source: &Path, options: &[&str]) -> String {
        let job = self.json(&[&["job", "submit", source.to_str().unwrap()], options].concat());
        job[0]["id"].as_str().unwrap().to_owned()
    }

    /// Where a job's presentation is.
    pub fn out(&self, job: &str) -> PathBuf {
        self.folder.path().join("data/out").join(job)
    }

    /// Kills it as the kernel would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Serves the same folder again, after it was killed, at the same address.
    pub fn start_again(&mut self) {
        let listen = self.address.trim_start_matches("http://");
        (self.child, self.address) = serve(self.folder.path(), self.libraries.as_deref(), listen);
    }

    pub async fn jobs(&self) -> JobServiceClient<Channel> {
        JobServiceClient::connect(self.address.clone()).await.unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts `farm serve` in a folder; returns its address once it answers.
fn serve(folder: &Path, libraries: Option<&Path>, listen: &str) -> (Child, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_farm"));
    command.args(["serve", "--listen", listen, "--slots", "2", "--data"]).arg(folder.join("data"));
    command.envs(libraries.map(|folder| ("LD_LIBRARY_PATH", folder)));
    let mut child = command.env_remove("RUST_LOG").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    let address = first.split_whitespace().nth(1).unwrap().to_owned();
    (child, address)
}
