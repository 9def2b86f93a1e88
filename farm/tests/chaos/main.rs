//! A cluster of real processes under load, some of which die, stand still, or are told to go: it costs seconds and never a
//! job, and every job ends with the bytes that `farm transcode` makes.
//!
//! `make chaos` sets the sizes; without, they are small.
//!
//! | variable | of what |
//! |---|---|
//! | `FARM_WORKER_KILLS` | SIGKILLs of workers and slots while tiny clips are encoded |
//! | `FARM_REAL_KILLS` | the same while 720p is encoded |
//! | `FARM_LEADER_KILLS` | SIGKILLs of the coordinator that leads |
//! | `FARM_STOPS`, `FARM_STOPPED_S` | times that the leader stands still, and for how many seconds |
//! | `FARM_SEED` | other moments and victims |

#[allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]
#[path = "../support/mod.rs"]
mod support;

mod kills;
mod leaders;
mod orders;
mod work;
