//! The `farm` command: the whole farm in one process, and the tools around it.
//!
//! | module | command |
//! |---|---|
//! | [`play`] | `farm play`: the origin and the player page |
//! | [`transcode`] | `farm transcode` |
//! | [`serve`] | `farm serve`: the engine with the API of a cluster |
//! | [`job`], [`fleet`] | `farm job`, `farm worker`: what is asked of a farm that is served |
//! | [`client`] | the way there |
//! | [`doctor`] | `farm doctor`: what this host can do |
//! | [`capacity`] | `farm capacity`: what a load takes |
//! | [`engine`] | coordinator, worker and queue, started and closed in order |
//! | [`probe`] | `farm probe`: the index task alone |
//! | [`ladder`] | `farm ladder`: what would be made |
//! | [`recipe`] | `farm profile`, and the options on what to make |
//! | [`order`] | source and recipe: what tells one run's output from another's |
//! | [`presentation`] | what lies in an output folder |
//! | [`events`], [`progress`] | what people see of a run |
//! | [`summary`] | the end of a run |
//! | [`meter`] | the queue, counting what has been read |
//! | [`interrupts`] | Ctrl-C and its like |
//! | [`exit`] | exit codes and messages |
//! | [`logging`] | logs that leave the progress bars whole |
//! | [`traces`] | spans of what is served, for a collector |
#![forbid(unsafe_code)]
// They panic when their reader has gone; `progress` has what does not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod capacity;
pub mod client;
pub mod doctor;
pub mod engine;
pub mod events;
pub mod exit;
pub mod fleet;
pub mod interrupts;
pub mod job;
pub mod ladder;
pub mod logging;
pub mod meter;
pub mod order;
pub mod play;
pub mod presentation;
pub mod probe;
pub mod progress;
pub mod recipe;
pub mod serve;
pub mod summary;
pub mod traces;
pub mod transcode;
