//! The settings file of a program, read as the program reads it.

use std::path::Path;

use coordinator::config::Config as CoordinatorConfig;
use serde::de::IgnoredAny;
use shared::config::ConfigError;
use worker::config::Config as WorkerConfig;

use super::{Finding, Grade};

/// Tables that a coordinator can't do without (`api` has a place that must be given), or that no worker has.
const COORDINATORS: [&str; 4] = ["api", "etcd", "storage", "weights"];

/// What a program is told.
#[derive(Debug)]
pub(super) enum Settings {
    Coordinator(Box<CoordinatorConfig>),
    Worker(Box<WorkerConfig>),
}

impl Settings {
    /// Reads a file, with the secrets of the environment.
    pub(super) fn read(file: &Path) -> Result<Self, ConfigError> {
        let unread = |error| ConfigError(vec![format!("{}: {error}", file.display())]);
        let text = std::fs::read_to_string(file).map_err(unread)?;
        let tables: std::collections::BTreeMap<String, IgnoredAny> = shared::config::read(&text)?;
        if COORDINATORS.iter().any(|name| tables.contains_key(*name)) {
            return CoordinatorConfig::load(Some(file)).map(Box::new).map(Self::Coordinator);
        }
        WorkerConfig::load(Some(file)).map(Box::new).map(Self::Worker)
    }
}

/// What is said of the file itself.
pub(super) fn judge(file: &Path, read: &Result<Settings, ConfigError>) -> Finding {
    let place = file.display();
    let complaints = match read {
        Err(ConfigError(complaints)) => complaints.clone(),
        Ok(Settings::Coordinator(config)) => config.api.file_complaints(),
        Ok(Settings::Worker(_)) => Vec::new(),
    };
    if !complaints.is_empty() {
        let advice = "deploy/coordinator.toml and deploy/worker.toml list and explain all settings";
        return Finding::new("settings", Grade::Bad, complaints.join("; "), advice);
    }
    let whose = if matches!(read, Ok(Settings::Coordinator(_))) { "a coordinator" } else { "a worker" };
    Finding::new("settings", Grade::Ok, format!("{place}: of {whose}"), "")
}
