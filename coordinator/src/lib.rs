//! The coordinator decides: job state, plan, schedule, stitch, publish. It never opens media.
#![forbid(unsafe_code)]

pub mod api;
pub mod archive;
#[cfg(feature = "cluster")]
pub mod config;
pub mod farm;
pub mod job;
pub mod ladder;
#[cfg(feature = "cluster")]
pub mod lead;
#[cfg(feature = "cluster")]
pub mod metrics;
pub mod plan;
pub mod profile;
pub mod publish;
pub mod retry;
pub mod run;
pub mod schedule;
pub mod stitch;
pub mod store;
pub mod workers;
