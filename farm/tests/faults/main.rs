//! Servers that die, forget, refuse or fill up, and a farm that goes on: it costs seconds, never a job.
//!
//! `FARM_WIPES` is how often all of NATS forgets everything (1 if it is not set), `FARM_OUTAGE_S` how long etcd is without a
//! quorum and object storage without an answer, in seconds (5). `make chaos` sets 20 and 30.

mod disk;
mod etcd;
mod load;
mod nats;
mod partition;
mod storage;
#[allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]
#[path = "../support/mod.rs"]
mod support;
