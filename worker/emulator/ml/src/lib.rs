//! A stand-in for libnvidia-ml: what the driver tells of the cards that are played, and of their errors.
//!
//! A card does the same all the time: its readings are the constants of [`reading`], with their units. A function that is
//! missing, a card that is lost and one that hangs are faults of its calls (`nvmlDeviceGetPowerUsage@1+=13`, `…=15`,
//! `…:hang`); errors of a card are the fault `xid=79@1`.
//!
//! It has the functions that the worker's metrics call, and no other.
#![deny(unsafe_code)]

mod device;
mod driver;
mod event;
pub mod reading;
