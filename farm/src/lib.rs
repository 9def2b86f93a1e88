//! The `farm` command: the whole farm in one process, and the tools around it.
//!
//! | module | command |
//! |---|---|
//! | [`play`] | `farm play`: the origin and the player page |
//! | [`presentation`] | what lies in an output folder |
//! | [`exit`] | exit codes and messages |
//! | [`logging`] | logs that leave the progress bars whole |
#![forbid(unsafe_code)]

pub mod exit;
pub mod logging;
pub mod play;
pub mod presentation;
